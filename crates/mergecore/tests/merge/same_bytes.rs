//! Threads, memory, chunks, instruction sets, shards and the files of the inputs change
//! no byte.

use std::collections::BTreeSet;

use mergecore::kernel::{BLOCK, Kernel, merge_slices};
use mergecore::{
    DType, Element, MergeOptions, MergePlan, Operation, PlannedTensor, Simd, TensorInput, bf16, f16,
};

use crate::support::{Folder, Model, Random, Tensor, llama_config, shapes};

/// The recipe of a method, with the models of names that end so.
fn recipe(method: (&str, &str, &[&str]), ending: &str, dtype: &str) -> String {
    let (method, head, parameters) = method;
    let head = head.replace("DIR/base", &format!("DIR/base{ending}"));
    let head = head.replace("DIR/a", &format!("DIR/a{ending}"));
    let mut recipe = format!("merge_method: {method}\n{head}\ndtype: {dtype}\nmodels:\n");
    for (model, parameters) in ["a", "b", "c"].iter().zip(parameters) {
        recipe += &format!("  - {{model: DIR/{model}{ending}, parameters: {{{parameters}}}}}\n");
    }
    recipe
}

/// What the plan's kernels make of whole tensors in memory.
fn in_memory(plan: &MergePlan) -> Model {
    fn merged<O: Element>(kernel: &dyn Kernel, inputs: &[Tensor], shape: &[usize]) -> Vec<f64> {
        let inputs: Vec<Vec<f64>> = inputs.iter().map(Tensor::values).collect();
        let inputs: Vec<&[f64]> = inputs.iter().map(Vec::as_slice).collect();
        let mut out = vec![O::narrow(0.0); shape.iter().product()];
        merge_slices(kernel, &inputs, shape, &mut out).unwrap();
        out.into_iter().map(Element::widen).collect()
    }
    let tensor = |tensor: &PlannedTensor| {
        let read = |input: &TensorInput| {
            let source = &input.source;
            let mut bytes = vec![0; source.len() as usize * source.dtype().size()];
            source.read(0..source.len(), &mut bytes).unwrap();
            Tensor { dtype: source.dtype(), shape: tensor.shape.clone(), bytes }
        };
        let inputs: Vec<Tensor> = tensor.inputs.iter().map(read).collect();
        let Operation::Merge(kernel) = &tensor.operation else {
            return (tensor.name.clone(), inputs[0].clone());
        };
        let values = match tensor.dtype {
            DType::Bf16 => merged::<bf16>(&**kernel, &inputs, &tensor.shape),
            DType::F16 => merged::<f16>(&**kernel, &inputs, &tensor.shape),
            DType::F32 => merged::<f32>(&**kernel, &inputs, &tensor.shape),
            _ => merged::<f64>(&**kernel, &inputs, &tensor.shape),
        };
        (tensor.name.clone(), Tensor::of(tensor.dtype, &tensor.shape, &values))
    };
    plan.tensors().iter().map(tensor).collect()
}

/// None is missing in the tests here.
#[test]
fn every_method_is_tried() {
    let tried: BTreeSet<&str> = ALL_METHODS.iter().map(|(name, ..)| *name).collect();
    let methods = mergecore::builtin_methods();
    assert_eq!(tried, methods.names().collect());
}

#[test]
fn nothing_but_recipe_inputs_and_seed_changes_a_byte() {
    let folder = Folder::new();
    let mut random = Random::new(12);
    let mut shapes = shapes();
    shapes.push(("model.layers.0.large.weight".to_owned(), vec![3, 100_003]));
    let base = random.model(&shapes);
    let models =
        [base.clone(), random.trained(&base), random.trained(&base), random.trained(&base)];
    for (name, model) in ["base", "a", "b", "c"].into_iter().zip(&models) {
        folder.write(name, &llama_config(2), model);
        folder.write_sharded(&format!("{name}-sharded"), &llama_config(2), model, 5);
    }
    let options = |threads, max_memory, max_shard_bytes| MergeOptions {
        threads: Some(threads),
        max_memory,
        max_shard_bytes,
        overwrite: true,
        ..MergeOptions::default()
    };
    let one_file = u64::MAX;
    let variants = [
        ("two threads", options(2, None, one_file), ""),
        ("seven threads", options(7, None, one_file), ""),
        ("no memory", options(7, Some(1), one_file), ""),
        ("medium memory", options(2, Some(5 << 20), 300_000), ""),
        ("tiny shards of sharded models", options(2, Some(20 << 20), 1), "-sharded"),
        ("no hashes", MergeOptions { hash: false, ..options(1, Some(1), 700_000) }, "-sharded"),
    ];
    for method in ALL_METHODS {
        let merge = |options: &MergeOptions, ending| {
            let recipe = recipe(method, ending, "bfloat16");
            let report = folder.merge_with(&recipe, "out", options).unwrap();
            (folder.read("out"), report.files)
        };
        let (expected, files) = merge(&options(1, None, one_file), "");
        assert_eq!((files, expected.len()), (1, shapes.len()));
        for (what, options, ending) in &variants {
            let (got, files) = merge(options, ending);
            assert_eq!(files > 1, options.max_shard_bytes < one_file, "{what}");
            assert!(got == expected, "{method:?}: {what} made a difference");
        }
    }
}

/// Every built-in method: name, head of the recipe, and parameters of `a`, `b`, `c`, of
/// as many as the method is to have.
const ALL_METHODS: [(&str, &str, &[&str]); 42] = [
    ("linear", "", &["weight: 0.3", "weight: 0.9"]),
    ("linear", "", &["weight: 0.3", "weight: 0.9", "weight: 0.45"]),
    ("passthrough", "", &["scale: 0.7"]),
    ("slerp", "base_model: DIR/a\nparameters: {t: 0.3}", &["", ""]),
    ("nuslerp", "", &["weight: 0.6", "weight: 0.3"]),
    ("nuslerp", "base_model: DIR/base", &["weight: 0.6", "weight: 0.3"]),
    ("nuslerp", "parameters: {nuslerp_flatten: false}", &["weight: 0.6", "weight: 0.3"]),
    (
        "nuslerp",
        "base_model: DIR/base\nparameters: {nuslerp_flatten: false, nuslerp_row_wise: true}",
        &["weight: 0.6", "weight: 0.3"],
    ),
    ("multislerp", "", &["weight: 0.6", "weight: 0.3", "weight: 0.2"]),
    ("multislerp", "base_model: DIR/base", &["weight: 0.6", "weight: 0.3", "weight: 0.2"]),
    ("karcher", "", &["", "", ""]),
    ("task_arithmetic", "base_model: DIR/base", &["weight: 0.6", "weight: 0.8", "weight: -0.3"]),
    ("ties", "base_model: DIR/base", &TRIMMED),
    ("ties", "base_model: DIR/base\nparameters: {scope: model}", &TRIMMED),
    ("ties", "base_model: DIR/base\nparameters: {consensus: count, elect: unweighted}", &TRIMMED),
    ("ties", "base_model: DIR/base\nparameters: {normalize: false, rescale_norm: l1}", &TRIMMED),
    ("ties", "base_model: DIR/base\nparameters: {rescale_norm: l2}", &TRIMMED),
    ("ties", "base_model: DIR/base\nparameters: {rescale_norm: linf}", &TRIMMED),
    ("dare_linear", "base_model: DIR/base", &TRIMMED),
    ("dare_ties", "base_model: DIR/base", &TRIMMED),
    ("dare_ties", "base_model: DIR/base\nparameters: {rescale_norm: l2}", &TRIMMED),
    ("della", "base_model: DIR/base\nparameters: {epsilon: 0.15}", &TRIMMED),
    ("della_linear", "base_model: DIR/base\nparameters: {epsilon: 0.2}", &TRIMMED),
    ("breadcrumbs", "base_model: DIR/base\nparameters: {gamma: 0.02}", &TRIMMED),
    ("breadcrumbs_ties", "base_model: DIR/base\nparameters: {gamma: 0.02}", &TRIMMED),
    ("sce", "base_model: DIR/base\nparameters: {select_topk: 0.3}", &["", "", ""]),
    ("sce", "base_model: DIR/base\nparameters: {select_topk: 1}", &["", "", ""]),
    ("ram", "base_model: DIR/base\nparameters: {epsilon: 0.01}", &["", "", ""]),
    ("ramplus_tl", "base_model: DIR/base\nparameters: {epsilon: 0.01}", &["", "", ""]),
    ("magmax", "base_model: DIR/base", &["", "", ""]),
    ("magmax", "base_model: DIR/base\nparameters: {lambda: 0.7}", &["", "", ""]),
    ("consensus_ta", "base_model: DIR/base", &["weight: 0.6", "weight: 0.8", "weight: 0.3"]),
    ("model_stock", "base_model: DIR/base", &["", "", ""]),
    ("model_stock", "base_model: DIR/base\nparameters: {filter_wise: true}", &["", "", ""]),
    ("nearswap", "base_model: DIR/base\nparameters: {t: 0.01}", &[""]),
    ("arcee_fusion", "base_model: DIR/base", &[""]),
    ("iso_c", "base_model: DIR/base\nparameters: {decompose: false}", &["", "", ""]),
    ("tsv", "base_model: DIR/base\nparameters: {decompose: false}", &["", "", ""]),
    ("iso_c", SMALL_DECOMPOSED, &["", "weight: 0.7", ""]),
    ("tsv", SMALL_DECOMPOSED, &["", "weight: 0.7", ""]),
    // Copies, and conversions where the base's dtype is not the output's.
    ("task_arithmetic", "base_model: DIR/base", &["weight: 0", "weight: 0"]),
    ("breadcrumbs", "base_model: DIR/base\nparameters: {density: 0}", &["weight: 1", "weight: 1"]),
];
/// The decomposition of a matrix of 300 rows takes its time.
const SMALL_DECOMPOSED: &str = "base_model: DIR/base\n\
    parameters: {decompose: [{filter: layers.0, value: false}, {filter: layers.1.mlp.up_proj, value: false}, {value: true}]}";
/// Doubles show the last bit of every sum.
const DTYPES: [&str; 4] = ["bfloat16", "float16", "float32", "float64"];
const TRIMMED: [&str; 3] =
    ["weight: 0.6, density: 0.5", "weight: 0.8, density: 0.3", "weight: -0.4, density: 0.7"];

/// A base and three models. Most changes are of a dozen magnitudes, as where weights have
/// 16 bits, so that each cutoff of a trim lies among equals.
fn mixed_dtypes(random: &mut Random) -> [Model; 4] {
    use DType::{Bf16, F16, F32, F64};
    let tensors: [(&str, &[usize], [DType; 4]); 10] = [
        ("model.layers.0.mlp.up_proj.weight", &[300, 1_000], [Bf16; 4]),
        ("model.layers.0.mlp.down_proj.weight", &[2, 256, 256], [Bf16, F16, F32, F64]),
        ("model.layers.1.mlp.up_proj.weight", &[3, 65_537], [F32; 4]),
        ("model.layers.1.mlp.down_proj.weight", &[331, 7], [F16; 4]),
        ("model.layers.1.input_layernorm.weight", &[513], [F64; 4]),
        ("model.norm.weight", &[33], [F32, F32, Bf16, Bf16]),
        ("model.embed_tokens.weight", &[16, 24], [F16, Bf16, Bf16, F16]),
        ("lm_head.weight", &[16, 24], [Bf16; 4]),
        ("model.empty", &[0, 4], [F16, Bf16, F16, F16]),
        ("model.scalar", &[], [F32, F64, F64, F64]),
    ];
    let mut models = [(); 4].map(|()| Model::new());
    for (name, shape, dtypes) in tensors {
        let base = |_| match random.below(50) {
            0 => -0.0,
            1 => 0.0,
            _ => (random.below(257) as f64 - 128.0) / 256.0,
        };
        let base: Vec<f64> = (0..shape.iter().product()).map(base).collect();
        for (index, (model, dtype)) in models.iter_mut().zip(dtypes).enumerate() {
            let mut value = |base: &f64| match random.below(8) {
                _ if index == 0 => *base,
                0 | 1 => *base,
                2 => base + (random.below(20_001) as f64 - 10_000.0) / 300_000.0,
                _ => base + (random.below(25) as f64 - 12.0) / 256.0,
            };
            let values: Vec<f64> = base.iter().map(&mut value).collect();
            model.insert(name.to_owned(), Tensor::of(dtype, shape, &values));
        }
    }
    models
}

#[test]
fn neither_threads_nor_chunks_nor_memory_nor_the_instruction_set_change_a_byte() {
    let folder = Folder::new();
    let models = mixed_dtypes(&mut Random::new(13));
    for (name, model) in ["base", "a", "b", "c"].into_iter().zip(&models) {
        folder.write(name, &llama_config(2), model);
    }
    let options = |threads, blocks, max_memory, simd| MergeOptions {
        threads: Some(threads),
        chunk: blocks * BLOCK,
        max_memory,
        simd,
        overwrite: true,
        model_card: false,
        ..MergeOptions::default()
    };
    let first = options(1, 1, None, Simd::BASELINE);
    // Every instruction set with each of these; bf16 with all of them, each other dtype of the
    // output with a third.
    let mut others = Vec::new();
    for simd in Simd::available() {
        others.extend([
            options(1, 1_000, None, simd),
            options(2, 3, None, simd),
            options(7, 1, None, simd),
            options(7, 3, Some(1), simd),
        ]);
    }
    for method in ALL_METHODS {
        for (which, dtype) in DTYPES.into_iter().enumerate() {
            let recipe = recipe(method, "", dtype);
            let merged = |options| {
                folder.merge_with(&recipe, "out", options).unwrap();
                blake3::hash(&std::fs::read(folder.path("out").join("model.safetensors")).unwrap())
            };
            let expected = merged(&first);
            if !method.1.contains("scope: model") {
                let plan = mergecore::plan(&folder.recipe(&recipe).unwrap(), &first).unwrap();
                assert!(folder.read("out") == in_memory(&plan), "{method:?} to {dtype} in memory");
            }
            let step = if which == 0 { 1 } else { 3 };
            for other in others.iter().skip(which % step).step_by(step) {
                let MergeOptions { threads, chunk, max_memory, simd, .. } = other;
                assert_eq!(
                    merged(other),
                    expected,
                    "{method:?} to {dtype}: {threads:?} threads, chunks of {chunk}, \
                     {max_memory:?} bytes and {simd} make a difference",
                );
            }
        }
    }
}
