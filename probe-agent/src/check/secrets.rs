//! Takes credentials out of what targets say before it leaves the agent.
//!
//! Drivers put the address they could not reach into their errors, with the password in it; from a health report it
//! would go on into incidents and chat rooms. Known forms only: credentials of a URL, `password=…` as connection
//! strings have it, `"password": "…"` as JSON does, and what follows `Bearer` or `Basic`.

use std::borrow::Cow;

/// Words that end the name of what is secret, with `_` for `-`.
const SECRET_NAMES: [&str; 14] = [
    "password",
    "passwd",
    "pwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "access_key",
    "private_key",
    "secret_key",
    "credential",
    "credentials",
    "session_id",
    "sessionid",
];
/// What is said before a credential in a header.
const SCHEMES: [&str; 2] = ["bearer ", "basic "];
/// The shortest credential after a scheme: `basic auth required` has none.
const MIN_CREDENTIAL_BYTES: usize = 16;
const INSTEAD: &str = "***";

/// `text` with `***` for every secret of a known form.
pub(super) fn without_secrets(text: &str) -> Cow<'_, str> {
    // Changes ASCII only, so that positions stay those of `text`.
    let lower = text.to_ascii_lowercase().replace('-', "_");
    let (mut kept, mut done) = (String::new(), None);
    for (start, end) in secrets(text, &lower) {
        // Secrets may touch or overlap: the credentials of a URL that is itself a secret.
        if done.is_none_or(|done| done < start) {
            kept.push_str(&text[done.unwrap_or(0)..start]);
            kept.push_str(INSTEAD);
        }
        done = done.max(Some(end));
    }
    let Some(done) = done else { return Cow::Borrowed(text) };
    kept.push_str(&text[done..]);
    Cow::Owned(kept)
}

/// Whether a header's or a field's name says that its value is a secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    SECRET_NAMES.iter().any(|secret| name.contains(secret))
}

/// Where the secrets are, in order.
fn secrets(text: &str, lower: &str) -> Vec<(usize, usize)> {
    let in_urls = text.match_indices("://").filter_map(|(at, mark)| {
        let start = at + mark.len();
        let authority = &text[start..end_of(text, start, |c| c.is_whitespace() || "/?#\"'<>".contains(c))];
        let length = authority.rfind('@')?;
        Some((start, start + length))
    });
    let in_pairs = SECRET_NAMES.iter().flat_map(|name| {
        let mut done = 0;
        lower.match_indices(name).filter_map(move |(at, name)| {
            // What is within a value belongs to it; looking on from there would take time without end.
            let (start, end) = (at >= done).then(|| value_after(text, at + name.len())).flatten()?;
            done = end;
            Some((start, end))
        })
    });
    let after_schemes = SCHEMES.iter().flat_map(|scheme| {
        lower.match_indices(scheme).filter_map(|(at, scheme)| {
            let start = at + scheme.len();
            let end = end_of(text, start, |c| !c.is_ascii_alphanumeric() && !"-._~+/=".contains(c));
            (end - start >= MIN_CREDENTIAL_BYTES).then_some((start, end))
        })
    });
    let mut found: Vec<_> =
        in_urls.chain(in_pairs).chain(after_schemes).filter(|(start, end)| start < end).collect();
    found.sort_unstable();
    found
}

/// The value that belongs to a name that ends at `at`: `name=value`, `"name": value`, `name: value`, quoted or not.
fn value_after(text: &str, at: usize) -> Option<(usize, usize)> {
    let rest = &text[at..];
    if let Some(value) = rest.strip_prefix('=') {
        let start = text.len() - value.len();
        return Some((start, end_of(text, start, |c| c.is_whitespace() || ";&,\"'".contains(c))));
    }
    // A quote that a string in a string escapes has a backslash before it.
    let after_name = rest.trim_start_matches('\\').strip_prefix(['"', '\'']);
    let value = after_name.unwrap_or(rest).trim_start().strip_prefix([':', '='])?.trim_start();
    let start = text.len() - value.len();
    let bare = value.trim_start_matches('\\');
    match bare.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let start = text.len() - bare.len() + quote.len_utf8();
            Some((start, end_of_string(text, start, quote)))
        }
        _ => {
            let end = end_of(text, start, |c| c.is_whitespace() || ",;}]".contains(c));
            // `password: wrong` explains; `password: hunter2` does not.
            let is_word = text[start..end].chars().all(|c| c.is_ascii_lowercase() || "'.".contains(c));
            (after_name.is_some() || !is_word).then_some((start, end))
        }
    }
}

/// Where a string ends that begins at `start`, after its quote; the end of the text if it was cut off.
fn end_of_string(text: &str, start: usize, quote: char) -> usize {
    let mut is_escaped = false;
    end_of(text, start, |c| {
        let ends = c == quote && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends
    })
}

fn end_of(text: &str, start: usize, is_end: impl FnMut(char) -> bool) -> usize {
    text[start..].find(is_end).map_or(text.len(), |length| start + length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn credentials_of_known_forms_do_not_leave_the_agent() {
        for (text, kept) in [
            ("could not connect", "could not connect"),
            ("no route to postgres://app:s3cr3t@db:5432/shop", "no route to postgres://***@db:5432/shop"),
            ("redis://:p@ss@cache/0 timed out", "redis://***@cache/0 timed out"),
            ("Host=db;Username=app;Password=s3cr3t;Timeout=3", "Host=db;Username=app;Password=***;Timeout=3"),
            ("GET http://u:p@x/?token=abc&a=1 → 401", "GET http://***@x/?token=***&a=1 → 401"),
            ("ask https://example.com/a or ops@example.com", "ask https://example.com/a or ops@example.com"),
            ("password= is empty", "password= is empty"),
            (
                r#"{"user":"app","DB_PASSWORD" : "a\"b","port":1}"#,
                r#"{"user":"app","DB_PASSWORD" : "***","port":1}"#,
            ),
            (r#"{"access_token":"eyJ"#, r#"{"access_token":"***"#),
            (r#"{"secret": 42, "pin": 7}"#, r#"{"secret": ***, "pin": 7}"#),
            (r#"{"token_type":"bearer","password":null}"#, r#"{"token_type":"bearer","password":***}"#),
            ("authorization: Bearer abcdefghijklmnop.q", "authorization: Bearer ***"),
            ("basic authentication required", "basic authentication required"),
            ("{'password': 'hunter2', 'user': 'app'}", "{'password': '***', 'user': 'app'}"),
            ("password: hunter2\nuser: app", "password: ***\nuser: app"),
            ("wrong password: try again", "wrong password: try again"),
            ("X-Secret-Key: 7F3A", "X-Secret-Key: ***"),
            ("/login;JSESSIONID=7F3A", "/login;JSESSIONID=***"),
        ] {
            assert_eq!(without_secrets(text), kept);
        }
    }

    #[test]
    fn a_text_made_of_names_takes_no_time() {
        let text = "pwd=".repeat(100_000);
        assert_eq!(without_secrets(&text), "pwd=***");
    }

    #[test]
    fn names_of_secrets_are_known_whatever_their_case() {
        assert!(
            ["X-Api-Key", "x-auth-token", "Client_Secret", "X-Secret-Key-2"].into_iter().all(is_secret_name)
        );
        assert!(!["server", "retry-after", "x-tok"].into_iter().any(is_secret_name));
    }

    proptest! {
        #[test]
        fn no_secret_of_a_known_form_is_left_in_any_text(
            before in "(.|://|@|password=|é|\\\\|\"){0,20}", after in "(.|://|@|password=|é|\"){0,20}",
            secret in "[0-9]{16}", form in 0..4,
        ) {
            let text = match form {
                0 => format!("{before}://u:{secret}@{after}"),
                1 => format!("{before}PWD={secret};{after}"),
                2 => format!("{before}\"Token\": \"{secret}\"{after}"),
                _ => format!("{before} Bearer {secret} {after}"),
            };
            prop_assert!(!without_secrets(&text).contains(&secret), "{text}");
        }
    }
}
