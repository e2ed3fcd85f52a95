//! "Did you mean ...?"

/// The candidate that `name` most likely meant to be, if one is close.
///
/// Letter case and `-` for `_` make no difference; otherwise up to a third of the
/// letters may be wrong, missing, doubled or swapped.
///
/// ```
/// use mergecore_config::nearest;
///
/// let known = ["weight", "density", "normalize"];
/// assert_eq!(nearest("desnity", known), Some("density"));
/// assert_eq!(nearest("Normalise", known), Some("normalize"));
/// assert_eq!(nearest("epsilon", known), None);
/// ```
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Comparing is quadratic, and no valid name is anywhere near this long.
    if name.len() > 200 {
        return None;
    }
    let wanted = fold(name);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let distance = strsim::osa_distance(&wanted, &fold(candidate));
        let longest = wanted.chars().count().max(candidate.chars().count());
        if distance <= (longest / 3).max(1) && best.is_none_or(|(least, _)| distance < least) {
            // One letter is not close to another letter.
            if longest > 1 || distance == 0 {
                best = Some((distance, candidate));
            }
        }
    }
    best.map(|(_, candidate)| candidate)
}

fn fold(name: &str) -> String {
    name.trim().to_lowercase().replace(['-', ' '], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_and_far() {
        let keys = ["merge_method", "base_model", "models", "dtype", "t"];
        assert_eq!(nearest("merge-method", keys), Some("merge_method"));
        assert_eq!(nearest("basemodel", keys), Some("base_model"));
        assert_eq!(nearest("model", keys), Some("models"));
        assert_eq!(nearest("d_type", keys), Some("dtype"));
        assert_eq!(nearest("T", keys), Some("t"));
        assert_eq!(nearest("x", keys), None);
        assert_eq!(nearest("", keys), None);
        assert_eq!(nearest(&"m".repeat(1_000_000), keys), None);
    }
}
