//! Where a replica's live entries lie: one extent per record, in order of index. The entries stay on disk.

use std::collections::{BTreeMap, VecDeque};

/// Where a record lies in the log's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Location {
    /// Number of the segment.
    pub(super) segment: u64,
    /// Where the record's header begins in the segment, in bytes.
    pub(super) offset: u32,
    /// Length of header, payload and end mark, in bytes.
    pub(super) bytes: u32,
}

/// Consecutive entries in one record. The record may hold more on either side that are no longer live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Lowest index of the entries.
    pub(super) first: u64,
    /// Highest index of the entries.
    pub(super) last: u64,
    /// Where the record lies.
    pub(super) location: Location,
}

/// Bytes of records with live entries, by segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Live(BTreeMap<u64, u64>);

impl Live {
    /// Live bytes in one segment.
    pub(super) fn bytes(&self, segment: u64) -> u64 {
        self.0.get(&segment).copied().unwrap_or(0)
    }

    fn add(&mut self, location: Location) {
        *self.0.entry(location.segment).or_default() += u64::from(location.bytes);
    }

    fn remove(&mut self, location: Location) {
        if let Some(bytes) = self.0.get_mut(&location.segment) {
            *bytes -= u64::from(location.bytes);
            if *bytes == 0 {
                self.0.remove(&location.segment);
            }
        }
    }
}

/// A replica's live entries. Never overlapping, in order; gaps only while an old log is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Extents(VecDeque<Extent>);

impl Extents {
    /// The extents in the order of their indexes.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Extent> {
        self.0.iter()
    }

    /// Forgets all extents, and takes their bytes off `live`.
    pub(super) fn clear(&mut self, live: &mut Live) {
        for extent in self.0.drain(..) {
            live.remove(extent.location);
        }
    }

    /// Forgets the entries up to and with `index`.
    pub(super) fn forget_to(&mut self, index: u64, live: &mut Live) {
        while let Some(front) = self.0.front_mut() {
            if front.first > index {
                break;
            }
            if front.last > index {
                front.first = index + 1;
                break;
            }
            live.remove(front.location);
            self.0.pop_front();
        }
    }

    /// Forgets the entries from `index` on.
    pub(super) fn forget_from(&mut self, index: u64, live: &mut Live) {
        while let Some(back) = self.0.back_mut() {
            if back.last < index {
                break;
            }
            if back.first < index {
                back.last = index - 1;
                break;
            }
            live.remove(back.location);
            self.0.pop_back();
        }
    }

    /// Says where these entries lie now, whatever was said before. Entries outside of them stay where they are.
    pub(super) fn place(&mut self, new: Extent, live: &mut Live) {
        live.add(new.location);
        if self.0.back().is_none_or(|back| back.last < new.first) {
            self.0.push_back(new);
            return;
        }
        let from = self.0.partition_point(|extent| extent.last < new.first);
        let to = self.0.partition_point(|extent| extent.first <= new.last);
        let mut after = self.0.split_off(to);
        let hidden = self.0.split_off(from);
        let left = hidden.front().filter(|extent| extent.first < new.first);
        let right = hidden.back().filter(|extent| extent.last > new.last);
        let rests = [
            left.map(|extent| Extent { last: new.first - 1, ..*extent }),
            Some(new),
            right.map(|extent| Extent { first: new.last + 1, ..*extent }),
        ];
        for rest in rests.into_iter().flatten() {
            if rest != new {
                live.add(rest.location);
            }
            self.0.push_back(rest);
        }
        for extent in hidden {
            live.remove(extent.location);
        }
        self.0.append(&mut after);
    }

    /// True if every index from `first` to `last` is there, and no other.
    pub(super) fn covers_exactly(&self, first: u64, last: u64) -> bool {
        let mut next = first;
        for extent in &self.0 {
            if extent.first != next {
                return false;
            }
            next = extent.last + 1;
        }
        next == last + 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Place { first: u64, count: u64, segment: u64 },
        ForgetTo(u64),
        ForgetFrom(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (1u64..40, 1u64..10, 1u64..5).prop_map(|(first, count, segment)| Step::Place { first, count, segment }),
            1 => (0u64..40).prop_map(Step::ForgetTo),
            1 => (1u64..40).prop_map(Step::ForgetFrom),
        ]
    }

    proptest! {
        #[test]
        fn extents_are_a_map_from_index_to_its_latest_place(steps in vec(step(), 0..40)) {
            let (mut extents, mut live, mut model) = (Extents::default(), Live::default(), BTreeMap::new());
            for (offset, step) in (0u32..).zip(steps) {
                match step {
                    Step::Place { first, count, segment } => {
                        let location = Location { segment, offset, bytes: 10 };
                        extents.place(Extent { first, last: first + count - 1, location }, &mut live);
                        model.extend((first..first + count).map(|index| (index, location)));
                    }
                    Step::ForgetTo(index) => {
                        extents.forget_to(index, &mut live);
                        model.retain(|&at, _| at > index);
                    }
                    Step::ForgetFrom(index) => {
                        extents.forget_from(index, &mut live);
                        model.retain(|&at, _| at < index);
                    }
                }
                let flat: BTreeMap<_, _> =
                    extents.iter().flat_map(|e| (e.first..=e.last).map(|index| (index, e.location))).collect();
                prop_assert_eq!(&flat, &model);
                let mut counted = Live::default();
                extents.iter().for_each(|extent| counted.add(extent.location));
                prop_assert_eq!(&live, &counted);
                let contiguous = model.keys().zip(model.keys().skip(1)).all(|(a, b)| a + 1 == *b);
                if let (Some((&first, _)), Some((&last, _))) = (model.first_key_value(), model.last_key_value()) {
                    prop_assert_eq!(extents.covers_exactly(first, last), contiguous);
                }
            }
            extents.clear(&mut live);
            prop_assert_eq!(live, Live::default());
        }
    }
}
