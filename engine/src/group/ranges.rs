//! Sets of offsets as ranges that do not touch: what lies between two holes costs one entry, however long it is.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of offsets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RangeSet {
    /// First offset → the one after the last.
    ranges: BTreeMap<u64, u64>,
}

impl RangeSet {
    /// Adds a range, joined with those it overlaps or touches.
    pub(crate) fn insert(&mut self, range: Range<u64>) {
        let Range { mut start, mut end } = range;
        if start >= end {
            return;
        }
        if let Some((&from, &to)) = self.ranges.range(..=start).next_back()
            && to >= start
        {
            start = from;
            end = end.max(to);
        }
        while let Some((&from, &to)) = self.ranges.range(start..=end).next() {
            end = end.max(to);
            self.ranges.remove(&from);
        }
        self.ranges.insert(start, end);
    }

    /// The first offset from `offset` on that is not in the set.
    pub(crate) fn first_missing(&self, offset: u64) -> u64 {
        match self.ranges.range(..=offset).next_back() {
            Some((_, &to)) if to > offset => to,
            _ => offset,
        }
    }

    /// Whether the offset is in the set.
    pub(crate) fn contains(&self, offset: u64) -> bool {
        self.first_missing(offset) != offset
    }

    /// Removes everything below an offset.
    pub(crate) fn remove_below(&mut self, offset: u64) {
        while let Some(first) = self.ranges.first_entry()
            && *first.key() < offset
        {
            let to = first.remove();
            if to > offset {
                self.ranges.insert(offset, to);
            }
        }
    }

    /// How many offsets of `range` are in the set.
    pub(crate) fn count_within(&self, range: &Range<u64>) -> u64 {
        let before = self.ranges.range(..range.start).next_back();
        let inside = self.ranges.range(range.start..range.end.max(range.start));
        let clipped = |from: u64, to: u64| to.min(range.end).saturating_sub(from.max(range.start));
        before.into_iter().chain(inside).map(|(&from, &to)| clipped(from, to)).sum()
    }

    /// The ranges in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.ranges.iter().map(|(&from, &to)| from..to)
    }

    /// Whether nothing is in the set.
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

impl FromIterator<Range<u64>> for RangeSet {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Self {
        let mut set = Self::default();
        ranges.into_iter().for_each(|range| set.insert(range));
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_join() {
        let mut set: RangeSet = [3..5, 7..9, 11..12].into_iter().collect();
        set.insert(5..7);
        assert_eq!(set.iter().collect::<Vec<_>>(), [3..9, 11..12]);
        set.insert(0..20);
        assert!(set.iter().eq(std::iter::once(0..20)));
        set.remove_below(18);
        assert!(set.iter().eq(std::iter::once(18..20)));
    }

    proptest! {
        #[test]
        fn it_is_a_set(steps in prop::collection::vec((0u64..40, 0u64..8, any::<bool>()), 1..40)) {
            let (mut set, mut model) = (RangeSet::default(), BTreeSet::new());
            for (from, length, insert) in steps {
                if insert {
                    set.insert(from..from + length);
                    model.extend(from..from + length);
                } else {
                    set.remove_below(length);
                    model.retain(|offset| *offset >= length);
                }
                for offset in 0..50 {
                    prop_assert_eq!(set.contains(offset), model.contains(&offset));
                    let missing = (offset..).find(|offset| !model.contains(offset));
                    prop_assert_eq!(Some(set.first_missing(offset)), missing);
                    let range = from..offset;
                    prop_assert_eq!(set.count_within(&range), range.filter(|o| model.contains(o)).count() as u64);
                }
                let ranges: Vec<_> = set.iter().collect();
                prop_assert!(ranges.iter().all(|range| range.start < range.end));
                prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
            }
        }
    }
}
