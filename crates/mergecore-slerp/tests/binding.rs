//! Methods bound from a recipe's arguments are the functions with those parameters.

use mergecore_kernel::{Argument, Kernel, Method};
use mergecore_slerp::{
    Karcher, KarcherMethod, KernelError, MultiSlerp, MultiSlerpMethod, NuSlerp, NuSlerpMethod,
    Slerp, SlerpMethod, karcher_slices, multislerp_slices, nuslerp_slices,
};
use support::{Data, Random, bits, bound, bound_to, merged, task_vectors};

#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

const SHAPE: [usize; 2] = [40, 25];
const WEIGHTS: [f64; 2] = [0.75, 0.5];

fn inputs() -> Vec<Vec<f64>> {
    task_vectors(&mut Random(1), Data::Spread, 2, 1_000)
}

/// With a base and without: the function writes what the bound method's kernel yields.
fn same(
    method: &dyn Method,
    shared: &[(&'static str, Argument)],
    function: impl Fn(Option<&[f64]>, &[&[f64]; 2], &mut [f64]) -> Result<(), KernelError>,
) {
    let inputs = inputs();
    for based in [false, true] {
        let kernel = bound_to(method, based, shared, &[("weight", &WEIGHTS)], 2, 0);
        let used = &inputs[usize::from(!based)..];
        let mut expected = vec![0.0; 1_000];
        let base = based.then_some(&inputs[0][..]);
        function(base, &[&inputs[1], &inputs[2]], &mut expected).expect("sound");
        assert_eq!(bits(&merged::<f64>(&*kernel, used, &SHAPE)), bits(&expected), "{kernel:?}");
    }
}

fn flag(name: &'static str, value: bool) -> (&'static str, Argument) {
    (name, Argument::Flag(value))
}

#[test]
fn slerp() {
    let inputs = &inputs()[..2];
    let run = |kernel: &dyn Kernel| bits(&merged::<f64>(kernel, inputs, &SHAPE));
    let bound = bound(&SlerpMethod, &[("t", Argument::Number(0.3))], &[], 1, 0);
    assert_eq!(run(&*bound), run(&Slerp { t: 0.3 }));
}

#[test]
fn nuslerp() {
    let same = |shared: &[_], params: NuSlerp| {
        same(&NuSlerpMethod, shared, |base, models, out| {
            nuslerp_slices(base, models, &SHAPE, &params, out)
        });
    };
    let usual = NuSlerp::new(WEIGHTS);
    same(&[], usual);
    let rows = NuSlerp { flatten: false, ..usual };
    same(&[flag("nuslerp_flatten", false)], rows);
    let shared = [flag("nuslerp_flatten", false), flag("nuslerp_row_wise", true)];
    same(&shared, NuSlerp { row_wise: true, ..rows });
    // Which way vectors lie is of no matter where there is one.
    same(&[flag("nuslerp_row_wise", true)], usual);
}

#[test]
fn multislerp() {
    let same = |shared: &[_], params: MultiSlerp| {
        same(&MultiSlerpMethod, shared, |base, models, out| {
            multislerp_slices(base, models, &params, out)
        });
    };
    let usual = MultiSlerp::new(WEIGHTS);
    same(&[], usual.clone());
    let given = MultiSlerp { normalize_weights: false, ..usual.clone() };
    same(&[flag("normalize_weights", false)], given);
    same(&[("eps", Argument::Number(0.1))], MultiSlerp { eps: 0.1, ..usual });
}

#[test]
fn karcher() {
    let mut random = Random(2);
    // Far enough apart for more than a step.
    let mut vector = || (0..1_000).map(|_| random.number()).collect();
    let inputs: Vec<Vec<f64>> = (0..3).map(|_| vector()).collect();
    let slices: Vec<&[f64]> = inputs.iter().map(Vec::as_slice).collect();
    let same = |shared: &[_], params: Karcher| {
        let mut expected = vec![0.0; 1_000];
        karcher_slices(&slices, &params, &mut expected).expect("sound");
        let kernel = bound(&KarcherMethod, shared, &[], 3, 0);
        let out = merged::<f64>(&*kernel, &inputs, &SHAPE);
        assert_eq!(bits(&out), bits(&expected), "{params:?}");
        out
    };
    let usual = same(&[], Karcher::default());
    let none = [("max_iter", Argument::Number(0.0))];
    assert!(same(&none, Karcher { max_iter: 0, ..Karcher::default() }) != usual);
    let coarse = [("tol", Argument::Number(0.5))];
    assert!(same(&coarse, Karcher { tol: 0.5, ..Karcher::default() }) != usual);
}

#[test]
fn arguments_that_do_not_fit_together_are_refused() {
    let bind = |method: &dyn Method, weights: &[f64]| {
        let model = |weight: &f64| {
            let mut arguments = mergecore_kernel::Arguments::default();
            arguments.insert("weight", Argument::Number(*weight));
            arguments
        };
        let binding = mergecore_kernel::Binding {
            base: false,
            shared: mergecore_kernel::Arguments::default(),
            models: weights.iter().map(model).collect(),
            stream: mergecore_kernel::StreamKey::from_seed(0),
        };
        method.bind(&binding).map(|_| ())
    };
    let error = bind(&NuSlerpMethod, &[1.0, 1.0, 1.0]).unwrap_err();
    assert_eq!(error.to_string(), "nuslerp takes two models, not 3");
    let error = bind(&MultiSlerpMethod, &[1.0, -1.0]).unwrap_err();
    assert!(matches!(error, KernelError::Undefined { .. }));
    assert_eq!(bind(&NuSlerpMethod, &[1.0, -1.0]), Ok(()), "halfway");
}
