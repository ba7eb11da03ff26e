//! From what an attempt has met to what a person may read of it: bounded, and without secrets.
//!
//! An attempt keeps what it has in hand anyway (the addresses, the answer's head, the first bytes) and a [`Capture`] is
//! made of that only when the attempt fails or somebody asks.

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, SET_COOKIE};
use http::response::Parts;
use http::{HeaderName, HeaderValue, Version};
use model::handshake::Certificate;
use model::{Capture, Excerpt, Handshake, Hop};

use super::Trace;
use super::http::status_text;
use super::secrets::{is_secret_name, without_secrets};

/// Headers that carry secrets under names that do not say so.
const SECRET_HEADERS: [HeaderName; 4] = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, SET_COOKIE];
/// Parts of the names of others.
const SECRET_PARTS: [&str; 5] = ["auth", "cookie", "csrf", "session", "signature"];
const INSTEAD: &str = "***";

/// How much more than is told is looked at, so that a secret which is cut in two is known as one.
const MARGIN_BYTES: usize = 256;
/// How much of a header is looked at.
const MAX_HEADER_BYTES: usize = 1_024;

/// The beginning of what a target says, as it comes.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl Beginning {
    /// Takes what came next.
    pub(super) fn hear(&mut self, part: &[u8]) {
        let room = Capture::MAX_BODY_BYTES + MARGIN_BYTES - self.bytes.len();
        self.is_cut |= part.len() > room;
        self.bytes.extend_from_slice(&part[..part.len().min(room)]);
    }
}

/// What is told of an attempt that was led over these hops; `None` if it has met nothing.
pub(super) fn capture(trace: &Trace, hops: &[Hop]) -> Option<Box<Capture>> {
    let Beginning { bytes, is_cut } = &trace.beginning;
    let said = String::from_utf8_lossy(bytes);
    let said = Excerpt::of(without_secrets(&said).as_bytes(), *is_cut);
    let capture = Capture {
        addresses: trace.addresses.iter().map(std::net::SocketAddr::ip).collect(),
        redirects: redirects(hops),
        tls: trace.handshake.as_deref().and_then(agreement),
        certificates: trace.handshake.iter().flat_map(|it| &it.chain).map(certificate).collect(),
        status_line: trace.answer.as_ref().map(status_line),
        headers: trace.answer.as_ref().map(headers).unwrap_or_default(),
        body: (!bytes.is_empty()).then_some(said),
        ..Capture::default()
    };
    Some(Box::new(capture.bounded())).filter(|capture| !capture.is_empty())
}

/// Each redirect: the status of one hop, and the URL of the next.
fn redirects(hops: &[Hop]) -> Vec<String> {
    let redirect = |(from, to): (&Hop, &Hop)| match from.status {
        Some(status) => format!("{status} {}", to.url),
        None => to.url.clone(),
    };
    hops.iter().zip(hops.iter().skip(1)).map(redirect).collect()
}

fn agreement(handshake: &Handshake) -> Option<String> {
    let alpn = handshake.alpn.as_ref().map(|protocol| format!("for {protocol}"));
    let said: Vec<String> =
        [handshake.version.clone(), handshake.cipher.clone(), alpn].into_iter().flatten().collect();
    Some(said.join(", ")).filter(|said| !said.is_empty())
}

fn certificate(certificate: &Certificate) -> String {
    let Certificate { subject, issuer, names, not_before, not_after } = certificate;
    let names = if names.is_empty() { String::new() } else { format!(" for {}", names.join(" ")) };
    format!("{subject}{names}, by {issuer}, {not_before} to {not_after}")
}

fn status_line(answer: &Parts) -> String {
    let protocol = match answer.version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    };
    format!("{protocol} {}", status_text(answer.status, &answer.extensions))
}

fn headers(answer: &Parts) -> Vec<(String, String)> {
    let told = |(name, value): (&HeaderName, &HeaderValue)| (name.to_string(), header_value(name, value));
    answer.headers.iter().take(Capture::MAX_HEADERS).map(told).collect()
}

fn header_value(name: &HeaderName, value: &HeaderValue) -> String {
    let is_secret = SECRET_HEADERS.contains(name)
        || SECRET_PARTS.iter().any(|part| name.as_str().contains(part))
        || is_secret_name(name.as_str());
    if is_secret {
        return INSTEAD.to_owned();
    }
    let bytes = value.as_bytes();
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_HEADER_BYTES)]);
    without_secrets(&without_queries(&text)).into_owned()
}

/// The same with `?***` for every query: of where one is sent, it may be a ticket to get in there.
fn without_queries(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, query)) = rest.split_once('?') {
        let end = query.find(|c: char| c.is_whitespace() || "<>\"',;".contains(c)).unwrap_or(query.len());
        kept.push_str(before);
        kept.push_str(if end == 0 { "?" } else { "?***" });
        rest = &query[end..];
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    #[test]
    fn the_answer_is_told_without_what_lets_others_in() {
        let answer = Response::builder()
            .status(503)
            .header("retry-after", "3")
            .header("set-cookie", "id=7f3a")
            .header("x-api-key", "7f3a")
            .header("x-amz-signature", "7f3a")
            .header("location", "https://sso.example/login?ticket=7f3a")
            .header("link", "<https://u:7f3a@db.example/?token=7f3a>")
            .body(())
            .unwrap();
        let mut trace = Trace { answer: Some(answer.into_parts().0), ..Trace::default() };
        trace.beginning.hear(br#"{"password":"7f3a","status":"do"#);
        trace.beginning.hear(br#"wn"}"#);
        let capture = capture(&trace, &[]).unwrap();
        assert_eq!(capture.status_line.as_deref(), Some("HTTP/1.1 503 Service Unavailable"));
        assert_eq!(capture.headers[0], ("retry-after".into(), "3".into()));
        assert_eq!(capture.headers[4].1, "https://sso.example/login?***");
        assert_eq!(capture.body.as_ref().unwrap().text, r#"{"password":"***","status":"down"}"#);
        assert!(!format!("{capture:?}").contains("7f3a"), "{capture:?}");
    }

    #[test]
    fn only_the_beginning_is_kept_however_it_comes() {
        for size in [1, 7, 1_023, 1_024, 1_025, 5_000] {
            let mut beginning = Beginning::default();
            let whole = vec![b'x'; 5_000];
            for part in whole.chunks(size) {
                beginning.hear(part);
            }
            assert_eq!((beginning.bytes.len(), beginning.is_cut), (1_280, true), "in parts of {size}");
        }
        let mut exact = Beginning::default();
        exact.hear(&[b'x'; 1_280]);
        assert!(!exact.is_cut);
    }

    #[test]
    fn a_secret_that_the_cut_goes_through_is_not_told_in_part() {
        let said = format!("{}postgres://app:7f3a{}@db", " ".repeat(1_005), "b".repeat(30));
        let mut trace = Trace::default();
        trace.beginning.hear(said.as_bytes());
        let body = capture(&trace, &[]).unwrap().body.unwrap();
        assert!(!body.text.contains("7f3a") && body.text.len() <= 1_024, "{body:?}");
    }

    #[test]
    fn an_attempt_that_met_nothing_has_nothing_to_tell() {
        assert_eq!(capture(&Trace::default(), &[]), None);
    }
}
