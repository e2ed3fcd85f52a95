//! What the tests of the kernel and of the method crates share.
#![allow(dead_code)] // each test binary uses a part of it

use mergecore_kernel::{
    Argument, Arguments, Base, Binding, Element, Elements, ElementsMut, Extent, Kernel, Method,
    Order, Rescale, Simd, Step, StreamKey, Worker, blocks, merge_slices,
};
use serde_json::Value;

/// SplitMix64: reproducible numbers for test data.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// From -1 to 1.
    pub(crate) fn number(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// A norm by its definition.
fn norm(values: &[f64], how: Rescale) -> f64 {
    let magnitudes = values.iter().map(|value| value.abs());
    match how {
        Rescale::L2 => sum(magnitudes.map(|x| x * x)).sqrt(),
        Rescale::Linf => magnitudes.fold(0.0, f64::max),
        _ => sum(magnitudes),
    }
}

/// Pruned deltas scaled up as asked for.
pub(crate) fn rescaled(
    deltas: &[f64],
    kept: Vec<f64>,
    density: f64,
    how: Option<Rescale>,
) -> Vec<f64> {
    let factor = match how {
        None => return kept,
        Some(Rescale::Density) if density > 0.0 => {
            return kept.into_iter().map(|delta| delta / density).collect();
        }
        Some(Rescale::Density) => 1.0,
        Some(how) => {
            let (before, after) = (norm(deltas, how), norm(&kept, how));
            if before < 1e-7 || after < 1e-7 { 1.0 } else { before / after }
        }
    };
    kept.into_iter().map(|delta| delta * factor).collect()
}

/// What a base and its models are filled with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Data {
    /// On a grid that bf16 holds: a dozen magnitudes, each many times.
    Grid,
    /// `f32` values, hardly two changes alike.
    Spread,
    /// Models equal to the base.
    Same,
    /// Changes that differ in the last bits of a double only.
    LastBits,
}

/// A base and its models.
pub(crate) fn task_vectors(
    random: &mut Random,
    data: Data,
    models: usize,
    len: usize,
) -> Vec<Vec<f64>> {
    let mut base = vec![0.0; len];
    if !matches!(data, Data::LastBits) {
        base.fill_with(|| (random.below(257) as f64 - 128.0) / 128.0);
    }
    let mut all = vec![base.clone()];
    for _ in 0..models {
        let mut change = |base: &f64| match data {
            Data::Grid => base + (random.below(25) as f64 - 12.0) / 128.0,
            Data::Spread => f64::from((base + 0.1 * random.number()) as f32),
            Data::Same => *base,
            Data::LastBits => {
                let magnitude = f64::from_bits(1.0f64.to_bits() + random.bits() % 50);
                if random.below(2) == 0 { magnitude } else { -magnitude }
            }
        };
        all.push(base.iter().map(&mut change).collect());
    }
    all
}

/// The largest difference of an element of any model from the base.
pub(crate) fn largest_change(inputs: &[Vec<f64>]) -> f64 {
    let changes = |model: &Vec<f64>| -> Vec<f64> {
        model.iter().zip(&inputs[0]).map(|(value, base)| (value - base).abs()).collect()
    };
    inputs[1..].iter().flat_map(changes).fold(0.0, f64::max)
}

/// Runs a kernel on doubles, to a type of output.
pub(crate) fn merged<O: Element>(
    kernel: &dyn Kernel,
    inputs: &[Vec<f64>],
    shape: &[usize],
) -> Vec<O> {
    let slices: Vec<&[f64]> = inputs.iter().map(Vec::as_slice).collect();
    let mut out = vec![O::narrow(f64::NAN); inputs[0].len()];
    merge_slices(kernel, &slices, shape, &mut out).expect("the kernel accepts the inputs");
    out
}

/// Runs a kernel with an instruction set, the blocks done in turn by so many workers.
/// Yields the number of scans.
pub(crate) fn run_by_blocks(
    (simd, workers): (Simd, usize),
    kernel: &dyn Kernel,
    inputs: &[Elements<'_>],
    out: &mut ElementsMut<'_>,
) -> usize {
    let extent = Extent::of(&[out.len()]);
    let part = |start: u64, end: u64| -> Vec<Elements<'_>> {
        inputs.iter().map(|input| input.part(start as usize, (end - start) as usize)).collect()
    };
    let mut worker = Worker::with_simd(simd);
    let mut step = kernel.first(extent).expect("the kernel accepts the inputs");
    let mut scans = 0;
    loop {
        match step {
            Step::Scan(scan) => {
                let pieces: Vec<_> = scan.ranges(extent).into_iter().flat_map(blocks).collect();
                let slots = match scan.order() {
                    Order::Any => workers,
                    Order::Blocks => pieces.len(),
                };
                let mut partials: Vec<_> = (0..slots).map(|_| scan.empty()).collect();
                for (index, piece) in pieces.into_iter().enumerate() {
                    let (partial, inputs) =
                        (&mut partials[index % slots], part(piece.start, piece.end));
                    worker.fold(&*scan, partial, piece.start, extent, &inputs);
                }
                let mut total = scan.empty();
                partials.into_iter().for_each(|partial| scan.combine(&mut total, partial));
                step = scan.finish(total).expect("the kernel accepts the inputs");
                scans += 1;
            }
            Step::Whole(_) => unreachable!("the kernels of these tests have blocks"),
            Step::Apply(apply) => {
                for piece in blocks(0..extent.len()) {
                    let inputs = part(piece.start, piece.end);
                    let out =
                        &mut out.part(piece.start as usize, (piece.end - piece.start) as usize);
                    worker.apply(&*apply, piece.start, extent, &inputs, out);
                }
                return scans;
            }
        }
    }
}

/// The bits of elements, widened: equal exactly where the elements' own are.
pub(crate) fn bits<T: Element>(elements: &[T]) -> Vec<u64> {
    elements.iter().map(|element| element.widen().to_bits()).collect()
}

pub(crate) fn typed<T: Element>(values: &[f64]) -> Vec<T> {
    values.iter().map(|value| T::narrow(*value)).collect()
}

/// A sum without rounding errors to speak of (Neumaier's), so that a naive version
/// is not the less exact one.
pub(crate) fn sum(terms: impl Iterator<Item = f64>) -> f64 {
    let (mut total, mut lost) = (0.0f64, 0.0);
    for term in terms {
        let next = total + term;
        let (large, small) = if total.abs() >= term.abs() { (total, term) } else { (term, total) };
        lost += (large - next) + small;
        total = next;
    }
    total + lost
}

/// Asserts that every element lies between the reference rounded a trifle lower
/// and a trifle higher: 1e-12 of the inputs' magnitudes, or of the reference's
/// own where rescaling made it larger. An element whose reference is NaN is passed
/// over: its sign election hangs on the last bit of a rescaled sum.
pub(crate) fn assert_rounded<O: Element>(
    label: &str,
    got: &[O],
    reference: &[f64],
    inputs: &[Vec<f64>],
) {
    assert_eq!(got.len(), reference.len(), "{label}");
    let undecided = reference.iter().filter(|x| x.is_nan()).count();
    assert!(undecided <= reference.len() / 4 + 8, "{label}: {undecided} undecided");
    for (index, (got, reference)) in got.iter().zip(reference).enumerate() {
        let magnitudes: f64 = inputs.iter().map(|input| input[index].abs()).sum();
        let d = 1e-12 * magnitudes.max(reference.abs());
        let (low, high) = (O::narrow(reference - d).widen(), O::narrow(reference + d).widen());
        let got = got.widen();
        assert!(
            reference.is_nan() || (low <= got && got <= high),
            "{label}: element {index} is {got:e}, expected {reference:e}, {}",
            O::DTYPE
        );
    }
}

/// A method's kernel, from shared arguments and one list of numbers a parameter; without a
/// base where that is optional.
pub(crate) fn bound(
    method: &dyn Method,
    shared: &[(&'static str, Argument)],
    per_model: &[(&'static str, &[f64])],
    models: usize,
    seed: u64,
) -> Box<dyn Kernel> {
    bound_to(method, method.inputs().base == Base::Required, shared, per_model, models, seed)
}

/// As [`bound`], with a base or without one.
pub(crate) fn bound_to(
    method: &dyn Method,
    base: bool,
    shared: &[(&'static str, Argument)],
    per_model: &[(&'static str, &[f64])],
    models: usize,
    seed: u64,
) -> Box<dyn Kernel> {
    let mut arguments = Arguments::default();
    shared.iter().for_each(|(name, value)| arguments.insert(name, value.clone()));
    let model = |index: usize| {
        let mut arguments = Arguments::default();
        for (name, values) in per_model {
            arguments.insert(name, Argument::Number(values[index]));
        }
        arguments
    };
    let binding = Binding {
        base,
        shared: arguments,
        models: (0..models).map(model).collect(),
        stream: StreamKey::from_seed(seed),
    };
    method.bind(&binding).expect("the arguments fit together")
}

/// One case of a golden file; `golden/make_golden.py` wrote it.
#[derive(Debug)]
pub(crate) struct Case(Value);

/// The cases of a golden file.
pub(crate) fn cases(json: &str) -> Vec<Case> {
    let Value::Array(cases) = serde_json::from_str(json).expect("a golden file is JSON") else {
        panic!("a golden file is a list");
    };
    cases.into_iter().map(Case).collect()
}

impl Case {
    pub(crate) fn method(&self) -> &str {
        self.0["method"].as_str().expect("every case names its method")
    }

    /// How many inputs there are, the base included.
    pub(crate) fn inputs(&self) -> usize {
        self.0["inputs"].as_array().expect("a list").len()
    }

    pub(crate) fn number(&self, parameter: &str) -> Option<f64> {
        self.0["parameters"][parameter].as_str().map(hex_float)
    }

    pub(crate) fn numbers(&self, parameter: &str) -> Vec<f64> {
        hex_floats(&self.0["parameters"][parameter])
    }

    pub(crate) fn flag(&self, parameter: &str) -> bool {
        self.0["parameters"][parameter].as_bool().expect("a flag")
    }

    pub(crate) fn whole(&self, parameter: &str) -> u64 {
        self.0["parameters"][parameter].as_u64().expect("a whole number")
    }

    pub(crate) fn text(&self, parameter: &str) -> Option<&str> {
        self.0["parameters"][parameter].as_str()
    }

    /// Asserts that every element of every output dtype lies within its bounds.
    pub(crate) fn check(&self, kernel: &dyn Kernel) {
        self.check_as::<mergecore_tensor::bf16>(kernel, "bf16");
        self.check_as::<mergecore_tensor::f16>(kernel, "f16");
        self.check_as::<f32>(kernel, "f32");
    }

    pub(crate) fn shape(&self) -> Vec<usize> {
        let shape = self.0["shape"].as_array().expect("a list");
        shape.iter().map(|n| n.as_u64().expect("a whole number") as usize).collect()
    }

    pub(crate) fn input_values(&self) -> Vec<Vec<f64>> {
        self.0["inputs"].as_array().expect("a list").iter().map(hex_floats).collect()
    }

    /// The reference's output.
    pub(crate) fn output(&self) -> Vec<f64> {
        hex_floats(&self.0["output"])
    }

    fn check_as<O: Element>(&self, kernel: &dyn Kernel, dtype: &str) {
        let (shape, inputs) = (self.shape(), self.input_values());
        let reference = self.output();
        let low = hex_floats(&self.0[dtype][0]);
        let high = match &self.0[dtype][1] {
            Value::Null => low.clone(),
            high => hex_floats(high),
        };
        let got = merged::<O>(kernel, &inputs, &shape);
        assert_eq!((got.len(), low.len(), high.len()), (reference.len(), got.len(), got.len()));
        for (index, got) in got.iter().map(|got| got.widen()).enumerate() {
            assert!(
                low[index] <= got && got <= high[index],
                "{kernel:?}: element {index} is {got:e}, reference {:e}, {dtype}: {:?}",
                reference[index],
                self.0["parameters"],
            );
        }
    }
}

fn hex_floats(list: &Value) -> Vec<f64> {
    let list = list.as_array().expect("a list of hex floats");
    list.iter().map(|value| hex_float(value.as_str().expect("a hex float"))).collect()
}

/// Reads what Python's `float.hex` writes: `-0x1.8p-3`.
fn hex_float(text: &str) -> f64 {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text),
    };
    if digits == "inf" {
        return sign * f64::INFINITY;
    }
    let (mantissa, exponent) =
        digits.strip_prefix("0x").and_then(|digits| digits.split_once('p')).expect("0x...p...");
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let number = u64::from_str_radix(&format!("{whole}{fraction}"), 16).expect("hex digits");
    let exponent: i32 = exponent.parse().expect("a decimal exponent");
    // 53 bits at most; in two steps, so that subnormals are reached exactly.
    let exponent = exponent - 4 * fraction.len() as i32;
    sign * (number as f64 * 2f64.powi(exponent / 2)) * 2f64.powi(exponent - exponent / 2)
}
