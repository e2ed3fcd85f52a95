//! Every deterministic method over whole checkpoints of random dtypes against the formulas of
//! the method crates' tests, which are written down plainly for whole tensors in `f64`. What has
//! a formula in `merge/rounding.rs` is not here again.

use checkpoints::{FLOATS, Folder, Model, Random, is_rounded, llama_config, shapes};
use mergecore::{
    Breadcrumbs, Consensus, ConsensusTa, Election, IsoC, MagMax, NearSwap, Ram, RamPlus, Sce, Tsv,
};

#[path = "../../mergecore-adaptive/tests/formula/mod.rs"]
mod adaptive;
#[allow(dead_code)] // the other tests' part
#[path = "merge/support.rs"]
mod checkpoints;
#[path = "../../mergecore-slerp/tests/formula/mod.rs"]
mod slerp;
#[path = "../../mergecore-spectral/tests/formula/mod.rs"]
mod spectral;
#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;
#[path = "../../mergecore-ties/tests/formula/mod.rs"]
mod ties;

/// What one tensor of this shape should be, from the base's elements and the models'; `None`
/// where the formula is undecided.
type Reference = fn(&[Vec<f64>], &[usize]) -> Option<Vec<f64>>;

struct Case {
    method: &'static str,
    /// Whether the recipe names the base.
    with_base: bool,
    shared: &'static str,
    /// Parameters of each model besides the base.
    models: &'static [&'static str],
    reference: Reference,
}

const WEIGHTS: &[&str] = &["weight: 0.6", "weight: 0.3", "weight: 0.2"];
const TWO: &[&str] = &["weight: 0.6", "weight: 0.3"];
const NONE: &[&str] = &["", "", ""];
const CRUMBS: &[&str] = &[
    "weight: 0.6, density: 0.5, gamma: 0.02",
    "weight: 0.8, density: 0.3",
    "weight: -0.4, density: 0.9, gamma: 0.2",
];

const CASES: [Case; 24] = [
    Case {
        method: "nuslerp",
        with_base: false,
        shared: "",
        models: TWO,
        reference: |x, shape| Some(slerp::nuslerp::naive(None, &x[1..], [0.6, 0.3], shape, None)),
    },
    Case {
        method: "nuslerp",
        with_base: true,
        shared: "",
        models: TWO,
        reference: |x, shape| {
            Some(slerp::nuslerp::naive(Some(&x[0]), &x[1..], [0.6, 0.3], shape, None))
        },
    },
    Case {
        method: "nuslerp",
        with_base: false,
        shared: "nuslerp_flatten: false",
        models: TWO,
        reference: |x, shape| {
            let last = shape.len().checked_sub(1)?;
            Some(slerp::nuslerp::naive(None, &x[1..], [0.6, 0.3], shape, Some(last)))
        },
    },
    Case {
        method: "nuslerp",
        with_base: true,
        shared: "nuslerp_flatten: false, nuslerp_row_wise: true",
        models: TWO,
        reference: |x, shape| {
            let first = shape.first().map(|_| 0)?;
            Some(slerp::nuslerp::naive(Some(&x[0]), &x[1..], [0.6, 0.3], shape, Some(first)))
        },
    },
    Case {
        method: "multislerp",
        with_base: false,
        shared: "",
        models: WEIGHTS,
        reference: |x, _| {
            slerp::multislerp::naive(None, &x[1..], &[0.6 / 1.1, 0.3 / 1.1, 0.2 / 1.1], 1e-8)
        },
    },
    Case {
        method: "multislerp",
        with_base: true,
        shared: "normalize_weights: false",
        models: WEIGHTS,
        reference: |x, _| slerp::multislerp::naive(Some(&x[0]), &x[1..], &[0.6, 0.3, 0.2], 1e-8),
    },
    Case {
        method: "karcher",
        with_base: false,
        shared: "",
        models: NONE,
        reference: |x, _| slerp::karcher::naive(&x[1..], 10, 1e-5),
    },
    Case {
        method: "breadcrumbs",
        with_base: true,
        shared: "",
        models: CRUMBS,
        reference: |x, _| Some(ties::naive_breadcrumbs(x, &crumbs(), None)),
    },
    Case {
        method: "breadcrumbs_ties",
        with_base: true,
        shared: "",
        models: CRUMBS,
        reference: |x, _| Some(ties::naive_breadcrumbs(x, &crumbs(), Some(Election::default()))),
    },
    Case {
        method: "breadcrumbs_ties",
        with_base: true,
        shared: "consensus: count, normalize: true, lambda: 0.7",
        models: CRUMBS,
        reference: |x, _| {
            let params = Breadcrumbs { normalize: true, lambda: 0.7, ..crumbs() };
            let election = Election { consensus: Consensus::Count, ..Election::default() };
            Some(ties::naive_breadcrumbs(x, &params, Some(election)))
        },
    },
    Case {
        method: "sce",
        with_base: true,
        shared: "select_topk: 0.3",
        models: NONE,
        reference: |x, _| Some(ties::naive_sce(x, &Sce::new(0.3))),
    },
    Case {
        method: "sce",
        with_base: true,
        shared: "",
        models: NONE,
        reference: |x, _| Some(ties::naive_sce(x, &Sce::new(1.0))),
    },
    Case {
        method: "ram",
        with_base: true,
        shared: "epsilon: 0.0007",
        models: NONE,
        reference: |x, _| Some(ties::naive_ram(x, &Ram { epsilon: 0.0007 })),
    },
    Case {
        method: "ramplus_tl",
        with_base: true,
        shared: "epsilon: 0.0007, r: 0.3, alpha: 0.4",
        models: NONE,
        reference: |x, _| {
            let params = RamPlus { epsilon: 0.0007, r: 0.3, alpha: 0.4 };
            Some(ties::naive_ramplus_tl(x, &params))
        },
    },
    Case {
        method: "magmax",
        with_base: true,
        shared: "lambda: 0.7",
        models: NONE,
        reference: |x, _| Some(ties::naive_magmax(x, &MagMax { lambda: 0.7 })),
    },
    Case {
        method: "consensus_ta",
        with_base: true,
        shared: "",
        models: WEIGHTS,
        reference: |x, _| Some(ties::naive_consensus_ta(x, &ConsensusTa::new([0.6, 0.3, 0.2]))),
    },
    Case {
        method: "model_stock",
        with_base: true,
        shared: "",
        models: NONE,
        reference: |x, _| adaptive::naive_model_stock(x, x[0].len()),
    },
    Case {
        method: "model_stock",
        with_base: true,
        shared: "filter_wise: true",
        models: NONE,
        reference: |x, shape| adaptive::naive_model_stock(x, *shape.last()?),
    },
    Case {
        method: "nearswap",
        with_base: true,
        shared: "t: 0.0005",
        models: &[""],
        reference: |x, _| Some(adaptive::naive_nearswap(x, NearSwap::new(0.0005))),
    },
    Case {
        method: "arcee_fusion",
        with_base: true,
        shared: "",
        models: &[""],
        reference: |x, shape| Some(adaptive::naive_arcee_fusion(x, *shape.last()?)),
    },
    Case {
        method: "iso_c",
        with_base: true,
        shared: "lambda: 1.2",
        models: WEIGHTS,
        reference: |x, shape| {
            let params = IsoC { lambda: 1.2, ..IsoC::new([0.6, 0.3, 0.2]) };
            Some(spectral::naive_iso_c(x, shape, &params))
        },
    },
    Case {
        method: "iso_c",
        with_base: true,
        shared: "decompose: false",
        models: WEIGHTS,
        reference: |x, shape| {
            let params = IsoC { decompose: false, ..IsoC::new([0.6, 0.3, 0.2]) };
            Some(spectral::naive_iso_c(x, shape, &params))
        },
    },
    Case {
        method: "tsv",
        with_base: true,
        shared: "",
        models: WEIGHTS,
        reference: |x, shape| Some(spectral::naive_tsv(x, shape, &Tsv::new([0.6, 0.3, 0.2]))),
    },
    Case {
        method: "tsv",
        with_base: true,
        shared: "rank_fraction: 0.2",
        models: WEIGHTS,
        reference: |x, shape| {
            let params = Tsv { rank_fraction: Some(0.2), ..Tsv::new([0.6, 0.3, 0.2]) };
            Some(spectral::naive_tsv(x, shape, &params))
        },
    },
];

fn crumbs() -> Breadcrumbs {
    Breadcrumbs::new([0.6, 0.8, -0.4], [0.5, 0.3, 0.9], [0.02, 0.01, 0.2])
}

#[test]
fn at_least_9999_of_10000_elements_are_correctly_rounded() {
    let (folder, mut random) = (Folder::new(), Random::new(17));
    let base = random.model(&shapes());
    let models: Vec<Model> = (0..3).map(|_| random.trained(&base)).collect();
    folder.write("base", &llama_config(2), &base);
    for (index, model) in models.iter().enumerate() {
        folder.write_sharded(&format!("m{index}"), &llama_config(2), model, index + 1);
    }
    for Case { method, with_base, shared, models: parameters, reference } in CASES {
        let mut recipe = format!("merge_method: {method}\nparameters: {{{shared}}}\n");
        if with_base {
            recipe += "base_model: DIR/base\n";
        }
        recipe += "models:\n";
        for (index, parameters) in parameters.iter().enumerate() {
            recipe += &format!("  - {{model: DIR/m{index}, parameters: {{{parameters}}}}}\n");
        }
        let of_each = |name: &String| -> Vec<Vec<f64>> {
            let used = models[..parameters.len()].iter();
            std::iter::once(&base).chain(used).map(|model| model[name].values()).collect()
        };
        let exact: Vec<_> = base
            .iter()
            .map(|(name, tensor)| (of_each(name), &tensor.shape))
            .map(|(inputs, shape)| {
                let exact = if inputs[0].is_empty() { None } else { reference(&inputs, shape) };
                (inputs, exact)
            })
            .collect();
        // Of doubles the last digits of a decomposition hang on the order of its rotations.
        let decomposes = matches!(method, "iso_c" | "tsv");
        for dtype in FLOATS.into_iter().take(if decomposes { 3 } else { 4 }) {
            let merged = folder.merge(&format!("{recipe}dtype: {}\n", dtype.torch_name()));
            assert!(merged.keys().eq(base.keys()));
            let (mut wrong, mut total) = (0, 0);
            for (got, (inputs, exact)) in merged.values().zip(&exact) {
                assert_eq!(got.dtype, dtype);
                let Some(exact) = exact else { continue };
                for (i, got) in got.values().into_iter().enumerate() {
                    assert!(got.is_finite());
                    let magnitudes = inputs.iter().map(|input| input[i].abs()).sum();
                    let sound = is_rounded(dtype, got, exact[i], magnitudes);
                    wrong += usize::from(!sound && !exact[i].is_nan());
                    total += usize::from(!exact[i].is_nan());
                }
            }
            println!("{method} {{{shared}}} {dtype}: {wrong} of {total} wrong");
            assert!(total > 200_000, "{method} {{{shared}}}: {total}");
            assert!(
                wrong * 10_000 <= total,
                "{method} {{{shared}}} to {dtype}: {wrong} of {total}"
            );
        }
    }
}
