//! What applies lose in rounding, against one element at a time.

use mergecore_kernel::{
    Apply, Combination, Election, Element, Elements, ElementsMut, Extent, KeepAll, Losses, Simd,
    Step, TILE, TaskVectors, Tile, Worker,
};
use mergecore_tensor::{bf16, f16};
use support::Random;

mod support;

/// Has no way but that through tiles.
struct ByTiles(Combination);

impl Apply for ByTiles {
    fn apply(&self, tile: &mut Tile<'_>, out: &mut [f64]) {
        self.0.apply(tile, out);
    }
}

/// Of every kind that there is.
fn applies() -> Vec<(&'static str, Box<dyn Apply>)> {
    let vectors = |election| {
        let vectors = TaskVectors {
            weights: vec![3.0, -0.5],
            densities: vec![1.0, 1.0],
            election,
            normalize: false,
            lambda: 1.5,
            rescale: None,
        };
        match vectors.step(KeepAll) {
            Step::Apply(apply) => apply,
            _ => unreachable!("nothing is measured"),
        }
    };
    vec![
        ("sum", Box::new(Combination::new(vec![0.7, 0.2, -1.3]))),
        ("average", Box::new(Combination::average(vec![0.25, 0.25, 0.5]))),
        ("selection", Box::new(Combination::select(1, 3))),
        ("tiles", Box::new(ByTiles(Combination::new(vec![0.7, 0.2, -1.3])))),
        ("deltas", vectors(None)),
        ("elected", vectors(Some(Election::default()))),
    ]
}

/// Numbers about each dtype's limits, and usual ones.
fn input(random: &mut Random, len: usize) -> Vec<f32> {
    let mut input: Vec<f32> = (0..len).map(|_| random.number() as f32).collect();
    for _ in 0..len / 40 {
        let at = random.below(len);
        input[at] = random.pick(&[3e-8, -7e4, 3e38, -2e-45, 1e-45, 0.0, 1e-41]) as f32;
    }
    input
}

/// Over chunks of any length, in any order, with every instruction set.
fn check<O: Element>(name: &str, apply: &dyn Apply, inputs: &[Vec<f32>]) {
    let (len, start) = (inputs[0].len(), 65_536);
    let extent = Extent::of(&[start + len]);
    let parts = |at: usize, len: usize| -> Vec<Elements<'_>> {
        inputs.iter().map(|input| Elements::from(&input[at..][..len])).collect()
    };
    let mut exact = vec![0f64; len];
    let mut worker = Worker::new();
    worker.apply(apply, start as u64, extent, &parts(0, len), &mut (&mut exact[..]).into());
    let (mut nonfinite, mut flushed) = (Vec::new(), Vec::new());
    for (index, value) in exact.iter().enumerate() {
        let (narrow, index) = (O::narrow(*value), (start + index) as u64);
        nonfinite.extend((!narrow.is_finite()).then_some(index));
        flushed.extend((*value != 0.0 && narrow.widen() == 0.0).then_some(index));
    }
    for simd in Simd::available() {
        let mut worker = Worker::with_simd(simd);
        for chunk in [len, TILE, TILE + 100] {
            let mut losses = Losses::default();
            let starts: Vec<usize> = (0..len).step_by(chunk).collect();
            for at in starts.into_iter().rev() {
                let part = parts(at, chunk.min(len - at));
                let mut out = vec![O::default(); part[0].len()];
                let out = &mut ElementsMut::from(&mut out[..]);
                losses.add(0, worker.apply(apply, (start + at) as u64, extent, &part, out));
            }
            for (found, expected) in [(losses.nonfinite, &nonfinite), (losses.flushed, &flushed)] {
                let found = found.map(|found| (found.count, found.first));
                let expected = expected.first().map(|first| (expected.len() as u64, *first));
                assert_eq!(found, expected, "{name} to {}, {simd}, {chunk}", O::DTYPE);
            }
        }
    }
}

#[test]
fn every_apply_counts_what_it_loses() {
    let mut random = Random(7);
    for len in [1, 63, TILE, 3 * TILE + 65] {
        let inputs: Vec<_> = (0..3).map(|_| input(&mut random, len)).collect();
        for (name, apply) in applies() {
            check::<bf16>(name, &*apply, &inputs);
            check::<f16>(name, &*apply, &inputs);
            check::<f32>(name, &*apply, &inputs);
            check::<f64>(name, &*apply, &inputs);
        }
    }
}

/// What no input held.
#[test]
fn a_kernel_that_makes_nan_of_numbers() {
    struct Root;
    impl Apply for Root {
        fn apply(&self, tile: &mut Tile<'_>, out: &mut [f64]) {
            for (out, value) in out.iter_mut().zip(tile.input(0)) {
                *out = value.sqrt();
            }
        }
    }
    let mut input = vec![2.0f32; 2 * TILE + 9];
    (input[TILE + 5], input[2 * TILE + 8]) = (-1.0, -2.0);
    let mut out = vec![f16::ZERO; input.len()];
    let (extent, out) = (Extent::of(&[input.len()]), &mut ElementsMut::from(&mut out[..]));
    let losses = Worker::new().apply(&Root, 0, extent, &[Elements::from(&input[..])], out);
    let found = losses.nonfinite.map(|found| (found.count, found.first));
    assert_eq!((found, losses.flushed), (Some((2, TILE as u64 + 5)), None));
}
