//! Timelines of a heartbeat.
//!
//! ```text
//! heartbeat every 25h; grace 5m
//! t+TIME WHAT
//! ```
//! `WHAT` is `success`, `start`, `fail`, `exit CODE`, `blind FROM`, `policy every SPAN`, `pause`, `resume`, `delete` or
//! `nothing`.

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
        let (time, action) = line.strip_prefix("t+").unwrap().split_once(' ').unwrap();
        let now = instant(time);
        let words: Vec<_> = action.split(' ').collect();
        // Blindness is told before the deadlines that fell into it.
        let deadlines_until = match words.as_slice() {
            ["blind", from] => instant(from),
            _ => now,
        };
        while let Some(at) = heartbeat::deadline(&state, &policy).filter(|at| *at <= deadlines_until) {
            let effects = step(&mut state, &policy, Event::DeadlineReached, at);
            out += &show(&effects, Some(at), &mut Rounds::default());
        }
        out += &format!("{line}\n");
        let ping = |kind| Some(Event::Pinged { kind, at: now });
        let event = match words.as_slice() {
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
            ["delete"] => Some(Event::Deleted),
            other => panic!("unknown action {other:?}"),
        };
        if let Some(event) = event {
            out += &show(&step(&mut state, &policy, event, now), None, &mut Rounds::default());
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
