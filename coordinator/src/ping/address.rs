//! What a heartbeat URL says: whose ping it is, by the digest of its token, and what the ping reports.
//!
//! Every form is known by its exact bytes. What is not (another length, a percent escape, a final slash, an exit code
//! above 255) is no address at all; the caller has one answer for it.

use engine::heartbeat::PingKind;
use sha2::{Digest, Sha256};

/// What every heartbeat URL's path begins with.
pub(crate) const PATH_PREFIX: &str = "/api/heartbeat/";

/// 16 random bytes in base64url without padding.
const TOKEN_CHARS: usize = 22;

/// What is kept of a token: SHA-256 over its 22 characters as they stand in the URL. A fast hash will do for 128 random
/// bits.
#[must_use]
pub fn token_digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Reads a path.
pub(super) fn parse(path: &str) -> Option<([u8; 32], PingKind)> {
    let rest = path.strip_prefix(PATH_PREFIX)?;
    let (token, report) = match rest.split_once('/') {
        Some((token, report)) => (token, Some(report)),
        None => (rest, None),
    };
    let kind = match report {
        None => PingKind::Success,
        Some("start") => PingKind::Start,
        Some("fail") => PingKind::Fail,
        Some(code) => PingKind::Exit(exit_code(code)?),
    };
    is_token(token).then(|| (token_digest(token), kind))
}

fn is_token(text: &str) -> bool {
    text.len() == TOKEN_CHARS && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
}

/// `0` to `255`, written as shells write it: no sign, no leading zero.
fn exit_code(text: &str) -> Option<u8> {
    let digits_only = text.bytes().all(|c| c.is_ascii_digit());
    let leading_zero = text.len() > 1 && text.starts_with('0');
    if digits_only && !leading_zero { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "AAECAwQFBgcICQoLDA0ODw";

    #[test]
    fn every_report_is_read() {
        for (suffix, kind) in [
            ("", PingKind::Success),
            ("/start", PingKind::Start),
            ("/fail", PingKind::Fail),
            ("/0", PingKind::Exit(0)),
            ("/255", PingKind::Exit(255)),
        ] {
            let address = parse(&format!("{PATH_PREFIX}{TOKEN}{suffix}"));
            assert_eq!(address, Some((token_digest(TOKEN), kind)), "{suffix}");
        }
    }

    #[test]
    fn other_forms_are_no_address() {
        let cut = &TOKEN[1..];
        for rest in [
            "",
            "/",
            cut,
            &format!("{TOKEN}A"),
            &format!("{cut}%41"),
            &format!("{cut}+"),
            &format!("{TOKEN}/"),
            &format!("{TOKEN}/256"),
            &format!("{TOKEN}/+1"),
            &format!("{TOKEN}/01"),
            &format!("{TOKEN}/-1"),
            &format!("{TOKEN}/99999999999999999999"),
            &format!("{TOKEN}/START"),
            &format!("{TOKEN}/log"),
            &format!("{TOKEN}/start/"),
            &format!("/{TOKEN}"),
        ] {
            assert_eq!(parse(&format!("{PATH_PREFIX}{rest}")), None, "{rest}");
        }
    }
}
