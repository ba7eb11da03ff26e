//! Words, icons and colours: what a status looks like to the public. Never a colour alone.

use engine::{heartbeat, monitor};

use crate::view::Status;
use crate::web::incidents::What;

/// How serious something is; decides icon and colour. In rising order of what a page's banner prefers to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tone {
    /// Nobody looks.
    Idle,
    /// In order.
    Good,
    /// Worked on, as planned.
    Planned,
    /// Not known.
    Unclear,
    /// Not as it should be.
    Warning,
    /// Broken.
    Bad,
}

impl Tone {
    /// Its class in the stylesheet.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Good => "good",
            Self::Planned => "planned",
            Self::Unclear => "unclear",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }

    /// A shape that differs from tone to tone.
    pub(super) const fn icon(self) -> &'static str {
        match self {
            Self::Idle => "–",
            Self::Good => "✓",
            Self::Planned => "⚙",
            Self::Unclear => "?",
            Self::Warning => "!",
            Self::Bad => "✕",
        }
    }

    /// What the tab shows: a dot, as part of the page.
    pub(super) fn favicon(self) -> String {
        let colour = match self {
            Self::Idle => "667085",
            Self::Good => "16803c",
            Self::Planned => "1d4ed8",
            Self::Unclear => "475467",
            Self::Warning => "b54708",
            Self::Bad => "c0231c",
        };
        format!(
            "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'%3E\
             %3Ccircle cx='4' cy='4' r='4' fill='%23{colour}'/%3E%3C/svg%3E"
        )
    }
}

/// A status as the public reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pill {
    /// The word.
    pub(super) word: &'static str,
    /// How it looks.
    pub(super) tone: Tone,
}

/// A subject's status; `open` is what its open incident is about.
pub(super) const fn pill(status: Status, open: Option<What>) -> Pill {
    let (word, tone) = match status {
        Status::Monitor(status, _) => match status {
            monitor::Status::Pending => ("Pending", Tone::Unclear),
            monitor::Status::Up => ("Up", Tone::Good),
            monitor::Status::Degraded => ("Degraded", Tone::Warning),
            monitor::Status::Down => ("Down", Tone::Bad),
            monitor::Status::Unknown => ("Unknown", Tone::Unclear),
            monitor::Status::Paused => ("Paused", Tone::Idle),
            monitor::Status::Maintenance => ("Maintenance", Tone::Planned),
        },
        Status::Heartbeat(status, _) => match (status, open) {
            (heartbeat::Status::New, _) => ("Waiting for its first ping", Tone::Idle),
            (heartbeat::Status::Up, _) => ("Up", Tone::Good),
            (heartbeat::Status::Running, _) => ("Running", Tone::Good),
            (heartbeat::Status::Late, _) => ("Late", Tone::Warning),
            (heartbeat::Status::Missed, Some(What::Failed)) => ("Failed", Tone::Bad),
            (heartbeat::Status::Missed, _) => ("Missed", Tone::Bad),
            (heartbeat::Status::Unknown, _) => ("Unknown", Tone::Unclear),
            (heartbeat::Status::Paused, _) => ("Paused", Tone::Idle),
            (heartbeat::Status::Maintenance, _) => ("Maintenance", Tone::Planned),
        },
    };
    Pill { word, tone }
}

/// A page's banner, from the tones of what is on it.
pub(super) fn banner(tones: &[Tone]) -> Pill {
    let worst = tones.iter().copied().max();
    let word = match worst {
        None => "Nothing is shown here yet",
        Some(Tone::Idle) => "Nothing is being checked now",
        Some(Tone::Good) => "All systems operational",
        Some(Tone::Planned) => "Maintenance is under way",
        Some(Tone::Unclear) => "Some systems cannot be judged now",
        Some(Tone::Warning) => "Some systems are not well",
        Some(Tone::Bad) if tones.iter().all(|tone| matches!(tone, Tone::Bad | Tone::Idle)) => "Major outage",
        Some(Tone::Bad) => "Partial outage",
    };
    Pill { word, tone: worst.unwrap_or(Tone::Idle) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_tells_the_worst() {
        for (tones, words) in [
            (vec![], "Nothing is shown here yet"),
            (vec![Tone::Idle], "Nothing is being checked now"),
            (vec![Tone::Good, Tone::Idle], "All systems operational"),
            (vec![Tone::Good, Tone::Planned], "Maintenance is under way"),
            (vec![Tone::Planned, Tone::Unclear], "Some systems cannot be judged now"),
            (vec![Tone::Good, Tone::Unclear], "Some systems cannot be judged now"),
            (vec![Tone::Unclear, Tone::Warning], "Some systems are not well"),
            (vec![Tone::Good, Tone::Bad, Tone::Warning], "Partial outage"),
            (vec![Tone::Idle, Tone::Bad, Tone::Bad], "Major outage"),
        ] {
            assert_eq!(banner(&tones).word, words, "{tones:?}");
        }
    }
}
