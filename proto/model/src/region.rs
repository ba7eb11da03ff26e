//! Regions: the places from which checks are made.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The id of a region, such as `us-east`: 1 to 63 of `a-z`, `0-9` and `-`, beginning and ending with a letter or
/// digit (a DNS label, RFC 1123). Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(Arc<str>);

/// Why a text is not a region id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a region id: use 1 to 63 of a-z, 0-9 and `-`, beginning and ending with a letter or digit, such as `us-east`"
)]
pub struct InvalidRegion(String);

impl RegionId {
    /// Reads a region id.
    ///
    /// # Errors
    /// When the text is not a lower-case DNS label.
    pub fn new(text: &str) -> Result<Self, InvalidRegion> {
        let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let bytes = text.as_bytes();
        let valid = (1..=63).contains(&bytes.len())
            && bytes.iter().all(|&c| inner(c))
            && bytes.first() != Some(&b'-')
            && bytes.last() != Some(&b'-');
        if valid { Ok(Self(text.into())) } else { Err(InvalidRegion(text.chars().take(80).collect())) }
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name for people, made from the id: `us-east` is `US-East`, `local` is `Local`. Two-letter parts are
    /// taken for country or continent codes.
    #[must_use]
    pub fn default_display_name(&self) -> String {
        let part = |part: &str| {
            if part.len() <= 2 {
                return part.to_ascii_uppercase();
            }
            let (head, tail) = part.split_at(1);
            head.to_ascii_uppercase() + tail
        };
        self.0.split('-').map(part).collect::<Vec<_>>().join("-")
    }
}

impl fmt::Display for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for RegionId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for RegionId {
    type Err = InvalidRegion;

    fn from_str(text: &str) -> Result<Self, InvalidRegion> {
        Self::new(text)
    }
}

impl Serialize for RegionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RegionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_for_people_are_made_from_ids() {
        for (id, name) in [("us-east", "US-East"), ("eu-west-1", "EU-West-1"), ("local", "Local")] {
            assert_eq!(RegionId::new(id).unwrap().default_display_name(), name);
        }
    }

    #[test]
    fn refuses_what_is_not_a_label() {
        for bad in ["", "-eu", "eu-", "EU", "eu west", "eu_west", &"x".repeat(64)] {
            assert!(RegionId::new(bad).is_err(), "{bad}");
        }
    }
}
