//! Results until the coordinator has committed them: on disk, and the newest in memory.
//!
//! Each result gets a sequence number for ever. It waits, is sent, and is acknowledged by ranges; a cut connection
//! turns sent back into waiting. The newest go first; what is from before the connection (back-fill) always leaves one
//! place of the window to fresh results. Acknowledged results are kept for a while, for a coordinator that was
//! restored from a backup.
//!
//! ```text
//!   push ─▶ hot (memory) ───────────────────────────▶ next_batch
//!     └───▶ next_order ─▶ writer ─▶ disk ─▶ heed ─▶ loaded ┘
//! ```
//!
//! On disk it is a row of segments. A full spool forgets acknowledged results first, then thins its oldest segments to
//! what is news, then gives up the oldest of all; what was never acknowledged is counted as dropped. The mind (this
//! file) knows which numbers are where and does no I/O; `disk` does what is ordered, in `writer`'s thread.

mod disk;
mod files;
mod record;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use model::Timestamp;
use model::agent_status::Backlog;
use prost::Message;
use proto::probe::convert::timestamp_to_wire;
use proto::probe::v1;
use rangemap::RangeInclusiveSet;
use tracing::warn;

use disk::{Contents, Found, Opened, Stored};
pub(crate) use disk::{Done, Order};
use record::{Boot, Header};
#[cfg(test)]
pub(crate) use tests::Shelf;
pub(crate) use writer::{Writer, is_held, open};

/// How long acknowledged results are kept.
const REPLAY_PERIOD: Duration = Duration::from_secs(15 * 60);
/// The most bytes of results in one batch, far below what a coordinator decodes: health reports may be long.
const MAX_BATCH_BYTES: usize = 256 * 1024;
/// The most bytes of results in memory; what is older is read from the disk again when it is its turn.
const HOT_BYTES: usize = 4 << 20;
/// What a result in memory costs besides its bytes.
const HOT_OVERHEAD: usize = 64;
/// A spool is this many segments when it is full.
const SEGMENTS: u64 = 64;
/// How long a routine result may wait for company before it is written, and how many bytes wait at most: waking the
/// writer for each costs more than the check.
const GATHER: Duration = Duration::from_millis(100);
const MAX_GATHERED: usize = 16 << 10;
/// When a disk that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(10);

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
    /// The most bytes on disk.
    capacity: u64,
    hot_bytes: usize,
    /// By number. The last is appended to; a result is in the last one that begins at or before it.
    segments: BTreeMap<u64, Segment>,
    header: Header,
    next_seq: u64,
    /// Not acknowledged and in memory.
    hot: BTreeMap<u64, Hot>,
    hot_size: usize,
    /// Not acknowledged.
    unacked: RangeInclusiveSet<u64>,
    /// Not acknowledged and not under way.
    waiting: RangeInclusiveSet<u64>,
    under_way: Vec<RangeInclusive<u64>>,
    /// Acknowledged a short while ago, oldest first.
    acked: VecDeque<(Timestamp, RangeInclusive<u64>)>,
    /// The segment that was read from disk last.
    loaded: Option<Loaded>,
    /// The segment that is being read, and the last number that was pushed before.
    loading: Option<(u64, u64)>,
    /// The segment that is being thinned.
    thinning: Option<u64>,
    /// Whether that failed, and waits for another try.
    is_thinning_stuck: bool,
    /// Numbers from here on are not on disk, which is tried again at the instant.
    broken: Option<(u64, Timestamp)>,
    orders: VecDeque<Order>,
    /// When what is gathered is written at the latest.
    write_at: Option<Timestamp>,
    /// Whether it holds news, which does not wait.
    is_news_gathered: bool,
    /// Results from here on are younger than the connection.
    fresh_from: u64,
    /// Which epoch the coordinator gave this numbering last.
    epoch: Option<u64>,
    /// The same with the coordinator's clock minus ours, since the first session of this process.
    terms: Option<(u64, i64)>,
    dropped: u64,
    /// The number that the disk was told.
    told_dropped: u64,
    now: Timestamp,
}

#[derive(Debug)]
struct Segment {
    first_seq: u64,
    bytes: u64,
    is_thinned: bool,
    /// The boot it was written in.
    boot: Boot,
    /// When the first of its results was begun, if that is known on our clock.
    begun_at: Option<Timestamp>,
    last_acked_at: Timestamp,
}

#[derive(Debug)]
struct Hot {
    /// The encoded result, without its age: a fraction of its size as a struct.
    encoded: Box<[u8]>,
    started_at: Timestamp,
    is_routine: bool,
}

#[derive(Debug)]
struct Loaded {
    segment: u64,
    contents: Contents,
    /// What was pushed later is not in it.
    until: u64,
}

/// Where the result that is next in line is.
enum Next {
    InMemory,
    Loaded,
    OnDisk(u64),
}

impl Spool {
    fn new(capacity: u64, hot_bytes: usize, opened: Opened, now: Timestamp) -> Self {
        let newest = opened.segments.last().expect("opening begins a segment");
        let header = newest.header;
        let mut spool = Self {
            capacity,
            hot_bytes,
            segments: BTreeMap::new(),
            header,
            next_seq: header.first_seq,
            hot: BTreeMap::new(),
            hot_size: 0,
            unacked: RangeInclusiveSet::new(),
            waiting: RangeInclusiveSet::new(),
            under_way: Vec::new(),
            acked: VecDeque::new(),
            loaded: None,
            loading: None,
            thinning: None,
            is_thinning_stuck: false,
            broken: None,
            orders: VecDeque::new(),
            write_at: None,
            is_news_gathered: false,
            fresh_from: header.first_seq,
            epoch: opened.segments.iter().rev().find_map(|found| found.epoch),
            terms: None,
            dropped: opened.segments.iter().map(|found| found.dropped).max().unwrap_or_default(),
            told_dropped: 0,
            now,
        };
        spool.adopt(opened.segments);
        spool
    }

    /// Takes over what an earlier process left.
    fn adopt(&mut self, found: Vec<Found>) {
        let (mut acks, mut lost) = (Vec::new(), RangeInclusiveSet::new());
        for segment in found {
            // What a torn or damaged end took away, as far as the next segment's beginning tells.
            if let Some((number, before)) = self.segments.last_key_value()
                && number + 1 == segment.number
                && !before.is_thinned
                && before.first_seq / disk::RUN == segment.header.first_seq / disk::RUN
            {
                let read = self.unacked.last().map_or(0, |range| range.end() + 1).max(before.first_seq);
                if read < segment.header.first_seq {
                    lost.insert(read..=segment.header.first_seq - 1);
                }
            }
            self.unacked.extend(segment.results);
            acks.extend(
                segment.acks.into_iter().map(|(at, range)| (self.here(segment.header.boot, at), range)),
            );
            self.segments.insert(
                segment.number,
                Segment {
                    first_seq: segment.header.first_seq,
                    bytes: segment.bytes,
                    is_thinned: segment.header.is_thinned,
                    boot: segment.header.boot,
                    begun_at: self.within_boot(segment.header.boot, segment.begun_at),
                    last_acked_at: Timestamp::from_micros(i64::MIN),
                },
            );
        }
        for (at, range) in acks {
            lost.remove(range.clone());
            self.settle(range, at);
        }
        self.told_dropped = self.dropped;
        self.dropped += lost.iter().map(|range| range.end() - range.start() + 1).sum::<u64>();
        self.acked.make_contiguous().sort_by_key(|(at, _)| *at);
        self.waiting = self.unacked.clone();
    }

    /// An instant of an earlier process on our clock: exact within one boot of the machine, otherwise now.
    fn here(&self, boot: Boot, at: Timestamp) -> Timestamp {
        if boot.id != self.header.boot.id {
            return self.now;
        }
        let shift = self.header.boot.at.as_micros().saturating_sub(boot.at.as_micros());
        Timestamp::from_micros(at.as_micros().saturating_add(shift))
    }

    /// The same of an instant that may not be known; `None` if it is of another boot.
    fn within_boot(&self, boot: Boot, at: Option<Timestamp>) -> Option<Timestamp> {
        at.filter(|_| boot.id == self.header.boot.id).map(|at| self.here(boot, at))
    }

    /// This boot of the machine.
    pub(crate) const fn boot_id(&self) -> [u8; 16] {
        self.header.boot.id
    }

    /// What identifies the numbering: the same nonce continues the same agent epoch.
    pub(crate) const fn nonce(&self) -> [u8; 16] {
        self.header.nonce
    }

    /// Keeps a result whose attempt started at `started_at` on the agent's clock.
    pub(crate) fn push(&mut self, result: &v1::Result, started_at: Timestamp, is_routine: bool) {
        let seq = self.next_seq;
        self.next_seq += 1;
        let encoded = result.encode_to_vec().into_boxed_slice();
        self.append(seq, |first_seq, records| {
            record::put_result(records, first_seq, seq, is_routine, started_at, &encoded);
        });
        if let Some((_, segment)) = self.segments.iter_mut().next_back() {
            segment.begun_at.get_or_insert(started_at);
        }
        self.is_news_gathered |= !is_routine;
        self.hot_size += encoded.len() + HOT_OVERHEAD;
        self.hot.insert(seq, Hot { encoded, started_at, is_routine });
        self.unacked.insert(seq..=seq);
        self.waiting.insert(seq..=seq);
        while self.hot_size > self.hot_bytes {
            self.cool();
        }
        self.make_room();
    }

    /// A new connection, with these terms: whatever was sent and not acknowledged waits again. If the coordinator has
    /// forgotten this numbering, so does everything else that is still kept.
    pub(crate) fn connected(&mut self, epoch: u64, offset_us: i64) {
        for sent in std::mem::take(&mut self.under_way) {
            let again: Vec<_> = self.unacked_in(&sent).collect();
            self.waiting.extend(again);
        }
        self.fresh_from = self.next_seq;
        self.terms = Some((epoch, offset_us));
        self.append(self.next_seq, |_, records| record::put_terms(records, epoch, offset_us));
        if self.epoch.replace(epoch).is_some_and(|known| known != epoch) {
            warn!(
                "the coordinator has forgotten this agent's results: sending those of the last 15 minutes again"
            );
            self.replay();
        }
        self.make_room();
    }

    fn replay(&mut self) {
        for (_, range) in std::mem::take(&mut self.acked) {
            self.unacked.insert(range.clone());
            self.waiting.insert(range);
        }
    }

    /// The next batch to send, if something waits and the window has room: at least one result, and no more than
    /// [`MAX_BATCH_BYTES`] unless that one is longer. `agent_epoch` is left 0.
    pub(crate) fn next_batch(&mut self, window: Window, now: Timestamp) -> Option<v1::Results> {
        loop {
            let last = *self.waiting.last()?.end();
            let is_fresh = last >= self.fresh_from;
            let limit = if is_fresh { window.max_batches } else { window.max_batches.saturating_sub(1) };
            if self.under_way.len() >= limit.max(1) {
                return None;
            }
            let next = self.whereabouts(last);
            if let Next::OnDisk(segment) = next {
                if self.loading.is_none() {
                    self.loading = Some((segment, self.next_seq - 1));
                    self.orders.push_back(Order::Load { segment });
                }
                return None;
            }
            let floor = if is_fresh { self.fresh_from } else { 0 };
            let floor = floor.max(*self.waiting.last()?.start());
            let mut results = VecDeque::new();
            let (mut first, mut total) = (last, 0);
            while let Some((result, bytes)) = self.take(&next, first, now)
                && (results.is_empty() || total + bytes <= MAX_BATCH_BYTES)
            {
                results.push_front(result);
                total += bytes;
                if first == floor || results.len() == window.max_results.max(1) {
                    break;
                }
                first -= 1;
            }
            if results.is_empty() {
                // Kept by an earlier boot before the coordinator's clock was known: nobody can say when it was.
                self.lose(last..=last);
                continue;
            }
            let first = last + 1 - results.len() as u64;
            self.waiting.remove(first..=last);
            self.under_way.push(first..=last);
            return Some(v1::Results {
                agent_epoch: 0,
                first_seq: first,
                results: results.into(),
                canaries: 0,
            });
        }
    }

    fn whereabouts(&self, seq: u64) -> Next {
        if self.hot.contains_key(&seq) {
            return Next::InMemory;
        }
        let segment = self.segment_of(seq);
        match &self.loaded {
            Some(loaded) if loaded.segment == segment && seq <= loaded.until => Next::Loaded,
            _ => Next::OnDisk(segment),
        }
    }

    /// A result as it is sent, and its size.
    fn take(&self, whereabouts: &Next, seq: u64, now: Timestamp) -> Option<(v1::Result, usize)> {
        let (encoded, started_at, stamp) = match whereabouts {
            Next::InMemory => self.hot.get(&seq).map(|hot| (&*hot.encoded, hot.started_at, None))?,
            Next::Loaded => {
                let loaded = self.loaded.as_ref()?;
                let (stored, encoded) = loaded.contents.get(seq)?;
                let boot = self.segments.get(&loaded.segment)?.boot;
                let Stored { started_at, offset_us, .. } = stored;
                if boot.id == self.header.boot.id {
                    (encoded, self.here(boot, started_at), None)
                } else {
                    let stamp = started_at.as_micros().saturating_add(offset_us?);
                    (encoded, started_at, Some(Timestamp::from_micros(stamp)))
                }
            }
            Next::OnDisk(_) => return None,
        };
        let mut result = v1::Result::decode(encoded).ok()?;
        match stamp {
            Some(stamp) => result.started_at = Some(timestamp_to_wire(stamp)),
            None => result.age_us = u64::try_from(now.since(started_at).as_micros()).unwrap_or(u64::MAX),
        }
        Some((result, encoded.len()))
    }

    /// Whether something waits.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether something is under way.
    pub(crate) const fn has_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// How many results are not acknowledged.
    pub(crate) fn depth(&self) -> u64 {
        self.unacked.iter().map(|range| range.end() - range.start() + 1).sum()
    }

    /// What waits for an acknowledgement.
    pub(crate) fn backlog(&self, now: Timestamp) -> Backlog {
        let oldest = self.unacked.first().map(|range| *range.start());
        let begun_at = oldest.and_then(|seq| match self.hot.get(&seq) {
            Some(hot) => Some(hot.started_at),
            None => self.segments.get(&self.segment_of(seq))?.begun_at,
        });
        let waits = |number: u64| self.unacked_in(&self.span(number)).next().is_some();
        let held = self.segments.iter().filter(|(number, _)| waits(**number));
        Backlog {
            results: self.depth(),
            oldest_age: begun_at.map(|at| now.since(at)),
            bytes: held.map(|(_, segment)| segment.bytes).sum(),
            capacity_bytes: self.capacity,
            dropped: self.dropped,
        }
    }

    /// The coordinator has committed the results `first … last`, or refused them for good.
    pub(crate) fn ack(&mut self, first: u64, last: u64, now: Timestamp) {
        if first > last {
            return;
        }
        let acked: Vec<_> = self.unacked_in(&(first..=last)).collect();
        for range in acked {
            self.append(self.next_seq, |_, records| {
                record::put_acks(records, now, *range.start(), *range.end());
            });
            self.settle(range, now);
        }
        self.make_room();
    }

    /// Takes in an acknowledgement.
    fn settle(&mut self, range: RangeInclusive<u64>, at: Timestamp) {
        self.remove(range.clone());
        let from = self.segment_of(*range.start());
        for (_, segment) in self.segments.range_mut(from..=self.segment_of(*range.end()).max(from)) {
            segment.last_acked_at = segment.last_acked_at.max(at);
        }
        match self.acked.back_mut() {
            // Within a second of each other they are one, so that their number is bounded.
            Some((since, before))
                if before.end().checked_add(1) == Some(*range.start())
                    && at.since(*since) < Duration::from_secs(1) =>
            {
                *before = *before.start()..=*range.end();
            }
            _ => self.acked.push_back((at, range)),
        }
    }

    /// These need not be sent any more.
    fn remove(&mut self, range: RangeInclusive<u64>) {
        while let Some((&seq, _)) = self.hot.range(range.clone()).next() {
            self.forget_hot(seq);
        }
        self.waiting.remove(range.clone());
        self.unacked.remove(range);
        let unacked = &self.unacked;
        self.under_way.retain(|sent| unacked.overlaps(sent));
    }

    /// These will never be sent.
    fn lose(&mut self, range: RangeInclusive<u64>) {
        let lost: u64 = self.unacked_in(&range).map(|range| range.end() - range.start() + 1).sum();
        if lost > 0 {
            self.dropped += lost;
            self.remove(range);
        }
    }

    fn unacked_in(&self, range: &RangeInclusive<u64>) -> impl Iterator<Item = RangeInclusive<u64>> {
        let (first, last) = (*range.start(), *range.end());
        // A segment that was begun anew from its beginning holds nothing.
        let within = (first <= last).then(|| self.unacked.overlapping(first..=last));
        within.into_iter().flatten().map(move |range| *range.start().max(&first)..=*range.end().min(&last))
    }

    /// Forgets what was acknowledged long ago, and tries a disk again that failed.
    pub(crate) fn prune(&mut self, now: Timestamp) {
        self.now = now;
        while self.acked.front().is_some_and(|(acked_at, _)| now.since(*acked_at) > REPLAY_PERIOD) {
            self.acked.pop_front();
        }
        let settled: Vec<u64> = self
            .segments
            .iter()
            .filter(|(number, segment)| {
                self.is_done(**number) && now.since(segment.last_acked_at) > REPLAY_PERIOD
            })
            .map(|(number, _)| *number)
            .collect();
        for number in settled {
            self.remove_segment(number);
        }
        if std::mem::take(&mut self.is_thinning_stuck) {
            self.thinning = None;
        }
        self.tell_dropped();
        if let Some((from, _)) = self.broken.take_if(|(_, retry_at)| *retry_at <= now) {
            self.begin(from);
        }
    }

    /// Results that were dropped without having been acknowledged, since the spool was made.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Makes the count outlive the process.
    fn tell_dropped(&mut self) {
        let total = self.dropped;
        if std::mem::replace(&mut self.told_dropped, total) != total {
            self.append(self.next_seq, |_, records| record::put_dropped(records, total));
        }
    }

    /// What is to be done with the disk now.
    pub(crate) fn next_order(&mut self, now: Timestamp) -> Option<Order> {
        if let [Order::Append { records, .. }] = self.orders.make_contiguous()
            && records.len() < MAX_GATHERED
            && !self.is_news_gathered
            && now < *self.write_at.get_or_insert_with(|| now.plus(GATHER))
        {
            return None;
        }
        (self.write_at, self.is_news_gathered) = (None, false);
        self.orders.pop_front()
    }

    /// When [`Spool::next_order`] has something that waits.
    pub(crate) const fn next_write(&self) -> Option<Timestamp> {
        self.write_at
    }

    /// Whether results are in memory alone, because the disk fails.
    pub(crate) const fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Takes what came of an order. `true`: there may be something to send now.
    pub(crate) fn heed(&mut self, done: Done) -> bool {
        match done {
            Done::Loaded { segment, contents } => {
                // It may have been given up while it was read.
                if let Some((_, pushed)) = self.loading.take()
                    && self.segments.contains_key(&segment)
                {
                    self.loaded(segment, contents, pushed);
                }
                return true;
            }
            Done::NotLoaded { segment, why } => {
                // It is asked for again with the next beat.
                warn!(segment, "results that wait cannot be read from the spool now: {why}");
                self.loading = None;
            }
            Done::Thinned { segment, bytes, kept } => {
                self.thinning = None;
                let kept: RangeInclusiveSet<u64> = kept.into_iter().map(|seq| seq..=seq).collect();
                let span = self.span(segment);
                if let Some(thinned) = self.segments.get_mut(&segment) {
                    (thinned.bytes, thinned.is_thinned) = (bytes, true);
                    let lost: Vec<_> = kept.gaps(&span).collect();
                    lost.into_iter().for_each(|range| self.lose(range));
                }
                if self.loaded.as_ref().is_some_and(|loaded| loaded.segment == segment) {
                    self.loaded = None;
                }
                self.make_room();
            }
            Done::NotThinned { segment, why } => {
                warn!(segment, "the spool is full and cannot be thinned: {why}");
                // With the next beat it is tried again.
                self.is_thinning_stuck = true;
            }
            Done::Broken { from, why } => {
                if self.broken.is_none() {
                    warn!("the spool cannot be written, results wait in memory: {why}");
                }
                let from = self.broken.map_or(from, |(before, _)| before.min(from));
                self.broken = Some((from, self.now.plus(RETRY_AFTER)));
                // Whatever has left the memory since is on neither side.
                let gone: Vec<_> = self
                    .unacked_in(&(from..=self.next_seq))
                    .flat_map(|range| range.filter(|seq| !self.hot.contains_key(seq)))
                    .collect();
                gone.into_iter().for_each(|seq| self.lose(seq..=seq));
            }
        }
        false
    }

    fn loaded(&mut self, segment: u64, contents: Contents, pushed: u64) {
        let span = self.span(segment);
        let until = (*span.end()).min(pushed);
        let missing: Vec<u64> = self
            .waiting
            .overlapping(*span.start()..=until)
            .flat_map(|range| *range.start().max(span.start())..=*range.end().min(&until))
            .filter(|seq| contents.get(*seq).is_none() && !self.hot.contains_key(seq))
            .collect();
        for seq in missing {
            self.lose(seq..=seq);
        }
        self.loaded = Some(Loaded { segment, contents, until });
    }

    /// Adds records to what goes to the disk.
    fn append(&mut self, seq: u64, put: impl FnOnce(u64, &mut Vec<u8>)) {
        if self.broken.is_some() {
            return;
        }
        let limit = self.capacity / SEGMENTS;
        if self.segments.last_key_value().is_some_and(|(_, segment)| segment.bytes >= limit) {
            self.begin(seq);
        }
        let Some(mut entry) = self.segments.last_entry() else { return };
        let number = *entry.key();
        let segment = entry.get_mut();
        let first_seq = segment.first_seq;
        if !matches!(self.orders.back(), Some(Order::Append { segment, .. }) if *segment == number) {
            self.orders.push_back(Order::Append { segment: number, first_seq: seq, records: Vec::new() });
        }
        if let Some(Order::Append { records, .. }) = self.orders.back_mut() {
            let before = records.len();
            put(first_seq, records);
            segment.bytes += (records.len() - before) as u64;
        }
    }

    /// Goes on in a new segment, with whatever of `first_seq` and later is in memory.
    fn begin(&mut self, first_seq: u64) {
        let number = self.segments.last_key_value().map_or(1, |(number, _)| number + 1);
        self.header.first_seq = first_seq;
        self.orders.push_back(Order::Begin { segment: number, header: self.header });
        let mut records = Vec::new();
        if let Some((epoch, offset_us)) = self.terms {
            record::put_terms(&mut records, epoch, offset_us);
        }
        record::put_dropped(&mut records, self.dropped);
        for (&seq, hot) in self.hot.range(first_seq..) {
            record::put_result(&mut records, first_seq, seq, hot.is_routine, hot.started_at, &hot.encoded);
        }
        let segment = Segment {
            first_seq,
            bytes: (record::HEADER_BYTES + records.len()) as u64,
            is_thinned: false,
            boot: self.header.boot,
            begun_at: self.hot.range(first_seq..).next().map(|(_, hot)| hot.started_at),
            last_acked_at: Timestamp::from_micros(i64::MIN),
        };
        self.segments.insert(number, segment);
        self.orders.push_back(Order::Append { segment: number, first_seq, records });
    }

    /// Takes the oldest result out of memory.
    fn cool(&mut self) {
        let Some((&oldest, _)) = self.hot.first_key_value() else { return };
        match self.broken {
            // It is nowhere else, so the oldest that says nothing new is given up instead.
            Some((from, _)) if oldest >= from => {
                let routine = self.hot.iter().find(|(_, hot)| hot.is_routine).map(|(&seq, _)| seq);
                let seq = routine.unwrap_or(oldest);
                self.lose(seq..=seq);
            }
            _ => self.forget_hot(oldest),
        }
    }

    fn forget_hot(&mut self, seq: u64) {
        if let Some(hot) = self.hot.remove(&seq) {
            self.hot_size -= hot.encoded.len() + HOT_OVERHEAD;
        }
    }

    fn make_room(&mut self) {
        while self.thinning.is_none() && self.size() > self.capacity {
            let active = self.segments.last_key_value().map(|(&number, _)| number);
            let older = || self.segments.iter().filter(|(number, _)| Some(**number) != active);
            let done = older().map(|(&number, _)| number).find(|&number| self.is_done(number));
            let routine = || older().find(|(_, segment)| !segment.is_thinned).map(|(&number, _)| number);
            if let Some(number) = done {
                self.remove_segment(number);
            } else if let Some(number) = routine() {
                let unacked = self.unacked_in(&self.span(number)).collect();
                self.thinning = Some(number);
                self.orders.push_back(Order::Thin { segment: number, unacked, dropped: self.dropped });
            } else if let Some((&number, _)) = older().next() {
                self.lose(self.span(number));
                self.tell_dropped();
                self.remove_segment(number);
            } else {
                return;
            }
        }
    }

    fn remove_segment(&mut self, number: u64) {
        let span = self.span(number);
        self.acked.retain(|(_, range)| range.end() < span.start() || range.start() > span.end());
        self.segments.remove(&number);
        if self.loaded.as_ref().is_some_and(|loaded| loaded.segment == number) {
            self.loaded = None;
        }
        self.orders.push_back(Order::Remove { segment: number });
    }

    /// Whether nothing in a segment waits for an acknowledgement or will be added to it.
    fn is_done(&self, number: u64) -> bool {
        self.segments.last_key_value().is_some_and(|(&active, _)| active != number)
            && self.unacked_in(&self.span(number)).next().is_none()
    }

    fn size(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }

    /// The numbers that a segment may hold.
    fn span(&self, number: u64) -> RangeInclusive<u64> {
        let first = self.segments.get(&number).map_or(u64::MAX, |segment| segment.first_seq);
        let after = self.segments.range(number + 1..).next().map_or(u64::MAX, |(_, next)| next.first_seq);
        first..=after.saturating_sub(1)
    }

    /// The segment that holds a number.
    fn segment_of(&self, seq: u64) -> u64 {
        let holds = self.segments.iter().rev().find(|(_, segment)| segment.first_seq <= seq);
        holds.map_or(0, |(&number, _)| number)
    }
}
