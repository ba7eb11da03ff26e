//! What a service says of itself in a structured health report.

use serde::{Deserialize, Serialize};

/// At most this many components of a report are kept.
pub const MAX_COMPONENTS: usize = 32;
/// At most this many characters of a component's name are kept.
pub const MAX_NAME_CHARS: usize = 64;
/// At most this many characters of a component's detail are kept.
pub const MAX_DETAIL_CHARS: usize = 200;

/// A service's report about itself and its dependencies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    /// The overall word.
    pub status: HealthWord,
    /// The dependencies it names, in the report's order.
    pub components: Vec<Component>,
}

/// One dependency in a health report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// Its key in the report, such as `database`.
    pub name: String,
    /// What the report says of it.
    pub status: HealthWord,
    /// The report's own explanation, if any; control characters removed.
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
    /// Reads a status word in any case, `-`, `_` and space alike.
    ///
    /// The vocabulary is that of FastAPI services, Spring Boot Actuator, ASP.NET Core, MicroProfile Health and
    /// `application/health+json` (draft-inadarei-api-health-check).
    #[must_use]
    pub fn parse(word: &str) -> Self {
        let word = word.trim().to_ascii_lowercase().replace(['-', ' '], "_");
        match word.as_str() {
            "ok" | "okay" | "up" | "pass" | "passing" | "healthy" | "ready" | "alive" | "connected"
            | "available" => Self::Healthy,
            "degraded" | "warn" | "warning" | "partial" => Self::Degraded,
            "error" | "err" | "down" | "fail" | "failed" | "failing" | "unhealthy" | "not_ready"
            | "critical" | "unavailable" | "disconnected" | "out_of_service" => Self::Unhealthy,
            _ => Self::Other,
        }
    }

    /// Whether it says that something is wrong.
    #[must_use]
    pub const fn is_bad(self) -> bool {
        matches!(self, Self::Degraded | Self::Unhealthy)
    }
}

impl HealthReport {
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
            ("UP", HealthWord::Healthy),
            ("Healthy", HealthWord::Healthy),
            ("not_ready", HealthWord::Unhealthy),
            ("OUT_OF_SERVICE", HealthWord::Unhealthy),
            ("not ready", HealthWord::Unhealthy),
            ("Degraded", HealthWord::Degraded),
            ("pending", HealthWord::Other),
        ] {
            assert_eq!(HealthWord::parse(word), meaning, "{word}");
        }
    }
}
