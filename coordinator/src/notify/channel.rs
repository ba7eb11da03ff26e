//! Where notifications go, and what is said there.
//!
//! A [`Kind`] is a channel's configuration: made from what a user typed ([`ReceiverUrl::parse`],
//! [`SigningSecret`]), stored as JSON, and shown without its secrets. From it and an event's [`Message`] come the
//! bytes of a request: the body once, the headers for every attempt.

mod discord;
mod fitted;
mod receiver_url;
mod signing;
mod slack;
mod webhook;

use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde::{Deserialize, Serialize};

use model::{DeliveryId, Timestamp};
use store::ChannelRow;

use super::{Event, Message};

pub use receiver_url::{InvalidUrl, ReceiverUrl};
pub use signing::{InvalidSecret, SigningSecret, Unsignable};

/// The header in which every delivery, to whatever kind of channel, carries its [`DeliveryId`].
pub const WEBHOOK_ID: &str = standardwebhooks::HEADER_WEBHOOK_ID;

/// A kind of channel with its parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// Any receiver of Standard Webhooks (standardwebhooks.com).
    Webhook {
        /// Where to.
        url: ReceiverUrl,
        /// One signature is made with each: two while a secret is being replaced.
        secrets: Vec<SigningSecret>,
    },
    /// A Slack incoming webhook, or what understands its format (Mattermost, Rocket.Chat).
    Slack {
        /// Where to; whoever knows it can post.
        url: ReceiverUrl,
    },
    /// A Discord webhook.
    Discord {
        /// Where to; whoever knows it can post.
        url: ReceiverUrl,
    },
}

impl Kind {
    /// Where deliveries go.
    #[must_use]
    pub const fn url(&self) -> &ReceiverUrl {
        match self {
            Self::Webhook { url, .. } | Self::Slack { url } | Self::Discord { url } => url,
        }
    }

    /// The kind's name: `webhook`, `slack` or `discord`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Slack { .. } => "slack",
            Self::Discord { .. } => "discord",
        }
    }

    /// The JSON to send. Rendered once and stored, so that every attempt sends the same bytes.
    #[must_use]
    pub fn body(&self, event: &Event, message: &Message) -> Vec<u8> {
        match self {
            Self::Webhook { .. } => webhook::body(event, message),
            Self::Slack { .. } => slack::body(message),
            Self::Discord { .. } => discord::body(message),
        }
    }

    /// The headers of one attempt at `at` (wall time: receivers compare it with their clock).
    ///
    /// # Errors
    /// When a stored body is not what [`Kind::body`] makes.
    pub fn headers(&self, id: DeliveryId, at: Timestamp, body: &[u8]) -> Result<HeaderMap, Unsignable> {
        let mut headers = match self {
            Self::Webhook { secrets, .. } => signing::sign(id, at, secrets, body)?,
            Self::Slack { .. } | Self::Discord { .. } => signing::identify(id),
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(headers)
    }
}

/// What is stored of a channel besides its kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelSettings {
    /// The kind with its parameters.
    #[serde(flatten)]
    pub kind: Kind,
    /// Whether operators' notices go there: agents that are not believed, regions that cannot be heard.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub notices: bool,
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_yes(value: &bool) -> bool {
    *value
}

/// Whether operators' notices go to a channel.
#[must_use]
pub fn takes_notices(row: &ChannelRow) -> bool {
    serde_json::from_str(row.settings.expose()).is_ok_and(|settings: ChannelSettings| settings.notices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::samples;

    #[test]
    fn stored_configuration_comes_back_and_debug_shows_no_secret() {
        let secret: SigningSecret = "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB".parse().unwrap();
        for kind in [
            Kind::Webhook { url: url("https://a.example/in?token=hush"), secrets: vec![secret] },
            Kind::Slack { url: url("https://hooks.slack.com/services/T/B/hush") },
            Kind::Discord { url: url("https://discord.com/api/webhooks/1/hush") },
        ] {
            let stored = serde_json::to_string(&kind).unwrap();
            assert!(stored.contains("hush"), "{}", kind.name());
            assert_eq!(serde_json::from_str::<Kind>(&stored).unwrap(), kind);
            let debug = format!("{kind:?}");
            assert!(!debug.contains("hush") && !debug.contains("QUFB"), "{debug}");
        }
    }

    #[test]
    fn every_delivery_says_its_id_and_its_content_type() {
        let (id, event) = (DeliveryId::from_bytes([5; 16]), samples::down());
        for kind in [
            Kind::Webhook { url: url("https://a.example/"), secrets: vec![] },
            Kind::Slack { url: url("https://a.example/") },
            Kind::Discord { url: url("https://a.example/") },
        ] {
            let body = kind.body(&event, &Message::render(&event, event.occurred_at));
            let headers = kind.headers(id, event.occurred_at, &body).unwrap();
            assert_eq!(headers[WEBHOOK_ID], id.to_string(), "{}", kind.name());
            assert_eq!(headers[CONTENT_TYPE], "application/json", "{}", kind.name());
        }
    }

    fn url(text: &str) -> ReceiverUrl {
        ReceiverUrl::parse(text).unwrap()
    }
}
