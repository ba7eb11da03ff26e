//! Two lists of incidents of one monitor, set side by side.

use std::time::Duration;

use model::Timestamp;

use super::Episode;

/// What became of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is in both, at the same time.
    Same,
    /// It is only in the second.
    Added,
    /// It is only in the first.
    Removed,
    /// In the second it opens earlier, or opens at the same time and ends earlier.
    Earlier,
    /// In the second it opens later, or opens at the same time and ends later.
    Later,
}

/// How the end of an incident moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By so many microseconds; earlier if negative.
    By(i64),
    /// From an instant to beyond what was replayed.
    NoLonger,
    /// From beyond what was replayed to an instant.
    Newly,
}

/// One incident in either list, or the same outage in both.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference<'a> {
    /// What became of it.
    pub change: Change,
    /// As it is in the first list.
    pub first: Option<&'a Episode>,
    /// As it is in the second list.
    pub second: Option<&'a Episode>,
    /// By how many microseconds its opening moves; earlier if negative.
    pub opened_by: i64,
    /// How its end moves.
    pub ended: Ended,
}

/// Sets two lists, each oldest first, side by side, oldest first. Incidents that overlap are taken for the same outage.
/// Those that ended before `since` are left out, and nothing is made of when others opened before it. A shift of up to
/// `tolerance` is none.
#[must_use]
pub fn compare<'a>(
    first: &'a [Episode],
    second: &'a [Episode],
    since: Timestamp,
    tolerance: Duration,
) -> Vec<Difference<'a>> {
    let (mut firsts, mut seconds) = (first.iter().peekable(), second.iter().peekable());
    let mut differences = vec![];
    loop {
        let (first, second) = match (firsts.peek(), seconds.peek()) {
            (None, None) => break,
            (Some(a), Some(b)) if end(a) < b.started_at => (firsts.next(), None),
            (Some(a), Some(b)) if end(b) < a.started_at => (None, seconds.next()),
            _ => (firsts.next(), seconds.next()),
        };
        if [first, second].into_iter().flatten().any(|episode| end(episode) >= since) {
            differences.push(difference(first, second, since, tolerance));
        }
    }
    differences
}

/// When an incident ends; one that is open lasts for ever.
fn end(episode: &Episode) -> Timestamp {
    episode.ended_at.unwrap_or(Timestamp::from_micros(i64::MAX))
}

fn difference<'a>(
    first: Option<&'a Episode>,
    second: Option<&'a Episode>,
    since: Timestamp,
    tolerance: Duration,
) -> Difference<'a> {
    let (change, opened_by, ended) = match (first, second) {
        (Some(a), Some(b)) => {
            let opened_by = shift(a.opened_at.max(since), b.opened_at.max(since), tolerance);
            let ended = match (a.ended_at, b.ended_at) {
                (Some(a), Some(b)) => Ended::By(shift(a, b, tolerance)),
                (None, None) => Ended::By(0),
                (Some(_), None) => Ended::NoLonger,
                (None, Some(_)) => Ended::Newly,
            };
            (moved(opened_by, ended), opened_by, ended)
        }
        (Some(_), None) => (Change::Removed, 0, Ended::By(0)),
        (None, _) => (Change::Added, 0, Ended::By(0)),
    };
    Difference { change, first, second, opened_by, ended }
}

const fn moved(opened_by: i64, ended: Ended) -> Change {
    match (opened_by, ended) {
        (..0, _) | (0, Ended::By(..0) | Ended::Newly) => Change::Earlier,
        (0, Ended::By(0)) => Change::Same,
        (1.., _) | (0, Ended::By(1..) | Ended::NoLonger) => Change::Later,
    }
}

fn shift(from: Timestamp, to: Timestamp, tolerance: Duration) -> i64 {
    let by = to.as_micros().saturating_sub(from.as_micros());
    if Duration::from_micros(by.unsigned_abs()) <= tolerance { 0 } else { by }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn episode(opened: i64, ended: Option<i64>) -> Episode {
        Episode {
            started_at: Timestamp::from_secs(opened - 1),
            opened_at: Timestamp::from_secs(opened),
            ended_at: ended.map(Timestamp::from_secs),
            closed: None,
            cause: String::new(),
            opening: None,
            closing: None,
            is_approximate: false,
        }
    }

    fn changes(first: &[Episode], second: &[Episode]) -> Vec<Change> {
        let differences = compare(first, second, Timestamp::from_secs(100), Duration::from_secs(1));
        differences.iter().map(|difference| difference.change).collect()
    }

    #[test]
    fn incidents_that_overlap_are_one_outage_and_others_are_added_or_removed() {
        let first = [episode(200, Some(300)), episode(400, Some(500))];
        let second = [episode(210, Some(300)), episode(600, None)];
        assert_eq!(changes(&first, &second), [Change::Later, Change::Removed, Change::Added]);
        assert_eq!(changes(&second, &first), [Change::Earlier, Change::Added, Change::Removed]);
    }

    #[test]
    fn an_incident_that_opens_as_another_ends_is_the_same_outage() {
        let first = [episode(200, Some(300))];
        let second = [Episode { started_at: Timestamp::from_secs(300), ..episode(310, Some(400)) }];
        assert_eq!(changes(&first, &second), [Change::Later]);
        assert_eq!(changes(&second, &first), [Change::Earlier]);
    }

    #[test]
    fn an_end_that_moves_counts_when_the_opening_does_not() {
        let first = [episode(200, Some(300)), episode(400, None)];
        let second = [episode(201, Some(360)), episode(400, Some(500))];
        let differences = compare(&first, &second, Timestamp::EPOCH, Duration::from_secs(1));
        let found: Vec<_> = differences.iter().map(|it| (it.change, it.opened_by, it.ended)).collect();
        let expected = [(Change::Later, 0, Ended::By(60_000_000)), (Change::Earlier, 0, Ended::Newly)];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_opened_before_the_window_is_not_compared_by_its_opening() {
        let (first, second) = ([episode(50, Some(150))], [episode(90, Some(150))]);
        assert_eq!(changes(&first, &second), [Change::Same]);
        assert_eq!(changes(&[episode(50, Some(60))], &[]), []);
        assert_eq!(changes(&[episode(50, Some(99))], &[episode(50, Some(120))]), [Change::Later]);
    }
}
