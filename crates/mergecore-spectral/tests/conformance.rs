//! The suite that every method runs.

use mergecore_kernel::conformance::check;
use mergecore_spectral::{IsoC, Tsv};

const WEIGHTS: [&[f64]; 4] = [&[], &[1.0], &[0.3, -0.7], &[0.1, 0.2, 0.3, 0.4, 0.5]];

#[test]
fn iso_c() {
    for weights in WEIGHTS {
        for decompose in [true, false] {
            let method = IsoC { lambda: 0.9, decompose, ..IsoC::new(weights) };
            check(&method, 1 + weights.len());
        }
    }
}

#[test]
fn tsv() {
    for weights in WEIGHTS {
        for rank_fraction in [None, Some(0.4), Some(1.0)] {
            let method = Tsv { lambda: 0.9, rank_fraction, ..Tsv::new(weights) };
            check(&method, 1 + weights.len());
        }
    }
}
