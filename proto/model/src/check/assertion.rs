//! What must hold of an answer, in a small language: `status == 200 && latency < 300ms && json("$.queue") < 10`.
//!
//! It is the Common Expression Language (<https://cel.dev>) with two liberties, durations (`300ms`, `2s`, `5m`) and
//! `text matches "regex"`, and with types that are checked when an assertion is saved. Known are
//!
//! | Name | What | For |
//! |---|---|---|
//! | `status` | a number | `http://`, `https://` |
//! | `header("name")` | its text; empty without it | `http://`, `https://` |
//! | `body` | its text | `http://`, `https://` |
//! | `json("$.path")` | what RFC 9535 finds in the body: a value or `null`; a list for a path that may find several | `http://`, `https://` |
//! | `latency`, `dns`, `connect`, `tls`, `first_byte` | durations; 0 for a phase that was not needed | every target |
//! | `certificate_days` | whole days until the certificate ends | targets that speak TLS |
//!
//! What an evaluation may cost is bounded when it is saved: its length and nesting, one walk through a list at a time,
//! patterns that are written out, and a bounded piece of JSON.

mod lower;
mod rewrite;
#[cfg(test)]
mod tests;
mod value;

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use cel::{Context, Env, IdedExpr, Value};
use serde::{Deserialize, Serialize};
use serde_json_path::JsonPath;

use super::{Check, InvalidCheck, Method, invalid};
use crate::{Failure, FailureKind};

/// Most assertions of one check.
pub const MAX_ASSERTIONS: usize = 20;
/// The longest assertion, in bytes.
const MAX_BYTES: usize = 1_000;
/// How much of a value that was found is told.
const MAX_TOLD_CHARS: usize = 80;

/// Something that must hold.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Assertion {
    text: Arc<str>,
    /// Joined by `&&`, so that the one that does not hold can be named.
    conjuncts: Arc<[Conjunct]>,
}

/// A part of an assertion.
#[derive(Debug)]
struct Conjunct {
    text: String,
    expr: IdedExpr,
    leaves: Vec<Leaf>,
}

/// Something that is known of the answer.
#[derive(Clone, Debug)]
struct Leaf {
    /// As the user wrote it.
    text: String,
    /// What stands for it in the expression.
    name: String,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Status,
    Header(String),
    Body,
    Json { path: JsonPath, finds_several: bool },
    Latency,
    Dns,
    Connect,
    Tls,
    FirstByte,
    CertificateDays,
}

/// What an attempt found.
pub struct Facts<'a> {
    /// The HTTP status.
    pub status: Option<u16>,
    /// The first value of a header.
    pub header: &'a dyn Fn(&str) -> Option<String>,
    /// The body, as far as it was read.
    pub body: &'a [u8],
    /// Total time.
    pub latency: Duration,
    /// Where it went.
    pub phases: crate::Phases,
    /// Whole days until the certificate ends.
    pub certificate_days: Option<i32>,
}

/// Why an assertion cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`: {problem}")]
pub struct Unusable {
    text: String,
    problem: String,
}

/// The standard functions: the same for everybody and for ever.
static STANDARD: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

impl Assertion {
    /// Reads an assertion.
    ///
    /// # Errors
    /// Says what cannot be understood in it, or compared.
    pub fn parse(text: &str) -> Result<Self, Unusable> {
        let text = text.trim();
        let unusable = |problem: String| Unusable {
            text: crate::result::clean(text, MAX_TOLD_CHARS),
            problem: crate::result::clean(&problem, 300),
        };
        if text.is_empty() || text.len() > MAX_BYTES {
            return Err(unusable(format!("must have 1 to {MAX_BYTES} characters")));
        }
        let conjuncts = rewrite::conjuncts(text).map_err(unusable)?;
        let conjuncts: Result<Vec<_>, _> = conjuncts.into_iter().map(lower::conjunct).collect();
        Ok(Self { text: text.into(), conjuncts: conjuncts.map_err(unusable)?.into() })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the status decides what is right: the usual 2xx is not asked for besides.
    #[must_use]
    pub fn mentions_status(&self) -> bool {
        self.leaves().any(|leaf| matches!(leaf.source, Source::Status))
    }

    /// Whether it has to see the answer's body.
    #[must_use]
    pub fn reads_body(&self) -> bool {
        self.leaves().any(|leaf| matches!(leaf.source, Source::Body | Source::Json { .. }))
    }

    /// Whether it has to know when the certificate ends.
    #[must_use]
    pub fn dates_certificate(&self) -> bool {
        self.leaves().any(|leaf| matches!(leaf.source, Source::CertificateDays))
    }

    fn leaves(&self) -> impl Iterator<Item = &Leaf> {
        self.conjuncts.iter().flat_map(|conjunct| &conjunct.leaves)
    }

    /// Whether a check can tell all that this asks for.
    pub(super) fn validate(&self, check: &Check) -> Result<(), InvalidCheck> {
        for leaf in self.leaves() {
            let problem = match (&leaf.source, check) {
                (Source::Body | Source::Json { .. }, Check::Http(http)) if http.method == Method::Head => {
                    "needs a body, and an answer to HEAD has none: use GET"
                }
                (Source::Status | Source::Header(_) | Source::Body | Source::Json { .. }, Check::Http(_)) => {
                    continue;
                }
                (Source::Status | Source::Header(_) | Source::Body | Source::Json { .. }, _) => {
                    "is for http:// and https:// only"
                }
                (Source::CertificateDays, check) if !check.shows_certificate() => {
                    "is for targets that speak TLS only"
                }
                _ => continue,
            };
            return Err(invalid("assertions", format!("`{}` {problem}", leaf.text)));
        }
        Ok(())
    }

    /// The first part that does not hold, with what was found instead; `None` if all do.
    #[must_use]
    pub fn judge(&self, facts: &Facts<'_>) -> Option<Failure> {
        self.conjuncts.iter().find_map(|conjunct| conjunct.judge(facts))
    }
}

impl Conjunct {
    fn judge(&self, facts: &Facts<'_>) -> Option<Failure> {
        let mut context = Context::with_env(Arc::clone(&STANDARD));
        let mut found: Vec<String> = vec![];
        for leaf in &self.leaves {
            match value::of(&leaf.source, facts) {
                Ok(value) => {
                    let told = value::told(&leaf.source, &value);
                    if !found.iter().any(|known| known.starts_with(&format!("{} is ", leaf.text))) {
                        found.push(format!("{} is {told}", leaf.text));
                    }
                    context.add_variable_from_value(leaf.name.as_str(), value);
                }
                Err(problem) => return Some(self.failure(&problem)),
            }
        }
        match Value::resolve(&self.expr, &context) {
            Ok(Value::Bool(true)) => None,
            // What cannot be compared does not hold; what was found says why.
            Ok(_) | Err(_) => Some(self.failure(&found.join(", "))),
        }
    }

    fn failure(&self, found: &str) -> Failure {
        let sources = || self.leaves.iter().map(|leaf| &leaf.source);
        // A late answer may be on time at the next look; everything else is a definite wrong answer.
        let kind = if sources().any(Source::is_time) {
            FailureKind::Timeout
        } else if sources().any(|source| matches!(source, Source::CertificateDays)) {
            FailureKind::Certificate
        } else if sources().all(|source| matches!(source, Source::Status)) {
            FailureKind::Status
        } else {
            FailureKind::Body
        };
        Failure::new(kind, format_args!("{found}, wanted {}", self.text))
    }
}

impl Source {
    const fn is_time(&self) -> bool {
        matches!(self, Self::Latency | Self::Dns | Self::Connect | Self::Tls | Self::FirstByte)
    }
}

impl PartialEq for Assertion {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Assertion {}

impl fmt::Debug for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Assertion").field(&self.text).finish()
    }
}

impl fmt::Display for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Assertion {
    type Error = Unusable;

    fn try_from(text: String) -> Result<Self, Unusable> {
        Self::parse(&text)
    }
}

impl From<Assertion> for String {
    fn from(assertion: Assertion) -> Self {
        assertion.text.as_ref().to_owned()
    }
}
