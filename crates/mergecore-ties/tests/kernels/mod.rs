//! Kernels of the methods whose kernels know more than their parameters, as recipes bind them.
#![allow(dead_code)] // each test binary uses a part of it

use mergecore_kernel::{Argument, Kernel};
use mergecore_ties::{
    Breadcrumbs, BreadcrumbsMethod, BreadcrumbsTiesMethod, Consensus, Elect, Election, MagMax,
    MagMaxMethod, Rescale, Sce, SceMethod,
};

use crate::support::bound;

/// All four, the usual one first.
pub(crate) fn elections() -> [Election; 4] {
    [
        Election { consensus: Consensus::Sum, elect: Elect::Weighted },
        Election { consensus: Consensus::Sum, elect: Elect::Unweighted },
        Election { consensus: Consensus::Count, elect: Elect::Weighted },
        Election { consensus: Consensus::Count, elect: Elect::Unweighted },
    ]
}

/// The arguments that ask for an election.
pub(crate) fn arguments(election: Election) -> [(&'static str, Argument); 2] {
    let consensus = match election.consensus {
        Consensus::Sum => "sum",
        Consensus::Count => "count",
    };
    let elect = match election.elect {
        Elect::Weighted => "weighted",
        Elect::Unweighted => "unweighted",
    };
    [("consensus", Argument::Text(consensus.into())), ("elect", Argument::Text(elect.into()))]
}

pub(crate) fn breadcrumbs(params: &Breadcrumbs) -> Box<dyn Kernel> {
    bound(&BreadcrumbsMethod, &shared(params), &per_model(params), params.weights.len(), 0)
}

pub(crate) fn breadcrumbs_ties(params: &Breadcrumbs) -> Box<dyn Kernel> {
    let mut shared = shared(params);
    shared.extend(arguments(params.election));
    bound(&BreadcrumbsTiesMethod, &shared, &per_model(params), params.weights.len(), 0)
}

fn shared(params: &Breadcrumbs) -> Vec<(&'static str, Argument)> {
    let rescale = params.rescale.map(|how| match how {
        Rescale::Density => "density",
        Rescale::L1 => "l1",
        Rescale::L2 => "l2",
        Rescale::Linf => "linf",
    });
    let rescale = rescale.map(|name| ("rescale_norm", Argument::Text(name.into())));
    let mut shared = vec![
        ("normalize", Argument::Flag(params.normalize)),
        ("lambda", Argument::Number(params.lambda)),
    ];
    shared.extend(rescale);
    shared
}

fn per_model(params: &Breadcrumbs) -> [(&'static str, &[f64]); 3] {
    [("weight", &params.weights), ("density", &params.densities), ("gamma", &params.gammas)]
}

pub(crate) fn sce(params: &Sce, models: usize) -> Box<dyn Kernel> {
    let mut shared = vec![("select_topk", Argument::Number(params.select_topk))];
    shared.extend(arguments(params.election));
    bound(&SceMethod, &shared, &[], models, 0)
}

pub(crate) fn magmax(params: &MagMax, models: usize) -> Box<dyn Kernel> {
    bound(&MagMaxMethod, &[("lambda", Argument::Number(params.lambda))], &[], models, 0)
}
