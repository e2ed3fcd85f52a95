//! Against the reference definition; see mergecore-kernel/tests/golden/make_golden.py.

use mergecore_ties::{
    Breadcrumbs, Consensus, ConsensusTa, Elect, Election, MagMax, Ram, RamPlus, Rescale, Sce,
    TaskArithmetic, TensorSlices, Ties, TrimScope, merge_tensors,
};
use support::Case;

mod kernels;
#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

/// Checks every case; yields how many there are of each of these methods.
fn check<const N: usize>(json: &str, methods: [&str; N], check: impl Fn(&Case)) -> [usize; N] {
    let mut seen = [0; N];
    for case in support::cases(json) {
        let method = methods.iter().position(|method| *method == case.method());
        seen[method.expect("one of the methods")] += 1;
        check(&case);
    }
    seen
}

fn number(case: &Case, parameter: &str) -> f64 {
    case.number(parameter).expect("a number")
}

fn rescale(case: &Case) -> Option<Rescale> {
    case.text("rescale").and_then(Rescale::from_name)
}

fn ties(case: &Case, election: Election) {
    case.check(&Ties {
        weights: case.numbers("weights"),
        densities: case.numbers("densities"),
        normalize: case.flag("normalize"),
        lambda: number(case, "lam"),
        rescale: rescale(case),
        election,
        scope: Default::default(),
    });
}

#[test]
fn every_element_is_correctly_rounded() {
    let seen = check(include_str!("golden/ties.json"), ["task_arithmetic", "ties"], |case| {
        if case.method() == "ties" {
            return ties(case, Election::default());
        }
        let weights = case.numbers("weights");
        let (normalize, lambda) = (case.flag("normalize"), number(case, "lam"));
        case.check(&TaskArithmetic { weights, normalize, lambda });
    });
    assert_eq!(seen, [24, 28]);
}

#[test]
fn ties_in_all_four_elections() {
    let seen = check(include_str!("golden/election.json"), ["ties"], |case| {
        let consensus = match case.text("consensus") {
            Some("sum") => Consensus::Sum,
            Some("count") => Consensus::Count,
            other => panic!("no such consensus: {other:?}"),
        };
        let elect = match case.text("elect") {
            Some("weighted") => Elect::Weighted,
            Some("unweighted") => Elect::Unweighted,
            other => panic!("no such elect: {other:?}"),
        };
        ties(case, Election { consensus, elect });
    });
    assert_eq!(seen, [56]);
}

#[test]
fn breadcrumbs() {
    let methods = ["breadcrumbs", "breadcrumbs_ties"];
    let seen = check(include_str!("golden/breadcrumbs.json"), methods, |case| {
        let params = Breadcrumbs {
            normalize: case.flag("normalize"),
            lambda: number(case, "lam"),
            rescale: rescale(case),
            ..Breadcrumbs::new(
                case.numbers("weights"),
                case.numbers("densities"),
                case.numbers("gammas"),
            )
        };
        case.check(&*match case.method() {
            "breadcrumbs" => kernels::breadcrumbs(&params),
            _ => kernels::breadcrumbs_ties(&params),
        });
    });
    assert_eq!(seen, [28, 28]);
}

#[test]
fn sce() {
    let seen = check(include_str!("golden/sce.json"), ["sce"], |case| {
        let params = Sce::new(number(case, "select_topk"));
        case.check(&*kernels::sce(&params, case.inputs() - 1));
    });
    assert_eq!(seen, [52]);
}

#[test]
fn ram() {
    let seen = check(include_str!("golden/ram.json"), ["ram", "ramplus_tl"], |case| {
        let epsilon = number(case, "epsilon");
        if case.method() == "ram" {
            return case.check(&Ram { epsilon });
        }
        case.check(&RamPlus { epsilon, r: number(case, "r"), alpha: number(case, "alpha") });
    });
    assert_eq!(seen, [30, 30]);
}

/// Against definitions of our own, as the next test is: golden/own_reference.py.
#[test]
fn ties_with_one_threshold_a_model() {
    let seen = check(include_str!("golden/ties_model.json"), ["ties"], |case| {
        let ties = Ties {
            normalize: case.flag("normalize"),
            lambda: number(case, "lam"),
            scope: TrimScope::Model,
            ..Ties::new(case.numbers("weights"), case.numbers("densities"))
        };
        let (inputs, expected) = (case.input_values(), case.output());
        let lengths: Vec<[usize; 1]> =
            case.numbers("lengths").into_iter().map(|length| [length as usize]).collect();
        let mut out = vec![0.0; expected.len()];
        let (mut rest, mut start, mut tensors) = (&mut out[..], 0, Vec::new());
        for shape in &lengths {
            let (out, others) = rest.split_at_mut(shape[0]);
            let inputs = inputs.iter().map(|input| &input[start..][..shape[0]]).collect();
            tensors.push(TensorSlices { inputs, shape, out });
            (rest, start) = (others, start + shape[0]);
        }
        merge_tensors(&ties, &mut tensors).expect("sound");
        for (i, (out, expected)) in out.iter().zip(expected).enumerate() {
            let magnitudes: f64 = inputs.iter().map(|input| input[i].abs()).sum();
            assert!((out - expected).abs() <= 1e-12 * magnitudes, "{ties:?}: element {i}");
        }
    });
    assert_eq!(seen, [16]);
}

/// As above.
#[test]
fn magmax_and_consensus_ta() {
    let seen = check(include_str!("golden/own.json"), ["magmax", "consensus_ta"], |case| {
        let lambda = number(case, "lam");
        if case.method() == "magmax" {
            return case.check(&*kernels::magmax(&MagMax { lambda }, case.inputs() - 1));
        }
        case.check(&ConsensusTa {
            weights: case.numbers("weights"),
            tall_lambda: number(case, "tall_lambda"),
            min_models: number(case, "min_models") as u32,
            normalize: case.flag("normalize"),
            lambda,
        });
    });
    assert_eq!(seen, [20, 84]);
}
