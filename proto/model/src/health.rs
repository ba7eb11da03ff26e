//! What a service says of itself in a structured health report, and what a check makes of it.

mod policy;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::{Deserialize, Serialize};

pub use policy::HealthPolicy;

use crate::result::clean;

/// At most this many components of a report are kept.
pub const MAX_COMPONENTS: usize = 32;
/// At most this many characters of a component's name are kept.
pub const MAX_NAME_CHARS: usize = 64;
/// At most this many characters of a component's detail are kept.
pub const MAX_DETAIL_CHARS: usize = 200;

/// A service's report about itself and its dependencies.
///
/// From one check to the next a component keeps its name as long as the service keeps its key, in whatever order the
/// report lists them. A name that is missing is not said to be failing (or there were more than [`MAX_COMPONENTS`]
/// failing ones before it).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    /// The overall word.
    pub status: HealthWord,
    /// The dependencies it names, each once: those that are not well first, then by name.
    pub components: Vec<Component>,
}

/// One dependency in a health report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// Its key in the report, such as `database`; below another component with that one's before it: `db.primary`.
    /// In the report's own letters, on one line, cut to [`MAX_NAME_CHARS`].
    pub name: String,
    /// What the report says of it.
    pub status: HealthWord,
    /// The report's own explanation, if any; on one line, cut to [`MAX_DETAIL_CHARS`].
    pub detail: Option<String>,
}

/// What the many words of health reports come down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthWord {
    /// `ok`, `up`, `pass`, `healthy`, `ready` …
    Healthy,
    /// `degraded`, `warn`, `warning` …
    Degraded,
    /// `error`, `down`, `fail`, `unhealthy`, `not_ready` …
    Unhealthy,
    /// A word that says nothing either way.
    Other,
}

impl HealthWord {
    /// Reads a status word in any case, `-`, `_` and space alike. Words that are not understood are [`Self::Other`].
    #[must_use]
    pub fn parse(word: &str) -> Self {
        Self::parse_known(word).unwrap_or(Self::Other)
    }

    /// Reads a status word as [`Self::parse`] does, unless it is no word for health at all.
    ///
    /// The vocabulary is that of FastAPI services, Spring Boot Actuator (`UP`, `DOWN`, `OUT_OF_SERVICE`, `UNKNOWN`),
    /// ASP.NET Core (`Healthy`, `Degraded`, `Unhealthy`), MicroProfile Health (`UP`, `DOWN`),
    /// `application/health+json` (draft-inadarei-api-health-check-06 §3.1: `pass`, `warn`, `fail` and their aliases
    /// `ok`, `up`, `error`, `down`), Terminus (`shutting_down`) and gRPC health checking (`SERVING`, `NOT_SERVING`).
    #[must_use]
    pub fn parse_known(word: &str) -> Option<Self> {
        let word = word.trim().to_ascii_lowercase().replace(['-', ' '], "_");
        Some(match word.as_str() {
            "ok" | "okay" | "up" | "pass" | "passing" | "healthy" | "ready" | "alive" | "connected"
            | "available" | "serving" => Self::Healthy,
            "degraded" | "warn" | "warning" | "partial" => Self::Degraded,
            "error" | "err" | "down" | "fail" | "failed" | "failing" | "unhealthy" | "not_ready"
            | "critical" | "unavailable" | "disconnected" | "out_of_service" | "shutting_down"
            | "not_serving" => Self::Unhealthy,
            "unknown" | "starting" => Self::Other,
            _ => return None,
        })
    }

    /// Whether it says that something is wrong.
    #[must_use]
    pub const fn is_bad(self) -> bool {
        matches!(self, Self::Degraded | Self::Unhealthy)
    }

    /// The word as people read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::Other => "unknown",
        }
    }

    /// The gravest of some words; `None` of none.
    #[must_use]
    pub fn worst(words: impl IntoIterator<Item = Self>) -> Option<Self> {
        words.into_iter().max_by_key(|word| word.gravity())
    }

    /// How grave it is, to compare words by.
    #[must_use]
    pub const fn gravity(self) -> u8 {
        match self {
            Self::Healthy => 0,
            Self::Other => 1,
            Self::Degraded => 2,
            Self::Unhealthy => 3,
        }
    }
}

impl Component {
    /// A component with its texts on one line and cut to size. Doing it twice changes nothing.
    #[must_use]
    pub fn new(name: &str, status: HealthWord, detail: Option<&str>) -> Self {
        let name = one_line(name, MAX_NAME_CHARS).unwrap_or_else(|| "unnamed".to_owned());
        Self { name, status, detail: detail.and_then(|detail| one_line(detail, MAX_DETAIL_CHARS)) }
    }
}

fn one_line(text: &str, max_chars: usize) -> Option<String> {
    Some(clean(text, max_chars).trim().to_owned()).filter(|text| !text.is_empty())
}

impl HealthReport {
    /// A report in its one order: each name once (the gravest word stands), those that are not well first, then by
    /// name, no more than [`MAX_COMPONENTS`].
    #[must_use]
    pub fn new(status: HealthWord, components: impl IntoIterator<Item = Component>) -> Self {
        let mut by_name = BTreeMap::new();
        for component in components {
            match by_name.entry(component.name.clone()) {
                Entry::Vacant(free) => {
                    free.insert(component);
                }
                Entry::Occupied(mut taken) => {
                    if component.status.gravity() > taken.get().status.gravity() {
                        taken.insert(component);
                    }
                }
            }
        }
        let (mut components, well): (Vec<_>, Vec<_>) =
            by_name.into_values().partition(|component| component.status.is_bad());
        components.extend(well);
        components.truncate(MAX_COMPONENTS);
        Self { status, components }
    }

    /// The components that are not well.
    pub fn failing(&self) -> impl Iterator<Item = &Component> {
        self.components.iter().filter(|component| component.status.is_bad())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_every_framework_are_understood() {
        for (word, meaning) in [
            ("UP", Some(HealthWord::Healthy)),
            ("Healthy", Some(HealthWord::Healthy)),
            ("not_ready", Some(HealthWord::Unhealthy)),
            ("OUT_OF_SERVICE", Some(HealthWord::Unhealthy)),
            ("not ready", Some(HealthWord::Unhealthy)),
            ("Degraded", Some(HealthWord::Degraded)),
            ("UNKNOWN", Some(HealthWord::Other)),
            ("shipped", None),
        ] {
            assert_eq!(HealthWord::parse_known(word), meaning, "{word}");
            assert_eq!(HealthWord::parse(word), meaning.unwrap_or(HealthWord::Other), "{word}");
        }
    }

    #[test]
    fn a_report_does_not_depend_on_the_order_of_its_components() {
        let component = |name, status| Component::new(name, status, None);
        let components = [
            component("queue", HealthWord::Healthy),
            component("db", HealthWord::Healthy),
            component("mail", HealthWord::Degraded),
            component("db", HealthWord::Unhealthy),
            component("cache", HealthWord::Other),
        ];
        let report = HealthReport::new(HealthWord::Degraded, components.clone());
        let names: Vec<_> = report.components.iter().map(|component| component.name.as_str()).collect();
        assert_eq!(names, ["db", "mail", "cache", "queue"]);
        assert_eq!(report, HealthReport::new(HealthWord::Degraded, components.into_iter().rev()));
    }

    #[test]
    fn of_very_many_components_those_that_are_not_well_are_kept() {
        let many = (0..500).map(|n| Component::new(&format!("a{n}"), HealthWord::Healthy, None));
        let bad = Component::new("z", HealthWord::Unhealthy, Some("why"));
        let report = HealthReport::new(HealthWord::Unhealthy, many.chain([bad.clone()]));
        assert_eq!(report.components.len(), MAX_COMPONENTS);
        assert_eq!(report.components[0], bad);
    }

    #[test]
    fn names_and_details_are_one_short_line_and_stay_so() {
        let once = Component::new("\0\tdb\n ", HealthWord::Other, Some(&"\u{1}x\r\n".repeat(900)));
        assert_eq!(once.name, "db");
        assert!(once.detail.as_ref().is_some_and(|detail| detail.chars().count() <= MAX_DETAIL_CHARS));
        assert_eq!(once, Component::new(&once.name, once.status, once.detail.as_deref()));
        assert_eq!(
            Component::new("\u{7f}", HealthWord::Other, Some("\0")),
            Component { name: "unnamed".into(), status: HealthWord::Other, detail: None }
        );
    }
}
