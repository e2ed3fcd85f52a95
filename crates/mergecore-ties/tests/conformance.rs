//! The suite that every method runs.

use mergecore_kernel::conformance::check;
use mergecore_ties::{
    Breadcrumbs, ConsensusTa, MagMax, Ram, RamPlus, Rescale, Sce, TaskArithmetic, Ties,
};

mod kernels;
#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

#[test]
fn task_arithmetic() {
    let weights: [&[f64]; 4] = [&[], &[1.0], &[0.3, -0.7], &[0.1, 0.2, 0.3, 0.4, 0.5]];
    for weights in weights {
        for normalize in [true, false] {
            let method = TaskArithmetic { normalize, lambda: 0.9, ..TaskArithmetic::new(weights) };
            check(&method, 1 + weights.len());
        }
    }
}

#[test]
fn ties_of_one_density() {
    for density in [0.3, 0.5, 1.0] {
        for models in [1, 2, 5] {
            check(&Ties::new(vec![0.7; models], vec![density; models]), 1 + models);
        }
    }
}

#[test]
fn ties_rescaled() {
    for rescale in [Rescale::Density, Rescale::L1, Rescale::L2, Rescale::Linf] {
        for density in [0.3, 1.0] {
            let method = Ties {
                rescale: Some(rescale),
                normalize: rescale != Rescale::L2,
                lambda: 1.2,
                ..Ties::new([1.0, -0.5], [density, 0.5])
            };
            check(&method, 3);
        }
    }
}

#[test]
fn ties_in_other_elections() {
    for election in kernels::elections() {
        check(&Ties { election, ..Ties::new([0.7, -0.4, 1.0], [0.5, 0.9, 1.0]) }, 4);
    }
}

#[test]
fn breadcrumbs() {
    for (density, gamma) in [(0.3, 0.01), (0.9, 0.6), (1.0, 0.5)] {
        for models in [1, 3] {
            let params =
                Breadcrumbs::new(vec![0.7; models], vec![density; models], vec![gamma; models]);
            check(&*kernels::breadcrumbs(&params), 1 + models);
        }
    }
}

#[test]
fn breadcrumbs_ties() {
    for (election, rescale) in
        kernels::elections().into_iter().zip([None, Some(Rescale::L2)].repeat(2))
    {
        let params = Breadcrumbs {
            election,
            rescale,
            normalize: rescale.is_none(),
            lambda: 1.2,
            ..Breadcrumbs::new([1.0, -0.5], [0.3, 0.5], [0.02, 0.2])
        };
        check(&*kernels::breadcrumbs_ties(&params), 3);
    }
}

#[test]
fn sce() {
    for models in [1, 2, 4] {
        for select_topk in [1.0, 0.4] {
            check(&*kernels::sce(&Sce::new(select_topk), models), 1 + models);
        }
    }
    let [weighted, .., count] = kernels::elections();
    check(&*kernels::sce(&Sce { select_topk: 0.7, election: weighted }, 3), 4);
    check(&*kernels::sce(&Sce { select_topk: 1.0, election: count }, 3), 4);
}

#[test]
fn ram_and_ramplus_tl() {
    for (models, epsilon) in [(0, 0.0), (1, 1e-5), (2, 0.0), (4, 0.125)] {
        check(&Ram { epsilon }, 1 + models);
        check(&RamPlus { epsilon, r: 0.7, alpha: 3.0 }, 1 + models);
    }
}

#[test]
fn magmax() {
    for (models, lambda) in [(0, 1.0), (1, 1.0), (2, -0.3), (4, 1.0)] {
        check(&*kernels::magmax(&MagMax { lambda }, models), 1 + models);
    }
}

#[test]
fn consensus_ta() {
    let weights: [&[f64]; 4] = [&[], &[1.0], &[0.3, -0.7], &[0.1, 0.2, 0.3, 0.4, 0.5]];
    for weights in weights {
        for (min_models, normalize) in [(1, false), (2, true)] {
            let params = ConsensusTa { min_models, normalize, ..ConsensusTa::new(weights) };
            check(&params, 1 + weights.len());
        }
    }
}
