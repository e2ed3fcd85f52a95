//! The Gram matrix against plain dot products.

use std::sync::{Arc, Mutex};

use mergecore_kernel::{
    BLOCK, Combination, Element, Elements, ElementsMut, Extent, Gram, GramScan, Kernel,
    KernelError, Order, Scan, Simd, Step, TILE, Tile, dot,
};
use mergecore_tensor::{bf16, f16};
use support::{Random, merged, run_by_blocks, typed};

mod support;

/// A scan of so many inputs, or of their differences from the first, that keeps what it finds.
fn scan(
    (inputs, deltas): (usize, bool),
    found: &Arc<Mutex<Option<Gram>>>,
) -> GramScan<impl FnOnce(&Gram) -> Result<Step, KernelError> + Send + Sync + 'static> {
    let found = Arc::clone(found);
    let then = move |gram: &Gram| {
        *found.lock().expect("not poisoned") = Some(gram.clone());
        Ok(Step::apply(Combination::select(0, inputs)))
    };
    if deltas { GramScan::of_deltas(inputs - 1, then) } else { GramScan::new(inputs, then) }
}

#[derive(Debug)]
struct Keep((usize, bool), Arc<Mutex<Option<Gram>>>);

impl Kernel for Keep {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        Ok(Step::scan(scan(self.0, &self.1)))
    }
}

#[test]
fn every_pair_of_inputs_has_its_exact_dot_product() {
    let mut random = Random(1);
    for count in 1..=6 {
        // Whole numbers, so that sums are exact in any order.
        let mut input = || (0..2 * BLOCK + 77).map(|_| random.below(201) as f64 - 100.0).collect();
        let inputs: Vec<Vec<f64>> = (0..count).map(|_| input()).collect();
        let found = Arc::default();
        let _: Vec<f64> =
            merged(&Keep((count, false), Arc::clone(&found)), &inputs, &[inputs[0].len()]);
        let gram = found.lock().expect("not poisoned").clone().expect("the scan ran");
        for i in 0..count {
            for j in 0..count {
                let expected: f64 = inputs[i].iter().zip(&inputs[j]).map(|(a, b)| a * b).sum();
                assert_eq!(gram.dot(i, j), expected, "{i} {j} of {count}");
                assert_eq!(dot(&inputs[i], &inputs[j]), expected);
            }
            assert_eq!(gram.norm(i), gram.dot(i, i).sqrt());
        }
    }
}

/// Of the differences from a base, and of one sum of them.
#[derive(Debug)]
struct KeepDeltas(Vec<f64>, Arc<Mutex<Option<Gram>>>);

impl Kernel for KeepDeltas {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        let (models, found) = (self.0.len(), Arc::clone(&self.1));
        let scan = GramScan::of_deltas(models, move |gram| {
            *found.lock().expect("not poisoned") = Some(gram.clone());
            Ok(Step::apply(Combination::select(0, 1 + models)))
        });
        Ok(Step::scan(scan.and_combination(self.0.clone())))
    }
}

#[test]
fn differences_and_a_sum_of_them_have_their_exact_dot_products() {
    let mut random = Random(3);
    for coefficients in [vec![2.0], vec![1.0, -1.0], vec![3.0, -0.5, 0.0, -4.0]] {
        let models = coefficients.len();
        let mut input = || (0..BLOCK + 77).map(|_| random.below(201) as f64 - 100.0).collect();
        let inputs: Vec<Vec<f64>> = (0..1 + models).map(|_| input()).collect();
        let found = Arc::default();
        let kernel = KeepDeltas(coefficients.clone(), Arc::clone(&found));
        let _: Vec<f64> = merged(&kernel, &inputs, &[inputs[0].len()]);
        let gram = found.lock().expect("not poisoned").clone().expect("the scan ran");
        let delta = |model: &Vec<f64>| model.iter().zip(&inputs[0]).map(|(m, b)| m - b).collect();
        let mut vectors: Vec<Vec<f64>> = inputs[1..].iter().map(delta).collect();
        let sum = |at: usize| coefficients.iter().zip(&vectors).map(|(c, v)| c * v[at]).sum();
        vectors.push((0..inputs[0].len()).map(sum).collect());
        let slices: Vec<&[f64]> = vectors.iter().map(Vec::as_slice).collect();
        let at_hand = Gram::of(Simd::detect(), &slices);
        for i in 0..=models {
            for j in 0..=models {
                let expected: f64 = vectors[i].iter().zip(&vectors[j]).map(|(a, b)| a * b).sum();
                assert_eq!(gram.dot(i, j), expected, "{i} {j} of {coefficients:?}");
                assert_eq!(at_hand.dot(i, j), expected, "{i} {j} of {coefficients:?}");
            }
        }
    }
}

/// A scan that has no way but through tiles.
struct ByTiles<S>(S);

impl<S: Scan> Scan for ByTiles<S> {
    type Partial = S::Partial;

    fn order(&self) -> Order {
        self.0.order()
    }

    fn empty(&self) -> S::Partial {
        self.0.empty()
    }

    fn fold(&self, partial: &mut S::Partial, tile: &mut Tile<'_>) {
        self.0.fold(partial, tile);
    }

    fn combine(&self, total: &mut S::Partial, next: S::Partial) {
        self.0.combine(total, next);
    }

    fn finish(self: Box<Self>, total: S::Partial) -> Result<Step, KernelError> {
        Box::new(self.0).finish(total)
    }
}

#[derive(Debug)]
struct KeepByTiles((usize, bool), Arc<Mutex<Option<Gram>>>);

impl Kernel for KeepByTiles {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        Ok(Step::scan(ByTiles(scan(self.0, &self.1))))
    }
}

/// Element `i` of each block goes to lane `i % 32`, lanes are added block by block, and
/// half to half in the end.
fn naive_dot(a: &[f64], b: &[f64]) -> f64 {
    let mut total = [0.0; 32];
    for (a, b) in a.chunks(BLOCK as usize).zip(b.chunks(BLOCK as usize)) {
        let mut lanes = [0.0; 32];
        for (index, (a, b)) in a.iter().zip(b).enumerate() {
            lanes[index % 32] += a * b;
        }
        (0..32).for_each(|lane| total[lane] += lanes[lane]);
    }
    for half in [16, 8, 4, 2, 1] {
        (0..half).for_each(|lane| total[lane] += total[lane + half]);
    }
    total[0]
}

fn stored_equals_tiles<T: Element>() {
    let mut random = Random(2);
    let block = BLOCK as usize;
    for len in [0, 1, 31, 32, 33, TILE - 1, TILE, TILE + 1, block - 1, block, 2 * block + 77] {
        for count in 1..=5 {
            // Magnitudes of many binades: every order of adding has a sum of its own.
            let mut number = || random.number() * 2f64.powi(random.below(20) as i32 - 12);
            let mut input = || typed(&(0..len).map(|_| number()).collect::<Vec<_>>());
            let inputs: Vec<Vec<T>> = (0..count).map(|_| input()).collect();
            let elements: Vec<_> = inputs.iter().map(|input| Elements::from(&input[..])).collect();
            let wide = |input: &Vec<T>| input.iter().map(|value| value.widen()).collect();
            let wide: Vec<Vec<f64>> = inputs.iter().map(wide).collect();
            let delta = |input: &Vec<f64>| input.iter().zip(&wide[0]).map(|(x, y)| x - y).collect();
            let from_first: Vec<Vec<f64>> = wide[1..].iter().map(delta).collect();
            for simd in Simd::available() {
                let label = format!("{count} inputs of {len} {}, {simd}", T::DTYPE);
                let gram = |kernel: &dyn Kernel, found: &Mutex<Option<Gram>>| {
                    let out = &mut vec![0.0f32; len];
                    run_by_blocks(
                        (simd, 1),
                        kernel,
                        &elements,
                        &mut ElementsMut::from(&mut out[..]),
                    );
                    found.lock().expect("not poisoned").clone().expect("the scan ran")
                };
                for deltas in [false, true] {
                    let found = Arc::default();
                    let stored = gram(&Keep((count, deltas), Arc::clone(&found)), &found);
                    let found = Arc::default();
                    let by_tiles = gram(&KeepByTiles((count, deltas), Arc::clone(&found)), &found);
                    let vectors = if deltas { &from_first } else { &wide };
                    let n = vectors.len();
                    for (i, j) in (0..n).flat_map(|i| (i..n).map(move |j| (i, j))) {
                        let label = format!("{i} {j} of {label}, deltas: {deltas}");
                        let expected = naive_dot(&vectors[i], &vectors[j]).to_bits();
                        assert_eq!(stored.dot(i, j).to_bits(), expected, "{label}");
                        assert_eq!(by_tiles.dot(i, j).to_bits(), expected, "{label}");
                    }
                }
            }
        }
    }
}

#[test]
fn stored_elements_sum_to_the_bits_of_their_tiles() {
    stored_equals_tiles::<bf16>();
    stored_equals_tiles::<f16>();
    stored_equals_tiles::<f32>();
    stored_equals_tiles::<f64>();
}
