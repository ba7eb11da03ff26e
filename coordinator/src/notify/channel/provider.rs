//! What one kind of channel has to say of itself.
//!
//! A kind is a module with one unit struct that implements [`Provider`], and a line in [`ALL`]. Everything in it is pure: its
//! table of settings, the body of a message (rendered once, stored, sent again unchanged), the request around that body
//! (made anew for each attempt, so that secrets are in no stored body), and what an answer means beyond its status.

use std::time::Duration;

use bytes::Bytes;
use model::{DeliveryId, Timestamp};

use super::setting::{Setting, Settings};
use super::signing::SigningKey;
use super::{
    alertmanager, apprise, discord, email, google_chat, gotify, matrix, mattermost, ntfy, opsgenie,
    pagerduty, pushover, rocketchat, slack, teams, telegram, webhook, zulip,
};
use crate::notify::send::{Outcome, Outgoing};
use crate::notify::{Event, Message};

/// Every kind there is, in the order in which lists show them.
pub static ALL: &[&dyn Provider] = &[
    &webhook::Webhook,
    &email::Email,
    &slack::Slack,
    &discord::Discord,
    &teams::Teams,
    &mattermost::Mattermost,
    &rocketchat::RocketChat,
    &google_chat::GoogleChat,
    &zulip::Zulip,
    &matrix::Matrix,
    &telegram::Telegram,
    &ntfy::Ntfy,
    &gotify::Gotify,
    &pushover::Pushover,
    &pagerduty::PagerDuty,
    &opsgenie::Opsgenie,
    &alertmanager::Push,
    &alertmanager::Webhook,
    &apprise::Apprise,
];

/// A kind of channel.
pub trait Provider: Send + Sync {
    /// What users call it, and what is stored: `slack`. Lower-case letters, digits and `_`.
    fn name(&self) -> &'static str;

    /// What it is, in one line for help texts.
    fn about(&self) -> &'static str;

    /// What can be set. What all kinds have in common is not in it.
    fn settings(&self) -> &'static [Setting];

    /// What has to hold between settings that are each right: the setting that is wrong, and why.
    ///
    /// # Errors
    /// When the settings contradict each other.
    fn verify(&self, _settings: &Settings) -> Result<(), (&'static str, &'static str)> {
        Ok(())
    }

    /// The body to keep for every attempt. Settings marked as secret must not get into it.
    fn body(&self, told: &Told<'_>, settings: &Settings) -> Vec<u8>;

    /// One attempt: where to, with which headers, and the stored body completed with what may not be stored.
    ///
    /// # Errors
    /// When stored settings or a stored body are not what this kind makes.
    fn outgoing(&self, attempt: &Attempt<'_>, settings: &Settings) -> Result<Outgoing, Unsendable>;

    /// What an answer means; `None` where its status alone says so (2xx: delivered, 410: gone, else: failed).
    fn verdict(&self, _answer: &Answer<'_>) -> Option<Verdict> {
        None
    }
}

/// What a body is rendered from.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// The delivery, the same in every attempt.
    pub id: DeliveryId,
    /// What happened.
    pub event: &'a Event,
    /// The same in words.
    pub message: &'a Message,
    /// When it is rendered.
    pub at: Timestamp,
}

/// What a request is made from.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The delivery, the same in every attempt.
    pub id: DeliveryId,
    /// The wall time of this attempt: receivers compare it with their clock.
    pub at: Timestamp,
    /// What [`Provider::body`] made.
    pub body: &'a Bytes,
    /// The channel's signing keys, the newest first.
    pub keys: &'a [SigningKey],
}

/// What a provider answered.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Its status.
    pub status: u16,
    /// The beginning of its body, at most [`crate::notify::send::MAX_KEPT_BYTES`].
    pub body: &'a [u8],
}

impl Answer<'_> {
    /// The body as JSON; `Null` if it is none, or longer than what was kept.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(self.body).unwrap_or_default()
    }

    /// Whether the status is 2xx.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.status >= 200 && self.status < 300
    }
}

/// What an answer means beyond its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What becomes of the delivery.
    pub outcome: Outcome,
    /// What the operator should know; follows the status. Cleaned and cut later, may be empty.
    pub detail: String,
}

impl Verdict {
    /// The provider does not have it, for now.
    pub fn failed(detail: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failed { retry_after: None }, detail: detail.into() }
    }

    /// The provider says in its own words when to come back.
    pub fn failed_until(retry_after: Duration, detail: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failed { retry_after: Some(retry_after) }, detail: detail.into() }
    }

    /// The provider will never take this message.
    pub fn refused(detail: impl Into<String>) -> Self {
        Self { outcome: Outcome::Refused, detail: detail.into() }
    }

    /// The channel is no more: nothing sent to it can arrive.
    pub fn gone(detail: impl Into<String>) -> Self {
        Self { outcome: Outcome::Gone, detail: detail.into() }
    }
}

/// Why an attempt could not be made of what is stored. Says no part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unsendable(pub &'static str);

/// The kind of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn Provider> {
    ALL.iter().copied().find(|provider| provider.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::channel::setting::table;

    #[test]
    fn names_of_kinds_and_settings_are_words_and_each_is_there_once() {
        let is_word = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        };
        for (index, provider) in ALL.iter().enumerate() {
            assert!(is_word(provider.name()), "{}", provider.name());
            assert!(!provider.about().is_empty() && !provider.about().ends_with('.'), "{}", provider.name());
            assert!(ALL[..index].iter().all(|other| other.name() != provider.name()), "{}", provider.name());
            let table: Vec<_> = table(*provider).collect();
            for (index, setting) in table.iter().enumerate() {
                assert!(is_word(setting.name), "{}.{}", provider.name(), setting.name);
                assert!(table[..index].iter().all(|other| other.name != setting.name), "{}", setting.name);
                assert!(!setting.about.is_empty(), "{}.{}", provider.name(), setting.name);
            }
        }
    }
}
