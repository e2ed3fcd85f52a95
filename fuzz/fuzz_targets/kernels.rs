//! Methods over numbers of every kind: random parameters, dtypes, lengths and values, NaN,
//! infinity, subnormals, zeros and equal magnitudes among them.
//!
//! Oracle: block by block, with any number of workers and every instruction set, the output
//! is bit for bit what the driver computes from the whole tensors widened to doubles; where
//! the inputs are finite, it is the formula of the crates' tests, written down plainly, rounded
//! to the output's type; a NaN or an infinity with a weight never comes out as a finite number
//! of an element-wise method; one model at weight and density 1 comes out of `ties` with the
//! changes that the plain version keeps, bit for bit.

#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use mergecore_dare::{Dare, DareLinearMethod, DareTiesMethod};
use mergecore_fuzz::{Float, Special, Stored, Values, stored};
use mergecore_kernel::{
    Argument, BLOCK, Element, Elements, ElementsMut, Extent, Kernel, Method, Rescale, Simd,
};
use mergecore_linear::Linear;
use mergecore_slerp::Slerp;
use mergecore_tensor::{bf16, f16};
use mergecore_ties::{TaskArithmetic, Ties};

#[path = "../../crates/mergecore-dare/tests/formula/mod.rs"]
mod dare;
#[path = "../../crates/mergecore-linear/tests/formula/mod.rs"]
mod linear;
#[path = "../../crates/mergecore-slerp/tests/formula/mod.rs"]
mod slerp;
#[path = "../../crates/mergecore-kernel/tests/support/mod.rs"]
mod support;
#[path = "../../crates/mergecore-ties/tests/formula/mod.rs"]
mod ties;

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Merge {
    Linear,
    Slerp,
    Ties,
    TaskArithmetic,
    DareLinear,
    DareTies,
}

/// What one input of the fuzzer says.
#[derive(Debug, Arbitrary)]
struct Case {
    merge: Merge,
    values: Values,
    models: u8,
    len: u16,
    seed: u64,
    weights: [u8; 4],
    densities: [u8; 4],
    normalize: bool,
    lambda: u8,
    rescale: u8,
    dtypes: [Float; 5],
    out: Float,
    workers: u8,
    specials: Vec<(u8, u16, Special)>,
}

fuzz_target!(|input: &[u8]| {
    if let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(input)) {
        match case.out {
            Float::Bf16 => case.check::<bf16>(),
            Float::F16 => case.check::<f16>(),
            Float::F32 => case.check::<f32>(),
            Float::F64 => case.check::<f64>(),
        }
    }
});

const WEIGHTS: [f64; 8] = [1.0, 0.5, 0.75, 0.25, 0.0, -0.5, 1.5, 1e-3];
const DENSITIES: [f64; 8] = [0.5, 1.0, 0.3, 0.9, 0.0, 0.01, 1e-6, 0.53];
const LAMBDAS: [f64; 5] = [1.0, 0.0, 0.7, -1.5, 3.0];
const NORMS: [Option<Rescale>; 6] =
    [None, None, Some(Rescale::Density), Some(Rescale::L1), Some(Rescale::L2), Some(Rescale::Linf)];

fn pick<T: Copy>(from: &[T], by: u8) -> T {
    from[usize::from(by) % from.len()]
}

impl Case {
    /// Mostly short, now and then around a block's end.
    fn len(&self) -> usize {
        match self.len {
            65_000.. => BLOCK as usize - 1 + usize::from(self.len % 3),
            64_900.. => 2 * BLOCK as usize + usize::from(self.len % 999),
            len => usize::from(len) % 2_500,
        }
    }

    fn models(&self) -> usize {
        match self.merge {
            Merge::Slerp => 1,
            _ => usize::from(self.models) % 4 + 1,
        }
    }

    fn inputs(&self) -> Vec<Stored> {
        let (values, count) = (self.values, self.models() + 1);
        stored(values, self.seed, &self.dtypes, count, self.len(), &self.specials)
    }

    fn check<O: Element>(&self) {
        let stored = self.inputs();
        let inputs: Vec<Vec<f64>> = stored.iter().map(Stored::widened).collect();
        let Some(method) = self.bind(&inputs) else { return };
        let (kernel, len) = (&*method.kernel, self.len());
        let label = format!("{kernel:?}");

        let whole = support::merged::<O>(kernel, &inputs, &[len]);
        let elements: Vec<Elements<'_>> = stored.iter().map(Stored::elements).collect();
        let workers = usize::from(self.workers) % 3 + 1;
        for simd in Simd::available() {
            let mut out = vec![O::narrow(0.0); len];
            let by_blocks = &mut ElementsMut::from(&mut out[..]);
            support::run_by_blocks((simd, workers), kernel, &elements, by_blocks);
            assert_eq!(support::bits(&out), support::bits(&whole), "{label} {}", simd.name());
        }
        method.compare(&label, &whole, &inputs);
        if let Merge::Ties = self.merge
            && inputs.len() == 2
            && inputs.iter().flatten().all(|value| value.is_finite())
        {
            check_kept(pick(&DENSITIES, self.densities[0]), &inputs);
        }
    }

    /// The kernel and what its output should be; `None` where the parameters allow none.
    fn bind(&self, inputs: &[Vec<f64>]) -> Option<Bound> {
        let count = self.models();
        let weights: Vec<f64> = self.weights.map(|by| pick(&WEIGHTS, by)).into();
        let densities: Vec<f64> = self.densities.map(|by| pick(&DENSITIES, by)).into();
        let (mut weights, densities) = (weights[..count].to_vec(), densities[..count].to_vec());
        let (normalize, lambda) = (self.normalize, pick(&LAMBDAS, self.lambda));
        let mut rescale = pick(&NORMS, self.rescale);
        let large = inputs.iter().flatten().any(|value| value.abs() > 1e30);
        if large || matches!(self.values, Values::LastBits | Values::Few | Values::Wild) {
            // Norms of such numbers hang on the order of the sum.
            rescale = rescale.filter(|how| *how == Rescale::Density);
        }
        let finite = inputs.iter().flatten().all(|value| value.is_finite());
        let by_norm = !matches!(rescale, None | Some(Rescale::Density));
        let total: f64 = weights.iter().sum();
        // How much larger than the inputs the terms of the result can be.
        let gain = weights.iter().map(|weight| weight.abs()).sum::<f64>() * lambda.abs() * 1e4;
        let elementwise = |kernel: Box<dyn Kernel>, expected, weights: &[f64]| Bound {
            kernel,
            expected,
            gain: gain.max(1.0),
            // An input whose weight is not zero shows in the output.
            shows: weights.iter().map(|weight| *weight != 0.0).collect(),
        };
        Some(match self.merge {
            Merge::Linear => {
                weights.push(pick(&WEIGHTS, self.densities[0]));
                let total: f64 = weights.iter().sum();
                let params = Linear { weights: weights.clone(), normalize };
                if normalize && total.abs() < 1e-8 {
                    params.first(Extent::of(&[1])).expect_err("the weights cancel");
                    return None;
                }
                let expected = Some(linear::naive(inputs, &params));
                let bound = elementwise(Box::new(params), expected, &weights);
                let scale = if normalize { total.abs().min(1.0) } else { 1.0 };
                Bound { gain: (8.0 / scale).max(1.0), ..bound }
            }
            Merge::TaskArithmetic => {
                let params = TaskArithmetic { weights: weights.clone(), normalize, lambda };
                let expected = Some(ties::naive_task_arithmetic(inputs, &params));
                let mut shown: Vec<f64> = weights.iter().map(|weight| weight * lambda).collect();
                shown.insert(0, 1.0);
                let bound = elementwise(Box::new(params), expected, &shown);
                let divided = normalize && total.abs() >= 1e-8 && total.abs() < 1.0;
                Bound {
                    gain: if divided { gain.max(1.0) / total.abs() } else { gain.max(1.0) },
                    ..bound
                }
            }
            Merge::Slerp => {
                let t = [0.3, 0.5, 0.0, 1.0, 1.7, -0.5][usize::from(self.lambda) % 6];
                let expected = finite.then(|| slerp_expected(inputs, t)).flatten();
                Bound { kernel: Box::new(Slerp { t }), expected, gain: 1e3, shows: Vec::new() }
            }
            Merge::Ties => {
                let new = Ties::new(weights, densities);
                let params = Ties { normalize, lambda, rescale, ..new };
                let expected = (finite || !by_norm).then(|| ties::naive_ties(inputs, &params));
                Bound { kernel: Box::new(params), expected, gain: gain.max(1.0), shows: vec![true] }
            }
            Merge::DareLinear | Merge::DareTies => {
                let name = match rescale {
                    None => None,
                    Some(Rescale::Density) => Some("density"),
                    Some(Rescale::L1) => Some("l1"),
                    Some(Rescale::L2) => Some("l2"),
                    Some(_) => Some("linf"),
                };
                let mut shared = vec![
                    ("normalize", Argument::Flag(normalize)),
                    ("lambda", Argument::Number(lambda)),
                    ("rescale", Argument::Flag(name.is_some())),
                ];
                shared.extend(name.map(|name| ("rescale_norm", Argument::Text(name.to_owned()))));
                let per_model = [("weight", &weights[..]), ("density", &densities[..])];
                let consensus = matches!(self.merge, Merge::DareTies);
                let method: &dyn Method =
                    if consensus { &DareTiesMethod } else { &DareLinearMethod };
                let kernel = support::bound(method, &shared, &per_model, count, self.seed);
                let params = Dare {
                    normalize,
                    lambda,
                    rescale,
                    ..Dare::new(weights.clone(), densities.clone(), self.seed)
                };
                let expected =
                    (finite || !by_norm).then(|| dare::naive(inputs, &params, consensus));
                let scale =
                    if normalize && total.abs() >= 1e-8 { total.abs().min(1.0) } else { 1.0 };
                Bound { kernel, expected, gain: gain.max(1.0) / scale, shows: vec![true] }
            }
        })
    }
}

struct Bound {
    kernel: Box<dyn Kernel>,
    /// The formula's result, where it is defined.
    expected: Option<Vec<f64>>,
    /// How much larger than an input a term of the result may be.
    gain: f64,
    /// Which inputs show in every element of the output.
    shows: Vec<bool>,
}

impl Bound {
    fn compare<O: Element>(&self, label: &str, got: &[O], inputs: &[Vec<f64>]) {
        for (index, got) in got.iter().enumerate() {
            let got = got.widen();
            let column = || inputs.iter().map(|input| input[index]);
            if !column().all(f64::is_finite) {
                let shows = |input: usize| match self.kernel.selects() {
                    Some(selected) => input == selected,
                    None => self.shows.get(input) == Some(&true),
                };
                let lost =
                    column().enumerate().any(|(input, value)| shows(input) && !value.is_finite());
                assert!(
                    !(lost && got.is_finite()),
                    "{label}: element {index} hides a NaN: {got:e}"
                );
                continue;
            }
            let Some(reference) = self.expected.as_ref().map(|expected| expected[index]) else {
                continue;
            };
            let magnitudes: f64 = column().map(f64::abs).sum();
            if !reference.is_finite() || magnitudes * self.gain > 1e300 {
                continue; // undecided, or beyond what doubles hold on the way
            }
            let d = 1e-12 * (self.gain * magnitudes).max(reference.abs()) + 1e-320;
            let (low, high) = (O::narrow(reference - d).widen(), O::narrow(reference + d).widen());
            assert!(
                low <= got && got <= high,
                "{label}: element {index} of {:?} is {got:e}, expected {reference:e}, {}",
                column().collect::<Vec<_>>(),
                O::DTYPE
            );
        }
    }
}

/// The formula, unless it hangs on the last bits of a norm or of the cosine.
fn slerp_expected(inputs: &[Vec<f64>], t: f64) -> Option<Vec<f64>> {
    let dot = |a: &[f64], b: &[f64]| support::sum(a.iter().zip(b).map(|(a, b)| a * b));
    let (v0, v1) = (&inputs[0], &inputs[1]);
    let norms = [dot(v0, v0).sqrt(), dot(v1, v1).sqrt()];
    if norms.iter().any(|norm| !(1e-7..1e100).contains(norm)) {
        return None;
    }
    let cosine = dot(v0, v1) / (norms[0] * norms[1]);
    ((cosine.abs() - 0.9995).abs() > 1e-9).then(|| slerp::naive(v0, v1, t))
}

/// Which of many equal changes are kept shows in every bit.
fn check_kept(density: f64, inputs: &[Vec<f64>]) {
    let (base, model) = (&inputs[0], &inputs[1]);
    let out = support::merged::<f64>(&Ties::new([1.0], [density]), inputs, &[base.len()]);
    let deltas: Vec<f64> = model.iter().zip(base).map(|(m, b)| m - b).collect();
    for (index, kept) in ties::trim(&deltas, density).into_iter().enumerate() {
        // All of a model is the model, even where the base's size swallows the change.
        let expected = if density == 1.0 { model[index] } else { base[index] + kept };
        let got = out[index];
        assert!(
            got == expected || !deltas[index].is_finite(),
            "density {density}, element {index}: {got:e}, expected {expected:e}"
        );
    }
}
