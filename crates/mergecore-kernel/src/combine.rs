//! A linear combination of the inputs: the apply of every averaging method.

use mergecore_tensor::{DType, Element, Elements, ElementsMut, LANES, Simd, Vectorize, bf16, f16};

use crate::{Apply, Tile};

/// Output = sum of coefficient times input, element by element.
///
/// Inputs whose coefficient is zero are not touched, so that a lone coefficient
/// of one gives that input bit for bit (the sign of a zero included).
///
/// ```
/// use mergecore_kernel::Combination;
///
/// let half = Combination::average(vec![0.5, 0.5]);
/// assert_eq!(half.coefficients(), [0.5, 0.5]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Combination {
    coefficients: Vec<f64>,
    /// Where all inputs agree the output is their value; meant for coefficients
    /// that sum to one but for rounding.
    agreeing_value_stands: bool,
}

impl Combination {
    /// A combination with coefficients of any sum.
    ///
    /// ```
    /// let sum = mergecore_kernel::Combination::new(vec![1.0, 1.0, 0.0]);
    /// assert_eq!(sum.coefficients(), [1.0, 1.0, 0.0]);
    /// ```
    pub fn new(coefficients: Vec<f64>) -> Self {
        Combination { coefficients, agreeing_value_stands: false }
    }

    /// A combination whose coefficients sum to one but for rounding: an element
    /// on which all inputs agree is that value, bit for bit.
    ///
    /// ```
    /// // Thirds do not sum to one in binary; equal inputs come out unchanged all the same.
    /// let mean = mergecore_kernel::Combination::average(vec![1.0 / 3.0; 3]);
    /// assert_eq!(mean.selects(), None);
    /// ```
    pub fn average(coefficients: Vec<f64>) -> Self {
        Combination { coefficients, agreeing_value_stands: true }
    }

    /// One input alone, unchanged.
    ///
    /// ```
    /// let second = mergecore_kernel::Combination::select(1, 3);
    /// assert_eq!(second.coefficients(), [0.0, 1.0, 0.0]);
    /// ```
    pub fn select(index: usize, inputs: usize) -> Self {
        let coefficients = (0..inputs).map(|i| if i == index { 1.0 } else { 0.0 }).collect();
        Combination::new(coefficients)
    }

    /// One coefficient an input.
    ///
    /// ```
    /// let second = mergecore_kernel::Combination::select(1, 2);
    /// assert_eq!(second.coefficients(), [0.0, 1.0]);
    /// ```
    pub fn coefficients(&self) -> &[f64] {
        &self.coefficients
    }

    /// The input that this combination yields unchanged, if it is one.
    ///
    /// ```
    /// use mergecore_kernel::Combination;
    ///
    /// assert_eq!(Combination::new(vec![0.0, 1.0]).selects(), Some(1));
    /// assert_eq!(Combination::new(vec![0.0, 0.5]).selects(), None);
    /// ```
    pub fn selects(&self) -> Option<usize> {
        let mut used = self.coefficients.iter().enumerate().filter(|(_, c)| **c != 0.0);
        match (used.next(), used.next()) {
            (Some((index, 1.0)), None) => Some(index),
            _ => None,
        }
    }
}

impl Apply for Combination {
    fn apply(&self, tile: &mut Tile<'_>, out: &mut [f64]) {
        let inputs: Vec<&[f64]> = (0..tile.inputs()).map(|index| tile.input(index)).collect();
        tile.simd().run(Combine { combination: self, inputs: &inputs, out });
    }

    fn apply_stored(
        &self,
        simd: Simd,
        _: u64,
        inputs: &[Elements<'_>],
        out: &mut ElementsMut<'_>,
    ) -> bool {
        match inputs.first() {
            Some(Elements::Bf16(_)) => self.fused_from::<bf16>(simd, inputs, out),
            Some(Elements::F16(_)) => self.fused_from::<f16>(simd, inputs, out),
            Some(Elements::F32(_)) => self.fused_from::<f32>(simd, inputs, out),
            Some(Elements::F64(_)) => self.fused_from::<f64>(simd, inputs, out),
            _ => false,
        }
    }
}

impl Combination {
    /// Whether, where all inputs agree, the sum rounds to their value of its own accord: it
    /// is off by the rounding errors of an `f64`, far less than half a step of a type that has
    /// that value, and no term has the other sign, which would make a sum of -0 a +0.
    fn rounds_to_agreeing<I: Element, O: Element>(&self) -> bool {
        let holds = match (I::DTYPE, O::DTYPE) {
            (_, DType::F64) => false,
            (DType::Bf16 | DType::F16, DType::F32) => true,
            (input, output) => input == output,
        };
        let sum: f64 = self.coefficients.iter().sum();
        holds && self.coefficients.iter().all(|c| *c >= 0.0) && (sum - 1.0).abs() < 1e-9
    }

    /// `false`, and nothing done, where not all inputs are of this type.
    fn fused_from<I: Element>(
        &self,
        simd: Simd,
        inputs: &[Elements<'_>],
        out: &mut ElementsMut<'_>,
    ) -> bool {
        let inputs: Option<Vec<&[I]>> =
            inputs.iter().map(|input| I::from_elements(*input)).collect();
        let Some(inputs) = inputs else { return false };
        match out {
            ElementsMut::Bf16(out) => simd.run(Combine { combination: self, inputs: &inputs, out }),
            ElementsMut::F16(out) => simd.run(Combine { combination: self, inputs: &inputs, out }),
            ElementsMut::F32(out) => simd.run(Combine { combination: self, inputs: &inputs, out }),
            ElementsMut::F64(out) => simd.run(Combine { combination: self, inputs: &inputs, out }),
            _ => return false,
        }
        true
    }
}

/// A combination over slices of one length each.
struct Combine<'a, I, O> {
    combination: &'a Combination,
    inputs: &'a [&'a [I]],
    out: &'a mut [O],
}

impl<I: Element, O: Element> Vectorize for Combine<'_, I, O> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        let Combination { coefficients, agreeing_value_stands } = self.combination;
        let restore = *agreeing_value_stands
            && self.combination.selects().is_none()
            && !self.combination.rounds_to_agreeing::<I, O>();
        let (out, out_rest) = self.out.as_chunks_mut::<LANES>();
        let done = out.len() * LANES;
        if let ([c0, c1], [a, b]) = (&coefficients[..], self.inputs)
            && *c0 != 0.0
            && *c1 != 0.0
        {
            let (a, b) = (a.as_chunks().0, b.as_chunks().0);
            for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
                let sums = if restore {
                    two::<_, true>(*c0, a, *c1, b)
                } else {
                    two::<_, false>(*c0, a, *c1, b)
                };
                O::narrow_lanes(&sums, out);
            }
        } else {
            for (block, out) in out.iter_mut().enumerate() {
                let lanes = |input: usize| &self.inputs[input].as_chunks().0[block];
                O::narrow_lanes(&several(coefficients, lanes, self.inputs.len(), restore), out);
            }
        }
        if !out_rest.is_empty() {
            let padded = |input: &&[I]| {
                let mut lanes = [I::default(); LANES];
                lanes[..out_rest.len()].copy_from_slice(&input[done..]);
                lanes
            };
            let inputs: Vec<_> = self.inputs.iter().map(padded).collect();
            let sums = several(coefficients, |input| &inputs[input], inputs.len(), restore);
            for (out, sum) in out_rest.iter_mut().zip(sums) {
                *out = O::narrow(sum);
            }
        }
    }
}

/// The combination of two inputs, by far the most frequent.
#[inline(always)]
fn two<I: Element, const RESTORE: bool>(
    c0: f64,
    a: &[I; LANES],
    c1: f64,
    b: &[I; LANES],
) -> [f64; LANES] {
    let mut sums = [0.0; LANES];
    for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
        let wide = a.widen();
        let mixed = c0 * wide + c1 * b.widen();
        *sum = if RESTORE && a.is_identical(*b) { wide } else { mixed };
    }
    sums
}

#[inline(always)]
fn several<'a, I: Element>(
    coefficients: &[f64],
    lanes: impl Fn(usize) -> &'a [I; LANES],
    inputs: usize,
    restore: bool,
) -> [f64; LANES] {
    let mut sums = [0.0; LANES];
    let mut used = coefficients.iter().enumerate().filter(|(_, c)| **c != 0.0);
    if let Some((input, c)) = used.next() {
        for (sum, value) in sums.iter_mut().zip(lanes(input)) {
            *sum = c * value.widen();
        }
    }
    for (input, c) in used {
        for (sum, value) in sums.iter_mut().zip(lanes(input)) {
            *sum += c * value.widen();
        }
    }
    if restore {
        let first = lanes(0);
        let mut agree = [true; LANES];
        for input in 1..inputs {
            for ((agree, value), first) in agree.iter_mut().zip(lanes(input)).zip(first) {
                *agree &= value.is_identical(*first);
            }
        }
        for ((sum, agree), first) in sums.iter_mut().zip(agree).zip(first) {
            *sum = if agree { first.widen() } else { *sum };
        }
    }
    sums
}
