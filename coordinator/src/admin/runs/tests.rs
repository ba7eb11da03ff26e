//! The service as its callers see it, with runs that real pings tell of.

use engine::heartbeat::PingKind;
use model::SubjectId;
use store::journal::HeardPing;
use tonic::Code;

use super::*;
use crate::admin::bench::{Bench, refused, said};

/// A bench with a job, and the way to let it ping.
struct Job {
    bench: Bench,
    id: HeartbeatId,
}

impl Job {
    async fn start() -> Self {
        let bench = Bench::start().await;
        let id = bench.heartbeat("job").await.id.parse().unwrap();
        Self { bench, id }
    }

    /// Pings, and lets some seconds pass.
    async fn ping(&self, kind: PingKind, run: Option<u8>, body: &str, seconds: u64) {
        let at = self.bench.admin.clock.now();
        let run = run.map(|byte| RunId::from_bytes([byte; 16]));
        let heard = HeardPing { run, body: body.into(), ..HeardPing::new(self.id, kind, at) };
        self.bench.admin.shards.ping(heard).await.unwrap();
        for _ in 0..seconds {
            self.bench.clock.advance(Duration::from_secs(1));
            // A turn: a coordinator that does nothing for three seconds could not have heard anything.
            self.bench.admin.shards.inspect(SubjectId::Heartbeat(self.id)).await;
        }
    }

    async fn list(&self) -> wire::ListRunsResponse {
        self.page(0, String::new()).await
    }

    async fn page(&self, page_size: i32, page_token: String) -> wire::ListRunsResponse {
        let request =
            wire::ListRunsRequest { heartbeat_id: "job".into(), page_size, page_token, since: None };
        said(self.bench.admin.list_runs(Request::new(request)).await)
    }

    async fn get(&self, id: &str) -> Result<wire::Run, Status> {
        let request = wire::GetRunRequest { heartbeat_id: "job".into(), id: id.into() };
        self.bench.admin.get_run(Request::new(request)).await.map(Response::into_inner)
    }
}

/// Outcome, exit code, seconds it took and bytes of its log.
fn told(run: &wire::Run) -> (wire::RunOutcome, Option<u32>, Option<i64>, u32) {
    (run.outcome(), run.exit_code, run.duration.map(|span| span.seconds), run.log_bytes)
}

#[tokio::test]
async fn a_run_is_followed_from_its_start_to_its_end() {
    let job = Job::start().await;
    job.ping(PingKind::Start, None, "", 30).await;
    assert_eq!(told(&job.list().await.runs[0]), (wire::RunOutcome::Running, None, None, 0));
    job.ping(PingKind::Exit(3), None, "disk full", 10).await;
    let runs = job.list().await.runs;
    assert_eq!(runs.len(), 1);
    assert_eq!(told(&runs[0]), (wire::RunOutcome::Failed, Some(3), Some(30), 9));
    assert_eq!(
        (runs[0].log.is_empty(), job.get(&runs[0].id).await.unwrap().log),
        (true, b"disk full".to_vec())
    );
}

#[tokio::test]
async fn runs_that_overlap_are_told_apart_by_their_ids() {
    let job = Job::start().await;
    job.ping(PingKind::Start, Some(1), "", 10).await;
    job.ping(PingKind::Start, Some(2), "", 10).await;
    job.ping(PingKind::Log, Some(1), "half way", 10).await;
    job.ping(PingKind::Success, Some(1), "", 10).await;
    job.ping(PingKind::Success, Some(2), "done", 10).await;
    let runs: Vec<_> = job.list().await.runs.iter().map(told).collect();
    let succeeded = wire::RunOutcome::Succeeded;
    assert_eq!(runs, [(succeeded, None, Some(30), 4), (succeeded, None, Some(30), 8)]);
    let first = RunId::from_bytes([1; 16]).to_string();
    assert_eq!(job.get(&first).await.unwrap().log, b"half way");
}

#[tokio::test]
async fn plain_successes_leave_no_row_and_those_with_something_to_tell_do() {
    let job = Job::start().await;
    for (kind, run, body) in [
        (PingKind::Success, None, ""),
        (PingKind::Log, None, "a line"),
        (PingKind::Success, None, "done"),
        (PingKind::Exit(0), None, ""),
        (PingKind::Success, Some(1), ""),
        (PingKind::Success, None, ""),
    ] {
        job.ping(kind, run, body, 1).await;
    }
    let runs: Vec<_> = job.list().await.runs.iter().map(told).collect();
    let succeeded = wire::RunOutcome::Succeeded;
    assert_eq!(runs, [(succeeded, None, None, 0), (succeeded, Some(0), None, 0), (succeeded, None, None, 4)]);
    assert_eq!(job.get("").await.unwrap().log, b"done", "the newest that has a log");
}

#[tokio::test]
async fn a_run_that_is_replaced_is_lost_and_keeps_its_log() {
    let job = Job::start().await;
    job.ping(PingKind::Start, None, "", 10).await;
    job.ping(PingKind::Log, None, "half way", 10).await;
    job.ping(PingKind::Start, None, "", 10).await;
    let runs = job.list().await.runs;
    assert_eq!(told(&runs[0]), (wire::RunOutcome::Running, None, None, 0));
    assert_eq!(told(&runs[1]), (wire::RunOutcome::Lost, None, None, 8));
    assert_eq!(runs[1].lost_because, "another run began, and neither has an id");
}

#[tokio::test]
async fn pages_neither_repeat_nor_skip_and_the_summary_is_of_all() {
    let job = Job::start().await;
    for seconds in 1..=20 {
        job.ping(PingKind::Start, None, "", seconds).await;
        job.ping(if seconds == 20 { PingKind::Fail } else { PingKind::Success }, None, "", 1).await;
    }
    let whole = job.list().await;
    let mut walked = vec![];
    let mut token = String::new();
    loop {
        let page = job.page(7, token).await;
        assert_eq!(page.summary, whole.summary);
        walked.extend(page.runs);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((walked.len(), &walked), (20, &whole.runs));
    let summary = whole.summary.unwrap();
    let seconds = |span: Option<prost_types::Duration>| span.unwrap().seconds;
    assert_eq!((summary.succeeded, summary.failed, summary.running, summary.lost), (19, 1, 0, 0));
    assert_eq!((seconds(summary.p50), seconds(summary.p95), seconds(summary.longest)), (10, 19, 20));
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let job = Job::start().await;
    assert_eq!(job.list().await.summary, Some(wire::RunSummary::default()));
    for id in ["", "17", "123e4567-e89b-42d3-a456-426614174000"] {
        assert_eq!(refused(job.get(id).await).0, Code::NotFound, "{id}");
    }
    let request = wire::ListRunsRequest { heartbeat_id: "nobody".into(), ..wire::ListRunsRequest::default() };
    assert_eq!(refused(job.bench.admin.list_runs(Request::new(request)).await).0, Code::NotFound);
}
