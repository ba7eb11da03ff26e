//! The language of quorum policies: what people write, and what is stored.
//!
//! ```text
//! policy = "any" | "majority" | "all" | "at_least:" K | "percent:" P | clause { "and" clause }
//! clause = ( K | P "%" | "any" | "majority" | "all" ) "of" ( GLOB | "other" )
//! ```
//!
//! `K` is 1 to 64, `P` 1 to 100, `GLOB` a region id in which `*` and `?` may stand. White space between words does
//! not matter; what is printed has one space. A clause counts the regions that its pattern matches, whatever other
//! clauses match: a region that two clauses name counts in both. `other` are the regions that no other clause names;
//! a region of that id is written `othe?`.

use std::fmt;
use std::num::NonZeroU8;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::glob::Glob;
use super::set::RegionSet;

/// The most clauses of one policy.
const MAX_CLAUSES: usize = 8;
/// How much of a wrong text is repeated to its author.
const MAX_SHOWN: usize = 60;

/// Which failing regions make a monitor down. Made from its text; [`Policy::over`] applies it to regions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Policy(pub(super) Form);

/// The two forms of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// So many of all assigned regions.
    Regions(Count),
    /// So many of each group; at least one clause.
    Groups(Vec<Clause>),
}

/// So many regions of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Clause {
    pub(super) count: Count,
    pub(super) group: Group,
}

/// How many of a set of regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Count {
    /// One.
    Any,
    /// More than half.
    Majority,
    /// All that are eligible, and at least two where there are two.
    All,
    /// This many.
    AtLeast(NonZeroU8),
    /// This share, rounded up, and at least two where there are two.
    Percent(NonZeroU8),
}

/// Which regions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Group {
    /// Those whose id matches.
    Matching(Glob),
    /// Those that no other clause names.
    Other,
}

/// A text that is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "quorum: {0}; use any, majority, all, at_least:K, percent:P, or groups such as `2 of eu-* and 1 of other`"
)]
pub struct InvalidPolicy(Problem);

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("there is no text")]
    Empty,
    #[error("`{0}` is not a quorum")]
    Unknown(String),
    #[error("`{0}` alone is not a quorum, but `{1}` is")]
    Bare(String, String),
    #[error("in `{text}`, {name} must be 1 to {to}")]
    Number { text: String, name: char, to: u8 },
    #[error("clause {number}, `{clause}`, {fault}")]
    Clause { number: usize, clause: String, fault: Fault },
    #[error("beside `and`, clause {0} is missing")]
    Missing(usize),
    #[error("at most {MAX_CLAUSES} clauses are allowed")]
    TooManyClauses,
}

/// What is wrong with a clause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("must read COUNT of REGIONS")]
    Shape,
    #[error("begins with `{0}`, but a count is 1 to {max}, 1% to 100%, any, majority or all", max = RegionSet::CAPACITY)]
    Count(String),
    #[error("names `{0}`, but regions are an id, a pattern with * and ?, or other")]
    Regions(String),
    #[error("names `other`, as a clause before it does")]
    OtherAgain,
}

impl Policy {
    /// Whether one failing region is enough, whichever it is: `any` or `at_least:1`.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        match &self.0 {
            Form::Regions(Count::Any) => true,
            Form::Regions(Count::AtLeast(k)) => k.get() == 1,
            Form::Regions(Count::Majority | Count::All | Count::Percent(_)) | Form::Groups(_) => false,
        }
    }
}

impl Default for Policy {
    /// `majority`.
    fn default() -> Self {
        Self(Form::Regions(Count::Majority))
    }
}

impl FromStr for Policy {
    type Err = InvalidPolicy;

    fn from_str(text: &str) -> Result<Self, InvalidPolicy> {
        parse(text).map(Self).map_err(InvalidPolicy)
    }
}

impl TryFrom<String> for Policy {
    type Error = InvalidPolicy;

    fn try_from(text: String) -> Result<Self, InvalidPolicy> {
        text.parse()
    }
}

impl From<Policy> for String {
    fn from(policy: Policy) -> Self {
        policy.to_string()
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Regions(Count::AtLeast(k)) => write!(f, "at_least:{k}"),
            Form::Regions(Count::Percent(p)) => write!(f, "percent:{p}"),
            Form::Regions(count) => count.fmt(f),
            Form::Groups(clauses) => {
                for (index, clause) in clauses.iter().enumerate() {
                    let and = if index == 0 { "" } else { " and " };
                    write!(f, "{and}{clause}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.count, self.group)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Majority => f.write_str("majority"),
            Self::All => f.write_str("all"),
            Self::AtLeast(k) => k.fmt(f),
            Self::Percent(p) => write!(f, "{p}%"),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Matching(glob) => glob.fmt(f),
            Self::Other => f.write_str("other"),
        }
    }
}

fn parse(text: &str) -> Result<Form, Problem> {
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.is_empty() {
        return Err(Problem::Empty);
    }
    if words.iter().any(|word| matches!(*word, "of" | "and")) {
        return groups(&words).map(Form::Groups);
    }
    let text = words.join(" ");
    if let Some(count) = plain(&text) {
        return Ok(Form::Regions(count));
    }
    let (name, number, to) = match text.split_once(':').map(|(name, number)| (name.trim(), number.trim())) {
        Some(("at_least", number)) => ('K', k(number).map(Count::AtLeast), k_max()),
        Some(("percent", number)) => ('P', p(number).map(Count::Percent), 100),
        _ => return Err(unknown(&text)),
    };
    number.map(Form::Regions).ok_or_else(|| Problem::Number { text: shown(&text), name, to })
}

/// A single word that is not a policy; a count without regions is most likely meant for all of them.
fn unknown(text: &str) -> Problem {
    let meant = match count(text) {
        Some(Count::AtLeast(k)) => Form::Regions(Count::AtLeast(k)),
        Some(Count::Percent(p)) => Form::Regions(Count::Percent(p)),
        _ => return Problem::Unknown(shown(text)),
    };
    Problem::Bare(shown(text), Policy(meant).to_string())
}

fn groups(words: &[&str]) -> Result<Vec<Clause>, Problem> {
    let mut clauses: Vec<Clause> = Vec::new();
    for (index, words) in words.split(|word| *word == "and").enumerate() {
        if index == MAX_CLAUSES {
            return Err(Problem::TooManyClauses);
        }
        if words.is_empty() {
            return Err(Problem::Missing(index + 1));
        }
        let clause = clause(words, &clauses).map_err(|fault| {
            let clause = shown(&words.join(" "));
            Problem::Clause { number: index + 1, clause, fault }
        })?;
        clauses.push(clause);
    }
    Ok(clauses)
}

fn clause(words: &[&str], before: &[Clause]) -> Result<Clause, Fault> {
    let [number, "of", group] = words else { return Err(Fault::Shape) };
    let count = count(number).ok_or_else(|| Fault::Count(shown(number)))?;
    let group = match *group {
        "other" if before.iter().any(|clause| clause.group == Group::Other) => return Err(Fault::OtherAgain),
        "other" => Group::Other,
        glob => Group::Matching(Glob::new(glob).ok_or_else(|| Fault::Regions(shown(glob)))?),
    };
    Ok(Clause { count, group })
}

fn count(text: &str) -> Option<Count> {
    plain(text).or_else(|| match text.strip_suffix('%') {
        Some(share) => p(share).map(Count::Percent),
        None => k(text).map(Count::AtLeast),
    })
}

fn plain(text: &str) -> Option<Count> {
    match text {
        "any" => Some(Count::Any),
        "majority" => Some(Count::Majority),
        "all" => Some(Count::All),
        _ => None,
    }
}

fn k(text: &str) -> Option<NonZeroU8> {
    number(text, k_max())
}

fn p(text: &str) -> Option<NonZeroU8> {
    number(text, 100)
}

const fn k_max() -> u8 {
    RegionSet::CAPACITY as u8
}

/// Digits alone: `+2` is a number to the standard library, but would not be printed as it was written.
fn number(text: &str, max: u8) -> Option<NonZeroU8> {
    let digits = text.bytes().all(|c| c.is_ascii_digit());
    text.parse::<NonZeroU8>().ok().filter(|number| digits && number.get() <= max)
}

fn shown(text: &str) -> String {
    model::result::clean(text, MAX_SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        text.parse::<Policy>().unwrap_err().to_string()
    }

    #[test]
    fn every_form_is_printed_as_it_was_written() {
        for text in [
            "any",
            "majority",
            "all",
            "at_least:1",
            "at_least:64",
            "percent:60",
            "percent:100",
            "2 of eu-* and 1 of other",
            "majority of eu-* and any of other",
            "60% of * and all of ?p-south and 1 of local",
            "1 of other",
        ] {
            assert_eq!(text.parse::<Policy>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn one_region_is_enough_for_any_and_for_at_least_one() {
        let is_any = |text: &str| text.parse::<Policy>().unwrap().is_any();
        assert!(is_any("any") && is_any("at_least:1"));
        assert!(!is_any("at_least:2") && !is_any("majority") && !is_any("1 of eu-*"));
    }

    #[test]
    fn white_space_between_words_does_not_matter() {
        for (text, printed) in [
            ("  majority\n", "majority"),
            ("at_least: 2", "at_least:2"),
            ("percent :\t60 ", "percent:60"),
            (" 2  of\teu-*  and\n1 of other ", "2 of eu-* and 1 of other"),
            ("at_least:02", "at_least:2"),
        ] {
            assert_eq!(text.parse::<Policy>().unwrap().to_string(), printed);
        }
    }

    #[test]
    fn errors_say_what_is_wrong_with_which_clause() {
        for (text, problem) in [
            (" ", "there is no text"),
            ("most", "`most` is not a quorum"),
            ("Any", "`Any` is not a quorum"),
            ("eu-*", "`eu-*` is not a quorum"),
            ("atleast:2", "`atleast:2` is not a quorum"),
            ("2", "`2` alone is not a quorum, but `at_least:2` is"),
            ("60%", "`60%` alone is not a quorum, but `percent:60` is"),
            ("at_least:0", "in `at_least:0`, K must be 1 to 64"),
            ("at_least:65", "in `at_least:65`, K must be 1 to 64"),
            ("at_least:+2", "in `at_least:+2`, K must be 1 to 64"),
            ("at_least:", "in `at_least:`, K must be 1 to 64"),
            ("percent:101", "in `percent:101`, P must be 1 to 100"),
            ("2 of eu-* and", "beside `and`, clause 2 is missing"),
            ("2 of eu-* and 1 off other", "clause 2, `1 off other`, must read COUNT of REGIONS"),
            ("2 of eu-* us-*", "clause 1, `2 of eu-* us-*`, must read COUNT of REGIONS"),
            ("majority and 1 of eu", "clause 1, `majority`, must read COUNT of REGIONS"),
            (
                "0 of eu-*",
                "clause 1, `0 of eu-*`, begins with `0`, but a count is 1 to 64, 1% to 100%, any, majority or all",
            ),
            (
                "at_least:2 of eu-*",
                "clause 1, `at_least:2 of eu-*`, begins with `at_least:2`, but a count is 1 to 64, 1% to 100%, \
                 any, majority or all",
            ),
            (
                "1 of eu and 2 of EU-*",
                "clause 2, `2 of EU-*`, names `EU-*`, but regions are an id, a pattern with * and ?, or other",
            ),
            (
                "1 of other and 2 of other",
                "clause 2, `2 of other`, names `other`, as a clause before it does",
            ),
            (&["1 of a"; 9].join(" and "), "at most 8 clauses are allowed"),
        ] {
            let example = "; use any, majority, all, at_least:K, percent:P, or groups such as `2 of eu-* and 1 of other`";
            assert_eq!(error(text), format!("quorum: {problem}{example}"));
        }
    }

    #[test]
    fn a_long_or_unprintable_text_is_not_repeated_whole() {
        assert!(error(&"x".repeat(10_000)).len() < 300);
        assert!(error(&format!("2 of {}\u{7}", "x".repeat(10_000))).len() < 400);
    }

    #[test]
    fn it_is_stored_as_its_text() {
        let policy: Policy = "2 of eu-* and 1 of other".parse().unwrap();
        let stored = postcard::to_stdvec(&policy).unwrap();
        assert_eq!(stored, postcard::to_stdvec("2 of eu-* and 1 of other").unwrap());
        assert_eq!(postcard::from_bytes::<Policy>(&stored).unwrap(), policy);
        let nonsense = postcard::to_stdvec("most").unwrap();
        assert!(postcard::from_bytes::<Policy>(&nonsense).is_err());
    }
}
