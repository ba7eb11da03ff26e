//! Tags: words by which users group monitors and heartbeats.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest tag, in characters.
pub const MAX_CHARS: usize = 40;
/// The most tags that one subject may have.
pub const MAX_TAGS: usize = 20;

/// A lower-case word, such as `payments` or `eu-cluster`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(Box<str>);

/// Why a text is no tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a tag: 1 to {MAX_CHARS} lower-case letters, digits, `-`, `_`, `.` or `:`, a letter or digit first"
)]
pub struct InvalidTag(String);

impl Tag {
    /// The word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = InvalidTag;

    fn from_str(text: &str) -> Result<Self, InvalidTag> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let valid = text.len() <= MAX_CHARS
            && text.starts_with(plain)
            && text.chars().all(|c| plain(c) || matches!(c, '-' | '_' | '.' | ':'));
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(InvalidTag(text.chars().take(MAX_CHARS + 1).collect()))
        }
    }
}

impl TryFrom<String> for Tag {
    type Error = InvalidTag;

    fn try_from(text: String) -> Result<Self, InvalidTag> {
        text.parse()
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> Self {
        tag.0.into()
    }
}

impl Borrow<str> for Tag {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_lower_case_words() {
        for tag in ["a", "payments", "eu-west.1", "team:core", "0day", &"x".repeat(MAX_CHARS)] {
            assert_eq!(tag.parse::<Tag>().unwrap().as_str(), tag);
        }
        for other in ["", "Payments", "a b", "-a", "ü", "a,b", &"x".repeat(MAX_CHARS + 1)] {
            let error = other.parse::<Tag>().unwrap_err();
            assert!(error.to_string().contains("lower-case"), "{error}");
        }
    }
}
