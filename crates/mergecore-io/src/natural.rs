//! The order in which people expect to see tensor names.

use std::cmp::Ordering;

/// Compares names so that runs of digits count as numbers: `layers.2` comes
/// before `layers.10`.
///
/// A total order: two names are equal only if they are the same string. Numbers
/// that differ only in leading zeros are ordered by the rest of the name first
/// and then byte by byte; digits may be of any length.
///
/// ```
/// let mut names = ["layers.10.w", "layers.2.w", "embed"];
/// names.sort_by(|a, b| mergecore_io::natural_order(a, b));
/// assert_eq!(names, ["embed", "layers.2.w", "layers.10.w"]);
/// ```
pub fn natural_order(a: &str, b: &str) -> Ordering {
    // Names of one model have much in common, where there is nothing to compare.
    let common = common_prefix(a.as_bytes(), b.as_bytes());
    let (mut x, mut y) = (&a.as_bytes()[common..], &b.as_bytes()[common..]);
    loop {
        let order = match (x.first(), y.first()) {
            (None, None) => return a.cmp(b),
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(p), Some(q)) if p.is_ascii_digit() && q.is_ascii_digit() => {
                let (m, n) = (split_number(&mut x), split_number(&mut y));
                m.len().cmp(&n.len()).then_with(|| m.cmp(n))
            }
            // All digits lie between the same non-digits, so a number and
            // another character compare alike whatever the number is.
            (Some(p), Some(q)) => {
                (x, y) = (&x[1..], &y[1..]);
                p.cmp(q)
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// How many bytes two names begin with alike, less those of a number that may go on.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let words = a.chunks_exact(8).zip(b.chunks_exact(8));
    let words = 8 * words.take_while(|(p, q)| p == q).count();
    let rest = a[words..].iter().zip(&b[words..]).take_while(|(p, q)| p == q).count();
    let equal = &a[..words + rest];
    equal.len() - equal.iter().rev().take_while(|c| c.is_ascii_digit()).count()
}

/// Cuts the leading digits off `rest` and returns them without leading zeros.
fn split_number<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let end = rest.iter().position(|c| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, tail) = rest.split_at(end);
    *rest = tail;
    let zeros = digits.iter().take_while(|c| **c == b'0').count();
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = String> {
        // Few characters, so that prefixes, zeros and equal numbers are common.
        proptest::collection::vec(
            proptest::sample::select(vec!["0", "1", "10", "9", ".", "a", "~", "é"]),
            0..6,
        )
        .prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn is_a_total_order(a in name(), b in name(), c in name()) {
            prop_assert_eq!(natural_order(&a, &b), natural_order(&b, &a).reverse());
            prop_assert_eq!(natural_order(&a, &b) == Ordering::Equal, a == b);
            if natural_order(&a, &b).is_le() && natural_order(&b, &c).is_le() {
                prop_assert!(natural_order(&a, &c).is_le());
            }
        }

        #[test]
        fn numbers_compare_by_value(m in 0u32..2000, n in 0u32..2000) {
            let order = natural_order(&format!("layers.{m}.w"), &format!("layers.{n}.w"));
            prop_assert_eq!(order, m.cmp(&n));
        }

        #[test]
        fn what_names_have_in_common_decides_nothing(
            common in name(), count in 0..4usize, a in name(), b in name(),
        ) {
            let common = common.repeat(count) + ".";
            let order = natural_order(&format!("{common}{a}"), &format!("{common}{b}"));
            prop_assert_eq!(order, natural_order(&a, &b));
        }
    }

    #[test]
    fn numbers_longer_than_any_integer_type_compare() {
        let (a, b) = (format!("x{}8", "9".repeat(60)), format!("x{}9", "9".repeat(60)));
        assert_eq!(natural_order(&a, &b), Ordering::Less);
        assert_eq!(natural_order("x01.b", "x1.a"), Ordering::Greater);
        assert_eq!(natural_order("x01", "x1"), Ordering::Less);
    }
}
