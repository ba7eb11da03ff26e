//! The one table from what went wrong to a gRPC status.

use std::fmt::Display;

use model::result::clean;
use tonic::Status;
use tracing::error;

use super::invalid::Invalid;
use crate::shard::ChangeError;

/// A status that `?` makes of the store's errors too.
#[derive(Debug)]
pub(super) struct Refusal(Status);

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self(status)
    }
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        Self(store_failed(&error))
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        refusal.0
    }
}

/// There is nothing with that id or name.
pub(super) fn not_found(kind: &str, asked: &str) -> Status {
    Status::not_found(format!("there is no {kind} `{}`", clean(asked, 200)))
}

/// The etag is not the present one.
pub(super) fn stale(kind: &str, name: &str) -> Status {
    Status::aborted(format!(
        "etag: {kind} `{}` was changed in between: read it again and repeat the change",
        clean(name, 200)
    ))
}

/// A change that the shard's owner did not make.
pub(super) fn change_failed(kind: &str, name: &str, error: &ChangeError) -> Status {
    match error {
        ChangeError::NotFound => not_found(kind, name),
        ChangeError::NameTaken(taken) => Status::already_exists(format!(
            "name: a {kind} `{}` already exists: names are unique, choose another",
            clean(taken, 200)
        )),
        ChangeError::DependsOnItself(_) | ChangeError::TooDeep => Invalid::one("depends_on", error),
        ChangeError::HasDependents(dependents) => Status::failed_precondition(format!(
            "{kind} `{}` cannot be deleted: other monitors depend on it ({}); take it out of their depends_on \
             first, as with `vigilctl monitor edit ID --clear depends-on`",
            clean(name, 200),
            clean(dependents, 700),
        )),
        ChangeError::IncidentOver | ChangeError::ToldOfBy(_) => {
            Status::failed_precondition(format!("id: {error}"))
        }
        ChangeError::Stale => stale(kind, name),
        ChangeError::Unavailable(unavailable) => Status::unavailable(unavailable.to_string()),
    }
}

/// What the store could not do.
pub(super) fn store_failed(error: &store::Error) -> Status {
    match error {
        store::Error::Duplicate(what) => Status::already_exists(format!("{what} already exists")),
        store::Error::Unavailable(_) => {
            Status::unavailable("the database is unavailable now; try again in a few seconds")
        }
        store::Error::FateUnknown(_) => {
            Status::unavailable("it is not known whether the change was made: look before you repeat it")
        }
        store::Error::Fenced | store::Error::ShardsLost(_) => {
            Status::unavailable("another coordinator has taken over; try again in a few seconds")
        }
        store::Error::Corrupt(_) => unreadable(error),
    }
}

/// Something stored cannot be read: nothing that the caller could change.
pub(super) fn unreadable(problem: impl Display) -> Status {
    error!(%problem, "cannot answer from what is stored");
    Status::internal("something that is stored cannot be read; the coordinator's log has more")
}
