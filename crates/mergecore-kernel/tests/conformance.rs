//! The conformance suite on kernels that lean on one shared part each.
#![cfg(feature = "conformance")]

use mergecore_kernel::{
    Combination, Election, Element, Extent, GramScan, KeepAll, Kernel, KernelError, Keys, Prune,
    Rescale, Simd, Step, TaskVectors, Tile, magnitude_key, select,
};

/// Scales both inputs by what the Gram matrix says of them.
#[derive(Debug)]
struct ByGram;

impl Kernel for ByGram {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        Ok(Step::scan(GramScan::new(2, |gram| {
            let scale = |i| 1.0 / (1.0 + gram.norm(i) + gram.dot(0, 1).abs());
            Ok(Step::apply(Combination::new(vec![scale(0), scale(1)])))
        })))
    }
}

/// Keeps of two models the half of the changes that are largest, on a grid so
/// coarse that the last kept one is found among thousands of equals.
#[derive(Debug)]
struct ByCutoff(Rescale);

struct Coarse;

impl Coarse {
    fn key(delta: f64) -> u64 {
        magnitude_key((delta * 64.0).round())
    }
}

impl Keys for Coarse {
    fn keys(&self, lane: usize, tile: &Tile<'_>, out: &mut [u64]) {
        for ((key, model), base) in out.iter_mut().zip(tile.input(lane + 1)).zip(tile.input(0)) {
            *key = Self::key(model - base);
        }
    }
}

struct Keep(Vec<mergecore_kernel::Cutoff>);

impl Prune for Keep {
    fn prune<T: Element>(
        &self,
        _: Simd,
        model: usize,
        start: u64,
        base: &[T],
        values: &[T],
        out: &mut [T],
    ) {
        for (i, out) in out.iter_mut().enumerate() {
            let key = Coarse::key(values[i].widen() - base[i].widen());
            let kept = self.0[model].keeps(key, start + i as u64);
            *out = if kept { values[i] } else { base[i] };
        }
    }
}

fn vectors(rescale: Option<Rescale>) -> TaskVectors {
    TaskVectors {
        weights: vec![0.7, 0.5],
        densities: vec![0.3, 0.5],
        election: Some(Election::default()),
        normalize: true,
        lambda: 0.9,
        rescale,
    }
}

impl Kernel for ByCutoff {
    fn first(&self, extent: Extent) -> Result<Step, KernelError> {
        let vectors = vectors(Some(self.0));
        let counts = [extent.len() * 3 / 10, extent.len() / 2];
        select(Coarse, &counts, extent, |cutoffs| Ok(vectors.step(Keep(cutoffs))))
    }
}

#[derive(Debug)]
struct Unpruned;

impl Kernel for Unpruned {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        Ok(vectors(None).step(KeepAll))
    }
}

#[test]
fn gram() {
    mergecore_kernel::conformance::check(&ByGram, 2);
}

#[test]
fn selection_and_rescaling() {
    for rescale in [Rescale::Density, Rescale::L1, Rescale::L2, Rescale::Linf] {
        mergecore_kernel::conformance::check(&ByCutoff(rescale), 3);
    }
}

#[test]
fn task_vectors() {
    mergecore_kernel::conformance::check(&Unpruned, 3);
}

#[test]
fn masks() {
    #[derive(Debug)]
    struct ByMask;
    impl Kernel for ByMask {
        fn first(&self, _: Extent) -> Result<Step, KernelError> {
            let vectors = vectors(Some(Rescale::L2));
            let key = mergecore_kernel::StreamKey::from_seed(5);
            let mask = mergecore_kernel::RandomMask::new(key, &vectors.densities)?;
            Ok(vectors.step(mask))
        }
    }
    mergecore_kernel::conformance::check(&ByMask, 3);
}
