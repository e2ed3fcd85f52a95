//! Whole merges of random checkpoints: the numbers, and what must never change them.

mod support;

use mergecore::{
    CancelFlag, Dare, EngineError, Error, MergeOptions, ProgressCallback, StreamKey, bf16, f16,
    stream_key,
};
use support::{Folder, Model, bytes_of, round_bounds, values};

const BIG: &str = "model.layers.1.mlp.up_proj.weight";

/// Method, head of the recipe, and parameters of the two models beside the base.
const METHODS: [(&str, &str, [&str; 2]); 10] = [
    ("linear", "", ["weight: 0.3", "weight: 0.9"]),
    ("linear", "parameters: {normalize: false}", ["weight: 0.3", "weight: -0.4"]),
    ("slerp", "base_model: a\nparameters: {t: 0.3}", ["", ""]),
    (
        "task_arithmetic",
        "base_model: base\nparameters: {lambda: 0.7}",
        ["weight: 0.6", "weight: 0.8"],
    ),
    (
        "task_arithmetic",
        "base_model: base\nparameters: {normalize: true}",
        ["weight: 0.6", "weight: 0.8"],
    ),
    ("ties", "base_model: base", ["weight: 0.6, density: 0.5", "weight: 0.8, density: 0.3"]),
    (
        "ties",
        "base_model: base\nparameters: {normalize: false, rescale: true}",
        ["weight: 1, density: 0.2", "weight: 1, density: 0.7"],
    ),
    (
        "ties",
        "base_model: base\nparameters: {rescale_norm: l2, lambda: 1.5}",
        ["weight: 1, density: 0.2", "weight: 1, density: 0.7"],
    ),
    ("dare_linear", "base_model: base", ["weight: 0.6, density: 0.5", "weight: 0.8, density: 0.3"]),
    (
        "dare_ties",
        "base_model: base\nparameters: {rescale_norm: linf}",
        ["weight: 0.6, density: 0.5", "weight: 0.8, density: 0.3"],
    ),
];

fn recipe(folder: &Folder, method: &str, head: &str, models: [&str; 2], dtype: &str) -> String {
    let head = head.replace("base_model: ", &format!("base_model: {}/", folder.display()));
    let entry = |name: &str, parameters: &str| {
        format!("  - {{model: {}/{name}, parameters: {{{parameters}}}}}\n", folder.display())
    };
    let models = entry("a", models[0]) + &entry("b", models[1]);
    format!("merge_method: {method}\n{head}\ndtype: {dtype}\nmodels:\n{models}")
}

/// What merge_reference.py defines, whole tensors at a time in f64.
fn reference(method: usize, base: &[f64], a: &[f64], b: &[f64]) -> Vec<f64> {
    let each = |f: &dyn Fn(usize) -> f64| (0..a.len()).map(f).collect::<Vec<f64>>();
    let delta = |m: &[f64]| m.iter().zip(base).map(|(m, b)| m - b).collect::<Vec<f64>>();
    match method {
        0 => each(&|i| (0.3 * a[i] + 0.9 * b[i]) / (0.3 + 0.9)),
        1 => each(&|i| 0.3 * a[i] - 0.4 * b[i]),
        2 => {
            let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
            let norm = |x: &[f64]| Some(dot(x, x).sqrt()).filter(|n| *n > 1e-8).unwrap_or(1.0);
            let cosine = dot(a, b) / (norm(a) * norm(b));
            let theta = cosine.clamp(-1.0, 1.0).acos();
            let (s0, s1) = match cosine.abs() > 0.9995 {
                true => (0.7, 0.3),
                false => ((0.7 * theta).sin() / theta.sin(), (0.3 * theta).sin() / theta.sin()),
            };
            each(&|i| s0 * a[i] + s1 * b[i])
        }
        3 => each(&|i| base[i] + 0.7 * (0.6 * (a[i] - base[i]) + 0.8 * (b[i] - base[i]))),
        4 => each(&|i| base[i] + (0.6 * (a[i] - base[i]) + 0.8 * (b[i] - base[i])) / (0.6 + 0.8)),
        5 => ties(base, [trim(&delta(a), 0.5), trim(&delta(b), 0.3)], [0.6, 0.8], true, 1.0),
        6 => ties(
            base,
            [rescaled(&delta(a), 0.2, 1), rescaled(&delta(b), 0.7, 1)],
            [1.0, 1.0],
            false,
            1.0,
        ),
        _ => ties(
            base,
            [rescaled(&delta(a), 0.2, 2), rescaled(&delta(b), 0.7, 2)],
            [1.0, 1.0],
            true,
            1.5,
        ),
    }
}

fn trim(delta: &[f64], density: f64) -> Vec<f64> {
    let keep = ((density * delta.len() as f64) as usize).max(1);
    let mut order: Vec<usize> = (0..delta.len()).collect();
    order.sort_by(|x, y| delta[*y].abs().total_cmp(&delta[*x].abs()));
    let mut kept = vec![0.0; delta.len()];
    order.iter().take(keep).for_each(|i| kept[*i] = delta[*i]);
    kept
}

fn rescaled(delta: &[f64], density: f64, norm: i32) -> Vec<f64> {
    let kept = trim(delta, density);
    let measure =
        |x: &[f64]| x.iter().map(|v| v.abs().powi(norm)).sum::<f64>().powf(1.0 / f64::from(norm));
    let (before, after) = (measure(delta), measure(&kept));
    let factor = if before < 1e-7 || after < 1e-7 { 1.0 } else { before / after };
    kept.iter().map(|v| v * factor).collect()
}

fn ties(
    base: &[f64],
    deltas: [Vec<f64>; 2],
    weights: [f64; 2],
    normalize: bool,
    lambda: f64,
) -> Vec<f64> {
    let element = |i: usize| {
        let weighted = [0, 1].map(|m| weights[m] * deltas[m][i]);
        let positive = weighted[0] + weighted[1] >= 0.0;
        let agrees = weighted.map(|w| if positive { w > 0.0 } else { w < 0.0 });
        let sum = |x: [f64; 2]| (0..2).filter(|m| agrees[*m]).map(|m| x[m]).sum::<f64>();
        let divisor = if normalize && sum(weights) != 0.0 { sum(weights) } else { 1.0 };
        base[i] + lambda * (sum(weighted) / divisor)
    };
    (0..base.len()).map(element).collect()
}

#[test]
fn every_deterministic_method_is_correctly_rounded() {
    let folder = Folder::new();
    let [base, a, b] = folder.write_mixed(11);
    for (index, (method, head, models)) in METHODS.into_iter().enumerate().take(8) {
        for dtype in ["bfloat16", "float16", "float32"] {
            let out = format!("{index}-{dtype}");
            folder
                .merge(
                    &recipe(&folder, method, head, models, dtype),
                    &out,
                    &MergeOptions::default(),
                )
                .unwrap();
            let merged = folder.read(&out);
            let (mut wrong, mut total) = (0, 0);
            for (name, stored) in &merged {
                let [base, a, b] = [&base, &a, &b].map(|model: &Model| values(&model[name]));
                let expected = reference(index, &base, &a, &b);
                for (i, got) in values(stored).into_iter().enumerate() {
                    let inputs = match index {
                        0..3 => a[i].abs() + b[i].abs(),
                        _ => base[i].abs() + a[i].abs() + b[i].abs(),
                    };
                    let (low, high) = round_bounds(dtype, expected[i], 1e-12 * inputs);
                    wrong += u64::from(!(low..=high).contains(&got));
                    total += 1;
                }
            }
            assert!(total > 300_000);
            assert_eq!(wrong, 0, "{method} ({head}) to {dtype}: of {total}");
        }
    }
}

#[test]
fn nothing_but_recipe_inputs_and_seed_changes_a_byte() {
    let folder = Folder::new();
    folder.write_mixed(12);
    for (index, (method, head, models)) in METHODS.into_iter().enumerate() {
        let recipe = recipe(&folder, method, head, models, "bfloat16");
        let variants = [
            MergeOptions { threads: Some(1), ..MergeOptions::default() },
            MergeOptions { threads: Some(2), ..MergeOptions::default() },
            MergeOptions { threads: Some(7), max_memory: Some(1), ..MergeOptions::default() },
            MergeOptions {
                threads: Some(2),
                max_memory: Some(3 << 20),
                max_shard_bytes: 200_000,
                ..MergeOptions::default()
            },
            MergeOptions { hash: false, ..MergeOptions::default() },
        ];
        let outputs = variants.into_iter().enumerate().map(|(i, options)| {
            let out = format!("{index}-{i}");
            folder.merge(&recipe, &out, &options).unwrap();
            folder.read(&out)
        });
        let outputs: Vec<Model> = outputs.collect();
        for (i, other) in outputs.iter().enumerate().skip(1) {
            assert!(outputs[0] == *other, "{method} ({head}), variant {i}");
        }
        let reseeded = MergeOptions { seed: 1, ..MergeOptions::default() };
        folder.merge(&recipe, &format!("{index}-seed"), &reseeded).unwrap();
        let same = outputs[0] == folder.read(&format!("{index}-seed"));
        assert_eq!(same, !method.starts_with("dare"), "{method} with another seed");
    }
}

#[test]
fn dare_keeps_and_scales_what_its_mask_says() {
    let folder = Folder::new();
    let [base, a, _] = folder.write_mixed(13);
    for density in [0.1, 0.53, 0.9] {
        let text = format!(
            "merge_method: dare_linear\nbase_model: {0}/base\ndtype: float32\nmodels:\n  - {{model: {0}/a, parameters: {{weight: 1, density: {density}}}}}\n",
            folder.display()
        );
        let out = format!("{density}");
        folder.merge(&text, &out, &MergeOptions { seed: 5, ..MergeOptions::default() }).unwrap();
        let (base, a, merged) =
            (values(&base[BIG]), values(&a[BIG]), values(&folder.read(&out)[BIG]));
        let stream: StreamKey = stream_key(5, BIG);
        let dare = Dare { weights: vec![1.0], densities: vec![density], stream, ..Dare::default() };
        let mask = dare.mask(0, 0, base.len()).unwrap();
        let kept = mask.iter().filter(|kept| **kept).count() as f64;
        let (n, p) = (base.len() as f64, density);
        assert!((kept - n * p).abs() < 6.0 * (n * p * (1.0 - p)).sqrt(), "{kept} of {n} at {p}");
        for i in 0..base.len() {
            let expected = if mask[i] { base[i] + (a[i] - base[i]) / density } else { base[i] };
            let (low, high) =
                round_bounds("float32", expected, 1e-12 * (base[i].abs() + a[i].abs()));
            assert!((low..=high).contains(&merged[i]), "element {i} at density {density}");
        }
    }
}

#[test]
fn merges_that_change_nothing_give_a_model_bit_for_bit() {
    let folder = Folder::new();
    let models = folder.write_mixed(14);
    let dir = folder.display();
    let entry = |name: &str, parameters: &str| {
        format!("  - {{model: {dir}/{name}, parameters: {{{parameters}}}}}\n")
    };
    let cases = [
        ("linear", "", entry("a", "weight: 0.3") + &entry("a", "weight: 0.9"), 1),
        ("linear", "", entry("a", "weight: 1") + &entry("b", "weight: 0"), 1),
        ("slerp", "base_model: B/a\nparameters: {t: 0}", entry("a", "") + &entry("b", ""), 1),
        ("slerp", "base_model: B/b\nparameters: {t: 1}", entry("a", "") + &entry("b", ""), 1),
        ("ties", "base_model: B/base", entry("a", "weight: 1, density: 1"), 1),
        ("task_arithmetic", "base_model: B/base", entry("a", "weight: 1"), 1),
        ("dare_ties", "base_model: B/base", entry("a", "weight: 1, density: 1"), 1),
        ("dare_linear", "base_model: B/base", entry("a", "weight: 1, density: 1"), 1),
        ("ties", "base_model: B/base", entry("a", "weight: 0") + &entry("b", "weight: 0"), 0),
        ("dare_ties", "base_model: B/base", entry("a", "weight: 0, density: 0.5"), 0),
        ("passthrough", "", entry("a", ""), 1),
    ];
    for (index, (method, head, entries, same_as)) in cases.into_iter().enumerate() {
        let head = head.replace("B/", &format!("{dir}/"));
        let out = format!("same-{index}");
        let text = format!("merge_method: {method}\n{head}\ndtype: float64\nmodels:\n{entries}");
        folder.merge(&text, &out, &MergeOptions::default()).unwrap();
        for (name, stored) in folder.read(&out) {
            let (got, expected) = (values(&stored), values(&models[same_as][&name]));
            let same = got.iter().zip(&expected).all(|(x, y)| x.to_bits() == y.to_bits());
            assert!(same, "{method} ({head}): {name}");
        }
    }
}

#[test]
fn slices_stack_layers_and_config_json_follows() {
    let folder = Folder::new();
    let [_, a, b] = folder.write_mixed(15);
    let text = format!(
        "merge_method: passthrough\nslices:\n  - sources: [{{model: {0}/a, layer_range: [0, 2]}}]\n  - sources: [{{model: {0}/b, layer_range: [1, 3], parameters: {{scale: [{{filter: up_proj, value: 0.5}}, {{value: 1}}]}}}}]\n",
        folder.display()
    );
    folder.merge(&text, "stack", &MergeOptions::default()).unwrap();
    let merged = folder.read("stack");
    assert_eq!(merged["model.embed_tokens.weight"], a["model.embed_tokens.weight"]);
    assert_eq!(merged["lm_head.weight"], b["lm_head.weight"]);
    for (layer, (model, from)) in [(&a, 0), (&a, 1), (&b, 1), (&b, 2)].into_iter().enumerate() {
        let name = |layer: usize, part: &str| format!("model.layers.{layer}.{part}.weight");
        assert_eq!(
            merged[&name(layer, "self_attn.q_proj")],
            model[&name(from, "self_attn.q_proj")]
        );
        if layer < 2 {
            assert_eq!(merged[&name(layer, "mlp.up_proj")], model[&name(from, "mlp.up_proj")]);
        }
    }
    assert!(!merged.keys().any(|name| name.contains("layers.4")));
    let config = std::fs::read_to_string(folder.path("stack/config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["num_hidden_layers"], 4);
    assert_eq!(config["layer_types"], serde_json::json!(["even", "odd", "odd", "even"]));
    let keys: Vec<&str> = config.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        ["zeta", "model_type", "num_hidden_layers", "layer_types", "torch_dtype", "vocab_size"]
    );
}

#[test]
fn progress_ends_at_the_total_and_cancelling_leaves_nothing() {
    let folder = Folder::new();
    folder.write_mixed(16);
    let (method, head, models) = METHODS[5];
    let text = recipe(&folder, method, head, models, "bfloat16");
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = std::sync::Arc::clone(&seen);
    let progress = ProgressCallback::new(move |progress| log.lock().unwrap().push(progress));
    let options =
        MergeOptions { threads: Some(1), progress: Some(progress), ..MergeOptions::default() };
    let report = folder.merge(&text, "out", &options).unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen.windows(2).all(|pair| pair[0].bytes_done <= pair[1].bytes_done));
    let last = seen.last().unwrap();
    assert_eq!((last.bytes_done, last.tensors_done), (report.bytes, report.tensors));
    assert_eq!((last.bytes_total, last.tensors_total), (report.bytes, report.tensors));

    let cancel = CancelFlag::new();
    let pull = cancel.clone();
    let progress = ProgressCallback::new(move |_| pull.cancel());
    let options =
        MergeOptions { progress: Some(progress), cancel: Some(cancel), ..MergeOptions::default() };
    let error = folder.merge(&text, "cancelled", &options).unwrap_err();
    assert!(matches!(error, Error::Merge(EngineError::Cancelled)), "{error}");
    assert!(
        !folder.path("cancelled").exists() && !folder.path(".cancelled.mergecore-partial").exists()
    );
}

#[test]
fn the_manifest_holds_the_hashes_of_what_was_read_and_written() {
    let folder = Folder::new();
    let [_, a, _] = folder.write_mixed(17);
    let (method, head, models) = METHODS[0];
    folder
        .merge(&recipe(&folder, method, head, models, "float16"), "out", &MergeOptions::default())
        .unwrap();
    let manifest = std::fs::read_to_string(folder.path("out/merge_manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let merged = folder.read("out");
    let tensors = manifest["tensors"].as_array().unwrap();
    assert_eq!(tensors.len(), merged.len());
    for tensor in tensors {
        let name = tensor["name"].as_str().unwrap();
        assert_eq!(tensor["blake3"], blake3::hash(bytes_of(&merged[name])).to_string().as_str());
        assert_eq!(
            tensor["inputs"][0]["blake3"],
            blake3::hash(bytes_of(&a[name])).to_string().as_str()
        );
    }
}

#[test]
fn what_programs_hold_can_cross_threads() {
    fn check<T: Send + Sync>() {}
    check::<mergecore::MergeConfig>();
    check::<mergecore::MergeOptions>();
    check::<mergecore::MergePlan>();
    check::<mergecore::MergeReport>();
    check::<mergecore::Registry>();
    check::<mergecore::Error>();
    check::<(bf16, f16)>();
}

#[test]
fn a_panic_in_a_callback_is_passed_on_and_leaves_nothing() {
    let folder = Folder::new();
    folder.write_mixed(18);
    let (method, head, models) = METHODS[5];
    let text = recipe(&folder, method, head, models, "bfloat16");
    let progress = ProgressCallback::new(|_| panic!("of the callback's own"));
    let options =
        MergeOptions { threads: Some(2), progress: Some(progress), ..MergeOptions::default() };
    let merging = std::panic::AssertUnwindSafe(|| folder.merge(&text, "out", &options));
    let merged = std::panic::catch_unwind(merging);
    assert!(merged.is_err());
    assert!(!folder.path("out").exists() && !folder.path(".out.mergecore-partial").exists());
}
