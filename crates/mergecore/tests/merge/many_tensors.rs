//! Planning takes time in proportion to the tensors, and not to their square or to tensors
//! times slices.

use std::time::{Duration, Instant};

use mergecore::{CancelFlag, EngineError, Error, MergeOptions, plan};

use crate::support::{Folder, Model, Tensor, llama_config};

const LAYERS: usize = 400;

/// What a plan may take: five times or more what it takes unoptimised, and half of what it
/// takes where each slice, or each look for a name, goes through all tensors.
const LIMIT: Duration = Duration::from_secs(3);

/// Three models, each with three tensors outside its layers.
fn folder(experts: usize) -> Folder {
    let parts = ["down_proj", "gate_proj", "up_proj"];
    let experts =
        (0..experts).flat_map(|expert| parts.map(|part| format!("experts.{expert}.{part}")));
    let parts: Vec<String> = experts.chain(["gate".to_owned()]).collect();
    let outside = ["model.embed_tokens", "model.norm", "lm_head"].map(str::to_owned);
    let layers = (0..LAYERS)
        .flat_map(|layer| parts.iter().map(move |part| format!("model.layers.{layer}.mlp.{part}")));
    let names = outside.into_iter().chain(layers);
    let model: Model =
        names.map(|name| (format!("{name}.weight"), Tensor::constant(1.0))).collect();
    let folder = Folder::new();
    for name in ["base", "a", "b"] {
        folder.write_sharded(name, &llama_config(LAYERS), &model, 4);
    }
    folder
}

/// One of three times must be short: other programs may be busy.
fn assert_is_quick(folder: &Folder, tensors: usize, recipe: &str) {
    let mut times = Vec::new();
    for _ in 0..3 {
        let begun = Instant::now();
        let plan = plan(&folder.recipe(recipe).unwrap(), &MergeOptions::default()).unwrap();
        times.push(begun.elapsed());
        assert_eq!(plan.tensors().len(), tensors);
        if times.iter().any(|time| *time < LIMIT) {
            return;
        }
    }
    panic!("planning took {times:?}, longer than {LIMIT:?}");
}

const TIES: &str = "merge_method: ties
base_model: DIR/base
models:
  - {model: DIR/base}
  - {model: DIR/a, parameters: {weight: 0.5, density: [0.2, 0.8]}}
  - {model: DIR/b, parameters: {weight: [{filter: experts.1., value: 0}, {value: 0.5}]}}
";

#[test]
fn whole_models_are_planned_quickly() {
    assert_is_quick(&folder(33), 40_003, TIES);
}

/// Wherever planning is when it is told to stop, and unoptimised. The median of several, for other
/// programs may be busy.
#[test]
fn planning_is_cancelled_in_a_tenth_of_a_second() {
    let folder = folder(8);
    let config = folder.recipe(TIES).unwrap();
    let begun = Instant::now();
    plan(&config, &MergeOptions::default()).unwrap();
    let takes = begun.elapsed();
    let mut times = Vec::new();
    for part in 1..20 {
        let cancel = CancelFlag::new();
        let options = MergeOptions { cancel: Some(cancel.clone()), ..MergeOptions::default() };
        let asked = std::thread::spawn(move || {
            std::thread::sleep(takes * part / 20);
            cancel.cancel();
            Instant::now()
        });
        let planned = plan(&config, &options);
        let ended = Instant::now();
        // It may have been quicker than the first time.
        if let Err(error) = planned {
            assert!(matches!(error, Error::Merge(EngineError::Cancelled)), "{error}");
            times.push(ended.saturating_duration_since(asked.join().unwrap()));
        }
    }
    times.sort();
    assert!(times.len() > 5, "{times:?} of {takes:?}");
    assert!(times[times.len() / 2] < Duration::from_millis(100), "{times:?} of {takes:?}");
}

#[test]
fn slices_of_a_layer_are_planned_quickly() {
    let source = |model: &str, layer: usize| {
        let end = layer + 1;
        format!("{{model: DIR/{model}, layer_range: [{layer}, {end}], parameters: {{weight: 1}}}}")
    };
    let slices = (0..LAYERS).map(|layer| {
        let [base, a, b] = ["base", "a", "b"].map(|model| source(model, layer));
        format!("  - sources: [{base}, {a}, {b}]\n")
    });
    let slices: String = slices.collect();
    assert_is_quick(&folder(8), 10_003, &format!("merge_method: linear\nslices:\n{slices}"));
}
