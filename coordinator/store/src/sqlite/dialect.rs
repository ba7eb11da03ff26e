//! What each database must be told in its own words. All other statements are one text, in the subset that SQLite and
//! PostgreSQL share: `$1` placeholders, BIGINT, TEXT and BLOB values, ON CONFLICT, RETURNING, explicit casts.

/// Begins a transaction that will write: the lock first, so that no read has to be upgraded.
pub(super) const BEGIN_WRITE: &str = "BEGIN IMMEDIATE";
/// Ends a transaction.
pub(super) const COMMIT: &str = "COMMIT";
/// Ends a transaction without a trace.
pub(super) const ROLLBACK: &str = "ROLLBACK";

/// The database's own clock, in microseconds since the Unix epoch. Leases are judged by it.
macro_rules! database_clock {
    () => {
        "(CAST(unixepoch('subsec') * 1000 AS BIGINT) * 1000)"
    };
}

/// The rows of a batch: a JSON array of objects, bound to `$1`, as a table `batch` with these columns. Blobs are
/// hexadecimal in the JSON. (`jsonb_each` rather than `json_each`: an item is not printed and parsed for each column.)
macro_rules! batch {
    ($($column:ident $kind:ident),+) => {
        concat!("(SELECT ", batch!(@columns $($column $kind),+), " FROM jsonb_each($1)) AS batch")
    };
    (@columns $column:ident $kind:ident) => { batch!(@$kind $column) };
    (@columns $column:ident $kind:ident, $($rest:tt)+) => {
        concat!(batch!(@$kind $column), ", ", batch!(@columns $($rest)+))
    };
    (@text $column:ident) => {
        concat!("value ->> '", stringify!($column), "' AS ", stringify!($column))
    };
    (@bigint $column:ident) => { batch!(@text $column) };
    (@blob $column:ident) => {
        concat!("unhex(value ->> '", stringify!($column), "') AS ", stringify!($column))
    };
}

pub(super) use {batch, database_clock};
