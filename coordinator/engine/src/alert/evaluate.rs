//! One look at an alert: who is to be told now, and when to look again.

use std::collections::{BTreeMap, BTreeSet};

use model::{ChannelId, Timestamp};

use super::{Effect, News, Options, Policy, Rule, State, Told, Transition};

/// Tells everybody of what has come to be due.
pub(super) fn run(state: State, policy: &Policy, now: Timestamp) -> Transition {
    let mut look = Look::new(state, policy, now);
    if look.state.ended {
        look.end();
    } else {
        look.open();
        look.escalate();
        look.remind();
    }
    look.finish()
}

/// Tells of those who joined, whoever is told nothing else now.
pub(super) fn update(state: State, policy: &Policy, now: Timestamp) -> Transition {
    if state.ended {
        return run(state, policy, now);
    }
    let mut look = Look::new(state, policy, now);
    look.open();
    look.escalate();
    look.remind();
    let told: Vec<ChannelId> = look.state.told.keys().copied().collect();
    for channel in told {
        // What is held is not told later: the next message says it too.
        if !look.news_of.contains(&channel) && look.hold(look.options(channel)).is_none() {
            look.tell(News::Updated, channel);
        }
    }
    look.finish()
}

/// Tells those who were told that somebody takes care of it.
pub(super) fn acknowledge(state: State, policy: &Policy, now: Timestamp) -> Transition {
    let mut look = Look::new(state, policy, now);
    let told: Vec<ChannelId> = look.state.told.keys().copied().collect();
    for channel in told {
        let options = look.options(channel);
        if options.is_none_or(|options| options.acknowledgement) && look.hold(options).is_none() {
            look.tell(News::Acknowledged, channel);
        }
    }
    look.finish()
}

/// A state on its way to the next one.
struct Look<'a> {
    state: State,
    policy: &'a Policy,
    now: Timestamp,
    due: Option<Timestamp>,
    tells: BTreeMap<News, BTreeSet<ChannelId>>,
    /// Who is told something in this look.
    news_of: BTreeSet<ChannelId>,
    records: Vec<String>,
}

/// Why something waits.
struct Hold {
    until: Timestamp,
    why: String,
}

impl<'a> Look<'a> {
    fn new(state: State, policy: &'a Policy, now: Timestamp) -> Self {
        let (tells, news_of) = (BTreeMap::new(), BTreeSet::new());
        Self { state, policy, now, due: None, tells, news_of, records: vec![] }
    }

    /// Tells of the opening whoever waits for it.
    fn open(&mut self) {
        for channel in self.state.waiting.clone() {
            let Some(options) = self.options(channel) else {
                // The policy does not name it any more.
                self.state.waiting.remove(&channel);
                continue;
            };
            let ready_at = self.not_before(self.state.opened_at.plus(options.delay));
            if ready_at > self.now {
                self.look_again(ready_at);
            } else if let Some(hold) = self.hold(Some(options)) {
                self.wait_for(hold);
            } else {
                self.state.waiting.remove(&channel);
                self.hear(channel);
                self.tell(News::Opened, channel);
            }
        }
    }

    /// Takes the steps that are due because nobody has acknowledged.
    fn escalate(&mut self) {
        if self.state.acknowledged {
            return;
        }
        let policy = self.policy;
        for rule in policy.rules_for(self.state.severity) {
            let Some(anchor) = self.first_told(rule) else { continue };
            let taken_until = self.state.escalated.get(&rule.name).copied();
            let planned: Vec<Planned<'_>> = steps(rule, anchor)
                .filter(|planned| taken_until.is_none_or(|taken| planned.at > taken))
                .collect();
            let (due, later): (Vec<_>, Vec<_>) =
                planned.into_iter().partition(|planned| self.not_before(planned.at) <= self.now);
            if let Some(next) = later.first() {
                self.look_again(self.not_before(next.at));
            }
            let Some(last) = due.last() else { continue };
            if let Some(hold) = self.hold(Some(&rule.options)) {
                self.wait_for(hold);
                continue;
            }
            self.state.escalated.insert(rule.name.clone(), last.at);
            let channels: BTreeSet<ChannelId> =
                due.iter().flat_map(|planned| planned.channels.iter().copied()).collect();
            for &channel in &channels {
                self.state.waiting.remove(&channel);
                // Who hears of it for the first time in this very look is not told twice.
                if !self.news_of.contains(&channel) {
                    self.hear(channel);
                    self.tell(News::Escalated(last.number), channel);
                }
            }
            self.records.push(format!("not acknowledged: escalation step {} taken", last.number));
        }
    }

    /// Reminds those who were told long enough ago.
    fn remind(&mut self) {
        if self.state.acknowledged {
            return;
        }
        for (channel, told) in self.state.told.clone() {
            let Some(options) = self.options(channel) else { continue };
            let Some(reminders) = options.reminders.filter(|it| it.allow(told.reminders)) else { continue };
            // It may have been told a moment ago, as one that was escalated to.
            let at = self.not_before(told.last_at.plus(reminders.gap(told.reminders)));
            if at > self.now {
                self.look_again(at);
                continue;
            }
            if let Some(hold) = self.hold(Some(options)) {
                self.wait_for(hold);
                continue;
            }
            let number = told.reminders + 1;
            self.state.told.insert(channel, Told { last_at: self.now, reminders: number, ..told });
            self.tell(News::Reminder(number), channel);
            if reminders.allow(number) {
                self.look_again(self.now.plus(reminders.gap(number)));
            }
        }
    }

    /// Tells of the end whoever was told of the opening.
    fn end(&mut self) {
        let told: Vec<ChannelId> = self.state.told.keys().copied().collect();
        for channel in told {
            let options = self.options(channel);
            if let Some(hold) = self.hold(options) {
                self.wait_for(hold);
                continue;
            }
            self.state.told.remove(&channel);
            if options.is_none_or(|options| options.recovery) {
                self.tell(News::Ended, channel);
            }
        }
    }

    fn finish(mut self) -> Transition {
        self.state.due_at = self.due;
        if self.due.is_none() && self.state.held.is_some() {
            self.state.held = None;
        }
        let mut effects: Vec<Effect> = self.records.into_iter().map(Effect::Record).collect();
        let tells = self.tells.into_iter();
        effects.extend(
            tells.map(|(news, channels)| Effect::Tell { news, channels: channels.into_iter().collect() }),
        );
        Transition { state: self.state, effects }
    }

    /// How a channel is told; `None`: no rule names it any more.
    fn options(&self, channel: ChannelId) -> Option<&'a Options> {
        self.policy.options_for(channel, self.state.severity)
    }

    /// What holds back what is due.
    fn hold(&self, options: Option<&Options>) -> Option<Hold> {
        if let Some(silence) = self.policy.silence.as_ref().filter(|silence| silence.until > self.now) {
            let reason =
                if silence.reason.is_empty() { String::new() } else { format!(" ({})", silence.reason) };
            let why = format!("nobody is told until {}: silenced{reason}", silence.until);
            return Some(Hold { until: silence.until, why });
        }
        let hours = options?.quiet_hours.as_ref()?;
        if self.state.severity > super::Severity::Warning && !hours.holds_critical() {
            return None;
        }
        let until = hours.until(self.now)?;
        Some(Hold { until, why: format!("held until {until}: quiet hours") })
    }

    fn wait_for(&mut self, hold: Hold) {
        self.look_again(hold.until);
        if self.state.held.as_ref() != Some(&hold.why) {
            self.records.push(hold.why.clone());
            self.state.held = Some(hold.why);
        }
    }

    fn hear(&mut self, channel: ChannelId) {
        let fresh = Told { at: self.now, last_at: self.now, reminders: 0 };
        self.state.told.entry(channel).or_insert(fresh).last_at = self.now;
    }

    fn tell(&mut self, news: News, channel: ChannelId) {
        self.news_of.insert(channel);
        self.tells.entry(news).or_default().insert(channel);
    }

    fn look_again(&mut self, at: Timestamp) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// After blindness nothing comes by the clock for a moment.
    fn not_before(&self, at: Timestamp) -> Timestamp {
        self.state.not_before.map_or(at, |bound| at.max(bound))
    }

    /// When the first of a rule's channels was told; of a rule that only escalates, when it could have been.
    fn first_told(&self, rule: &Rule) -> Option<Timestamp> {
        if rule.options.escalation.steps.is_empty() {
            return None;
        }
        if rule.channels.is_empty() {
            return Some(self.state.opened_at.plus(rule.options.delay));
        }
        rule.channels.iter().filter_map(|channel| self.state.told.get(channel)).map(|told| told.at).min()
    }
}

/// A step of an escalation at its instant.
struct Planned<'a> {
    at: Timestamp,
    /// From 1, over all rounds.
    number: u32,
    channels: &'a [ChannelId],
}

/// Every step of a rule, in order.
fn steps(rule: &Rule, anchor: Timestamp) -> impl Iterator<Item = Planned<'_>> {
    let escalation = &rule.options.escalation;
    let mut begins_at = anchor;
    let mut number = 0;
    (0..=escalation.repeat).flat_map(move |_| {
        let round: Vec<Planned<'_>> = escalation
            .steps
            .iter()
            .map(|step| {
                number += 1;
                Planned { at: begins_at.plus(step.after), number, channels: &step.channels }
            })
            .collect();
        begins_at = round.last().map_or(begins_at, |last| last.at);
        round
    })
}
