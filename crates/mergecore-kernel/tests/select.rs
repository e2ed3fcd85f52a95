//! The exact selection against a stable sort, with keys of every kind.

use std::sync::{Arc, Mutex};

use mergecore_kernel::{
    BLOCK, Combination, Cutoff, Elements, ElementsMut, Extent, Kernel, KernelError, Keys, Simd,
    Step, TILE, Tile, Worker, magnitude_key, select,
};
use proptest::prelude::*;
use support::{Random, merged, run_by_blocks};

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

    fn single_keys(&self, lane: usize, _: Simd, inputs: &[Elements<'_>], out: &mut [i32]) -> bool {
        let Elements::F32(values) = inputs[lane] else { return false };
        for (key, value) in out.iter_mut().zip(values) {
            *key = (value.to_bits() & (u32::MAX >> 1)) as i32;
        }
        values.iter().all(|value| value.is_finite())
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
fn small_keys_behind_larger_ones() {
    let mut random = Random(4);
    for in_bin in [(1 << 15) - 1, 1 << 15, (1 << 15) + 1] {
        // They lie in the last two blocks.
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
/// refining, looking for a part each in another place.
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

/// Pairs of lanes with the keys of one input, which only the first of either is asked for.
#[derive(Debug)]
struct Pairs {
    counts: Vec<u64>,
    found: Arc<Mutex<Vec<Cutoff>>>,
}

struct PairedMagnitudes;

impl Keys for PairedMagnitudes {
    fn keys(&self, lane: usize, tile: &Tile<'_>, out: &mut [u64]) {
        assert_eq!(lane % 2, 0, "the first of a pair");
        for (key, value) in out.iter_mut().zip(tile.input(lane / 2)) {
            *key = magnitude_key(*value);
        }
    }

    fn source(&self, lane: usize) -> usize {
        lane - lane % 2
    }

    fn single_keys(
        &self,
        lane: usize,
        simd: Simd,
        inputs: &[Elements<'_>],
        out: &mut [i32],
    ) -> bool {
        assert_eq!(lane % 2, 0, "the first of a pair");
        Magnitudes.single_keys(lane / 2, simd, inputs, out)
    }
}

impl Kernel for Pairs {
    fn first(&self, extent: Extent) -> Result<Step, KernelError> {
        let (found, inputs) = (Arc::clone(&self.found), self.counts.len() / 2);
        select(PairedMagnitudes, &self.counts, extent, move |cutoffs| {
            *found.lock().expect("not poisoned") = cutoffs;
            Ok(Step::apply(Combination::select(0, inputs)))
        })
    }
}

/// Two order statistics of each input's keys are those that each gives alone, be the input's
/// keys those of `f32` in every tile or in none; also where the first is done before the other.
#[test]
fn lanes_that_share_keys_find_what_each_finds_alone() {
    let mut random = Random(17);
    let single = fill(LEN, || f64::from(random.number() as f32));
    let mut mixed = fill(LEN, || f64::from(random.number() as f32));
    mixed[BLOCK as usize + 5] = f64::INFINITY;
    let lanes = [single, mixed, fill(LEN, || 1.0 + random.below(4) as f64)];
    let n = LEN as u64;
    for counts in [[9, n / 2, n / 3, n / 4, n / 2, n / 2 + 1], [0, n / 2, n, 5, n / 2, 0]] {
        let stored: Vec<Vec<f32>> =
            lanes.iter().map(|lane| lane.iter().map(|value| *value as f32).collect()).collect();
        let inputs: Vec<Elements<'_>> =
            stored.iter().map(|lane| Elements::from(&lane[..])).collect();
        let found = Arc::default();
        let pairs = Pairs { counts: counts.to_vec(), found: Arc::clone(&found) };
        let out = &mut vec![0.0f32; LEN];
        run_by_blocks((Simd::detect(), 3), &pairs, &inputs, &mut ElementsMut::from(&mut out[..]));
        let twice: Vec<Vec<f64>> =
            lanes.iter().flat_map(|lane| [lane.clone(), lane.clone()]).collect();
        assert_eq!(*found.lock().expect("not poisoned"), cutoffs(&twice, &counts));
    }
}

/// Elements of which those that a sample is taken of are unlike the others: `inside` says
/// the magnitudes of the former, `outside` those of the latter.
fn unlike_its_sample(
    len: usize,
    mut inside: impl FnMut() -> f64,
    mut outside: impl FnMut() -> f64,
) -> Vec<f64> {
    let extent = Extent::of(&[len]);
    let then = |_| Ok(Step::apply(Combination::select(0, 1)));
    let Ok(Step::Scan(scan)) = select(Magnitudes, &[extent.len() / 2], extent, then) else {
        panic!("{len} elements are not sampled");
    };
    let mut sampled = vec![false; len];
    for range in scan.ranges(extent) {
        sampled[range.start as usize..range.end as usize].fill(true);
    }
    assert!(sampled.iter().filter(|sampled| **sampled).count() < len / 4);
    signed(
        sampled.into_iter().map(|inside_it| if inside_it { inside() } else { outside() }).collect(),
    )
}

/// Asserts that with every instruction set the elements are kept that the sort keeps, after
/// so many scans where one and where three partials are filled; and of the values rounded to
/// `f32`, whose keys are `f32`s but where some are infinite, after any number.
fn check_scans(what: &str, lanes: &[&[f64]], counts: &[u64], scans: [usize; 2]) {
    let label = format!("{what}, {counts:?} of {}", lanes[0].len());
    let inputs: Vec<Elements<'_>> = lanes.iter().map(|lane| Elements::from(*lane)).collect();
    check_stored(&label, lanes, &inputs, counts, Some(scans));
    let singles: Vec<Vec<f32>> =
        lanes.iter().map(|lane| lane.iter().map(|value| *value as f32).collect()).collect();
    let wide: Vec<Vec<f64>> =
        singles.iter().map(|lane| lane.iter().map(|value| f64::from(*value)).collect()).collect();
    let wide: Vec<&[f64]> = wide.iter().map(Vec::as_slice).collect();
    let inputs: Vec<Elements<'_>> = singles.iter().map(|lane| Elements::from(&lane[..])).collect();
    check_stored(&format!("{label}, as f32"), &wide, &inputs, counts, None);
}

fn check_stored(
    label: &str,
    lanes: &[&[f64]],
    inputs: &[Elements<'_>],
    counts: &[u64],
    scans: Option<[usize; 2]>,
) {
    let kept: Vec<Vec<bool>> =
        lanes.iter().zip(counts).map(|(lane, count)| naive(lane, *count)).collect();
    for simd in Simd::available() {
        for (index, workers) in [1, 3].into_iter().enumerate() {
            let label = format!("{label}, {workers} workers, {simd}");
            let found = Arc::default();
            let selection = Selection { counts: counts.to_vec(), found: Arc::clone(&found) };
            let out = &mut vec![0.0f32; lanes[0].len()];
            let out = &mut ElementsMut::from(&mut out[..]);
            let needed = run_by_blocks((simd, workers), &selection, inputs, out);
            if let Some(scans) = scans {
                assert_eq!(needed, scans[index], "{label}");
            }
            let found = found.lock().expect("not poisoned");
            for ((values, kept), cutoff) in lanes.iter().zip(&kept).zip(&*found) {
                let wrong = (0..values.len()).find(|index| {
                    let key = magnitude_key(values[*index]);
                    key != 0 && cutoff.keeps(key, *index as u64) != kept[*index]
                });
                assert_eq!(wrong, None, "first wrong element, {label}, {cutoff:?}");
            }
        }
    }
}

/// Sample, search, another search where the first found too many or too few.
#[test]
fn a_guess_that_misses_is_made_good() {
    let mut random = Random(9);
    let n = LEN as u64;
    let small = |random: &mut Random| 1.0 + random.number().abs() / 2.0;
    let (mut a, mut b) = (Random(10), Random(11));
    let too_low = unlike_its_sample(LEN, || small(&mut a), || 2.0 + small(&mut b));
    check_scans("cutoff above the range", &[&too_low], &[n / 2], [3; 2]);
    let too_high = unlike_its_sample(LEN, || 2.0 + small(&mut a), || small(&mut b));
    check_scans("cutoff below the range", &[&too_high], &[n / 2], [3; 2]);
    let equal_above = unlike_its_sample(LEN, || small(&mut a), || 2.0);
    check_scans("equal keys above", &[&equal_above], &[n / 2], [3; 2]);
    // Of keys at an end of the range another scan tells the last that is kept.
    let top_above = unlike_its_sample(LEN, || small(&mut a), || f64::from_bits(u64::MAX >> 1));
    check_scans("the greatest key", &[&top_above], &[n / 2], [4; 2]);
    let bottom_below = unlike_its_sample(LEN, || small(&mut a), || 5e-324);
    check_scans("the least key above zero", &[&bottom_below], &[n / 2], [4; 2]);
    let zeros = unlike_its_sample(LEN, || small(&mut a), || 0.0);
    check_scans("zeros below the range", &[&zeros], &[n / 2], [3; 2]);
    check_scans("zeros within the range", &[&zeros], &[n - 1], [2; 2]);
    let among_zeros = fill(LEN, || random.pick(&[0.0, 0.0, -0.0, 3.0]));
    check_scans("mostly zeros", &[&among_zeros], &[n / 2], [2; 2]);
    check_scans("none of the zeros but the last nonzero", &[&among_zeros], &[n / 5], [3; 2]);
}

/// More keys than can be written down lie within the range that the sample gives, and
/// once more within the bin that is left of it.
#[test]
fn logs_that_overflow_are_filled_again() {
    let len = 5 * BLOCK as usize - 333;
    let n = len as u64;
    let mut random = Random(12);
    let heads = || {
        let mut random = Random(13);
        move || random.pick(&[1.0, 4.0])
    };
    let spread = unlike_its_sample(len, heads(), || 2.0 + random.number() / 2.0);
    let sharp = |bits: u32| {
        let mut random = Random(u64::from(bits));
        let low = 2.0f64.to_bits() + (1 << 43);
        unlike_its_sample(len, heads(), move || {
            f64::from_bits(low + (random.bits() >> (64 - bits)))
        })
    };
    // A third of the sample is all 4.0, too great a guess.
    for (count, missed) in [(n / 2, 0), (n / 3, 1)] {
        check_scans("spread", &[&spread], &[count], [3 + missed, 2 + missed]);
        for bits in [20, 36, 41] {
            check_scans("all in one bin", &[&sharp(bits)], &[count], [4 + missed, 2 + missed]);
        }
        // Each lane may write down less: one of three partials holds its share.
        let (one, two) = (sharp(20), sharp(36));
        check_scans("three lanes", &[&one, &spread, &two], &[count; 3], [4 + missed; 2]);
    }
}

/// A range that is one popular key, two of them, and a few between.
#[test]
fn cutoffs_at_and_between_the_ends_of_a_range() {
    let n = LEN as u64;
    let mut random = Random(14);
    // 3.5 and its neighbours are too rare for the sample to hold them.
    let mut values = fill(LEN, || 1.0 + random.below(5) as f64);
    for (rare, index) in (7_000..LEN).step_by(20_011).enumerate() {
        values[index] = 3.5 + (rare / 2) as f64 / 64.0;
    }
    let above = |limit: f64| values.iter().filter(|value| value.abs() > limit).count() as u64;
    let (fours, rare) = (above(3.9), above(3.1) - above(3.9));
    assert!(rare > 6);
    check_scans("within one key", &[&values], &[fours - n / 10], [3; 2]);
    check_scans("at the greatest", &[&values], &[fours - 1], [3; 2]);
    check_scans("all of the greatest", &[&values], &[fours], [3; 2]);
    for needed in 1..rare {
        check_scans("between", &[&values], &[fours + needed], [2; 2]);
    }
    check_scans("all that are between", &[&values], &[fours + rare], [2; 2]);
    check_scans("at the least", &[&values], &[fours + rare + 1], [3; 2]);
    check_scans("in the last part of the least", &[&values], &[above(2.9) - 1], [3; 2]);
    // Half of the sample is 1.0, and so many elements are greater than 0.5.
    let heads = || random.pick(&[1.0, 4.0]);
    let mut other = Random(15);
    let later = || if other.below(1_000) < 463 { 2.0 + other.number() / 2.0 } else { 0.5 };
    let halves = unlike_its_sample(LEN, heads, later);
    let all = halves.iter().filter(|value| value.abs() > 0.5).count() as u64;
    check_scans("all of the least", &[&halves], &[all], [3; 2]);
    check_scans("one more than the least", &[&halves], &[all + 1], [3; 2]);
    // Lanes at each of these at one time.
    let lanes = [&values[..]; 5];
    let counts = [fours - 1, fours, fours + 1, fours + rare, fours + rare + 1];
    check_scans("five lanes", &lanes, &counts, [3; 2]);
}

/// Workers that each see a piece of every part in which equal keys are counted.
#[test]
fn parts_seen_by_several_workers_are_counted_once() {
    let mut random = Random(16);
    let values: Vec<f32> = (0..3 << 20).map(|_| 1.0 + random.below(4) as f32).collect();
    let extent = Extent::of(&[values.len()]);
    for count in [extent.len() / 3, extent.len() / 2 + 1] {
        let found: Arc<Mutex<Vec<Cutoff>>> = Arc::default();
        let mut step = Selection { counts: vec![count], found: Arc::clone(&found) }
            .first(extent)
            .expect("a step");
        let mut worker = Worker::new();
        while let Step::Scan(scan) = step {
            let mut partials: Vec<_> = (0..3).map(|_| scan.empty()).collect();
            let tiles = scan.ranges(extent).into_iter().flat_map(|range| {
                range.clone().step_by(TILE).map(move |at| at..range.end.min(at + TILE as u64))
            });
            let tiles: Vec<_> = tiles.collect();
            for (index, tile) in tiles.iter().enumerate().rev() {
                let input = Elements::from(&values[tile.start as usize..tile.end as usize]);
                worker.fold(&*scan, &mut partials[index % 3], tile.start, extent, &[input]);
            }
            let mut total = scan.empty();
            partials.into_iter().for_each(|partial| scan.combine(&mut total, partial));
            step = scan.finish(total).expect("a step");
        }
        let cutoff = found.lock().expect("not poisoned")[0];
        let wide: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
        let keeps = |index: usize| cutoff.keeps(magnitude_key(wide[index]), index as u64);
        let kept: Vec<bool> = (0..values.len()).map(keeps).collect();
        assert_eq!(kept.iter().filter(|kept| **kept).count() as u64, count);
        assert!(kept == naive(&wide, count), "{cutoff:?}");
    }
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
