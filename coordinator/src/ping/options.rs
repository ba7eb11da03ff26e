//! How a heartbeat wants its pings read: which requests count, and as what.
//!
//! In come a ping's path, method and body; out goes what it says, or that it says nothing. The order is Healthchecks'.

use engine::heartbeat::PingKind;
use serde::{Deserialize, Serialize};
use store::journal::PingMethod;

/// The most bytes of a slug.
pub const MAX_SLUG_BYTES: usize = 100;

/// What a user decided about a heartbeat's pings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// By which it is known in `/ping/{key}/{slug}`; `None`: made from its name.
    #[serde(default)]
    pub slug: Option<String>,
    /// Whether GET and HEAD are answered but count for nothing, so that no preview or scanner pings by accident.
    #[serde(default)]
    pub post_only: bool,
    /// Words in the body that decide what a ping says.
    #[serde(default)]
    pub keywords: Option<Keywords>,
}

/// Words by which pings are told apart, as they stand in the body; capital letters matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keywords {
    /// Any of them: the run failed.
    #[serde(default)]
    pub fail: Vec<String>,
    /// None of those but any of these: it ended well.
    #[serde(default)]
    pub success: Vec<String>,
    /// None of those but any of these: it began.
    #[serde(default)]
    pub start: Vec<String>,
    /// What none of them means.
    #[serde(default)]
    pub otherwise: Otherwise,
}

/// What a ping says in which no keyword is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Otherwise {
    /// Nothing.
    #[default]
    Ignore,
    /// That the run failed.
    Fail,
}

impl Options {
    /// What a ping says, if it counts. `said` is what its path says, `body` what is kept of its body.
    #[must_use]
    pub fn read(&self, said: PingKind, method: PingMethod, body: &[u8]) -> Option<PingKind> {
        if self.post_only && method != PingMethod::Post {
            return None;
        }
        let Some(keywords) = &self.keywords else { return Some(said) };
        let holds = |words: &[String]| words.iter().any(|word| contains(body, word.as_bytes()));
        if holds(&keywords.fail) {
            Some(failed(said))
        } else if holds(&keywords.success) {
            Some(PingKind::Success)
        } else if holds(&keywords.start) {
            Some(PingKind::Start)
        } else {
            (keywords.otherwise == Otherwise::Fail).then_some(failed(said))
        }
    }
}

/// The slug made from a name: its letters, digits, `_` and `-` in lower case, spaces as `-`; `None` if it has none of them.
#[must_use]
pub fn slug_of(name: &str) -> Option<String> {
    let mut slug = String::new();
    for c in name.chars() {
        match c {
            c if c.is_ascii_alphanumeric() || c == '_' => slug.push(c.to_ascii_lowercase()),
            c if (c.is_whitespace() || c == '-') && !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
    }
    slug.truncate(MAX_SLUG_BYTES);
    let slug = slug.trim_matches(['-', '_']);
    (!slug.is_empty()).then(|| slug.to_owned())
}

/// A failure, with the exit code of the path if it has one.
const fn failed(said: PingKind) -> PingKind {
    match said {
        PingKind::Exit(1..) => said,
        _ => PingKind::Fail,
    }
}

fn contains(body: &[u8], word: &[u8]) -> bool {
    !word.is_empty() && body.windows(word.len()).any(|part| part == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_options_a_ping_says_what_its_path_says() {
        for kind in [PingKind::Success, PingKind::Start, PingKind::Fail, PingKind::Log, PingKind::Exit(3)] {
            assert_eq!(Options::default().read(kind, PingMethod::Head, b"error"), Some(kind));
        }
    }

    #[test]
    fn only_posts_count_where_that_is_asked_for() {
        let options = Options { post_only: true, ..Options::default() };
        for (method, said) in
            [(PingMethod::Get, None), (PingMethod::Head, None), (PingMethod::Post, Some(PingKind::Fail))]
        {
            assert_eq!(options.read(PingKind::Fail, method, b""), said);
        }
    }

    #[test]
    fn keywords_decide_failure_first_then_success_then_start_then_the_default() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let keywords = |otherwise| Options {
            keywords: Some(Keywords {
                fail: words(&["ERROR", "Traceback"]),
                success: words(&["done", "OK"]),
                start: words(&["begin"]),
                otherwise,
            }),
            ..Options::default()
        };
        for (said, body, read) in [
            (PingKind::Success, "begin, done, ERROR", Some(PingKind::Fail)),
            (PingKind::Exit(3), "ERROR", Some(PingKind::Exit(3))),
            (PingKind::Exit(0), "ERROR", Some(PingKind::Fail)),
            (PingKind::Fail, "begin, done, error", Some(PingKind::Success)),
            (PingKind::Success, "begin", Some(PingKind::Start)),
            (PingKind::Success, "Done.", None),
            (PingKind::Start, "", None),
        ] {
            let options = keywords(Otherwise::Ignore);
            assert_eq!(options.read(said, PingMethod::Post, body.as_bytes()), read, "{body}");
        }
        let strict = keywords(Otherwise::Fail);
        assert_eq!(strict.read(PingKind::Success, PingMethod::Post, b"Done."), Some(PingKind::Fail));
        assert_eq!(strict.read(PingKind::Exit(9), PingMethod::Post, b"Done."), Some(PingKind::Exit(9)));
    }

    #[test]
    fn a_name_becomes_a_slug() {
        for (name, slug) in [
            ("nightly_cleanup", Some("nightly_cleanup")),
            ("DB Backup", Some("db-backup")),
            ("  a  -  b ", Some("a-b")),
            ("-_x_-", Some("x")),
            ("v1.2/é", Some("v12")),
            ("日本", None),
        ] {
            assert_eq!(slug_of(name).as_deref(), slug, "{name}");
        }
        assert_eq!(slug_of(&"x".repeat(200)).unwrap().len(), MAX_SLUG_BYTES);
    }
}
