//! Plans of random recipes over random checkpoints, against plain computations of what
//! they should be. Files hold headers and a hole: no tensor byte is read.

#[path = "plan/expected.rs"]
mod expected;
#[path = "plan/method.rs"]
mod method;
#[path = "plan/scenario.rs"]
mod scenario;

use std::collections::{BTreeMap, BTreeSet};

use mergecore_config::MergeConfig;
use mergecore_engine::{MergeOptions, MergePlan, Operation, Registry};
use mergecore_io::parse_header;
use proptest::prelude::*;

use expected::Expected;
use method::{Recorded, Recording};
use scenario::{Scenario, scenarios};

const SEED: u64 = 11;

/// The plan, and what the method was bound with.
fn plan(scenario: &Scenario, order: u64) -> (MergePlan, Recorded) {
    let folder = tempfile::tempdir().unwrap();
    let recipe = scenario.write(folder.path(), order);
    let method = Recording::new(scenario.takes_base);
    let mut registry = Registry::new();
    registry.register(method.clone());
    let max_shard_bytes = scenario.max_shard_bytes;
    let options = MergeOptions { max_shard_bytes, seed: SEED, ..MergeOptions::default() };
    let config = MergeConfig::from_yaml_str(&recipe).unwrap_or_else(|e| panic!("{e}: {recipe}"));
    let plan = MergePlan::new(&config, &registry, &options);
    (plan.unwrap_or_else(|e| panic!("{e}: {recipe}")), method.recorded())
}

/// Tensors lie one behind the other from the header's end to the file's.
fn assert_files_are_covered(plan: &MergePlan, max_shard_bytes: u64) {
    let layout = plan.layout();
    let mut total = 0;
    for (index, shard) in layout.shards().iter().enumerate() {
        let header = parse_header(shard.header(), shard.file_len()).unwrap();
        let stored: BTreeMap<&str, _> =
            header.entries.iter().map(|entry| (entry.name.as_str(), entry)).collect();
        let mut placed = Vec::new();
        for (tensor, planned) in plan.tensors().iter().enumerate() {
            let place = layout.placement(tensor).unwrap();
            if place.shard == index {
                let entry = stored[planned.name.as_str()];
                assert_eq!((entry.dtype, &entry.shape), (planned.dtype, &planned.shape));
                assert_eq!(entry.bytes, place.bytes, "{}", planned.name);
                let elements: usize = planned.shape.iter().product();
                let bytes = (elements * planned.dtype.size()) as u64;
                assert_eq!(place.bytes.end - place.bytes.start, bytes, "{}", planned.name);
                placed.push((place.bytes.start, place.bytes.end));
            }
        }
        assert_eq!(placed.len(), stored.len());
        placed.sort_unstable();
        let mut end = shard.header().len() as u64;
        for (from, to) in &placed {
            assert_eq!(*from, end, "a hole or an overlap in {}", shard.file_name());
            end = *to;
        }
        assert_eq!(end, shard.file_len());
        let data = end - shard.header().len() as u64;
        let with_data = placed.iter().filter(|(from, to)| from < to).count();
        assert!(data <= max_shard_bytes || with_data == 1, "{data} bytes of {max_shard_bytes}");
        total += data;
    }
    assert_eq!(total, layout.total_bytes());
    let placed = (0..).map_while(|index| layout.placement(index)).count();
    assert_eq!(placed, plan.tensors().len());
}

/// Every output tensor is there once, from the inputs and with the parameters that it
/// should have.
fn assert_is_expected(plan: &MergePlan, recorded: &Recorded, expected: &[Expected]) {
    let names: Vec<&str> = plan.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    let distinct: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(distinct.len(), names.len(), "{names:?}");
    assert_eq!(names.len(), expected.len());
    let position = |dir: &str| {
        let mut models = plan.models().iter();
        models.position(|model| model.checkpoint.dir().ends_with(dir)).unwrap()
    };
    let mut floats = 0;
    for expected in expected {
        let index = names.iter().position(|name| *name == expected.name).unwrap();
        let tensor = &plan.tensors()[index];
        assert_eq!((tensor.dtype, &tensor.shape), (expected.dtype, &expected.shape));
        let inputs = tensor.inputs.iter().map(|input| (input.model, input.name.clone()));
        let should: Vec<(usize, String)> =
            expected.inputs.iter().map(|(dir, name)| (position(dir), name.clone())).collect();
        assert_eq!(inputs.collect::<Vec<_>>(), should, "{}", expected.name);
        assert!(tensor.inputs.iter().all(|input| input.source.shape() == expected.shape));
        assert_eq!(matches!(tensor.operation, Operation::Merge(_)), expected.dtype.is_float());
        let bound = recorded.of(SEED, &expected.name);
        assert_eq!(bound.is_some(), expected.dtype.is_float(), "{}", expected.name);
        let Some((gain, weights)) = bound else { continue };
        floats += 1;
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(gain, expected.gain), "{}: {gain}, not {}", expected.name, expected.gain);
        let weights_are = weights.iter().zip(&expected.weights).all(|(a, b)| close(*a, *b));
        assert!(
            weights_are && weights.len() == expected.weights.len(),
            "{}: {weights:?}, not {:?}",
            expected.name,
            expected.weights
        );
    }
    assert_eq!(recorded.len(), floats);
}

/// The tally against a count of its own.
fn assert_tally_is_exact(plan: &MergePlan, scenario: &Scenario, expected: &[Expected]) {
    let tally = plan.tally();
    let merged = expected.iter().filter(|expected| expected.dtype.is_float()).count();
    assert_eq!((tally.merged, tally.copied), (merged, expected.len() - merged));
    let used: BTreeSet<_> = expected.iter().flat_map(|expected| &expected.inputs).collect();
    assert_eq!(tally.inputs, scenario.models * scenario.names().len());
    assert_eq!(tally.unused, tally.inputs - used.len());
}

/// What must not depend on the order of keys and tensors in any file.
fn assert_are_equal(one: &MergePlan, other: &MergePlan) {
    let tensors = |plan: &MergePlan| -> Vec<String> {
        let of_plan = plan.tensors().iter().enumerate().map(|(index, tensor)| {
            let inputs = tensor.inputs.iter().map(|input| (input.model, &input.name));
            let inputs: Vec<_> = inputs.collect();
            let place = plan.layout().placement(index).unwrap();
            let (name, dtype, shape) = (&tensor.name, tensor.dtype, &tensor.shape);
            format!("{name} {dtype} {shape:?} {place:?} {:?} {inputs:?}", tensor.operation)
        });
        of_plan.collect()
    };
    assert_eq!(tensors(one), tensors(other));
    let files = |plan: &MergePlan| -> Vec<(String, u64)> {
        let shards = plan.layout().shards().iter();
        shards.map(|shard| (shard.file_name().to_owned(), shard.file_len())).collect()
    };
    assert_eq!(files(one), files(other));
    assert_eq!(one.config(), other.config());
    assert_eq!((one.base(), one.tally()), (other.base(), other.tally()));
    assert_eq!(one.notes().len(), other.notes().len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn plans_are_what_recipe_and_headers_say(scenario in scenarios(), order in 1u64..) {
        let expected = scenario.expected();
        let (plan, recorded) = plan(&scenario, 0);
        assert_files_are_covered(&plan, scenario.max_shard_bytes);
        assert_is_expected(&plan, &recorded, &expected);
        assert_tally_is_exact(&plan, &scenario, &expected);
        let (shuffled, bound) = self::plan(&scenario, order);
        assert_are_equal(&plan, &shuffled);
        assert_is_expected(&shuffled, &bound, &expected);
    }
}
