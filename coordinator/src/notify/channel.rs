//! Where notifications go, and what is said there.
//!
//! A [`Channel`] is a kind ([`Provider`]) with its [`Settings`]: made from what a user typed, stored as JSON, and shown
//! without its secrets. From it and an event come the bytes of a request: the body once, the rest for every attempt.

pub mod completed;
pub mod provider;
pub mod setting;

mod acknowledge;
mod alertmanager;
mod answered;
mod apprise;
mod colour;
mod custom_headers;
mod discord;
mod email;
mod escape;
mod fitted;
mod google_chat;
mod gotify;
mod matrix;
mod mattermost;
mod ntfy;
mod opsgenie;
mod pagerduty;
mod pushover;
mod receiver_url;
mod rocketchat;
mod signing;
mod slack;
mod teams;
mod telegram;
#[cfg(test)]
mod trial;
mod webhook;
mod zulip;

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use model::{ChannelId, DeliveryId, Random, Secret, Timestamp, result};
use serde::{Deserialize, Serialize};
use store::ChannelRow;

use super::send::{Attempted, MAX_DETAIL_CHARS, Outcome, Outgoing, Sender};
use super::template::{self, Template};
use super::{Event, Message};
use provider::{Answer, Attempt, Told, Unsendable, Verdict};

pub use provider::Provider;
pub use receiver_url::{InvalidUrl, ReceiverUrl};
pub use setting::{Setting, Settings};
pub use signing::{InvalidSecret, OVERLAP, SigningKey, SigningSecret, rotate};

/// The header in which every delivery over HTTP, to whatever kind of channel, carries its [`DeliveryId`].
pub const WEBHOOK_ID: &str = standardwebhooks::HEADER_WEBHOOK_ID;

/// A kind of channel with its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Channel {
    /// The kind and what is set.
    pub settings: Settings,
    /// One signature is made with each, the newest first: several while a secret is being replaced. Webhooks only.
    pub secrets: Vec<SigningKey>,
}

impl Channel {
    /// A channel without signing secrets.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self { settings, secrets: vec![] }
    }

    /// Its kind.
    #[must_use]
    pub const fn provider(&self) -> &'static dyn Provider {
        self.settings.provider()
    }

    /// A new secret of the kind that the channel signs with.
    #[must_use]
    pub fn new_secret(&self, random: &dyn Random) -> SigningSecret {
        match self.settings.get("signature") {
            Some("ed25519") => SigningSecret::generate_pair(random),
            _ => SigningSecret::generate(random),
        }
    }

    /// Whether receivers verify a signature.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.provider().name() == "webhook"
    }

    /// The body of a delivery, rendered `at`. Rendered once and stored, so that every attempt sends the same; holds no
    /// secret of the channel.
    #[must_use]
    pub fn body(&self, id: DeliveryId, event: &Event, at: Timestamp) -> Vec<u8> {
        let message = self.message(event, at);
        self.provider().body(&Told { id, event, message: &message, at }, &self.settings)
    }

    /// An event in this channel's words: its own, where it has some.
    #[must_use]
    pub fn message(&self, event: &Event, at: Timestamp) -> Message {
        let message = Message::render(event, at);
        let own = |name| self.settings.get(name).and_then(|text| Template::parse(text).ok());
        template::applied(&message, event, own("title").as_ref(), own("text").as_ref())
    }

    /// Makes one attempt at `at` (wall time) with a body that was stored, and says what the answer means.
    pub async fn attempt(&self, sender: &Sender, id: DeliveryId, at: Timestamp, body: &Bytes) -> Attempted {
        match self.outgoing(id, at, body) {
            Ok(outgoing) => self.judged(sender.send(&outgoing).await),
            Err(error) => Attempted::unsent(error.to_string()),
        }
    }

    /// What one attempt sends.
    ///
    /// # Errors
    /// When a stored body or setting is not what the channel's kind makes.
    pub fn outgoing(&self, id: DeliveryId, at: Timestamp, body: &Bytes) -> Result<Outgoing, Unsendable> {
        let attempt = Attempt { id, at, body, keys: &self.secrets };
        let mut outgoing = self.provider().outgoing(&attempt, &self.settings)?;
        match &mut outgoing {
            Outgoing::Http(request) => {
                request.headers.extend(signing::identify(id));
                let json = HeaderValue::from_static("application/json");
                request.headers.entry(CONTENT_TYPE).or_insert(json);
            }
            // Its `Message-ID` says which delivery it is.
            Outgoing::Mail(_) => {}
        }
        Ok(outgoing)
    }

    /// An attempt as the provider's own words make it, where they say more than the status.
    fn judged(&self, attempted: Attempted) -> Attempted {
        let Some(status) = attempted.status else { return attempted };
        let answer = Answer { status, body: &attempted.answer };
        let Some(Verdict { outcome, detail }) = self.provider().verdict(&answer) else { return attempted };
        let outcome = match (outcome, attempted.outcome) {
            // The header's word holds where the body has none.
            (Outcome::Failed { retry_after: None }, Outcome::Failed { retry_after }) => {
                Outcome::Failed { retry_after }
            }
            (outcome, _) => outcome,
        };
        let detail = match detail.as_str() {
            "" => attempted.detail,
            words => result::clean(&format!("{}: {words}", attempted.detail), MAX_DETAIL_CHARS),
        };
        Attempted { outcome, detail, ..attempted }
    }
}

/// A channel as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    kind: String,
    /// Where it stood before there were settings.
    #[serde(default, skip_serializing)]
    url: Option<Secret<String>>,
    #[serde(default)]
    settings: BTreeMap<String, Secret<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<SigningKey>,
}

/// A kind that this version does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a channel's stored kind is not known")]
struct UnknownKind;

impl TryFrom<Stored> for Channel {
    type Error = UnknownKind;

    fn try_from(stored: Stored) -> Result<Self, UnknownKind> {
        let provider = provider::find(&stored.kind).ok_or(UnknownKind)?;
        let mut values = stored.settings;
        values.extend(stored.url.map(|url| ("url".to_owned(), url)));
        Ok(Self { settings: Settings::stored(provider, values), secrets: stored.secrets })
    }
}

impl From<Channel> for Stored {
    fn from(channel: Channel) -> Self {
        Self {
            kind: channel.provider().name().to_owned(),
            url: None,
            settings: channel.settings.values().clone(),
            secrets: channel.secrets,
        }
    }
}

/// What is stored of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelSettings {
    /// The kind with its settings.
    #[serde(flatten)]
    pub channel: Channel,
    /// Whether operators' notices go there: agents that are not believed, regions that cannot be heard.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub notices: bool,
    /// Where what cannot be delivered for a minute goes as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<ChannelId>,
    /// Nothing is sent there any more; `None`: it is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Disabled>,
}

/// Since when and why nothing is sent to a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disabled {
    /// Since when.
    pub at: Timestamp,
    /// Why, for people.
    pub reason: String,
}

impl ChannelSettings {
    /// As it is stored.
    #[must_use]
    pub fn to_stored(&self) -> Secret<String> {
        Secret::new(serde_json::to_string(self).expect("channel settings have only text keys"))
    }
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_yes(value: &bool) -> bool {
    *value
}

/// Whether operators' notices go to a channel: it is meant for them and in use.
#[must_use]
pub fn takes_notices(row: &ChannelRow) -> bool {
    serde_json::from_str(row.settings.expose())
        .is_ok_and(|settings: ChannelSettings| settings.notices && settings.disabled.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::samples;

    #[test]
    fn stored_configuration_comes_back_and_debug_shows_no_secret() {
        for &provider in provider::ALL {
            let mut channel = samples::channel(provider.name());
            if provider.name() == "webhook" {
                let secret = "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB".parse().unwrap();
                channel.secrets = vec![SigningKey { secret, until: None }];
            }
            let settings = ChannelSettings { channel, notices: false, fallback: None, disabled: None };
            let stored = serde_json::to_string(&settings).unwrap();
            assert!(stored.contains("hush"), "a sample has a secret: {stored}");
            assert_eq!(serde_json::from_str::<ChannelSettings>(&stored).unwrap(), settings);
            assert_eq!(serde_json::from_str::<Channel>(&stored).unwrap(), settings.channel);
            let shown = format!("{settings:?} {:?}", settings.channel.settings.shown());
            assert!(!shown.contains("hush") && !shown.contains("QUFB"), "{shown}");
        }
    }

    #[test]
    fn rows_from_before_there_were_settings_are_read() {
        let stored = r#"{"kind":"webhook","url":"https://a.example/hush",
            "secrets":["whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"],"notices":false}"#;
        let ChannelSettings { channel, notices, .. } = serde_json::from_str(stored).unwrap();
        assert_eq!(channel.settings.text("url"), "https://a.example/hush");
        assert_eq!((channel.secrets.len(), notices), (1, false));
        assert!(serde_json::from_str::<Channel>(r#"{"kind":"pigeon","url":"https://a.example/"}"#).is_err());
    }

    #[test]
    fn every_delivery_says_its_id_and_no_stored_body_holds_a_secret() {
        let (id, event) = (DeliveryId::from_bytes([5; 16]), samples::down());
        for &provider in provider::ALL {
            let channel = samples::channel(provider.name());
            let body = channel.body(id, &event, event.occurred_at);
            assert!(!String::from_utf8_lossy(&body).contains("hush"), "{}", provider.name());
            match channel.outgoing(id, event.occurred_at, &body.into()).unwrap() {
                Outgoing::Http(request) => {
                    assert_eq!(request.headers[WEBHOOK_ID], id.to_string(), "{}", provider.name());
                    assert!(request.headers.contains_key(CONTENT_TYPE), "{}", provider.name());
                }
                Outgoing::Mail(mail) => {
                    let message = String::from_utf8(mail.message.to_vec()).unwrap();
                    assert!(message.contains(&format!("Message-ID: <{id}@")), "{message}");
                }
            }
        }
    }
}
