//! The exact selection against a stable sort, with keys of every kind.

use std::sync::{Arc, Mutex};

use mergecore_kernel::{
    BLOCK, Combination, Cutoff, Extent, Kernel, KernelError, Keys, Step, Tile, magnitude_key,
    select,
};
use proptest::prelude::*;
use support::{Random, merged};

mod support;

/// Selects in every input, the input's magnitudes being the keys.
#[derive(Debug)]
struct Selection {
    counts: Vec<u64>,
    found: Arc<Mutex<Vec<Cutoff>>>,
}

struct Magnitudes;

impl Keys for Magnitudes {
    fn keys(&self, lane: usize, tile: &Tile<'_>, out: &mut [u64]) {
        for (key, value) in out.iter_mut().zip(tile.input(lane)) {
            *key = magnitude_key(*value);
        }
    }
}

impl Kernel for Selection {
    fn first(&self, extent: Extent) -> Result<Step, KernelError> {
        let (found, lanes) = (Arc::clone(&self.found), self.counts.len());
        select(Magnitudes, &self.counts, extent, move |cutoffs| {
            *found.lock().expect("not poisoned") = cutoffs;
            Ok(Step::apply(Combination::select(0, lanes)))
        })
    }
}

fn cutoffs(lanes: &[Vec<f64>], counts: &[u64]) -> Vec<Cutoff> {
    let found = Arc::default();
    let selection = Selection { counts: counts.to_vec(), found: Arc::clone(&found) };
    let _: Vec<f64> = merged(&selection, lanes, &[lanes[0].len()]);
    let found = found.lock().expect("not poisoned");
    found.clone()
}

/// Which elements are kept, by sorting.
fn naive(values: &[f64], count: u64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].abs().total_cmp(&values[*a].abs()));
    let mut kept = vec![false; values.len()];
    order.iter().take(count as usize).for_each(|index| kept[*index] = true);
    kept
}

/// Asserts that each lane's cutoff keeps what the sort keeps; of zeros, which may
/// all be kept, nothing is asked.
fn check(lanes: &[Vec<f64>], counts: &[u64]) {
    for (lane, (cutoff, count)) in cutoffs(lanes, counts).iter().zip(counts).enumerate() {
        let values = &lanes[lane];
        for (index, (value, expected)) in values.iter().zip(naive(values, *count)).enumerate() {
            assert!(
                *value == 0.0 || cutoff.keeps(magnitude_key(*value), index as u64) == expected,
                "lane {lane}, {count} of {}: element {index} ({value:e}), {cutoff:?}",
                values.len()
            );
        }
    }
}

/// Checks one lane with many counts.
fn check_all(values: &[f64]) {
    let n = values.len() as u64;
    for count in [0, 1, 2, n / 3, n / 2, n - n.min(2), n - n.min(1), n, n + 1] {
        check(&[values.to_vec()], &[count]);
    }
}

/// One value in three has its sign flipped, which must not matter.
fn signed(mut values: Vec<f64>) -> Vec<f64> {
    values.iter_mut().step_by(3).for_each(|value| *value = -*value);
    values
}

fn fill(len: usize, mut value: impl FnMut() -> f64) -> Vec<f64> {
    signed((0..len).map(|_| value()).collect())
}

/// Three blocks and an odd tail.
const LEN: usize = 3 * BLOCK as usize + 1_234;

#[test]
fn all_equal_keeps_the_lowest_indices() {
    for value in [1.0, 0.1, 5e-324, f64::MAX, f64::from_bits(0x3ff0_0000_0000_8000)] {
        let values = signed(vec![value; LEN]);
        check_all(&values);
        let count = 2 * BLOCK + 17;
        let kept = cutoffs(&[values], &[count])[0];
        assert!(
            (0..LEN as u64).all(|index| kept.keeps(magnitude_key(value), index) == (index < count))
        );
    }
}

#[test]
fn two_values() {
    let mut random = Random(1);
    for (a, b) in [(1.0, 2.0), (0.1, 0.3), (1.0, 1.0f64.next_up()), (0.0, 1e-300)] {
        check_all(&fill(LEN, || random.pick(&[a, b])));
    }
}

#[test]
fn exactly_as_many_as_asked_are_kept_where_none_is_zero() {
    let mut random = Random(2);
    let values = fill(LEN, || 1.0 + random.below(5) as f64);
    for count in [1, 1_000, BLOCK, LEN as u64 / 2, LEN as u64 - 1] {
        let cutoff = cutoffs(std::slice::from_ref(&values), &[count])[0];
        let kept = values
            .iter()
            .zip(0..)
            .filter(|(value, index)| cutoff.keeps(magnitude_key(**value), *index));
        assert_eq!(kept.count() as u64, count);
    }
}

/// Keys that differ in one of the four digits alone, a few values many times, and
/// many values in one bin of more elements than are collected.
#[test]
fn every_digit_decides() {
    let mut random = Random(3);
    for shift in [47, 31, 15, 0] {
        for distinct in [2, 5, 20_000] {
            let low = 0x3ff1_2345_6789_abcd & !(0x7fff << shift);
            check_all(&fill(LEN, || {
                f64::from_bits(low + ((random.below(distinct) as u64) << shift))
            }));
        }
    }
}

#[test]
fn bins_just_small_enough_to_collect_and_just_too_large() {
    let mut random = Random(4);
    for in_bin in [(1 << 15) - 1, 1 << 15, (1 << 15) + 1] {
        // The bin's elements lie in the last two blocks, behind larger ones.
        let mut values = fill(LEN - in_bin, || 2.0 + random.number());
        values.extend(fill(in_bin, || f64::from_bits(0x3f00_0000_0000_0000 | random.bits() >> 20)));
        let larger = (LEN - in_bin) as u64;
        for count in [larger - 1, larger, larger + 1, larger + in_bin as u64 / 2] {
            check(std::slice::from_ref(&values), &[count]);
        }
    }
}

/// A bin of one leading digit whose keys differ only further down, in one bit.
#[test]
fn a_bin_is_no_single_key_as_long_as_any_lower_bit_is_set() {
    let mut random = Random(8);
    for bit in 0..62 {
        let low = 0x2000_0000_0000_0000;
        check_all(&fill(100, || f64::from_bits(low + ((random.bits() & 1) << bit))));
    }
}

#[test]
fn subnormals_and_zeros() {
    let mut random = Random(5);
    check_all(&fill(LEN, || f64::from_bits(random.bits() >> 12)));
    check_all(&fill(LEN, || f64::from_bits(random.bits() % 3)));
    check_all(&fill(LEN, || random.pick(&[0.0, -0.0, 1.0])));
    check_all(&vec![0.0; LEN]);
}

#[test]
fn any_bit_pattern() {
    let mut random = Random(6);
    check_all(&fill(LEN, || f64::from_bits(random.bits() % f64::INFINITY.to_bits())));
}

#[test]
fn small_tensors() {
    for len in 0..8 {
        let mut random = Random(len as u64);
        let values = fill(len, || random.below(3) as f64);
        (0..=len as u64 + 1).for_each(|count| check(std::slice::from_ref(&values), &[count]));
    }
}

/// Lanes that are at different stages at one time: done at once, collecting,
/// refining, looking for a block each in another place.
#[test]
fn lanes_do_not_disturb_each_other() {
    let mut random = Random(7);
    let n = LEN as u64;
    let lanes = [
        vec![0.3; LEN],
        signed(vec![0.3; LEN]),
        fill(LEN, || random.number()),
        fill(LEN, || 1.0),
        fill(LEN, || 1.0 + random.below(4) as f64),
        vec![0.0; LEN],
        fill(LEN, || f64::from_bits(0x3ff0_0000_0000_0000 + random.bits() % 3)),
        fill(LEN, || random.number() * 1e-310),
    ];
    check(&lanes, &[n - 5, 3, n / 2, BLOCK + 1, n / 3, n / 2, n / 2, n / 7]);
    check(&lanes, &[0, n, 1, 2 * BLOCK, n - 1, 1, 0, 5]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_selection_is_the_sorts(
        seed in any::<u64>(),
        len in 1usize..20_000,
        distinct in 1usize..500,
        shift in 0u32..52,
        fraction in 0.0f64..=1.0,
    ) {
        let mut random = Random(seed);
        let mut lane =
            || fill(len, || f64::from_bits((1 << 61) + ((random.below(distinct) as u64) << shift)));
        let lanes = [lane(), lane()];
        let count = (fraction * len as f64) as u64;
        check(&lanes, &[count, len as u64 - count]);
    }
}
