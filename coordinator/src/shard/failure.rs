//! A commit that failed: what must not be lost is held, the others are told, and what may be wrong is loaded again.

use std::sync::atomic::Ordering;

use model::RegionId;
use tracing::{error, warn};

use super::deadlines::Deadlines;
use super::input::{ChangeError, Input, Unavailable};
use super::recover::recover;
use super::snapshot::Sweep;
use super::{Owner, Turn};

impl Owner {
    /// Takes note that nothing was committed.
    pub(super) fn fail(&mut self, inputs: &mut Vec<Input>, error: &store::Error) -> Turn {
        self.metrics.commit_failed();
        if self.healthy.swap(false, Ordering::AcqRel) {
            warn!(%error, "cannot commit: nothing is acked until it succeeds");
        }
        self.failing = true;
        self.hold(inputs);
        match error {
            store::Error::Fenced | store::Error::ShardsLost(_) => {
                error!(%error, "stopping");
                return Turn::Fenced;
            }
            // Either the commit took place after all, or what is stored differs from what we hold.
            store::Error::FateUnknown(_) | store::Error::Duplicate(_) => self.must_reload = true,
            store::Error::Unavailable(_) | store::Error::Corrupt(_) => {}
        }
        Turn::Failed
    }

    /// Holds what must not be lost for the next turn, in its order, and tells the others that nothing was committed.
    pub(super) fn hold(&mut self, inputs: &mut Vec<Input>) {
        let mut kept = Vec::with_capacity(inputs.len());
        for input in inputs.drain(..) {
            match input {
                Input::Ping(ping) => {
                    // Whoever waited may have hung up.
                    let _ = ping.reply.send(Err(Unavailable));
                }
                Input::Change(change) => drop(change.reply.send(Err(ChangeError::Unavailable(Unavailable)))),
                Input::Inspect(id, reply) => drop(reply.send(self.inspect(id))),
                // The turn that succeeds is blind for all this time anyway, and a slow check reports its own end.
                Input::Slow { .. } | Input::Blind { .. } => {}
                Input::RegionLive { region, live } => {
                    let older = |held: &Input| is_news_of(held, &region);
                    kept.retain(|held| !older(held));
                    self.held.retain(|held| !older(held));
                    kept.push(Input::RegionLive { region, live });
                }
                Input::Results(_) | Input::Deliveries(_) | Input::Canaries { .. } => kept.push(input),
            }
        }
        for input in kept.into_iter().rev() {
            self.held.push_front(input);
        }
    }

    /// Loads everything again. `false`: it cannot be read either; nothing may be decided until it can.
    pub(super) async fn reload(&mut self) -> bool {
        let recovered = match recover(self.store.as_ref(), self.clock.now()).await {
            Ok(recovered) => recovered,
            Err(error) => {
                warn!(%error, "cannot load the states again yet");
                return false;
            }
        };
        let live = std::mem::take(&mut self.published.live);
        self.published = recovered.published;
        self.position = recovered.position;
        self.sweep = Sweep::over(recovered.replayed);
        self.deadlines = Deadlines::default();
        self.maintenance.unsettle();
        self.alerts.unsettle();
        for id in self.published.ids() {
            self.deadlines.schedule(&mut self.published, id);
            self.unpublished.insert(id);
        }
        super::show_operations(&self.published, &self.views, self.fleet.as_ref());
        for event in recovered.undispatched {
            // What the outbox already has would be told twice.
            if self.in_outbox.insert(event.id) {
                drop(self.outbox.send(event));
            }
        }
        // Before what is held: a failing check of a region that is not live starts no round. A region of which there is
        // newer news among what is held stays with that.
        for region in live {
            let news =
                |held: &Input| matches!(held, Input::RegionLive { region: other, .. } if *other == region);
            if !self.held.iter().any(news) {
                self.held.push_front(Input::RegionLive { region, live: true });
            }
        }
        self.must_reload = false;
        true
    }
}

fn is_news_of(input: &Input, region: &RegionId) -> bool {
    matches!(input, Input::RegionLive { region: other, .. } if other == region)
}
