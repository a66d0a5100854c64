//! The deliveries a session has still to settle. Most of them come in rows: leased together, of one partition, one after the
//! other in the log as in their numbers. A row is one entry, however long it is; settling in its middle divides it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use tidegate_engine::group::LeaseId;
use tokio::time::Instant;

/// Leases of deliveries in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    first: LeaseId,
    /// At least one.
    count: u64,
    /// When they end if the consumer does nothing; only with an `ack_deadline`.
    until: Option<Instant>,
}

impl Row {
    fn new(lease: LeaseId, until: Option<Instant>) -> Self {
        Self { first: lease, count: 1, until }
    }

    pub(super) fn count(&self) -> usize {
        // A session does not hold more than `max_unsettled`, which is a usize.
        self.count as usize
    }

    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    fn lease(&self, nth: u64) -> LeaseId {
        LeaseId { offset: self.first.offset + nth, ..self.first }
    }

    /// The leases in order.
    pub(super) fn leases(self) -> impl Iterator<Item = LeaseId> {
        (0..self.count).map(move |nth| self.lease(nth))
    }

    /// Its deliveries one by one, if the first one's number is `id`.
    pub(super) fn deliveries(self, id: u64) -> impl Iterator<Item = (u64, Self)> {
        (id..).zip(self.leases()).map(move |(id, lease)| (id, Self::new(lease, self.until)))
    }

    /// What remains without the first `nth`.
    fn after(self, nth: u64) -> Self {
        Self { first: self.lease(nth), count: self.count - nth, ..self }
    }

    /// Whether `next` goes on where this ends.
    fn goes_on_with(&self, next: &Self) -> bool {
        next.first == self.lease(self.count) && next.until == self.until
    }
}

/// Rows by the number of their first delivery.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    rows: BTreeMap<u64, Row>,
    count: usize,
}

impl Unsettled {
    /// How many deliveries.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Adds deliveries, numbered from `first` on.
    pub(super) fn extend(&mut self, first: u64, leases: impl Iterator<Item = LeaseId>, until: Option<Instant>) {
        let mut row: Option<(u64, Row)> = None;
        for (id, lease) in (first..).zip(leases) {
            let next = Row::new(lease, until);
            match &mut row {
                Some((_, row)) if row.goes_on_with(&next) => row.count += 1,
                _ => {
                    if let Some((id, row)) = row.replace((id, next)) {
                        self.insert(id, row);
                    }
                }
            }
        }
        if let Some((id, row)) = row {
            self.insert(id, row);
        }
    }

    /// Puts a row in that is not there.
    pub(super) fn insert(&mut self, mut id: u64, mut row: Row) {
        self.count += row.count();
        if let Some((&before, found)) = self.rows.range(..id).next_back()
            && before + found.count == id
            && found.goes_on_with(&row)
        {
            row = Row { count: found.count + row.count, ..*found };
            id = before;
        }
        let end = id + row.count;
        if let Some(next) = self.rows.get(&end).filter(|next| row.goes_on_with(next)).copied() {
            self.rows.remove(&end);
            row.count += next.count;
        }
        self.rows.insert(id, row);
    }

    /// The rows of these deliveries, as far as there are any; they stay.
    pub(super) fn find(&self, ids: RangeInclusive<u64>) -> Vec<(u64, Row)> {
        let (start, end) = ids.into_inner();
        let before = self.rows.range(..start).next_back().filter(|(id, row)| **id + row.count > start);
        let clipped = |(&id, row): (&u64, &Row)| {
            let from = id.max(start);
            let row = row.after(from - id);
            (from, Row { count: row.count.min((end - from).saturating_add(1)), ..row })
        };
        let inside = if start <= end { Some(self.rows.range(start..=end)) } else { None };
        let before = before.filter(|_| start <= end);
        before.into_iter().chain(inside.into_iter().flatten()).map(clipped).collect()
    }

    /// As [`Unsettled::find`]; they do not stay.
    pub(super) fn take(&mut self, ids: RangeInclusive<u64>) -> Vec<(u64, Row)> {
        let taken = self.find(ids);
        let (Some((first, _)), Some((last, row))) = (taken.first(), taken.last()) else { return taken };
        self.divide(*first);
        self.divide(last + row.count);
        for (id, row) in &taken {
            self.rows.remove(id);
            self.count -= row.count();
        }
        taken
    }

    /// Takes one; whether it was there.
    pub(super) fn remove(&mut self, id: u64) -> bool {
        !self.take(id..=id).is_empty()
    }

    /// Gives one, if it is there, another end.
    pub(super) fn end_at(&mut self, id: u64, until: Instant) {
        for (id, row) in self.take(id..=id) {
            self.insert(id, Row { until: Some(until), ..row });
        }
    }

    /// Makes a row begin at this delivery, if it lies in one.
    fn divide(&mut self, at: u64) {
        if let Some((id, row)) = self.rows.range_mut(..at).next_back()
            && id + row.count > at
        {
            let rest = row.after(at - id);
            row.count = at - id;
            self.rows.insert(at, rest);
        }
    }

    /// All of them, one by one.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Row)> {
        self.rows.iter().flat_map(|(id, row)| row.deliveries(*id))
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tidegate_engine::PartitionId;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        /// So many leases: of offsets in a row, or with gaps between.
        Extend {
            offset: u64,
            count: u64,
            gap: bool,
            until: Option<u64>,
        },
        Take(RangeInclusive<u64>),
        Insert(usize),
        EndAt(u64, u64),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..50_u64, 1..9_u64, any::<bool>(), prop::option::of(0..2_u64))
                .prop_map(|(offset, count, gap, until)| Step::Extend { offset, count, gap, until }),
            (0..40_u64, 0..12_u64).prop_map(|(from, length)| Step::Take(from..=from + length)),
            Just(Step::Take(0..=u64::MAX)),
            any::<usize>().prop_map(Step::Insert),
            (0..40_u64, 0..3_u64).prop_map(|(id, until)| Step::EndAt(id, until)),
        ]
    }

    fn single(rows: Vec<(u64, Row)>) -> Vec<(u64, Row)> {
        rows.into_iter().flat_map(|(id, row)| row.deliveries(id)).collect()
    }

    proptest! {
        #[test]
        fn it_is_a_map_of_single_deliveries(steps in prop::collection::vec(any_step(), 1..60)) {
            let start = Instant::now();
            let time = |seconds: u64| start + Duration::from_secs(seconds);
            let (mut unsettled, mut model) = (Unsettled::default(), BTreeMap::new());
            let (mut last, mut taken) = (0, Vec::new());
            for step in steps {
                match step {
                    Step::Extend { offset, count, gap, until } => {
                        let until = until.map(time);
                        let offsets = (0..count).map(|nth| offset + nth * if gap { 2 } else { 1 });
                        let leases = offsets.map(|offset| LeaseId { partition: PartitionId(1), offset, token: 7 });
                        unsettled.extend(last + 1, leases.clone(), until);
                        model.extend((last + 1..).zip(leases.map(|lease| Row::new(lease, until))));
                        last += count;
                    }
                    Step::Take(ids) => {
                        let wanted: Vec<_> = model.extract_if(ids.clone(), |_, _| true).collect();
                        prop_assert_eq!(&single(unsettled.find(ids.clone())), &wanted);
                        taken = unsettled.take(ids);
                        prop_assert_eq!(&single(taken.clone()), &wanted);
                    }
                    Step::Insert(nth) if !taken.is_empty() => {
                        let (id, row) = taken.swap_remove(nth % taken.len());
                        unsettled.insert(id, row);
                        model.extend(row.deliveries(id));
                    }
                    Step::Insert(_) => {}
                    Step::EndAt(id, until) => {
                        unsettled.end_at(id, time(until));
                        model.entry(id).and_modify(|row| row.until = Some(time(until)));
                    }
                }
                prop_assert_eq!(unsettled.len(), model.len());
                prop_assert!(unsettled.iter().eq(model.iter().map(|(id, row)| (*id, *row))));
                let rows: Vec<_> = unsettled.rows.iter().collect();
                let joined = |pair: &[(&u64, &Row)]| pair[0].0 + pair[0].1.count < *pair[1].0
                    || pair[0].0 + pair[0].1.count == *pair[1].0 && !pair[0].1.goes_on_with(pair[1].1);
                prop_assert!(rows.windows(2).all(joined), "rows are neither joined nor apart: {:?}", rows);
            }
        }
    }

    #[test]
    fn a_frame_is_one_entry() {
        let mut unsettled = Unsettled::default();
        let lease = |offset| LeaseId { partition: PartitionId(1), offset, token: 1 };
        unsettled.extend(1, (0..1000).map(lease), None);
        assert_eq!((unsettled.len(), unsettled.rows.len()), (1000, 1));
        assert!(unsettled.remove(500));
        assert!(!unsettled.remove(500));
        assert_eq!((unsettled.len(), unsettled.rows.len()), (999, 2));
    }
}
