//! Escaped text that fits into a provider's field.

use std::borrow::Cow;

/// What stands for what did not fit.
const MORE: &str = "…";

/// Puts pieces together up to `max_chars` characters. A piece is never split, so that no escape is; what does not
/// fit is replaced by `…`.
pub(super) fn fitted<'a>(pieces: impl Iterator<Item = Cow<'a, str>>, max_chars: usize) -> String {
    fitted_by(|text| text.chars().count(), pieces, max_chars)
}

/// The same up to `max_bytes` bytes of UTF-8.
pub(super) fn fitted_bytes<'a>(pieces: impl Iterator<Item = Cow<'a, str>>, max_bytes: usize) -> String {
    fitted_by(str::len, pieces, max_bytes)
}

/// The same up to `max_units` code units of UTF-16.
pub(super) fn fitted_utf16<'a>(pieces: impl Iterator<Item = Cow<'a, str>>, max_units: usize) -> String {
    fitted_by(|text| text.encode_utf16().count(), pieces, max_units)
}

fn fitted_by<'a>(
    size: impl Fn(&str) -> usize,
    pieces: impl Iterator<Item = Cow<'a, str>>,
    max: usize,
) -> String {
    let mut out = String::new();
    let mut used = 0;
    // Where to cut should the next piece not fit: the end of the last piece that leaves room for the `…`.
    let mut cut = 0;
    for piece in pieces {
        used += size(&piece);
        if used > max {
            out.truncate(cut);
            out.push_str(MORE);
            break;
        }
        out.push_str(&piece);
        if used + size(MORE) <= max {
            cut = out.len();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(pieces: &'static [&'static str]) -> impl Iterator<Item = Cow<'static, str>> {
        pieces.iter().map(|&piece| Cow::Borrowed(piece))
    }

    #[test]
    fn escapes_are_kept_whole_and_the_limit_is_kept() {
        assert_eq!(fitted(pieces(&["a", "&amp;", "b"]), 7), "a&amp;b");
        assert_eq!(fitted(pieces(&["a", "&amp;", "b"]), 6), "a…");
        assert_eq!(fitted(pieces(&["a", "&amp;", "b", "c"]), 7), "a&amp;…");
        assert_eq!(fitted(pieces(&["a", "&amp;"]), 5), "a…");
        assert_eq!(fitted(pieces(&["&amp;"]), 3), "…");
    }

    #[test]
    fn limits_in_bytes_and_in_utf16_count_what_they_say() {
        assert_eq!(fitted_bytes(pieces(&["🔴", "é", "a"]), 7), "🔴éa");
        assert_eq!(fitted_bytes(pieces(&["🔴", "é", "ab"]), 7), "🔴…");
        assert_eq!(fitted_utf16(pieces(&["🔴", "é", "a"]), 4), "🔴éa");
        assert_eq!(fitted_utf16(pieces(&["🔴", "🔴"]), 3), "🔴…");
    }
}
