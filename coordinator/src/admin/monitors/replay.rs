//! `ReplayMonitor`: which incidents another policy would have made of what is recorded.
//!
//! In: a monitor, what to change in its policy, a span of the journal. Out: the incidents of the present and of the
//! other policy side by side, and where the present one's differ from those that really happened. Nothing is decided or
//! written; the owner of the shards does not notice. Memory and time are bounded: one replay at a time, so many results,
//! so many seconds.

mod recording;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use engine::monitor::Policy;
use engine::replay::{self, Change, Difference, Ended, Episode, Run};
use engine::{CloseReason, Evidence};
use model::{SubjectId, Timestamp};
use prost::Message as _;
use proto::admin::v1 as wire;
use store::{IncidentQuery, IncidentState, JOURNAL_RETENTION};
use tonic::Status;

use super::draft;
use crate::admin::Admin;
use crate::admin::convert::{instant, vote_table};
use crate::admin::fields;
use crate::admin::invalid::Invalid;
use crate::admin::refusal::{not_found, store_failed, unreadable};
use crate::definition::{Definition, MonitorDefinition};
use crate::incident::Incident;

use recording::Recording;

/// How far back is looked unless the request says.
const DEFAULT_SPAN: Duration = Duration::from_secs(24 * 3_600);
/// The longest a journal is read.
const READ_LIMIT: Duration = Duration::from_secs(30);
/// The least that is replayed before the span, so that the machine knows by then what it would have known.
const LEAD_IN: Duration = Duration::from_secs(300);
/// Moments of two policies that are no further apart are the same.
const SAME_WITHIN: Duration = Duration::from_secs(1);
/// The same between what was live and a replay: timers fire a little late live.
const REAL_WITHIN: Duration = Duration::from_secs(2);
/// The most incidents that an answer lists.
const MAX_LISTED: usize = 500;
/// Bytes of votes in either list of an answer.
const MAX_VOTE_BYTES: usize = 1 << 20;
/// Incidents of one query.
const INCIDENTS_PER_QUERY: u32 = 500;

/// What is replayed.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// The lead-in begins here.
    begin: Timestamp,
    since: Timestamp,
    until: Timestamp,
}

impl Admin {
    /// Replays a monitor.
    pub(super) async fn replay(
        &self,
        request: &wire::ReplayMonitorRequest,
    ) -> Result<wire::ReplayMonitorResponse, Status> {
        let (id, definition) = self.monitor_asked_for(&request.id)?;
        let (_, monitor) = definition.monitor().ok_or_else(|| not_found("monitor", &request.id))?;
        let present = monitor.policy();
        let tried = tried_policy(&definition, monitor, request, self.known(&self.settings.present()))?;
        let mut notes = vec![];
        let span = span(request, &definition, [&present, &tried], self.clock.now(), &mut notes)?;

        let turn = Arc::clone(&self.replays).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted("another replay is under way; try again in a few seconds")
        })?;
        let reading = recording::read(self.store.as_ref(), id, &present, span.begin, span.until);
        let recording = tokio::time::timeout(READ_LIMIT, reading).await.map_err(|_| {
            Status::deadline_exceeded(format!(
                "since: reading the journal took longer than {} seconds: choose a shorter span",
                READ_LIMIT.as_secs()
            ))
        })??;
        let real = self.real_incidents(SubjectId::Monitor(id), span).await?;
        let words = [&present, &tried].map(in_words);
        // Seconds of pure computation at worst, which must not hold up the threads that serve.
        let answer = tokio::task::spawn_blocking(move || {
            // Held to the end, though the caller may have gone.
            let _turn = turn;
            let runs =
                [&present, &tried].map(|policy| replay::run(&recording.tape, policy, span.begin, span.until));
            answer(span, &recording, &real, &runs, notes)
        });
        let answer = answer.await.map_err(|error| unreadable(format!("a replay ended: {error}")))?;
        let [present_policy, policy] = words;
        Ok(wire::ReplayMonitorResponse { present_policy, policy, ..answer })
    }

    /// The incidents that really happened, oldest first, from the one that was open when the span began.
    async fn real_incidents(&self, subject: SubjectId, span: Span) -> Result<Vec<Episode>, Status> {
        let mut episodes: Vec<Episode> = vec![];
        let mut after = None;
        loop {
            let query = IncidentQuery {
                subject: Some(subject),
                open_only: false,
                opened_since: None,
                after,
                limit: INCIDENTS_PER_QUERY,
            };
            let rows = self.store.list_incidents(&query).await.map_err(|error| store_failed(&error))?;
            for row in &rows {
                let incident =
                    Incident::from_row(row).ok_or_else(|| unreadable(format!("the body of {}", row.id)))?;
                if incident.opened_at <= span.until {
                    episodes.push(episode(incident, span.until));
                }
            }
            let last = rows.last().filter(|row| row.opened_at >= span.since);
            match last {
                Some(last) if rows.len() == INCIDENTS_PER_QUERY as usize => {
                    after = Some((last.opened_at, last.id));
                }
                _ => break,
            }
        }
        episodes.reverse();
        Ok(episodes)
    }
}

/// The monitor's policy with what the request changes in it.
fn tried_policy(
    definition: &Definition,
    monitor: &MonitorDefinition,
    request: &wire::ReplayMonitorRequest,
    known: draft::Known<'_>,
) -> Result<Policy, Status> {
    let asked = wire::Monitor {
        quorum: request.quorum.clone(),
        confirmation_period: request.confirmation_period,
        recovery_checks: request.recovery_checks,
        failure_threshold: request.failure_threshold,
        success_threshold: request.success_threshold,
        recovery_period: request.recovery_period,
        ..wire::Monitor::default()
    };
    let given = [
        ("quorum", !request.quorum.is_empty()),
        ("confirmation_period", request.confirmation_period.is_some()),
        ("recovery_checks", request.recovery_checks != 0),
        ("failure_threshold", request.failure_threshold != 0),
        ("success_threshold", request.success_threshold != 0),
        ("recovery_period", request.recovery_period.is_some()),
    ];
    let mask: Vec<&str> = given.into_iter().filter_map(|(field, given)| given.then_some(field)).collect();
    let (_, changed) = draft::changed(definition, monitor, &asked, &mask, known)?;
    Ok(changed.policy())
}

fn span(
    request: &wire::ReplayMonitorRequest,
    definition: &Definition,
    policies: [&Policy; 2],
    now: Timestamp,
    notes: &mut Vec<String>,
) -> Result<Span, Status> {
    let mut invalid = Invalid::default();
    let since = fields::instant("since", request.since.as_ref(), &mut invalid);
    let until = fields::instant("until", request.until.as_ref(), &mut invalid).unwrap_or(now).min(now);
    let since = since.unwrap_or_else(|| now.minus(DEFAULT_SPAN));
    let kept_since = now.minus(JOURNAL_RETENTION);
    if since >= until {
        invalid.add("since", "must be before until and before now");
    } else if until <= kept_since {
        let hours = JOURNAL_RETENTION.as_secs() / 3_600;
        invalid.add("until", format!("single results are kept for {hours} hours only"));
    }
    invalid.refuse()?;
    if since < kept_since {
        notes.push(format!(
            "single results are kept for {} hours: what was before is not replayed",
            JOURNAL_RETENTION.as_secs() / 3_600
        ));
    }
    let oldest = kept_since.max(definition.created_at);
    let lead_in = policies.iter().map(|policy| lead_in(policy)).max().unwrap_or(LEAD_IN);
    let since = since.max(oldest.min(until));
    Ok(Span { begin: since.minus(lead_in).max(oldest).min(since), since, until })
}

/// As many looks from everywhere as a decision needs, and what it waits for.
fn lead_in(policy: &Policy) -> Duration {
    let rows = u32::from(policy.thresholds.failures.max(policy.thresholds.passes).max(1));
    let looks = policy.freshness().saturating_mul(1 + rows);
    let waits = policy.confirmation_period.saturating_add(policy.thresholds.recovery_period);
    LEAD_IN.saturating_add(looks).saturating_add(waits)
}

/// A policy for people.
fn in_words(policy: &Policy) -> String {
    let secs = |span: Duration| span.as_secs_f64();
    let thresholds = &policy.thresholds;
    let mut words = vec![policy.quorum.describe()];
    if !policy.confirmation_period.is_zero() {
        words.push(format!("confirmed for {} s", secs(policy.confirmation_period)));
    }
    if thresholds.failures > 1 {
        words.push(format!("{} failures in a row", thresholds.failures));
    }
    if thresholds.passes > 1 {
        words.push(format!("{} passes in a row", thresholds.passes));
    }
    words.push(match policy.recovery_checks.max(1) {
        1 => "1 recovery check".to_owned(),
        checks => format!("{checks} recovery checks"),
    });
    if !thresholds.recovery_period.is_zero() {
        words.push(format!("recovered for {} s", secs(thresholds.recovery_period)));
    }
    words.join("; ")
}

fn episode(incident: Incident, until: Timestamp) -> Episode {
    let votes = |evidence: Evidence| match evidence {
        Evidence::Votes(table) => Some(table),
        Evidence::Heartbeat(_) | Evidence::Probe(_) | Evidence::Coverage(_) => None,
    };
    let is_closed = incident.state == IncidentState::Closed;
    Episode {
        started_at: incident.started_at,
        opened_at: incident.opened_at,
        ended_at: incident.resolved_at.filter(|at| *at <= until),
        closed: incident.body.closed_reason.filter(|_| is_closed),
        cause: incident.body.cause,
        opening: votes(incident.body.opening),
        closing: incident.body.closing.and_then(votes),
        is_approximate: false,
    }
}

fn answer(
    span: Span,
    recording: &Recording,
    real: &[Episode],
    [present, tried]: &[Run; 2],
    mut notes: Vec<String>,
) -> wire::ReplayMonitorResponse {
    let results = recording.tape.results();
    if results == 0 {
        notes.push("no results of this monitor are recorded in this time".to_owned());
    }
    if recording.left_out > 0 {
        notes.push(format!(
            "{} results followed an earlier target, interval, timeout or set of regions: they are left out",
            recording.left_out
        ));
    }
    if let Some(at) = recording.changed_at {
        notes.push(format!(
            "the policy was last changed at {at}: what really happened before followed another"
        ));
    }
    if tried.inferred_rounds > 0 {
        notes.push(format!(
            "{} of {} rounds that this policy asks for were not run at the time: their answers are inferred from the \
             checks before and after; incidents that rest on them are approximate",
            tried.inferred_rounds, tried.rounds
        ));
    }
    let incidents = replay::compare(&present.episodes, &tried.episodes, span.since, SAME_WITHIN);
    let mut departures = replay::compare(real, &present.episodes, span.since, REAL_WITHIN);
    departures.retain(|departure| departure.change != Change::Same);
    wire::ReplayMonitorResponse {
        since: instant(span.since),
        until: instant(span.until),
        incidents: listed(&incidents, "incidents", &mut notes),
        departures: listed(&departures, "departures", &mut notes),
        results: results as u64,
        notes,
        ..wire::ReplayMonitorResponse::default()
    }
}

fn listed(
    differences: &[Difference<'_>],
    what: &str,
    notes: &mut Vec<String>,
) -> Vec<wire::ReplayDifference> {
    if differences.len() > MAX_LISTED {
        notes.push(format!("only the first {MAX_LISTED} of {} {what} are listed", differences.len()));
    }
    let mut room = MAX_VOTE_BYTES;
    let within_room = |difference: wire::ReplayDifference| {
        room = room.saturating_sub(difference.encoded_len());
        if room > 0 { difference } else { without_votes(difference) }
    };
    differences.iter().take(MAX_LISTED).map(difference).map(within_room).collect()
}

fn difference(difference: &Difference<'_>) -> wire::ReplayDifference {
    let change = match difference.change {
        Change::Same => wire::ReplayChange::Same,
        Change::Added => wire::ReplayChange::Added,
        Change::Removed => wire::ReplayChange::Removed,
        Change::Earlier => wire::ReplayChange::Earlier,
        Change::Later => wire::ReplayChange::Later,
    };
    let incident = |episode: &Episode| replayed(episode, difference.change != Change::Same);
    wire::ReplayDifference {
        change: change.into(),
        before: difference.first.map(incident),
        after: difference.second.map(incident),
        opened_by: signed_span(difference.opened_by),
        ended_by: match difference.ended {
            Ended::By(micros) => signed_span(micros),
            Ended::NoLonger | Ended::Newly => None,
        },
    }
}

fn without_votes(mut difference: wire::ReplayDifference) -> wire::ReplayDifference {
    for incident in [&mut difference.before, &mut difference.after].into_iter().flatten() {
        incident.opening_votes = None;
    }
    difference
}

fn replayed(episode: &Episode, with_votes: bool) -> wire::ReplayedIncident {
    let resolution = match (episode.ended_at, episode.closed) {
        (None, _) => "",
        (Some(_), None) => "recovered",
        (Some(_), Some(CloseReason::Paused)) => "paused",
        (Some(_), Some(CloseReason::Deleted)) => "deleted",
    };
    wire::ReplayedIncident {
        started_at: instant(episode.started_at),
        opened_at: instant(episode.opened_at),
        ended_at: episode.ended_at.and_then(instant),
        resolution: resolution.into(),
        cause: episode.cause.clone(),
        opening_votes: episode.opening.as_ref().filter(|_| with_votes).map(vote_table),
        approximate: episode.is_approximate,
    }
}

/// None for no shift at all.
fn signed_span(micros: i64) -> Option<prost_types::Duration> {
    let nanos = i32::try_from(micros % 1_000_000 * 1_000).unwrap_or(0);
    (micros != 0).then_some(prost_types::Duration { seconds: micros / 1_000_000, nanos })
}
