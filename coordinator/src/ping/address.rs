//! What a ping's path says: whose ping it is and what it reports.
//!
//! Three families, each known by its exact bytes: `/api/heartbeat/{token}`; Healthchecks' `/ping/{uuid}` and
//! `/ping/{key}/{slug}`; Uptime Kuma's `/api/push/{token}`. The first two may end in `/start`, `/fail`, `/log` or an exit
//! code, and after a token in a bare slash, as Healthchecks' may. A token is 16 random bytes, written in base64url or as
//! a UUID wherever one is asked for; a percent escape or another length is no address at all.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::heartbeat::PingKind;
use sha2::{Digest, Sha256};

/// What the path of a heartbeat's own URL begins with.
pub(crate) const PATH_PREFIX: &str = "/api/heartbeat/";
/// What the paths of Healthchecks' clients begin with.
pub(crate) const UUID_PREFIX: &str = "/ping/";
/// What the paths of Uptime Kuma's push scripts begin with.
pub(crate) const PUSH_PREFIX: &str = "/api/push/";

/// 16 random bytes in base64url without padding.
const TOKEN_CHARS: usize = 22;
/// A UUID's hyphens are here.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];
const UUID_CHARS: usize = 36;

/// What is kept of a token or a ping key: SHA-256 over its 22 characters. A fast hash will do for 128 random bits.
#[must_use]
pub fn token_digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// A token as the UUID that names the same heartbeat; `None`: it is no token.
#[must_use]
pub(crate) fn token_as_uuid(token: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok().filter(|bytes| bytes.len() == 16)?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Some([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

/// Where a ping goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address<'a> {
    /// To the heartbeat whose token has this digest.
    Token([u8; 32], Report),
    /// To the heartbeat of this slug, for whoever has the key of this digest.
    Slug([u8; 32], &'a str, Report),
    /// To nobody: slugs have no capital letters.
    CapitalSlug,
    /// To the heartbeat whose token has this digest; what it reports is in the query.
    Push([u8; 32]),
}

/// What a path reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// This.
    Is(PingKind),
    /// An exit code above 255.
    ExitCodeTooHigh,
}

/// Reads a path; `None`: no address of a ping.
pub(super) fn parse(path: &str) -> Option<Address<'_>> {
    if let Some(rest) = path.strip_prefix(PATH_PREFIX) {
        let (token, rest) = cut(rest);
        Some(Address::Token(known_token(token)?, report(rest)?))
    } else if let Some(rest) = path.strip_prefix(UUID_PREFIX) {
        let (first, rest) = cut(rest);
        match (uuid(first), report(rest)) {
            (Some(bytes), Some(report)) => Some(Address::Token(digest_of(bytes), report)),
            _ => by_slug(first, rest?),
        }
    } else {
        known_token(path.strip_prefix(PUSH_PREFIX)?).map(Address::Push)
    }
}

/// The 16 bytes of a UUID as Healthchecks has them: in hexadecimal digits of either case, with hyphens.
pub(super) fn uuid(text: &str) -> Option<[u8; 16]> {
    if text.len() != UUID_CHARS || !text.is_ascii() {
        return None;
    }
    let mut digits = Vec::with_capacity(32);
    for (place, c) in text.bytes().enumerate() {
        match (HYPHENS.contains(&place), c) {
            (true, b'-') => {}
            (false, _) => digits.push(u8::try_from(char::from(c).to_digit(16)?).ok()?),
            (true, _) => return None,
        }
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Some(bytes)
}

/// Whether a text can be a slug; the same goes for ping keys, which may have capital letters.
pub(crate) fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
}

fn by_slug<'a>(key: &str, rest: &'a str) -> Option<Address<'a>> {
    let (slug, rest) = cut(rest);
    // Unlike after a token, nothing is not a slash.
    let report = report(rest).filter(|_| rest != Some(""))?;
    if !is_word(key) || !is_word(slug) {
        return None;
    }
    if slug.bytes().any(|c| c.is_ascii_uppercase()) {
        return Some(Address::CapitalSlug);
    }
    Some(Address::Slug(token_digest(key), slug, report))
}

fn cut(text: &str) -> (&str, Option<&str>) {
    match text.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (text, None),
    }
}

fn known_token(text: &str) -> Option<[u8; 32]> {
    match uuid(text) {
        Some(bytes) => Some(digest_of(bytes)),
        None => (text.len() == TOKEN_CHARS && is_word(text)).then(|| token_digest(text)),
    }
}

fn digest_of(token: [u8; 16]) -> [u8; 32] {
    token_digest(&URL_SAFE_NO_PAD.encode(token))
}

fn report(text: Option<&str>) -> Option<Report> {
    Some(Report::Is(match text {
        None | Some("") => PingKind::Success,
        Some("start") => PingKind::Start,
        Some("fail") => PingKind::Fail,
        Some("log") => PingKind::Log,
        Some(code) if code.bytes().all(|c| c.is_ascii_digit()) => match code.parse() {
            Ok(code) => PingKind::Exit(code),
            Err(_) => return Some(Report::ExitCodeTooHigh),
        },
        Some(_) => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "AAECAwQFBgcICQoLDA0ODw";
    const UUID: &str = "00010203-0405-0607-0809-0a0b0c0d0e0f";
    const REPORTS: [(&str, Report); 9] = [
        ("", Report::Is(PingKind::Success)),
        ("/start", Report::Is(PingKind::Start)),
        ("/fail", Report::Is(PingKind::Fail)),
        ("/log", Report::Is(PingKind::Log)),
        ("/0", Report::Is(PingKind::Exit(0))),
        ("/007", Report::Is(PingKind::Exit(7))),
        ("/255", Report::Is(PingKind::Exit(255))),
        ("/256", Report::ExitCodeTooHigh),
        ("/99999999999999999999", Report::ExitCodeTooHigh),
    ];

    #[test]
    fn every_report_is_read_at_every_door() {
        let digest = token_digest(TOKEN);
        for (suffix, report) in REPORTS {
            let expected = Some(Address::Token(digest, report));
            for head in ["/api/heartbeat/AAECAwQFBgcICQoLDA0ODw", &format!("/api/heartbeat/{UUID}")] {
                assert_eq!(parse(&format!("{head}{suffix}")), expected, "{head}{suffix}");
            }
            assert_eq!(parse(&format!("/ping/{UUID}{suffix}")), expected, "{suffix}");
            assert_eq!(parse(&format!("/ping/{}{suffix}", UUID.to_uppercase())), expected, "{suffix}");
            let slug = Some(Address::Slug(digest, "db-backup_2", report));
            assert_eq!(parse(&format!("/ping/{TOKEN}/db-backup_2{suffix}")), slug, "{suffix}");
        }
        assert_eq!(parse(&format!("/ping/{UUID}/")), Some(Address::Token(digest, REPORTS[0].1)));
        assert_eq!(parse(&format!("/ping/{TOKEN}/DB-backup")), Some(Address::CapitalSlug));
        assert_eq!(parse(&format!("/api/push/{TOKEN}")), Some(Address::Push(digest)));
        assert_eq!(parse(&format!("/api/push/{UUID}")), Some(Address::Push(digest)));
    }

    #[test]
    fn a_slug_may_be_called_as_a_report_is() {
        let path = format!("/ping/{TOKEN}/start/fail");
        let expected = Address::Slug(token_digest(TOKEN), "start", Report::Is(PingKind::Fail));
        assert_eq!(parse(&path), Some(expected));
    }

    #[test]
    fn other_forms_are_no_address() {
        let cut = &TOKEN[1..];
        for path in [
            "/api/heartbeat/".to_owned(),
            format!("/api/heartbeat/{cut}"),
            format!("/api/heartbeat/{TOKEN}A"),
            format!("/api/heartbeat/%41{cut}"),
            format!("/api/heartbeat/{cut}+"),
            format!("/api/heartbeat//{TOKEN}"),
            format!("/api/heartbeat/{TOKEN}//"),
            format!("/api/heartbeat/{TOKEN}/+1"),
            format!("/api/heartbeat/{TOKEN}/-1"),
            format!("/api/heartbeat/{TOKEN}/START"),
            format!("/api/heartbeat/{TOKEN}/start/"),
            "/ping/".to_owned(),
            format!("/ping/{TOKEN}"),
            format!("/ping/{TOKEN}/"),
            format!("/ping/{TOKEN}/slug/"),
            format!("/ping/{TOKEN}/slug/nonsense"),
            format!("/ping/{TOKEN}/slug/start/"),
            format!("/ping/{TOKEN}/sl%75g"),
            format!("/ping//{TOKEN}"),
            format!("/ping/{}", UUID.replace('-', "")),
            format!("/ping/{}é", &UUID[..34]),
            format!("/api/push/{TOKEN}/"),
            format!("/api/push/{TOKEN}/fail"),
        ] {
            assert_eq!(parse(&path), None, "{path}");
        }
    }

    #[test]
    fn a_token_has_one_uuid() {
        assert_eq!(token_as_uuid(TOKEN).as_deref(), Some(UUID));
        assert_eq!(token_as_uuid("short"), None);
    }
}
