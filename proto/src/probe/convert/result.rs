//! Results: what an agent found.
//!
//! The agent's clock is not trusted: a result says how long ago its attempt started when the message was sent, and
//! `started_at = receipt − age`.

use std::time::Duration;

use model::result::clean;
use model::{
    Capture, CheckResult, Component, Failure, FailureKind, HealthReport, HealthWord, MonitorId, Outcome,
    Phases, RegionId, Timestamp,
};

use super::Invalid;
use super::capture::capture_from_wire;
use super::scalar::{address_from_wire, address_to_wire, micros, monitor_from_wire, timestamp_from_wire};
use crate::probe::v1;

/// No attempt takes longer; twice the longest timeout leaves room for two phases that end late.
const MAX_DURATION_US: u64 = 2 * model::check::MAX_TIMEOUT.as_micros() as u64;

/// A result with its place in the agent's sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// The agent's sequence number: with agent and epoch the identity in transport.
    pub seq: u64,
    /// What was found.
    pub result: CheckResult,
    /// Whether it is from an earlier boot of the agent's machine: dated by a kept stamp, and history only.
    pub is_late: bool,
    /// What was met on the way, if the agent says so.
    pub capture: Option<Box<Capture>>,
}

/// A scheduled check that is pending for longer than usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slow {
    /// What is being checked.
    pub monitor: MonitorId,
    /// Which version of its specification.
    pub spec_revision: u64,
    /// The check's slot.
    pub slot: i64,
    /// When the check started.
    pub started_at: Timestamp,
}

/// Reads a batch: every item with its sequence number, valid or refused on its own.
///
/// `region` is the one that the connection's credential stands for, `received_at` the coordinator's clock.
pub fn results_from_wire(
    wire: v1::Results,
    region: &RegionId,
    received_at: Timestamp,
) -> impl Iterator<Item = (u64, Result<Received, Invalid>)> {
    let first_seq = wire.first_seq;
    wire.results.into_iter().enumerate().map(move |(index, result)| {
        let seq = first_seq.saturating_add(index as u64);
        let result = result_from_wire(result, seq, region, received_at)
            .map_err(|error| error.within(&format!("results[{index}]")));
        (seq, result)
    })
}

/// Reads one result.
///
/// # Errors
/// Names the field that cannot be used and what is allowed in it. Texts that are too long are cut, not refused.
pub fn result_from_wire(
    mut wire: v1::Result,
    seq: u64,
    region: &RegionId,
    received_at: Timestamp,
) -> Result<Received, Invalid> {
    let monitor = monitor_from_wire(&wire.monitor_id, "monitor_id")?;
    if wire.attempt != 0 && wire.round == 0 {
        return Err(Invalid::new("round", "must be set for attempts other than 0"));
    }
    if wire.duration_us > MAX_DURATION_US {
        return Err(Invalid::new("duration_us", format!("must be at most {MAX_DURATION_US}")));
    }
    let capture = wire.capture.take().and_then(capture_from_wire);
    let is_late = wire.started_at.is_some();
    let started_at = if is_late {
        timestamp_from_wire(wire.started_at.as_ref(), "started_at")?.min(received_at)
    } else {
        received_at.minus(Duration::from_micros(wire.age_us))
    };
    let result = CheckResult {
        monitor,
        spec_revision: wire.spec_revision,
        region: region.clone(),
        slot: wire.slot,
        attempt: wire.attempt,
        round: if wire.attempt == 0 { 0 } else { wire.round },
        started_at,
        duration: Duration::from_micros(wire.duration_us),
        outcome: outcome_from_wire(&wire)?,
        phases: wire.phases.map(phases_from_wire).unwrap_or_default(),
        http_status: status_from_wire(wire.http_status)?,
        peer: address_from_wire(&wire.peer, "peer")?,
        health: wire.health.map(|health| Box::new(health_from_wire(health))),
    };
    Ok(Received { seq, result, is_late, capture })
}

/// A result for the wire, with `age_us` still 0: the agent sets it when it sends the message, and the capture, if it is to
/// be told. Region and `started_at` do not cross.
#[must_use]
pub fn result_to_wire(result: &CheckResult) -> v1::Result {
    let (outcome, failure_kind, detail) = match &result.outcome {
        Outcome::Pass => (v1::Outcome::Pass, v1::FailureKind::Unspecified, String::new()),
        Outcome::Fail(failure) => (v1::Outcome::Fail, kind_to_wire(failure.kind), failure.detail.clone()),
        Outcome::Error(detail) => (v1::Outcome::Error, v1::FailureKind::Unspecified, detail.clone()),
    };
    v1::Result {
        monitor_id: result.monitor.as_bytes().to_vec(),
        spec_revision: result.spec_revision,
        slot: result.slot,
        attempt: result.attempt,
        round: result.round,
        age_us: 0,
        duration_us: micros(result.duration),
        outcome: outcome.into(),
        failure_kind: failure_kind.into(),
        detail,
        phases: (result.phases != Phases::default()).then(|| phases_to_wire(result.phases)),
        http_status: result.http_status.map_or(0, u32::from),
        peer: result.peer.map(address_to_wire).unwrap_or_default(),
        health: result.health.as_deref().map(health_to_wire),
        started_at: None,
        capture: None,
    }
}

/// Reads a notice that a check is slow.
///
/// # Errors
/// When the monitor's id is not one.
pub fn slow_from_wire(wire: &v1::Slow, received_at: Timestamp) -> Result<Slow, Invalid> {
    Ok(Slow {
        monitor: monitor_from_wire(&wire.monitor_id, "monitor_id")?,
        spec_revision: wire.spec_revision,
        slot: wire.slot,
        started_at: received_at.minus(Duration::from_micros(wire.age_us)),
    })
}

/// A notice for the wire, sent at `now` on the clock that dated the check's start.
#[must_use]
pub fn slow_to_wire(slow: &Slow, now: Timestamp) -> v1::Slow {
    v1::Slow {
        monitor_id: slow.monitor.as_bytes().to_vec(),
        spec_revision: slow.spec_revision,
        slot: slow.slot,
        age_us: micros(now.since(slow.started_at)),
    }
}

fn outcome_from_wire(wire: &v1::Result) -> Result<Outcome, Invalid> {
    match wire.outcome() {
        v1::Outcome::Pass => Ok(Outcome::Pass),
        v1::Outcome::Fail => {
            let kind = kind_from_wire(wire.failure_kind())
                .ok_or_else(|| Invalid::new("failure_kind", "must be a known kind for a failure"))?;
            Ok(Outcome::Fail(Failure::new(kind, &wire.detail)))
        }
        v1::Outcome::Error => Ok(Outcome::Error(clean(&wire.detail, Failure::MAX_DETAIL_CHARS))),
        v1::Outcome::Unspecified => Err(Invalid::new("outcome", "must be pass, fail or error")),
    }
}

const fn kind_from_wire(wire: v1::FailureKind) -> Option<FailureKind> {
    Some(match wire {
        v1::FailureKind::Unspecified => return None,
        v1::FailureKind::Dns => FailureKind::Dns,
        v1::FailureKind::Connect => FailureKind::Connect,
        v1::FailureKind::Tls => FailureKind::Tls,
        v1::FailureKind::Timeout => FailureKind::Timeout,
        v1::FailureKind::Protocol => FailureKind::Protocol,
        v1::FailureKind::Certificate => FailureKind::Certificate,
        v1::FailureKind::Status => FailureKind::Status,
        v1::FailureKind::Body => FailureKind::Body,
        v1::FailureKind::Redirect => FailureKind::Redirect,
    })
}

const fn kind_to_wire(kind: FailureKind) -> v1::FailureKind {
    match kind {
        FailureKind::Dns => v1::FailureKind::Dns,
        FailureKind::Connect => v1::FailureKind::Connect,
        FailureKind::Tls => v1::FailureKind::Tls,
        FailureKind::Timeout => v1::FailureKind::Timeout,
        FailureKind::Protocol => v1::FailureKind::Protocol,
        FailureKind::Certificate => v1::FailureKind::Certificate,
        FailureKind::Status => v1::FailureKind::Status,
        FailureKind::Body => v1::FailureKind::Body,
        FailureKind::Redirect => v1::FailureKind::Redirect,
    }
}

fn status_from_wire(wire: u32) -> Result<Option<u16>, Invalid> {
    match u16::try_from(wire) {
        Ok(0) => Ok(None),
        Ok(status @ 100..=999) => Ok(Some(status)),
        _ => Err(Invalid::new("http_status", "must be 0 (none) or 100 to 999")),
    }
}

fn phases_from_wire(wire: v1::Phases) -> Phases {
    let span = |us: Option<u32>| us.map(|us| Duration::from_micros(u64::from(us)));
    Phases {
        dns: span(wire.dns_us),
        connect: span(wire.connect_us),
        tls: span(wire.tls_us),
        first_byte: span(wire.first_byte_us),
        body: span(wire.body_us),
    }
}

fn phases_to_wire(phases: Phases) -> v1::Phases {
    let us = |span: Option<Duration>| span.map(|span| u32::try_from(span.as_micros()).unwrap_or(u32::MAX));
    v1::Phases {
        dns_us: us(phases.dns),
        connect_us: us(phases.connect),
        tls_us: us(phases.tls),
        first_byte_us: us(phases.first_byte),
        body_us: us(phases.body),
    }
}

fn health_from_wire(wire: v1::HealthReport) -> HealthReport {
    let status = word_from_wire(wire.status());
    let component = |component: v1::Component| {
        Component::new(&component.name, word_from_wire(component.status()), Some(&component.detail))
    };
    HealthReport::new(status, wire.components.into_iter().map(component))
}

fn health_to_wire(report: &HealthReport) -> v1::HealthReport {
    let component = |component: &Component| v1::Component {
        name: component.name.clone(),
        status: word_to_wire(component.status).into(),
        detail: component.detail.clone().unwrap_or_default(),
    };
    v1::HealthReport {
        status: word_to_wire(report.status).into(),
        components: report.components.iter().map(component).collect(),
    }
}

const fn word_from_wire(wire: v1::HealthWord) -> HealthWord {
    match wire {
        v1::HealthWord::Healthy => HealthWord::Healthy,
        v1::HealthWord::Degraded => HealthWord::Degraded,
        v1::HealthWord::Unhealthy => HealthWord::Unhealthy,
        v1::HealthWord::Other | v1::HealthWord::Unspecified => HealthWord::Other,
    }
}

const fn word_to_wire(word: HealthWord) -> v1::HealthWord {
    match word {
        HealthWord::Healthy => v1::HealthWord::Healthy,
        HealthWord::Degraded => v1::HealthWord::Degraded,
        HealthWord::Unhealthy => v1::HealthWord::Unhealthy,
        HealthWord::Other => v1::HealthWord::Other,
    }
}

#[cfg(test)]
mod tests {
    use model::health::{MAX_COMPONENTS, MAX_NAME_CHARS};
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    fn region() -> RegionId {
        RegionId::new("us-east").unwrap()
    }

    fn result(outcome: Outcome) -> CheckResult {
        CheckResult {
            monitor: MonitorId::from_bytes([7; 16]),
            spec_revision: 2,
            region: region(),
            slot: -3,
            attempt: 1,
            round: 9,
            started_at: Timestamp::from_secs(1_000),
            duration: Duration::from_millis(40),
            outcome,
            phases: Phases { dns: Some(Duration::from_micros(12)), ..Phases::default() },
            http_status: Some(503),
            peer: Some("2001:db8::1".parse().unwrap()),
            health: Some(Box::new(HealthReport {
                status: HealthWord::Unhealthy,
                components: vec![Component {
                    name: "database".into(),
                    status: HealthWord::Unhealthy,
                    detail: Some("could not connect".into()),
                }],
            })),
        }
    }

    #[test]
    fn results_survive_the_wire_dated_by_receipt_minus_age() {
        let failures = FailureKind::ALL.map(|kind| Outcome::Fail(Failure::new(kind, "x")));
        for outcome in failures.into_iter().chain([Outcome::Pass, Outcome::Error("no".into())]) {
            let mut wire = result_to_wire(&result(outcome.clone()));
            wire.age_us = 5_000_000;
            let received = result_from_wire(wire, 4, &region(), Timestamp::from_secs(1_005)).unwrap();
            assert_eq!(received, Received { seq: 4, result: result(outcome), is_late: false, capture: None });
        }
    }

    #[test]
    fn one_invalid_result_does_not_spoil_its_batch() {
        let good = result_to_wire(&result(Outcome::Pass));
        let bad = v1::Result { monitor_id: vec![1, 2, 3], ..good.clone() };
        let results = vec![good.clone(), bad, good];
        let batch = v1::Results { agent_epoch: 1, first_seq: 10, results, canaries: 0 };
        let items: Vec<_> = results_from_wire(batch, &region(), Timestamp::EPOCH).collect();
        assert_eq!(items.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [10, 11, 12]);
        assert!(items[0].1.is_ok() && items[2].1.is_ok());
        let error = items[1].1.as_ref().unwrap_err();
        assert_eq!(error.to_string(), "results[1].monitor_id: must be 16 bytes");
    }

    #[test]
    fn results_of_an_earlier_boot_are_marked_and_never_from_the_future() {
        let now = Timestamp::from_secs(50);
        let stamp = super::super::timestamp_to_wire(Timestamp::from_secs(99));
        let wire = v1::Result { started_at: Some(stamp), ..result_to_wire(&result(Outcome::Pass)) };
        let received = result_from_wire(wire, 1, &region(), now).unwrap();
        assert!(received.is_late);
        assert_eq!(received.result.started_at, now);
    }

    #[test]
    fn texts_are_cut_and_cleared_of_control_characters() {
        let component = |n| v1::Component {
            name: format!("{n:03}{}", "n".repeat(999)),
            status: 1,
            detail: "a\u{1b}[31mb".into(),
        };
        let wire = v1::Result {
            detail: format!("x\r\n{}", "y".repeat(9_000)),
            health: Some(v1::HealthReport { status: 77, components: (0..500).map(component).collect() }),
            ..result_to_wire(&result(Outcome::Error(String::new())))
        };
        let result = result_from_wire(wire, 1, &region(), Timestamp::EPOCH).unwrap().result;
        let Outcome::Error(detail) = result.outcome else { panic!("{:?}", result.outcome) };
        assert_eq!(detail.chars().count(), Failure::MAX_DETAIL_CHARS);
        assert!(!detail.contains('\n'));
        let health = result.health.unwrap();
        assert_eq!((health.status, health.components.len()), (HealthWord::Other, MAX_COMPONENTS));
        assert_eq!(health.components[0].name.len(), MAX_NAME_CHARS);
        assert_eq!(health.components[0].detail.as_deref(), Some("a [31mb"));
    }

    #[test]
    fn refusals_name_the_field() {
        let good = result_to_wire(&result(Outcome::Fail(Failure::new(FailureKind::Dns, "x"))));
        for (wire, field) in [
            (v1::Result { outcome: 0, ..good.clone() }, "outcome"),
            (v1::Result { failure_kind: 0, ..good.clone() }, "failure_kind"),
            (v1::Result { http_status: 99, ..good.clone() }, "http_status"),
            (v1::Result { peer: vec![1; 5], ..good.clone() }, "peer"),
            (v1::Result { round: 0, ..good.clone() }, "round"),
            (v1::Result { duration_us: u64::MAX, ..good }, "duration_us"),
        ] {
            assert_eq!(result_from_wire(wire, 1, &region(), Timestamp::EPOCH).unwrap_err().field, field);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), now in any::<i64>()) {
            if let Ok(wire) = v1::Results::decode(&bytes[..]) {
                results_from_wire(wire, &region(), Timestamp::from_micros(now)).for_each(drop);
            }
        }

        #[test]
        fn arbitrary_fields_never_panic(
            (age_us, duration_us, now) in (any::<u64>(), 0..MAX_DURATION_US, any::<i64>()),
            (seconds, nanos) in (any::<i64>(), any::<i32>()),
            (outcome, failure_kind, word) in (-1..5_i32, -1..12_i32, -1..7_i32),
            (detail, peer) in (".{0,300}", proptest::collection::vec(any::<u8>(), 0..20)),
            stamped in any::<bool>(),
        ) {
            let wire = v1::Result {
                monitor_id: vec![1; 16], age_us, duration_us, outcome, failure_kind, peer,
                health: Some(v1::HealthReport {
                    status: word,
                    components: vec![v1::Component { name: detail.clone(), status: word, detail: detail.clone() }],
                }),
                detail,
                started_at: stamped.then_some(prost_types::Timestamp { seconds, nanos }),
                ..v1::Result::default()
            };
            let _ = result_from_wire(wire, u64::MAX, &region(), Timestamp::from_micros(now));
        }
    }
}
