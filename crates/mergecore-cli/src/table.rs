//! Columns of text.

use crate::print::plain;

/// Lines whose columns are as wide as their longest entry, indented by two.
pub(crate) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let rows: Vec<[String; N]> =
        rows.iter().map(|row| row.each_ref().map(|entry| plain(entry))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (entry, width) in row.iter().zip(&widths) {
            line.push_str("  ");
            line.push_str(entry);
            line.extend(std::iter::repeat_n(' ', width - entry.chars().count()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `1 file`, `2 files`.
pub(crate) fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::{count, table};

    #[test]
    fn columns_are_aligned() {
        let rows = [["a", "1", ""], ["lo\ng", "2", "x"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "  a      1\n  lo\\ng  2  x\n");
        assert_eq!((count(1, "file"), count(0, "file")), ("1 file".into(), "0 files".into()));
    }
}
