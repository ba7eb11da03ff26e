//! Rounds: all regions are asked at once, and what they answer decides.
//!
//! A round starts with a region's first failing check (or one that hangs), with the first pass of a monitor that is
//! down, at the end of the confirmation period, between two looks at a recovery, and after a blindness. It ends as
//! soon as it is decided, when every live region has answered, or when answers can no longer come. After a round that
//! changed nothing, the regions that it refuted wait before they start the next one; what would have started it is not
//! lost, because the votes are still there. What a round has looked at starts no other for a while (`REVIEW_LASTS`).

use std::cmp::Reverse;
use std::time::Duration;

use model::{RegionId, Timestamp};

use super::parents::Standing;
use super::state::{Confirmation, Owed, Purpose, Pursuit, Quiet, RegionState, Round, Seen, Window};
use super::tally::Count;
use super::{MAX_WAIT, RECOVERY_PAUSE, Step};
use crate::effect::RoundReason;
use crate::phrase;
use crate::quorum::Decision;
use crate::vote::Vote;

/// Why a round should start, and what counts in it.
struct Trigger {
    reason: RoundReason,
    window: Window,
    /// Not before this, because its region is held back.
    held_until: Option<Timestamp>,
}

/// How a round ends.
enum Ending {
    Decided(Decision),
    /// Everybody answered, or could have, and nothing is decided.
    Open,
}

impl Step<'_> {
    /// A check hangs: asks at once, unless a round is under way, or would find out nothing new. Whether the check fails in
    /// the end, it will say itself.
    pub(super) fn slow(&mut self, region: &RegionId, started_at: Timestamp) {
        let news = self.state.regions.iter().enumerate().any(|(index, state)| {
            state.region == *region
                && state.live
                && state.failing_since.is_none()
                && state.vote.as_ref().is_none_or(|vote| vote.started_at < started_at)
                && self.state.quiet.holds_back(index, self.now).is_none()
        });
        let recent = started_at <= self.now && self.now < started_at.plus(self.policy.freshness());
        let may_ask = self.policy.thresholds.failures <= 1 && !self.is_sheltered();
        let idle = matches!(self.state.pursuit, Pursuit::Nothing | Pursuit::Held { .. });
        let ready = may_ask && idle && self.state.owed.is_none() && self.count().can_ask();
        if news && recent && ready && !(self.state.is_down() || self.state.stands_still()) {
            self.state.quiet.wanted(self.policy.interval, self.now);
            let window = self.window_before(started_at);
            self.start(Purpose::Verify, window, RoundReason::Slow(region.clone()));
        }
    }

    /// Does one thing that is due; says whether there was one.
    pub(super) fn advance(&mut self) -> bool {
        match &self.state.pursuit {
            Pursuit::Round(round) => match self.judge(round) {
                Some(ending) => self.conclude(&ending),
                None => return false,
            },
            Pursuit::Confirming(_) if !self.still_failing() => {
                self.state.pursuit = Pursuit::Nothing;
                self.refute(None, Vote::is_fail);
            }
            Pursuit::Confirming(confirmation) if self.now >= confirmation.due_at(self.policy) => {
                let purpose = Purpose::Confirm(*confirmation);
                self.start(purpose, Window::from(self.now), RoundReason::Confirmation);
            }
            Pursuit::AwaitingParents(_) if self.is_sheltered() => self.state.pursuit = Pursuit::Nothing,
            Pursuit::AwaitingParents(_) if !self.still_failing() => {
                self.state.pursuit = Pursuit::Nothing;
                self.refute(None, Vote::is_fail);
            }
            Pursuit::AwaitingParents(awaited)
                if (awaited.answered && *self.state.parents() == Standing::Well)
                    || self.now >= awaited.until =>
            {
                self.end_of_wait();
            }
            Pursuit::RecoveryPause { streak, since, until } if self.now >= *until => {
                let purpose = Purpose::Recover { streak: *streak, since: Some(*since) };
                self.start(purpose, Window::from(self.now), RoundReason::Recovery);
            }
            Pursuit::Confirming(_) | Pursuit::AwaitingParents(_) | Pursuit::RecoveryPause { .. } => {
                return false;
            }
            Pursuit::Nothing | Pursuit::Held { .. } => return self.begin(),
        }
        true
    }

    pub(super) fn count(&self) -> Count<'_> {
        Count::new(&self.state, self.policy, self.now)
    }

    /// Starts the round that is owed or asked for, or holds it back; says whether it did either anew.
    fn begin(&mut self) -> bool {
        let was_held = matches!(self.state.pursuit, Pursuit::Held { .. });
        let may_ask = || self.count().can_ask() && !self.is_sheltered();
        let Some(Trigger { reason, window, held_until }) = self.wanted().filter(|_| may_ask()) else {
            self.state.pursuit = Pursuit::Nothing;
            return was_held;
        };
        if self.state.owed.take().is_none() {
            if !was_held {
                self.state.quiet.wanted(self.policy.interval, self.now);
            }
            if let Some(until) = held_until {
                self.state.pursuit = Pursuit::Held { until };
                return false;
            }
        }
        let is_down = self.state.is_down();
        let purpose = if is_down { Purpose::Recover { streak: 0, since: None } } else { Purpose::Verify };
        self.start(purpose, window, reason);
        true
    }

    fn wanted(&self) -> Option<Trigger> {
        if let Some(owed) = self.state.owed {
            let reason = match owed {
                Owed::Blind => RoundReason::Blind,
                Owed::PolicyChanged => RoundReason::PolicyChanged,
                Owed::Maintenance => RoundReason::Maintenance,
                Owed::Parents => RoundReason::Parents,
                Owed::Child => RoundReason::Child,
                Owed::Quarantine => RoundReason::Quarantine,
            };
            return Some(Trigger { reason, window: Window::from(self.now), held_until: None });
        }
        if self.state.is_down() { self.recovery_trigger() } else { self.failure_trigger() }
    }

    /// A failure that no round has looked at lately, or as many failures as would make the monitor down.
    fn failure_trigger(&self) -> Option<Trigger> {
        let count = self.count();
        let enough = self.policy.thresholds.failures;
        if !self.state.has_failing_votes() {
            return None;
        }
        let failing = || count.eligible().filter(|(region, vote)| vote.is_fail() && region.streak >= enough);
        let fails =
            |region: &RegionState| count.vote(region).is_ok_and(Vote::is_fail) && region.streak >= enough;
        let regions = count.regions(fails);
        let is_quorum = !regions.is_empty() && self.policy.quorum.is_satisfied(regions, count.voting());
        let started_at = |(_, vote): (&RegionState, &Vote)| vote.started_at;
        let is_news = |region: &RegionState, vote: &Vote| self.state.is_news(region, vote);
        let oldest_news = failing().filter(|(region, vote)| is_news(region, vote)).map(started_at).min();
        let (region, _) = failing().filter(|(region, vote)| is_quorum || is_news(region, vote)).min_by_key(
            |(region, vote)| (self.held_until(region), !is_news(region, vote), vote.started_at),
        )?;
        let reason = RoundReason::Failed(region.region.clone());
        let window = self.window_before(oldest_news.or_else(|| failing().map(started_at).min())?);
        Some(Trigger { reason, window, held_until: self.held_until(region) })
    }

    /// A pass that no round has looked at lately, or votes that say up.
    fn recovery_trigger(&self) -> Option<Trigger> {
        let count = self.count();
        let says_up = count.decision() == Decision::Up;
        let is_news = |region: &RegionState, vote: &Vote| {
            self.state.is_news(region, vote) && vote.started_at > self.state.status_since
        };
        let (region, vote) = count
            .eligible()
            .filter(|(region, vote)| vote.is_pass() && (says_up || is_news(region, vote)))
            .min_by_key(|(region, vote)| {
                (self.held_until(region), !is_news(region, vote), Reverse(vote.started_at))
            })?;
        let from = if is_news(region, vote) { vote.started_at } else { self.now };
        let reason = RoundReason::Passed(region.region.clone());
        Some(Trigger { reason, window: Window::from(from), held_until: self.held_until(region) })
    }

    /// When a region may start a round, if not now.
    fn held_until(&self, region: &RegionState) -> Option<Timestamp> {
        let index = self.state.regions.iter().position(|state| state.region == region.region)?;
        self.state.quiet.holds_back(index, self.now)
    }

    /// The window of a round whose trigger started at `started_at`. A trigger that has waited for very long counts no
    /// more itself: opening rests on fresh evidence only.
    fn window_before(&self, started_at: Timestamp) -> Window {
        let oldest = self.now.minus(self.policy.timeout.saturating_mul(2)).minus(MAX_WAIT);
        let failing_from = started_at.minus(self.policy.timeout).max(oldest);
        // What began in a window of maintenance is no part of an outage after it.
        Window { failing_from: self.state.maintenance.not_before_end(failing_from), passing_from: self.now }
    }

    fn start(&mut self, purpose: Purpose, window: Window, reason: RoundReason) {
        // Agents ignore a number they have just seen, and after a restart the state may be from before the last rounds.
        let secs = u32::try_from(self.now.as_secs().max(0)).unwrap_or(u32::MAX);
        self.state.rounds = self.state.rounds.saturating_add(1).max(secs);
        let seen = self.state.regions.iter().map(|region| Seen::before(region, window)).collect();
        let asker = match &reason {
            RoundReason::Failed(asker) | RoundReason::Slow(asker) | RoundReason::Passed(asker) => {
                self.state.regions.iter().position(|region| region.region == *asker)
            }
            _ => None,
        };
        let round = Round { number: self.state.rounds, purpose, asked_at: self.now, asker, window, seen };
        self.state.pursuit = Pursuit::Round(Box::new(round));
        if matches!(purpose, Purpose::Verify) {
            self.ask_parents();
        }
        self.asking = Some(reason);
    }

    /// How the round ends, if it does now.
    fn judge(&self, round: &Round) -> Option<Ending> {
        // The quorum must hold unbroken, up to the last moment (I2).
        if matches!(round.purpose, Purpose::Confirm(_)) && !self.still_failing() {
            return Some(Ending::Open);
        }
        let count = self.count();
        match count.round_decision(round) {
            Decision::Undecided(_) => {}
            decision => return Some(Ending::Decided(decision)),
        }
        let all_answered = self
            .state
            .regions
            .iter()
            .zip(&round.seen)
            .all(|(region, seen)| !region.live || count.has_answered(round, region, seen));
        (all_answered || self.now >= round.ends_at(self.policy)).then_some(Ending::Open)
    }

    fn conclude(&mut self, ending: &Ending) {
        let Pursuit::Round(round) = std::mem::replace(&mut self.state.pursuit, Pursuit::Nothing) else {
            return;
        };
        let is_up = matches!(ending, Ending::Decided(Decision::Up));
        // A pass asks for one round of recovery, even if nobody answers.
        let is_recovery = matches!(round.purpose, Purpose::Recover { .. });
        let reviewed: Vec<bool> = self
            .state
            .regions
            .iter()
            .zip(&round.seen)
            .map(|(region, seen)| is_recovery || is_up || self.count().has_answered(&round, region, seen))
            .collect();
        for (region, reviewed) in self.state.regions.iter_mut().zip(reviewed) {
            region.reviewed = reviewed;
        }
        self.state.reviewed_at = self.now;
        match (round.purpose, ending) {
            (Purpose::Verify, Ending::Decided(Decision::Down)) => self.quorum_reached(round),
            (Purpose::Confirm(confirmation), Ending::Decided(Decision::Down)) => {
                self.open(&round, confirmation.started_at);
            }
            (Purpose::Verify | Purpose::Confirm(_), _) => self.refute(round.asker, Vote::is_fail),
            (Purpose::Recover { streak, since }, Ending::Decided(Decision::Up)) => {
                self.seen_up(&round, streak + 1, since.unwrap_or(round.asked_at));
            }
            (Purpose::Recover { streak, .. }, _) => {
                if streak > 0 {
                    self.record("the recovery did not hold".to_owned());
                }
                self.refute(round.asker, Vote::is_pass);
            }
        }
    }

    /// What was asked came to nothing: the region for whose sake it was asked, and those that found the same, wait before
    /// they ask again.
    fn refute(&mut self, asker: Option<usize>, found: impl Fn(&Vote) -> bool) {
        let mut refuted = self.count().regions(|region| region.vote.as_ref().is_some_and(&found));
        if let Some(asker) = asker {
            refuted.insert(asker);
        }
        if !refuted.is_empty() {
            self.state.quiet.extend(refuted, self.now);
        }
    }

    fn quorum_reached(&mut self, round: Box<Round>) {
        let started_at = self
            .count()
            .failing_in(&round)
            .map(|(_, vote, seen)| seen.first.unwrap_or(vote.started_at))
            .min()
            .unwrap_or(self.now);
        if self.policy.has_parents {
            self.await_parents(round, started_at);
        } else {
            self.accept_quorum(&round, started_at);
        }
    }

    /// No parent is the cause, as far as could be found out in time.
    fn end_of_wait(&mut self) {
        let pursuit = std::mem::replace(&mut self.state.pursuit, Pursuit::Nothing);
        if let Pursuit::AwaitingParents(awaited) = pursuit {
            self.accept_quorum(&awaited.round, awaited.started_at);
        }
    }

    fn accept_quorum(&mut self, round: &Round, started_at: Timestamp) {
        if self.policy.confirmation_period.is_zero() {
            self.open(round, started_at);
        } else {
            self.state.pursuit = Pursuit::Confirming(Confirmation { since: self.now, started_at });
        }
    }

    /// Up in `streak` rounds in a row, the first of which started at `since`.
    fn seen_up(&mut self, round: &Round, streak: u32, since: Timestamp) {
        let enough = streak >= self.policy.recovery_checks.max(1);
        let lasts_until = since.plus(self.recovery_period());
        if enough && self.now >= lasts_until {
            self.resolve(round, streak);
            self.state.quiet = Quiet::since(self.now);
            return;
        }
        if streak == 1 {
            let period = self.recovery_period();
            self.record(if period.is_zero() {
                format!("up in 1 of {} checks in a row", self.policy.recovery_checks)
            } else {
                format!("up; resolves when it stays so for {}", phrase::span(period))
            });
        }
        let rest = if enough { lasts_until.since(round.asked_at) } else { Duration::ZERO };
        let pause = rest.clamp(RECOVERY_PAUSE, MAX_WAIT);
        self.state.pursuit = Pursuit::RecoveryPause { streak, since, until: round.asked_at.plus(pause) };
    }

    /// Whether no pass has broken the quorum. Silence breaks nothing; the round at the end will tell.
    fn still_failing(&self) -> bool {
        let count = self.count();
        let failing = count.regions(|region| region.failing_since.is_some() && !count.is_set_aside(region));
        self.policy.quorum.is_satisfied(failing, count.voting())
    }
}

impl Window {
    /// Everything that starts from here on.
    const fn from(at: Timestamp) -> Self {
        Self { failing_from: at, passing_from: at }
    }
}

impl Seen {
    /// What a round that starts now has already seen of a region: its trigger may be the first attempt.
    fn before(region: &RegionState, window: Window) -> Self {
        let mut seen = Self::default();
        let Some(vote) = &region.vote else { return seen };
        if vote.is_pass() {
            seen.passed = Some(vote.started_at);
        } else if vote.is_fail() && vote.started_at >= window.failing_from {
            let since = region.failing_since.filter(|since| *since >= window.failing_from);
            seen.first = since.or(Some(vote.started_at));
            seen.last = Some(vote.started_at);
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::Timestamp;

    use crate::monitor::{Event, Policy, State, apply, new};

    #[test]
    fn round_numbers_rise_though_a_restart_forgot_the_last_rounds() {
        let region: model::RegionId = "eu".parse().unwrap();
        let policy = Policy {
            regions: vec![region.clone()],
            quorum: crate::quorum::Policy::default().over(std::slice::from_ref(&region)),
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
            confirmation_period: Duration::ZERO,
            recovery_checks: 2,
            thresholds: crate::monitor::Thresholds::default(),
            has_parents: false,
            spec_revision: 1,
        };
        let start = Timestamp::from_secs(1_700_000_000);
        let live = Event::RegionLive { region: region.clone(), live: true };
        let stored = apply(new(&policy, start), &policy, &live, start).state;
        let asked = |state: Box<State>, now: Timestamp| {
            let slow = Event::Slow { region: region.clone(), started_at: now };
            let state = apply(state, &policy, &slow, now).state;
            let number = state.round().unwrap();
            (state, number)
        };
        let (mut state, mut last) = (stored.clone(), 0);
        let mut now = start;
        for _ in 0..3 {
            now = now.plus(Duration::from_secs(120));
            let (round, number) = asked(state, now);
            assert!(number > last, "{number} after {last}");
            last = number;
            // Nobody answers.
            now = now.plus(Duration::from_secs(60));
            state = apply(round, &policy, &Event::DeadlineReached, now).state;
        }
        let (_, number) = asked(stored, now);
        assert!(number > last, "{number} after {last}");
    }
}
