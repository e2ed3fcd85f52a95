//! Every deterministic method against its definition: whole tensors at a time in
//! f64, order statistics by sorting.

use mergecore::{DType, MergeOptions};

use crate::support::{Folder, Model, Random, Tensor, is_rounded, llama_config, round};

/// What one tensor of the output should be, from the base's and the models'.
type Reference = fn(&[f64], &[Vec<f64>]) -> Vec<f64>;

struct Case {
    method: &'static str,
    shared: &'static str,
    /// Parameters of each model besides the base.
    models: &'static [&'static str],
    reference: Reference,
}

const CASES: [Case; 18] = [
    Case {
        method: "linear",
        shared: "",
        models: &["weight: 0.3", "weight: 0.9", "weight: 0.45"],
        reference: |_, m| combine(m, &[0.3 / 1.65, 0.9 / 1.65, 0.45 / 1.65]),
    },
    Case {
        method: "linear",
        shared: "normalize: false",
        models: &["weight: 0.3", "weight: -0.4"],
        reference: |_, m| combine(m, &[0.3, -0.4]),
    },
    Case {
        method: "slerp",
        shared: "t: 0.3",
        models: &[""],
        reference: |b, m| slerp(b, &m[0], 0.3),
    },
    Case {
        method: "slerp",
        shared: "t: 0.85",
        models: &["far"],
        reference: |b, m| slerp(b, &m[0], 0.85),
    },
    Case {
        method: "slerp",
        shared: "t: 1.5",
        models: &["far"],
        reference: |b, m| slerp(b, &m[0], 1.5),
    },
    Case {
        method: "task_arithmetic",
        shared: "lambda: 0.7",
        models: &["weight: 0.6", "weight: 0.8", "weight: -0.3"],
        reference: |b, m| add(b, &deltas(b, m), &[0.6, 0.8, -0.3], Mix { lambda: 0.7, ..SUM }),
    },
    Case {
        method: "task_arithmetic",
        shared: "normalize: true",
        models: &["weight: 0.6", "weight: 0.8"],
        reference: |b, m| add(b, &deltas(b, m), &[0.6, 0.8], Mix { normalize: true, ..SUM }),
    },
    Case {
        method: "ties",
        shared: "",
        models: &[
            "weight: 0.6, density: 0.5",
            "weight: 0.8, density: 0.3",
            "weight: 0.4, density: 0.05",
        ],
        reference: |b, m| add(b, &trim(deltas(b, m), &[0.5, 0.3, 0.05]), &[0.6, 0.8, 0.4], TIES),
    },
    Case {
        method: "ties",
        shared: "normalize: false, lambda: 1.3",
        models: &["weight: 0.6, density: 0.9", "weight: -0.8, density: 0.7"],
        reference: |b, m| {
            let mix = Mix { normalize: false, lambda: 1.3, ..TIES };
            add(b, &trim(deltas(b, m), &[0.9, 0.7]), &[0.6, -0.8], mix)
        },
    },
    Case {
        method: "ties",
        shared: "",
        models: &["weight: 0.6", "weight: 0.8"],
        reference: |b, m| add(b, &deltas(b, m), &[0.6, 0.8], TIES),
    },
    Case {
        method: "ties",
        shared: "",
        models: &["weight: 1, density: 0", "weight: 0.5, density: 1e-9"],
        reference: |b, m| add(b, &trim(deltas(b, m), &[0.0, 1e-9]), &[1.0, 0.5], TIES),
    },
    Case {
        method: "ties",
        shared: "rescale: true",
        models: &["weight: 1, density: 0.2", "weight: 0.5, density: 0.7"],
        reference: |b, m| add(b, &rescale(deltas(b, m), &[0.2, 0.7], l1), &[1.0, 0.5], TIES),
    },
    Case {
        method: "ties",
        shared: "rescale_norm: l1",
        models: &["weight: 1, density: 0.2", "weight: 0.5, density: 0.7"],
        reference: |b, m| add(b, &rescale(deltas(b, m), &[0.2, 0.7], l1), &[1.0, 0.5], TIES),
    },
    Case {
        method: "ties",
        shared: "rescale_norm: l2",
        models: &["weight: 1, density: 0.2", "weight: 0.5, density: 0.7"],
        reference: |b, m| add(b, &rescale(deltas(b, m), &[0.2, 0.7], l2), &[1.0, 0.5], TIES),
    },
    Case {
        method: "ties",
        shared: "rescale_norm: linf, normalize: false",
        models: &["weight: 1, density: 0.2", "weight: 0.5, density: 0.7"],
        reference: |b, m| {
            let mix = Mix { normalize: false, ..TIES };
            add(b, &rescale(deltas(b, m), &[0.2, 0.7], linf), &[1.0, 0.5], mix)
        },
    },
    Case {
        method: "ties",
        shared: "rescale_norm: density",
        models: &["weight: 1, density: 0.2", "weight: 0.5, density: 0.7"],
        reference: |b, m| {
            let mut kept = trim(deltas(b, m), &[0.2, 0.7]);
            kept[0].iter_mut().for_each(|delta| *delta /= 0.2);
            kept[1].iter_mut().for_each(|delta| *delta /= 0.7);
            add(b, &kept, &[1.0, 0.5], TIES)
        },
    },
    Case {
        method: "ties",
        shared: "rescale: false, rescale_norm: l2",
        models: &["weight: 1, density: 0.2", "weight: 0.5, density: 0.7"],
        reference: |b, m| add(b, &trim(deltas(b, m), &[0.2, 0.7]), &[1.0, 0.5], TIES),
    },
    Case {
        method: "passthrough",
        shared: "scale: 0.37",
        models: &[""],
        reference: |_, m| combine(m, &[0.37]),
    },
];

fn combine(inputs: &[Vec<f64>], weights: &[f64]) -> Vec<f64> {
    let element = |i: usize| inputs.iter().zip(weights).map(|(input, w)| w * input[i]).sum();
    (0..inputs[0].len()).map(element).collect()
}

fn slerp(a: &[f64], b: &[f64], t: f64) -> Vec<f64> {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let norm = |x: &[f64]| Some(dot(x, x).sqrt()).filter(|n| *n > 1e-8).unwrap_or(1.0);
    let cosine = dot(a, b) / (norm(a) * norm(b));
    let theta = cosine.clamp(-1.0, 1.0).acos();
    let weights = match cosine.abs() > 0.9995 {
        true => [1.0 - t, t],
        false => [((1.0 - t) * theta).sin() / theta.sin(), (t * theta).sin() / theta.sin()],
    };
    combine(&[a.to_vec(), b.to_vec()], &weights)
}

fn deltas(base: &[f64], models: &[Vec<f64>]) -> Vec<Vec<f64>> {
    models.iter().map(|m| m.iter().zip(base).map(|(m, b)| m - b).collect()).collect()
}

fn trim(deltas: Vec<Vec<f64>>, densities: &[f64]) -> Vec<Vec<f64>> {
    let trim_one = |(delta, density): (Vec<f64>, &f64)| {
        let keep = match *density {
            0.0 => 0,
            density => ((density * delta.len() as f64) as usize).max(1),
        };
        let mut order: Vec<usize> = (0..delta.len()).collect();
        // A stable sort: of equal magnitudes the lowest index comes first.
        order.sort_by(|x, y| delta[*y].abs().total_cmp(&delta[*x].abs()));
        let mut kept = vec![0.0; delta.len()];
        order.iter().take(keep).for_each(|i| kept[*i] = delta[*i]);
        kept
    };
    deltas.into_iter().zip(densities).map(trim_one).collect()
}

fn l1(x: &[f64]) -> f64 {
    x.iter().map(|v| v.abs()).sum()
}

fn l2(x: &[f64]) -> f64 {
    x.iter().map(|v| v * v).sum::<f64>().sqrt()
}

fn linf(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |largest, v| v.abs().max(largest))
}

fn rescale(deltas: Vec<Vec<f64>>, densities: &[f64], norm: fn(&[f64]) -> f64) -> Vec<Vec<f64>> {
    let mut kept = trim(deltas.clone(), densities);
    for (kept, delta) in kept.iter_mut().zip(deltas) {
        let (before, after) = (norm(&delta), norm(kept));
        if before >= 1e-7 && after >= 1e-7 {
            kept.iter_mut().for_each(|v| *v *= before / after);
        }
    }
    kept
}

#[derive(Clone, Copy)]
struct Mix {
    consensus: bool,
    normalize: bool,
    lambda: f64,
}

const SUM: Mix = Mix { consensus: false, normalize: false, lambda: 1.0 };
const TIES: Mix = Mix { consensus: true, normalize: true, lambda: 1.0 };

fn add(base: &[f64], deltas: &[Vec<f64>], weights: &[f64], mix: Mix) -> Vec<f64> {
    let element = |i: usize| {
        let weighted: Vec<f64> = deltas.iter().zip(weights).map(|(d, w)| w * d[i]).collect();
        let plus = weighted.iter().sum::<f64>() >= 0.0;
        let agrees = |w: f64| !mix.consensus || if plus { w > 0.0 } else { w < 0.0 };
        let used = weighted.iter().zip(weights).filter(|(delta, _)| agrees(**delta));
        let (sum, weight) = used.fold((0.0, 0.0), |(s, t), (delta, w)| (s + delta, t + w));
        let divisor = if mix.normalize && weight != 0.0 { weight } else { 1.0 };
        base[i] + mix.lambda * (sum / divisor)
    };
    (0..base.len()).map(element).collect()
}

/// The base, three models trained from it, and one that was not.
fn checkpoints(folder: &Folder) -> (Model, Vec<Model>, Model) {
    let mut random = Random::new(11);
    let base = random.model(&crate::support::shapes());
    let models: Vec<Model> = (0..3).map(|_| random.trained(&base)).collect();
    let far = random.model(&crate::support::shapes());
    folder.write("base", &llama_config(2), &base);
    folder.write("far", &llama_config(2), &far);
    for (index, model) in models.iter().enumerate() {
        folder.write_sharded(&format!("m{index}"), &llama_config(2), model, index + 1);
    }
    (base, models, far)
}

/// Merges by every case to one dtype; all elements must be correctly rounded.
fn check(dtype: DType) {
    let folder = Folder::new();
    let (base, models, far) = checkpoints(&folder);
    for Case { method, shared, models: parameters, reference } in CASES {
        let takes_base = !matches!(method, "linear" | "passthrough");
        let mut recipe = format!("merge_method: {method}\ndtype: {}\n", dtype.torch_name());
        if takes_base {
            recipe += "base_model: DIR/base\n";
        }
        recipe += &format!("parameters: {{{shared}}}\nmodels:\n");
        let mut used: Vec<&Model> = Vec::new();
        for (index, parameters) in parameters.iter().enumerate() {
            let (name, model, parameters) = match *parameters {
                "far" => ("far".to_owned(), &far, ""),
                parameters => (format!("m{index}"), &models[index], parameters),
            };
            recipe += &format!("  - {{model: DIR/{name}, parameters: {{{parameters}}}}}\n");
            used.push(model);
        }
        let merged = folder.merge(&recipe);
        assert_eq!(merged.len(), base.len());
        let (mut wrong, mut not_nearest, mut total) = (0, 0, 0);
        for (name, got) in &merged {
            assert_eq!((got.dtype, &got.shape), (dtype, &base[name].shape));
            let base = base[name].values();
            let models: Vec<Vec<f64>> = used.iter().map(|model| model[name].values()).collect();
            let exact = reference(&base, &models);
            for (i, got) in got.values().into_iter().enumerate() {
                let magnitudes: f64 = models.iter().map(|model| model[i].abs()).sum();
                let magnitudes = magnitudes + if takes_base { base[i].abs() } else { 0.0 };
                wrong += usize::from(!is_rounded(dtype, got, exact[i], magnitudes));
                not_nearest += usize::from(got != round(dtype, exact[i]));
                total += 1;
            }
        }
        println!(
            "{method} {{{shared}}} {dtype}: {wrong} wrong, {not_nearest} not nearest of {total}"
        );
        assert!(total > 200_000);
        assert_eq!(wrong, 0, "{method} {{{shared}}} to {dtype}: of {total}");
    }
}

#[test]
fn every_element_is_correctly_rounded_to_bfloat16() {
    check(DType::Bf16);
}

#[test]
fn every_element_is_correctly_rounded_to_float16() {
    check(DType::F16);
}

#[test]
fn every_element_is_correctly_rounded_to_float32() {
    check(DType::F32);
}

#[test]
fn every_element_is_close_in_float64() {
    check(DType::F64);
}

/// Midpoints of two values, which only a single rounding to even gets right.
#[test]
fn midpoints_go_to_the_even_neighbour() {
    let folder = Folder::new();
    for (dtype, step) in [(DType::Bf16, 2f64.powi(-8)), (DType::F16, 2f64.powi(-11))] {
        let values: Vec<f64> = (0..1000).map(|i| 1.0 + f64::from(i % 128) * 2.0 * step).collect();
        let tensor = |values: &[f64]| {
            Model::from([("w".to_owned(), Tensor::of(dtype, &[values.len()], values))])
        };
        let up: Vec<f64> = values.iter().map(|value| value + 2.0 * step).collect();
        folder.write("low", &serde_json::json!({}), &tensor(&values));
        folder.write("high", &serde_json::json!({}), &tensor(&up));
        let merged = folder.merge(
            "merge_method: linear\nmodels: [{model: DIR/low}, {model: DIR/high}]\nparameters: {weight: 1}",
        );
        for (got, low) in merged["w"].values().into_iter().zip(values) {
            assert_eq!(got, round(dtype, low + step));
            assert_eq!((got - 1.0) / (4.0 * step) % 1.0, 0.0, "{got} is odd");
        }
    }
}

#[test]
fn of_equal_magnitudes_the_first_are_kept() {
    let folder = Folder::new();
    let write = |name: &str, value: fn(usize) -> f64| {
        let values: Vec<f64> = (0..200_000).map(value).collect();
        let tensor = Tensor::of(DType::F32, &[400, 500], &values);
        folder.write(name, &serde_json::json!({}), &Model::from([("w".to_owned(), tensor)]));
    };
    write("base", |_| 0.0);
    write("model", |i| if i % 2 == 0 { 1.0 } else { -1.0 });
    let merged = folder.merge(
        "merge_method: ties\nbase_model: DIR/base\nmodels: [{model: DIR/model}]\nparameters: {weight: 1, density: 0.45}",
    );
    for (i, value) in merged["w"].values().into_iter().enumerate() {
        assert_eq!(value != 0.0, i < 90_000, "element {i}");
    }
}

/// The threshold of `scope: model` is that of the tensors laid end to end.
#[test]
fn the_largest_changes_of_all_tensors_together_are_kept() {
    let folder = Folder::new();
    let (base, models, _) = checkpoints(&folder);
    let recipe = "merge_method: ties\nbase_model: DIR/base\ndtype: float32\n\
        parameters: {scope: model}\nmodels:\n\
        - {model: DIR/m0, parameters: {weight: 0.6, density: 0.5}}\n\
        - {model: DIR/m1, parameters: {weight: 0.8, density: 0.03}}\n\
        - {model: DIR/m2, parameters: {weight: 0.4, density: 1}}";
    let plan = mergecore::plan(&folder.recipe(recipe).unwrap(), &MergeOptions::default()).unwrap();
    let names: Vec<&str> = plan.tensors().iter().map(|tensor| &tensor.name[..]).collect();
    assert_eq!(names.len(), base.len());
    let end_to_end = |model: &Model| -> Vec<f64> {
        names.iter().flat_map(|name| model[*name].values()).collect()
    };
    let (base, models): (_, Vec<_>) = (end_to_end(&base), models.iter().map(end_to_end).collect());
    let kept = trim(deltas(&base, &models), &[0.5, 0.03, 1.0]);
    let expected = add(&base, &kept, &[0.6, 0.8, 0.4], TIES);
    let of_each = trim(deltas(&base[..100], &models), &[0.5, 0.03, 1.0]);
    assert_ne!(of_each[1], kept[1][..100], "a threshold for these alone is another one");
    for max_memory in [None, Some(1)] {
        let options = MergeOptions { max_memory, overwrite: true, ..MergeOptions::default() };
        folder.merge_with(recipe, "out", &options).unwrap();
        for (i, got) in end_to_end(&folder.read("out")).into_iter().enumerate() {
            let magnitudes = base[i].abs() + models.iter().map(|model| model[i].abs()).sum::<f64>();
            assert!(is_rounded(DType::F32, got, expected[i], magnitudes), "element {i}: {got}");
        }
    }
}
