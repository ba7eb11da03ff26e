//! The spool's directory as the place of one process: taken as it was left, or from the process that runs.

use std::path::PathBuf;
use std::sync::Arc;

use model::{AgentId, Clock, Random};
use tokio::sync::mpsc;
use tracing::warn;

use crate::agent::Agent;
use crate::gate::Concurrency;
use crate::run::Error;
use crate::spool::{self, Done, Spool, Writer};
use crate::take_over::wire::boot;
use crate::take_over::{self, Door, Predecessor};

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
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
}

/// What a process has that is in its place.
pub(crate) struct Settled {
    pub(crate) agent: Agent,
    pub(crate) writer: Writer,
    pub(crate) stored: mpsc::UnboundedReceiver<Done>,
    /// Where others ask to take over.
    pub(crate) door: Option<Door>,
    /// Whose checks have not all ended.
    pub(crate) predecessor: Option<Predecessor>,
}

impl Place {
    /// Takes the place, from another process if one is there and lets it. Everything else has to be ready: from here on
    /// nobody checks until this returns.
    pub(crate) async fn settle(&self, concurrency: Concurrency) -> Result<Settled, Error> {
        let mut predecessor = self.find_predecessor().await;
        let state = match &mut predecessor {
            Some(predecessor) => Some(predecessor.state().await.map_err(Error::TakeOver)?),
            None => None,
        };
        let (spool, writer, stored) = self.open().await?;
        let (boot, now) = (boot(&*self.clock), self.clock.now());
        let agent = match state {
            Some(state) => Agent::take_over(concurrency, spool, state, boot, now),
            None => Agent::new(concurrency, spool),
        };
        if let Some(predecessor) = &mut predecessor
            && let Err(why) = predecessor.relieve().await
        {
            writer.finish().await;
            return Err(Error::TakeOver(why));
        }
        Ok(Settled { agent, writer, stored, door: self.open_door(), predecessor })
    }

    /// Opens the spool.
    pub(crate) async fn open(&self) -> Result<(Spool, Writer, mpsc::UnboundedReceiver<Done>), Error> {
        let directory = self.directory.as_deref();
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
