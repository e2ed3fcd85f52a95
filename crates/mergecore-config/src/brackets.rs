//! Whether brackets make a text slow to parse.
//!
//! The YAML parser looks at every open bracket for every token, and only its result can be
//! asked how deep it is: `{a: {a: {a: ...` would keep it busy for minutes. So the work is
//! estimated before.

/// Open brackets, summed over all characters. The parser does some 400 million in a second.
const MAX_WORK: u64 = 500_000_000;

/// Line and column (from 1) where the parser would have done too much, if it would.
///
/// Counts at least as many brackets as there are open: one that closes counts only where it
/// cannot be text. That is on a line without quotes and comments, and after one that opens on the
/// same line. So a large file in the manner of JSON, with a bracket a line, seems deeper than it
/// is; 150 kilobytes of that are still read.
pub(crate) fn too_much_work(text: &str) -> Option<(usize, usize)> {
    let (mut work, mut open) = (0, 0);
    for (line, content) in text.lines().enumerate() {
        let is_plain = !content.contains(['"', '\'', '#']);
        let mut here: u64 = 0;
        for (column, c) in content.chars().enumerate() {
            match c {
                '[' | '{' => here += 1,
                ']' | '}' if is_plain => here = here.saturating_sub(1),
                _ => {}
            }
            work += open + here;
            if work > MAX_WORK {
                return Some((line + 1, column + 1));
            }
        }
        open += here;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_too_much_and_length_is_not() {
        let (line, column) = too_much_work(&"{a: ".repeat(80_000)).unwrap();
        assert!(line == 1 && column < 320_000);
        // Closing brackets that are text do not hide it.
        for unit in ["{\"}\": ", "{'}':\n", "{a: #}\n"] {
            assert!(too_much_work(&unit.repeat(80_000)).is_some(), "{unit:?}");
        }
        let entry = "- {model: org/a, parameters: {weight: [0, 1]}}\n";
        assert_eq!(too_much_work(&entry.repeat(20_000)), None);
        let json = "{\n\"model\": \"org/a\",\n\"parameters\": {\n\"weight\": 1\n}\n},\n";
        assert_eq!(too_much_work(&json.repeat(2_500)), None);
    }
}
