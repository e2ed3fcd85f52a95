//! Sizes as users of model mergers write them.

/// Reads `5B`, `500M`, `2GB`, `64MiB`, `1000`. `B` alone means billions, as in
/// the recipes' world; `K`, `M`, `G`, `T` and with `B` are powers of 1000, with
/// `iB` of 1024.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "b" | "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => {
            return Err(format!(
                "`{text}` is no size; write it as 5B (5 * 10^9 bytes), 500M, 2GB or 2GiB"
            ));
        }
    };
    let bytes = number.parse::<f64>().ok().map(|number| number * factor as f64);
    match bytes {
        Some(bytes) if (1.0..9e18).contains(&bytes) => Ok(bytes as u64),
        _ => Err(format!(
            "`{text}` is no size of at least one byte; write it as 5B, 500M, 2GB or 2GiB"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        for (text, bytes) in [
            ("5B", 5_000_000_000),
            ("1b", 1_000_000_000),
            ("500M", 500_000_000),
            ("2GB", 2_000_000_000),
            ("2 GiB", 2 << 30),
            ("1.5K", 1_500),
            ("77", 77),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for text in ["", "B", "-1G", "0", "5X", "1..2G", "1e30T"] {
            let message = parse_size(text).unwrap_err();
            assert!(message.contains(&format!("`{text}`")), "{message}");
        }
    }
}
