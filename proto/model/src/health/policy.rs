//! What an HTTP check makes of a health report in the body, as its user chose.

use serde::{Deserialize, Serialize};

use super::HealthWord;

/// What an HTTP check makes of a structured health report.
///
/// The answer's HTTP status is judged first and whatever this says; a report comes on top.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthPolicy {
    /// Bodies are not read as reports: for services whose `status` means something else.
    Ignore,
    /// A report is read where there is one. One that is degraded or unhealthy makes the monitor degraded, not down;
    /// its components are named in the result, the incident and every notification.
    #[default]
    Read,
    /// There has to be a report, and an unhealthy one is a failure. A degraded one makes the monitor degraded.
    Expect,
    /// As [`Self::Expect`], and a degraded report is a failure too.
    Strict,
}

impl HealthPolicy {
    /// Every policy, the laxest first.
    pub const ALL: [Self; 4] = [Self::Ignore, Self::Read, Self::Expect, Self::Strict];

    /// The policy's name: `ignore`, `read`, `expect` or `strict`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::Read => "read",
            Self::Expect => "expect",
            Self::Strict => "strict",
        }
    }

    /// Reads a policy's name, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str().eq_ignore_ascii_case(text))
    }

    /// Whether an answer without a report is a failure.
    #[must_use]
    pub const fn needs_report(self) -> bool {
        matches!(self, Self::Expect | Self::Strict)
    }

    /// Whether a report with this overall word is a failure.
    #[must_use]
    pub const fn fails_on(self, status: HealthWord) -> bool {
        match self {
            Self::Ignore | Self::Read => false,
            Self::Expect => matches!(status, HealthWord::Unhealthy),
            Self::Strict => status.is_bad(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_by_the_names_they_print() {
        for policy in HealthPolicy::ALL {
            assert_eq!(HealthPolicy::parse(&policy.as_str().to_uppercase()), Some(policy));
        }
        assert_eq!(HealthPolicy::parse("yes"), None);
    }

    #[test]
    fn a_stricter_policy_fails_on_whatever_a_laxer_one_fails_on() {
        let words = [HealthWord::Healthy, HealthWord::Other, HealthWord::Degraded, HealthWord::Unhealthy];
        let failing = HealthPolicy::ALL.map(|policy| words.map(|word| policy.fails_on(word)));
        let never = [false; 4];
        assert_eq!(failing, [never, never, [false, false, false, true], [false, false, true, true]]);
    }
}
