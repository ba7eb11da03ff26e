//! Mail over SMTP: text and HTML, one thread for each incident.
//!
//! The message is written once, at the delivery's claim, and stored like any body: every attempt sends the same bytes under
//! the same `Message-ID`. It is 7-bit throughout, so that no server has to convert it. Headers are written by a library
//! that encodes what is not ASCII and folds lines; no value that others worded can end one.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use askama::Template;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, MultiPart, SinglePart};
use url::Host;

use model::{IncidentId, Secret};

use super::provider::{Attempt, Provider, Told, Unsendable};
use super::setting::{Setting, Settings, check};
use crate::notify::Message;
use crate::notify::send::{Encryption, Mail, Outgoing};
use crate::notify::text::Severity;

/// The longest subject: beyond, mail programs cut it anyway.
const MAX_SUBJECT_CHARS: usize = 200;
/// Recipients of one channel.
const MAX_RECIPIENTS: usize = 20;
/// The longest address (RFC 5321, 4.5.3.1.3, without its brackets).
const MAX_ADDRESS_BYTES: usize = 254;

/// The kind.
#[derive(Debug)]
pub(super) struct Email;

impl Provider for Email {
    fn name(&self) -> &'static str {
        "email"
    }

    fn about(&self) -> &'static str {
        "Mail over SMTP, through a relay of yours"
    }

    fn settings(&self) -> &'static [Setting] {
        const {
            &[
                Setting::required("host", "the SMTP server's name or address", host),
                Setting::optional(
                    "port",
                    "its port; by default 587 for starttls, 465 for tls, 25 for none",
                    |value| check::number(value, 1..=65_535),
                ),
                Setting::optional("tls", "starttls, tls (from the first byte) or none", |value| {
                    check::one_of(value, &["starttls", "tls", "none"])
                })
                .or("starttls"),
                Setting::optional("username", "to log in with; needs tls", check::line),
                Setting::optional("password", "to log in with", password).secret(),
                Setting::required("from", "the sender, such as Vigilmon <alerts@example.com>", sender),
                Setting::required("to", "recipients, separated by commas", recipients),
            ]
        }
    }

    fn verify(&self, settings: &Settings) -> Result<(), (&'static str, &'static str)> {
        match (settings.get("username"), settings.get("password")) {
            (Some(_), None) => Err(("password", "is required where there is a username")),
            (None, Some(_)) => Err(("username", "is required where there is a password")),
            (Some(_), Some(_)) if settings.text("tls") == "none" => {
                Err(("tls", "must not be none where there is a password: it would be sent in the clear"))
            }
            _ => Ok(()),
        }
    }

    fn body(&self, told: &Told<'_>, settings: &Settings) -> Vec<u8> {
        // Settings were checked when they were given; what is damaged since then cannot be sent and says so.
        written(told, settings).unwrap_or_default()
    }

    fn outgoing(&self, attempt: &Attempt<'_>, settings: &Settings) -> Result<Outgoing, Unsendable> {
        if attempt.body.is_empty() {
            return Err(DAMAGED);
        }
        let (encryption, port) = match settings.text("tls") {
            "tls" => (Encryption::Tls, 465),
            "none" => (Encryption::None, 25),
            _ => (Encryption::StartTls, 587),
        };
        let credentials = settings
            .get("username")
            .map(|username| (username.to_owned(), Secret::new(settings.text("password").to_owned())));
        Ok(Outgoing::Mail(Mail {
            host: Host::parse(settings.text("host")).map_err(|_| DAMAGED)?,
            port: settings.get("port").and_then(|port| port.parse().ok()).unwrap_or(port),
            encryption,
            credentials,
            from: address(settings.text("from")).ok_or(DAMAGED)?,
            to: addresses(settings.text("to")),
            message: attempt.body.clone(),
        }))
    }
}

const DAMAGED: Unsendable = Unsendable("the channel's stored addresses or host cannot be read");

/// The message as HTML, for those who read it so.
#[derive(Template)]
#[template(path = "mail.html")]
struct Html<'a> {
    title: &'a str,
    colour: &'static str,
    lines: &'a [crate::notify::text::Line],
    at: String,
}

fn written(told: &Told<'_>, settings: &Settings) -> Option<Vec<u8>> {
    let from = Mailbox::from_str(settings.text("from")).ok()?;
    let domain = from.email.domain().to_owned();
    let thread = format!("<{}@{domain}>", told.event.incident.id);
    let seconds = u64::try_from(told.at.as_secs()).unwrap_or_default();
    let mut builder = lettre::Message::builder()
        .date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
        .from(from)
        .subject(told.message.title.chars().take(MAX_SUBJECT_CHARS).collect::<String>())
        .message_id(Some(format!("<{}@{domain}>", told.id)))
        // All messages of an incident answer one that was never sent: clients show them as one thread.
        .references(thread.clone())
        .in_reply_to(thread)
        .raw_header(ours("Auto-Submitted", "auto-generated".to_owned()))
        .raw_header(ours("X-Auto-Response-Suppress", "All".to_owned()))
        .raw_header(ours("X-Vigilmon-Incident", incident(told.event.incident.id)));
    for recipient in settings.text("to").split(',') {
        builder = builder.to(Mailbox::from_str(recipient.trim()).ok()?);
    }
    let html = Html {
        title: &told.message.title,
        colour: colour(told.message.severity),
        lines: &told.message.lines,
        at: told.message.timestamp.to_string(),
    };
    let parts = MultiPart::alternative()
        // Of the delivery's own, so that nothing here is random.
        .boundary(format!("={}=", told.id))
        .singlepart(part(ContentType::TEXT_PLAIN, plain(told.message))?)
        .singlepart(part(ContentType::TEXT_HTML, html.render().ok()?)?);
    Some(builder.multipart(parts).ok()?.formatted())
}

fn part(kind: ContentType, text: String) -> Option<SinglePart> {
    let body = Body::new_with_encoding(text, ContentTransferEncoding::Base64).ok()?;
    Some(SinglePart::builder().header(kind).body(body))
}

fn plain(message: &Message) -> String {
    format!("{}\n\n{}\n", message.plain_text(), message.timestamp)
}

fn incident(id: IncidentId) -> String {
    id.to_string()
}

/// A header whose value is ours and ASCII.
fn ours(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value)
}

const fn colour(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "#d92d20",
        Severity::Warning => "#f79009",
        Severity::Good => "#17b26a",
        Severity::Neutral => "#98a2b3",
    }
}

fn host(value: &str) -> Result<String, String> {
    let value = value.trim();
    match Host::parse(value) {
        Ok(host) if value.len() <= 253 => Ok(host.to_string()),
        Ok(_) | Err(_) => Err("must be a host name or an address, without scheme and port".to_owned()),
    }
}

fn password(value: &str) -> Result<String, String> {
    if value.len() > 1_000 || value.contains(char::is_control) {
        return Err("must be at most 1,000 bytes without control characters".to_owned());
    }
    Ok(value.to_owned())
}

fn sender(value: &str) -> Result<String, String> {
    check::line(value)?;
    match address(value) {
        Some(_) => Ok(value.trim().to_owned()),
        None => Err("must be one ASCII address, such as alerts@example.com or Vigilmon <alerts@example.com>"
            .to_owned()),
    }
}

fn recipients(value: &str) -> Result<String, String> {
    let given: Vec<_> = value.split(',').map(str::trim).filter(|address| !address.is_empty()).collect();
    if given.is_empty() || given.len() > MAX_RECIPIENTS || given.iter().any(|given| address(given).is_none())
    {
        return Err(format!("must be 1 to {MAX_RECIPIENTS} ASCII addresses, separated by commas"));
    }
    Ok(given.join(", "))
}

fn addresses(value: &str) -> Vec<String> {
    value.split(',').filter_map(address).collect()
}

/// The bare address of a mailbox. ASCII only: SMTP servers that take others are rare.
fn address(mailbox: &str) -> Option<String> {
    let mailbox = mailbox.trim();
    if mailbox.contains(char::is_control) {
        return None;
    }
    let address = Mailbox::from_str(mailbox).ok()?.email.to_string();
    let fits =
        address.is_ascii() && address.len() <= MAX_ADDRESS_BYTES && !address.contains([' ', '<', '>', '"']);
    fits.then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::channel::Channel;
    use crate::notify::{Event, samples};
    use model::DeliveryId;

    const GIVEN: [(&str, &str); 3] = [
        ("host", "mail.example"),
        ("from", "Vigil <a@example.com>"),
        ("to", "b@example.com, C <c@example.com>"),
    ];

    fn mail(event: &Event, at_secs: u64) -> String {
        let channel = Channel::new(samples::settings(&Email, &GIVEN).unwrap());
        let at = event.occurred_at.plus(Duration::from_secs(at_secs));
        String::from_utf8(channel.body(DeliveryId::from_bytes([5; 16]), event, at)).unwrap()
    }

    #[test]
    fn an_incident_is_one_thread_and_each_delivery_has_its_own_id() {
        let (down, recovered) = (mail(&samples::down(), 0), mail(&samples::recovered(), 0));
        let header = |mail: &str, name: &str| {
            mail.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned)).unwrap()
        };
        assert_eq!(header(&down, "References"), header(&recovered, "References"));
        assert_eq!(header(&down, "Message-ID"), "<dlv_05050505050505050505050505050505@example.com>");
        assert_eq!(header(&down, "Auto-Submitted"), "auto-generated");
        assert!(header(&down, "To").contains("b@example.com"));
    }

    #[test]
    fn the_same_delivery_rendered_at_the_same_time_is_the_same_bytes_in_ascii_lines() {
        let hostile = samples::hostile();
        let mail = mail(&hostile, 0);
        assert_eq!(mail, self::mail(&hostile, 0));
        assert!(mail.is_ascii());
        for line in mail.split("\r\n") {
            assert!(line.len() <= 998 && !line.contains(['\r', '\n']), "{line}");
        }
        let (head, _) = mail.split_once("\r\n\r\n").unwrap();
        for line in head.split("\r\n") {
            assert!(line.starts_with([' ', '\t']) || line.contains(": "), "{line}");
        }
    }

    #[test]
    fn the_server_s_port_follows_from_the_encryption_unless_it_is_given() {
        for (more, port) in [
            (&[][..], 587),
            (&[("tls", "tls"), ("username", "u"), ("password", "hush")], 465),
            (&[("tls", "none"), ("port", "2525")], 2525),
        ] {
            let channel = Channel::new(samples::settings(&Email, &[&GIVEN[..], more].concat()).unwrap());
            let sent =
                channel.outgoing(DeliveryId::from_bytes([5; 16]), samples::STARTED_AT, &"x".into()).unwrap();
            let Outgoing::Mail(mail) = sent else { panic!("not mail") };
            assert_eq!((mail.port, mail.from.as_str()), (port, "a@example.com"));
            assert_eq!(mail.to, ["b@example.com", "c@example.com"]);
            assert!(!format!("{mail:?}").contains("hush"));
        }
    }

    #[test]
    fn what_is_no_address_or_would_send_a_password_in_the_clear_is_refused() {
        for (given, name) in [
            (&[("host", "smtp://x")][..], "host"),
            (&[("host", "a b")], "host"),
            (&[("port", "0")], "port"),
            (&[("from", "a@b\r\nBcc: c@d")], "from"),
            (&[("from", "nobody")], "from"),
            (&[("from", "a@b, c@d")], "from"),
            (&[("to", "a@b\r\nRCPT TO:<c@d>")], "to"),
            (&[("to", ",")], "to"),
            (&[("to", "üx@example.com")], "to"),
            (&[("username", "u")], "password"),
            (&[("password", "hush")], "username"),
            (&[("username", "u"), ("password", "hush"), ("tls", "none")], "tls"),
        ] {
            let mut all = GIVEN.to_vec();
            all.retain(|(name, _)| given.iter().all(|(other, _)| other != name));
            all.extend(given);
            let problems = samples::settings(&Email, &all).unwrap_err();
            assert_eq!(problems[0].name, name, "{given:?}");
        }
    }
}
