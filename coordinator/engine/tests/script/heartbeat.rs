//! Timelines of a heartbeat.
//!
//! ```text
//! heartbeat every 25h; grace 5m
//! t+TIME WHAT[; WHAT…]
//! ```
//! `WHAT` is `success`, `start`, `fail`, `exit CODE`, `blind FROM`, `policy every SPAN`, `pause`, `resume`,
//! `maintenance [since TIME]`, `maintenance over`, `delete` or `nothing`.

use engine::Effect;
use engine::heartbeat::{self, Event, PingKind, Policy, State};
use model::Timestamp;

use super::{Rounds, START, instant, lines, offset, show, span};

/// Plays a timeline and returns it with what it caused.
pub(crate) fn play(script: &str) -> String {
    let mut lines = lines(script);
    let header = lines.next().unwrap();
    let (every, grace) = header.strip_prefix("heartbeat every ").unwrap().split_once("; grace ").unwrap();
    let mut policy = Policy { interval: span(every), grace: span(grace) };
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

fn step(state: &mut State, policy: &Policy, event: Event, now: Timestamp) -> Vec<Effect> {
    let transition = heartbeat::apply(state.clone(), policy, &event, now);
    *state = transition.state;
    transition.effects
}

fn event(action: &str, policy: &mut Policy, now: Timestamp) -> Option<Event> {
    let words: Vec<_> = action.split(' ').collect();
    let ping = |kind| Some(Event::Pinged { kind, at: now, run: None });
    match words.as_slice() {
        ["nothing"] => None,
        ["success"] => ping(PingKind::Success),
        ["start"] => ping(PingKind::Start),
        ["fail"] => ping(PingKind::Fail),
        ["exit", code] => ping(PingKind::Exit(code.parse().unwrap())),
        ["blind", from] => Some(Event::Blind { from: instant(from), to: now }),
        ["policy", "every", every] => {
            policy.interval = span(every);
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
