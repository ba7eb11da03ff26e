//! What must hold of whatever a check finds, besides what its kind asks for.

use serde::{Deserialize, Serialize};

use super::assertion::{Assertion, MAX_ASSERTIONS};
use super::{Check, InvalidCheck, invalid};

/// The same for every kind of check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Criteria {
    /// All of them must hold.
    pub assertions: Vec<Assertion>,
    /// Whether a check passes exactly when it would have failed: for what must not be reachable.
    pub upside_down: bool,
}

impl Criteria {
    /// Whether an HTTP status other than 2xx may be right.
    #[must_use]
    pub fn judge_status(&self) -> bool {
        self.assertions.iter().any(Assertion::mentions_status)
    }

    /// Whether an answer's body has to be kept.
    #[must_use]
    pub fn read_body(&self) -> bool {
        self.assertions.iter().any(Assertion::reads_body)
    }

    /// Checks that they can be asked of a check.
    ///
    /// # Errors
    /// Names what cannot be.
    pub fn validate(&self, check: &Check) -> Result<(), InvalidCheck> {
        if self.assertions.len() > MAX_ASSERTIONS {
            return Err(invalid("assertions", format!("at most {MAX_ASSERTIONS} are allowed")));
        }
        self.assertions.iter().try_for_each(|assertion| assertion.validate(check))
    }
}
