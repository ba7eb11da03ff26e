//! Pings on the stage, and the runs that they tell of: those with something to tell become rows.

use engine::effect::{RunEnd, RunOutcome};
use engine::heartbeat::{Event, PingKind};
use model::{HeartbeatId, SubjectId};
use store::journal::HeardPing;
use store::{Record, RunPlace, RunRow};

use super::Stage;
use crate::run::Run;
use crate::shard::input::State;
use crate::shard::subject::Happening;

/// Whose run, and which: the key of its row.
pub(super) type RunKey = (HeartbeatId, RunPlace);

impl Stage<'_> {
    /// Takes a ping.
    pub(in crate::shard) fn take_ping(&mut self, heard: &HeardPing) {
        self.record(Record::Heard(heard.clone()));
        if heard.is_ignored {
            return;
        }
        let event = Event::Pinged { kind: heard.kind, at: heard.at, run: heard.run };
        self.apply(SubjectId::Heartbeat(heard.heartbeat), Happening::Heartbeat(&event));
        self.keep_run(heard);
    }

    /// A run is over, or taken for it.
    pub(super) fn end_run(&mut self, id: SubjectId, end: &RunEnd) {
        let SubjectId::Heartbeat(heartbeat) = id else { return };
        let key = self.put_run(&Run::ended(heartbeat, end));
        if !matches!(end.outcome, RunOutcome::Lost(_)) {
            self.ended_run = Some(key);
        }
    }

    /// Keeps what a ping, which is applied, says of its run.
    fn keep_run(&mut self, heard: &HeardPing) {
        if let Some(key) = self.ended_run.take() {
            if let Some(row) = self.runs.get_mut(&key).filter(|_| !heard.body.is_empty()) {
                row.log.clone_from(&heard.body);
            }
            return;
        }
        let Some(State::Heartbeat(state)) =
            self.get(SubjectId::Heartbeat(heard.heartbeat)).map(|subject| &subject.state)
        else {
            return;
        };
        let at = heard.at.min(self.now);
        let run = match heard.kind {
            PingKind::Start | PingKind::Log => {
                let Some(run) = state.runs().iter().find(|run| run.id == heard.run) else { return };
                // One that goes on is told of again only if there is something to keep.
                if heard.body.is_empty() && run.started_at != at {
                    return;
                }
                let started_at = Some(run.started_at);
                Run {
                    heartbeat: heard.heartbeat,
                    id: run.id,
                    started_at,
                    ended_at: None,
                    outcome: None,
                    log: heard.body.clone(),
                }
            }
            // Nobody waited for its end, but it has something to say.
            PingKind::Success if !heard.body.is_empty() && state.last_ping_at() == Some(at) => {
                let outcome = RunOutcome::Succeeded { exit_code: None };
                let end = RunEnd { run: heard.run, started_at: None, ended_at: at, outcome };
                Run { log: heard.body.clone(), ..Run::ended(heard.heartbeat, &end) }
            }
            PingKind::Success | PingKind::Fail | PingKind::Exit(_) => return,
        };
        self.put_run(&run);
    }

    fn put_run(&mut self, run: &Run) -> RunKey {
        let row = run.to_row();
        let key = (row.heartbeat, row.place());
        let kept: Option<RunRow> = self.runs.remove(&key);
        let log = kept.filter(|_| row.log.is_empty()).map(|kept| kept.log);
        self.runs.insert(key, RunRow { log: log.unwrap_or_else(|| row.log.clone()), ..row });
        key
    }
}
