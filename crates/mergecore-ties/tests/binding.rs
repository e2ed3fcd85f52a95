//! Methods bound from a recipe's arguments are the functions with those parameters.

use mergecore_kernel::{
    Argument, Base, DefaultValue, Kernel, Method, Parameter, ParameterKind, Scope,
};
use mergecore_ties::{
    Breadcrumbs, BreadcrumbsMethod, BreadcrumbsTiesMethod, Consensus, ConsensusTa,
    ConsensusTaMethod, Elect, Election, KernelError, MagMax, MagMaxMethod, Ram, RamMethod, RamPlus,
    RamPlusMethod, Rescale, Sce, SceMethod, TaskArithmetic, TaskArithmeticMethod, Ties, TiesMethod,
    breadcrumbs_slices, breadcrumbs_ties_slices, magmax_slices, sce_slices,
};
use support::{Data, Random, bits, bound, merged, task_vectors};

#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

const WEIGHTS: [f64; 2] = [0.75, 0.5];
const DENSITIES: [f64; 2] = [0.3, 0.6];
const GAMMAS: [f64; 2] = [0.05, 0.2];

fn inputs() -> Vec<Vec<f64>> {
    task_vectors(&mut Random(1), Data::Spread, 2, 1_000)
}

/// What the method makes of arguments.
fn run(method: &dyn Method, shared: &[(&'static str, Argument)]) -> Vec<u64> {
    let per_model: [(_, &[f64]); 3] =
        [("weight", &WEIGHTS), ("density", &DENSITIES), ("gamma", &GAMMAS)];
    let bound = bound(method, shared, &per_model, 2, 0);
    bits(&merged::<f64>(&*bound, &inputs(), &[1_000]))
}

fn same(method: &dyn Method, shared: &[(&'static str, Argument)], kernel: &dyn Kernel) {
    let expected = bits(&merged::<f64>(kernel, &inputs(), &[1_000]));
    assert_eq!(run(method, shared), expected, "{kernel:?}");
}

type Slices<P> = fn(&[f64], &[&[f64]], &P, &mut [f64]) -> Result<(), KernelError>;

/// As [`same`], with a method whose parameters are not a kernel themselves.
fn same_as<P: std::fmt::Debug>(
    method: &dyn Method,
    shared: &[(&'static str, Argument)],
    merge: Slices<P>,
    params: &P,
) {
    let inputs = inputs();
    let models: Vec<&[f64]> = inputs[1..].iter().map(Vec::as_slice).collect();
    let mut out = vec![0.0; 1_000];
    merge(&inputs[0], &models, params, &mut out).expect("sound");
    assert_eq!(run(method, shared), bits(&out), "{params:?}");
}

/// The shared arguments of all four elections, and what they ask for.
fn elections() -> impl Iterator<Item = (Vec<(&'static str, Argument)>, Election)> {
    let text = |name: &str| Argument::Text(name.into());
    let consensus = [("sum", Consensus::Sum), ("count", Consensus::Count)];
    let elect = [("weighted", Elect::Weighted), ("unweighted", Elect::Unweighted)];
    consensus.into_iter().flat_map(move |(sum, consensus)| {
        elect.map(|(weighted, elect)| {
            let arguments = vec![("consensus", text(sum)), ("elect", text(weighted))];
            (arguments, Election { consensus, elect })
        })
    })
}

#[test]
fn ties() {
    let usual = Ties::new(WEIGHTS, DENSITIES);
    same(&TiesMethod, &[], &usual);
    let shared = [
        ("normalize", Argument::Flag(false)),
        ("lambda", Argument::Number(0.4)),
        ("rescale_norm", Argument::Text("l2".into())),
    ];
    let params =
        Ties { normalize: false, lambda: 0.4, rescale: Some(Rescale::L2), ..usual.clone() };
    same(&TiesMethod, &shared, &params);
    let params = Ties { rescale: Some(Rescale::L1), ..usual };
    same(&TiesMethod, &[("rescale", Argument::Flag(true))], &params);
}

#[test]
fn task_arithmetic() {
    let usual = TaskArithmetic::new(WEIGHTS);
    same(&TaskArithmeticMethod, &[], &usual);
    let shared = [("normalize", Argument::Flag(true)), ("lambda", Argument::Number(-0.4))];
    let params = TaskArithmetic { normalize: true, lambda: -0.4, ..usual };
    same(&TaskArithmeticMethod, &shared, &params);
}

#[test]
fn ties_elections() {
    for (shared, election) in elections() {
        same(&TiesMethod, &shared, &Ties { election, ..Ties::new(WEIGHTS, DENSITIES) });
    }
}

#[test]
fn breadcrumbs() {
    let usual = Breadcrumbs::new(WEIGHTS, DENSITIES, GAMMAS);
    same_as(&BreadcrumbsMethod, &[], breadcrumbs_slices, &usual);
    same_as(&BreadcrumbsTiesMethod, &[], breadcrumbs_ties_slices, &usual);
    let shared = [
        ("normalize", Argument::Flag(true)),
        ("lambda", Argument::Number(0.4)),
        ("rescale_norm", Argument::Text("linf".into())),
    ];
    let rescale = Some(Rescale::Linf);
    let params = Breadcrumbs { normalize: true, lambda: 0.4, rescale, ..usual.clone() };
    same_as(&BreadcrumbsMethod, &shared, breadcrumbs_slices, &params);
    same_as(&BreadcrumbsTiesMethod, &shared, breadcrumbs_ties_slices, &params);
    let params = Breadcrumbs { rescale: Some(Rescale::L1), ..usual.clone() };
    let shared = [("rescale", Argument::Flag(true))];
    same_as(&BreadcrumbsMethod, &shared, breadcrumbs_slices, &params);
    for (shared, election) in elections() {
        let params = Breadcrumbs { election, ..usual.clone() };
        same_as(&BreadcrumbsTiesMethod, &shared, breadcrumbs_ties_slices, &params);
    }
}

#[test]
fn sce() {
    same_as(&SceMethod, &[], sce_slices, &Sce::default());
    let shared = [("select_topk", Argument::Number(0.3))];
    same_as(&SceMethod, &shared, sce_slices, &Sce::new(0.3));
    for (shared, election) in elections() {
        same_as(&SceMethod, &shared, sce_slices, &Sce { election, ..Sce::default() });
    }
}

#[test]
fn ram() {
    same(&RamMethod, &[], &Ram::default());
    same(&RamMethod, &[("epsilon", Argument::Number(0.05))], &Ram { epsilon: 0.05 });
}

#[test]
fn ramplus_tl() {
    same(&RamPlusMethod, &[], &RamPlus::default());
    let shared = [
        ("epsilon", Argument::Number(0.05)),
        ("r", Argument::Number(0.6)),
        ("alpha", Argument::Number(0.9)),
    ];
    same(&RamPlusMethod, &shared, &RamPlus { epsilon: 0.05, r: 0.6, alpha: 0.9 });
}

#[test]
fn magmax() {
    same_as(&MagMaxMethod, &[], magmax_slices, &MagMax::default());
    let shared = [("lambda", Argument::Number(-0.4))];
    same_as(&MagMaxMethod, &shared, magmax_slices, &MagMax { lambda: -0.4 });
}

#[test]
fn consensus_ta() {
    let usual = ConsensusTa::new(WEIGHTS);
    same(&ConsensusTaMethod, &[], &usual);
    let shared = [
        ("tall_lambda", Argument::Number(0.9)),
        ("min_models", Argument::Number(1.0)),
        ("normalize", Argument::Flag(true)),
        ("lambda", Argument::Number(-0.4)),
    ];
    let params =
        ConsensusTa { tall_lambda: 0.9, min_models: 1, normalize: true, lambda: -0.4, ..usual };
    same(&ConsensusTaMethod, &shared, &params);
}

fn methods() -> [&'static dyn Method; 9] {
    [
        &TaskArithmeticMethod,
        &TiesMethod,
        &BreadcrumbsMethod,
        &BreadcrumbsTiesMethod,
        &SceMethod,
        &RamMethod,
        &RamPlusMethod,
        &MagMaxMethod,
        &ConsensusTaMethod,
    ]
}

#[test]
fn every_method_takes_a_base_and_any_number_of_models() {
    for method in methods() {
        let inputs = method.inputs();
        assert_eq!((inputs.base, inputs.models), (Base::Required, 0..=usize::MAX), "{method:?}");
        assert!(method.summary().starts_with(char::is_uppercase), "{method:?}");
        assert!(method.source().is_some_and(|source| source.contains("arxiv.org")), "{method:?}");
        // With no model at all the base comes out.
        let base = inputs_of_base();
        let out = merged::<f64>(&*bound(method, &[], &[], 0, 0), &base, &[100]);
        assert_eq!(bits(&out), bits(&base[0]), "{method:?}");
    }
}

fn inputs_of_base() -> Vec<Vec<f64>> {
    task_vectors(&mut Random(4), Data::Spread, 0, 100)
}

/// What recipes may leave out, as mergekit has it.
#[test]
fn defaults() {
    let default = |method: &dyn Method, name: &str| {
        let named = |parameter: &&Parameter| parameter.name == name;
        let parameter = method.parameters().iter().find(named).expect("such a parameter");
        (parameter.scope, parameter.default)
    };
    for method in [&BreadcrumbsMethod as &dyn Method, &BreadcrumbsTiesMethod] {
        assert_eq!(default(method, "weight"), (Scope::PerModel, DefaultValue::Required));
        assert_eq!(default(method, "density"), (Scope::PerModel, DefaultValue::Number(1.0)));
        assert_eq!(default(method, "gamma"), (Scope::PerModel, DefaultValue::Number(0.01)));
        assert_eq!(default(method, "normalize"), (Scope::Shared, DefaultValue::Flag(false)));
        assert_eq!(default(method, "rescale"), (Scope::Shared, DefaultValue::Unset));
    }
    let elects: [(&dyn Method, _); 3] = [
        (&TiesMethod, "weighted"),
        (&BreadcrumbsTiesMethod, "weighted"),
        (&SceMethod, "unweighted"),
    ];
    for (method, elect) in elects {
        assert_eq!(default(method, "consensus"), (Scope::Shared, DefaultValue::Text("sum")));
        assert_eq!(default(method, "elect"), (Scope::Shared, DefaultValue::Text(elect)));
    }
    let shared = |method: &dyn Method, name: &str, value: f64| {
        assert_eq!(default(method, name), (Scope::Shared, DefaultValue::Number(value)));
    };
    shared(&SceMethod, "select_topk", 1.0);
    shared(&RamMethod, "epsilon", 1e-5);
    shared(&RamPlusMethod, "epsilon", 1e-5);
    shared(&RamPlusMethod, "r", 0.1);
    shared(&RamPlusMethod, "alpha", 0.2);
    shared(&MagMaxMethod, "lambda", 1.0);
    shared(&ConsensusTaMethod, "tall_lambda", 0.4);
    shared(&ConsensusTaMethod, "min_models", 2.0);
    let weight = default(&ConsensusTaMethod, "weight");
    assert_eq!(weight, (Scope::PerModel, DefaultValue::Number(1.0)));
    let whole = ParameterKind::Integer { min: 0, max: u32::MAX };
    assert_eq!(ConsensusTaMethod.parameters()[2].kind, whole);
}
