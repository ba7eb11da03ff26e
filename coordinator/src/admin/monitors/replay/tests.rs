//! Replays of what a real owner of the shards has heard and committed.

use std::ops::Range;
use std::time::Duration;

use model::{AgentId, CheckResult, Failure, FailureKind, MonitorId, Outcome, Phases, RegionId};
use proto::admin::v1 as wire;
use proto::admin::v1::monitors_server::Monitors;
use tokio::sync::mpsc;
use tonic::{Code, Request};

use crate::admin::bench::{Bench, monitor, refused, said, secs};
use crate::shard::{Input, ResultBatch, ResultItem};

const REGIONS: [&str; 3] = ["ap", "eu", "us"];
/// A longer step of the clock would be taken for a freeze of the machine.
const STEP: Duration = Duration::from_secs(2);

struct Played {
    bench: Bench,
    monitor: wire::Monitor,
    seq: u64,
}

impl Played {
    async fn start() -> Self {
        let bench = Bench::with_regions(&REGIONS).await;
        for region in REGIONS {
            let region = RegionId::new(region).unwrap();
            bench.admin.shards.tell(Input::RegionLive { region, live: true }).await;
        }
        let shop =
            wire::Monitor { interval: secs(10), timeout: secs(1), ..monitor("http://shop.example/health") };
        let monitor = bench.create(shop).await.unwrap();
        Self { bench, monitor, seq: 0 }
    }

    /// Lets all regions report every two seconds, so many times, those in `failing` a 503.
    async fn reports(&mut self, count: usize, failing: Range<usize>) {
        for _ in 0..count {
            for (index, region) in REGIONS.iter().enumerate() {
                self.report(index, region, failing.contains(&index)).await;
            }
            self.bench.clock.advance(STEP);
        }
    }

    async fn report(&mut self, index: usize, region: &str, fails: bool) {
        let now = self.bench.admin.clock.now();
        self.seq += 1;
        let failure = || Failure::new(FailureKind::Status, "503 Service Unavailable");
        let id: MonitorId = self.monitor.id.parse().unwrap();
        let result = CheckResult {
            monitor: id,
            spec_revision: self.monitor.spec_revision,
            region: RegionId::new(region).unwrap(),
            slot: i64::try_from(self.seq).unwrap(),
            attempt: 0,
            round: 0,
            started_at: now.minus(Duration::from_millis(20)),
            duration: Duration::from_millis(20),
            outcome: if fails { Outcome::Fail(failure()) } else { Outcome::Pass },
            phases: Phases::default(),
            http_status: None,
            peer: None,
            health: None,
        };
        let (acks, mut acked) = mpsc::unbounded_channel();
        let batch = ResultBatch {
            agent: AgentId::from_bytes([u8::try_from(index).unwrap(); 16]),
            agent_epoch: 1,
            received_at: now,
            items: vec![ResultItem { seq: self.seq, result: Some(result), is_late: false, capture: None }],
            acks,
        };
        self.bench.admin.shards.results(batch).await;
        acked.recv().await.unwrap();
    }

    async fn replay(
        &self,
        change: impl FnOnce(&mut wire::ReplayMonitorRequest),
    ) -> wire::ReplayMonitorResponse {
        let mut request = wire::ReplayMonitorRequest { id: self.monitor.id.clone(), ..Default::default() };
        change(&mut request);
        said(self.bench.admin.replay_monitor(Request::new(request)).await)
    }
}

fn changes(differences: &[wire::ReplayDifference]) -> Vec<wire::ReplayChange> {
    differences.iter().map(wire::ReplayDifference::change).collect()
}

#[tokio::test]
async fn another_quorum_adds_what_one_region_saw_and_removes_what_one_did_not_see() {
    let mut played = Played::start().await;
    played.reports(20, 0..0).await;
    played.reports(10, 0..1).await;
    played.reports(30, 0..0).await;
    played.reports(10, 1..3).await;
    played.reports(30, 0..0).await;

    let present = played.replay(|_| {}).await;
    assert_eq!(changes(&present.incidents), [wire::ReplayChange::Same], "{present:?}");
    assert_eq!(present.departures, [], "the records make of it what happened");
    assert_eq!((present.results, present.present_policy == present.policy), (300, true));

    let any = played.replay(|request| request.quorum = "any".into()).await;
    assert_eq!(any.policy, "any: 1 of 3 regions; 2 recovery checks");
    let added = any.incidents.first().unwrap();
    assert_eq!((added.change(), added.before.as_ref()), (wire::ReplayChange::Added, None));
    let incident = added.after.as_ref().unwrap();
    assert_eq!(incident.cause, "503 Service Unavailable from ap");
    assert_eq!(incident.resolution, "recovered");
    assert!(incident.opening_votes.as_ref().is_some_and(|table| table.votes.len() == 3));

    let all = played.replay(|request| request.quorum = "all".into()).await;
    assert_eq!(changes(&all.incidents), [wire::ReplayChange::Removed]);
    let patient = played.replay(|request| request.confirmation_period = secs(3_600)).await;
    assert_eq!(changes(&patient.incidents), [wire::ReplayChange::Removed]);
    let careful = played.replay(|request| request.recovery_checks = 3).await;
    assert_eq!(changes(&careful.incidents), [wire::ReplayChange::Later]);
    assert!(careful.incidents[0].opened_by.is_none() && careful.incidents[0].ended_by.unwrap().seconds >= 9);
}

#[tokio::test]
async fn pauses_blindness_and_regions_that_leave_are_replayed_as_they_were() {
    let mut played = Played::start().await;
    played.reports(10, 0..0).await;
    played.reports(10, 0..3).await;
    let id = played.monitor.id.clone();
    said(played.bench.admin.pause_monitor(Request::new(wire::PauseMonitorRequest { id: id.clone() })).await);
    played.reports(5, 0..3).await;
    said(played.bench.admin.resume_monitor(Request::new(wire::ResumeMonitorRequest { id })).await);
    played.reports(10, 1..3).await;
    let region = RegionId::new("us").unwrap();
    played.bench.admin.shards.tell(Input::RegionLive { region, live: false }).await;
    played.bench.clock.advance(Duration::from_secs(60));
    played.reports(10, 1..3).await;

    let present = played.replay(|_| {}).await;
    assert_eq!(changes(&present.incidents), [wire::ReplayChange::Same; 2], "{present:?}");
    assert_eq!(present.departures, []);
    let ends: Vec<_> =
        present.incidents.iter().map(|it| it.after.as_ref().unwrap().resolution.as_str()).collect();
    assert_eq!(ends, ["paused", ""]);
}

#[tokio::test]
async fn what_the_records_cannot_tell_is_said() {
    let mut played = Played::start().await;
    played.reports(10, 0..3).await;
    let id = played.monitor.id.clone();
    let quorum = wire::Monitor { id: id.clone(), quorum: "all".into(), ..wire::Monitor::default() };
    played.bench.update(quorum, &["quorum"]).await.unwrap();
    let interval = wire::Monitor { id: id.clone(), interval: secs(20), ..wire::Monitor::default() };
    played.monitor = played.bench.update(interval, &["interval"]).await.unwrap();
    let now = played.bench.admin.clock.now();
    let long_ago = prost_types::Timestamp { seconds: now.as_secs() - 49 * 3_600, nanos: 0 };
    let answer = played.replay(|request| request.since = Some(long_ago)).await;
    let notes = answer.notes.join("\n");
    for part in [
        "kept for 48 hours",
        "no results",
        "30 results followed an earlier target",
        "the policy was last changed at",
    ] {
        assert!(notes.contains(part), "{part}: {notes}");
    }
    // The incident of the earlier specification is real, and no record of the present one says why.
    assert_eq!(changes(&answer.departures), [wire::ReplayChange::Removed]);
}

#[tokio::test]
async fn wrong_requests_are_refused_by_the_field() {
    let played = Played::start().await;
    let now = played.bench.admin.clock.now().as_secs();
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let request = || wire::ReplayMonitorRequest { id: played.monitor.id.clone(), ..Default::default() };
    for (wrong, field) in [
        (wire::ReplayMonitorRequest { quorum: "most".into(), ..request() }, "quorum"),
        (wire::ReplayMonitorRequest { quorum: "at_least:4".into(), ..request() }, "quorum"),
        (wire::ReplayMonitorRequest { confirmation_period: secs(-1), ..request() }, "confirmation_period"),
        (wire::ReplayMonitorRequest { recovery_checks: 21, ..request() }, "recovery_checks"),
        (wire::ReplayMonitorRequest { failure_threshold: 65_537, ..request() }, "failure_threshold"),
        (wire::ReplayMonitorRequest { since: at(now + 5), ..request() }, "since"),
        (wire::ReplayMonitorRequest { since: at(0), until: at(now - 200_000), ..request() }, "until"),
    ] {
        let answer = played.bench.admin.replay_monitor(Request::new(wrong)).await;
        assert_eq!(refused(answer), (Code::InvalidArgument, vec![field.to_owned()]));
    }
    let nobody = wire::ReplayMonitorRequest { id: "nobody".into(), ..Default::default() };
    let answer = played.bench.admin.replay_monitor(Request::new(nobody)).await;
    assert_eq!(answer.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_second_replay_waits_for_its_turn_outside() {
    let played = Played::start().await;
    let turn = played.bench.admin.replays.try_acquire().unwrap();
    let request =
        || Request::new(wire::ReplayMonitorRequest { id: played.monitor.id.clone(), ..Default::default() });
    let answer = played.bench.admin.replay_monitor(request()).await;
    assert_eq!(answer.unwrap_err().code(), Code::ResourceExhausted);
    drop(turn);
    said(played.bench.admin.replay_monitor(request()).await);
}
