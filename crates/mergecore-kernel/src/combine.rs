//! A linear combination of the inputs: the apply of every averaging method.

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
        let mut used = self.coefficients.iter().enumerate().filter(|(_, c)| **c != 0.0);
        let Some((first, c)) = used.next() else {
            out.fill(0.0);
            return;
        };
        for (out, value) in out.iter_mut().zip(tile.input(first)) {
            *out = c * value;
        }
        for (index, c) in used {
            for (out, value) in out.iter_mut().zip(tile.input(index)) {
                *out += c * value;
            }
        }
        if self.agreeing_value_stands && self.selects().is_none() {
            restore_agreeing(tile, out);
        }
    }
}

/// Replaces each output element on which all inputs agree by their value.
fn restore_agreeing(tile: &Tile<'_>, out: &mut [f64]) {
    let first = tile.input(0);
    let mut differs = [0u64; crate::TILE];
    for index in 1..tile.inputs() {
        for ((differs, value), first) in differs.iter_mut().zip(tile.input(index)).zip(first) {
            *differs |= value.to_bits() ^ first.to_bits();
        }
    }
    for ((out, differs), first) in out.iter_mut().zip(&differs).zip(first) {
        *out = if *differs == 0 { *first } else { *out };
    }
}
