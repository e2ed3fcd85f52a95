//! A linear combination of the inputs: the apply of every averaging method.

use mergecore_tensor::{
    DType, Element, Elements, ElementsMut, Losses, Simd, Vectorize, narrow_run,
};

use crate::{Apply, StoredWork, TILE, Tile, over_stored};

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
    /// Where all inputs that are used agree the output is their value; meant for
    /// coefficients that sum to one but for rounding.
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
    /// on which all inputs agree, those with a coefficient of zero apart, is that value,
    /// bit for bit.
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
    ) -> Option<Losses> {
        over_stored(inputs, Fused { combination: self, simd, out })?
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
}

/// A combination of stored elements, to stored elements.
struct Fused<'a, 'b> {
    combination: &'a Combination,
    simd: Simd,
    out: &'a mut ElementsMut<'b>,
}

impl StoredWork for Fused<'_, '_> {
    /// `None`, and nothing done, where the output is not of a floating-point type.
    type Output = Option<Losses>;

    fn run<T: Element>(self, inputs: &[&[T]]) -> Option<Losses> {
        let Fused { combination, simd, out } = self;
        Some(match out {
            ElementsMut::Bf16(out) => simd.run(Combine { combination, inputs, out }),
            ElementsMut::F16(out) => simd.run(Combine { combination, inputs, out }),
            ElementsMut::F32(out) => simd.run(Combine { combination, inputs, out }),
            ElementsMut::F64(out) => simd.run(Combine { combination, inputs, out }),
            _ => return None,
        })
    }
}

/// A combination over slices of one length each.
struct Combine<'a, I, O> {
    combination: &'a Combination,
    inputs: &'a [&'a [I]],
    out: &'a mut [O],
}

impl<I: Element, O: Element> Vectorize for Combine<'_, I, O> {
    type Output = Losses;

    #[inline(always)]
    fn vectorize(self) -> Losses {
        let Combination { coefficients, agreeing_value_stands } = self.combination;
        let restore = *agreeing_value_stands
            && self.combination.selects().is_none()
            && !self.combination.rounds_to_agreeing::<I, O>();
        let used = coefficients.iter().enumerate().filter(|(_, c)| **c != 0.0);
        let mut losses = Losses::default();
        let mut sums = [0.0; TILE];
        for (index, out) in self.out.chunks_mut(TILE).enumerate() {
            let run = |input: usize| &self.inputs[input][index * TILE..][..out.len()];
            let sums = &mut sums[..out.len()];
            add_up(used.clone().map(|(input, c)| (*c, run(input))), sums);
            if restore {
                restore_agreeing(used.clone().map(|(input, _)| run(input)), sums);
            }
            losses.add((index * TILE) as u64, narrow_run(sums, out));
        }
        losses
    }
}

/// Sums runs times their coefficients, in order; without a run, to zeros.
#[inline(always)]
fn add_up<'a, I: Element>(mut terms: impl Iterator<Item = (f64, &'a [I])>, sums: &mut [f64]) {
    match (terms.next(), terms.next()) {
        (Some((c0, a)), Some((c1, b))) => {
            for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
                *sum = c0 * a.widen() + c1 * b.widen();
            }
        }
        (Some((c, a)), None) => {
            for (sum, a) in sums.iter_mut().zip(a) {
                *sum = c * a.widen();
            }
        }
        (None, _) => sums.fill(0.0),
    }
    for (c, a) in terms {
        for (sum, a) in sums.iter_mut().zip(a) {
            *sum += c * a.widen();
        }
    }
}

/// Puts the runs' value where they all have the same.
#[inline(always)]
fn restore_agreeing<'a, I: Element>(mut runs: impl Iterator<Item = &'a [I]>, sums: &mut [f64]) {
    let (Some(first), second) = (runs.next(), runs.next()) else { return };
    let Some(second) = second else {
        for (sum, first) in sums.iter_mut().zip(first) {
            *sum = first.widen();
        }
        return;
    };
    let Some(third) = runs.next() else {
        for ((sum, first), other) in sums.iter_mut().zip(first).zip(second) {
            *sum = if first.is_identical(*other) { first.widen() } else { *sum };
        }
        return;
    };
    let mut agree = [true; TILE];
    for run in [second, third].into_iter().chain(runs) {
        for ((agree, first), other) in agree.iter_mut().zip(first).zip(run) {
            *agree &= first.is_identical(*other);
        }
    }
    for ((sum, agree), first) in sums.iter_mut().zip(agree).zip(first) {
        *sum = if agree { first.widen() } else { *sum };
    }
}
