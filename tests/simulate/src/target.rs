//! Targets: when they are in trouble, and what a check then finds.

use std::time::Duration;

use model::Timestamp;

use crate::random::Source;
use crate::span::{Calendar, START, Span};

/// Answers on their way and checks under way when a target comes back may still open an incident.
pub const LAST_EVIDENCE: Duration = Duration::from_secs(30);

/// How a target is not well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It answers 503.
    WrongAnswer,
    /// It refuses connections.
    Refused,
    /// It answers nothing.
    Silent,
    /// It is there and away by turns, each for so long.
    Flapping(Duration),
    /// It answers, but takes seconds.
    Slow,
}

/// What an attempt finds at a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What was asked for.
    Good,
    /// Late, but what was asked for.
    Slow,
    /// 503.
    Wrong,
    /// No connection.
    Refused,
    /// Nothing.
    Nothing,
}

/// How often targets of a world get into trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Troubles {
    /// Never.
    Never,
    /// Each on its own: every other day or, at long intervals, every eight intervals, from seconds to six intervals.
    Alone,
    /// Half of all at once, once a day, for a quarter of an hour or three intervals.
    Together,
}

/// A target's future.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// When it is in trouble.
    pub troubles: Calendar<Trouble>,
    /// When that is in trouble through which it is reached.
    pub gateway: Calendar<Trouble>,
}

impl Trouble {
    /// Whether it is away all the time, so that it has to be found and nothing else may be said meanwhile.
    #[must_use]
    pub const fn is_outage(self) -> bool {
        matches!(self, Self::WrongAnswer | Self::Refused | Self::Silent)
    }
}

impl Target {
    /// The future of a target that is checked at this interval.
    #[must_use]
    pub fn new(troubles: Troubles, interval: Duration, end: Timestamp, source: Source) -> Self {
        let mut target = Self::default();
        match troubles {
            Troubles::Never => {}
            Troubles::Alone => {
                // After an outage it must be seen up before the next can be told from it.
                let rest = interval * 4 + Duration::from_secs(600);
                let mean = (interval * 8).max(Duration::from_secs(40 * 3_600));
                let mut from = START.plus(rest);
                for number in 0.. {
                    let source = source.of(number);
                    from = from.plus(source.of(0).wait(mean));
                    if from >= end {
                        break;
                    }
                    let length = source.of(1).log_between(Duration::from_secs(5), interval * 6);
                    let span = Span::starting(from, length);
                    target.troubles.push(span, trouble(source.of(2)));
                    from = span.to.plus(rest);
                }
            }
            Troubles::Together => {
                let every = Duration::from_secs(86_400);
                let length = Duration::from_secs(900).max(interval * 3);
                let mut from = START.plus(every);
                for number in 0.. {
                    if from >= end {
                        break;
                    }
                    if source.of(number).chance(0.5) {
                        let trouble = match number % 3 {
                            0 => Trouble::WrongAnswer,
                            1 => Trouble::Refused,
                            _ => Trouble::Silent,
                        };
                        target.troubles.push(Span::starting(from, length), trouble);
                    }
                    from = from.plus(every);
                }
            }
        }
        target
    }

    /// Three times in ten the work of a window breaks it, half of these times for longer than the window.
    pub fn work_in(&mut self, windows: &Calendar<()>, interval: Duration, source: Source) {
        let mut troubles: Vec<(Span, Trouble)> = self.troubles.iter().copied().collect();
        for (number, (window, ())) in (0..).zip(windows.iter()) {
            let source = source.of(number);
            if !source.of(0).chance(0.3) {
                continue;
            }
            let from = window.from.plus(source.of(1).between(Duration::ZERO, window.length()));
            let to = if source.of(2).chance(0.5) {
                window.to.plus(source.of(3).log_between(Duration::from_secs(5), interval * 4))
            } else {
                from.plus(source.of(4).between(Duration::ZERO, window.to.since(from)))
            };
            troubles.push((Span { from, to }, trouble(source.of(5))));
        }
        troubles.sort_by_key(|(span, _)| span.from);
        self.troubles = Calendar::default();
        for (span, trouble) in troubles {
            self.troubles.push(span, trouble);
        }
    }

    /// What an attempt that starts at an instant finds.
    #[must_use]
    pub fn answer(&self, at: Timestamp) -> Answer {
        // Behind a gateway that is away or answers wrongly nothing can be reached.
        let behind = !matches!(answer(&self.gateway, at), Answer::Good | Answer::Slow);
        if behind { Answer::Refused } else { answer(&self.troubles, at) }
    }

    /// The troubles that concern it, its own and its gateway's.
    pub fn concerns(&self) -> [&Calendar<Trouble>; 2] {
        [&self.troubles, &self.gateway]
    }

    /// Whether an incident that opens now tells the truth: the target itself failed when it was last looked at, by a check
    /// that began no earlier than `since`.
    #[must_use]
    pub fn failed_lately(&self, at: Timestamp, since: Timestamp) -> bool {
        let from = at.minus(LAST_EVIDENCE).max(since);
        let lately = Span { from, to: at.plus(Duration::from_millis(1)) };
        self.troubles.within(lately).any(|(_, trouble)| *trouble != Trouble::Slow)
    }
}

fn answer(troubles: &Calendar<Trouble>, at: Timestamp) -> Answer {
    match troubles.at(at) {
        None => Answer::Good,
        Some((_, Trouble::WrongAnswer)) => Answer::Wrong,
        Some((_, Trouble::Refused)) => Answer::Refused,
        Some((_, Trouble::Silent)) => Answer::Nothing,
        Some((_, Trouble::Slow)) => Answer::Slow,
        Some((span, Trouble::Flapping(period))) => {
            let turns = at.since(span.from).as_millis() / period.as_millis().max(1);
            if turns.is_multiple_of(2) { Answer::Refused } else { Answer::Good }
        }
    }
}

fn trouble(source: Source) -> Trouble {
    match source.below(10) {
        0..=2 => Trouble::WrongAnswer,
        3..=4 => Trouble::Refused,
        5..=6 => Trouble::Silent,
        7..=8 => Trouble::Slow,
        _ => {
            let period = source.of(1).between(Duration::from_secs(2), Duration::from_secs(90));
            Trouble::Flapping(period)
        }
    }
}
