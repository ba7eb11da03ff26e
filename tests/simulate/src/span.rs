//! Stretches of time, and what holds during them.

use std::time::Duration;

use model::Timestamp;

/// When every simulated world begins.
pub const START: Timestamp = Timestamp::from_secs(1_700_000_000);

/// From an instant, included, to another, excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first instant.
    pub from: Timestamp,
    /// The first instant after it.
    pub to: Timestamp,
}

impl Span {
    /// The span of this length.
    #[must_use]
    pub fn starting(from: Timestamp, length: Duration) -> Self {
        Self { from, to: from.plus(length) }
    }

    /// Whether an instant lies in it.
    #[must_use]
    pub fn contains(self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }

    /// How long it is.
    #[must_use]
    pub fn length(self) -> Duration {
        self.to.since(self.from)
    }

    /// How much of it lies in another.
    #[must_use]
    pub fn overlap(self, other: Self) -> Duration {
        self.to.min(other.to).since(self.from.max(other.from))
    }
}

/// What holds when: spans in their order, none overlapping another.
#[derive(Clone, Debug)]
pub struct Calendar<T>(Vec<(Span, T)>);

impl<T> Default for Calendar<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Calendar<T> {
    /// Adds what begins no earlier than the end of all there is; what would overlap is left out.
    pub fn push(&mut self, span: Span, what: T) {
        if span.from < span.to && self.0.last().is_none_or(|(last, _)| last.to <= span.from) {
            self.0.push((span, what));
        }
    }

    /// What holds at an instant.
    #[must_use]
    pub fn at(&self, at: Timestamp) -> Option<&(Span, T)> {
        self.0.get(self.after(at).checked_sub(1)?).filter(|(span, _)| span.contains(at))
    }

    /// The first that begins after an instant.
    #[must_use]
    pub fn next(&self, at: Timestamp) -> Option<&(Span, T)> {
        self.0.get(self.after(at))
    }

    /// All of it.
    pub fn iter(&self) -> impl Iterator<Item = &(Span, T)> {
        self.0.iter()
    }

    /// Those that touch a span.
    pub fn within(&self, span: Span) -> impl Iterator<Item = &(Span, T)> {
        let first = self.after(span.from).saturating_sub(1);
        self.0[first..]
            .iter()
            .take_while(move |(other, _)| other.from < span.to)
            .filter(move |(other, _)| span.from < other.to)
    }

    fn after(&self, at: Timestamp) -> usize {
        self.0.partition_point(|(span, _)| span.from <= at)
    }
}

impl Calendar<()> {
    /// The union of spans that may overlap.
    #[must_use]
    pub fn union(mut spans: Vec<Span>) -> Self {
        spans.sort_by_key(|span| span.from);
        let mut merged: Vec<(Span, ())> = Vec::new();
        for span in spans.into_iter().filter(|span| span.from < span.to) {
            match merged.last_mut() {
                Some((last, ())) if span.from <= last.to => last.to = last.to.max(span.to),
                _ => merged.push((span, ())),
            }
        }
        Self(merged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(from: i64, to: i64) -> Span {
        Span { from: Timestamp::from_secs(from), to: Timestamp::from_secs(to) }
    }

    #[test]
    fn a_calendar_says_what_holds_and_what_comes_next() {
        let calendar = Calendar::union(vec![span(5, 7), span(1, 2), span(6, 9), span(2, 3)]);
        let spans: Vec<_> = calendar.iter().map(|(span, ())| *span).collect();
        assert_eq!(spans, [span(1, 3), span(5, 9)]);
        let at = |secs| calendar.at(Timestamp::from_secs(secs)).map(|(span, ())| *span);
        assert_eq!(
            [at(0), at(1), at(3), at(8), at(9)],
            [None, Some(span(1, 3)), None, Some(span(5, 9)), None]
        );
        assert_eq!(calendar.next(Timestamp::from_secs(1)).unwrap().0, span(5, 9));
        assert_eq!(calendar.within(span(2, 6)).count(), 2);
        assert_eq!(calendar.within(span(3, 5)).count(), 0);
    }
}
