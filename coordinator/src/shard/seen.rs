//! Which sequence numbers of an agent have been committed: what makes a repeated batch harmless.

/// A set of numbers as inclusive ranges in rising order. Agents number without gaps, so it is one range nearly always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<(u64, u64)>);

/// More ranges than this are never kept: the lowest gaps are taken for seen. An agent would have to leave as many holes.
const MAX_RANGES: usize = 4_096;

impl Ranges {
    /// Reads ranges; anything but rising, separate ranges is refused.
    #[must_use]
    pub(super) fn new(ranges: Vec<(u64, u64)>) -> Option<Self> {
        let ordered = ranges.iter().all(|&(first, last)| first <= last)
            && ranges.windows(2).all(|pair| pair[0].1.checked_add(1).is_some_and(|next| next < pair[1].0));
        ordered.then_some(Self(ranges))
    }

    /// The ranges.
    #[must_use]
    pub(super) fn as_slice(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// Adds a number. `false`: it was there.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        let after = self.0.partition_point(|&(first, _)| first <= number);
        if after > 0 && number <= self.0[after - 1].1 {
            return false;
        }
        let joins_left = after > 0 && self.0[after - 1].1 + 1 == number;
        let joins_right = after < self.0.len() && number + 1 == self.0[after].0;
        match (joins_left, joins_right) {
            (true, true) => {
                self.0[after - 1].1 = self.0[after].1;
                self.0.remove(after);
            }
            (true, false) => self.0[after - 1].1 = number,
            (false, true) => self.0[after].0 = number,
            (false, false) => self.0.insert(after, (number, number)),
        }
        if self.0.len() > MAX_RANGES {
            let (first, _) = self.0.remove(0);
            self.0[0].0 = first;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(numbers in prop::collection::vec(0_u64..64, 0..200)) {
            let mut ranges = Ranges::default();
            let mut plain = BTreeSet::new();
            for number in numbers {
                prop_assert_eq!(ranges.insert(number), plain.insert(number));
            }
            for number in 0..70 {
                let within = ranges.as_slice().iter().any(|&(first, last)| (first..=last).contains(&number));
                prop_assert_eq!(within, plain.contains(&number));
            }
            prop_assert!(Ranges::new(ranges.as_slice().to_vec()).is_some());
        }
    }

    #[test]
    fn holes_without_end_are_bounded() {
        let mut ranges = Ranges::default();
        for number in 0..10_000 {
            ranges.insert(number * 2);
        }
        assert_eq!(ranges.as_slice().len(), MAX_RANGES);
        assert_eq!(ranges.as_slice().last(), Some(&(19_998, 19_998)));
        assert!(!ranges.insert(1), "the lowest gaps are taken for seen");
    }
}
