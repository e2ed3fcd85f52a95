//! Against the methods in NumPy; see golden/own_reference.py.

use mergecore_kernel::Kernel;
use mergecore_spectral::{IsoC, Tsv};
use support::{Case, cases, largest_change, merged};

#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

/// Within 1e-9 of the models' largest change, and so bit for bit where nothing changes.
fn check(case: &Case, kernel: &dyn Kernel) {
    let (inputs, reference) = (case.input_values(), case.output());
    let got = merged::<f64>(kernel, &inputs, &case.shape());
    let largest = largest_change(&inputs);
    for (got, expected) in got.iter().zip(&reference) {
        let off = (got - expected).abs();
        assert!(off <= 1e-9 * largest, "{kernel:?} {:?}: {got} for {expected}", case.shape());
    }
}

#[test]
fn iso_c() {
    let cases = cases(include_str!("golden/iso_c.json"));
    assert_eq!(cases.len(), 73);
    for case in cases {
        let lambda = case.number("lam").expect("a number");
        check(&case, &IsoC { lambda, ..IsoC::new(case.numbers("weights")) });
    }
}

#[test]
fn tsv() {
    let cases = cases(include_str!("golden/tsv.json"));
    assert_eq!(cases.len(), 73);
    for case in cases {
        let lambda = case.number("lam").expect("a number");
        let rank_fraction = case.number("rank_fraction");
        check(&case, &Tsv { lambda, rank_fraction, ..Tsv::new(case.numbers("weights")) });
    }
}
