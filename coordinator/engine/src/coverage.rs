//! The machine of the whole fleet: whether enough of it can be heard.
//!
//! In comes what is seen of the regions, every second or less often; out goes one incident for the whole installation,
//! however many monitors are concerned: it opens when a region that checks something has been offline for a minute, or
//! when monitors cannot be judged, writes a line whenever that changes, and resolves when all is back. Monitors
//! themselves become `Unknown` by their own rule, with neither incident nor message.
//!
//! After a restart, and after any span in which nothing could be heard and that sessions do not outlive, the minute
//! begins anew. A shorter one, such as a slow disk makes again and again, must not keep an operator from being told: it
//! only leaves time to hear who has come back meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{RegionId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::effect::{Effect, Evidence, Opening, Transition};

/// How long a region may be offline before anybody is told.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long an agent may say nothing before its session counts as gone.
pub const SESSION_SILENCE: Duration = Duration::from_secs(15);
/// The number of monitors concerned is written down again at most this often.
pub const LINE_INTERVAL: Duration = Duration::from_secs(60);

/// What is seen of the fleet at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// Regions that check something and of which no agent is connected.
    pub offline: BTreeSet<RegionId>,
    /// Monitors that are checked from some of their regions but not from all.
    pub thinned: u32,
    /// Monitors that cannot be judged: too few of their votes count, and have for a minute.
    pub undecidable: u32,
}

/// What can happen to the coverage.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Somebody looked.
    Seen(Picture),
    /// Nothing could be heard in that span.
    Blind {
        /// Its beginning.
        from: Timestamp,
        /// Its end.
        to: Timestamp,
        /// Whether the coordinator itself began anew, and every session with it.
        restarted: bool,
    },
}

/// What is remembered of the coverage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The number of the latest incident.
    openings: u32,
    /// Nobody is judged absent before this.
    not_absent_before: Timestamp,
    /// Since when which region is offline.
    offline: BTreeMap<RegionId, Timestamp>,
    open: Option<Told>,
}

/// An open incident and what it has said last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Told {
    picture: Picture,
    at: Timestamp,
}

/// What an incident of the coverage rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoverageEvidence {
    /// The regions that are offline, and since when.
    pub offline: BTreeMap<RegionId, Timestamp>,
    /// Monitors checked from fewer regions than assigned.
    pub thinned: u32,
    /// Monitors that cannot be judged.
    pub undecidable: u32,
}

/// The state that begins at `now`.
#[must_use]
pub const fn new(now: Timestamp) -> State {
    State { openings: 0, not_absent_before: now, offline: BTreeMap::new(), open: None }
}

impl State {
    /// The number of the open incident.
    #[must_use]
    pub fn open_incident(&self) -> Option<u32> {
        self.open.as_ref().map(|_| self.openings)
    }

    /// The regions that are offline now, and since when.
    #[must_use]
    pub const fn offline(&self) -> &BTreeMap<RegionId, Timestamp> {
        &self.offline
    }
}

/// Applies one event. Total and deterministic.
#[must_use]
pub fn apply(mut state: State, event: Event, now: Timestamp) -> Transition<State> {
    let mut effects = vec![];
    match event {
        Event::Blind { from, to, restarted } => {
            let to = to.min(now);
            let outlived = !restarted && to.since(from) < SESSION_SILENCE;
            if !outlived {
                state.offline.clear();
            }
            let patience = if outlived { SESSION_SILENCE } else { PATIENCE };
            state.not_absent_before = state.not_absent_before.max(to.plus(patience));
        }
        Event::Seen(picture) => {
            state.offline.retain(|region, _| picture.offline.contains(region));
            for region in &picture.offline {
                state.offline.entry(region.clone()).or_insert(now);
            }
            effects = look(&mut state, picture, now);
        }
    }
    Transition { state, effects }
}

/// The next instant at which looking again would change something even if the picture stays the same.
#[must_use]
pub fn deadline(state: &State) -> Option<Timestamp> {
    if state.open.is_some() {
        return None;
    }
    state.offline.values().map(|since| since.plus(PATIENCE).max(state.not_absent_before)).min()
}

fn look(state: &mut State, picture: Picture, now: Timestamp) -> Vec<Effect> {
    let evidence = || {
        Evidence::Coverage(CoverageEvidence {
            offline: state.offline.clone(),
            thinned: picture.thinned,
            undecidable: picture.undecidable,
        })
    };
    let Some(told) = &state.open else {
        let due = deadline(state).is_some_and(|at| at <= now)
            || (picture.undecidable > 0 && now >= state.not_absent_before);
        if !due {
            return vec![];
        }
        let started_at = state.offline.values().min().copied().unwrap_or(now);
        let number = state.openings.saturating_add(1);
        let cause = describe(&picture);
        let opening =
            Opening { number, started_at, opened_at: now, cause: cause.clone(), evidence: evidence() };
        state.openings = number;
        state.open = Some(Told { picture, at: now });
        return vec![Effect::Open(opening), Effect::Record { number, at: now, text: cause }];
    };
    let number = state.openings;
    if picture.offline.is_empty() && picture.undecidable == 0 {
        let text = "every region is connected and every monitor can be judged".to_owned();
        let resolved = Effect::Resolve { number, resolved_at: now, evidence: evidence() };
        state.open = None;
        return vec![Effect::Record { number, at: now, text }, resolved];
    }
    let regions_changed = told.picture.offline != picture.offline;
    if regions_changed || (told.picture != picture && now >= told.at.plus(LINE_INTERVAL)) {
        let text = describe(&picture);
        state.open = Some(Told { picture, at: now });
        return vec![Effect::Record { number, at: now, text }];
    }
    vec![]
}

/// `region us-east offline: 40 monitors checked from fewer regions, 3 cannot be judged`.
fn describe(picture: &Picture) -> String {
    let mut concerned = vec![];
    if picture.thinned > 0 {
        concerned.push(format!("{} checked from fewer regions", monitors(picture.thinned)));
    }
    if picture.undecidable > 0 {
        concerned.push(match concerned.is_empty() {
            true => format!("{} cannot be judged", monitors(picture.undecidable)),
            false => format!("{} cannot be judged", picture.undecidable),
        });
    }
    let concerned = concerned.join(", ");
    let offline: Vec<&str> = picture.offline.iter().map(RegionId::as_str).collect();
    match (offline.as_slice(), concerned.as_str()) {
        ([], "") => "every region is connected".to_owned(),
        ([], concerned) => concerned.to_owned(),
        ([region], "") => format!("region {region} offline"),
        ([region], concerned) => format!("region {region} offline: {concerned}"),
        (regions, "") => format!("regions {} offline", regions.join(", ")),
        (regions, concerned) => format!("regions {} offline: {concerned}", regions.join(", ")),
    }
}

fn monitors(count: u32) -> String {
    if count == 1 { "1 monitor".to_owned() } else { format!("{count} monitors") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn after(secs: u64) -> Timestamp {
        START.plus(Duration::from_secs(secs))
    }

    fn picture(offline: &[&str], thinned: u32, undecidable: u32) -> Picture {
        Picture { offline: offline.iter().map(|id| id.parse().unwrap()).collect(), thinned, undecidable }
    }

    /// Looks once a second and returns what happened when.
    fn watch(
        state: &mut State,
        secs: std::ops::Range<u64>,
        picture: impl Fn(u64) -> Picture,
    ) -> Vec<(u64, String)> {
        let mut log = vec![];
        for second in secs {
            let transition = apply(state.clone(), Event::Seen(picture(second)), after(second));
            *state = transition.state;
            for effect in transition.effects {
                log.push((
                    second,
                    match effect {
                        Effect::Open(opening) => format!("open {}: {}", opening.number, opening.cause),
                        Effect::Record { text, .. } => format!("line: {text}"),
                        Effect::Resolve { number, .. } => format!("resolve {number}"),
                        other => format!("{other:?}"),
                    },
                ));
            }
        }
        log
    }

    #[test]
    fn a_region_that_is_gone_for_a_minute_is_one_incident_whatever_it_checks() {
        let mut state = new(START);
        assert_eq!(state.offline(), &BTreeMap::new());
        watch(&mut state, 0..1, |_| picture(&["us-east"], 0, 0));
        assert_eq!(state.offline(), &BTreeMap::from([("us-east".parse().unwrap(), after(0))]));
        let log = watch(&mut state, 1..300, |second| match second {
            0..10 => picture(&[], 0, 0),
            10..75 => picture(&["us-east"], 40, 0),
            75..200 => picture(&["us-east"], 37, 3),
            200..250 => picture(&["eu-west", "us-east"], 0, 40),
            _ => picture(&[], 0, 0),
        });
        let log: Vec<(u64, &str)> = log.iter().map(|(second, text)| (*second, text.as_str())).collect();
        assert_eq!(
            log,
            [
                (70, "open 1: region us-east offline: 40 monitors checked from fewer regions"),
                (70, "line: region us-east offline: 40 monitors checked from fewer regions"),
                (
                    130,
                    "line: region us-east offline: 37 monitors checked from fewer regions, 3 cannot be judged"
                ),
                (200, "line: regions eu-west, us-east offline: 40 monitors cannot be judged"),
                (250, "line: every region is connected and every monitor can be judged"),
                (250, "resolve 1"),
            ]
        );
    }

    #[test]
    fn a_region_that_comes_back_within_the_minute_is_nothing() {
        let mut state = new(START);
        let log = watch(&mut state, 0..400, |second| match second % 70 {
            0..59 => picture(&["us-east"], 40, 0),
            _ => picture(&[], 0, 0),
        });
        assert_eq!(log, []);
    }

    #[test]
    fn after_a_restart_agents_have_a_minute_to_come_back() {
        let mut state = new(START);
        let blind = |state: &mut State, second| {
            let event = Event::Blind { from: after(second), to: after(second), restarted: true };
            *state = apply(state.clone(), event, after(second)).state;
        };
        let gone = |_| picture(&["eu-west", "us-east"], 0, 40);
        for restart in 0..20 {
            blind(&mut state, restart * 55);
            assert_eq!(watch(&mut state, restart * 55..restart * 55 + 55, gone), []);
        }
        assert_eq!(watch(&mut state, 1_100..1_120, gone).len(), 2, "a minute after the last one");
        blind(&mut state, 1_200);
        assert_eq!(watch(&mut state, 1_200..1_400, gone), [], "what was told is not told again");
        assert_eq!(state.open_incident(), Some(1));
    }

    #[test]
    fn a_disk_that_stalls_again_and_again_does_not_hide_that_a_region_is_gone() {
        let mut state = new(START);
        let gone = |_| picture(&["us-east"], 40, 0);
        let mut log = vec![];
        for stall in 0..4 {
            let second = stall * 30;
            log.extend(watch(&mut state, second..second + 26, gone));
            let event = Event::Blind { from: after(second + 26), to: after(second + 30), restarted: false };
            state = apply(state, event, after(second + 30)).state;
        }
        let told: Vec<_> = log.iter().map(|(second, _)| *second).collect();
        assert_eq!(told.first(), Some(&75), "a minute after it went, and 15 s after the stall: {log:?}");
    }

    #[test]
    fn a_span_that_sessions_do_not_outlive_begins_the_minute_anew() {
        for (lasted, told_at) in [(14, 60), (15, 91)] {
            let mut state = new(START);
            let gone = |_| picture(&["us-east"], 40, 0);
            watch(&mut state, 0..16, gone);
            let event = Event::Blind { from: after(30 - lasted), to: after(30), restarted: false };
            state = apply(state, event, after(30)).state;
            let log = watch(&mut state, 31..120, gone);
            assert_eq!(log.first().map(|(second, _)| *second), Some(told_at), "{lasted} s: {log:?}");
        }
    }

    #[test]
    fn monitors_that_cannot_be_judged_are_told_of_though_every_region_is_connected() {
        let mut state = new(START);
        assert_eq!(state.open_incident(), None);
        let log = watch(&mut state, 0..2, |_| picture(&[], 0, 1));
        assert_eq!(log[0], (0, "open 1: 1 monitor cannot be judged".to_owned()));
        assert_eq!(state.open_incident(), Some(1));
        watch(&mut state, 2..3, |_| picture(&[], 0, 0));
        assert_eq!(state.open_incident(), None);
        watch(&mut state, 3..4, |_| picture(&[], 0, 1));
        assert_eq!(state.open_incident(), Some(2));
    }
}
