//! Rows of runs: what a heartbeat's job did from its start to its end.

use model::{HeartbeatId, RunId, Timestamp};

/// One run that has something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRow {
    /// Whose.
    pub heartbeat: HeartbeatId,
    /// When it began or, if it did not say so, when it ended. With heartbeat and id the key.
    pub at: Timestamp,
    /// The job's own id for it.
    pub run: Option<RunId>,
    /// When it ended; `None`: it is under way.
    pub ended_at: Option<Timestamp>,
    /// What came of it, as JSON.
    pub body: String,
    /// What the job sent along last. A row without any leaves that of an earlier one.
    pub log: Vec<u8>,
}

/// A run among those of its heartbeat: when, and the job's own id for it.
pub type RunPlace = (Timestamp, Option<RunId>);

/// Which runs of a heartbeat to list, newest first.
#[derive(Clone, Copy, Debug)]
pub struct RunQuery {
    /// Whose.
    pub heartbeat: HeartbeatId,
    /// Only those that began at or after this instant.
    pub since: Timestamp,
    /// Only those after this one in the listing.
    pub after: Option<RunPlace>,
    /// Only those with this id of the job's own.
    pub run: Option<RunId>,
    /// At most this many.
    pub limit: u32,
}

impl RunRow {
    /// Its place.
    #[must_use]
    pub const fn place(&self) -> RunPlace {
        (self.at, self.run)
    }
}
