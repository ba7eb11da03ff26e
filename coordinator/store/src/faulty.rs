//! Any store with faults, as a test orders them.
//!
//! [`Faults`] is the switch, shared with the test; [`Faulty`] is what the code under test gets. Only writes fail
//! (`commit` and `change_config`): what a coordinator must survive is not knowing what became of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use model::{ChannelId, DeliveryId, EventId, IncidentId, InstallationId, Timestamp};

use crate::{
    AttemptedDelivery, CaptureQuery, CaptureRow, ChannelRecord, Commit, Config, ConfigChange, DeliveryQuery,
    DeliveryRow, Error, EventRow, IncidentQuery, IncidentRow, JournalQuery, JournalRow, Lease, Loaded,
    MemberRow, Position, RunQuery, RunRow, Store, TimelineRow,
};

/// What befalls a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is written and the caller is told so.
    Unavailable,
    /// It is written, and the caller is told that nobody knows.
    UnknownAfterCommit,
    /// It is not written, and the caller is told that nobody knows.
    UnknownWithoutCommit,
    /// It is written after this time on tokio's clock.
    Delay(Duration),
}

/// The switch. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    orders: Arc<Mutex<Orders>>,
}

#[derive(Debug, Default)]
struct Orders {
    next: VecDeque<Fault>,
    lasting: Option<Fault>,
    writes: u64,
}

impl Faults {
    /// The next write has this fault; orders queue.
    pub fn once(&self, fault: Fault) {
        self.orders().next.push_back(fault);
    }

    /// Every write has this fault, from when those ordered once are through until [`Faults::clear`].
    pub fn lasting(&self, fault: Fault) {
        self.orders().lasting = Some(fault);
    }

    /// No further faults.
    pub fn clear(&self) {
        let mut orders = self.orders();
        orders.next.clear();
        orders.lasting = None;
    }

    /// How many writes were asked for so far, failed ones included.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.orders().writes
    }

    fn next(&self) -> Option<Fault> {
        let mut orders = self.orders();
        orders.writes += 1;
        orders.next.pop_front().or(orders.lasting)
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A store whose writes fail as ordered.
#[derive(Clone, Debug)]
pub struct Faulty<S> {
    store: S,
    faults: Faults,
}

impl<S: Store> Faulty<S> {
    /// Puts a store behind a switch.
    pub const fn new(store: S, faults: Faults) -> Self {
        Self { store, faults }
    }

    async fn write<T>(&self, write: BoxFuture<'_, Result<T, Error>>) -> Result<T, Error> {
        match self.faults.next() {
            None => write.await,
            Some(Fault::Unavailable) => Err(Error::Unavailable("as ordered".into())),
            Some(Fault::UnknownAfterCommit) => {
                write.await?;
                Err(Error::FateUnknown("as ordered".into()))
            }
            Some(Fault::UnknownWithoutCommit) => Err(Error::FateUnknown("as ordered".into())),
            Some(Fault::Delay(span)) => {
                tokio::time::sleep(span).await;
                write.await
            }
        }
    }
}

impl<S: Store> Store for Faulty<S> {
    fn installation(&self) -> InstallationId {
        self.store.installation()
    }

    fn claim<'a>(&'a self, coordinator: &'a str, now: Timestamp) -> BoxFuture<'a, Result<Lease, Error>> {
        self.store.claim(coordinator, now)
    }

    fn commit<'a>(&'a self, commit: &'a Commit) -> BoxFuture<'a, Result<(), Error>> {
        self.write(self.store.commit(commit)).boxed()
    }

    fn load(&self) -> BoxFuture<'_, Result<Loaded, Error>> {
        self.store.load()
    }

    fn journal_after(&self, after: Position, limit: u32) -> BoxFuture<'_, Result<Vec<JournalRow>, Error>> {
        self.store.journal_after(after, limit)
    }

    fn journal_page(&self, query: JournalQuery) -> BoxFuture<'_, Result<Vec<JournalRow>, Error>> {
        self.store.journal_page(query)
    }

    fn list_incidents<'a>(
        &'a self,
        query: &'a IncidentQuery,
    ) -> BoxFuture<'a, Result<Vec<IncidentRow>, Error>> {
        self.store.list_incidents(query)
    }

    fn incident(&self, id: IncidentId) -> BoxFuture<'_, Result<Option<IncidentRow>, Error>> {
        self.store.incident(id)
    }

    fn timeline(&self, incident: IncidentId) -> BoxFuture<'_, Result<Vec<TimelineRow>, Error>> {
        self.store.timeline(incident)
    }

    fn members(
        &self,
        incident: IncidentId,
        limit: u32,
    ) -> BoxFuture<'_, Result<(Vec<MemberRow>, u64), Error>> {
        self.store.members(incident, limit)
    }

    fn captures<'a>(&'a self, query: &'a CaptureQuery) -> BoxFuture<'a, Result<Vec<CaptureRow>, Error>> {
        self.store.captures(query)
    }

    fn runs(&self, query: RunQuery) -> BoxFuture<'_, Result<Vec<RunRow>, Error>> {
        self.store.runs(query)
    }

    fn deliveries(&self, incident: IncidentId) -> BoxFuture<'_, Result<Vec<AttemptedDelivery>, Error>> {
        self.store.deliveries(incident)
    }

    fn delivery(&self, id: DeliveryId) -> BoxFuture<'_, Result<Option<AttemptedDelivery>, Error>> {
        self.store.delivery(id)
    }

    fn list_deliveries<'a>(
        &'a self,
        query: &'a DeliveryQuery,
    ) -> BoxFuture<'a, Result<Vec<DeliveryRow>, Error>> {
        self.store.list_deliveries(query)
    }

    fn channel_record(&self, channel: ChannelId) -> BoxFuture<'_, Result<ChannelRecord, Error>> {
        self.store.channel_record(channel)
    }

    fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<EventRow>, Error>> {
        self.store.event(id)
    }

    fn config(&self) -> BoxFuture<'_, Result<Config, Error>> {
        self.store.config()
    }

    fn config_revision(&self) -> BoxFuture<'_, Result<u64, Error>> {
        self.store.config_revision()
    }

    fn change_config<'a>(
        &'a self,
        change: &'a ConfigChange,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<u64, Error>> {
        self.write(self.store.change_config(change, now)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::sample;
    use crate::memory::Memory;

    async fn journal(store: &dyn Store) -> usize {
        store.journal_after(0, 100).await.unwrap().len()
    }

    #[tokio::test(start_paused = true)]
    async fn each_fault_does_what_its_name_says_and_then_passes() {
        let faults = Faults::default();
        let store = Faulty::new(Memory::new(sample::installation()), faults.clone());
        let lease = store.claim("main", Timestamp::EPOCH).await.unwrap();
        let commit = |position| sample::journal_commit(&lease, position);

        faults.once(Fault::Unavailable);
        assert!(matches!(store.commit(&commit(1)).await, Err(Error::Unavailable(_))));
        assert_eq!(journal(&store).await, 0);

        faults.once(Fault::UnknownWithoutCommit);
        assert!(matches!(store.commit(&commit(1)).await, Err(Error::FateUnknown(_))));
        assert_eq!(journal(&store).await, 0);

        faults.once(Fault::UnknownAfterCommit);
        assert!(matches!(store.commit(&commit(1)).await, Err(Error::FateUnknown(_))));
        assert_eq!(journal(&store).await, 1);

        let before = tokio::time::Instant::now();
        faults.once(Fault::Delay(Duration::from_secs(3)));
        store.commit(&commit(2)).await.unwrap();
        assert_eq!(before.elapsed(), Duration::from_secs(3));
        assert_eq!(journal(&store).await, 2);

        store.commit(&commit(3)).await.unwrap();
        assert_eq!(faults.writes(), 5);
    }

    #[tokio::test]
    async fn a_lasting_fault_stays_until_it_is_cleared() {
        let faults = Faults::default();
        let store = Faulty::new(Memory::new(sample::installation()), faults.clone());
        let lease = store.claim("main", Timestamp::EPOCH).await.unwrap();
        faults.lasting(Fault::Unavailable);
        for _ in 0..3 {
            assert!(store.commit(&sample::journal_commit(&lease, 1)).await.is_err());
        }
        faults.clear();
        store.commit(&sample::journal_commit(&lease, 1)).await.unwrap();
    }
}
