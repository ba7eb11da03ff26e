//! Timelines as text.

pub(crate) mod heartbeat;
pub(crate) mod monitor;

use std::time::Duration;

use engine::Effect;
use engine::effect::{Evidence, RoundReason};
use engine::vote::{RowOutcome, VoteTable};
use model::Timestamp;

/// When every timeline begins.
pub(crate) const START: Timestamp = Timestamp::from_secs(1_700_000_000);

/// The lines of a timeline without indentation.
pub(crate) fn lines(script: &str) -> impl Iterator<Item = &str> {
    script.lines().map(str::trim).filter(|line| !line.is_empty())
}

/// `90s`, `1.5s`, `10m`, `25h` or `0`, also negative, as an offset from the start.
pub(crate) fn instant(text: &str) -> Timestamp {
    match text.strip_prefix('-') {
        Some(text) => START.minus(span(text)),
        None => START.plus(span(text)),
    }
}

pub(crate) fn span(text: &str) -> Duration {
    let unit = [("h", 3_600.0), ("m", 60.0), ("s", 1.0)]
        .into_iter()
        .find_map(|(unit, secs)| Some((text.strip_suffix(unit)?, secs)));
    let (number, secs) = unit.unwrap_or((text, 1.0));
    Duration::from_millis((number.parse::<f64>().unwrap() * secs * 1_000.0).round() as u64)
}

/// An instant as an offset from the start.
pub(crate) fn offset(at: Timestamp) -> String {
    let millis = (at.as_micros() - START.as_micros()) as f64 / 1_000_000.0;
    format!("t{}{}s", if millis < 0.0 { "" } else { "+" }, (millis * 1_000.0).round() / 1_000.0)
}

/// The rounds that were asked for, by their numbers, which rise but depend on the clock: shown counted from 1.
#[derive(Default)]
pub(crate) struct Rounds(Vec<u32>);

impl Rounds {
    fn count(&mut self, number: u32) -> usize {
        assert!(self.0.last().is_none_or(|last| *last < number), "round {number} after {:?}", self.0);
        self.0.push(number);
        self.0.len()
    }
}

/// Effects, one a line, indented; those of a deadline carry its time.
pub(crate) fn show(effects: &[Effect], deadline: Option<Timestamp>, rounds: &mut Rounds) -> String {
    let at = deadline.map(|at| format!("{} ", offset(at))).unwrap_or_default();
    effects.iter().map(|effect| format!("    {at}{}\n", line(effect, rounds))).collect()
}

fn line(effect: &Effect, rounds: &mut Rounds) -> String {
    match effect {
        Effect::Verify { round, why } => format!("verify, round {}: {}", rounds.count(*round), reason(why)),
        Effect::AskParents => "ask the monitors it depends on".to_owned(),
        Effect::MonitorStatus { from, to, reason } => format!("{from} → {to}: {reason}"),
        Effect::HeartbeatStatus { from, to, reason } => format!("{from} → {to}: {reason}"),
        Effect::Open(opening) => {
            format!(
                "OPEN {} from {} at {}: {}",
                opening.number,
                offset(opening.started_at),
                offset(opening.opened_at),
                opening.cause
            ) + &evidence(&opening.evidence)
        }
        Effect::Resolve { number, resolved_at, evidence: votes } => {
            format!("RESOLVE {number} at {}", offset(*resolved_at)) + &evidence(votes)
        }
        Effect::Close { number, at, reason } => format!("CLOSE {number} at {}: {reason:?}", offset(*at)),
        Effect::Record { number, text, .. } => format!("record in {number}: {text}"),
        Effect::Notice { text, .. } => format!("notice: {text}"),
        Effect::Quarantine { since } => format!("quarantine from {}", offset(*since)),
        Effect::Release => "release".to_owned(),
        Effect::RunEnded(run) => {
            let began = run.started_at.map_or_else(|| "unknown".to_owned(), offset);
            format!("run from {began} to {}: {:?}", offset(run.ended_at), run.outcome)
        }
    }
}

fn reason(why: &RoundReason) -> String {
    match why {
        RoundReason::Failed(region) => format!("{region} failed"),
        RoundReason::Slow(region) => format!("{region} hangs"),
        RoundReason::Passed(region) => format!("{region} passed"),
        RoundReason::Confirmation => "the confirmation period is over".to_owned(),
        RoundReason::Recovery => "it must be seen up again".to_owned(),
        RoundReason::Blind => "nothing could be seen for a while".to_owned(),
        RoundReason::PolicyChanged => "the policy changed".to_owned(),
        RoundReason::Maintenance => "the maintenance is over".to_owned(),
        RoundReason::Parents => "what it depends on is well again".to_owned(),
        RoundReason::Child => "a monitor that depends on it may be failing".to_owned(),
        RoundReason::Quarantine => "an agent is not believed any more".to_owned(),
    }
}

fn evidence(evidence: &Evidence) -> String {
    match evidence {
        Evidence::Votes(table) => format!("\n{}", rows(table).trim_end()),
        Evidence::Heartbeat(evidence) => {
            format!(" ({:?}, expected {})", evidence.kind, offset(evidence.expected_at))
        }
        Evidence::Probe(evidence) => format!(" ({} of {} monitors)", evidence.flipped, evidence.monitors),
        Evidence::Coverage(evidence) => format!(" ({} undecidable)", evidence.undecidable),
    }
}

/// A vote table, indented.
pub(crate) fn rows(table: &VoteTable) -> String {
    let mut text = format!("        {}; {}\n", table.policy, table.arithmetic);
    for row in &table.rows {
        let counted = if row.counted { "counted" } else { "not counted" };
        let outcome = match row.outcome {
            RowOutcome::None => "–".to_owned(),
            outcome => format!("{outcome:?} {}", row.detail).trim_end().to_owned(),
        };
        let started = row.started_at.map(|at| format!(" {}", offset(at))).unwrap_or_default();
        let failing: String =
            row.failing.iter().map(|component| format!(", {} fails", component.name)).collect();
        text += &format!("        {}{started} {outcome}: {counted}, {}{failing}\n", row.region, row.reason);
    }
    text
}
