//! How an agent itself is.

use std::time::Duration;

use model::AgentStatus;
use model::agent_status::{Backlog, Lateness, Machine, Work};
use model::result::clean;

use super::Invalid;
use super::scalar::{duration_from_wire, duration_to_wire, timestamp_from_wire, timestamp_to_wire};
use crate::probe::v1;

/// More failing canaries than this are not named.
const MAX_CANARIES: usize = 20;
/// The longest name of a canary.
const MAX_NAME_CHARS: usize = 100;

/// An agent's report for the wire.
#[must_use]
pub fn status_to_wire(status: &AgentStatus) -> v1::AgentStatus {
    let AgentStatus { wall, uptime, machine, work, backlog, failing_canaries } = status;
    v1::AgentStatus {
        wall_time: Some(timestamp_to_wire(*wall)),
        uptime: Some(duration_to_wire(*uptime)),
        machine: Some(v1::AgentMachine {
            load: machine.load,
            cores: machine.cores,
            memory_bytes: machine.memory_bytes,
            open_files: machine.open_files,
            open_files_limit: machine.open_files_limit,
        }),
        work: Some(v1::AgentWork {
            period: Some(duration_to_wire(work.period)),
            started: work.started,
            skipped: work.skipped,
            lateness: work.lateness.map(|lateness| v1::AgentLateness {
                p50: Some(duration_to_wire(lateness.p50)),
                p99: Some(duration_to_wire(lateness.p99)),
                max: Some(duration_to_wire(lateness.max)),
            }),
            running: work.running,
            queued: work.queued,
            longest_wait: Some(duration_to_wire(work.longest_wait)),
        }),
        backlog: Some(v1::AgentBacklog {
            results: backlog.results,
            oldest_age: backlog.oldest_age.map(duration_to_wire),
            bytes: backlog.bytes,
            capacity_bytes: backlog.capacity_bytes,
            dropped: backlog.dropped,
        }),
        failing_canaries: failing_canaries.iter().take(MAX_CANARIES).map(|name| named(name)).collect(),
    }
}

/// Reads an agent's report.
///
/// # Errors
/// Names the field that cannot be used and what is allowed in it.
pub fn status_from_wire(wire: &v1::AgentStatus) -> Result<AgentStatus, Invalid> {
    let work = wire.work.as_ref().ok_or_else(|| Invalid::new("work", "must be set"))?;
    let backlog = wire.backlog.as_ref().ok_or_else(|| Invalid::new("backlog", "must be set"))?;
    Ok(AgentStatus {
        wall: timestamp_from_wire(wire.wall_time.as_ref(), "wall_time")?,
        uptime: duration_from_wire(wire.uptime.as_ref(), "uptime")?,
        machine: machine_from_wire(wire.machine.unwrap_or_default()),
        work: work_from_wire(work).map_err(|error| error.within("work"))?,
        backlog: Backlog {
            results: backlog.results,
            oldest_age: optional(backlog.oldest_age.as_ref(), "backlog.oldest_age")?,
            bytes: backlog.bytes,
            capacity_bytes: backlog.capacity_bytes,
            dropped: backlog.dropped,
        },
        failing_canaries: wire.failing_canaries.iter().take(MAX_CANARIES).map(|name| named(name)).collect(),
    })
}

fn machine_from_wire(wire: v1::AgentMachine) -> Machine {
    Machine {
        load: wire.load.filter(|load| load.is_finite() && *load >= 0.0),
        cores: wire.cores,
        memory_bytes: wire.memory_bytes,
        open_files: wire.open_files,
        open_files_limit: wire.open_files_limit,
    }
}

fn work_from_wire(wire: &v1::AgentWork) -> Result<Work, Invalid> {
    let lateness = |wire: &v1::AgentLateness| {
        Ok(Lateness {
            p50: duration_from_wire(wire.p50.as_ref(), "lateness.p50")?,
            p99: duration_from_wire(wire.p99.as_ref(), "lateness.p99")?,
            max: duration_from_wire(wire.max.as_ref(), "lateness.max")?,
        })
    };
    Ok(Work {
        period: duration_from_wire(wire.period.as_ref(), "period")?,
        started: wire.started,
        skipped: wire.skipped,
        lateness: wire.lateness.as_ref().map(lateness).transpose()?,
        running: wire.running,
        queued: wire.queued,
        longest_wait: duration_from_wire(wire.longest_wait.as_ref(), "longest_wait")?,
    })
}

fn optional(wire: Option<&prost_types::Duration>, field: &str) -> Result<Option<Duration>, Invalid> {
    wire.map(|wire| duration_from_wire(Some(wire), field)).transpose()
}

fn named(name: &str) -> String {
    clean(name, MAX_NAME_CHARS)
}

#[cfg(test)]
mod tests {
    use model::Timestamp;
    use prost::Message;

    use super::*;

    fn status() -> AgentStatus {
        let millis = Duration::from_millis;
        AgentStatus {
            wall: Timestamp::from_micros(1_700_000_000_250_000),
            uptime: Duration::from_secs(86_400),
            machine: Machine {
                load: Some(0.52),
                cores: 2,
                memory_bytes: Some(12 << 20),
                open_files: Some(31),
                open_files_limit: Some(1_024),
            },
            work: Work {
                period: Duration::from_secs(30),
                started: 5_000,
                skipped: 3,
                lateness: Some(Lateness { p50: millis(1), p99: millis(8), max: millis(21) }),
                running: 12,
                queued: 7,
                longest_wait: millis(40),
            },
            backlog: Backlog {
                results: 99,
                oldest_age: Some(millis(4_200)),
                bytes: 1 << 20,
                capacity_bytes: 256 << 20,
                dropped: 2,
            },
            failing_canaries: vec!["one.example".into()],
        }
    }

    #[test]
    fn a_report_survives_the_wire() {
        let bare = AgentStatus {
            machine: Machine::default(),
            work: Work::default(),
            backlog: Backlog::default(),
            failing_canaries: vec![],
            ..status()
        };
        for status in [status(), bare] {
            assert_eq!(status_from_wire(&status_to_wire(&status)), Ok(status));
        }
    }

    #[test]
    fn a_report_is_small_however_much_there_is_to_say() {
        let canary = || "x".repeat(5_000);
        let status = AgentStatus { failing_canaries: vec![canary(); 500], ..status() };
        assert!(status_to_wire(&status).encoded_len() < 2_500);
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name_or_passed_over() {
        let negative = Some(prost_types::Duration { seconds: -1, nanos: 0 });
        let changed = |change: fn(&mut v1::AgentStatus)| {
            let mut wire = status_to_wire(&status());
            change(&mut wire);
            wire
        };
        for (wire, field) in [
            (changed(|wire| wire.wall_time = None), "wall_time"),
            (changed(|wire| wire.work = None), "work"),
            (changed(|wire| wire.work.as_mut().unwrap().longest_wait = None), "work.longest_wait"),
            (
                changed(|wire| wire.work.as_mut().unwrap().lateness = Some(Default::default())),
                "work.lateness.p50",
            ),
            (v1::AgentStatus { uptime: negative, ..status_to_wire(&status()) }, "uptime"),
        ] {
            assert_eq!(status_from_wire(&wire).unwrap_err().field, field);
        }
        for load in [f64::NAN, f64::INFINITY, -1.0] {
            let mut wire = status_to_wire(&status());
            wire.machine.as_mut().unwrap().load = Some(load);
            assert_eq!(status_from_wire(&wire).unwrap().machine.load, None);
        }
        let wire = changed(|wire| wire.failing_canaries = vec!["a\u{1b}[31m\nb".into()]);
        assert!(!status_from_wire(&wire).unwrap().failing_canaries[0].contains(char::is_control));
    }
}
