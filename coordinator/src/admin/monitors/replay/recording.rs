//! From the journal to the tape of one monitor.
//!
//! A journal row holds what one commit heard of everybody, so reading one monitor's part costs as much as reading all.
//! It is read newest first, page by page, and only what concerns the monitor is kept.

use engine::monitor::Policy;
use engine::replay::{Heard, Tape};
use model::{MonitorId, Timestamp};
use store::journal::Told;
use store::{JournalQuery, Record, Store};
use tonic::Status;

use crate::admin::invalid::Invalid;
use crate::admin::refusal::store_failed;

/// Rows of one query: a row may hold a mebibyte.
const ROWS_PER_QUERY: u32 = 64;
/// The most that is held in memory: some 70 MB.
const MAX_HEARD: usize = 500_000;

/// What the journal knows of a monitor in a span.
#[derive(Debug)]
pub(super) struct Recording {
    /// What was heard.
    pub(super) tape: Tape,
    /// Results of an earlier target, interval, timeout or set of regions: not on the tape.
    pub(super) left_out: u64,
    /// When the user last changed how it decides.
    pub(super) changed_at: Option<Timestamp>,
}

/// Reads what was committed about a monitor from `begin` to `end`.
pub(super) async fn read(
    store: &dyn Store,
    monitor: MonitorId,
    policy: &Policy,
    begin: Timestamp,
    end: Timestamp,
) -> Result<Recording, Status> {
    let mut recording = Recording { tape: Tape::of(monitor), left_out: 0, changed_at: None };
    let mut before = None;
    loop {
        let query = JournalQuery { before, not_before: begin, limit: ROWS_PER_QUERY };
        let rows = store.journal_page(query).await.map_err(|error| store_failed(&error))?;
        for row in rows.iter().filter(|row| row.at <= end) {
            let records = store::journal::decode(&row.blob).map_err(|error| store_failed(&error))?;
            for record in records.into_iter().rev() {
                recording.take(row.at, record, monitor, policy);
            }
            if recording.tape.len() > MAX_HEARD {
                let problem =
                    format!("more than {MAX_HEARD} results were recorded since: choose a shorter span");
                return Err(Invalid::one("since", problem));
            }
            // A row takes milliseconds, and others wait for this thread.
            tokio::task::yield_now().await;
        }
        match rows.last() {
            Some(last) if rows.len() == ROWS_PER_QUERY as usize => before = Some(last.position),
            _ => return Ok(recording),
        }
    }
}

impl Recording {
    fn take(&mut self, at: Timestamp, record: Record, monitor: MonitorId, policy: &Policy) {
        let heard = match record {
            Record::Result { agent, result, .. } if result.monitor == monitor => {
                if result.spec_revision != policy.spec_revision {
                    self.left_out += 1;
                    return;
                }
                Heard::Result { agent, result }
            }
            Record::Told { monitor: other, what } if other == monitor => match what {
                Told::Slow { region, started_at } => Heard::Slow { region, started_at },
                Told::PolicyChanged { respec: true } => Heard::Respecified,
                Told::PolicyChanged { respec: false } => {
                    self.changed_at = self.changed_at.max(Some(at));
                    return;
                }
                Told::Paused => Heard::Paused,
                Told::Resumed => Heard::Resumed,
                Told::Parents(standing) => Heard::Parents(standing),
                Told::Asked => Heard::Asked,
                Told::Quarantined { agent, name, since } => Heard::Quarantined { agent, name, since },
                Told::Released { agent } => Heard::Released { agent },
                Told::MaintenanceStarted { at } => Heard::MaintenanceStarted { at },
                Told::MaintenanceEnded => Heard::MaintenanceEnded,
            },
            Record::RegionLive { region, live } if policy.regions.contains(&region) => {
                Heard::RegionLive { region, live }
            }
            Record::Blind { from, to, restarted } => Heard::Blind { from, to, restarted },
            _ => return,
        };
        self.tape.prepend(at, heard);
    }
}
