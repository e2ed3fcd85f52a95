//! What DELLA's masks must keep.

use mergecore_dare::{Dare, Della, KernelError, StreamKey};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use support::Random;

#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

fn della(density: f64, epsilon: f64, seed: u64) -> Della {
    Della { epsilons: vec![epsilon], ..Della::new([1.0], [density], seed) }
}

fn mask(della: &Della, start: u64, row: &[f64]) -> Vec<bool> {
    della.mask(0, start, row).expect("density and epsilon fit together")
}

/// A row of a few magnitudes, many of them equal, of either sign.
fn row(random: &mut Random, len: usize) -> Vec<f64> {
    (0..len).map(|_| (random.below(201) as f64 - 100.0) / 128.0).collect()
}

/// The rank of each element's magnitude, lowest index first where they are equal.
fn ranks(row: &[f64]) -> Vec<usize> {
    let rank = |(i, x): (usize, &f64)| {
        let before = |(j, y): &(usize, &f64)| (y.abs(), *j) < (x.abs(), i);
        row.iter().enumerate().filter(before).count()
    };
    row.iter().enumerate().map(rank).collect()
}

/// How many more are kept than expected, in standard errors.
fn excess(kept: usize, probability: f64, n: usize) -> f64 {
    let n = n as f64;
    (kept as f64 - n * probability) / (n * probability * (1.0 - probability)).sqrt()
}

#[test]
fn the_fraction_kept_is_the_density() {
    let n = 400_000;
    let mut random = Random(1);
    let row: Vec<f64> = (0..n).map(|_| random.number()).collect();
    for (density, epsilon) in
        [(0.001, 0.0005), (0.1, 0.05), (0.3, 0.15), (0.5, 0.4), (0.7, 0.0), (0.95, 0.04)]
    {
        let kept = mask(&della(density, epsilon, 5), 0, &row).into_iter().filter(|k| *k).count();
        let excess = excess(kept, density, n);
        assert!(excess.abs() < 6.0, "{density} {epsilon}: {kept} kept, {excess} standard errors");
    }
}

#[test]
fn probabilities_grow_in_proportion_to_rank() {
    let (n, bands) = (400_000, 20);
    let mut random = Random(2);
    let row: Vec<f64> = (0..n).map(|_| random.number()).collect();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| row[*a].abs().total_cmp(&row[*b].abs()));
    for (density, epsilon) in [(0.3, 0.15), (0.5, 0.45), (0.6, 0.05)] {
        let mask = mask(&della(density, epsilon, 6), 0, &row);
        for band in 0..bands {
            let of_band = &order[band * n / bands..(band + 1) * n / bands];
            let kept = of_band.iter().filter(|i| mask[**i]).count();
            let middle = (band as f64 + 0.5) / bands as f64;
            let probability = density + epsilon * (2.0 * middle - 1.0);
            let excess = excess(kept, probability, of_band.len());
            assert!(excess.abs() < 5.0, "{density} {epsilon}, band {band}: {excess}");
        }
    }
}

/// Each element by itself, with words from another generator: a contract, so that anyone can
/// draw the masks again.
#[test]
fn an_element_is_kept_where_its_word_lies_below_its_probability() {
    let mut random = Random(3);
    for (density, epsilon, seed) in [(0.3, 0.15, 0u64), (0.5, 0.4999, 7), (0.97, 0.01, 1 << 40)] {
        for len in [2, 3, 17, 200, 201, 700, 1_500] {
            for model in 0..2 {
                let (row, start) = (row(&mut random, len), random.below(100_000) as u64);
                let mut key = [0; 32];
                key[..8].copy_from_slice(&seed.to_le_bytes());
                let mut words = ChaCha8Rng::from_seed(key);
                words.set_stream(model);
                words.set_word_pos(u128::from(start));
                let expected: Vec<bool> = ranks(&row)
                    .into_iter()
                    .map(|rank| {
                        let p = density - epsilon + 2.0 * epsilon * rank as f64 / (len - 1) as f64;
                        u64::from(words.next_u32()) < (p * 2f64.powi(32)).round() as u64
                    })
                    .collect();
                let della = Della {
                    densities: vec![density; 2],
                    epsilons: vec![epsilon; 2],
                    stream: StreamKey::from_seed(seed),
                    ..Della::default()
                };
                assert_eq!(della.mask(model as usize, start, &row), Ok(expected));
            }
        }
    }
}

/// A word is kept where it lies below its threshold, and not where it equals that.
#[test]
fn words_are_compared_exactly() {
    let word = 0x5374_6438u32; // of element 1,000 of model 1 under seed 42
    for (threshold, kept) in [(word, false), (word + 1, true)] {
        let density = f64::from(threshold) / 2f64.powi(32);
        let della = Della { epsilons: vec![0.0; 2], ..Della::new([1.0; 2], [density; 2], 42) };
        for len in [2, 20] {
            assert_eq!(della.mask(1, 1_000, &vec![1.0; len]).expect("sound")[0], kept);
        }
    }
}

/// Whatever the row, that one element is kept or not hangs on its word and rank alone.
#[test]
fn equal_magnitudes_rank_by_index() {
    let (len, della) = (5_000, della(0.5, 0.45, 9));
    let growing: Vec<f64> = (1..=len).map(f64::from).collect();
    let expected = mask(&della, 77, &growing);
    assert_eq!(mask(&della, 77, &vec![0.25; len as usize]), expected);
    let alternating: Vec<f64> = (0..len).map(|i| if i % 3 == 0 { -2.0 } else { 2.0 }).collect();
    assert_eq!(mask(&della, 77, &alternating), expected);
    assert_eq!(mask(&della, 77, &vec![-0.0; len as usize]), expected);
    let subnormal: Vec<f64> = (1..=len).map(|i| f64::from_bits(i as u64)).collect();
    assert_eq!(mask(&della, 77, &subnormal), expected);
}

#[test]
fn a_mask_is_drawn_again_by_the_same_seed_only() {
    let row = row(&mut Random(4), 2_000);
    let first = mask(&della(0.5, 0.1, 1), 0, &row);
    assert_eq!(first, mask(&della(0.5, 0.1, 1), 0, &row));
    let others = [mask(&della(0.5, 0.1, 2), 0, &row), mask(&della(0.5, 0.1, 1), 2_000, &row)];
    let two = Della { epsilons: vec![0.1; 2], ..Della::new([1.0; 2], [0.5; 2], 1) };
    for other in others.into_iter().chain(two.mask(1, 0, &row)) {
        let agree = first.iter().zip(other).filter(|(a, b)| **a == *b).count();
        assert!((850..1_150).contains(&agree), "{agree} of 2000 agree");
    }
}

#[test]
fn without_spread_the_masks_are_those_of_dare() {
    let row = row(&mut Random(5), 3_000);
    for density in [0.1, 0.5, 0.9] {
        let dare = Dare::new([1.0], [density], 3).mask(0, 12_345, row.len());
        assert_eq!(Ok(mask(&della(density, 0.0, 3), 12_345, &row)), dare);
    }
}

#[test]
fn densities_zero_and_one_keep_nothing_and_all() {
    let row = row(&mut Random(6), 1_000);
    // With any epsilon: there is nothing for it to spread.
    for epsilon in [0.0, 0.15, 1.0] {
        assert_eq!(mask(&della(0.0, epsilon, 3), 5, &row), [false; 1_000]);
        assert_eq!(mask(&della(1.0, epsilon, 3), 5, &row), [true; 1_000]);
    }
}

#[test]
fn rows_of_one_element_keep_with_the_density() {
    let della = della(0.3, 0.29, 4);
    let masks = (0..20_000).map(|start| mask(&della, start, &[1.0])[0]).collect::<Vec<_>>();
    assert_eq!(Ok(masks), Dare::new([1.0], [0.3], 4).mask(0, 0, 20_000));
}

#[test]
fn the_largest_of_two_is_kept_more_often() {
    let della = della(0.5, 0.4, 4);
    let kept =
        |row: [f64; 2], at: usize| (0..20_000).filter(|i| mask(&della, 2 * i, &row)[at]).count();
    for (row, large) in [([3.0, -1.0], 0), ([-1.0, 3.0], 1), ([1.0, 1.0], 1)] {
        assert!(excess(kept(row, large), 0.9, 20_000).abs() < 5.0);
        assert!(excess(kept(row, 1 - large), 0.1, 20_000).abs() < 5.0);
    }
}

#[test]
fn probabilities_that_round_to_one_or_zero() {
    let row = row(&mut Random(7), 3_000);
    let tiny = 2f64.powi(-40);
    assert_eq!(mask(&della(tiny, tiny / 2.0, 1), 0, &row), [false; 3_000]);
    assert_eq!(mask(&della(1.0 - tiny, tiny / 2.0, 1), 0, &row), [true; 3_000]);
}

#[test]
fn an_empty_row_has_an_empty_mask() {
    assert!(mask(&della(0.5, 0.1, 1), 0, &[]).is_empty());
}

#[test]
fn densities_and_epsilons_that_do_not_fit_together_are_refused() {
    let error = |density, epsilon| {
        let error = della(density, epsilon, 1).mask(0, 0, &[1.0]).unwrap_err();
        assert!(matches!(error, KernelError::ParameterPair { .. }), "{error:?}");
        error.to_string()
    };
    assert_eq!(
        error(0.9, 0.15),
        "`density` is 0.9 and `epsilon` is 0.15, but density - epsilon must be above 0 and \
         density + epsilon below 1: set a smaller epsilon, or density 0 or 1"
    );
    error(0.15, 0.15);
    error(0.75, 0.25);
    error(0.1, 1.0);
    assert!(della(0.25, 0.2, 1).mask(0, 0, &[1.0]).is_ok());
}
