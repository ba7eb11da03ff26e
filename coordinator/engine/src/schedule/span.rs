//! Spans as people write them: `90`, `25h`, `1d12h`.

use std::time::Duration;

/// Whole numbers with `s`, `m`, `h`, `d` or `w`, or one number of seconds. `None`: it is no span, or zero.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut secs = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().ok()?;
        let mut after = rest[digits..].chars();
        let unit = match after.next() {
            None if digits == text.len() => 1,
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3_600,
            Some('d') => 86_400,
            Some('w') => 7 * 86_400,
            _ => return None,
        };
        secs = secs.checked_add(number.checked_mul(unit)?)?;
        rest = after.as_str();
    }
    (secs > 0).then_some(Duration::from_secs(secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_numbers_with_units() {
        for (text, secs) in
            [("1", 1), ("90000", 90_000), ("25h", 90_000), ("1d12h", 129_600), ("2w", 1_209_600)]
        {
            assert_eq!(parse(text), Some(Duration::from_secs(secs)), "{text}");
        }
        for other in ["", "0", "0s", "h", "1h30", "-1h", "1 h", "1x", "03:00", "99999999999999999999w", "1ä"]
        {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
