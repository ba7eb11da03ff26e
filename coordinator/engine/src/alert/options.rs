//! What users say about alerts, and what of it holds for one incident.

use std::collections::BTreeSet;
use std::time::Duration;

use model::{ChannelId, Timestamp};
use serde::{Deserialize, Serialize};

use super::QuietHours;
use crate::phrase;

/// Steps of an escalation.
pub const MAX_STEPS: usize = 10;
/// How often an escalation may be repeated.
pub const MAX_REPEATS: u32 = 10;
/// Channels of one step.
pub const MAX_CHANNELS: usize = 20;

const MAX_DELAY: Duration = Duration::from_secs(86_400);
const MIN_EVERY: Duration = Duration::from_secs(1);
const MAX_EVERY: Duration = Duration::from_secs(7 * 86_400);
/// Reminders that back off still come this often.
const LONGEST_GAP: Duration = Duration::from_secs(7 * 86_400);

/// How bad an incident is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// We see less than we should; nothing is known to be broken.
    #[default]
    Warning,
    /// Something is broken.
    Critical,
}

/// What holds for one incident at an instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The first one that names a channel decides for it.
    pub rules: Vec<Rule>,
    /// Nothing is told until it is over.
    pub silence: Option<Silenced>,
}

/// Whom a rule tells, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// By which its escalation is remembered: the policy's id; empty: the subject's own.
    pub name: String,
    /// Whom it tells of an opening.
    pub channels: Vec<ChannelId>,
    /// How.
    pub options: Options,
}

/// That nothing is to be told for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silenced {
    /// Until when.
    pub until: Timestamp,
    /// Why, for people.
    pub reason: String,
}

/// How somebody is told. The default is: at once, once, and of the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Incidents less bad than this are not told.
    pub severity: Severity,
    /// Nobody is told of an incident before it has been open for so long.
    pub delay: Duration,
    /// Whether and how often those who were told are reminded.
    pub reminders: Option<Reminders>,
    /// Who else is told if nobody acknowledges it.
    pub escalation: Escalation,
    /// When it waits.
    pub quiet_hours: Option<QuietHours>,
    /// Whether the end is told.
    pub recovery: bool,
    /// Whether an acknowledgement is told.
    pub acknowledgement: bool,
}

/// How often those who were told are told again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reminders {
    /// How long after the message before.
    pub every: Duration,
    /// How the pauses grow.
    #[serde(default)]
    pub backoff: Backoff,
    /// At most so many; 0: until it ends or is acknowledged.
    #[serde(default)]
    pub max: u32,
}

/// How the pauses between reminders grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backoff {
    /// Not at all.
    #[default]
    None,
    /// 1, 2, 3 … times the first.
    Linear,
    /// 1, 2, 4 … times the first.
    Double,
}

/// Who else is told if nobody acknowledges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escalation {
    /// In order of time.
    pub steps: Vec<Step>,
    /// How often the steps are gone through again.
    #[serde(default)]
    pub repeat: u32,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// How long after the first was told; when repeated, after the last step of the round before.
    pub after: Duration,
    /// Whom it tells.
    pub channels: Vec<ChannelId>,
}

/// What is wrong with options.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct InvalidOptions {
    /// Of which one, as the admin API calls it.
    pub field: &'static str,
    /// What, and what is allowed.
    pub problem: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            severity: Severity::Warning,
            delay: Duration::ZERO,
            reminders: None,
            escalation: Escalation::default(),
            quiet_hours: None,
            recovery: true,
            acknowledgement: true,
        }
    }
}

impl Options {
    /// Whether they say nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Every channel that they name.
    pub fn channels(&self) -> impl Iterator<Item = ChannelId> {
        self.escalation.steps.iter().flat_map(|step| step.channels.iter().copied())
    }

    /// Refuses what cannot be meant.
    ///
    /// # Errors
    /// Says what is wrong with which part.
    pub fn check(&self) -> Result<(), InvalidOptions> {
        let refuse = |field, problem: String| Err(InvalidOptions { field, problem });
        if self.delay > MAX_DELAY {
            return refuse("delay", format!("must be at most {}", phrase::span(MAX_DELAY)));
        }
        if let Some(reminders) = self.reminders
            && !(MIN_EVERY..=MAX_EVERY).contains(&reminders.every)
        {
            return refuse("remind_every", "must be from 1 second to 7 days".to_owned());
        }
        let Escalation { steps, repeat } = &self.escalation;
        if steps.len() > MAX_STEPS {
            return refuse("escalation", format!("at most {MAX_STEPS} steps are allowed"));
        }
        if *repeat > MAX_REPEATS {
            return refuse("escalation_repeat", format!("must be at most {MAX_REPEATS}"));
        }
        let mut before = Duration::ZERO;
        for step in steps {
            if step.channels.is_empty() || step.channels.len() > MAX_CHANNELS {
                return refuse("escalation", format!("every step needs 1 to {MAX_CHANNELS} channels"));
            }
            if step.after <= before || step.after > MAX_EVERY {
                return refuse(
                    "escalation",
                    "every step must come after the one before, at most 7 days after the first message"
                        .to_owned(),
                );
            }
            before = step.after;
        }
        Ok(())
    }
}

impl Reminders {
    /// The pause after so many reminders.
    #[must_use]
    pub(super) fn gap(self, made: u32) -> Duration {
        let factor = match self.backoff {
            Backoff::None => 1,
            Backoff::Linear => made.saturating_add(1),
            Backoff::Double => 1_u32.checked_shl(made.min(30)).unwrap_or(u32::MAX),
        };
        self.every.saturating_mul(factor).min(LONGEST_GAP.max(self.every))
    }

    /// Whether there is another one after so many.
    pub(super) const fn allow(self, made: u32) -> bool {
        self.max == 0 || made < self.max
    }
}

impl Policy {
    /// Who is told of the opening of an incident.
    #[must_use]
    pub fn channels(&self, severity: Severity) -> BTreeSet<ChannelId> {
        self.rules_for(severity).flat_map(|rule| rule.channels.iter().copied()).collect()
    }

    /// The rules that an incident so bad is told by.
    pub(super) fn rules_for(&self, severity: Severity) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(move |rule| severity >= rule.options.severity)
    }

    /// How a channel is told: by the first rule that names it, or else the first that escalates to it.
    pub(super) fn options_for(&self, channel: ChannelId, severity: Severity) -> Option<&Options> {
        let named = self.rules_for(severity).find(|rule| rule.channels.contains(&channel));
        let escalated =
            || self.rules_for(severity).find(|rule| rule.options.channels().any(|it| it == channel));
        named.or_else(escalated).map(|rule| &rule.options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_as_they_were_asked_to_and_not_without_end() {
        let minute = Duration::from_secs(60);
        let gaps = |backoff| {
            let reminders = Reminders { every: minute, backoff, max: 0 };
            [0, 1, 2, 3].map(|made| reminders.gap(made).as_secs() / 60)
        };
        assert_eq!(gaps(Backoff::None), [1, 1, 1, 1]);
        assert_eq!(gaps(Backoff::Linear), [1, 2, 3, 4]);
        assert_eq!(gaps(Backoff::Double), [1, 2, 4, 8]);
        let doubling = Reminders { every: minute, backoff: Backoff::Double, max: 2 };
        assert_eq!(doubling.gap(u32::MAX), LONGEST_GAP);
        assert!(doubling.allow(1) && !doubling.allow(2));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_the_name_of_its_field() {
        let channel = ChannelId::from_bytes([1; 16]);
        let step = |secs| Step { after: Duration::from_secs(secs), channels: vec![channel] };
        let field = |options: Options| options.check().unwrap_err().field;
        assert!(Options::default().check().is_ok());
        assert_eq!(field(Options { delay: MAX_DELAY * 2, ..Options::default() }), "delay");
        let reminders = Some(Reminders { every: Duration::ZERO, backoff: Backoff::None, max: 0 });
        assert_eq!(field(Options { reminders, ..Options::default() }), "remind_every");
        let escalation =
            |steps, repeat| Options { escalation: Escalation { steps, repeat }, ..Options::default() };
        assert!(escalation(vec![step(60), step(120)], 3).check().is_ok());
        assert_eq!(field(escalation(vec![step(60), step(60)], 0)), "escalation");
        assert_eq!(field(escalation(vec![step(0)], 0)), "escalation");
        assert_eq!(field(escalation(vec![Step { channels: vec![], ..step(1) }], 0)), "escalation");
        assert_eq!(field(escalation(vec![step(1)], 11)), "escalation_repeat");
    }
}
