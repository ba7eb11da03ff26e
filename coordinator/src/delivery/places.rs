//! Who may start an attempt now: places, of which there are so many in all and so many for each channel.
//!
//! An attempt holds a place until it ends, and one at a receiver that hangs ends only at its deadline. So that such
//! receivers cannot take all places, a channel whose last attempt failed has [`FEW`] until one succeeds, and so has every
//! channel once [`CROWDED`] places are taken: the rest is for those that have none. A line that gets no place is parked
//! and comes back when its channel gives one back; a channel with parked lines always holds a place or has a line on the
//! way to one, so that none is forgotten.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::ChannelId;

use super::Line;

/// Attempts under way at once in all.
const MAX_IN_FLIGHT: usize = 1_024;
/// From here on every channel is kept short.
const CROWDED: usize = MAX_IN_FLIGHT / 4 * 3;
/// Attempts under way at once to one channel.
const MAX_PER_CHANNEL: usize = 32;
/// The same while the channel is kept short.
const FEW: usize = 2;

/// The places that are taken, and who waits for one.
#[derive(Debug, Default)]
pub(super) struct Places {
    taken: usize,
    of_channel: BTreeMap<ChannelId, usize>,
    /// Channels whose last attempt failed.
    failing: BTreeSet<ChannelId>,
    /// Lines that are ready but whose channel has no place left.
    parked: BTreeMap<ChannelId, VecDeque<Line>>,
}

impl Places {
    /// How many are taken.
    pub(super) const fn taken(&self) -> usize {
        self.taken
    }

    /// Whether nobody can have one now.
    pub(super) const fn all_taken(&self) -> bool {
        self.taken >= MAX_IN_FLIGHT
    }

    /// Takes a place of the line's channel. `false`: there is none, the line is parked.
    pub(super) fn take(&mut self, line: Line) -> bool {
        let limit = self.limit(line.0);
        let held = self.of_channel.entry(line.0).or_default();
        if *held >= limit {
            self.parked.entry(line.0).or_default().push_back(line);
            return false;
        }
        *held += 1;
        self.taken += 1;
        true
    }

    /// Gives one of the channel's places back; out come the parked lines that may have one now.
    pub(super) fn give_back(&mut self, channel: ChannelId) -> Vec<Line> {
        self.taken -= 1;
        let mut held = 0;
        if let Some(places) = self.of_channel.get_mut(&channel) {
            *places -= 1;
            held = *places;
        }
        if held == 0 {
            self.of_channel.remove(&channel);
        }
        let free = self.limit(channel).saturating_sub(held);
        let Some(parked) = self.parked.get_mut(&channel) else { return vec![] };
        let woken = parked.drain(..free.min(parked.len())).collect();
        if parked.is_empty() {
            self.parked.remove(&channel);
        }
        woken
    }

    /// Notes how the channel's last attempt ended.
    pub(super) fn attempt_ended(&mut self, channel: ChannelId, succeeded: bool) {
        if succeeded {
            self.failing.remove(&channel);
        } else {
            self.failing.insert(channel);
        }
    }

    /// Forgets how a deleted channel's attempts ended.
    pub(super) fn forget(&mut self, channel: ChannelId) {
        self.failing.remove(&channel);
    }

    fn limit(&self, channel: ChannelId) -> usize {
        if self.taken >= CROWDED || self.failing.contains(&channel) { FEW } else { MAX_PER_CHANNEL }
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

    /// How many of so many lines of a channel get a place.
    fn take(places: &mut Places, channel: u8, lines: u16) -> usize {
        (0..lines).filter(|&incident| places.take(line(channel, incident))).count()
    }

    #[test]
    fn receivers_that_hang_leave_a_place_for_one_that_does_not() {
        let mut places = Places::default();
        for channel in 0..40 {
            assert!(take(&mut places, channel, 1_000) >= FEW);
        }
        assert!(!places.all_taken());
        assert!(places.take(line(99, 0)));
    }

    #[test]
    fn a_channel_that_failed_has_few_places_until_it_succeeds() {
        let mut places = Places::default();
        let channel = line(1, 0).0;
        places.attempt_ended(channel, false);
        assert_eq!(take(&mut places, 1, 100), FEW);
        assert_eq!(places.give_back(channel).len(), 1, "a place for a place");
        assert!(places.take(line(1, 200)));

        places.attempt_ended(channel, true);
        assert_eq!(places.give_back(channel).len(), MAX_PER_CHANNEL - 1);
    }

    #[test]
    fn a_channel_that_begins_to_fail_gives_back_what_is_too_much() {
        let mut places = Places::default();
        let channel = line(1, 0).0;
        assert_eq!(take(&mut places, 1, 100), MAX_PER_CHANNEL);
        places.attempt_ended(channel, false);
        for _ in FEW..MAX_PER_CHANNEL {
            assert_eq!(places.give_back(channel), []);
        }
        assert_eq!(places.give_back(channel), [line(1, 32)], "the one that has waited longest");
    }

    #[test]
    fn every_parked_line_gets_its_place_in_the_end() {
        let mut places = Places::default();
        let mut held: Vec<Line> = vec![];
        let mut ready: VecDeque<Line> =
            (0..60).flat_map(|channel| (0..50).map(move |incident| line(channel, incident))).collect();
        let all = ready.len();
        let mut served = 0;
        loop {
            while !places.all_taken()
                && let Some(next) = ready.pop_front()
            {
                if places.take(next) {
                    held.push(next);
                }
            }
            let Some(ended) = held.pop() else { break };
            served += 1;
            places.attempt_ended(ended.0, served % 3 == 0);
            ready.extend(places.give_back(ended.0));
        }
        assert_eq!((served, places.taken()), (all, 0));
        assert!(places.parked.is_empty() && places.of_channel.is_empty());
    }
}
