//! What is wrong with a request, all of it at once: `INVALID_ARGUMENT` with `google.rpc.BadRequest` details.

use std::fmt::Display;

use model::result::clean;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// Violations that are told; statuses travel in headers, whose size is limited.
const MAX_VIOLATIONS: usize = 16;
/// The longest description of one.
const MAX_PROBLEM_CHARS: usize = 300;

/// Gathers violations while a request is read.
#[derive(Debug, Default)]
pub(super) struct Invalid {
    violations: Vec<FieldViolation>,
}

impl Invalid {
    /// A request that is wrong in one field.
    pub(super) fn one(field: &str, problem: impl Display) -> Status {
        let mut invalid = Self::default();
        invalid.add(field, problem);
        invalid.into_status()
    }

    /// Notes what is wrong with a field and what is allowed in it. A problem that begins with the field's name, as
    /// those of the domain do, does not repeat it.
    pub(super) fn add(&mut self, field: &str, problem: impl Display) {
        let problem = problem.to_string();
        let problem =
            problem.strip_prefix(field).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(&problem);
        let problem = clean(problem, MAX_PROBLEM_CHARS);
        let is_told = |it: &FieldViolation| it.field == field && it.description == problem;
        if self.violations.len() < MAX_VIOLATIONS && !self.violations.iter().any(is_told) {
            self.violations.push(FieldViolation::new(field, problem));
        }
    }

    /// The value, or `None` and a note.
    pub(super) fn check<T, E: Display>(&mut self, field: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|problem| self.add(field, problem)).ok()
    }

    /// Refuses the request if anything is wrong with it.
    pub(super) fn refuse(self) -> Result<(), Status> {
        if self.violations.is_empty() { Ok(()) } else { Err(self.into_status()) }
    }

    /// The value read, unless something is wrong. What could not be read was noted.
    pub(super) fn finish<T>(self, read: Option<T>) -> Result<T, Status> {
        match read {
            Some(value) if self.violations.is_empty() => Ok(value),
            _ => Err(self.into_status()),
        }
    }

    fn into_status(self) -> Status {
        let told: Vec<String> =
            self.violations.iter().map(|it| format!("{}: {}", it.field, it.description)).collect();
        let details = ErrorDetails::with_bad_request(self.violations);
        Status::with_error_details(Code::InvalidArgument, told.join("; "), details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_violation_is_named_once_in_message_and_details() {
        let mut invalid = Invalid::default();
        invalid.add("url", "url: has no scheme");
        invalid.add("interval", "must be from 1 second");
        invalid.add("interval", "must be from 1 second");
        let status = invalid.refuse().unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "url: has no scheme; interval: must be from 1 second");
        let told = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(told.iter().map(|it| it.field.as_str()).collect::<Vec<_>>(), ["url", "interval"]);
        assert_eq!(told[0].description, "has no scheme");
    }

    #[test]
    fn a_hostile_request_cannot_make_a_status_too_large_for_its_headers() {
        let mut invalid = Invalid::default();
        for number in 0..1_000 {
            invalid.add("headers", format!("{number} {}", "\u{1f534}".repeat(10_000)));
        }
        let status = invalid.refuse().unwrap_err();
        assert!(status.message().chars().count() < 6_000);
    }
}
