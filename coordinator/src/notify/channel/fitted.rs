//! Escaped text that fits into a provider's field.

use std::borrow::Cow;

/// Puts pieces together up to `max_chars` characters. A piece is never split, so that no escape is; what does not
/// fit is replaced by `…`.
pub(super) fn fitted<'a>(pieces: impl Iterator<Item = Cow<'a, str>>, max_chars: usize) -> String {
    let mut out = String::new();
    let mut used = 0;
    // Where to cut should the next piece not fit: the end of the last piece that leaves room for the `…`.
    let mut cut = 0;
    for piece in pieces {
        let chars = piece.chars().count();
        if used + chars > max_chars {
            out.truncate(cut);
            out.push('…');
            break;
        }
        out.push_str(&piece);
        used += chars;
        if used < max_chars {
            cut = out.len();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(pieces: &[&'static str], max_chars: usize) -> String {
        fitted(pieces.iter().map(|&piece| Cow::Borrowed(piece)), max_chars)
    }

    #[test]
    fn escapes_are_kept_whole_and_the_limit_is_kept() {
        assert_eq!(fit(&["a", "&amp;", "b"], 7), "a&amp;b");
        assert_eq!(fit(&["a", "&amp;", "b"], 6), "a…");
        assert_eq!(fit(&["a", "&amp;", "b", "c"], 7), "a&amp;…");
        assert_eq!(fit(&["a", "&amp;"], 5), "a…");
        assert_eq!(fit(&["&amp;"], 3), "…");
    }
}
