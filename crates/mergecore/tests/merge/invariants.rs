//! Merges that must change nothing, bit for bit, and merges that must agree.

use mergecore::DType;
use serde_json::json;

use crate::support::{FLOATS, Folder, Model, Tensor, llama_config};

/// That the merge is the model bit for bit, in float64, which holds every value.
fn assert_gives(folder: &Folder, recipe: &str, model: &Model) {
    let merged = folder.merge(&format!("dtype: float64\n{recipe}"));
    assert_eq!(merged.len(), model.len());
    for (name, tensor) in merged {
        let bits = |tensor: &Tensor| tensor.values().into_iter().map(f64::to_bits).collect();
        let (got, expected): (Vec<u64>, Vec<u64>) = (bits(&tensor), bits(&model[&name]));
        assert!(got == expected, "{recipe}: {name}");
    }
}

#[test]
fn identical_models_give_that_model_in_every_dtype() {
    let folder = Folder::new();
    let [_, a, _] = folder.write_random(21);
    assert!(FLOATS.iter().all(|dtype| a.values().any(|tensor| tensor.dtype == *dtype)));
    for recipe in [
        "merge_method: linear\nmodels: [{model: DIR/a, parameters: {weight: 0.3}}, {model: DIR/a, parameters: {weight: 0.9}}, {model: DIR/a, parameters: {weight: 0.1}}]",
        "merge_method: linear\nmodels: [{model: DIR/a, parameters: {weight: 3}}, {model: DIR/a, parameters: {weight: -1}}]",
        "merge_method: slerp\nbase_model: DIR/a\nmodels: [{model: DIR/a}, {model: DIR/a}]\nparameters: {t: 0.3}",
    ] {
        assert!(folder.merge(recipe) == a, "{recipe}");
        assert_gives(&folder, recipe, &a);
    }
}

#[test]
fn one_model_alone_comes_out_as_it_is() {
    let folder = Folder::new();
    let [_, a, b] = folder.write_random(22);
    let onto_base = |method: &str, parameters: &str| {
        format!(
            "merge_method: {method}\nbase_model: DIR/base\nmodels: [{{model: DIR/a}}]\nparameters: {{weight: 1, {parameters}}}"
        )
    };
    let between = |base: &str, t: f64| {
        format!(
            "merge_method: slerp\nbase_model: DIR/{base}\nmodels: [{{model: DIR/a}}, {{model: DIR/b}}]\nparameters: {{t: {t}}}"
        )
    };
    let linear = |weights: [f64; 3], end: &str| {
        let [a, b, base] = weights;
        format!(
            "merge_method: linear\nmodels: [{{model: DIR/a, parameters: {{weight: {a}}}}}, {{model: DIR/b, parameters: {{weight: {b}}}}}, {{model: DIR/base, parameters: {{weight: {base}}}}}]\n{end}"
        )
    };
    for (recipe, model) in [
        ("merge_method: passthrough\nmodels: [{model: DIR/a}]".to_owned(), &a),
        (
            "merge_method: passthrough\nmodels: [{model: DIR/a, parameters: {scale: 1}}]"
                .to_owned(),
            &a,
        ),
        (
            "merge_method: linear\nmodels: [{model: DIR/a}]\nparameters: {weight: 0.7}".to_owned(),
            &a,
        ),
        (linear([1.0, 0.0, 0.0], ""), &a),
        (linear([0.0, 1.0, 0.0], "parameters: {normalize: false}"), &b),
        (between("a", 0.0), &a),
        (between("a", 1.0), &b),
        (between("b", 0.0), &b),
        (between("b", 1.0), &a),
        (onto_base("task_arithmetic", ""), &a),
        (onto_base("ties", ""), &a),
        (onto_base("ties", "rescale_norm: l2, normalize: false, density: 1"), &a),
        (onto_base("dare_linear", "density: 1"), &a),
        (onto_base("dare_ties", "density: 1"), &a),
    ] {
        assert_gives(&folder, &recipe, model);
    }
}

#[test]
fn nothing_added_gives_the_base() {
    let folder = Folder::new();
    let [base, ..] = folder.write_random(23);
    folder.write("same", &llama_config(2), &base);
    for method in ["task_arithmetic", "ties", "dare_linear", "dare_ties"] {
        for (models, parameters) in [
            ("{model: DIR/a}, {model: DIR/b}", "weight: 0"),
            ("{model: DIR/a}, {model: DIR/b}", "weight: 1, lambda: 0"),
            ("{model: DIR/a}, {model: DIR/b}", "weight: 1, density: 0"),
            // Models that are the base change nothing whatever their weights.
            ("{model: DIR/same}, {model: DIR/same}", "weight: 0.3"),
        ] {
            if method == "task_arithmetic" && parameters.contains("density") {
                continue;
            }
            let recipe = format!(
                "merge_method: {method}\nbase_model: DIR/base\nmodels: [{models}]\nparameters: {{{parameters}}}"
            );
            assert!(folder.merge(&recipe) == base, "{recipe}");
            assert_gives(&folder, &recipe, &base);
        }
    }
}

#[test]
fn density_one_prunes_nothing() {
    let folder = Folder::new();
    folder.write_random(24);
    let merge = |method: &str, parameters: &str| {
        folder.merge(&format!(
            "merge_method: {method}\nbase_model: DIR/base\ndtype: float32\nmodels: [{{model: DIR/a, parameters: {{weight: 0.7}}}}, {{model: DIR/b, parameters: {{weight: 0.4}}}}]\nparameters: {{{parameters}}}"
        ))
    };
    let (sum, elected) = (merge("task_arithmetic", ""), merge("ties", "normalize: false"));
    assert!(sum != elected);
    for (expected, method, parameters) in [
        (&sum, "dare_linear", "density: 1"),
        (&sum, "dare_linear", "density: 1, rescale: false"),
        (&sum, "dare_linear", "density: 1, rescale_norm: l1"),
        (&elected, "ties", "normalize: false, density: 1"),
        (&elected, "ties", "normalize: false, density: 1, rescale: true"),
        (&elected, "dare_ties", "density: 1"),
        (&elected, "dare_ties", "density: 1, rescale_norm: linf"),
    ] {
        assert!(*expected == merge(method, parameters), "{method}, {parameters}");
    }
}

/// A vote of exactly zero.
#[test]
fn opposite_changes_elect_plus() {
    let folder = Folder::new();
    for (name, value) in [("middle", 1.0), ("up", 1.25), ("down", 0.75)] {
        folder.write_llama(name, 1, value);
    }
    for (method, parameters) in [
        ("ties", "weight: 0.5"),
        ("ties", "weight: 1, normalize: false"),
        ("dare_ties", "weight: 1"),
    ] {
        for models in ["{model: DIR/up}, {model: DIR/down}", "{model: DIR/down}, {model: DIR/up}"] {
            let merged = folder.merge(&format!(
                "merge_method: {method}\nbase_model: DIR/middle\nmodels: [{models}]\nparameters: {{{parameters}}}"
            ));
            assert!(merged.values().all(|tensor| tensor.value() == 1.25), "{method}: {models}");
        }
    }
}

#[test]
fn zeros_keep_their_sign() {
    let folder = Folder::new();
    for (name, zero) in [("zero", 0.0), ("minus", -0.0)] {
        let tensor = Tensor::of(DType::F32, &[2], &[zero, 1.0]);
        folder.write(name, &json!({}), &Model::from([("w".to_owned(), tensor)]));
    }
    for recipe in [
        "merge_method: ties\nbase_model: DIR/zero\nmodels: [{model: DIR/minus}]\nparameters: {weight: 1}",
        "merge_method: ties\nbase_model: DIR/minus\nmodels: [{model: DIR/zero}]\nparameters: {weight: 0}",
        "merge_method: dare_ties\nbase_model: DIR/minus\nmodels: [{model: DIR/zero}]\nparameters: {weight: 0.5}",
        "merge_method: linear\nmodels: [{model: DIR/minus}, {model: DIR/minus}]\nparameters: {weight: 0.3}",
        "merge_method: slerp\nbase_model: DIR/minus\nmodels: [{model: DIR/minus}, {model: DIR/minus}]\nparameters: {t: 0.3}",
        "merge_method: passthrough\nmodels: [{model: DIR/minus}]",
    ] {
        let bits: Vec<u64> =
            folder.merge(recipe)["w"].values().iter().map(|v| v.to_bits()).collect();
        assert_eq!(bits, [(-0.0f64).to_bits(), 1f64.to_bits()], "{recipe}");
    }
}

#[test]
fn integers_are_copied_when_equal_and_refused_otherwise() {
    let folder = Folder::new();
    let model = |float: f64| {
        let integers: Vec<u8> = (0..800_000u32).map(|i| (i % 251) as u8).collect();
        let tensor = |dtype, len: usize| Tensor {
            dtype,
            shape: vec![len],
            bytes: integers[..len * DType::size(dtype)].to_vec(),
        };
        let bools = Tensor { dtype: DType::Bool, shape: vec![3], bytes: vec![1, 0, 1] };
        Model::from([
            ("bools".to_owned(), bools),
            ("bytes".to_owned(), tensor(DType::U8, 70_000)),
            ("longs".to_owned(), tensor(DType::I64, 100_000)),
            ("w".to_owned(), Tensor::constant(float)),
        ])
    };
    let (a, b) = (model(1.0), model(3.0));
    let [mut changed, mut other, mut float] = [b.clone(), b.clone(), b.clone()];
    changed.get_mut("longs").unwrap().bytes[70_000 * 8 + 3] += 1;
    changed.get_mut("longs").unwrap().bytes[90_000 * 8] += 1;
    other.get_mut("bytes").unwrap().dtype = DType::I8;
    float.get_mut("w").unwrap().dtype = DType::I32;
    for (name, model) in
        [("a", &a), ("b", &b), ("changed", &changed), ("other", &other), ("float", &float)]
    {
        folder.write(name, &json!({}), model);
    }
    for (method, end) in [
        ("linear", "parameters: {weight: 1}"),
        ("ties", "base_model: DIR/a\nparameters: {weight: 1, density: 0.5}"),
        ("slerp", "base_model: DIR/a\nparameters: {t: 0.5}"),
    ] {
        let recipe = |other: &str| {
            format!(
                "merge_method: {method}\ndtype: bfloat16\nmodels: [{{model: DIR/a}}, {{model: DIR/{other}}}]\n{end}"
            )
        };
        let merged = folder.merge(&recipe("b"));
        assert!(["bools", "bytes", "longs"].iter().all(|name| merged[*name] == a[*name]));
        assert_eq!(merged["w"].dtype, DType::Bf16);
        for (other, expected) in [
            ("changed", ["`longs`", "element 70000"]),
            ("other", ["`bytes` is I8 in", "but U8 in"]),
            ("float", ["`w` is I32 in", "but F32 in"]),
        ] {
            let error = folder.refuse(&recipe(other));
            assert!(expected.iter().all(|text| error.contains(text)), "{error}");
        }
    }
    let alone =
        folder.merge("merge_method: passthrough\ndtype: bfloat16\nmodels: [{model: DIR/a}]");
    assert_eq!(alone["longs"], a["longs"]);
}

#[test]
fn without_a_dtype_each_tensor_keeps_the_bases() {
    let folder = Folder::new();
    let [base, a, _] = folder.write_random(25);
    let dtypes = |model: &Model| model.values().map(|tensor| tensor.dtype).collect::<Vec<_>>();
    let ties = "merge_method: ties\nbase_model: DIR/base\nmodels: [{model: DIR/a}, {model: DIR/b}]\nparameters: {weight: 1, density: 0.5}\n";
    let linear =
        "merge_method: linear\nmodels: [{model: DIR/a}, {model: DIR/b}]\nparameters: {weight: 1}\n";
    assert_eq!(dtypes(&folder.merge(ties)), dtypes(&base));
    assert_eq!(dtypes(&folder.merge(linear)), dtypes(&a));
    let all = |dtype| vec![dtype; base.len()];
    assert_eq!(dtypes(&folder.merge(&format!("{ties}dtype: float16"))), all(DType::F16));
    let both = folder.merge(&format!("{ties}dtype: float16\nout_dtype: float32"));
    assert_eq!(dtypes(&both), all(DType::F32));
    // `dtype` never makes the arithmetic worse.
    assert!(both == folder.merge(&format!("{ties}dtype: float32")));
}
