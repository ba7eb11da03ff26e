//! The one door between wire and domain of the probe protocol.
//!
//! Whatever arrives from the network passes here once and comes out as words of `model` (or is refused with the name
//! of the field); behind the door nothing is optional that must be there. No input panics, and one bad item never
//! spoils the others of its message.

mod assignment;
mod capture;
mod result;
mod scalar;
mod status;

pub use assignment::{
    Assignment, Placement, Role, assignment_from_wire, assignment_to_wire, assignments_digest,
};
pub use capture::capture_to_wire;
pub use result::{
    Received, Slow, result_from_wire, result_to_wire, results_from_wire, slow_from_wire, slow_to_wire,
};
pub use scalar::{
    duration_from_wire, duration_to_wire, monitor_from_wire, timestamp_from_wire, timestamp_to_wire,
};
pub use status::{status_from_wire, status_to_wire};

/// Why a message, or one item of it, cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// The field by its path in the message, such as `results[3].monitor_id`.
    pub field: String,
    /// What is wrong and what is allowed.
    pub problem: String,
}

impl Invalid {
    /// A refusal of one field.
    #[must_use]
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }

    /// The same refusal, seen from the message that holds the field's message.
    #[must_use]
    pub fn within(self, parent: &str) -> Self {
        Self { field: format!("{parent}.{}", self.field), ..self }
    }
}
