//! What the journal keeps of what happens besides results and pings: enough to replay another policy over it.
//!
//! Nothing is restored from these records after a restart.

use engine::monitor;
use model::{MonitorId, RegionId, SubjectId, Timestamp};
use store::Record;
use store::journal::Told;

use super::Stage;
use crate::shard::subject::Happening;

impl Stage<'_> {
    /// Applies a span in which nothing could be heard to every subject.
    pub(in crate::shard) fn blind(&mut self, from: Timestamp, to: Timestamp, restarted: bool) {
        self.record(Record::Blind { from, to, restarted });
        self.apply_to_all(Happening::Blind { from, to }, |_| true);
        self.blind_alerts();
        self.blind_fleet(from, to, restarted);
    }

    /// Keeps what happens to one monitor. Results and what happens to all alike are kept where they come in.
    pub(super) fn remember(&mut self, id: SubjectId, happening: &Happening<'_>) {
        let SubjectId::Monitor(monitor) = id else { return };
        let what = match happening {
            Happening::Monitor(event) => told(event),
            Happening::PolicyChanged { respec } => Some(Told::PolicyChanged { respec: *respec }),
            Happening::Paused => Some(Told::Paused),
            Happening::Resumed => Some(Told::Resumed),
            Happening::MaintenanceStarted { at } => Some(Told::MaintenanceStarted { at: *at }),
            Happening::MaintenanceEnded => Some(Told::MaintenanceEnded),
            Happening::Heartbeat(_)
            | Happening::DeadlineReached
            | Happening::Blind { .. }
            | Happening::Deleted => None,
        };
        if let Some(what) = what {
            self.record_told(monitor, what);
        }
    }

    /// Keeps that a region's agents came or went.
    pub(super) fn remember_region(&mut self, region: &RegionId, live: bool) {
        self.record(Record::RegionLive { region: region.clone(), live });
    }

    fn record_told(&mut self, monitor: MonitorId, what: Told) {
        self.record(Record::Told { monitor, what });
    }
}

fn told(event: &monitor::Event) -> Option<Told> {
    match event {
        monitor::Event::Slow { region, started_at } => {
            Some(Told::Slow { region: region.clone(), started_at: *started_at })
        }
        monitor::Event::Parents(standing) => Some(Told::Parents(standing.clone())),
        monitor::Event::Asked => Some(Told::Asked),
        monitor::Event::Quarantined { agent, name, since } => {
            Some(Told::Quarantined { agent: *agent, name: name.clone(), since: *since })
        }
        monitor::Event::Released { agent } => Some(Told::Released { agent: *agent }),
        _ => None,
    }
}
