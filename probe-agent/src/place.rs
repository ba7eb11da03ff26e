//! The spool's directory as the place of one process: taken as it was left, or from the process that runs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::{AgentId, Clock, Random};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::agent::Agent;
use crate::gate::Concurrency;
use crate::run::Error;
use crate::spool::{self, Done, Spool, Writer};
use crate::take_over::wire::boot;
use crate::take_over::{self, Door, Predecessor};
use crate::ward::{self, InFlight, QUARANTINED, Ward};

/// How often, and after which pause, a spool is opened again before the agent goes on without it.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Where results wait.
pub(crate) struct Place {
    /// `None`: in memory.
    pub(crate) directory: Option<PathBuf>,
    /// The most bytes in it.
    pub(crate) bytes: u64,
    /// Whose results.
    pub(crate) agent: AgentId,
    /// Whether processes take over from each other there.
    pub(crate) takes_over: bool,
    /// Whether checks are suspected that were in flight when the process before died.
    pub(crate) watches: bool,
    /// Whether what was suspected of checks is forgotten.
    pub(crate) forgets: bool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
}

/// What a process has that is in its place.
pub(crate) struct Settled {
    pub(crate) agent: Agent,
    pub(crate) writer: Writer,
    pub(crate) stored: mpsc::UnboundedReceiver<Done>,
    /// Where what is in flight is noted.
    pub(crate) flight: Option<ward::Files>,
    /// Where others ask to take over.
    pub(crate) door: Option<Door>,
    /// Whose checks have not all ended.
    pub(crate) predecessor: Option<Predecessor>,
}

impl Place {
    /// Takes the place, from another process if one is there and lets it. Everything else has to be ready: from here on
    /// nobody checks until this returns.
    pub(crate) async fn settle(
        &self,
        concurrency: Concurrency,
        shutdown: &CancellationToken,
    ) -> Result<Settled, Error> {
        let mut predecessor = self.find_predecessor().await;
        let state = match &mut predecessor {
            Some(running) => match running.state().await {
                Ok(state) => Some(state),
                // It may be on its way out; the spool says whether it is.
                Err(why) => {
                    warn!("the process that runs does not let this one take over: {why}");
                    predecessor = None;
                    None
                }
            },
            None => None,
        };
        let (spool, writer, stored) = self.open().await?;
        let (boot, now, boot_id) = (boot(&*self.clock), self.clock.now(), spool.boot_id());
        let ward = self.look_back(boot_id, predecessor.is_some());
        let mut agent = match state {
            Some(state) => Agent::take_over(concurrency, spool, ward, state, boot, now),
            None => {
                let mut agent = Agent::new(concurrency, spool);
                agent.watch(ward);
                agent
            }
        };
        if let Some(mut running) = predecessor.take() {
            let relieved = match shutdown.is_cancelled() {
                // Whoever is to end at once takes nothing over.
                true => Err(io::ErrorKind::Interrupted.into()),
                false => running.relieve().await,
            };
            if let Err(why) = relieved {
                // It goes on with the spool as soon as it hears that this process is gone.
                drop(running);
                writer.finish().await;
                return Err(Error::TakeOver(why));
            }
            predecessor = Some(running);
        }
        let flight = self.look_out(boot_id, concurrency, &mut agent);
        Ok(Settled { agent, writer, stored, flight, door: self.open_door(), predecessor })
    }

    /// What is to be thought of checks after what became of the process before; one that gave way did not die.
    fn look_back(&self, boot_id: [u8; 16], gave_way: bool) -> Ward {
        let Some(directory) = self.directory.as_deref().filter(|_| self.watches) else {
            return Ward::default();
        };
        if self.forgets
            && let Err(why) = ward::Files::forget(directory)
        {
            warn!("what was suspected of checks cannot be forgotten: {why}");
        }
        let (known, mut died) = ward::Files::left(directory, boot_id);
        if gave_way {
            died = InFlight::default();
        }
        if !died.keys.is_empty() {
            warn!(checks = died.keys.len(), "the process before died with checks in flight");
        }
        let ward = Ward::after(known, &died, self.clock.wall());
        for record in ward.records().filter(|record| record.quarantined) {
            warn!(monitor.id = %record.monitor, deaths = record.deaths, "this check is not run: {QUARANTINED}");
        }
        ward
    }

    /// Notes from now on what is in flight.
    fn look_out(&self, boot_id: [u8; 16], limits: Concurrency, agent: &mut Agent) -> Option<ward::Files> {
        let directory = self.directory.as_deref().filter(|_| self.watches)?;
        let begun = ward::Files::begin(directory, boot_id, limits.total);
        let begun =
            begun.map_err(|why| warn!("a check that brings the agent down will not be recognised: {why}"));
        let mut flight = begun.ok()?;
        if let Some(records) = agent.ward_changes() {
            flight.remember(&records);
        }
        Some(flight)
    }

    /// Opens the spool.
    pub(crate) async fn open(&self) -> Result<(Spool, Writer, mpsc::UnboundedReceiver<Done>), Error> {
        self.open_at(self.directory.as_deref()).await
    }

    /// Opens the spool again, after a process that did not take over; in memory if there is no way to it.
    pub(crate) async fn open_again(&self) -> (Spool, Writer, mpsc::UnboundedReceiver<Done>) {
        for _ in 0..TRIES {
            match self.open().await {
                Ok(opened) => return opened,
                Err(why) => warn!("the spool cannot be opened again yet: {why}"),
            }
            sleep(PAUSE).await;
        }
        warn!("results wait in memory until the agent is started again");
        let opened = self.open_at(None).await;
        opened.unwrap_or_else(|_| unreachable!("memory needs no directory"))
    }

    async fn open_at(
        &self,
        directory: Option<&Path>,
    ) -> Result<(Spool, Writer, mpsc::UnboundedReceiver<Done>), Error> {
        let clock = Arc::clone(&self.clock);
        spool::open(directory, self.bytes, self.agent, clock, &*self.random).await.map_err(|why| {
            Error::Spool {
                directory: directory.map(|path| path.display().to_string()).unwrap_or_default(),
                why: why.to_string(),
            }
        })
    }

    async fn find_predecessor(&self) -> Option<Predecessor> {
        let directory = self.directory.as_deref().filter(|path| self.takes_over && spool::is_held(path))?;
        take_over::warm(directory.to_owned()).await;
        Predecessor::find(directory, self.agent).await
    }

    fn open_door(&self) -> Option<Door> {
        let directory = self.directory.as_deref().filter(|_| self.takes_over)?;
        let opened = Door::open(directory, self.agent);
        opened.map_err(|why| warn!("no other process can take over from this one: {why}")).ok()
    }
}
