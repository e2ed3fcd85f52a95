//! Large tensors against the formula written down plainly, with the masks that
//! [`Dare::mask`] and [`Della::mask`] draw.

use formula::{naive, naive_della};
use mergecore_dare::{
    Consensus, Dare, DareLinearMethod, DareTiesMethod, Della, DellaLinearMethod, DellaMethod,
    Elect, Election, Rescale, dare_ties_slices,
};
use mergecore_kernel::{Argument, Kernel, Method};
use mergecore_tensor::{Element, bf16, f16};
use proptest::prelude::*;
use support::{Data, Random, assert_rounded, bound, merged, task_vectors};

mod formula;
#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

/// Three steps of one model at weight 0.4 weigh as much as four of the other at 0.3: which
/// sign wins is for the last bits of the definition's products to say.
#[test]
fn steps_that_cancel_are_elected_as_the_definition_has_it() {
    let params = Dare::new([0.4, 0.3], [0.53, 0.53], 1);
    let (len, mut random) = (20_000, Random(3));
    let mut inputs = vec![Vec::new(); 3];
    for _ in 0..len {
        let base = 1.0 + random.below(100) as f64 / 128.0;
        let step = random.pick(&[-3.0, -2.0, -1.0, 1.0, 2.0, 3.0]) / 128.0;
        for (input, value) in inputs.iter_mut().zip([base, base + 3.0 * step, base - 4.0 * step]) {
            input.push(value);
        }
    }
    let expected = naive(&inputs, &params, true);
    let mut out = vec![0.0; len];
    dare_ties_slices(&inputs[0], &[&inputs[1], &inputs[2]], &params, &mut out).unwrap();
    let wrong = out.iter().zip(&expected).filter(|(out, want)| (*out - *want).abs() > 1e-12);
    assert_eq!(wrong.count(), 0);
}

/// Draws parameters, then compares all four methods in every output type.
fn check(seed: u64, data: Data, models: usize, shape: &[usize]) {
    let mut random = Random(seed);
    let inputs = task_vectors(&mut random, data, models, shape.iter().product());
    let weights: Vec<f64> =
        (0..models).map(|_| random.pick(&[-0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0])).collect();
    let densities: Vec<f64> =
        (0..models).map(|_| random.pick(&[0.0, 1e-3, 0.1, 0.3, 0.5, 0.9, 1.0])).collect();
    let spread = |density: &f64| match *density {
        0.0 | 1.0 => 0.15,
        density => 0.9 * f64::min(density, 1.0 - density) * random.number().abs(),
    };
    let epsilons: Vec<f64> = densities.iter().map(spread).collect();
    let normalize = random.below(2) == 0;
    let lambda = random.pick(&[1.0, 1.0, 0.0, 0.7, -1.5]);
    let names = [None, Some("density"), Some("density"), Some("l1"), Some("l2"), Some("linf")];
    let name = random.pick(&names);
    let election = Election {
        consensus: random.pick(&[Consensus::Sum, Consensus::Count]),
        elect: random.pick(&[Elect::Weighted, Elect::Unweighted]),
    };

    let text = |text: &str| Argument::Text(text.to_owned());
    let mut shared = vec![
        ("normalize", Argument::Flag(normalize)),
        ("lambda", Argument::Number(lambda)),
        ("rescale", Argument::Flag(name.is_some())),
    ];
    shared.extend(name.map(|name| ("rescale_norm", text(name))));
    if election.consensus == Consensus::Count {
        shared.push(("consensus", text("count")));
    }
    if election.elect == Elect::Unweighted {
        shared.push(("elect", text("unweighted")));
    }
    let per_model =
        [("weight", &weights[..]), ("density", &densities[..]), ("epsilon", &epsilons[..])];
    let rescale = name.and_then(Rescale::from_name);
    let params = Dare {
        normalize,
        lambda,
        rescale,
        election,
        ..Dare::new(weights.clone(), densities.clone(), seed)
    };
    for (consensus, method) in [(false, &DareLinearMethod as &dyn Method), (true, &DareTiesMethod)]
    {
        let kernel = bound(method, &shared, &per_model, models, seed);
        agree_in_all(&*kernel, &inputs, shape, &naive(&inputs, &params, consensus));
    }
    let params = Della {
        normalize,
        lambda,
        rescale,
        election,
        epsilons: epsilons.clone(),
        ..Della::new(weights.clone(), densities.clone(), seed)
    };
    let columns = *shape.last().expect("an axis");
    for (consensus, method) in [(false, &DellaLinearMethod as &dyn Method), (true, &DellaMethod)] {
        let kernel = bound(method, &shared, &per_model, models, seed);
        let expected = naive_della(&inputs, columns, &params, consensus);
        agree_in_all(&*kernel, &inputs, shape, &expected);
    }
}

fn agree_in_all(kernel: &dyn Kernel, inputs: &[Vec<f64>], shape: &[usize], expected: &[f64]) {
    agree::<bf16>(kernel, inputs, shape, expected);
    agree::<f16>(kernel, inputs, shape, expected);
    agree::<f32>(kernel, inputs, shape, expected);
}

fn agree<O: Element>(kernel: &dyn Kernel, inputs: &[Vec<f64>], shape: &[usize], expected: &[f64]) {
    let out = merged::<O>(kernel, inputs, shape);
    assert_rounded(&format!("{kernel:?}, {shape:?}"), &out, expected, inputs);
}

#[test]
fn large_tensors() {
    let shapes: [(_, _, &[usize]); 4] =
        [(1, 1, &[300_001]), (2, 3, &[32, 4_096]), (3, 12, &[65_537]), (4, 2, &[3, 11, 5, 1_000])];
    for data in [Data::Grid, Data::Spread, Data::Same] {
        for (seed, models, shape) in shapes {
            check(seed, data, models, shape);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_merge(
        seed in any::<u64>(),
        data in prop::sample::select(vec![Data::Grid, Data::Spread, Data::Same]),
        models in 1usize..=12,
        shape in prop::collection::vec(0usize..12, 0..3),
        columns in 0usize..250,
    ) {
        let shape: Vec<usize> = shape.into_iter().chain([columns]).collect();
        check(seed, data, models, &shape);
    }
}
