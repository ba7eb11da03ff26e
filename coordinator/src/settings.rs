//! What belongs to no subject: regions, agents, channels, pages, keys. Held in memory whole; polled by revision, so that
//! a change made elsewhere arrives within a second, and renewed at once after a change made here.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use model::{AgentId, ChannelId, Clock, RegionId};
use store::{AgentRow, ChannelRow, Config, ConfigChange, RegionRow, Store};
use tokio::sync::{Mutex, watch};
use tracing::warn;

use crate::incident::RegionNames;

/// How often the revision is looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How often reading back a change that was written is tried, and the pause in between.
const RELOAD_TRIES: u32 = 3;
const RELOAD_PAUSE: Duration = Duration::from_millis(50);

/// The present configuration and the way to change it. Shared.
pub struct Settings {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    present: ArcSwap<Config>,
    /// Held from comparing to writing, so that two changes cannot both see the same present. `true`: something may have
    /// been written that the present does not show.
    writing: Mutex<bool>,
    changes: watch::Sender<u64>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("revision", &self.present.load().revision).finish_non_exhaustive()
    }
}

impl Settings {
    /// Loads the configuration.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Result<Self, store::Error> {
        let config = store.config().await?;
        let changes = watch::Sender::new(config.revision);
        Ok(Self { store, clock, present: ArcSwap::from_pointee(config), writing: Mutex::new(false), changes })
    }

    /// The configuration as it is.
    #[must_use]
    pub fn present(&self) -> Arc<Config> {
        self.present.load_full()
    }

    /// Changes whenever the configuration does.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Makes a change that `decide` derives from the present configuration; nothing comes in between. Gives the
    /// configuration with the change, or, when it was written but cannot be read back, still without it: the poll shows
    /// it as soon as the store can be read.
    ///
    /// # Errors
    /// What `decide` refuses, or the store.
    pub async fn change<E: From<store::Error>>(
        &self,
        decide: impl FnOnce(&Config) -> Result<ConfigChange, E>,
    ) -> Result<Arc<Config>, E> {
        let mut behind = self.writing.lock().await;
        if *behind {
            self.reload().await?;
            *behind = false;
        }
        let change = decide(&self.present())?;
        // Also when the write fails: whether it took place may be unknown.
        *behind = true;
        self.store.change_config(&change, self.clock.now()).await?;
        *behind = !self.reload_after_change().await;
        Ok(self.present())
    }

    /// Reads back what was written. `false`: not possible now.
    async fn reload_after_change(&self) -> bool {
        for _ in 0..RELOAD_TRIES {
            match self.reload().await {
                Ok(()) => return true,
                Err(error) => {
                    warn!(%error, "cannot read back a change of the configuration that was written");
                }
            }
            tokio::time::sleep(RELOAD_PAUSE).await;
        }
        false
    }

    async fn reload(&self) -> Result<(), store::Error> {
        let config = self.store.config().await?;
        let revision = config.revision;
        self.changes.send_if_modified(|seen| {
            let is_news = revision > *seen;
            // What a slower reader brings may be older than what is in force.
            if revision >= *seen {
                self.present.store(Arc::new(config));
                *seen = revision;
            }
            is_news
        });
        Ok(())
    }

    /// Polls until told to stop.
    pub async fn poll(self: Arc<Self>, drain: tokio_util::sync::CancellationToken) {
        let mut ticks = tokio::time::interval(POLL_INTERVAL);
        loop {
            tokio::select! {
                () = drain.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let news = match self.store.config_revision().await {
                Ok(revision) if revision == self.present.load().revision => Ok(()),
                Ok(_) => self.reload().await,
                Err(error) => Err(error),
            };
            if let Err(error) = news {
                warn!(%error, "cannot poll the configuration; the last one stays in force");
            }
        }
    }
}

impl RegionNames for Config {
    fn name(&self, region: &RegionId) -> String {
        find_region(self, region)
            .map_or_else(|| region.default_display_name(), |row| row.display_name.clone())
    }
}

/// A region by id.
#[must_use]
pub fn find_region<'a>(config: &'a Config, id: &RegionId) -> Option<&'a RegionRow> {
    config.regions.iter().find(|row| row.id == *id)
}

/// An agent by id.
#[must_use]
pub fn find_agent(config: &Config, id: AgentId) -> Option<&AgentRow> {
    config.agents.iter().find(|row| row.id == id)
}

/// A channel by id.
#[must_use]
pub fn find_channel(config: &Config, id: ChannelId) -> Option<&ChannelRow> {
    config.channels.iter().find(|row| row.id == id)
}

#[cfg(test)]
mod tests {
    use model::{InstallationId, TestClock, Timestamp};
    use store::faulty::{Fault, Faults, Faulty};
    use store::memory::Memory;

    use super::*;

    #[tokio::test]
    async fn a_change_after_one_of_unknown_fate_is_decided_on_what_was_written() {
        let faults = Faults::default();
        let store = Faulty::new(Memory::new(InstallationId::from_bytes([9; 16])), faults.clone());
        let clock = Arc::new(TestClock::at(Timestamp::from_secs(1_700_000_000)));
        let settings = Settings::load(Arc::new(store), clock).await.unwrap();
        let put = |id: &str| {
            ConfigChange::PutRegion(RegionRow {
                id: id.parse().unwrap(),
                display_name: id.into(),
                created_at: Timestamp::from_secs(1_700_000_000),
            })
        };
        faults.once(Fault::UnknownAfterCommit);
        settings.change(|_| Ok::<_, store::Error>(put("us-east"))).await.unwrap_err();
        let decide = |config: &Config| {
            assert!(find_region(config, &"us-east".parse().unwrap()).is_some());
            Ok::<_, store::Error>(put("eu-west"))
        };
        assert_eq!(settings.change(decide).await.unwrap().regions.len(), 2);
    }
}
