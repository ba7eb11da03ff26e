//! The spool as a whole, its mind and its disk, with and without accidents.

mod accident;

use std::collections::BTreeSet;

use model::AgentId;
use proptest::prelude::*;

use super::disk::Disk;
use super::files::{Files, Memory};
use super::record::Boot;
use super::*;

const WINDOW: Window = Window { max_results: 3, max_batches: 3 };
const EVERYTHING: Window = Window { max_results: 1_000, max_batches: 100 };
const NOW: Timestamp = Timestamp::from_secs(100);
/// When nothing waits for company any more.
const LATER: Timestamp = Timestamp::from_micros(i64::MAX);
const AGENT: AgentId = AgentId::from_bytes([7; 16]);
const BOOT: Boot = Boot { id: [1; 16], at: Timestamp::from_secs(1) };

/// The disk of a spool in memory, for tests of the agent.
pub(crate) struct Shelf(Disk<Memory>);

impl Shelf {
    /// A spool and its disk.
    pub(crate) fn new() -> (Spool, Self) {
        let world = World::new(16 << 20, HOT_BYTES);
        (world.spool, Self(world.disk))
    }

    /// Does what is ordered.
    pub(crate) fn execute(&mut self, order: Order) -> Option<Done> {
        self.0.execute(order)
    }
}

/// A spool and its disk, which does at once what is ordered.
struct World<F> {
    spool: Spool,
    disk: Disk<F>,
}

impl World<Memory> {
    fn new(capacity: u64, hot_bytes: usize) -> Self {
        Self::open(Memory::default(), capacity, hot_bytes, BOOT)
    }
}

impl<F: Files> World<F> {
    fn open(files: F, capacity: u64, hot_bytes: usize, boot: Boot) -> Self {
        let (disk, opened) =
            Disk::open(files, AGENT, boot, [9; 16]).expect("a spool opens whatever happened");
        Self { spool: Spool::new(capacity, hot_bytes, opened, NOW), disk }
    }

    /// Does what is ordered; whether there may be something to send now.
    fn store(&mut self) -> bool {
        let mut is_loaded = false;
        while let Some(order) = self.spool.next_order(LATER) {
            if let Some(done) = self.disk.execute(order) {
                is_loaded |= self.spool.heed(done);
            }
        }
        is_loaded
    }

    fn sync(&mut self) -> bool {
        let is_dirty = self.disk.is_dirty();
        let failed = self.disk.sync();
        let is_durable = is_dirty && failed.is_none();
        if let Some(failed) = failed {
            self.spool.heed(failed);
        }
        is_durable
    }

    fn push(&mut self, count: usize) {
        for _ in 0..count {
            self.push_one(true);
        }
    }

    /// Pushes a result that carries its own number.
    fn push_one(&mut self, is_routine: bool) -> u64 {
        let seq = self.spool.next_seq;
        let result = v1::Result { slot: i64::try_from(seq).unwrap(), ..v1::Result::default() };
        self.spool.push(&result, Timestamp::from_secs(90), is_routine);
        self.store();
        seq
    }

    /// First and last of every batch that can be sent now.
    fn send(&mut self, window: Window) -> Vec<(u64, u64)> {
        self.batches(window)
            .into_iter()
            .map(|batch| (batch.first_seq, batch.first_seq + batch.results.len() as u64 - 1))
            .collect()
    }

    fn batches(&mut self, window: Window) -> Vec<v1::Results> {
        let mut batches = Vec::new();
        loop {
            let batch = self.spool.next_batch(window, NOW);
            let must_load = batch.is_none() && self.spool.loading.is_some();
            batches.extend(batch);
            if must_load {
                if !self.store() {
                    return batches;
                }
            } else if self.spool.waiting.is_empty() || self.spool.under_way.len() >= window.max_batches - 1 {
                let Some(last) = self.spool.next_batch(window, NOW) else { return batches };
                batches.push(last);
            }
        }
    }

    /// Sends and acknowledges everything; the numbers, each with what its result carried.
    fn drain(&mut self) -> BTreeSet<u64> {
        let mut sent = BTreeSet::new();
        while self.spool.has_waiting() || self.spool.has_under_way() {
            self.spool.connected(1, 0);
            for batch in self.batches(EVERYTHING) {
                for (seq, result) in (batch.first_seq..).zip(&batch.results) {
                    assert_eq!(u64::try_from(result.slot), Ok(seq), "a result came under another's number");
                    // What was given up while it was under way is counted there.
                    if self.spool.unacked.contains(&seq) {
                        assert!(sent.insert(seq), "{seq} was sent twice");
                    }
                }
                self.spool.ack(batch.first_seq, batch.first_seq + batch.results.len() as u64 - 1, NOW);
            }
            self.store();
        }
        sent
    }
}

#[test]
fn results_carry_their_age_when_sent() {
    let World { mut spool, .. } = World::new(1 << 20, HOT_BYTES);
    spool.push(&v1::Result::default(), Timestamp::from_secs(90), true);
    let batch = spool.next_batch(WINDOW, NOW).unwrap();
    assert_eq!(batch.results[0].age_us, 10_000_000);
}

#[test]
fn a_batch_is_bounded_in_bytes_but_takes_at_least_one_result() {
    let mut world = World::new(1 << 30, HOT_BYTES);
    for kib in [100, 100, 100, 300, 1, 300] {
        let result = v1::Result { detail: "x".repeat(kib * 1024), ..v1::Result::default() };
        world.spool.push(&result, NOW, true);
    }
    assert_eq!(world.send(EVERYTHING), [(6, 6), (5, 5), (4, 4), (2, 3), (1, 1)]);
}

#[test]
fn after_a_cut_the_newest_go_first_and_fresh_ones_keep_a_place() {
    for hot_bytes in [HOT_BYTES, 0] {
        let mut world = World::new(1 << 20, hot_bytes);
        world.push(10);
        world.spool.connected(1, 0);
        assert_eq!(world.send(WINDOW), [(8, 10), (5, 7)], "one place of three stays free");
        world.push(1);
        assert_eq!(world.send(WINDOW), [(11, 11)]);
        world.spool.ack(8, 11, NOW);
        assert_eq!(world.send(WINDOW), [(2, 4)]);
    }
}

#[test]
fn what_was_not_acknowledged_is_sent_again_and_nothing_else() {
    for hot_bytes in [HOT_BYTES, 0] {
        let mut world = World::new(1 << 20, hot_bytes);
        world.push(6);
        assert_eq!(world.send(WINDOW), [(4, 6), (1, 3)]);
        world.spool.ack(2, 2, NOW);
        world.spool.ack(5, 900, NOW);
        world.spool.connected(1, 0);
        assert_eq!(world.send(WINDOW), [(3, 4), (1, 1)]);
    }
}

#[test]
fn routine_results_are_written_in_company_and_news_at_once() {
    let World { mut spool, .. } = World::new(1 << 20, HOT_BYTES);
    let after = |millis| NOW.plus(Duration::from_millis(millis));
    let routine = v1::Result::default();
    spool.push(&routine, NOW, true);
    assert!(spool.next_order(after(0)).is_none());
    assert_eq!(spool.next_write(), Some(after(100)));
    spool.push(&routine, NOW, true);
    assert!(spool.next_order(after(99)).is_none());
    assert!(matches!(spool.next_order(after(100)), Some(Order::Append { first_seq: 1, .. })));
    assert_eq!((spool.next_order(after(100)).is_none(), spool.next_write()), (true, None));

    spool.push(&routine, NOW, true);
    spool.push(&routine, NOW, false);
    assert!(matches!(spool.next_order(after(100)), Some(Order::Append { first_seq: 3, .. })));
    let large = v1::Result { detail: "x".repeat(MAX_GATHERED), ..v1::Result::default() };
    spool.push(&large, NOW, true);
    assert!(matches!(spool.next_order(after(100)), Some(Order::Append { first_seq: 5, .. })));
}

#[test]
fn what_is_pushed_while_a_segment_is_read_is_found_in_it_later() {
    let mut world = World::new(1 << 20, 0);
    world.push(1);
    world.spool.hot_bytes = HOT_BYTES;
    assert!(world.spool.next_batch(WINDOW, NOW).is_none(), "it is on disk alone");
    let Some(load @ Order::Load { .. }) = world.spool.next_order(LATER) else { panic!("it is read") };
    let read = world.disk.execute(load).unwrap();
    world.push(1);
    world.spool.heed(read);
    world.spool.cool();
    assert_eq!(world.drain(), (1..=2).collect());
    assert_eq!(world.spool.dropped(), 0);
}

#[test]
fn a_full_spool_thins_its_oldest_results_to_what_is_news_and_counts_the_rest() {
    let mut world = World::new(64 * 400, 0);
    let mut news = BTreeSet::new();
    for number in 0..2_000 {
        if number % 20 == 0 {
            news.insert(world.push_one(false));
        } else {
            world.push(1);
        }
    }
    assert!(world.spool.size() <= world.spool.capacity, "{} bytes", world.spool.size());
    let dropped = world.spool.dropped();
    let sent = world.drain();
    assert!(news.is_subset(&sent), "news was dropped before what was routine");
    assert!(sent.len() > news.len() && dropped > 0);
    assert_eq!(sent.len() as u64 + dropped, 2_000);
    assert_eq!(world.spool.dropped(), dropped);
}

#[test]
fn a_spool_full_of_news_gives_up_the_oldest_and_counts_them() {
    let mut world = World::new(64 * 400, 0);
    for _ in 0..2_000 {
        world.push_one(false);
    }
    assert!(world.spool.size() <= world.spool.capacity);
    let dropped = world.spool.dropped();
    let sent = world.drain();
    assert_eq!(sent.len() as u64 + dropped, 2_000);
    assert_eq!(sent, (dropped + 1..=2_000).collect(), "the newest stay");
}

#[test]
fn forgetting_acknowledged_results_loses_nothing() {
    let mut world = World::new(64 * 400, 0);
    for _ in 0..2_000 {
        world.push(1);
        world.send(EVERYTHING);
        world.spool.ack(0, u64::MAX, NOW);
        world.store();
    }
    assert_eq!(world.spool.dropped(), 0);
    assert!(world.spool.size() <= world.spool.capacity);
}

#[test]
fn acknowledged_results_can_be_replayed_for_fifteen_minutes() {
    // A result fills a segment, so that each can go on its own.
    let mut world = World::new(64, 0);
    world.spool.capacity = 1 << 20;
    world.spool.connected(1, 0);
    for (seq, at) in [(1, 0), (2, 60)] {
        world.spool.capacity = 64;
        world.spool.thinning = Some(0);
        world.push(1);
        world.spool.capacity = 1 << 20;
        world.send(WINDOW);
        world.spool.ack(seq, seq, NOW.plus(Duration::from_secs(at)));
    }
    world.store();
    world.spool.prune(NOW.plus(REPLAY_PERIOD).plus(Duration::from_secs(1)));
    world.spool.connected(1, 0);
    assert!(!world.spool.has_waiting());
    world.spool.connected(2, 0);
    assert_eq!(world.send(WINDOW), [(2, 2)], "the coordinator has forgotten this numbering");
}

#[test]
fn segments_go_when_nobody_can_want_them_any_more() {
    let mut world = World::new(64 * 100, 0);
    world.push(30);
    world.drain();
    let many = world.disk.files().list().unwrap().len();
    world.spool.prune(NOW.plus(REPLAY_PERIOD).plus(Duration::from_secs(1)));
    world.store();
    assert!(many > 10);
    assert_eq!(world.disk.files().list().unwrap().len(), 1);
}

#[test]
fn a_disk_that_fails_is_tried_again_and_gets_what_is_still_in_memory() {
    let mut world = World::new(1 << 20, HOT_BYTES);
    world.push(3);
    world.spool.heed(Done::Broken { from: 3, why: std::io::Error::other("full") });
    world.push(2);
    world.spool.prune(NOW.plus(RETRY_AFTER).plus(Duration::from_secs(1)));
    world.push(1);
    assert_eq!(world.spool.dropped(), 0);
    let mut again = World::open(world.disk.into_files(), 1 << 20, HOT_BYTES, BOOT);
    assert_eq!(again.drain(), (1..=6).collect());
}

#[test]
fn memory_stands_in_for_a_broken_disk_as_far_as_it_goes() {
    let mut world = World::new(1 << 20, 10 * (HOT_OVERHEAD + 2));
    world.spool.heed(Done::Broken { from: 1, why: std::io::Error::other("full") });
    let first = world.push_one(false);
    world.push(30);
    let dropped = world.spool.dropped();
    let sent = world.drain();
    assert!(sent.contains(&first), "what says something new is given up last");
    assert!(dropped > 0);
    assert_eq!(sent.len() as u64 + dropped, 31);
}

#[test]
fn results_of_an_earlier_process_keep_their_age_and_those_of_an_earlier_boot_their_date() {
    let mut world = World::new(1 << 20, HOT_BYTES);
    world.spool.connected(4, 3_000_000);
    world.push(1);
    let files = world.disk.into_files();
    // This process's clock is 5 s behind the one of the first.
    let later = Boot { id: BOOT.id, at: BOOT.at.minus(Duration::from_secs(5)) };
    let mut world = World::open(files, 1 << 20, HOT_BYTES, later);
    let batch = &world.batches(WINDOW)[0];
    assert_eq!((batch.first_seq, batch.results[0].age_us), (1, 15_000_000));
    assert_eq!(batch.results[0].started_at, None);

    let other = Boot { id: [2; 16], at: Timestamp::from_secs(77) };
    let mut world = World::open(world.disk.into_files(), 1 << 20, HOT_BYTES, other);
    let batch = &world.batches(WINDOW)[0];
    assert_eq!(batch.results[0].started_at, Some(timestamp_to_wire(Timestamp::from_secs(93))));
    assert_eq!(batch.results[0].age_us, 0);
}

#[test]
fn the_backlog_knows_how_long_its_oldest_result_waits_also_on_disk_and_after_a_restart() {
    let later = Timestamp::from_secs(1_000);
    let mut world = World::new(64 << 20, 400);
    assert_eq!(world.spool.backlog(later).oldest_age, None);
    world.push(50);
    world.store();
    let backlog = world.spool.backlog(later);
    assert!(!world.spool.hot.contains_key(&1), "it is on disk alone");
    assert_eq!((backlog.results, backlog.bytes), (50, world.spool.size()));
    let begun_at = world.spool.segments.values().next().unwrap().begun_at.unwrap();
    assert_eq!(backlog.oldest_age, Some(later.since(begun_at)));

    let files = world.disk.into_files();
    let world = World::open(files, 64 << 20, 400, BOOT);
    assert_eq!(world.spool.backlog(later).oldest_age, backlog.oldest_age);
    let files = world.disk.into_files();
    let world = World::open(files, 64 << 20, 400, Boot { id: [2; 16], ..BOOT });
    assert_eq!((world.spool.backlog(later).results, world.spool.backlog(later).oldest_age), (50, None));
}

#[test]
fn results_of_an_earlier_boot_that_nobody_can_date_are_dropped_and_counted() {
    let mut world = World::new(1 << 20, HOT_BYTES);
    world.push(2);
    let other = Boot { id: [2; 16], at: Timestamp::from_secs(77) };
    let mut world = World::open(world.disk.into_files(), 1 << 20, HOT_BYTES, other);
    assert_eq!(world.send(WINDOW), []);
    assert_eq!(world.spool.dropped(), 2);
}

#[test]
fn the_numbering_outlives_the_process_and_belongs_to_one_agent() {
    let mut world = World::new(1 << 20, HOT_BYTES);
    world.push(5);
    world.send(WINDOW);
    world.spool.ack(2, 3, NOW);
    world.store();
    let files = world.disk.into_files();
    let (disk, opened) = Disk::open(files, AGENT, BOOT, [44; 16]).unwrap();
    let again = Spool::new(1 << 20, HOT_BYTES, opened, NOW);
    assert_eq!(again.nonce(), [9; 16]);
    assert_eq!(again.next_seq / disk::RUN, 1, "a run of its own");
    assert!(again.next_seq > disk::RUN, "where no copy of the directory begins");
    assert_eq!(again.waiting.iter().cloned().collect::<Vec<_>>(), [1..=1, 4..=5]);

    let other = Disk::open(disk.into_files(), AgentId::from_bytes([8; 16]), BOOT, [44; 16]);
    let error = other.map(drop).unwrap_err().to_string();
    assert!(error.contains("another agent"), "{error}");
}

#[test]
fn a_day_of_a_thousand_monitors_fits() {
    let mut world = World::new(256 << 20, 0);
    let typical = v1::Result {
        monitor_id: vec![1; 16],
        spec_revision: 12,
        slot: 29_000_000,
        duration_us: 123_456,
        outcome: v1::Outcome::Pass.into(),
        phases: Some(v1::Phases {
            dns_us: Some(2_345),
            connect_us: Some(23_456),
            tls_us: Some(34_567),
            first_byte_us: Some(45_678),
            body_us: Some(1_234),
        }),
        http_status: 200,
        peer: vec![1; 16],
        ..v1::Result::default()
    };
    let before = world.spool.size();
    for _ in 0..1_000 {
        world.spool.push(&typical, NOW, true);
    }
    let each = (world.spool.size() - before).div_ceil(1_000);
    let day = each * 1_000 * 24 * 60;
    assert!(day * 10 < world.spool.capacity * 8, "{each} bytes a result, {day} a day");
}

proptest! {
    #[test]
    fn whatever_happens_every_result_is_acknowledged_or_counted_as_dropped(
        capacity in 300..6_000_u64,
        hot_bytes in 0..2_000_usize,
        steps in proptest::collection::vec((0..7_u8, 0..30_u64, 0..6_u64), 0..200),
    ) {
        let mut world = World::new(capacity, hot_bytes);
        let mut acked = 0;
        for (step, from, length) in steps {
            match step {
                0 => world.push(length as usize),
                1 => drop(world.push_one(false)),
                2 => drop(world.send(WINDOW)),
                3 => world.spool.connected(1, 0),
                4 if length == 0 => drop(world.spool.heed(
                    Done::Broken { from: world.spool.next_seq, why: std::io::Error::other("full") },
                )),
                4 => world.spool.prune(NOW.plus(Duration::from_secs(20))),
                _ => {
                    acked += world.spool.unacked_in(&(from..=from + length)).map(Iterator::count).sum::<usize>();
                    world.spool.ack(from, from + length, NOW);
                    world.store();
                }
            }
            world.store();
            let active = world.spool.segments.last_key_value().unwrap().1.bytes;
            prop_assert!(world.spool.size() <= capacity + active, "{} of {capacity} bytes: {:?}", world.spool.size(), world.spool.segments);
            let sent = world.spool.depth() - world.spool.waiting.iter().cloned().map(|r| r.count() as u64).sum::<u64>();
            let under_way: u64 = world.spool.under_way.iter()
                .map(|sent| world.spool.unacked_in(sent).map(|r| r.count() as u64).sum::<u64>()).sum();
            prop_assert_eq!(sent, under_way);
            let hot: usize = world.spool.hot.values().map(|hot| hot.encoded.len() + HOT_OVERHEAD).sum();
            prop_assert_eq!(hot, world.spool.hot_size);
        }
        let drained = world.drain().len() as u64;
        prop_assert_eq!(acked as u64 + drained + world.spool.dropped(), world.spool.next_seq - 1);
    }
}
