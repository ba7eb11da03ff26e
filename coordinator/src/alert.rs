//! Who is told: policies and silences, rows of the settings, and what of them holds for a subject.
//!
//! In come rows; out go [`AlertPolicy`] and [`Silence`], one of each, and the [`Book`] of them all, from which the owner
//! of the shards makes the rules for an incident ([`engine::alert::Policy`]). A subject's own channels and options come
//! first; policies follow in the order of their names.

use engine::alert::{Options, Policy, Rule, Silenced};
use engine::maintenance::Scope;
use model::{ChannelId, PolicyId, SilenceId, SubjectId, Timestamp};
use serde::{Deserialize, Serialize};
use store::records::DEFAULT_WORKSPACE;
use store::{Config, PolicyRow, SilenceRow};
use tracing::warn;

use crate::definition::Definition;
use crate::notify::channel::takes_notices;

/// A silence lasts at most this long: nobody remembers one that is older.
pub const LONGEST_SILENCE: std::time::Duration = std::time::Duration::from_secs(31 * 86_400);

/// A rule about who is told of incidents.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertPolicy {
    /// Which.
    pub id: PolicyId,
    /// Unique.
    pub name: String,
    /// Rises with every change; the etag.
    pub revision: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// What it says.
    pub terms: Terms,
}

/// What a policy says; the stored part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Of what. Everything includes what only operators hear of.
    pub scope: Scope,
    /// Who.
    pub channels: Vec<ChannelId>,
    /// How.
    pub options: Options,
}

/// A time in which nobody is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Which.
    pub id: SilenceId,
    /// When it was created, which is when it began.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Of what, and why.
    pub motive: Motive,
}

/// What a silence is of and why; the stored part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Motive {
    /// Of what. Everything includes what only operators hear of.
    pub scope: Scope,
    /// Why, for people.
    pub reason: String,
    /// Whose it is, in their own words; may be empty.
    pub by: String,
}

/// All policies and silences.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// By name.
    policies: Vec<AlertPolicy>,
    silences: Vec<Silence>,
}

/// A stored policy or silence that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the definition of {id} cannot be read: {problem}")]
pub struct Unreadable {
    id: String,
    problem: serde_json::Error,
}

impl AlertPolicy {
    /// Reads a stored policy.
    ///
    /// # Errors
    /// When the stored JSON is not one.
    pub fn from_row(row: &PolicyRow) -> Result<Self, Unreadable> {
        let terms = serde_json::from_str(&row.definition)
            .map_err(|problem| Unreadable { id: row.id.to_string(), problem })?;
        Ok(Self {
            id: row.id,
            name: row.name.clone(),
            revision: row.revision,
            created_at: row.created_at,
            updated_at: row.updated_at,
            terms,
        })
    }

    /// The policy as it is stored.
    #[must_use]
    pub fn to_row(&self) -> PolicyRow {
        PolicyRow {
            id: self.id,
            workspace: DEFAULT_WORKSPACE.into(),
            name: self.name.clone(),
            definition: serde_json::to_string(&self.terms).expect("terms have only text keys"),
            revision: self.revision,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }

    fn rule(&self) -> Rule {
        Rule {
            name: self.id.to_string(),
            channels: self.terms.channels.clone(),
            options: self.terms.options.clone(),
        }
    }
}

impl Silence {
    /// Reads a stored silence.
    ///
    /// # Errors
    /// When the stored JSON is not one.
    pub fn from_row(row: &SilenceRow) -> Result<Self, Unreadable> {
        let motive = serde_json::from_str(&row.definition)
            .map_err(|problem| Unreadable { id: row.id.to_string(), problem })?;
        Ok(Self { id: row.id, created_at: row.created_at, expires_at: row.expires_at, motive })
    }

    /// The silence as it is stored.
    #[must_use]
    pub fn to_row(&self) -> SilenceRow {
        SilenceRow {
            id: self.id,
            workspace: DEFAULT_WORKSPACE.into(),
            definition: serde_json::to_string(&self.motive).expect("motives have only text keys"),
            created_at: self.created_at,
            expires_at: self.expires_at,
        }
    }
}

impl Book {
    /// What a configuration says. What cannot be read is left out: that tells too much rather than too little of a
    /// silence, and of a policy what the subject itself says.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let left_out = |error: &Unreadable| warn!(%error, "left out until it is repaired");
        let policies = config.policies.iter().map(AlertPolicy::from_row);
        let mut policies: Vec<AlertPolicy> =
            policies.filter_map(|read| read.inspect_err(left_out).ok()).collect();
        policies.sort_by(|one, other| one.name.cmp(&other.name));
        let silences = config.silences.iter().map(Silence::from_row);
        let silences = silences.filter_map(|read| read.inspect_err(left_out).ok()).collect();
        Self { policies, silences }
    }

    /// What holds for a subject's incidents.
    #[must_use]
    pub fn policy_for(&self, definition: &Definition, now: Timestamp) -> Policy {
        let covers = |scope: &Scope| scope.covers(definition.id, definition.tags());
        let own = Rule {
            name: String::new(),
            channels: definition.channels().to_vec(),
            options: definition.alert().clone(),
        };
        let general = self.policies.iter().filter(|policy| covers(&policy.terms.scope));
        let rules = std::iter::once(own).chain(general.map(AlertPolicy::rule)).collect();
        Policy { rules, silence: self.silence(covers, now) }
    }

    /// What holds for the incidents of a subject that is deleted: what silences it.
    #[must_use]
    pub fn policy_for_deleted(&self, id: SubjectId, now: Timestamp) -> Policy {
        Policy { rules: vec![], silence: self.silence(|scope| scope.covers(id, &[]), now) }
    }

    /// What holds for what only operators hear of: policies and silences for everything, and the channels that take
    /// notices.
    #[must_use]
    pub fn policy_for_operators(&self, config: &Config, now: Timestamp) -> Policy {
        let covers = |scope: &Scope| scope.all;
        let general = self.policies.iter().filter(|policy| covers(&policy.terms.scope));
        let takers = config.channels.iter().filter(|row| takes_notices(row)).map(|row| row.id);
        let notices = Rule { name: String::new(), channels: takers.collect(), options: Options::default() };
        let rules = general.map(AlertPolicy::rule).chain(std::iter::once(notices)).collect();
        Policy { rules, silence: self.silence(covers, now) }
    }

    /// The silence that lasts longest of those that hold now.
    fn silence(&self, covers: impl Fn(&Scope) -> bool, now: Timestamp) -> Option<Silenced> {
        let holds = |silence: &&Silence| silence.expires_at > now && covers(&silence.motive.scope);
        let longest = self.silences.iter().filter(holds).max_by_key(|it| (it.expires_at, it.id))?;
        Some(Silenced { until: longest.expires_at, reason: longest.motive.reason.clone() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_795_392_000);

    fn silence(number: u8, secs: u64, scope: Scope) -> Silence {
        Silence {
            id: SilenceId::from_bytes([number; 16]),
            created_at: NOW,
            expires_at: NOW.plus(Duration::from_secs(secs)),
            motive: Motive { scope, reason: format!("reason {number}"), by: String::new() },
        }
    }

    fn everything() -> Scope {
        Scope { all: true, ..Scope::default() }
    }

    fn policy(number: u8, name: &str, scope: Scope) -> AlertPolicy {
        let channels = vec![ChannelId::from_bytes([number; 16])];
        AlertPolicy {
            id: PolicyId::from_bytes([number; 16]),
            name: name.into(),
            revision: 1,
            created_at: NOW,
            updated_at: NOW,
            terms: Terms { scope, channels, options: Options::default() },
        }
    }

    #[test]
    fn of_several_silences_the_one_that_lasts_longest_counts_and_none_that_is_over() {
        let tagged = Scope { tags: BTreeSet::from(["db".parse().unwrap()]), ..Scope::default() };
        let rows = [silence(1, 60, everything()), silence(2, 600, everything()), silence(3, 6_000, tagged)];
        let config = Config { silences: rows.iter().map(Silence::to_row).collect(), ..Config::default() };
        let book = Book::of(&config);
        let at = |secs| book.policy_for_operators(&config, NOW.plus(Duration::from_secs(secs))).silence;
        assert_eq!(at(0).unwrap().reason, "reason 2");
        assert_eq!(at(599).unwrap().until, NOW.plus(Duration::from_secs(600)));
        assert_eq!(at(600), None);
    }

    #[test]
    fn policies_apply_in_the_order_of_their_names_and_what_cannot_be_read_is_left_out() {
        let broken = PolicyRow { definition: "{}".into(), ..policy(1, "a", everything()).to_row() };
        let rows = vec![broken, policy(2, "z", everything()).to_row(), policy(3, "b", everything()).to_row()];
        let config = Config { policies: rows, ..Config::default() };
        let rules = Book::of(&config).policy_for_operators(&config, NOW).rules;
        let names: Vec<String> = rules.into_iter().map(|rule| rule.name).collect();
        let id = |number| PolicyId::from_bytes([number; 16]).to_string();
        assert_eq!(names, [id(3), id(2), String::new()]);
    }
}
