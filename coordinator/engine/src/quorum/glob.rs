//! Patterns on region ids: `eu-*`, `us-?`, `local`.

use std::fmt;

/// The longest pattern: as long as the longest region id.
const MAX_BYTES: usize = 63;

/// A pattern in which `*` stands for any text, also none, and `?` for one character.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Glob(Box<str>);

impl Glob {
    /// Reads a pattern; `None` if no region id could match it because of a character or its length.
    pub(super) fn new(text: &str) -> Option<Self> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'*' | b'?');
        let valid = (1..=MAX_BYTES).contains(&text.len()) && text.bytes().all(allowed);
        valid.then(|| Self(text.into()))
    }

    /// Whether the whole of `text` matches. Linear but for the last `*`, to which it returns on a mismatch.
    pub(super) fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut at, mut read) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while read < text.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    star = Some((at, read));
                    at += 1;
                }
                Some(&c) if c == b'?' || c == text[read] => {
                    at += 1;
                    read += 1;
                }
                _ => {
                    // The last star takes one character more.
                    let Some((star_at, taken)) = star else { return false };
                    (at, read) = (star_at + 1, taken + 1);
                    star = Some((star_at, taken + 1));
                }
            }
        }
        pattern[at..].iter().all(|&c| c == b'*')
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text_and_question_marks_for_one_character() {
        for (pattern, text, matches) in [
            ("eu-*", "eu-west", true),
            ("eu-*", "eu-", true),
            ("eu-*", "us-east", false),
            ("*", "local", true),
            ("local", "local", true),
            ("local", "local-1", false),
            ("?u-west", "eu-west", true),
            ("?", "", false),
            ("*-west-*", "eu-west-west-1", true),
            ("*west", "eu-west-west", true),
            ("*west", "eu-west-wes", false),
            ("**", "a", true),
            ("a*b*c", "abbbc", true),
            ("a*b*c", "abbbd", false),
        ] {
            assert_eq!(Glob::new(pattern).unwrap().matches(text), matches, "{pattern} on {text}");
        }
    }

    #[test]
    fn what_no_region_id_could_match_is_refused() {
        for bad in ["", "EU-*", "eu_*", "[ab]", "e u", &"x".repeat(64)] {
            assert!(Glob::new(bad).is_none(), "{bad}");
        }
    }
}
