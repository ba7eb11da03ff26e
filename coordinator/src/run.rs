//! A run of a heartbeat's job: what is kept of it, and how that is stored.

use std::time::Duration;

use engine::effect::{RunEnd, RunOutcome};
use model::{HeartbeatId, RunId, Timestamp};
use serde::{Deserialize, Serialize};
use store::RunRow;

/// One run that has something to tell: it began, failed, gave an exit code, an id or some text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Whose.
    pub heartbeat: HeartbeatId,
    /// The job's own id for it.
    pub id: Option<RunId>,
    /// When it began, if it said so.
    pub started_at: Option<Timestamp>,
    /// When it ended; `None`: it is under way.
    pub ended_at: Option<Timestamp>,
    /// What came of it; `None`: it is under way.
    pub outcome: Option<RunOutcome>,
    /// What the job sent along last.
    pub log: Vec<u8>,
}

/// What no statement looks into.
#[derive(Debug, Serialize, Deserialize)]
struct Body {
    /// Whether the instant in the key is that of a start.
    has_start: bool,
    outcome: Option<RunOutcome>,
}

impl Run {
    /// A run as it ended.
    #[must_use]
    pub const fn ended(heartbeat: HeartbeatId, end: &RunEnd) -> Self {
        Self {
            heartbeat,
            id: end.run,
            started_at: end.started_at,
            ended_at: Some(end.ended_at),
            outcome: Some(end.outcome),
            log: vec![],
        }
    }

    /// How long it took, if that is known.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        let Self { id: run, started_at, ended_at, outcome, .. } = *self;
        RunEnd { run, started_at, ended_at: ended_at?, outcome: outcome? }.duration()
    }

    /// The run as it is stored.
    #[must_use]
    pub fn to_row(&self) -> RunRow {
        let body = Body { has_start: self.started_at.is_some(), outcome: self.outcome };
        RunRow {
            heartbeat: self.heartbeat,
            at: self.started_at.or(self.ended_at).unwrap_or(Timestamp::EPOCH),
            run: self.id,
            ended_at: self.ended_at,
            body: serde_json::to_string(&body).expect("it has only text keys"),
            log: self.log.clone(),
        }
    }

    /// Reads a stored run.
    ///
    /// # Errors
    /// [`store::Error::Corrupt`] when the stored JSON is not that of one.
    pub fn from_row(row: RunRow) -> Result<Self, store::Error> {
        let body: Body = serde_json::from_str(&row.body)
            .map_err(|error| store::Error::Corrupt(format!("a run of {}: {error}", row.heartbeat)))?;
        Ok(Self {
            heartbeat: row.heartbeat,
            id: row.run,
            started_at: body.has_start.then_some(row.at),
            ended_at: row.ended_at,
            outcome: body.outcome,
            log: row.log,
        })
    }
}

#[cfg(test)]
mod tests {
    use engine::effect::RunLoss;

    use super::*;

    #[test]
    fn a_run_comes_back_as_it_was() {
        let at = Timestamp::from_secs;
        let end = RunEnd {
            run: Some(RunId::from_bytes([3; 16])),
            started_at: Some(at(10)),
            ended_at: at(70),
            outcome: RunOutcome::Failed { exit_code: Some(3) },
        };
        let heartbeat = HeartbeatId::from_bytes([1; 16]);
        let ended = Run { log: vec![0xff, 10], ..Run::ended(heartbeat, &end) };
        let unbegun =
            Run { started_at: None, outcome: Some(RunOutcome::Lost(RunLoss::Silent)), ..ended.clone() };
        let running = Run { ended_at: None, outcome: None, ..ended.clone() };
        for run in [&ended, &unbegun, &running] {
            assert_eq!(Run::from_row(run.to_row()).unwrap(), *run);
        }
        assert_eq!((ended.to_row().at, unbegun.to_row().at, running.to_row().at), (at(10), at(70), at(10)));
        assert_eq!(ended.duration(), Some(Duration::from_secs(60)));
        assert_eq!((unbegun.duration(), running.duration()), (None, None));
        let odd = RunRow { body: "{}".into(), ..ended.to_row() };
        assert!(matches!(Run::from_row(odd), Err(store::Error::Corrupt(_))));
    }
}
