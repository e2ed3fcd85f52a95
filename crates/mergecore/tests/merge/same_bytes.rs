//! Threads, memory, shards and the files of the inputs change no byte.

use mergecore::MergeOptions;

use crate::support::{Folder, Random, llama_config, shapes};

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
