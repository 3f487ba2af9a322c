//! Values that reads have repaired here although the disk is nearly full, and that wait for the log. However many readers wait
//! for one, it counts once and is written once: whoever sends it again is answered with the first.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::machine::Taken;
use crate::planted::{Planted, is_planted};
use crate::quorum::journal::Journaled;
use crate::quorum::message::Entry;

/// Owner of what waits, by key. No more than the log's entries that wait.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    waiting: BTreeMap<Bytes, Vec<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    record: Bytes,
    /// Index of the log's entry that has it.
    index: u64,
}

impl Repairs {
    /// The entry, if just this record of the key waits for the log already.
    pub(super) fn waiting(&self, key: &Bytes, record: &Bytes) -> Option<Entry> {
        let (key, waiting) = self.waiting.get_key_value(key).filter(|_| !is_planted(Planted::RepairsDoubled))?;
        let first = waiting.iter().find(|waiting| waiting.record == *record)?;
        Some((key.clone(), first.record.clone()))
    }

    /// These are counted, and wait for the log in the entry of this index.
    pub(super) fn wait(&mut self, entries: Vec<Entry>, index: u64) {
        for (key, record) in entries {
            self.waiting.entry(key).or_default().push(Waiting { record, index });
        }
    }

    /// The entry of this index is applied, with this result for each of its records. Returns the bytes that were counted for
    /// nothing: the copy had got those records in another way by then, or did not take them.
    pub(super) fn applied(&mut self, entry: &Journaled, taken: &Taken, index: u64) -> usize {
        let Journaled::Copies(copies) = entry else { return 0 };
        let mut returned = 0;
        for ((key, _), taken) in copies.iter().zip(taken) {
            let Some(waiting) = self.waiting.get_mut(key) else { continue };
            let is_unused = *taken != Ok(true);
            let counted = waiting.extract_if(.., |waiting| waiting.index == index);
            let bytes: usize = counted.map(|Waiting { record, .. }| key.len() + record.len()).sum();
            returned += if is_unused { bytes } else { 0 };
            if waiting.is_empty() {
                self.waiting.remove(key);
            }
        }
        returned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::floor::Refused;

    fn entry(key: &'static str, record: &'static str) -> Entry {
        (key.into(), record.into())
    }

    #[test]
    fn what_waits_is_known_until_its_entry_is_applied_and_what_changed_nothing_is_given_back() {
        let mut repairs = Repairs::default();
        let all = vec![entry("a", "1"), entry("b", "22"), entry("c", "333")];
        repairs.wait(all.clone(), 7);
        repairs.wait(vec![entry("a", "4444")], 8);
        let is_waiting = |repairs: &Repairs, of: &Entry| repairs.waiting(&of.0, &of.1).is_some();
        assert!(all.iter().all(|entry| is_waiting(&repairs, entry)) && is_waiting(&repairs, &entry("a", "4444")));
        assert!(!is_waiting(&repairs, &entry("a", "22")) && !is_waiting(&repairs, &entry("d", "1")));
        let (first, second) = (Journaled::Copies(all.clone()), Journaled::Copies(vec![entry("a", "4444")]));
        assert_eq!(repairs.applied(&first, &vec![Ok(true), Ok(false), Err(Refused::Bare)], 6), 0, "another entry");
        assert_eq!(repairs.applied(&first, &vec![Ok(true), Ok(false), Err(Refused::Bare)], 7), 3 + 4);
        assert!(!all.iter().any(|entry| is_waiting(&repairs, entry)) && is_waiting(&repairs, &entry("a", "4444")));
        assert_eq!(repairs.applied(&second, &vec![Ok(true)], 8), 0);
        assert!(repairs.waiting.is_empty());
    }
}
