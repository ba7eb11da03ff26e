//! Which heartbeats have gathered runs beyond those that are kept: trimmed a few at a time, with the beat.

use std::collections::BTreeMap;

use model::{HeartbeatId, Timestamp};
use store::{Commit, RUN_RETENTION, RunRow};

/// After so many new runs a heartbeat's oldest are looked at. That many more than are meant to be kept may be there.
const SLACK: u32 = 50;
/// Heartbeats that one commit trims.
const SLICE: usize = 32;

/// New runs by heartbeat, as far as this process saw them.
#[derive(Debug, Default)]
pub(super) struct RunTrim {
    fresh: BTreeMap<HeartbeatId, u32>,
}

impl RunTrim {
    /// Adds the next slice to a commit.
    pub(super) fn add_slice(&self, now: Timestamp, commit: &mut Commit) {
        commit.trim_runs_before = Some(now.minus(RUN_RETENTION));
        let grown = self.fresh.iter().filter(|(_, count)| **count >= SLACK);
        commit.trim_runs_of = grown.map(|(heartbeat, _)| *heartbeat).take(SLICE).collect();
    }

    /// What is in a commit is durable.
    pub(super) fn committed(&mut self, commit: &Commit) {
        for heartbeat in &commit.trim_runs_of {
            self.fresh.remove(heartbeat);
        }
        for RunRow { heartbeat, .. } in &commit.runs {
            *self.fresh.entry(*heartbeat).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use store::Commit;

    use super::*;

    #[test]
    fn a_heartbeat_is_trimmed_once_it_has_grown_and_not_again_before_it_grows_anew() {
        let mut trim = RunTrim::default();
        let row = |second: u32| RunRow {
            heartbeat: HeartbeatId::from_bytes([1; 16]),
            at: Timestamp::from_secs(second.into()),
            run: None,
            ended_at: None,
            body: String::new(),
            log: vec![],
        };
        let next = |trim: &RunTrim| {
            let mut commit = Commit::default();
            trim.add_slice(Timestamp::from_secs(0), &mut commit);
            commit
        };
        trim.committed(&Commit { runs: (1..SLACK).map(row).collect(), ..Commit::default() });
        assert_eq!(next(&trim).trim_runs_of, []);
        trim.committed(&Commit { runs: vec![row(0)], ..Commit::default() });
        let commit = next(&trim);
        assert_eq!(commit.trim_runs_of.len(), 1);
        trim.committed(&commit);
        assert_eq!(next(&trim).trim_runs_of, []);
    }
}
