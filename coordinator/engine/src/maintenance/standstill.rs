//! What a machine remembers of maintenance.

use model::Timestamp;
use serde::{Deserialize, Serialize};

/// Whether a window is open for a subject, or when the last one ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Standstill {
    /// There has been none.
    #[default]
    Never,
    /// A window is open; this was its planned start.
    Since(Timestamp),
    /// None is open since.
    Until(Timestamp),
}

impl Standstill {
    /// The start of the open window.
    pub(crate) const fn since(self) -> Option<Timestamp> {
        match self {
            Self::Since(at) => Some(at),
            Self::Never | Self::Until(_) => None,
        }
    }

    pub(crate) const fn is_on(self) -> bool {
        matches!(self, Self::Since(_))
    }

    /// Whether what happened at an instant is from before the end of a window, so that it opens nothing.
    pub(crate) fn excuses(self, at: Timestamp) -> bool {
        self.is_on() || self.ended_after(at)
    }

    /// Whether the last window ended after an instant.
    pub(crate) fn ended_after(self, at: Timestamp) -> bool {
        matches!(self, Self::Until(end) if at < end)
    }

    /// The instant, or the end of the last window if that is later.
    pub(crate) fn not_before_end(self, at: Timestamp) -> Timestamp {
        match self {
            Self::Until(end) => at.max(end),
            Self::Never | Self::Since(_) => at,
        }
    }
}
