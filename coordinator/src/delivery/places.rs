//! Who may be claimed now, and who may start an attempt.
//!
//! A line passes two gates. It is *admitted* while its channel has few enough deliveries that are claimed and not yet
//! sent: claiming goes ahead of sending, so that one commit serves many attempts, but not without end. It is *sent* while
//! a place is free: there are so many in all and so many for each channel, and an attempt holds one until it ends. At a
//! receiver that hangs that is its deadline. So that such receivers cannot take all places, a channel whose last attempt
//! failed has [`FEW`] until one succeeds, and so has every channel once [`CROWDED`] places are taken: the rest is for
//! those that have none. Channels take turns. A line that is not admitted is parked and comes back when its channel has
//! sent something.

use std::collections::{BTreeMap, VecDeque};

use model::ChannelId;

use super::Line;

/// Attempts under way at once in all.
const MAX_IN_FLIGHT: usize = 1_024;
/// From here on every channel is kept short.
const CROWDED: usize = MAX_IN_FLIGHT / 4 * 3;
/// Attempts under way at once to one channel.
const MAX_PER_CHANNEL: usize = 32;
/// Deliveries of one channel that are being claimed, or are and wait to be sent.
const MAX_AHEAD: usize = 512;
/// Both while the channel is kept short.
const FEW: usize = 2;

/// The places that are taken, and who waits for what.
#[derive(Debug, Default)]
pub(super) struct Places {
    in_flight: usize,
    channels: BTreeMap<ChannelId, Gate>,
    /// Channels that may have something to send, in order of their turns, each once.
    turns: VecDeque<ChannelId>,
}

/// One channel's share.
#[derive(Debug, Default)]
struct Gate {
    /// Lines being claimed.
    claiming: usize,
    /// Lines that are claimed and wait to be sent.
    claimed: VecDeque<Line>,
    in_flight: usize,
    /// Whether it has a turn coming.
    has_turn: bool,
    /// The last attempt failed.
    is_failing: bool,
    /// Lines that are due but not admitted.
    parked: VecDeque<Line>,
}

impl Places {
    /// How many attempts are under way.
    pub(super) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Lets a line that is due be claimed. `false`: its channel is far enough ahead, the line is parked.
    pub(super) fn admit(&mut self, line: Line) -> bool {
        let gate = self.channels.entry(line.0).or_default();
        if gate.is_far_ahead() {
            gate.parked.push_back(line);
            return false;
        }
        gate.claiming += 1;
        true
    }

    /// An admitted line is claimed and waits to be sent.
    pub(super) fn claimed(&mut self, line: Line) {
        let gate = self.channels.entry(line.0).or_default();
        gate.claiming -= 1;
        gate.claimed.push_back(line);
        self.give_turn(line.0);
    }

    /// An admitted line will not be sent now. Out come the parked lines that are due instead.
    pub(super) fn withdrawn(&mut self, line: Line) -> Vec<Line> {
        if let Some(gate) = self.channels.get_mut(&line.0) {
            gate.claiming -= 1;
        }
        self.unpark(line.0)
    }

    /// The line whose attempt may start now, if there is one, and the parked lines of its channel that are due instead.
    pub(super) fn take(&mut self) -> Option<(Line, Vec<Line>)> {
        while self.in_flight < MAX_IN_FLIGHT {
            let channel = self.turns.pop_front()?;
            let is_crowded = self.in_flight >= CROWDED;
            let Some(gate) = self.channels.get_mut(&channel) else { continue };
            gate.has_turn = false;
            if gate.in_flight >= gate.limit(is_crowded) {
                // It gets its next turn when one of its attempts ends.
                continue;
            }
            let Some(line) = gate.claimed.pop_front() else { continue };
            gate.in_flight += 1;
            self.in_flight += 1;
            if !gate.claimed.is_empty() {
                self.give_turn(channel);
            }
            return Some((line, self.unpark(channel)));
        }
        None
    }

    /// An attempt at a channel has ended. Out come the parked lines that may be claimed now.
    pub(super) fn ended(&mut self, channel: ChannelId, succeeded: bool) -> Vec<Line> {
        self.in_flight -= 1;
        if let Some(gate) = self.channels.get_mut(&channel) {
            gate.in_flight -= 1;
            gate.is_failing = !succeeded;
        }
        self.give_turn(channel);
        self.unpark(channel)
    }

    /// A channel is known to have failed before this process.
    pub(super) fn is_failing(&mut self, channel: ChannelId) {
        self.channels.entry(channel).or_default().is_failing = true;
    }

    fn give_turn(&mut self, channel: ChannelId) {
        if let Some(gate) = self.channels.get_mut(&channel)
            && !gate.has_turn
            && !gate.claimed.is_empty()
        {
            gate.has_turn = true;
            self.turns.push_back(channel);
        }
    }

    /// Lines that may be admitted now. They are due: whoever gets them asks again.
    fn unpark(&mut self, channel: ChannelId) -> Vec<Line> {
        let Some(gate) = self.channels.get_mut(&channel) else { return vec![] };
        let free = gate.ahead_limit().saturating_sub(gate.claiming + gate.claimed.len());
        let due = gate.parked.drain(..free.min(gate.parked.len())).collect();
        if gate.is_idle() {
            self.channels.remove(&channel);
        }
        due
    }
}

impl Gate {
    fn is_far_ahead(&self) -> bool {
        self.claiming + self.claimed.len() >= self.ahead_limit()
    }

    const fn ahead_limit(&self) -> usize {
        if self.is_failing { FEW } else { MAX_AHEAD }
    }

    const fn limit(&self, is_crowded: bool) -> usize {
        if is_crowded || self.is_failing { FEW } else { MAX_PER_CHANNEL }
    }

    /// Whether nothing is lost by forgetting it.
    fn is_idle(&self) -> bool {
        self.claiming + self.in_flight + self.claimed.len() + self.parked.len() == 0 && !self.is_failing
    }
}

#[cfg(test)]
mod tests {
    use model::IncidentId;

    use super::*;

    fn line(channel: u8, incident: u16) -> Line {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&incident.to_be_bytes());
        (ChannelId::from_bytes([channel; 16]), IncidentId::from_bytes(bytes))
    }

    /// Admits and claims so many lines of a channel, as far as it may. How many.
    fn claim(places: &mut Places, channel: u8, lines: u16) -> usize {
        let admitted: Vec<Line> =
            (0..lines).map(|incident| line(channel, incident)).filter(|&line| places.admit(line)).collect();
        admitted.iter().for_each(|&line| places.claimed(line));
        admitted.len()
    }

    /// Starts as many attempts as may be. Of which channels.
    fn start(places: &mut Places) -> Vec<ChannelId> {
        std::iter::from_fn(|| places.take()).map(|(line, _)| line.0).collect()
    }

    #[test]
    fn receivers_that_hang_leave_a_place_for_one_that_does_not() {
        let mut places = Places::default();
        for channel in 0..60 {
            claim(&mut places, channel, 1_000);
        }
        let started = start(&mut places);
        for channel in 0..60 {
            let channel = line(channel, 0).0;
            let places_of = started.iter().filter(|&&it| it == channel).count();
            assert!((FEW..=MAX_PER_CHANNEL).contains(&places_of));
        }
        assert!(started.len() < MAX_IN_FLIGHT);
        assert_eq!(claim(&mut places, 99, 1), 1);
        assert_eq!(start(&mut places), [line(99, 0).0]);
    }

    #[test]
    fn a_channel_that_failed_has_few_places_until_it_succeeds() {
        let mut places = Places::default();
        let channel = line(1, 0).0;
        places.is_failing(channel);
        assert_eq!(claim(&mut places, 1, 100), FEW);
        assert_eq!(start(&mut places).len(), FEW);
        assert_eq!(claim(&mut places, 1, 100), FEW, "claimed ahead");
        assert_eq!(start(&mut places).len(), 0);

        let parked = 100 - FEW + 100 - FEW;
        assert!(places.ended(channel, true).len() > parked - 2 * FEW, "but those let in with the first");
        assert_eq!(start(&mut places).len(), FEW);
    }

    #[test]
    fn channels_take_turns() {
        let mut places = Places::default();
        for channel in [1, 2, 3] {
            claim(&mut places, channel, 2);
        }
        let order: Vec<ChannelId> = [1, 2, 3, 1, 2, 3].map(|channel| line(channel, 0).0).into();
        assert_eq!(start(&mut places), order);
    }

    #[test]
    fn a_line_that_is_withdrawn_lets_a_parked_one_in() {
        let mut places = Places::default();
        places.is_failing(line(1, 0).0);
        assert!(places.admit(line(1, 0)) && places.admit(line(1, 1)));
        assert!(!places.admit(line(1, 2)));
        assert_eq!(places.withdrawn(line(1, 0)), [line(1, 2)]);
    }

    #[test]
    fn every_parked_line_gets_its_place_in_the_end() {
        let mut places = Places::default();
        let mut due: VecDeque<Line> =
            (0..60).flat_map(|channel| (0..50).map(move |incident| line(channel, incident))).collect();
        let all = due.len();
        let mut under_way = VecDeque::new();
        let mut served = 0;
        loop {
            while let Some(next) = due.pop_front() {
                if places.admit(next) {
                    places.claimed(next);
                }
            }
            while let Some((line, woken)) = places.take() {
                under_way.push_back(line);
                due.extend(woken);
            }
            if !due.is_empty() {
                continue;
            }
            let Some(ended) = under_way.pop_front() else { break };
            served += 1;
            due.extend(places.ended(ended.0, served % 3 == 0));
        }
        assert_eq!((served, places.in_flight()), (all, 0));
        assert!(places.channels.values().all(|gate| gate.parked.is_empty() && gate.claimed.is_empty()));
    }
}
