//! When which subject must be looked at: a heap with at most one entry per subject that matters.
//!
//! Deadlines mostly move later (every ping, every vote). The heap is left alone then: an entry that comes up early is
//! put back at the subject's present deadline.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use model::{SubjectId, Timestamp};

use super::stage::Published;

/// The heap. [`super::Subject::scheduled`] says which entry of a subject is the one that counts.
#[derive(Debug, Default)]
pub(super) struct Deadlines(BinaryHeap<Reverse<(Timestamp, SubjectId)>>);

impl Deadlines {
    /// The earliest entry.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    /// Makes sure that a subject comes up no later than its deadline.
    pub(super) fn schedule(&mut self, published: &mut Published, id: SubjectId) {
        let Some(subject) = published.subjects.get_mut(&id) else { return };
        let Some(deadline) = subject.deadline() else { return };
        if subject.scheduled.is_none_or(|scheduled| deadline < scheduled) {
            subject.scheduled = Some(deadline);
            self.0.push(Reverse((deadline, id)));
        }
    }

    /// Takes out what has come up. Whoever takes it schedules it again, or puts it back.
    pub(super) fn take_due(
        &mut self,
        published: &mut Published,
        now: Timestamp,
    ) -> Vec<(Timestamp, SubjectId)> {
        let mut due = vec![];
        while let Some(&Reverse((at, id))) = self.0.peek() {
            if at > now {
                break;
            }
            self.0.pop();
            if let Some(subject) = published.subjects.get_mut(&id)
                && subject.scheduled == Some(at)
            {
                subject.scheduled = None;
                due.push((at, id));
            }
        }
        due
    }

    /// Puts back what was taken out.
    pub(super) fn put_back(&mut self, published: &mut Published, due: &[(Timestamp, SubjectId)]) {
        for &(at, id) in due {
            if let Some(subject) = published.subjects.get_mut(&id) {
                subject.scheduled = Some(at);
                self.0.push(Reverse((at, id)));
            }
        }
    }
}
