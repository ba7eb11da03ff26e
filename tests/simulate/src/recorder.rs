//! What happened to one monitor, in the text form of the engine's timelines: printed, it can be pasted as a test.

use std::fmt::Write as _;
use std::time::Duration;

use engine::Effect;
use engine::monitor::{self, Event, Policy, Standing, State};
use model::{FailureKind, Outcome, Timestamp};

use crate::span::START;

/// Most events that are kept: of more, the older results are forgotten.
const MAX_EVENTS: usize = 1_000_000;

/// The events of one monitor.
#[derive(Clone, Debug)]
pub struct Recorder {
    monitor: usize,
    /// Events up to here say nothing about what is looked for.
    from: Timestamp,
    events: Vec<(Timestamp, Event)>,
}

impl Recorder {
    /// Records a monitor from an instant on.
    #[must_use]
    pub const fn new(monitor: usize, from: Timestamp) -> Self {
        Self { monitor, from, events: Vec::new() }
    }

    /// Takes down an event if it concerns the monitor.
    pub fn record(&mut self, monitor: usize, event: &Event, now: Timestamp) {
        if self.monitor != monitor || now < self.from || matches!(event, Event::DeadlineReached) {
            return;
        }
        if self.events.len() >= MAX_EVENTS {
            // The older half of the results; what is known of regions and absences stays.
            let mut number = 0;
            self.events.retain(|(_, event)| {
                number += 1;
                number > MAX_EVENTS / 2 || !matches!(event, Event::Observed { .. } | Event::Slow { .. })
            });
        }
        self.events.push((now, event.clone()));
    }

    /// The events up to an instant.
    #[must_use]
    pub fn until(mut self, end: Timestamp) -> Vec<(Timestamp, Event)> {
        self.events.retain(|(at, _)| *at <= end);
        self.events
    }
}

/// Leaves out of a history whatever can be left out without losing its last false opening.
#[must_use]
pub fn minimise(
    policy: &Policy,
    mut history: Vec<(Timestamp, Event)>,
    opened_at: Timestamp,
) -> Vec<(Timestamp, Event)> {
    if !opens(policy, &history, opened_at) {
        return history;
    }
    let mut chunk = history.len().div_ceil(2);
    loop {
        let mut at = 0;
        while at < history.len() {
            let mut shorter = history.clone();
            shorter.drain(at..(at + chunk).min(history.len()));
            if opens(policy, &shorter, opened_at) {
                history = shorter;
            } else {
                at += chunk;
            }
        }
        if chunk == 1 {
            return history;
        }
        chunk = chunk.div_ceil(2).min(chunk - 1).max(1);
    }
}

fn opens(policy: &Policy, history: &[(Timestamp, Event)], opened_at: Timestamp) -> bool {
    let start = history.first().map_or(START, |(at, _)| *at);
    let mut state = monitor::new(policy, start);
    let mut opened = false;
    let mut apply = |state: Box<State>, event: &Event, now| {
        let transition = monitor::apply(state, policy, event, now);
        let opening =
            |effect: &Effect| matches!(effect, Effect::Open(opening) if opening.opened_at == opened_at);
        opened |= transition.effects.iter().any(opening);
        transition.state
    };
    for (at, event) in history {
        // Blindness is told before the deadlines that fell into it.
        let until = if let Event::Blind { from, .. } = event { *from } else { *at };
        while let Some(due) = monitor::deadline(&state, policy).filter(|due| *due <= until) {
            state = apply(state, &Event::DeadlineReached, due);
        }
        state = apply(state, event, *at);
    }
    opened
}

/// A history as the script of a timeline. The engine's timelines begin at [`START`], so offsets are from there.
#[must_use]
pub fn script(policy: &Policy, history: &[(Timestamp, Event)]) -> String {
    let regions: Vec<&str> = policy.regions.iter().map(model::RegionId::as_str).collect();
    let mut text = format!(
        "monitor {}; interval {}; timeout {}; quorum {}{}\n",
        regions.join(" "),
        span(policy.interval),
        span(policy.timeout),
        policy.quorum.policy(),
        if policy.has_parents { "; parents yes" } else { "" }
    );
    // What is far from the timelines' own start is moved there, so that offsets are readable.
    let origin = history.first().map_or(START, |(at, _)| Timestamp::from_secs(at.as_secs() - 120));
    let offset = |at: Timestamp| {
        if at < origin { format!("-{}", span(origin.since(at))) } else { span(at.since(origin)) }
    };
    for (at, event) in history {
        let what = match event {
            Event::Observed { result, .. } => {
                let what = match &result.outcome {
                    Outcome::Pass => "pass",
                    Outcome::Error(_) => "error",
                    Outcome::Fail(failure) => match failure.kind {
                        FailureKind::Timeout => "timeout",
                        kind if kind.is_definite() => "503",
                        _ => "refused",
                    },
                };
                format!("{} {what} @{}", result.region, offset(result.started_at))
            }
            Event::Slow { region, started_at } => format!("{region} slow @{}", offset(*started_at)),
            Event::RegionLive { region, live } => format!("{} {region}", if *live { "live" } else { "gone" }),
            Event::MaintenanceStarted { at } => format!("maintenance since {}", offset(*at)),
            Event::MaintenanceEnded => "maintenance over".to_owned(),
            Event::Asked => "asked".to_owned(),
            Event::Parents(Standing::Well) => "parents well".to_owned(),
            Event::Parents(Standing::InQuestion) => "parents in-question".to_owned(),
            Event::Parents(Standing::Failing { name, trouble }) => {
                format!("parents {name} {}", format!("{trouble:?}").to_lowercase())
            }
            Event::Quarantined { agent, since, .. } => {
                format!("quarantine of agent {} @{}", agent.as_bytes()[0], offset(*since))
            }
            Event::Released { agent } => format!("release of agent {}", agent.as_bytes()[0]),
            Event::Blind { from, .. } => format!("blind {}", offset(*from)),
            other => format!("{other:?}"),
        };
        let _ = writeln!(text, "t+{} {what}", offset(*at));
    }
    text
}

fn span(span: Duration) -> String {
    let millis = span.as_millis();
    if millis.is_multiple_of(1_000) {
        format!("{}s", millis / 1_000)
    } else {
        format!("{}s", millis as f64 / 1_000.0)
    }
}
