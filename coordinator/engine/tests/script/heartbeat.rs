//! Timelines of a heartbeat.
//!
//! ```text
//! heartbeat every 25h; grace 5m[; early SPAN][; start-grace SPAN][; max-runtime SPAN][; keep-alive SPAN]
//! heartbeat at 0 3 * * * in Europe/Berlin; grace 5m
//! t+TIME WHAT[; WHAT…]
//! ```
//! `WHAT` is `success`, `start`, `log`, `fail`, `exit CODE` (each with ` #RUN` or without), `blind FROM`, `policy every SPAN`, `pause`, `resume`,
//! `maintenance [since TIME]`, `maintenance over`, `delete` or `nothing`.

use std::sync::Arc;
use std::time::Duration;

use engine::Effect;
use engine::heartbeat::{self, Event, PingKind, Policy, State};
use engine::schedule::{self, Schedule, WorkingHours};
use model::{RunId, Timestamp};

use super::{Rounds, START, instant, lines, offset, show, span};

/// Plays a timeline and returns it with what it caused.
pub(crate) fn play(script: &str) -> String {
    let mut lines = lines(script);
    let header = lines.next().unwrap();
    let mut policy = policy(header.strip_prefix("heartbeat ").unwrap());
    let mut state = heartbeat::new(START);
    let mut out = format!("{header}\n");
    for line in lines {
        let (time, actions) = line.strip_prefix("t+").unwrap().split_once(' ').unwrap();
        let now = instant(time);
        // Blindness is told before the deadlines that fell into it.
        let blind_from = actions.split("; ").find_map(|action| action.strip_prefix("blind "));
        let deadlines_until = blind_from.map_or(now, instant);
        while let Some(at) = heartbeat::deadline(&state, &policy).filter(|at| *at <= deadlines_until) {
            let effects = step(&mut state, &policy, Event::DeadlineReached, at);
            out += &show(&effects, Some(at), &mut Rounds::default());
        }
        out += &format!("{line}\n");
        for action in actions.split("; ") {
            if let Some(event) = event(action, &mut policy, now) {
                out += &show(&step(&mut state, &policy, event, now), None, &mut Rounds::default());
            }
        }
    }
    let next = heartbeat::deadline(&state, &policy).map_or_else(|| "never".to_owned(), offset);
    out + &format!("at the end: {}; next deadline {next}\n", state.status())
}

fn policy(header: &str) -> Policy {
    let mut parts = header.split("; ");
    let schedule = parts.next().unwrap();
    let schedule = match schedule.strip_prefix("every ") {
        Some(every) => Schedule::Every(span(every)),
        None => {
            let (lines, zone) = schedule.strip_prefix("at ").unwrap().split_once(" in ").unwrap();
            schedule::parse(lines, zone, START).unwrap()
        }
    };
    let mut policy = Policy { schedule, ..Policy::every(Duration::ZERO, Duration::ZERO) };
    for part in parts {
        let (name, value) = part.split_once(' ').unwrap();
        match name {
            "grace" => policy.grace = span(value),
            "early" => policy.early = Some(span(value)),
            "start-grace" => policy.runs.start_grace = Some(span(value)),
            "max-runtime" => policy.runs.max_runtime = Some(span(value)),
            "keep-alive" => policy.runs.keep_alive = Some(span(value)),
            "hours" => policy.working_hours = Some(Arc::new(WorkingHours::read(value).unwrap())),
            other => panic!("unknown setting {other}"),
        }
    }
    policy
}

fn step(state: &mut State, policy: &Policy, event: Event, now: Timestamp) -> Vec<Effect> {
    let transition = heartbeat::apply(state.clone(), policy, &event, now);
    *state = transition.state;
    transition.effects
}

fn event(action: &str, policy: &mut Policy, now: Timestamp) -> Option<Event> {
    let words: Vec<_> = action.split(' ').collect();
    let run = words.last().and_then(|word| word.strip_prefix('#'));
    let words = if run.is_some() { &words[..words.len() - 1] } else { &words[..] };
    let run = run.map(|number| RunId::from_bytes([number.parse().unwrap(); 16]));
    let ping = |kind| Some(Event::Pinged { kind, at: now, run });
    match words {
        ["nothing"] => None,
        ["success"] => ping(PingKind::Success),
        ["start"] => ping(PingKind::Start),
        ["log"] => ping(PingKind::Log),
        ["fail"] => ping(PingKind::Fail),
        ["exit", code] => ping(PingKind::Exit(code.parse().unwrap())),
        ["blind", from] => Some(Event::Blind { from: instant(from), to: now }),
        ["policy", "every", every] => {
            policy.schedule = Schedule::Every(span(every));
            Some(Event::PolicyChanged)
        }
        ["pause"] => Some(Event::Paused),
        ["resume"] => Some(Event::Resumed),
        ["maintenance"] => Some(Event::MaintenanceStarted { at: now }),
        ["maintenance", "since", at] => Some(Event::MaintenanceStarted { at: instant(at) }),
        ["maintenance", "over"] => Some(Event::MaintenanceEnded),
        ["delete"] => Some(Event::Deleted),
        other => panic!("unknown action {other:?}"),
    }
}
