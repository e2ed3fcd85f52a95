//! Threads, memory, chunks, instruction sets, shards and the files of the inputs change
//! no byte.

use mergecore::kernel::BLOCK;
use mergecore::{DType, MergeOptions, Simd};

use crate::support::{Folder, Model, Random, Tensor, llama_config, shapes};

/// Method, head of the recipe, and parameters of `a` and `b`.
const METHODS: [(&str, &str, [&str; 2]); 12] = [
    ("linear", "", ["weight: 0.3", "weight: 0.9"]),
    ("slerp", "parameters: {t: 0.3}", ["", ""]),
    ("task_arithmetic", "base_model: DIR/base", ["weight: 0.6", "weight: 0.8"]),
    ("ties", "base_model: DIR/base", ["weight: 0.6, density: 0.5", "weight: 0.8, density: 0.3"]),
    ("ties", "base_model: DIR/base\nparameters: {rescale_norm: l1}", DENSE),
    ("ties", "base_model: DIR/base\nparameters: {rescale_norm: l2}", DENSE),
    ("ties", "base_model: DIR/base\nparameters: {rescale_norm: linf}", DENSE),
    ("dare_linear", "base_model: DIR/base", DENSE),
    ("dare_linear", "base_model: DIR/base\nparameters: {rescale_norm: l1}", DENSE),
    ("dare_ties", "base_model: DIR/base", DENSE),
    ("dare_ties", "base_model: DIR/base\nparameters: {rescale_norm: l2}", DENSE),
    // Copies, and conversions where a's dtype is not the output's.
    ("task_arithmetic", "base_model: DIR/base", ["weight: 0", "weight: 0"]),
];
const DENSE: [&str; 2] = ["weight: 0.6, density: 0.5", "weight: 0.8, density: 0.3"];

/// The recipe, with the models of names that end so.
fn recipe(method: &str, head: &str, models: [&str; 2], ending: &str) -> String {
    let mut head = head.replace("DIR/base", &format!("DIR/base{ending}"));
    if method == "slerp" {
        head += &format!("\nbase_model: DIR/a{ending}");
    }
    format!(
        "merge_method: {method}\n{head}\ndtype: bfloat16\nmodels:\n  - {{model: DIR/a{ending}, parameters: {{{}}}}}\n  - {{model: DIR/b{ending}, parameters: {{{}}}}}\n",
        models[0], models[1]
    )
}

#[test]
fn nothing_but_recipe_inputs_and_seed_changes_a_byte() {
    let folder = Folder::new();
    let mut random = Random::new(12);
    let mut shapes = shapes();
    shapes.push(("model.layers.0.large.weight".to_owned(), vec![3, 100_003]));
    let base = random.model(&shapes);
    let models = [base.clone(), random.trained(&base), random.trained(&base)];
    for (name, model) in ["base", "a", "b"].into_iter().zip(&models) {
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
    for (method, head, models) in METHODS {
        let merge = |options: &MergeOptions, ending| {
            let recipe = recipe(method, head, models, ending);
            let report = folder.merge_with(&recipe, "out", options).unwrap();
            (folder.read("out"), report.files)
        };
        let (expected, files) = merge(&options(1, None, one_file), "");
        assert_eq!((files, expected.len()), (1, shapes.len()));
        for (what, options, ending) in &variants {
            let (got, files) = merge(options, ending);
            assert_eq!(files > 1, options.max_shard_bytes < one_file, "{what}");
            assert!(got == expected, "{method} ({head}): {what} made a difference");
        }
    }
}

/// The built-in methods: name, head of the recipe, and parameters of `a`, `b`, `c`, of
/// as many as the method is to have.
const ALL_METHODS: [(&str, &str, &[&str]); 12] = [
    ("linear", "", &["weight: 0.3", "weight: 0.9"]),
    ("linear", "", &["weight: 0.3", "weight: 0.9", "weight: 0.45"]),
    ("passthrough", "", &["scale: 0.7"]),
    ("slerp", "base_model: DIR/a\nparameters: {t: 0.3}", &["", ""]),
    ("task_arithmetic", "base_model: DIR/base", &["weight: 0.6", "weight: 0.8", "weight: -0.3"]),
    ("ties", "base_model: DIR/base", &TRIMMED),
    ("ties", "base_model: DIR/base\nparameters: {normalize: false, rescale_norm: l1}", &TRIMMED),
    ("ties", "base_model: DIR/base\nparameters: {rescale_norm: l2}", &TRIMMED),
    ("ties", "base_model: DIR/base\nparameters: {rescale_norm: linf}", &TRIMMED),
    ("dare_linear", "base_model: DIR/base", &TRIMMED),
    ("dare_ties", "base_model: DIR/base", &TRIMMED),
    ("dare_ties", "base_model: DIR/base\nparameters: {rescale_norm: l2}", &TRIMMED),
];
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
    for (method, head, parameters) in ALL_METHODS {
        for (which, dtype) in DTYPES.into_iter().enumerate() {
            let mut recipe = format!("merge_method: {method}\n{head}\ndtype: {dtype}\nmodels:\n");
            for (model, parameters) in ["a", "b", "c"].iter().zip(parameters) {
                recipe += &format!("  - {{model: DIR/{model}, parameters: {{{parameters}}}}}\n");
            }
            let merged = |options| {
                folder.merge_with(&recipe, "out", options).unwrap();
                blake3::hash(&std::fs::read(folder.path("out").join("model.safetensors")).unwrap())
            };
            let expected = merged(&first);
            let step = if which == 0 { 1 } else { 3 };
            for other in others.iter().skip(which % step).step_by(step) {
                let MergeOptions { threads, chunk, max_memory, simd, .. } = other;
                assert_eq!(
                    merged(other),
                    expected,
                    "{method} ({head}) of {} to {dtype}: {threads:?} threads, chunks of {chunk}, \
                     {max_memory:?} bytes and {simd} make a difference",
                    parameters.len(),
                );
            }
        }
    }
}
