//! `vigilctl heartbeat runs` and `log`: what a job did, and what it had to say.

use clap::Args;
use model::{Clock as _, Timestamp};
use proto::admin::v1::{GetRunRequest, ListRunsRequest, Run, RunOutcome, RunSummary};

use crate::exit::Failure;
use crate::moment::Moment;
use crate::noun::{Context, all, client};
use crate::output::{Cell, Listed, enum_word, print};
use crate::{duration, moment};

/// Arguments of `runs`.
#[derive(Debug, Args)]
pub(crate) struct Runs {
    /// Id or name
    heartbeat: String,
    /// Oldest: a span before now, or RFC 3339 [default: all that are kept]
    #[arg(long, value_parser = Moment::parse, value_name = "WHEN")]
    since: Option<Moment>,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    limit: u32,
}

/// Arguments of `log`.
#[derive(Debug, Args)]
pub(crate) struct Log {
    /// Id or name
    heartbeat: String,
    /// Its id, or the job's own id for it [default: the newest run that has a log]
    run: Option<String>,
}

/// Lists runs, and for people how long they take.
pub(super) async fn list(runs: &Runs, context: &Context) -> Result<(), Failure> {
    let client = client!(context, runs_client::RunsClient);
    let now = context.clock.now();
    let mut summary = None;
    let list = all(Some(runs.limit), async |page_size, page_token| {
        let request = ListRunsRequest {
            heartbeat_id: runs.heartbeat.clone(),
            since: runs.since.map(|since| since.to_wire(now)),
            page_size,
            page_token,
        };
        let answer = client.clone().list_runs(request).await?.into_inner();
        summary = answer.summary;
        Ok((answer.runs, answer.next_page_token))
    });
    let list = list.await?;
    print(&context.output.list(&list, now)?)?;
    match summary.filter(|_| !list.is_empty()) {
        Some(summary) => context.output.footer(&summary_text(&summary)),
        None => Ok(()),
    }
}

/// Writes a run's log as the job sent it.
pub(super) async fn log(log: Log, context: &Context) -> Result<(), Failure> {
    let request = GetRunRequest { heartbeat_id: log.heartbeat, id: log.run.unwrap_or_default() };
    let run = client!(context, runs_client::RunsClient).get_run(request).await?.into_inner();
    context.output.text(&run, &String::from_utf8_lossy(&run.log))
}

impl Listed for Run {
    const COLUMNS: &'static [&'static str] = &["BEGAN", "TOOK", "OUTCOME", "EXIT", "LOG", "RUN", "ID"];

    fn row(&self, now: Timestamp) -> Vec<Cell> {
        let began = self.started_at.as_ref().or(self.ended_at.as_ref());
        vec![
            Cell::text(moment::relative(began, now)),
            Cell::text(duration::measured(self.duration.as_ref())),
            Cell::state(outcome(self)),
            Cell::text(self.exit_code.map(|code| code.to_string()).unwrap_or_default()),
            Cell::text(if self.log_bytes == 0 { String::new() } else { format!("{} B", self.log_bytes) }),
            Cell::text(&self.run_id),
            Cell::text(&self.id),
        ]
    }
}

fn outcome(run: &Run) -> String {
    let word = enum_word(run.outcome().as_str_name(), RunOutcome::Unspecified.as_str_name());
    if run.lost_because.is_empty() { word } else { format!("{word}: {}", run.lost_because) }
}

fn summary_text(summary: &RunSummary) -> String {
    let counts = [
        (summary.succeeded, "succeeded"),
        (summary.failed, "failed"),
        (summary.lost, "lost"),
        (summary.running, "running"),
    ];
    let mut parts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    for (span, word) in [(&summary.p50, "p50"), (&summary.p95, "p95"), (&summary.longest, "longest")] {
        if span.is_some() {
            parts.push(format!("{word} {}", duration::measured(span.as_ref())));
        }
    }
    parts.join(", ")
}
