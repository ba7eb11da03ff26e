//! What users have arranged, as the coordinator carries it out: windows of maintenance, and what parents and children are
//! told of each other.

use engine::Effect;
use engine::monitor::{Event, Standing, standing};

use super::{Occurrence, Simulation};

/// Something that monitors that belong together must be told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tiding {
    /// This one may be failing: its parent is to be looked at.
    AsksParent(usize),
    /// This one stands otherwise than before.
    Stands(usize),
    /// All hear of an agent.
    Credit(Event),
}

impl Tiding {
    /// What follows from an event for monitors that belong to this one.
    pub(crate) fn of(index: usize, effects: &[Effect], is_other: bool) -> impl Iterator<Item = Self> {
        let asks = effects.iter().any(|effect| matches!(effect, Effect::AskParents));
        let asks = asks.then_some(Self::AsksParent(index));
        asks.into_iter().chain(is_other.then_some(Self::Stands(index)))
    }
}

impl Simulation<'_> {
    /// Tells those that belong together of each other, until there is nothing to tell.
    pub(super) fn carry(&mut self) {
        self.look_after_credit_later();
        while let Some(tiding) = self.shard.tiding() {
            match tiding {
                Tiding::AsksParent(child) => {
                    if let Some(parent) = self.world.monitors[child].parent {
                        self.tell(parent, &Event::Asked);
                        self.tell_child(child);
                    }
                }
                Tiding::Credit(event) => self.each(|simulation, monitor| simulation.tell(monitor, &event)),
                Tiding::Stands(parent) => {
                    let world = self.world;
                    for child in &world.monitors[parent].children {
                        self.tell_child(*child);
                    }
                }
            }
        }
    }

    /// Makes sure that an agent whose quarantine may end is looked at.
    fn look_after_credit_later(&mut self) {
        if let Some(at) = self.shard.credit_deadline()
            && self.crediting_at != Some(at)
        {
            self.crediting_at = Some(at);
            self.push(at.max(self.now), Occurrence::Credit);
        }
    }

    /// Tells a monitor that its window has opened or that none is open any more, if it holds something else.
    pub(super) fn review_window(&mut self, monitor: usize) {
        self.enter_window(monitor);
        self.leave_window(monitor);
        self.carry();
    }

    /// Before blindness is told.
    pub(super) fn enter_window(&mut self, monitor: usize) {
        let window = self.world.monitors[monitor].windows.told.at(self.now);
        if let Some((window, ())) = window
            && !self.shard.state(monitor).is_in_maintenance()
        {
            self.tell(monitor, &Event::MaintenanceStarted { at: window.from });
        }
    }

    /// After blindness is told.
    pub(super) fn leave_window(&mut self, monitor: usize) {
        let window = self.world.monitors[monitor].windows.told.at(self.now);
        if window.is_none() && self.shard.state(monitor).is_in_maintenance() {
            self.tell(monitor, &Event::MaintenanceEnded);
        }
    }

    fn tell_child(&mut self, child: usize) {
        let parent = self.world.monitors[child].parent;
        let stands = parent.map_or(Standing::Well, |parent| standing(self.shard.state(parent), "gateway"));
        self.tell(child, &Event::Parents(stands));
    }

    /// Tells a monitor something, awake.
    fn tell(&mut self, monitor: usize, event: &Event) {
        if self.watched[monitor].is_napping {
            self.end_nap(monitor);
            self.wake_at_next_check(monitor);
        }
        self.shard.apply(monitor, event, self.now);
        self.schedule(monitor);
    }
}
