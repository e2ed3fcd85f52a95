//! Tensors of numbers of every kind.

use arbitrary::Arbitrary;
use mergecore_kernel::{Elements, Simd};
use mergecore_tensor::{bf16, f16};
use support::{Data, Random};

#[path = "../../crates/mergecore-kernel/tests/support/mod.rs"]
mod support;

/// What inputs are filled with.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Values {
    Grid,
    Spread,
    Same,
    LastBits,
    /// A handful of magnitudes with both signs, zero and the smallest ones among them.
    Few,
    /// Any bits of the input's type that are a finite number.
    Wild,
}

/// An element type.
#[derive(Debug, Clone, Copy, PartialEq, Arbitrary)]
pub enum Float {
    Bf16,
    F16,
    F32,
    F64,
}

/// A single element that differs from the rest.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Special {
    Nan,
    Infinity,
    NegativeInfinity,
    NegativeZero,
    Smallest,
    Largest,
}

/// The elements of one input in the type that they are stored in.
pub enum Stored {
    Bf16(Vec<bf16>),
    F16(Vec<f16>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Stored {
    fn of(float: Float, values: &[f64]) -> Self {
        match float {
            Float::Bf16 => Stored::Bf16(support::typed(values)),
            Float::F16 => Stored::F16(support::typed(values)),
            Float::F32 => Stored::F32(support::typed(values)),
            Float::F64 => Stored::F64(support::typed(values)),
        }
    }

    pub fn elements(&self) -> Elements<'_> {
        match self {
            Stored::Bf16(values) => (&values[..]).into(),
            Stored::F16(values) => (&values[..]).into(),
            Stored::F32(values) => (&values[..]).into(),
            Stored::F64(values) => (&values[..]).into(),
        }
    }

    pub fn widened(&self) -> Vec<f64> {
        let elements = self.elements();
        let mut out = vec![0.0; elements.len()];
        elements.widen(Simd::BASELINE, &mut out);
        out
    }
}

/// A base and its models, `count` together of `len` elements each; of the specials, given as
/// input, index and what comes there, 64.
pub fn stored(
    values: Values,
    seed: u64,
    dtypes: &[Float],
    count: usize,
    len: usize,
    specials: &[(u8, u16, Special)],
) -> Vec<Stored> {
    let mut random = Random(seed);
    let data = match values {
        Values::Grid => Data::Grid,
        Values::Spread => Data::Spread,
        Values::Same => Data::Same,
        Values::LastBits | Values::Few | Values::Wild => Data::LastBits,
    };
    let mut inputs = support::task_vectors(&mut random, data, count.saturating_sub(1), len);
    inputs.truncate(count);
    match values {
        Values::Few => {
            let tiny = [0.0, -0.0, 5e-324, 1e-310, 1e-45, 1e-40, 6e-8, 1.0, 2.0, 1e-20];
            let number = |random: &mut Random| random.pick(&tiny) * random.pick(&[1.0, -1.0]);
            inputs.iter_mut().flatten().for_each(|value| *value = number(&mut random));
        }
        Values::Wild => {
            for (input, float) in inputs.iter_mut().zip(dtypes.iter().cycle()) {
                input.fill_with(|| wild(&mut random, *float));
            }
        }
        _ => {}
    }
    for (input, at, special) in specials.iter().take(64).filter(|_| len > 0 && count > 0) {
        let input = usize::from(*input) % inputs.len();
        let float = dtypes[input % dtypes.len()];
        inputs[input][usize::from(*at) % len] = match special {
            Special::Nan => f64::NAN,
            Special::Infinity => f64::INFINITY,
            Special::NegativeInfinity => f64::NEG_INFINITY,
            Special::NegativeZero => -0.0,
            Special::Smallest => smallest(float),
            Special::Largest => largest(float),
        };
    }
    let stored = inputs.iter().zip(dtypes.iter().cycle());
    stored.map(|(input, float)| Stored::of(*float, input)).collect()
}

/// A finite number of any size.
fn wild(random: &mut Random, float: Float) -> f64 {
    let bits = random.bits();
    let value = match float {
        Float::Bf16 => bf16::from_bits(bits as u16).to_f64(),
        Float::F16 => f16::from_bits(bits as u16).to_f64(),
        Float::F32 => f32::from_bits(bits as u32).into(),
        Float::F64 => f64::from_bits(bits),
    };
    if value.is_finite() { value } else { 0.0 }
}

fn smallest(float: Float) -> f64 {
    match float {
        Float::Bf16 => bf16::from_bits(1).to_f64(),
        Float::F16 => f16::from_bits(1).to_f64(),
        Float::F32 => f32::from_bits(1).into(),
        Float::F64 => 5e-324,
    }
}

fn largest(float: Float) -> f64 {
    match float {
        Float::Bf16 => bf16::MAX.to_f64(),
        Float::F16 => f16::MAX.to_f64(),
        Float::F32 => f32::MAX.into(),
        Float::F64 => f64::MAX,
    }
}
