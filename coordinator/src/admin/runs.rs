//! `Runs`: what heartbeats' jobs did.

use std::time::Duration;

use engine::effect::{RunLoss, RunOutcome};
use model::{HeartbeatId, RunId, Timestamp};
use proto::admin::v1 as wire;
use proto::admin::v1::runs_server::Runs;
use store::{RunPlace, RunQuery};
use tonic::{Request, Response, Status};

use super::Admin;
use super::convert::{instant, span};
use super::fields;
use super::invalid::Invalid;
use super::paging::{Filling, Page, Scope};
use super::refusal::{not_found, store_failed};
use crate::run::Run;

/// More than are ever kept of one heartbeat.
const ALL: u32 = 1_000;

#[tonic::async_trait]
impl Runs for Admin {
    async fn list_runs(
        &self,
        request: Request<wire::ListRunsRequest>,
    ) -> Result<Response<wire::ListRunsResponse>, Status> {
        let request = request.into_inner();
        let heartbeat = self.run_heartbeat(&request.heartbeat_id)?;
        let mut invalid = Invalid::default();
        let scope = Scope::new("runs", &[&heartbeat, &request.since]);
        let page: Page<(Timestamp, Option<RunId>)> =
            Page::read(scope, request.page_size, &request.page_token, &mut invalid);
        let since = fields::instant("since", request.since.as_ref(), &mut invalid);
        invalid.refuse()?;
        let since = since.unwrap_or(Timestamp::from_micros(i64::MIN));
        let runs = self.runs_of(RunQuery { since, ..all(heartbeat) }).await?;
        let summary = Some(summarize(&runs));
        let mut filling = Filling::new(page.size);
        let mut next_page_token = String::new();
        let mut last = None;
        for run in runs.iter().filter(|run| page.after.is_none_or(|after| place(run) < after)) {
            if !filling.add(answer(run)) {
                next_page_token = last.map_or_else(String::new, |place| page.token(&place));
                break;
            }
            last = Some(place(run));
        }
        Ok(Response::new(wire::ListRunsResponse { runs: filling.items, next_page_token, summary }))
    }

    async fn get_run(&self, request: Request<wire::GetRunRequest>) -> Result<Response<wire::Run>, Status> {
        let request = request.into_inner();
        let heartbeat = self.run_heartbeat(&request.heartbeat_id)?;
        let own: Option<RunId> = request.id.parse().ok();
        let runs = self.runs_of(RunQuery { run: own, ..all(heartbeat) }).await?;
        let is_asked_for = |run: &Run| match (request.id.as_str(), own) {
            ("", _) => !run.log.is_empty(),
            (_, Some(_)) => true,
            (asked, None) => id_of(place(run)) == asked,
        };
        let found = runs.into_iter().find(is_asked_for);
        let run = found.ok_or_else(|| match request.id.as_str() {
            "" => Status::not_found("no run of this heartbeat has a log"),
            asked => not_found("run", asked),
        })?;
        Ok(Response::new(wire::Run { log: run.log.clone(), ..answer(&run) }))
    }
}

impl Admin {
    fn run_heartbeat(&self, asked: &str) -> Result<HeartbeatId, Status> {
        let view = self.find_heartbeat(asked)?;
        view.definition.heartbeat().map(|(id, _)| id).ok_or_else(|| not_found("heartbeat", asked))
    }

    /// Newest first.
    async fn runs_of(&self, query: RunQuery) -> Result<Vec<Run>, Status> {
        let rows = self.store.runs(query).await.map_err(|error| store_failed(&error))?;
        let runs: Result<_, _> = rows.into_iter().map(Run::from_row).collect();
        runs.map_err(|error| store_failed(&error))
    }
}

const fn all(heartbeat: HeartbeatId) -> RunQuery {
    RunQuery { heartbeat, since: Timestamp::from_micros(i64::MIN), after: None, run: None, limit: ALL }
}

fn place(run: &Run) -> RunPlace {
    (run.started_at.or(run.ended_at).unwrap_or(Timestamp::EPOCH), run.id)
}

/// Unique within its heartbeat.
fn id_of((at, run): RunPlace) -> String {
    match run {
        Some(run) => format!("{}-{run}", at.as_micros()),
        None => at.as_micros().to_string(),
    }
}

/// A run without its log.
fn answer(run: &Run) -> wire::Run {
    let (outcome, exit_code, lost_because) = match run.outcome {
        None => (wire::RunOutcome::Running, None, ""),
        Some(RunOutcome::Succeeded { exit_code }) => (wire::RunOutcome::Succeeded, exit_code, ""),
        Some(RunOutcome::Failed { exit_code }) => (wire::RunOutcome::Failed, exit_code, ""),
        Some(RunOutcome::Lost(why)) => (wire::RunOutcome::Lost, None, lost_because(why)),
    };
    wire::Run {
        id: id_of(place(run)),
        heartbeat_id: run.heartbeat.to_string(),
        run_id: run.id.map(|id| id.to_string()).unwrap_or_default(),
        started_at: run.started_at.and_then(instant),
        ended_at: run.ended_at.and_then(instant),
        duration: run.duration().and_then(span),
        outcome: outcome.into(),
        exit_code: exit_code.map(u32::from),
        lost_because: lost_because.into(),
        log_bytes: u32::try_from(run.log.len()).unwrap_or(u32::MAX),
        log: vec![],
    }
}

const fn lost_because(why: RunLoss) -> &'static str {
    match why {
        RunLoss::TooLong => "it ran for longer than it may",
        RunLoss::Silent => "it did not say for too long that it lives",
        RunLoss::Replaced => "another run began, and neither has an id",
        RunLoss::Unheard => "it may have ended while nobody could hear",
        RunLoss::Forgotten => "too many runs began after it",
        RunLoss::Paused => "the heartbeat was paused",
    }
}

fn summarize(runs: &[Run]) -> wire::RunSummary {
    let mut summary = wire::RunSummary::default();
    for run in runs {
        let count = match run.outcome {
            None => &mut summary.running,
            Some(RunOutcome::Succeeded { .. }) => &mut summary.succeeded,
            Some(RunOutcome::Failed { .. }) => &mut summary.failed,
            Some(RunOutcome::Lost(_)) => &mut summary.lost,
        };
        *count += 1;
    }
    let mut durations: Vec<Duration> = runs.iter().filter_map(Run::duration).collect();
    durations.sort_unstable();
    let at_most = |percent| percentile(&durations, percent).and_then(span);
    wire::RunSummary { p50: at_most(50), p95: at_most(95), longest: at_most(100), ..summary }
}

/// The shortest of sorted times that so many of a hundred do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied()
}

#[cfg(test)]
mod tests;
