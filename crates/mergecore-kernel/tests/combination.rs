//! Combinations of stored elements against one element at a time, and by way of tiles.

use mergecore_kernel::{
    Apply, Combination, Element, Elements, ElementsMut, Extent, Simd, TILE, Tile, Worker,
};
use mergecore_tensor::{bf16, f16};
use support::{Random, bits};

mod support;

/// Has no way but that through tiles.
struct ByTiles(Combination);

impl Apply for ByTiles {
    fn apply(&self, tile: &mut Tile<'_>, out: &mut [f64]) {
        self.0.apply(tile, out);
    }
}

const COEFFICIENTS: [&[f64]; 17] = [
    &[1.0],
    &[0.3],
    &[-1.0],
    &[0.0],
    &[0.3, 0.7],
    &[0.7, -0.4],
    &[1.0, 0.0],
    &[0.0, 1.0],
    &[0.0, 0.6],
    &[0.0, -0.0],
    &[1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0],
    &[0.2, 0.0, 0.8],
    &[0.0, 0.0, 1.0],
    &[0.1, 0.2, 0.3, 0.4],
    &[0.0, 0.3, 0.0, 0.7],
    &[1.0, 0.0, 0.0, 0.0],
    &[0.0; 4],
];

/// Around 64 lanes and around tiles.
const LENGTHS: [usize; 12] =
    [0, 1, 63, 64, 65, 191, TILE - 1, TILE, TILE + 1, TILE + 65, 2 * TILE, 2 * TILE + 127];

/// The elements of all inputs at one index: some agree, some are zeros of either sign,
/// and some are extreme, NaN or infinite in a dtype or other.
fn values(random: &mut Random, inputs: usize) -> Vec<f64> {
    let mut number = || match random.below(12) {
        0 => 0.0,
        1 => -0.0,
        2 => random.pick(&[1e-8, 6e-8, 1e-40, 1e-310, -7e-46]),
        3 => random.pick(&[65_504.0, -3.38e38, 1e300, f64::INFINITY, f64::NAN]),
        _ => random.number(),
    };
    let one = number();
    let agreeing = vec![one; inputs];
    let mut any: Vec<f64> = (0..inputs).map(|_| number()).collect();
    match random.below(4) {
        0 | 1 => agreeing,
        2 => any,
        // All but one.
        _ => {
            let odd = random.below(inputs);
            let odd_one = any[odd];
            any = agreeing;
            any[odd] = odd_one;
            any
        }
    }
}

/// The inputs, each rounded to a type.
fn inputs<T: Element>(seed: u64, inputs: usize, len: usize) -> Vec<Vec<T>> {
    let mut random = Random(seed);
    let mut all = vec![Vec::with_capacity(len); inputs];
    for _ in 0..len {
        for (input, value) in all.iter_mut().zip(values(&mut random, inputs)) {
            input.push(T::narrow(value));
        }
    }
    all
}

fn naive(coefficients: &[f64], average: bool, values: &[f64]) -> f64 {
    let used: Vec<usize> = (0..values.len()).filter(|i| coefficients[*i] != 0.0).collect();
    let selects = used.len() == 1 && coefficients[used[0]] == 1.0;
    let mut taking_part = used.iter().map(|i| values[*i]);
    let first = taking_part.next();
    let agreeing = first.filter(|first| taking_part.all(|v| v.to_bits() == first.to_bits()));
    if let Some(agreeing) = agreeing.filter(|_| average && !selects) {
        return agreeing;
    }
    let terms = used.into_iter().map(|i| coefficients[i] * values[i]);
    terms.reduce(|sum, term| sum + term).unwrap_or(0.0)
}

fn combination(coefficients: &[f64], average: bool) -> Combination {
    match average {
        true => Combination::average(coefficients.to_vec()),
        false => Combination::new(coefficients.to_vec()),
    }
}

fn applied<O: Element>(simd: Simd, apply: &dyn Apply, inputs: &[Elements<'_>]) -> Vec<u64> {
    let len = inputs[0].len();
    let mut out = vec![O::narrow(f64::NAN); len];
    let to = &mut ElementsMut::from(&mut out[..]);
    Worker::with_simd(simd).apply(apply, 0, Extent::of(&[len]), inputs, to);
    bits(&out)
}

/// Asserts that with every instruction set the result is one element at a time's.
fn check<O: Element>(label: &str, coefficients: &[f64], inputs: &[Elements<'_>]) {
    let len = inputs[0].len();
    let mut wide = vec![vec![0.0; len]; inputs.len()];
    for (wide, input) in wide.iter_mut().zip(inputs) {
        input.widen(Simd::BASELINE, wide);
    }
    for average in [false, true] {
        let element = |index: usize| {
            let values: Vec<f64> = wide.iter().map(|input| input[index]).collect();
            O::narrow(naive(coefficients, average, &values))
        };
        let expected = bits(&(0..len).map(element).collect::<Vec<O>>());
        for simd in Simd::available() {
            let combination = combination(coefficients, average);
            let stored = applied::<O>(simd, &combination, inputs);
            let by_tiles = applied::<O>(simd, &ByTiles(combination), inputs);
            for (way, got) in [("stored", stored), ("by tiles", by_tiles)] {
                let wrong = got.iter().zip(&expected).position(|(got, expected)| got != expected);
                assert_eq!(
                    wrong,
                    None,
                    "first wrong element, {label} to {}, {way}, {coefficients:?}, average: \
                     {average}, {len} elements, {simd}",
                    O::DTYPE
                );
            }
        }
    }
}

fn check_to_all(label: &str, coefficients: &[f64], inputs: &[Elements<'_>]) {
    check::<bf16>(label, coefficients, inputs);
    check::<f16>(label, coefficients, inputs);
    check::<f32>(label, coefficients, inputs);
    check::<f64>(label, coefficients, inputs);
}

fn from_one_dtype<I: Element>() {
    for (seed, coefficients) in (0..).zip(COEFFICIENTS) {
        for len in LENGTHS {
            // All but the first element: no more aligned than the element's type is.
            let inputs = inputs::<I>(seed, coefficients.len(), len + 1);
            let inputs: Vec<_> = inputs.iter().map(|input| Elements::from(&input[1..])).collect();
            check_to_all(&format!("from {}", I::DTYPE), coefficients, &inputs);
        }
    }
}

#[test]
fn from_bf16() {
    from_one_dtype::<bf16>();
}

#[test]
fn from_f16() {
    from_one_dtype::<f16>();
}

#[test]
fn from_f32() {
    from_one_dtype::<f32>();
}

#[test]
fn from_f64() {
    from_one_dtype::<f64>();
}

/// Of one dtype each, in every rotation.
#[test]
fn from_several_dtypes() {
    for coefficients in COEFFICIENTS {
        let count = coefficients.len();
        for len in LENGTHS {
            let (b, h) = (inputs::<bf16>(1, count, len), inputs::<f16>(1, count, len));
            let (f, d) = (inputs::<f32>(1, count, len), inputs::<f64>(1, count, len));
            for rotation in 0..4 {
                let input = |index: usize| match (index + rotation) % 4 {
                    0 => Elements::from(&b[index][..]),
                    1 => Elements::from(&h[index][..]),
                    2 => Elements::from(&f[index][..]),
                    _ => Elements::from(&d[index][..]),
                };
                let inputs: Vec<_> = (0..count).map(input).collect();
                check_to_all("from several dtypes", coefficients, &inputs);
            }
        }
    }
}
