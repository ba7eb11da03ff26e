//! `vigilctl monitor replay`: what another policy would have made of what is recorded.

use std::time::Duration;

use clap::Args;
use model::{Clock, Timestamp};
use proto::admin::v1::{
    ReplayChange, ReplayDifference, ReplayMonitorRequest, ReplayMonitorResponse, ReplayedIncident,
};

use crate::duration;
use crate::exit::Failure;
use crate::moment::{self, Moment};
use crate::noun::{Context, client};
use crate::output::{Cell, Described, Sheet, Table, enum_word, print};

/// Arguments of `replay`.
#[derive(Debug, Args)]
#[command(after_help = NOTE)]
pub(crate) struct Replay {
    /// Id or name
    monitor: String,
    /// The quorum to try, as for `--quorum`: any, majority, all, at_least:K … [default: the monitor's]
    #[arg(long, value_name = "QUORUM")]
    policy: Option<String>,
    /// How long the regions must agree before an incident opens [default: the monitor's]
    #[arg(long, value_parser = duration::parse, value_name = "DURATION")]
    confirmation_period: Option<Duration>,
    /// Rounds that must pass before an incident is resolved [default: the monitor's]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    recovery_checks: Option<u32>,
    /// Failing checks in a row that make a region's failure count [default: the monitor's]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    failure_threshold: Option<u32>,
    /// Passing checks in a row that end a region's failure [default: the monitor's]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    success_threshold: Option<u32>,
    /// How long a recovery must last before an incident is resolved [default: the monitor's]
    #[arg(long, value_parser = duration::parse, value_name = "DURATION")]
    recovery_period: Option<Duration>,
    /// Oldest: a span before now, or RFC 3339 [default: 24h]
    #[arg(long, value_parser = Moment::parse, value_name = "WHEN")]
    since: Option<Moment>,
    /// Newest: a span before now, or RFC 3339 [default: now]
    #[arg(long, value_parser = Moment::parse, value_name = "WHEN")]
    until: Option<Moment>,
}

const NOTE: &str = "\
Recorded results vote as they did, whatever they were measured for. Where this policy would have asked the regions and
nobody did, a region answers what its checks before and after agree on; incidents that rest on that are marked
approximate. Single results are kept for 48 hours. A replay over many monitors' records takes a while: put
`--timeout 40s` before the noun.";

/// Replays and shows what differs.
pub(super) async fn run(replay: Replay, context: &Context) -> Result<(), Failure> {
    let now = context.clock.now();
    let request = ReplayMonitorRequest {
        id: replay.monitor,
        quorum: replay.policy.unwrap_or_default(),
        confirmation_period: replay.confirmation_period.map(duration::to_wire),
        recovery_checks: replay.recovery_checks.unwrap_or_default(),
        failure_threshold: replay.failure_threshold.unwrap_or_default(),
        success_threshold: replay.success_threshold.unwrap_or_default(),
        recovery_period: replay.recovery_period.map(duration::to_wire),
        since: replay.since.map(|since| since.to_wire(now)),
        until: replay.until.map(|until| until.to_wire(now)),
    };
    let mut monitors = client!(context, monitors_client::MonitorsClient);
    let answer = monitors.replay_monitor(request).await?.into_inner();
    print(&context.output.one(&answer, now)?)
}

impl Described for ReplayMonitorResponse {
    fn sheet(&self, now: Timestamp) -> Sheet {
        let notes = self.notes.iter().map(|note| vec![Cell::text(note)]).collect();
        Sheet::default()
            .field("present", &self.present_policy)
            .field("tried", &self.policy)
            .field("since", moment::both(self.since.as_ref(), now))
            .field("until", moment::both(self.until.as_ref(), now))
            .field("results", self.results.to_string())
            .field("difference", sum(&self.incidents))
            .part("incidents (UTC)", table(&self.incidents))
            .part(
                "the present policy replayed, where that differs from what really happened (UTC)",
                table(&self.departures),
            )
            .part("notes", Table { headers: &[""], rows: notes })
    }
}

/// `1 added, 2 later, 3 the same`, or plainly that there is no difference.
fn sum(incidents: &[ReplayDifference]) -> String {
    let count = |change| incidents.iter().filter(|it| it.change() == change).count();
    let same = count(ReplayChange::Same);
    if same == incidents.len() {
        return match same {
            0 => "none: no incident with either policy".to_owned(),
            1 => "none: the same incident with both policies".to_owned(),
            _ => format!("none: the same {same} incidents with both policies"),
        };
    }
    let kinds = [ReplayChange::Added, ReplayChange::Removed, ReplayChange::Earlier, ReplayChange::Later];
    let kinds = kinds.map(|change| (count(change), word(change)));
    let counts = kinds.into_iter().chain([(same, "the same".to_owned())]);
    let counts = counts.filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}"));
    counts.collect::<Vec<_>>().join(", ")
}

fn word(change: ReplayChange) -> String {
    enum_word(change.as_str_name(), ReplayChange::Unspecified.as_str_name())
}

fn table(differences: &[ReplayDifference]) -> Table {
    Table {
        headers: &["CHANGE", "STARTED", "OPENED", "ENDED", "BY", "CAUSE"],
        rows: differences.iter().filter_map(row).collect(),
    }
}

fn row(difference: &ReplayDifference) -> Option<Vec<Cell>> {
    let incident = difference.after.as_ref().or(difference.before.as_ref())?;
    let sides = [&difference.before, &difference.after];
    let approximate = sides.into_iter().flatten().any(|side| side.approximate);
    let mark = if approximate { " (approximate)" } else { "" };
    let ended = match incident.ended_at.as_ref() {
        None => "still open".to_owned(),
        ended => moment::absolute(ended),
    };
    Some(vec![
        Cell::text(word(difference.change()) + mark),
        Cell::text(moment::absolute(incident.started_at.as_ref())),
        Cell::text(moment::absolute(incident.opened_at.as_ref())),
        Cell::text(ended),
        Cell::text(shift(difference)),
        Cell::text(&incident.cause),
    ])
}

/// `opens 12s later, ends 40s earlier`; nothing if neither moves.
fn shift(difference: &ReplayDifference) -> String {
    let mut parts = vec![];
    if let Some(by) = &difference.opened_by {
        parts.push(format!("opens {}", moved(by)));
    }
    let has_end = |side: &Option<ReplayedIncident>| side.as_ref().map(|it| it.ended_at.is_some());
    match (&difference.ended_by, has_end(&difference.before), has_end(&difference.after)) {
        (Some(by), ..) => parts.push(format!("ends {}", moved(by))),
        (None, Some(true), Some(false)) => parts.push("does not end any more".to_owned()),
        (None, Some(false), Some(true)) => parts.push("ends now".to_owned()),
        _ => {}
    }
    parts.join(", ")
}

/// To a tenth of a second: finer would pretend to know more than checks can tell.
fn moved(by: &prost_types::Duration) -> String {
    let cut = prost_types::Duration { seconds: by.seconds, nanos: by.nanos - by.nanos % 100_000_000 };
    let text = duration::wire_text(&cut);
    match text.strip_prefix('-') {
        Some(text) => format!("{text} earlier"),
        None => format!("{text} later"),
    }
}
