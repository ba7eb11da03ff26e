//! Results until the coordinator has committed them, in memory.
//!
//! Each result gets a sequence number for ever. It waits, is sent, and is acknowledged by ranges; a cut connection
//! turns sent back into waiting. The newest go first; what is from before the connection (back-fill) always leaves one
//! place of the window to fresh results. Acknowledged results are kept for a while, for a coordinator that was
//! restored from a backup. A full spool forgets acknowledged results first, then the oldest routine ones, then the
//! oldest of all; what was never acknowledged is counted as dropped.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use model::Timestamp;
use prost::Message;
use proto::probe::v1;

/// How long acknowledged results are kept.
const REPLAY_PERIOD: Duration = Duration::from_secs(15 * 60);
/// The most acknowledged results that are kept.
const MAX_ACKED: usize = 32_768;
/// The most results that are kept at all: about 15 MB.
const MAX_RESULTS: usize = 100_000;
/// The most bytes of results in one batch, far below what a coordinator decodes: health reports may be long.
const MAX_BATCH_BYTES: usize = 256 * 1024;

/// What the coordinator allows to be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Most results in one batch.
    pub(crate) max_results: usize,
    /// Most batches without an answer.
    pub(crate) max_batches: usize,
}

/// Results that wait, are under way, or were acknowledged a short while ago.
#[derive(Debug)]
pub(crate) struct Spool {
    capacity: usize,
    entries: BTreeMap<u64, Entry>,
    waiting: BTreeSet<u64>,
    /// Unacknowledged results that say nothing new.
    routine: BTreeSet<u64>,
    acked: VecDeque<(Timestamp, u64)>,
    under_way: Vec<Batch>,
    next_seq: u64,
    /// Results from here on are younger than the connection.
    fresh_from: u64,
    dropped: u64,
}

#[derive(Debug)]
struct Entry {
    /// The encoded result, without its age: a fraction of its size as a struct.
    encoded: Box<[u8]>,
    started_at: Timestamp,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Sent,
    Acked,
}

#[derive(Clone, Copy, Debug)]
struct Batch {
    first: u64,
    last: u64,
    unacked: u64,
}

impl Default for Spool {
    fn default() -> Self {
        Self::new(MAX_RESULTS)
    }
}

impl Spool {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            entries: BTreeMap::new(),
            waiting: BTreeSet::new(),
            routine: BTreeSet::new(),
            acked: VecDeque::new(),
            under_way: Vec::new(),
            next_seq: 1,
            fresh_from: 1,
            dropped: 0,
        }
    }

    /// Keeps a result whose attempt started at `started_at` on the agent's clock.
    pub(crate) fn push(&mut self, result: &v1::Result, started_at: Timestamp, is_routine: bool) {
        while self.entries.len() >= self.capacity {
            self.make_room();
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        let encoded = result.encode_to_vec().into_boxed_slice();
        self.entries.insert(seq, Entry { encoded, started_at, state: State::Waiting });
        self.waiting.insert(seq);
        if is_routine {
            self.routine.insert(seq);
        }
    }

    /// A new connection: whatever was sent and not acknowledged waits again.
    pub(crate) fn reconnected(&mut self) {
        for batch in std::mem::take(&mut self.under_way) {
            for (&seq, entry) in self.entries.range_mut(batch.first..=batch.last) {
                if entry.state == State::Sent {
                    entry.state = State::Waiting;
                    self.waiting.insert(seq);
                }
            }
        }
        self.fresh_from = self.next_seq;
    }

    /// The coordinator has forgotten what it had acknowledged: everything still kept waits again.
    pub(crate) fn replay(&mut self) {
        for (_, seq) in self.acked.drain(..) {
            if let Some(entry) = self.entries.get_mut(&seq) {
                entry.state = State::Waiting;
                self.waiting.insert(seq);
                self.routine.insert(seq);
            }
        }
    }

    /// The next batch to send, if something waits and the window has room: at least one result, and no more than
    /// [`MAX_BATCH_BYTES`] unless that one is longer. `agent_epoch` is left 0.
    pub(crate) fn next_batch(&mut self, window: Window, now: Timestamp) -> Option<v1::Results> {
        let &last = self.waiting.last()?;
        let is_fresh = last >= self.fresh_from;
        let limit = if is_fresh { window.max_batches } else { window.max_batches.saturating_sub(1) };
        if self.under_way.len() >= limit.max(1) {
            return None;
        }
        let floor = if is_fresh { self.fresh_from } else { 0 };
        let bytes = |seq| self.entries.get(&seq).map_or(0, |entry| entry.encoded.len());
        let mut first = last;
        let mut total = bytes(last);
        while first > floor
            && last - first + 1 < window.max_results.max(1) as u64
            && self.waiting.contains(&(first - 1))
            && total + bytes(first - 1) <= MAX_BATCH_BYTES
        {
            first -= 1;
            total += bytes(first);
        }
        let mut results = Vec::new();
        for seq in first..=last {
            self.waiting.remove(&seq);
            let entry = self.entries.get_mut(&seq).expect("what waits is kept");
            entry.state = State::Sent;
            let mut result = v1::Result::decode(&entry.encoded[..]).expect("it was encoded by this process");
            result.age_us = u64::try_from(now.since(entry.started_at).as_micros()).unwrap_or(u64::MAX);
            results.push(result);
        }
        self.under_way.push(Batch { first, last, unacked: last - first + 1 });
        Some(v1::Results { agent_epoch: 0, first_seq: first, results, canaries: 0 })
    }

    /// Whether something waits.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether something is under way.
    pub(crate) const fn has_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// The coordinator has committed the results `first … last`, or refused them for good.
    pub(crate) fn ack(&mut self, first: u64, last: u64, now: Timestamp) {
        if first > last {
            return;
        }
        for (&seq, entry) in self.entries.range_mut(first..=last) {
            match entry.state {
                State::Acked => continue,
                State::Waiting => drop(self.waiting.remove(&seq)),
                State::Sent => {
                    if let Some(batch) =
                        self.under_way.iter_mut().find(|batch| (batch.first..=batch.last).contains(&seq))
                    {
                        batch.unacked -= 1;
                    }
                }
            }
            entry.state = State::Acked;
            self.routine.remove(&seq);
            self.acked.push_back((now, seq));
        }
        self.under_way.retain(|batch| batch.unacked > 0);
        while self.acked.len() > MAX_ACKED {
            self.forget_oldest_acked();
        }
    }

    /// Forgets what was acknowledged long ago.
    pub(crate) fn prune(&mut self, now: Timestamp) {
        while self.acked.front().is_some_and(|&(acked_at, _)| now.since(acked_at) > REPLAY_PERIOD) {
            self.forget_oldest_acked();
        }
    }

    /// Results that were dropped without having been acknowledged, since the beginning.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn forget_oldest_acked(&mut self) {
        if let Some((_, seq)) = self.acked.pop_front() {
            self.entries.remove(&seq);
        }
    }

    fn make_room(&mut self) {
        if !self.acked.is_empty() {
            return self.forget_oldest_acked();
        }
        let oldest = || self.entries.first_key_value().map(|(&seq, _)| seq);
        let Some(seq) = self.routine.first().copied().or_else(oldest) else { return };
        self.entries.remove(&seq);
        self.routine.remove(&seq);
        if !self.waiting.remove(&seq)
            && let Some(batch) =
                self.under_way.iter_mut().find(|batch| (batch.first..=batch.last).contains(&seq))
        {
            batch.unacked -= 1;
        }
        self.under_way.retain(|batch| batch.unacked > 0);
        self.dropped += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Window = Window { max_results: 3, max_batches: 3 };
    const NOW: Timestamp = Timestamp::from_secs(100);

    fn push(spool: &mut Spool, count: usize) {
        for _ in 0..count {
            spool.push(&v1::Result::default(), Timestamp::from_secs(90), true);
        }
    }

    /// First and last of every batch that can be sent now.
    fn send(spool: &mut Spool, window: Window) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| spool.next_batch(window, NOW))
            .map(|batch| (batch.first_seq, batch.first_seq + batch.results.len() as u64 - 1))
            .collect()
    }

    #[test]
    fn results_carry_their_age_when_sent() {
        let mut spool = Spool::new(10);
        push(&mut spool, 1);
        let batch = spool.next_batch(WINDOW, NOW).unwrap();
        assert_eq!(batch.results[0].age_us, 10_000_000);
    }

    #[test]
    fn a_batch_is_bounded_in_bytes_but_takes_at_least_one_result() {
        let mut spool = Spool::new(100);
        let window = Window { max_results: 100, max_batches: 100 };
        for kib in [100, 100, 100, 300, 1, 300] {
            let result = v1::Result { detail: "x".repeat(kib * 1024), ..v1::Result::default() };
            spool.push(&result, NOW, true);
        }
        assert_eq!(send(&mut spool, window), [(6, 6), (5, 5), (4, 4), (2, 3), (1, 1)]);
    }

    #[test]
    fn after_a_cut_the_newest_go_first_and_fresh_ones_keep_a_place() {
        let mut spool = Spool::new(100);
        push(&mut spool, 10);
        spool.reconnected();
        assert_eq!(send(&mut spool, WINDOW), [(8, 10), (5, 7)], "one place of three stays free");
        push(&mut spool, 1);
        assert_eq!(send(&mut spool, WINDOW), [(11, 11)]);
        spool.ack(8, 11, NOW);
        assert_eq!(send(&mut spool, WINDOW), [(2, 4)]);
    }

    #[test]
    fn what_was_not_acknowledged_is_sent_again_and_nothing_else() {
        let mut spool = Spool::new(100);
        push(&mut spool, 6);
        assert_eq!(send(&mut spool, WINDOW), [(4, 6), (1, 3)]);
        spool.ack(2, 2, NOW);
        spool.ack(5, 900, NOW);
        spool.reconnected();
        assert_eq!(send(&mut spool, WINDOW), [(3, 4), (1, 1)]);
    }

    #[test]
    fn a_full_spool_drops_old_routine_before_what_says_something_new() {
        let mut spool = Spool::new(4);
        spool.push(&v1::Result::default(), NOW, false);
        push(&mut spool, 5);
        assert_eq!(spool.dropped(), 2);
        assert_eq!(spool.entries.keys().copied().collect::<Vec<_>>(), [1, 4, 5, 6]);
        spool.ack(4, 4, NOW);
        push(&mut spool, 1);
        assert_eq!(spool.dropped(), 2, "forgetting an acknowledged one loses nothing");
    }

    #[test]
    fn acknowledged_results_can_be_replayed_for_fifteen_minutes() {
        let mut spool = Spool::new(100);
        push(&mut spool, 2);
        send(&mut spool, WINDOW);
        spool.ack(1, 1, NOW);
        spool.ack(2, 2, NOW.plus(Duration::from_secs(60)));
        spool.prune(NOW.plus(REPLAY_PERIOD).plus(Duration::from_secs(1)));
        spool.reconnected();
        assert!(!spool.has_waiting());
        spool.replay();
        assert_eq!(send(&mut spool, WINDOW), [(2, 2)]);
    }

    proptest! {
        #[test]
        fn whatever_happens_every_result_is_acknowledged_or_counted_as_dropped(
            capacity in 1..20_usize,
            steps in proptest::collection::vec((0..5_u8, 0..30_u64, 0..6_u64), 0..200),
        ) {
            let mut spool = Spool::new(capacity);
            let mut acked = BTreeSet::new();
            for (step, from, length) in steps {
                match step {
                    0 => push(&mut spool, length as usize),
                    1 => drop(send(&mut spool, WINDOW)),
                    2 => spool.reconnected(),
                    _ => {
                        let known: Vec<u64> =
                            spool.entries.iter().filter(|(_, e)| e.state != State::Acked).map(|(&s, _)| s).collect();
                        acked.extend(known.into_iter().filter(|s| (from..=from + length).contains(s)));
                        spool.ack(from, from + length, NOW);
                    }
                }
                prop_assert!(spool.entries.len() <= capacity);
                let sent = spool.entries.values().filter(|e| e.state == State::Sent).count() as u64;
                prop_assert_eq!(sent, spool.under_way.iter().map(|batch| batch.unacked).sum::<u64>());
            }
            for _ in 0..100 {
                spool.reconnected();
                for (first, last) in send(&mut spool, WINDOW) {
                    acked.extend(first..=last);
                    spool.ack(first, last, NOW);
                }
            }
            prop_assert!(!spool.has_waiting() && !spool.has_under_way());
            prop_assert_eq!(acked.len() as u64 + spool.dropped(), spool.next_seq - 1);
        }
    }
}
