//! Task vectors of any number of models against one element at a time, bit for bit.

use mergecore_kernel::{
    BLOCK, Consensus, Elect, Election, Element, Elements, ElementsMut, Extent, KeepAll, Kernel,
    KernelError, Prune, Rescale, Simd, Step, TILE, TaskVectors,
};
use mergecore_tensor::bf16;
use support::{Random, bits, run_by_blocks};

mod support;

#[derive(Debug)]
struct Vectors(TaskVectors);

impl Kernel for Vectors {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        self.0.check()?;
        let densities = self.0.densities.clone();
        Ok(self.0.clone().step(Drop { densities }))
    }
}

/// Drops elements by index and model, where a model's density is below 1.
struct Drop {
    densities: Vec<f64>,
}

fn drops(density: f64, model: usize, index: u64) -> bool {
    density < 1.0 && (index * 7 + model as u64 * 3) % 10 >= (density * 10.0) as u64
}

impl Prune for Drop {
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
            let dropped = drops(self.densities[model], model, start + i as u64);
            *out = if dropped { base[i] } else { values[i] };
        }
    }
}

/// One element of the output by the definition; no norm is matched.
fn naive(vectors: &TaskVectors, base: f64, models: &[f64], index: u64) -> f64 {
    match vectors.selects() {
        Some(0) => return base,
        Some(model) => return models[model - 1],
        None => {}
    }
    let divisor = |density: f64| match vectors.rescale {
        Some(Rescale::Density) if density > 0.0 => density,
        _ => 1.0,
    };
    let divisors: Vec<f64> = vectors.densities.iter().map(|d| divisor(*d)).collect();
    // Where the last bit of a weighted delta can decide an election it is the definition's.
    let alike = |values: &[f64]| values.len() <= 2 && values.iter().all(|v| *v == values[0]);
    let divides = vectors.election.is_some() && !(alike(&vectors.weights) && alike(&divisors));
    let (mut deltas, mut votes) = (Vec::new(), Vec::new());
    for (model, value) in models.iter().enumerate() {
        let (weight, divisor) = (vectors.weights[model], divisors[model]);
        let dropped = drops(vectors.densities[model], model, index);
        let delta = if dropped { 0.0 } else { value - base };
        let weighted = if divides { delta / divisor * weight } else { delta * (weight / divisor) };
        deltas.push(weighted);
        let Some(Election { consensus, elect }) = vectors.election else { continue };
        let vote = if elect == Elect::Weighted { weighted } else { delta / divisor };
        votes.push(match consensus {
            Consensus::Count if vote != 0.0 => vote.signum(),
            _ => vote,
        });
    }
    let sum = |terms: &[f64]| terms.iter().fold(0.0, |sum, term| sum + term);
    let mixed = if vectors.election.is_some() {
        let plus = sum(&votes) >= 0.0;
        let agrees = |vote: f64| if plus { vote > 0.0 } else { vote < 0.0 || vote.is_nan() };
        let agreeing: Vec<usize> =
            (0..deltas.len()).filter(|model| agrees(votes[*model])).collect();
        let pick = |of: &[f64]| agreeing.iter().map(|model| of[*model]).collect::<Vec<f64>>();
        let used = sum(&pick(&vectors.weights));
        let divisor = if vectors.normalize && used != 0.0 { used } else { 1.0 };
        sum(&pick(&deltas)) * (1.0 / divisor)
    } else {
        let total = sum(&vectors.weights);
        let divisor = if vectors.normalize && total.abs() >= 1e-8 { total } else { 1.0 };
        sum(&deltas) * (1.0 / divisor)
    };
    let change = vectors.lambda * mixed;
    if change == 0.0 { base } else { base + change }
}

/// A base and its models: some as the base, some opposite to each other so that votes are
/// tied, zeros of either sign, and few NaN and infinite values.
fn inputs<T: Element>(random: &mut Random, models: usize, len: usize) -> Vec<Vec<T>> {
    let mut all = vec![Vec::with_capacity(len); 1 + models];
    for _ in 0..len {
        let base = match random.below(10) {
            0 => 0.0,
            1 => -0.0,
            _ => (random.below(257) as f64 - 128.0) / 128.0,
        };
        all[0].push(T::narrow(base));
        for model in &mut all[1..] {
            let value = match random.below(40) {
                0 => random.pick(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0]),
                1..8 => base,
                8..24 => base + random.pick(&[-0.25, 0.25]),
                _ => base + 0.1 * random.number(),
            };
            model.push(T::narrow(value));
        }
    }
    all
}

const WEIGHTS: [&[f64]; 16] = [
    &[1.0],
    &[0.7],
    &[0.5, 0.5],
    &[1.0, -1.0],
    &[0.3, 0.9],
    &[0.0, 0.4],
    &[1.0, 1.0, 1.0],
    &[0.6, 0.8, -0.3],
    &[0.5, -0.25, -0.25],
    &[0.0, 0.2, 0.0],
    &[0.25, 0.25, 0.25, 0.25],
    &[1.1, -0.4, 0.3, 0.9],
    &[0.2, 0.2, -0.2, -0.2, 0.4],
    &[0.1, 0.7, 0.3, -0.5, 0.9],
    &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
    &[0.1, -0.2, 0.3, 0.4, -0.5, 0.6],
];

/// Around 16 elements and around tiles.
const LENGTHS: [usize; 9] = [0, 1, 15, 16, 17, TILE - 1, TILE, TILE + 1, 2 * TILE + 97];

fn other_elections() -> impl Iterator<Item = Election> {
    let (sum, count) = (Consensus::Sum, Consensus::Count);
    let all = [(count, Elect::Weighted), (sum, Elect::Unweighted), (count, Elect::Unweighted)];
    all.into_iter().map(|(consensus, elect)| Election { consensus, elect })
}

/// Every combination of the parameters, but with one way to rescale.
fn all_of(weights: &[f64], rescale: Option<Rescale>) -> Vec<TaskVectors> {
    let sparse = [0.5, 0.3, 1.0, 0.0, 0.9, 0.2];
    let mut all = Vec::new();
    for densities in [vec![1.0; weights.len()], sparse[..weights.len()].to_vec()] {
        let usual = [None, Some(Election::default())];
        let elections = usual.into_iter().chain(other_elections().map(Some));
        for (election, normalize) in elections.flat_map(|e| [(e, false), (e, true)]) {
            for lambda in [1.0, -0.3] {
                let (weights, densities) = (weights.to_vec(), densities.clone());
                all.push(TaskVectors { weights, densities, election, normalize, lambda, rescale });
            }
        }
    }
    all
}

fn elements<T: Element>(inputs: &[Vec<T>]) -> Vec<Elements<'_>> {
    inputs.iter().map(|input| Elements::from(&input[..])).collect()
}

fn merged<O: Element>(simd: Simd, vectors: &TaskVectors, inputs: &[Elements<'_>]) -> Vec<u64> {
    let mut out = vec![O::default(); inputs[0].len()];
    let kernel = Vectors(vectors.clone());
    run_by_blocks((simd, 1), &kernel, inputs, &mut ElementsMut::from(&mut out[..]));
    bits(&out)
}

fn equals_naive<I: Element, O: Element>() {
    let mut random = Random(1);
    for weights in WEIGHTS {
        for len in LENGTHS {
            let inputs = inputs::<I>(&mut random, weights.len(), len);
            for rescale in [None, Some(Rescale::Density)] {
                for vectors in all_of(weights, rescale) {
                    let element = |index: usize| {
                        let models: Vec<f64> =
                            inputs[1..].iter().map(|model| model[index].widen()).collect();
                        O::narrow(naive(&vectors, inputs[0][index].widen(), &models, index as u64))
                    };
                    let expected = bits(&(0..len).map(element).collect::<Vec<O>>());
                    for simd in Simd::available() {
                        let got = merged::<O>(simd, &vectors, &elements(&inputs));
                        let wrong = got.iter().zip(&expected).position(|(a, b)| a != b);
                        assert_eq!(wrong, None, "first wrong of {len}, {simd}, {vectors:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn every_number_of_models_gives_what_one_element_at_a_time_does() {
    equals_naive::<f32, f64>();
}

#[test]
fn so_it_does_from_and_to_16_bits() {
    equals_naive::<bf16, bf16>();
}

/// Norms are sums, which the tests of the methods compare with plain ones.
#[test]
fn no_instruction_set_changes_a_matched_norm() {
    let mut random = Random(2);
    for weights in WEIGHTS {
        for len in [1, 65, TILE + 31, BLOCK as usize + 700] {
            let finite = |x: f64| if x.is_finite() { x as f32 } else { 0.5 };
            let inputs = inputs::<f64>(&mut random, weights.len(), len);
            let inputs: Vec<Vec<f32>> =
                inputs.into_iter().map(|input| input.into_iter().map(finite).collect()).collect();
            for norm in [Rescale::L1, Rescale::L2, Rescale::Linf] {
                for vectors in all_of(weights, Some(norm)).iter().skip(8).step_by(3) {
                    let expected = merged::<f64>(Simd::BASELINE, vectors, &elements(&inputs));
                    for simd in Simd::available() {
                        let got = merged::<f64>(simd, vectors, &elements(&inputs));
                        assert!(got == expected, "{len}, {simd}, {vectors:?}");
                    }
                }
            }
        }
    }
}

/// A kernel whose divisors are at least so much.
#[derive(Debug)]
struct Floored(TaskVectors, f64);

impl Kernel for Floored {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        Ok(self.0.clone().step_with_least_divisor(KeepAll, self.1))
    }
}

#[test]
fn a_least_divisor_stands_for_smaller_sums_of_weights() {
    const LEAST: f64 = 0.25;
    let mut random = Random(3);
    let all: [&[f64]; 4] =
        [&[0.1, 0.9], &[0.05, 0.15, 0.8], &[0.1, 0.2, 0.3, 0.4], &[0.0, 0.1, 0.02, 0.08, 0.8]];
    for weights in all {
        let len = TILE + 37;
        let mut inputs = vec![vec![0.0; len]; 1 + weights.len()];
        inputs[1..].iter_mut().flatten().for_each(|value| *value = random.number());
        let vectors = TaskVectors {
            weights: weights.to_vec(),
            densities: vec![1.0; weights.len()],
            election: Some(Election { elect: Elect::Unweighted, ..Election::default() }),
            normalize: true,
            lambda: 1.0,
            rescale: None,
        };
        for election in [vectors.election, Some(Election::default())] {
            let kernel = Floored(TaskVectors { election, ..vectors.clone() }, LEAST);
            let mut out = vec![0.0f64; len];
            let elements = elements(&inputs);
            run_by_blocks(
                (Simd::detect(), 1),
                &kernel,
                &elements,
                &mut ElementsMut::from(&mut out[..]),
            );
            let mut small = 0;
            for (i, out) in out.iter().enumerate() {
                let deltas = || inputs[1..].iter().map(|model| model[i]).zip(weights);
                let weighted = election == Some(Election::default());
                let vote: f64 = deltas().map(|(d, w)| if weighted { d * w } else { d }).sum();
                let agreeing = || deltas().filter(|(d, _)| (*d > 0.0) == (vote >= 0.0));
                let divisor: f64 = agreeing().map(|(_, w)| w).sum();
                small += usize::from(divisor < LEAST);
                let expected = agreeing().map(|(d, w)| d * w).sum::<f64>() / divisor.max(LEAST);
                assert!((out - expected).abs() < 1e-14, "{out} {expected} {weights:?}");
            }
            assert!(small > 0 && small < len, "{small}");
        }
    }
}
