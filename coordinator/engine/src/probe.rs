//! The machine of one probe agent: whether its votes are to be believed.
//!
//! In come contradictions (a failing check of the agent, while a majority of other regions passed the same monitor
//! later; see [`crate::monitor::contradictions`]), votes that nobody contradicts, and what the agent's own canaries say.
//! Out go [`Effect::Quarantine`] and [`Effect::Release`], each with an incident for operators that opens or resolves.
//!
//! One region that sees a target fail alone is a fact about the target. Many targets at once are a fact about the
//! agent: so *flips* are counted, which are failures that began within the last minute, one for each monitor. What has
//! failed from there for long (a target that blocks the region) is none. With no other region there is no
//! contradiction, and nothing is quarantined.
//!
//! Released is who was heard for a minute and hardly contradicted in it. A failing vote that others contradict counts
//! as a contradiction until the agent votes on that monitor again: a sick agent with long intervals is not released in
//! between.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{MonitorId, RegionId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::effect::{Effect, Evidence, Opening, Transition};
use crate::phrase;

/// Flips count together when they began within this span.
pub const WINDOW: Duration = Duration::from_secs(60);
/// So many monitors must have flipped.
pub const MIN_FLIPS: usize = 5;
/// On so many hosts: one sick host with many monitors is no sick agent.
pub const MIN_HOSTS: usize = 3;
/// And so large a share of the monitors that the agent checked within that span, in percent: of monitors that are checked
/// every five minutes most cannot flip within one, however sick it is.
pub const MIN_SHARE_PERCENT: u64 = 30;
/// For so long an agent must be heard and not be contradicted before it is believed again.
pub const QUIET: Duration = Duration::from_secs(60);
/// A contradicted vote is forgotten after this even if the agent does not vote again.
pub const MEMORY: Duration = Duration::from_secs(300);
/// So large a share of an agent's monitors may be contradicted in the quiet minute, in percent: of thousands of
/// monitors some always are, and below twenty none may be.
pub const NOISE_PERCENT: u64 = 5;
/// Flips that are kept as evidence.
pub const MAX_EVIDENCE: usize = 20;

/// A failing check that other regions contradict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flip {
    /// Of which monitor.
    pub monitor: MonitorId,
    /// Its target's host.
    pub host: String,
    /// When the first failing check of the streak started.
    pub failed_at: Timestamp,
    /// When the latest one did.
    pub vote_at: Timestamp,
    /// The regions that passed in the meantime.
    pub contradicted_by: Vec<RegionId>,
}

/// How many monitors an agent votes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Burden {
    /// All of them.
    pub monitors: u32,
    /// Those that it checked within the last minute.
    pub checked: u32,
}

impl Burden {
    /// One monitor more, on which the agent voted with a check that started at `voted_at`.
    #[must_use]
    pub fn and(self, voted_at: Timestamp, now: Timestamp) -> Self {
        let is_recent = voted_at.plus(WINDOW) > now;
        Self { monitors: self.monitors + 1, checked: self.checked + u32::from(is_recent) }
    }
}

/// What can happen to an agent's credit.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// One of its votes is contradicted.
    Contradicted {
        /// The vote.
        flip: Flip,
        /// What it has to do.
        burden: Burden,
    },
    /// It voted, and nobody contradicts that.
    Agreed {
        /// On which monitor.
        monitor: MonitorId,
        /// What it has to do.
        burden: Burden,
    },
    /// What its canaries say.
    Canaries(Canaries),
    /// Nothing could be heard for a while: the quiet minute begins anew.
    Blind,
    /// The instant that [`deadline`] named has come.
    DeadlineReached,
}

/// What an agent's canaries say: targets of its own that are known to be well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Canaries {
    /// It has none, or they are well.
    #[default]
    Well,
    /// They fail, while those of some other live region are well.
    Failing,
    /// They fail from every live region: it is the canaries.
    FailingEverywhere,
}

/// What is remembered of an agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The number of the latest quarantine.
    openings: u32,
    canaries: Canaries,
    /// While it is believed: what flipped within the last minute.
    flips: BTreeMap<MonitorId, Flip>,
    quarantine: Option<Box<Quarantine>>,
}

/// An agent's votes do not count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quarantine {
    /// Votes on checks from here on do not count: when the first of the flips began.
    pub since: Timestamp,
    /// When that was decided.
    pub decided_at: Timestamp,
    /// Why, in one line for people.
    pub reason: String,
    /// The first of the flips behind it.
    pub evidence: Vec<Flip>,
    /// When the agent cast the votes that are contradicted now.
    contradicted: BTreeMap<MonitorId, Timestamp>,
    /// Since when it has been heard and hardly contradicted.
    quiet_since: Option<Timestamp>,
}

/// What an agent's quarantine, or the end of it, rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeEvidence {
    /// Flips behind it, at most [`MAX_EVIDENCE`]; none at the end.
    pub flips: Vec<Flip>,
    /// How many monitors flipped.
    pub flipped: u32,
    /// Of how many that the agent checked in the meantime; 0: it is the canaries that fail.
    pub monitors: u32,
}

impl State {
    /// Why the agent is not believed, if it is not.
    #[must_use]
    pub fn quarantine(&self) -> Option<&Quarantine> {
        self.quarantine.as_deref()
    }

    /// The number of the open incident.
    #[must_use]
    pub fn open_incident(&self) -> Option<u32> {
        self.quarantine.as_ref().map(|_| self.openings)
    }

    /// Forgets what its canaries said: after a restart they are heard again.
    pub const fn forget_canaries(&mut self) {
        self.canaries = Canaries::Well;
    }

    /// Whether there is anything that a vote could change.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.quarantine.is_none() && self.flips.is_empty()
    }

    /// Whether a contradiction would change anything: an old streak does not, nor one from before a quarantine.
    #[must_use]
    pub fn heeds(&self, flip: &Flip, now: Timestamp) -> bool {
        match &self.quarantine {
            Some(quarantine) => {
                flip.failed_at >= quarantine.since
                    && quarantine.contradicted.get(&flip.monitor) != Some(&flip.vote_at)
            }
            None => {
                flip.failed_at.plus(WINDOW) > now
                    && self.flips.get(&flip.monitor).is_none_or(|known| known.failed_at != flip.failed_at)
            }
        }
    }
}

/// Applies one event. Total and deterministic.
#[must_use]
pub fn apply(state: State, event: Event, now: Timestamp) -> Transition<State> {
    let mut step = Step { state, now, effects: Vec::new() };
    match event {
        Event::Contradicted { flip, burden } => step.contradicted(flip, burden),
        Event::Agreed { monitor, burden } => step.agreed(monitor, burden),
        Event::Canaries(canaries) => step.canaries(canaries),
        Event::Blind => step.blind(),
        Event::DeadlineReached => {}
    }
    step.settle();
    Transition { state: step.state, effects: step.effects }
}

/// The next instant at which [`Event::DeadlineReached`] would change something.
#[must_use]
pub fn deadline(state: &State) -> Option<Timestamp> {
    match &state.quarantine {
        Some(quarantine) => quarantine.quiet_since.map(|since| since.plus(QUIET)),
        None => state.flips.values().map(|flip| flip.failed_at.plus(WINDOW)).min(),
    }
}

struct Step {
    state: State,
    now: Timestamp,
    effects: Vec<Effect>,
}

impl Step {
    fn contradicted(&mut self, flip: Flip, burden: Burden) {
        if !self.state.heeds(&flip, self.now) {
            return;
        }
        match &mut self.state.quarantine {
            Some(quarantine) => {
                quarantine.contradicted.insert(flip.monitor, flip.vote_at);
                quarantine.weigh(burden.monitors, self.now);
            }
            None => {
                self.state.flips.insert(flip.monitor, flip);
                self.prune();
                self.judge(burden.checked);
            }
        }
    }

    fn agreed(&mut self, monitor: MonitorId, burden: Burden) {
        if let Some(quarantine) = &mut self.state.quarantine {
            quarantine.contradicted.remove(&monitor);
            if self.state.canaries != Canaries::Failing {
                quarantine.quiet_since.get_or_insert(self.now);
            }
            quarantine.weigh(burden.monitors, self.now);
        }
    }

    fn canaries(&mut self, canaries: Canaries) {
        self.state.canaries = canaries;
        match (&mut self.state.quarantine, canaries) {
            (None, Canaries::Failing) => {
                self.open(self.now, "its own canaries fail", vec![], 0, 0);
            }
            (Some(quarantine), Canaries::Failing) => quarantine.quiet_since = None,
            (Some(quarantine), Canaries::Well | Canaries::FailingEverywhere) => {
                // Whose canaries are well is heard by that.
                if quarantine.contradicted.is_empty() {
                    quarantine.quiet_since.get_or_insert(self.now);
                }
            }
            (None, Canaries::Well | Canaries::FailingEverywhere) => {}
        }
    }

    fn blind(&mut self) {
        self.state.flips.clear();
        if let Some(quarantine) = &mut self.state.quarantine {
            quarantine.quiet_since = None;
        }
    }

    /// While the agent is believed: are there too many flips?
    fn judge(&mut self, checked: u32) {
        let flips = &self.state.flips;
        let hosts: BTreeSet<&str> = flips.values().map(|flip| flip.host.as_str()).collect();
        let share = flips.len() as u64 * 100 >= u64::from(checked) * MIN_SHARE_PERCENT;
        if flips.len() < MIN_FLIPS || hosts.len() < MIN_HOSTS || !share {
            return;
        }
        let (flipped, hosts) = (flips.len(), hosts.len());
        let mut flips: Vec<Flip> = std::mem::take(&mut self.state.flips).into_values().collect();
        flips.sort_by_key(|flip| (flip.failed_at, flip.monitor));
        let since = flips.first().map_or(self.now, |flip| flip.failed_at);
        let reason = format!(
            "{flipped} contradicted failures on {hosts} hosts in {}",
            phrase::span(self.now.since(since).max(Duration::from_secs(1)))
        );
        self.open(since, &reason, flips, u32::try_from(flipped).unwrap_or(u32::MAX), checked);
    }

    fn open(&mut self, since: Timestamp, reason: &str, mut flips: Vec<Flip>, flipped: u32, checked: u32) {
        let contradicted = flips.iter().map(|flip| (flip.monitor, flip.vote_at)).collect();
        flips.truncate(MAX_EVIDENCE);
        self.state.flips.clear();
        self.state.openings = self.state.openings.saturating_add(1);
        self.state.quarantine = Some(Box::new(Quarantine {
            since,
            decided_at: self.now,
            reason: reason.to_owned(),
            evidence: flips.clone(),
            contradicted,
            quiet_since: None,
        }));
        self.effects.push(Effect::Quarantine { since });
        self.effects.push(Effect::Open(Opening {
            number: self.state.openings,
            started_at: since,
            opened_at: self.now,
            cause: reason.to_owned(),
            evidence: Evidence::Probe(ProbeEvidence { flips, flipped, monitors: checked }),
        }));
        self.record(format!("quarantined: {reason}; its votes do not count"));
    }

    /// Does what is due.
    fn settle(&mut self) {
        self.prune();
        let Some(quarantine) = &self.state.quarantine else { return };
        if quarantine.quiet_since.is_none_or(|since| self.now < since.plus(QUIET)) {
            return;
        }
        self.record(format!("released: heard for {} and not contradicted", phrase::span(QUIET)));
        self.state.quarantine = None;
        self.effects.push(Effect::Release);
        self.effects.push(Effect::Resolve {
            number: self.state.openings,
            resolved_at: self.now,
            evidence: Evidence::Probe(ProbeEvidence { flips: vec![], flipped: 0, monitors: 0 }),
        });
    }

    fn prune(&mut self) {
        let now = self.now;
        self.state.flips.retain(|_, flip| flip.failed_at.plus(WINDOW) > now);
    }

    fn record(&mut self, text: String) {
        self.effects.push(Effect::Record { number: self.state.openings, at: self.now, text });
    }
}

impl Quarantine {
    /// More contradictions than noise end the quiet; fewer let it begin again, with the agent's next vote.
    fn weigh(&mut self, monitors: u32, now: Timestamp) {
        let oldest = now.minus(MEMORY);
        self.contradicted.retain(|_, vote_at| *vote_at > oldest);
        if self.contradicted.len() as u64 * 100 > u64::from(monitors) * NOISE_PERCENT {
            self.quiet_since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many monitors, all of them checked within the minute.
    fn all(monitors: u32) -> Burden {
        Burden { monitors, checked: monitors }
    }

    const MONITORS: u32 = 10;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_700_000_000 + secs)
    }

    fn monitor(number: u8) -> MonitorId {
        MonitorId::from_bytes([number; 16])
    }

    /// A failure of a monitor on a host of its own.
    fn flip(number: u8, secs: i64) -> Flip {
        Flip {
            monitor: monitor(number),
            host: format!("host-{number}"),
            failed_at: at(secs),
            vote_at: at(secs),
            contradicted_by: vec!["us".parse().unwrap()],
        }
    }

    struct World(State);

    impl World {
        fn tell(&mut self, secs: i64, event: Event) -> Vec<Effect> {
            let transition = apply(self.0.clone(), event, at(secs));
            self.0 = transition.state;
            transition.effects
        }

        fn contradicted(&mut self, secs: i64, flip: Flip, monitors: u32) -> bool {
            self.tell(secs, Event::Contradicted { flip, burden: all(monitors) });
            self.0.quarantine().is_some()
        }

        fn agreed(&mut self, secs: i64, number: u8) {
            self.tell(secs, Event::Agreed { monitor: monitor(number), burden: all(MONITORS) });
        }

        fn is_released(&mut self, secs: i64) -> bool {
            self.tell(secs, Event::DeadlineReached);
            self.0.quarantine().is_none()
        }
    }

    /// An agent whose five flips, one a second from 0 on, have brought it into quarantine.
    fn sick() -> World {
        let mut world = World(State::default());
        for number in 0..5 {
            world.contradicted(number.into(), flip(number, number.into()), MONITORS);
        }
        assert!(world.0.quarantine().is_some());
        world
    }

    #[test]
    fn five_flips_on_three_hosts_of_three_in_ten_monitors_within_a_minute_are_too_many() {
        let quarantined = |flips: &[Flip], monitors: u32| {
            let mut world = World(State::default());
            flips.iter().any(|flip| {
                let secs = flip.failed_at.as_secs() - at(0).as_secs();
                world.contradicted(secs, flip.clone(), monitors)
            })
        };
        let flips = |hosts: u8, secs: [i64; 5]| -> Vec<Flip> {
            let numbered = secs.iter().zip(0_u8..);
            numbered
                .map(|(secs, number)| Flip {
                    host: format!("host-{}", number % hosts),
                    ..flip(number, *secs)
                })
                .collect()
        };
        let within = flips(3, [0, 1, 2, 3, 59]);
        assert!(quarantined(&within, 16));
        assert!(!quarantined(&within, 17), "less than 30 %");
        assert!(!quarantined(&within[..4], 5));
        assert!(!quarantined(&flips(2, [0, 1, 2, 3, 4]), 5), "on two hosts");
        assert!(!quarantined(&flips(3, [0, 1, 2, 3, 60]), 5), "the first began a minute ago");
        let same = [0, 1, 2, 3, 4].map(|secs| flip(7, secs));
        assert!(!quarantined(&same, 5), "one monitor counts once");
    }

    #[test]
    fn what_was_not_checked_within_the_minute_speaks_for_nobody() {
        let votes = (0..100).map(|number| at(number * 3));
        let burden = votes.fold(Burden::default(), |all, voted_at| all.and(voted_at, at(300)));
        assert_eq!(burden, Burden { monitors: 100, checked: 19 });
        let mut world = World(State::default());
        for number in 0..6 {
            assert!(world.0.quarantine().is_none(), "after {number} of 19");
            world.tell(300, Event::Contradicted { flip: flip(number, 295), burden });
        }
        assert!(world.0.quarantine().is_some());
    }

    #[test]
    fn a_quarantine_says_since_when_and_what_it_rests_on() {
        let mut world = World(State::default());
        for number in (1..5).rev() {
            world.contradicted(10, flip(number, number.into()), MONITORS);
        }
        let effects = world.tell(10, Event::Contradicted { flip: flip(9, 7), burden: all(MONITORS) });
        let [Effect::Quarantine { since }, Effect::Open(opening), Effect::Record { number: 1, .. }] =
            &*effects
        else {
            panic!("{effects:?}")
        };
        assert_eq!(
            (*since, opening.number, opening.started_at, opening.opened_at),
            (at(1), 1, at(1), at(10))
        );
        assert_eq!(opening.cause, "5 contradicted failures on 5 hosts in 9 s");
        let Evidence::Probe(evidence) = &opening.evidence else { panic!("{opening:?}") };
        assert_eq!((evidence.flipped, evidence.monitors), (5, MONITORS));
        let flipped: Vec<_> = evidence.flips.iter().map(|flip| flip.monitor).collect();
        assert_eq!(flipped, [1, 2, 3, 4, 9].map(monitor), "the first to fail first");
        assert_eq!(world.0.quarantine().map(|it| (it.since, it.decided_at)), Some((at(1), at(10))));
        assert_eq!(world.0.open_incident(), Some(1));
    }

    #[test]
    fn what_failed_long_ago_or_is_known_changes_nothing() {
        let mut world = World(State::default());
        assert!(world.0.is_clean() && deadline(&world.0).is_none());
        assert!(!world.0.heeds(&flip(1, 0), at(60)));
        assert!(world.0.heeds(&flip(1, 0), at(59)));
        world.contradicted(10, flip(1, 0), MONITORS);
        assert!(!world.0.is_clean());
        assert!(!world.0.heeds(&flip(1, 0), at(11)), "the same streak");
        assert!(world.0.heeds(&flip(1, 5), at(11)), "another streak of the monitor");
        assert!(world.0.heeds(&flip(2, 0), at(11)), "another monitor");
        assert_eq!(deadline(&world.0), Some(at(60)), "then it is forgotten");
        world.tell(60, Event::DeadlineReached);
        assert!(world.0.is_clean() && deadline(&world.0).is_none());
        world.contradicted(70, flip(1, 61), MONITORS);
        world.tell(71, Event::Blind);
        assert!(world.0.is_clean(), "what was counted before nothing could be heard");
    }

    #[test]
    fn an_agent_in_quarantine_heeds_every_new_vote_from_after_its_beginning() {
        let world = sick();
        assert!(!world.0.is_clean());
        assert!(world.0.heeds(&flip(9, 0), at(100)));
        assert!(!world.0.heeds(&flip(9, -1), at(100)), "a streak from before it");
        assert!(!world.0.heeds(&flip(3, 3), at(100)), "the vote that brought it there");
        let again = Flip { vote_at: at(63), ..flip(3, 3) };
        assert!(world.0.heeds(&again, at(100)));
    }

    #[test]
    fn released_is_who_was_heard_for_a_minute_and_not_contradicted() {
        let mut world = sick();
        assert_eq!(deadline(&world.0), None, "silence is no improvement");
        for number in 0..5 {
            world.agreed(10 + i64::from(number), number);
        }
        assert_eq!(deadline(&world.0), Some(at(74)), "as of the last of them");
        assert!(!world.is_released(73));
        let effects = world.tell(74, Event::DeadlineReached);
        let [Effect::Record { .. }, Effect::Release, Effect::Resolve { number: 1, resolved_at, .. }] =
            &*effects
        else {
            panic!("{effects:?}")
        };
        assert_eq!(*resolved_at, at(74));
        assert!(world.0.is_clean());
        assert_eq!(world.0.open_incident(), None);
        for number in 0..5 {
            world.contradicted(80, flip(number, 80), MONITORS);
        }
        assert_eq!(world.0.open_incident(), Some(2));
    }

    #[test]
    fn a_contradiction_in_the_quiet_minute_lets_it_begin_anew() {
        let mut world = sick();
        (0..5).for_each(|number| world.agreed(10, number));
        world.contradicted(40, flip(7, 40), MONITORS);
        assert_eq!(deadline(&world.0), None);
        assert!(!world.is_released(80));
        world.agreed(90, 7);
        assert!(!world.is_released(149));
        assert!(world.is_released(150));
    }

    #[test]
    fn of_many_monitors_one_in_twenty_may_be_contradicted() {
        let quiet = |monitors: u32| {
            let mut world = sick();
            (0..5).for_each(|number| world.agreed(10, number));
            world.contradicted(20, flip(7, 20), monitors);
            deadline(&world.0).is_some()
        };
        assert!(!quiet(19));
        assert!(quiet(20));
    }

    #[test]
    fn a_contradicted_vote_is_forgotten_after_five_minutes() {
        let mut world = sick();
        (0..5).for_each(|number| world.agreed(10, number));
        world.contradicted(20, flip(7, 20), MONITORS);
        world.agreed(319, 1);
        assert_eq!(deadline(&world.0), None, "still remembered");
        world.agreed(320, 1);
        assert_eq!(deadline(&world.0), Some(at(380)));
    }

    #[test]
    fn nothing_heard_is_nothing_quiet() {
        let mut world = sick();
        (0..5).for_each(|number| world.agreed(10, number));
        world.tell(50, Event::Blind);
        assert!(!world.is_released(80));
        world.agreed(81, 1);
        assert_eq!(deadline(&world.0), Some(at(141)));
    }

    #[test]
    fn who_has_failing_canaries_is_not_released_and_well_ones_are_heard() {
        let mut world = World(State::default());
        let effects = world.tell(0, Event::Canaries(Canaries::Failing));
        let Effect::Open(opening) = &effects[1] else { panic!("{effects:?}") };
        assert_eq!((opening.cause.as_str(), opening.started_at), ("its own canaries fail", at(0)));
        world.agreed(10, 1);
        assert_eq!(deadline(&world.0), None, "whatever else it says");
        world.tell(20, Event::Canaries(Canaries::Well));
        assert_eq!(deadline(&world.0), Some(at(80)));

        let mut flipped = sick();
        flipped.tell(20, Event::Canaries(Canaries::Well));
        assert_eq!(deadline(&flipped.0), None, "its votes are still contradicted");

        let mut restarted = World(State::default());
        restarted.tell(0, Event::Canaries(Canaries::Failing));
        restarted.0.forget_canaries();
        restarted.agreed(10, 1);
        assert_eq!(deadline(&restarted.0), Some(at(70)), "until it is heard what they say now");
    }

    #[test]
    fn only_the_first_flips_are_kept_as_evidence() {
        let mut world = World(State::default());
        let mut opened = None;
        for number in 0..30 {
            let effects = world
                .tell(1, Event::Contradicted { flip: flip(number, number as i64 - 29), burden: all(100) });
            opened = opened.or_else(|| effects.into_iter().find(|effect| matches!(effect, Effect::Open(_))));
        }
        let Some(Effect::Open(Opening { evidence: Evidence::Probe(evidence), .. })) = opened else {
            panic!("{opened:?}")
        };
        assert_eq!((evidence.flips.len(), evidence.flipped), (MAX_EVIDENCE, 30));
        assert_eq!(evidence.flips[0].monitor, monitor(0));
    }
}
