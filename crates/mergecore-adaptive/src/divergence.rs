//! How far a row's distribution is from another's.

/// Added to each probability, so that none is zero.
const LEAST: f64 = 1e-8;

/// The Kullback-Leibler divergence of the softmax of one row from that of another, the
/// probabilities of both increased by 1e-8 each. Zero for equal rows, and but for rounding never
/// less.
///
/// Exponentials and logarithms are `libm`'s, sums have a fixed shape: one result on every machine.
pub(crate) fn divergence(row: &[f64], from: &[f64]) -> f64 {
    let (mut p, q) = (softmax(row), softmax(from));
    for (p, q) in p.iter_mut().zip(q) {
        let (of_row, of_other) = (*p + LEAST, q + LEAST);
        *p = of_row * libm::log(of_row / of_other);
    }
    sum(&p)
}

fn softmax(row: &[f64]) -> Vec<f64> {
    let greatest = row.iter().fold(f64::NEG_INFINITY, |greatest, x| greatest.max(*x));
    let mut powers: Vec<f64> = row.iter().map(|x| libm::exp(x - greatest)).collect();
    let total = sum(&powers);
    powers.iter_mut().for_each(|power| *power /= total);
    powers
}

/// The sum of a row: element `i` goes to lane `i % 32`, the lanes are added in halves.
fn sum(row: &[f64]) -> f64 {
    const LANES: usize = 32;
    let mut lanes = [0.0; LANES];
    for chunk in row.chunks(LANES) {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_rows_is_zero() {
        for row in [&[0.3, -1.0, 2.5][..], &[0.0; 100], &[1e30, -1e30], &[5e-324]] {
            assert_eq!(divergence(row, row).to_bits(), 0);
        }
    }

    #[test]
    fn of_known_distributions() {
        // One half each, from one quarter and three: ln(4/3) / 2.
        let found = divergence(&[1.0, 1.0], &[0.0, 3f64.ln()]);
        assert!((found - (4.0f64 / 3.0).ln() / 2.0).abs() < 1e-7, "{found}");
        // All on one from all on the other, of which 1e-8 is left: ln(1e8).
        let found = divergence(&[1e4, 0.0], &[0.0, 1e4]);
        assert!((found - 1e8f64.ln()).abs() < 1e-6, "{found}");
    }

    #[test]
    fn huge_values_have_one() {
        assert!(divergence(&[f64::from(f32::MAX), f64::from(f32::MIN)], &[0.0, 0.0]).is_finite());
    }

    #[test]
    fn a_sum_has_every_element() {
        for len in [0, 1, 31, 32, 33, 1_000] {
            let row: Vec<f64> = (1..=len).map(f64::from).collect();
            assert_eq!(sum(&row), f64::from(len * (len + 1) / 2));
        }
    }
}
