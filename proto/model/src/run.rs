//! Runs of jobs: which of those under way a ping tells of.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One run of a job, by the UUID that the job made for it (`?rid=`), so that runs which overlap can be told apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId([u8; 16]);

/// Why a text is no run's id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a run's id is a UUID, such as 123e4567-e89b-42d3-a456-426614174000")]
pub struct InvalidRunId;

impl RunId {
    /// The id with exactly these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// A UUID in any of its spellings.
impl FromStr for RunId {
    type Err = InvalidRunId;

    fn from_str(text: &str) -> Result<Self, InvalidRunId> {
        Uuid::try_parse(text).map(|uuid| Self(*uuid.as_bytes())).map_err(|_| InvalidRunId)
    }
}

/// Lower case with hyphens.
impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).hyphenated().fmt(f)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runs_id_is_a_uuid() {
        let text = "123e4567-e89b-42d3-a456-426614174000";
        let id: RunId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(RunId::from_bytes(*id.as_bytes()), id);
        assert_eq!("123E4567E89B42D3A456426614174000".parse(), Ok(id));
        for other in ["", "1", "123e4567-e89b-42d3-a456-42661417400", "nightly"] {
            assert_eq!(other.parse::<RunId>(), Err(InvalidRunId), "{other}");
        }
    }
}
