//! The monitor machine a second time, naively.
//!
//! [`replay`] goes through a whole history from its beginning. Whatever is about votes, freshness, eligibility and quorum
//! it looks up in the history each time it is needed (`past`), by going through all of it; what it carries along is only what a
//! round is by nature: that a question was asked, when, and what the last answers came to.
//!
//! It covers: votes by start, freshness, liveness, blindness, quorum over single regions, rounds that open and resolve,
//! slow checks, thresholds, confirmation periods, the pause after rounds without result, flapping, `Unknown`, pauses by users
//! and new policies. Left out, and not generated: parents, maintenance, quarantine, regions that are assigned anew. `Up` and
//! `Degraded` are one word here.

mod past;

use std::collections::BTreeMap;
use std::time::Duration;

use engine::monitor::{Event, Policy};
use model::{CheckResult, Timestamp};

use past::{is_fail, is_pass};

/// The quorum policies that are covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quorum {
    Any,
    Majority,
    All,
    AtLeast(usize),
}

/// What must be told after a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) status: Word,
    pub(crate) is_asking: bool,
    pub(crate) incidents: Vec<Outage>,
}

/// A status in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Pending,
    /// Up or degraded.
    Answers,
    Down,
    Unknown,
    Paused,
}

/// An incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outage {
    pub(crate) started_at: Timestamp,
    pub(crate) opened_at: Timestamp,
    pub(crate) resolved_at: Option<Timestamp>,
}

const SECOND: Duration = Duration::from_secs(1);
/// Two failing attempts less far apart may be the same noise.
const APART: Duration = Duration::from_millis(900);

impl Quorum {
    /// How many must fail when so many of `regions` have a vote that counts.
    fn needed(self, regions: usize, eligible: usize) -> usize {
        match self {
            Self::Any => 1,
            Self::Majority => regions / 2 + 1,
            Self::All => eligible.max(regions.min(2)),
            Self::AtLeast(k) => k,
        }
    }
}

/// A policy, and from which event of the history on it is in force.
#[derive(Clone, Debug)]
pub(crate) struct InForce {
    pub(crate) from: usize,
    pub(crate) policy: Policy,
    pub(crate) quorum: Quorum,
}

/// What must be told after all of a history.
pub(crate) fn replay(policies: &[InForce], begun_at: Timestamp, history: &[(Timestamp, Event)]) -> Told {
    let InForce { policy, quorum, .. } = &policies[0];
    let mut model = Model {
        policy,
        quorum: *quorum,
        past: &[],
        void: 0,
        now: begun_at,
        told: Told { status: Word::Pending, is_asking: false, incidents: vec![] },
        changed_at: begun_at,
        question: Question::None,
        owed: false,
        quiet_until: begun_at,
        fruitless: 0,
        held: vec![],
        reviewed: BTreeMap::new(),
        reviewed_at: begun_at,
        blind_until: Timestamp::MIN,
        earlier: BTreeMap::new(),
        patience_until: begun_at.plus(policy.timeout).plus(Duration::from_secs(60)),
        short_since: Some(begun_at),
    };
    for length in 1..=history.len() {
        let in_force =
            policies.iter().rfind(|in_force| in_force.from < length).expect("the first is from the start");
        (model.policy, model.quorum) = (&in_force.policy, in_force.quorum);
        model.step(&history[..length]);
    }
    model.told.is_asking = matches!(model.question, Question::Asked { .. });
    model.told
}

/// What a round comes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Down,
    Up,
}

/// What is being asked.
#[derive(Clone, Debug)]
enum Question {
    None,
    Held,
    Asked {
        at: Timestamp,
        failing_from: Timestamp,
        passing_from: Timestamp,
        /// Recovery rounds before this one that said up; `None`: whether it is down.
        streak: Option<u32>,
        /// The outage of which it is asked whether it goes on.
        confirms: Option<Timestamp>,
        /// The region for whose sake it is asked.
        asker: Option<usize>,
        /// When the first of them was asked.
        good_since: Option<Timestamp>,
        /// How much of the history there was.
        since: usize,
        /// Per region: failing starts that stood when it was asked, and the pass that stood.
        before: BTreeMap<usize, (Vec<Timestamp>, Option<Timestamp>)>,
    },
    /// The quorum must hold from `since` on for the confirmation period.
    Confirming {
        since: Timestamp,
        started_at: Timestamp,
    },
    Again {
        streak: u32,
        good_since: Timestamp,
        at: Timestamp,
    },
}

struct Model<'a> {
    policy: &'a Policy,
    quorum: Quorum,
    past: &'a [(Timestamp, Event)],
    /// What was heard before this event of the past says nothing any more.
    void: usize,
    now: Timestamp,
    told: Told,
    changed_at: Timestamp,
    question: Question,
    owed: bool,
    quiet_until: Timestamp,
    fruitless: u32,
    /// Regions that wait until then.
    held: Vec<usize>,
    /// Regions whose present streak the last round has looked at, with how often they had turned by then.
    reviewed: BTreeMap<usize, usize>,
    reviewed_at: Timestamp,
    /// Votes that began before count no more.
    blind_until: Timestamp,
    /// Streaks that a round found to have begun earlier than their first vote.
    earlier: BTreeMap<usize, (Timestamp, Timestamp)>,
    patience_until: Timestamp,
    short_since: Option<Timestamp>,
}

impl<'a> Model<'a> {
    fn step(&mut self, past: &'a [(Timestamp, Event)]) {
        let (now, event) = past.last().expect("a step has an event");
        // Votes that went stale since the last event did so when they did.
        if self.short_since.is_none() {
            self.short_since = self.lapses_at().filter(|at| *at <= *now);
        }
        let votes_before: Vec<_> = self.regions().map(|region| self.vote(region).cloned()).collect();
        (self.past, self.now) = (past, *now);
        match event {
            Event::Observed { result, .. } => self.observed(result, &votes_before),
            Event::Slow { region, started_at } => {
                let region = self.policy.regions.iter().position(|id| id == region).expect("assigned");
                self.slow(region, *started_at);
            }
            Event::Paused if !self.is_paused() => {
                self.end(Word::Paused);
                self.forget();
            }
            Event::Resumed if self.is_paused() => {
                self.forget();
                self.patience_until = self.now.plus(self.policy.timeout).plus(SECOND * 60);
                (self.quiet_until, self.fruitless) = (self.now, 0);
                self.tell(Word::Pending);
            }
            Event::PolicyChanged { respec } if !self.is_paused() => {
                if *respec {
                    self.forget();
                    self.patience_until = self.now.plus(self.policy.timeout).plus(SECOND * 60);
                    (self.quiet_until, self.fruitless) = (self.now, 0);
                }
                if self.is_down() {
                    self.question = Question::None;
                    self.owed = true;
                }
            }
            Event::Blind { to, .. } if !self.is_paused() => {
                self.blind_until = self.blind_until.max((*to).min(*now));
                let in_question = self.is_down()
                    || self.told.status == Word::Pending
                    || !matches!(self.question, Question::None)
                    || self.regions().any(|region| self.vote(region).is_some_and(is_fail));
                self.question = Question::None;
                self.owed = in_question;
                let patience = Duration::from_secs(60).max(self.freshness());
                self.patience_until = self.patience_until.max((*to).min(*now).plus(patience));
            }
            _ => {}
        }
        while !self.is_paused() && self.advance() {}
        if self.is_short(self.now) {
            self.short_since.get_or_insert(self.now);
        } else {
            self.short_since = None;
        }
        if self.is_paused() {
            return;
        }
        let is_asked = matches!(self.question, Question::Asked { .. } | Question::Confirming { .. });
        if !self.is_down() && !is_asked && self.says_up() {
            self.tell(Word::Answers);
        }
        let lasted =
            |since: Timestamp| since.plus(Duration::from_secs(60)).max(self.patience_until) <= self.now;
        if !self.is_down() && self.short_since.is_some_and(lasted) {
            self.tell(Word::Unknown);
        }
    }

    fn observed(&mut self, result: &CheckResult, votes_before: &[Option<CheckResult>]) {
        let region = self.policy.regions.iter().position(|id| *id == result.region).expect("assigned");
        let is_vote = self.vote(region) != votes_before[region].as_ref();
        let unheard =
            result.started_at < self.blind_until && self.now < result.started_at.plus(self.freshness());
        let idle = matches!(self.question, Question::None | Question::Held);
        if is_vote && is_fail(result) && unheard && idle && !self.is_down() {
            self.owed = true;
        }
        // A round that sees two attempts of a streak knows when the streak began.
        let attempts = self.attempts(region);
        if self.is_certain(&attempts)
            && let Some(since) = self.course(region).failing_since
            && self.vote(region).is_some_and(is_fail)
            && let Some(first) = attempts.first().copied().filter(|first| *first < since)
        {
            let known = self.earlier.get(&region).filter(|(of, _)| *of == since).map_or(first, |(_, at)| *at);
            self.earlier.insert(region, (since, known.min(first)));
        }
    }

    fn slow(&mut self, region: usize, started_at: Timestamp) {
        let news = self.is_live(region)
            && self.failing_since(region).is_none()
            && self.vote(region).is_none_or(|vote| vote.started_at < started_at);
        let recent = started_at <= self.now && self.now < started_at.plus(self.freshness());
        let idle = matches!(self.question, Question::None | Question::Held) && !self.owed;
        let idle = idle && !self.is_paused() && self.policy.thresholds.failures <= 1;
        if news && recent && idle && !self.is_held(region) && self.can_ask() && !self.is_down() {
            self.wanted();
            self.ask(self.before(started_at), self.now, None, Some(region));
        }
    }

    /// Does one thing that is due.
    fn advance(&mut self) -> bool {
        match self.question.clone() {
            Question::Asked { at, streak, good_since, asker, confirms, .. } => {
                let (failing, eligible) = (self.failing().len(), self.counting(self.now).len());
                let regions = self.policy.regions.len();
                let down = failing >= self.quorum.needed(regions, eligible);
                let heard = self.heard().len();
                let needed = self.quorum.needed(regions, heard);
                let up = !down && heard >= needed && self.doubtful(true).len() < needed;
                let over = at.plus(SECOND).plus(self.policy.timeout).plus(Duration::from_secs(5));
                let broken = confirms.is_some() && !self.still_failing();
                if !broken && !down && !up && !self.all_answered() && self.now < over {
                    return false;
                }
                let answer = match (broken, down, up) {
                    (false, true, _) => Some(Answer::Down),
                    (false, false, true) => Some(Answer::Up),
                    _ => None,
                };
                self.conclude(at, streak, confirms, asker, good_since.unwrap_or(at), answer);
            }
            Question::Confirming { .. } if !self.still_failing() => {
                self.question = Question::None;
                self.refute(None, is_fail);
            }
            Question::Confirming { since, started_at }
                if self.now >= since.plus(self.policy.confirmation_period) =>
            {
                self.ask(self.now, self.now, None, None);
                if let Question::Asked { confirms, .. } = &mut self.question {
                    *confirms = Some(started_at);
                }
            }
            Question::Confirming { .. } => return false,
            Question::Again { streak, good_since, at } if self.now >= at => {
                self.ask(self.now, self.now, Some(streak), None);
                if let Question::Asked { good_since: since, .. } = &mut self.question {
                    *since = Some(good_since);
                }
            }
            Question::Again { .. } => return false,
            Question::None | Question::Held => return self.begin(),
        }
        true
    }

    fn conclude(
        &mut self,
        asked_at: Timestamp,
        streak: Option<u32>,
        confirms: Option<Timestamp>,
        asker: Option<usize>,
        good_since: Timestamp,
        answer: Option<Answer>,
    ) {
        let (down, up) = (answer == Some(Answer::Down), answer == Some(Answer::Up));
        let enough = streak.is_some_and(|streak| streak + 1 >= self.policy.recovery_checks.max(1));
        let lasts_until = good_since.plus(self.must_stay_up());
        let reviewed: Vec<_> =
            self.regions().map(|region| streak.is_some() || up || self.has_answered(region)).collect();
        for (region, reviewed) in reviewed.into_iter().enumerate() {
            if reviewed {
                self.reviewed.insert(region, self.turns(region));
            } else {
                self.reviewed.remove(&region);
            }
        }
        self.reviewed_at = self.now;
        let first =
            |region: usize| self.attempts(region).first().copied().or(Some(self.vote(region)?.started_at));
        let started_at = self.failing().into_iter().filter_map(first).min().unwrap_or(self.now);
        self.question = Question::None;
        match streak {
            None if down && confirms.is_none() && !self.policy.confirmation_period.is_zero() => {
                self.question = Question::Confirming { since: self.now, started_at };
            }
            None if down => {
                let started_at = confirms.unwrap_or(started_at);
                self.tell(Word::Down);
                let opened_at = self.now;
                self.told.incidents.push(Outage { started_at, opened_at, resolved_at: None });
                (self.quiet_until, self.fruitless) = (self.now, 0);
            }
            Some(_) if up && enough && self.now >= lasts_until => {
                self.tell(Word::Answers);
                self.told.incidents.last_mut().expect("down").resolved_at = Some(self.now);
                (self.quiet_until, self.fruitless) = (self.now, 0);
            }
            Some(streak) if up => {
                let rest = if enough { lasts_until.since(asked_at) } else { Duration::ZERO };
                let at = asked_at.plus(rest.clamp(SECOND * 10, SECOND * 30));
                self.question = Question::Again { streak: streak + 1, good_since, at };
            }
            None => self.refute(asker, is_fail),
            Some(_) => self.refute(asker, is_pass),
        }
    }

    /// A question came to nothing: who asked it, and who found the same, waits.
    fn refute(&mut self, asker: Option<usize>, found: fn(&CheckResult) -> bool) {
        let refuted = |region: &usize| asker == Some(*region) || self.vote(*region).is_some_and(found);
        let refuted: Vec<usize> = self.regions().filter(refuted).collect();
        if refuted.is_empty() {
            return;
        }
        if self.now >= self.quiet_until {
            self.held.clear();
        }
        self.held.extend(refuted);
        let pause = Duration::from_secs([1, 2, 4, 8, 16, 30][self.fruitless.min(5) as usize]);
        self.quiet_until = self.now.plus(pause);
        self.fruitless += 1;
    }

    /// The user ends what is open, and all that is in question.
    fn end(&mut self, status: Word) {
        if self.is_down() {
            self.told.incidents.last_mut().expect("down").resolved_at = Some(self.now);
        }
        self.tell(status);
    }

    /// What was heard until now says nothing any more.
    fn forget(&mut self) {
        self.void = self.past.len();
        self.question = Question::None;
        self.owed = false;
        self.reviewed.clear();
        self.earlier.clear();
    }

    /// Whether no pass has broken the quorum; silence does not.
    fn still_failing(&self) -> bool {
        let failing = self.regions().filter(|region| self.failing_since(*region).is_some()).count();
        failing >= self.quorum.needed(self.policy.regions.len(), self.counting(self.now).len())
    }

    /// A recovery lasts as long as the user asks; the third opening within an hour is held open until it has been up for ten minutes.
    fn must_stay_up(&self) -> Duration {
        let opened: Vec<_> = self.told.incidents.iter().rev().map(|incident| incident.opened_at).collect();
        let is_flapping = opened.len() > 2 && opened[0].since(opened[2]) < Duration::from_secs(3_600);
        let asked = self.policy.thresholds.recovery_period;
        if is_flapping { asked.max(Duration::from_secs(600)) } else { asked }
    }

    fn begin(&mut self) -> bool {
        let was_held = matches!(self.question, Question::Held);
        let trigger = if self.owed {
            Some((self.now, None))
        } else if self.is_down() {
            self.recovery()
        } else {
            self.failure()
        };
        let Some((from, asker)) = trigger.filter(|_| self.can_ask()) else {
            self.question = Question::None;
            return was_held;
        };
        if !std::mem::take(&mut self.owed) {
            if !was_held {
                self.wanted();
            }
            if asker.is_some_and(|asker| self.is_held(asker)) {
                self.question = Question::Held;
                return false;
            }
        }
        if self.is_down() {
            self.ask(from, from, Some(0), asker);
        } else {
            let failing_from = if asker.is_some() { self.before(from) } else { from };
            self.ask(failing_from, self.now, None, asker);
        }
        true
    }

    /// A round is wanted: after a while without, the pauses begin anew.
    fn wanted(&mut self) {
        if self.now >= self.quiet_until.plus(self.policy.interval * 3 / 2) {
            (self.quiet_until, self.fruitless) = (self.now, 0);
        }
    }

    /// The failure that asks for a round, and whose: one that no round has looked at lately, or one of enough to be
    /// down. Who is not held back asks for the others too.
    fn failure(&self) -> Option<(Timestamp, Option<usize>)> {
        let mut failing: Vec<usize> = self
            .counting(self.now)
            .into_iter()
            .filter(|region| self.vote(*region).is_some_and(is_fail) && self.fails_enough(*region))
            .collect();
        let started_at = |region: &usize| self.vote(*region).map(|vote| vote.started_at);
        failing.sort_by_key(started_at);
        let (news, known): (Vec<usize>, Vec<usize>) =
            failing.iter().partition(|region| self.is_news(**region));
        let needed = self.quorum.needed(self.policy.regions.len(), self.counting(self.now).len());
        let known = if failing.len() >= needed { known } else { vec![] };
        let asker = self.first_not_held(&[news.clone(), known])?;
        let oldest = |of: &[usize]| of.iter().filter_map(started_at).min();
        Some((oldest(&news).or_else(|| oldest(&failing))?, Some(asker)))
    }

    /// From when on answers count in a round of recovery, if one is to be asked, and who asks for it.
    fn recovery(&self) -> Option<(Timestamp, Option<usize>)> {
        let mut passing: Vec<usize> = self
            .counting(self.now)
            .into_iter()
            .filter(|region| self.vote(*region).is_some_and(is_pass))
            .collect();
        let started_at = |region: &usize| self.vote(*region).map(|vote| vote.started_at);
        passing.sort_by_key(|region| std::cmp::Reverse(started_at(region)));
        let is_news = |region: &usize| self.is_news(*region) && started_at(region) > Some(self.changed_at);
        let (news, known): (Vec<usize>, Vec<usize>) = passing.iter().partition(|region| is_news(region));
        let known = if self.says_up() { known } else { vec![] };
        let asker = self.first_not_held(&[news.clone(), known])?;
        let from = if news.contains(&asker) { started_at(&asker)? } else { self.now };
        Some((from, Some(asker)))
    }

    /// The first that is not held back, else the first.
    fn first_not_held(&self, candidates: &[Vec<usize>]) -> Option<usize> {
        let all: Vec<usize> = candidates.concat();
        all.iter().copied().find(|region| !self.is_held(*region)).or_else(|| all.first().copied())
    }

    fn is_held(&self, region: usize) -> bool {
        self.now < self.quiet_until && self.held.contains(&region)
    }

    /// Whether a region's vote is something that no round has looked at within four minutes of it.
    fn is_news(&self, region: usize) -> bool {
        let lately = |vote: &CheckResult| vote.started_at < self.reviewed_at.plus(SECOND * 240);
        !(self.is_reviewed(region) && self.vote(region).is_some_and(lately))
    }

    fn ask(
        &mut self,
        failing_from: Timestamp,
        passing_from: Timestamp,
        streak: Option<u32>,
        asker: Option<usize>,
    ) {
        let before = self
            .regions()
            .filter_map(|region| {
                let vote = self.vote(region)?;
                let since = self.failing_since(region).filter(|since| *since >= failing_from);
                let standing = match is_fail(vote) && vote.started_at >= failing_from {
                    true => vec![since.unwrap_or(vote.started_at), vote.started_at],
                    false => vec![],
                };
                Some((region, (standing, is_pass(vote).then_some(vote.started_at))))
            })
            .collect();
        let since = self.past.len();
        self.question = Question::Asked {
            at: self.now,
            failing_from,
            passing_from,
            streak,
            confirms: None,
            asker,
            good_since: None,
            since,
            before,
        };
    }

    fn before(&self, started_at: Timestamp) -> Timestamp {
        let oldest = self.now.minus(self.policy.timeout * 2).minus(Duration::from_secs(30));
        started_at.minus(self.policy.timeout).max(oldest)
    }

    fn tell(&mut self, status: Word) {
        if self.told.status != status {
            self.told.status = status;
            self.changed_at = self.now;
        }
    }
}
