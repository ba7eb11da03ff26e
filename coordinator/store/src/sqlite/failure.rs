//! From what the driver says to what the caller can do.

use sqlx::error::{DatabaseError, ErrorKind};

use crate::Error;

/// Primary result codes of SQLite (<https://sqlite.org/rescode.html>) that pass, or that an operator can cure while we
/// run: a full or read-only disk, another process's lock, an I/O error.
const PASSING: [i32; 11] = [
    3,  // PERM
    5,  // BUSY
    6,  // LOCKED
    7,  // NOMEM
    8,  // READONLY
    9,  // INTERRUPT
    10, // IOERR
    13, // FULL
    14, // CANTOPEN
    15, // PROTOCOL
    23, // AUTH
];
const BUSY: i32 = 5;
const FULL: i32 = 13;

/// The error of a statement of a transaction that was not committed.
pub(super) fn failure(error: sqlx::Error) -> Error {
    match error {
        sqlx::Error::Database(error) => match primary_code(&*error) {
            Some(code) if PASSING.contains(&code) => Error::Unavailable(error.to_string()),
            _ => Error::Corrupt(error.to_string()),
        },
        error @ (sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::AnyDriverError(_)) => Error::Corrupt(error.to_string()),
        error => Error::Unavailable(error.to_string()),
    }
}

/// The error of a COMMIT. `rolled_back`: a ROLLBACK after it found the transaction open and ended it.
///
/// A COMMIT that could not take the lock or found no space never wrote its commit frame. After any other error the
/// frame may be in the log, where a crash would bring it to life.
pub(super) fn failure_of_commit(error: &sqlx::Error, rolled_back: bool) -> Error {
    let code = error.as_database_error().and_then(primary_code);
    if rolled_back || matches!(code, Some(BUSY | FULL)) {
        Error::Unavailable(error.to_string())
    } else {
        Error::FateUnknown(error.to_string())
    }
}

/// [`failure`], except that a violated uniqueness becomes [`Error::Duplicate`] of what `taken` says.
pub(super) fn failure_or_duplicate(error: sqlx::Error, taken: impl FnOnce() -> String) -> Error {
    match error.as_database_error().map(DatabaseError::kind) {
        Some(ErrorKind::UniqueViolation) => Error::Duplicate(taken()),
        _ => failure(error),
    }
}

/// The result code without its extension, which stands in the higher bytes.
fn primary_code(error: &(dyn DatabaseError + 'static)) -> Option<i32> {
    error.code()?.parse::<i32>().ok().map(|code| code & 0xff)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::error::Error as StdError;
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Code(i32);

    impl fmt::Display for Code {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "code {}", self.0)
        }
    }

    impl StdError for Code {}

    impl DatabaseError for Code {
        fn message(&self) -> &str {
            "as ordered"
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.to_string().into())
        }

        fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> ErrorKind {
            if self.0 == 2067 { ErrorKind::UniqueViolation } else { ErrorKind::Other }
        }
    }

    fn database(code: i32) -> sqlx::Error {
        sqlx::Error::Database(Box::new(Code(code)))
    }

    const IOERR_FSYNC: i32 = 1034;

    #[test]
    fn what_passes_is_unavailable_and_what_does_not_is_corrupt() {
        for passing in [BUSY, FULL, IOERR_FSYNC, 8] {
            assert!(matches!(failure(database(passing)), Error::Unavailable(_)), "{passing}");
        }
        for lasting in [1, 11, 26, 2067] {
            assert!(matches!(failure(database(lasting)), Error::Corrupt(_)), "{lasting}");
        }
        assert!(matches!(failure(sqlx::Error::PoolTimedOut), Error::Unavailable(_)));
        assert!(matches!(failure(sqlx::Error::ColumnNotFound("a".into())), Error::Corrupt(_)));
    }

    #[test]
    fn the_fate_of_a_commit_is_known_only_if_it_was_rolled_back_or_never_reached_the_log() {
        assert!(matches!(failure_of_commit(&database(IOERR_FSYNC), true), Error::Unavailable(_)));
        assert!(matches!(failure_of_commit(&database(FULL), false), Error::Unavailable(_)));
        assert!(matches!(failure_of_commit(&database(BUSY), false), Error::Unavailable(_)));
        assert!(matches!(failure_of_commit(&database(IOERR_FSYNC), false), Error::FateUnknown(_)));
        assert!(matches!(failure_of_commit(&sqlx::Error::WorkerCrashed, false), Error::FateUnknown(_)));
    }

    #[test]
    fn only_a_violated_uniqueness_is_a_duplicate() {
        let taken = || "a monitor `api`".to_owned();
        assert!(
            matches!(failure_or_duplicate(database(2067), taken), Error::Duplicate(name) if name == taken())
        );
        assert!(matches!(failure_or_duplicate(database(FULL), taken), Error::Unavailable(_)));
    }
}
