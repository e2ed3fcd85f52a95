//! Methods bound from a recipe's arguments are the functions with those parameters.

use mergecore_kernel::{Argument, DefaultValue, Kernel, Method, Parameter, Scope};
use mergecore_spectral::{IsoC, IsoCMethod, Tsv, TsvMethod};
use support::{Data, Random, bits, bound, merged, task_vectors};

#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

const WEIGHTS: [f64; 2] = [0.75, 0.5];

fn same(method: &dyn Method, shared: &[(&'static str, Argument)], kernel: &dyn Kernel) {
    let inputs = task_vectors(&mut Random(1), Data::Spread, 2, 600);
    let bound = bound(method, shared, &[("weight", &WEIGHTS)], 2, 0);
    let run = |kernel: &dyn Kernel| bits(&merged::<f64>(kernel, &inputs, &[20, 30]));
    assert_eq!(run(&*bound), run(kernel), "{kernel:?}");
}

#[test]
fn iso_c() {
    let usual = IsoC::new(WEIGHTS);
    same(&IsoCMethod, &[], &usual);
    let shared = [("lambda", Argument::Number(1.3)), ("decompose", Argument::Flag(false))];
    same(&IsoCMethod, &shared[..1], &IsoC { lambda: 1.3, ..usual.clone() });
    same(&IsoCMethod, &shared, &IsoC { lambda: 1.3, decompose: false, ..usual });
}

#[test]
fn tsv() {
    let usual = Tsv::new(WEIGHTS);
    same(&TsvMethod, &[], &usual);
    let shared = [
        ("lambda", Argument::Number(-0.4)),
        ("rank_fraction", Argument::Number(0.2)),
        ("decompose", Argument::Flag(false)),
    ];
    let fifth = Tsv { lambda: -0.4, rank_fraction: Some(0.2), ..usual };
    same(&TsvMethod, &shared[..2], &fifth);
    same(&TsvMethod, &shared, &Tsv { decompose: false, ..fifth });
}

/// What a recipe that says nothing gets is what the plain functions do by default.
#[test]
fn declared_defaults_are_those_of_the_functions() {
    let default = |parameters: &[Parameter], name: &str| {
        parameters.iter().find(|p| p.name == name).map(|p| (p.scope, p.default))
    };
    for method in [&IsoCMethod as &dyn Method, &TsvMethod] {
        let default = |name| default(method.parameters(), name);
        assert_eq!(default("weight"), Some((Scope::PerModel, DefaultValue::Number(1.0))));
        assert_eq!(default("lambda"), Some((Scope::Shared, DefaultValue::Number(1.0))));
        assert_eq!(default("decompose"), Some((Scope::Shared, DefaultValue::Flag(true))));
    }
    let fraction = default(TsvMethod.parameters(), "rank_fraction");
    assert_eq!(fraction, Some((Scope::Shared, DefaultValue::Unset)));
}
