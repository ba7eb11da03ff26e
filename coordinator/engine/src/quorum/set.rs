//! Sets of a monitor's regions, one bit each, so that a vote is counted without allocating.

use serde::{Deserialize, Serialize};

/// Regions of one monitor, by their index in its sorted list. Indices from [`RegionSet::CAPACITY`] on are never members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RegionSet(u64);

impl RegionSet {
    /// No region.
    pub const EMPTY: Self = Self(0);
    /// How many regions of one monitor can vote.
    pub const CAPACITY: usize = 64;

    /// The first `count` regions.
    #[must_use]
    pub const fn first(count: usize) -> Self {
        if count >= Self::CAPACITY { Self(u64::MAX) } else { Self((1 << count) - 1) }
    }

    /// Adds a region.
    pub const fn insert(&mut self, index: usize) {
        if index < Self::CAPACITY {
            self.0 |= 1 << index;
        }
    }

    /// Takes a region out.
    pub const fn remove(&mut self, index: usize) {
        if index < Self::CAPACITY {
            self.0 &= !(1 << index);
        }
    }

    /// Whether the region is a member.
    #[must_use]
    pub const fn contains(self, index: usize) -> bool {
        index < Self::CAPACITY && self.0 & (1 << index) != 0
    }

    /// How many regions there are.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The regions of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The regions of either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The regions of this one that are not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The indices, rising.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let index = rest.trailing_zeros() as usize;
            rest &= rest.wrapping_sub(1);
            (index < Self::CAPACITY).then_some(index)
        })
    }
}

impl FromIterator<usize> for RegionSet {
    fn from_iter<I: IntoIterator<Item = usize>>(indices: I) -> Self {
        let mut set = Self::EMPTY;
        for index in indices {
            set.insert(index);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_region_fits_and_the_next_never_votes() {
        let set: RegionSet = [0, 63, 64, 1_000].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63]);
        assert_eq!((set.len(), set.contains(63), set.contains(64)), (2, true, false));
        assert_eq!(RegionSet::first(64), RegionSet::first(65));
        let mut rest = set;
        rest.remove(64);
        assert_eq!(rest, set, "who never votes is not missed");
        rest.remove(63);
        assert_eq!(rest.iter().collect::<Vec<_>>(), [0]);
        assert_eq!(RegionSet::first(2).iter().collect::<Vec<_>>(), [0, 1]);
    }
}
