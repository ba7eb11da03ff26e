//! Durations as people read them in reasons: `0.5 s`, `95 s`, `8 min`, `25 h`, `3 d`.

use std::fmt;
use std::time::Duration;

/// The span in the unit that keeps it short: tenths only below ten seconds, the next smaller unit only where something
/// is left over.
pub(crate) fn span(span: Duration) -> String {
    let secs = span.as_secs();
    match secs {
        0..10 => {
            let tenths = span.as_millis() / 100;
            match tenths % 10 {
                0 => format!("{} s", tenths / 10),
                rest => format!("{}.{rest} s", tenths / 10),
            }
        }
        172_800.. => format!("{} d", secs / 86_400),
        _ if secs.is_multiple_of(3_600) => format!("{} h", secs / 3_600),
        7_200.. => format!("{} h {} min", secs / 3_600, secs % 3_600 / 60),
        _ if secs.is_multiple_of(60) => format!("{} min", secs / 60),
        120.. => format!("{} min {} s", secs / 60, secs % 60),
        _ => format!("{secs} s"),
    }
}

/// `1 region`, `2 regions`.
pub(crate) fn regions(count: usize) -> String {
    if count == 1 { "1 region".to_owned() } else { format!("{count} regions") }
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn list<T: fmt::Display>(names: &[T], and: &str) -> String {
    let mut text = String::new();
    for (index, name) in names.iter().enumerate() {
        match index {
            0 => {}
            _ if index + 1 == names.len() => text += &format!(" {and} "),
            _ => text += ", ",
        }
        text += &name.to_string();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        for (millis, text) in [
            (0, "0 s"),
            (1_000, "1 s"),
            (1_550, "1.5 s"),
            (60_000, "1 min"),
            (95_400, "95 s"),
            (480_000, "8 min"),
            (150_000, "2 min 30 s"),
            (3_600_000, "1 h"),
            (3_900_000, "65 min"),
            (90_000_000, "25 h"),
            (9_000_000, "2 h 30 min"),
            (259_200_000, "3 d"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
    }
}
