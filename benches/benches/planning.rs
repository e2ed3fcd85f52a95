//! Planning: recipe text to plan, headers of all models included, for mixtures of many
//! small experts. The time should be proportional to the number of tensors.
//!
//! By default models of 10,011 tensors; `PLANNING_EXPERTS=272,544` takes others.

use std::path::Path;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mergecore::{MergeConfig, MergeOptions, MergePlan, plan};
use mergecore_benches::ModelSize;

const EXPERTS: &str = "136";

fn planning(criterion: &mut Criterion) {
    let experts = std::env::var("PLANNING_EXPERTS").unwrap_or_else(|_| EXPERTS.to_owned());
    let mut group = criterion.benchmark_group("planning");
    group.sample_size(10);
    for experts in experts.split(',') {
        let size = ModelSize::fine_grained(experts.parse().expect("a number of experts"));
        let dir = tempfile::tempdir().expect("a directory for the models");
        for name in ["base", "a", "b"] {
            size.write_empty(&dir.path().join(name)).expect("a model is written");
        }
        for (name, recipe) in recipes(dir.path(), size.layers) {
            let tensors = plan_text(&recipe).tensors().len();
            group.bench_function(BenchmarkId::new(name, tensors), |bench| {
                bench.iter(|| plan_text(&recipe));
            });
        }
    }
    group.finish();
}

fn plan_text(recipe: &str) -> MergePlan {
    let config = MergeConfig::from_yaml_str(recipe).expect("a recipe");
    plan(&config, &MergeOptions::default()).expect("a plan")
}

fn recipes(dir: &Path, layers: usize) -> [(&'static str, String); 5] {
    let [base, a, b] = ["base", "a", "b"].map(|name| dir.join(name).display().to_string());
    let linear = format!(
        "merge_method: linear
models:
  - {{model: {base}, parameters: {{weight: 1}}}}
  - {{model: {a}, parameters: {{weight: 0.5}}}}
  - {{model: {b}, parameters: {{weight: 0.5}}}}
"
    );
    let ties = format!(
        "merge_method: ties
base_model: {base}
models:
  - {{model: {base}}}
  - {{model: {a}, parameters: {{weight: 0.5, density: 0.6}}}}
  - {{model: {b}, parameters: {{weight: [0, 0.3, 1], density: 0.4}}}}
parameters: {{normalize: true, lambda: 0.9}}
"
    );
    let slerp = format!(
        "merge_method: slerp
base_model: {a}
models: [{{model: {a}}}, {{model: {b}}}]
parameters:
  t:
    - {{filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}}
    - {{filter: mlp.gate., value: 0.2}}
    - {{filter: layernorm, value: [1, 0.5]}}
    - {{filter: experts, value: [1, 0.5, 0.7, 0.3, 0]}}
    - {{value: 0.5}}
"
    );
    // Runs of two layers, one beginning with each layer but the last.
    let slices = (0..layers - 1).map(|first| {
        let (model, end) = (if first % 2 == 0 { &a } else { &b }, first + 2);
        format!("  - sources: [{{model: {model}, layer_range: [{first}, {end}]}}]\n")
    });
    let stacked = format!("merge_method: passthrough\nslices:\n{}", slices.collect::<String>());
    let slices = (0..layers).map(|first| {
        let sources = [&base, &a, &b].map(|model| {
            format!(
                "{{model: {model}, layer_range: [{first}, {}], parameters: {{weight: 1}}}}",
                first + 1
            )
        });
        format!("  - sources: [{}]\n", sources.join(", "))
    });
    let sliced = format!("merge_method: linear\nslices:\n{}", slices.collect::<String>());
    [
        ("linear", linear),
        ("ties", ties),
        ("slerp", slerp),
        ("passthrough_slices", stacked),
        ("linear_slices", sliced),
    ]
}

criterion_group!(benches, planning);
criterion_main!(benches);
