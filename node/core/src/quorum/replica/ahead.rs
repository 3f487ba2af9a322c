//! A coordinator's own writes that its store does not have yet. What it sends next of a key holds them: only so a version
//! vector, which says "all up to here" of each copy, tells exactly what was seen.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::planted::{Planted, is_planted};
use crate::quorum::floor::Floor;
use crate::quorum::merge::merge;
use crate::record::{Stamp, Stored};
use crate::time::Version;

/// Owner of what was prepared here and waits for the log. As much as the log's entries that wait.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    by_key: BTreeMap<Bytes, Own>,
    /// The highest bar of an entry that waits, or waited: own stamps are above it.
    bar: Version,
}

#[derive(Debug)]
struct Own {
    record: Stored,
    stamp: Stamp,
    /// Index of the entry that has it.
    index: u64,
}

impl Ahead {
    /// A write is in the log's entry of this index. It was prepared on all that was known then; one that is sent again under
    /// another layout may be older than what waits here.
    pub(super) fn wrote(&mut self, key: Bytes, record: Stored, stamp: Stamp, index: u64) {
        let own = match self.by_key.get(&key) {
            Some(own) if !is_planted(Planted::OlderOwnWriteKept) => {
                Own { record: merge(&own.record, &record), stamp: own.stamp.max(stamp), index }
            }
            Some(_) | None => Own { record, stamp, index },
        };
        self.by_key.insert(key, own);
    }

    /// The entry of this index is applied.
    pub(super) fn applied<'a>(&mut self, keys: impl Iterator<Item = &'a Bytes>, index: u64) {
        for key in keys {
            if self.by_key.get(key).is_some_and(|own| own.index <= index) {
                self.by_key.remove(key);
            }
        }
    }

    /// A bar, or a floor, waits for the log.
    pub(super) fn barred(&mut self, at: Version) {
        self.bar = self.bar.max(at);
    }

    /// Own stamps have to be above.
    pub(super) fn bar(&self) -> Version {
        self.bar
    }

    /// What the copy coordinates on, of a key of which its store has this.
    pub(super) fn known(&self, key: &Bytes, held: Option<Stored>, floor: &Floor) -> Option<Stored> {
        let own = self.by_key.get(key).filter(|_| !is_planted(Planted::OwnWritesForgotten));
        let Some(Own { record, stamp, .. }) = own else { return held };
        // Who is not complete coordinates nothing.
        match floor.take_write(*stamp, held.as_ref(), record.clone(), true) {
            Ok(Some(taken)) => Some(held.as_ref().map_or_else(|| taken.clone(), |held| merge(held, &taken))),
            Ok(None) | Err(_) => held,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Context, Value};

    fn record(version: u64) -> (Stored, Stamp) {
        let stamp = Stamp::lowest(Version(version));
        (Stored::new(Value { stamp, ..Value::default() }, Context::default()), stamp)
    }

    /// Two writes wait, the first of which is then sent again under another layout: the versions that are known.
    fn known_after_an_older_write_was_renewed() -> Vec<u64> {
        let key = Bytes::from_static(b"k");
        let (mut ahead, (first, of_first), (mut second, of_second)) = (Ahead::default(), record(7), record(8));
        second.siblings.push(first.newest.clone());
        ahead.wrote(key.clone(), first.clone(), of_first, 3);
        ahead.wrote(key.clone(), second, of_second, 4);
        ahead.wrote(key.clone(), first, of_first, 5);
        ahead.applied([&key].into_iter(), 3);
        let known = ahead.known(&key, None, &Floor::default());
        known.iter().flat_map(Stored::values).map(|value| value.stamp.version.0).collect()
    }

    #[test]
    fn an_older_write_that_is_sent_again_hides_no_later_one() {
        assert_eq!(known_after_an_older_write_was_renewed(), [8, 7]);
    }

    #[cfg(feature = "planted")]
    #[test]
    fn a_later_own_write_that_is_hidden_is_noticed() {
        crate::planted::plant(Some(Planted::OlderOwnWriteKept));
        let known = known_after_an_older_write_was_renewed();
        crate::planted::plant(None);
        assert_eq!(known, [7]);
    }

    #[test]
    fn an_own_write_is_known_until_its_entry_is_applied() {
        let key = Bytes::from_static(b"k");
        let (mut ahead, floor) = (Ahead::default(), Floor::default());
        for (version, index) in [(7, 3), (8, 4)] {
            let (record, stamp) = record(version);
            ahead.wrote(key.clone(), record, stamp, index);
        }
        let versions = |ahead: &Ahead, held: Option<Stored>| -> Vec<u64> {
            let known = ahead.known(&key, held, &floor);
            known.iter().flat_map(Stored::values).map(|value| value.stamp.version.0).collect()
        };
        ahead.applied([&key].into_iter(), 3);
        assert_eq!(versions(&ahead, Some(record(5).0)), [8, 7, 5], "the later one waits yet");
        ahead.applied([&key].into_iter(), 4);
        assert_eq!(versions(&ahead, Some(record(5).0)), [5]);
        assert_eq!(versions(&ahead, None), [0; 0]);
    }
}
