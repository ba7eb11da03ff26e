//! Takes credentials out of explanations before they leave the agent.
//!
//! Drivers put the address they could not reach into their errors, with the password in it; from a health report it
//! would go on into incidents and chat rooms. Known forms only: credentials of a URL, and `password=…` as connection
//! strings have it.

use std::borrow::Cow;

/// Keys of connection strings whose values are secret.
const SECRET_KEYS: [&str; 6] = ["password=", "passwd=", "pwd=", "secret=", "token=", "api_key="];
const INSTEAD: &str = "***";

/// `text` with `***` for every secret of a known form.
pub(super) fn without_secrets(text: &str) -> Cow<'_, str> {
    // Changes ASCII only, so that positions stay those of `text`.
    let lower = text.to_ascii_lowercase();
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

/// Where the secrets are, in order.
fn secrets(text: &str, lower: &str) -> Vec<(usize, usize)> {
    let in_urls = text.match_indices("://").filter_map(|(at, mark)| {
        let start = at + mark.len();
        let authority = &text[start..end_of(text, start, |c| c.is_whitespace() || "/?#\"'<>".contains(c))];
        let length = authority.rfind('@')?;
        Some((start, start + length))
    });
    let in_pairs = SECRET_KEYS.iter().flat_map(|key| {
        lower.match_indices(key).map(|(at, key)| {
            let start = at + key.len();
            (start, end_of(text, start, |c| c.is_whitespace() || ";&,\"'".contains(c)))
        })
    });
    let mut found: Vec<_> = in_urls.chain(in_pairs).filter(|(start, end)| start < end).collect();
    found.sort_unstable();
    found
}

fn end_of(text: &str, start: usize, is_end: impl Fn(char) -> bool) -> usize {
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
        ] {
            assert_eq!(without_secrets(text), kept);
        }
    }

    proptest! {
        #[test]
        fn no_secret_of_a_known_form_is_left_in_any_text(
            before in "(.|://|@|password=|é){0,20}", after in "(.|://|@|password=|é){0,20}",
            secret in "[0-9]{12}", is_url in any::<bool>(),
        ) {
            let text = if is_url { format!("{before}://u:{secret}@{after}") } else { format!("{before}PWD={secret};{after}") };
            prop_assert!(!without_secrets(&text).contains(&secret), "{text}");
        }
    }
}
