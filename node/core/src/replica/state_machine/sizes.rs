//! How many bytes a shard's records take. A pass over all of them, in the slices of the sweep, gives the exact number; from
//! then on every change is counted, and is exact where the record before was read anyway: for a condition, or in the same
//! batch. What is written blindly may take the place of a record that is counted already. That is remembered as doubt, and
//! much of it is a reason for the next pass: no write reads only to be counted.
//!
//! Copies of one shard have different numbers: only a leader passes over its records.

use bytes::Bytes;

use crate::planted::{Planted, is_planted};
use crate::record;

/// So much doubt is no reason for a pass, however small the shard is.
const DOUBT_BYTES_MIN: u64 = 64 << 10;

/// Owner of what is known of sizes.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    /// Estimated size of all records together, in bytes.
    bytes: u64,
    /// By how much that may be too high.
    doubt: u64,
    /// Of a record, as the last pass found.
    usual: u64,
    pass: Option<Pass>,
}

/// One count through all records of the shard.
#[derive(Debug)]
struct Pass {
    /// Encoded key up to which records are counted, itself not included.
    cursor: Bytes,
    bytes: u64,
    doubt: u64,
    records: u64,
}

/// What a record takes under its key in the store; nothing if it is a tombstone.
pub(super) fn size_of(key: &[u8], stored: &[u8]) -> u64 {
    if record::is_tombstone(stored) { 0 } else { (key.len() + stored.len()) as u64 }
}

impl Sizes {
    /// So many bytes, as was counted or estimated before.
    pub(super) fn new(bytes: u64) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// Bytes that all records of the shard take, about.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// True if the number may be far off.
    pub(super) fn is_doubtful(&self) -> bool {
        self.doubt > (self.bytes / 8).max(DOUBT_BYTES_MIN)
    }

    /// A record changes from `before` bytes to `after`. `None` = nobody has looked whether there is one.
    pub(super) fn changed(&mut self, key: &[u8], before: Option<u64>, after: u64) {
        let before = before.filter(|_| !is_planted(Planted::SizeOnlyRises));
        let doubt = if before.is_none() { after.max(self.usual).max(key.len() as u64) } else { 0 };
        let change = |bytes: &mut u64, doubts: &mut u64| {
            *bytes = bytes.saturating_add(after).saturating_sub(before.unwrap_or(0));
            *doubts = doubts.saturating_add(doubt);
        };
        change(&mut self.bytes, &mut self.doubt);
        if let Some(pass) = self.pass.as_mut().filter(|pass| key < &pass.cursor[..]) {
            change(&mut pass.bytes, &mut pass.doubt);
        }
    }

    /// A slice has found so many records and bytes. `next` = where the next one begins; `None` = that were all.
    pub(super) fn counted(&mut self, (records, bytes): (u64, u64), next: Option<&Bytes>) {
        let so_far = self.pass.take().unwrap_or(Pass { cursor: Bytes::new(), bytes: 0, doubt: 0, records: 0 });
        let (records, bytes) = (so_far.records + records, so_far.bytes + bytes);
        match next {
            Some(cursor) => self.pass = Some(Pass { cursor: cursor.clone(), bytes, records, ..so_far }),
            None if is_planted(Planted::SizeOnlyRises) => {}
            None => {
                (self.bytes, self.doubt) = (bytes, so_far.doubt);
                self.usual = bytes.checked_div(records).unwrap_or(0);
            }
        }
    }

    /// The pass under way is given up.
    pub(super) fn forget_pass(&mut self) {
        self.pass = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(key: &'static [u8]) -> Bytes {
        Bytes::from_static(key)
    }

    #[test]
    fn what_is_known_of_the_record_before_is_taken_off() {
        let mut sizes = Sizes::new(0);
        sizes.changed(b"a", Some(0), 100);
        sizes.changed(b"a", Some(100), 30);
        assert_eq!(sizes.bytes(), 30);
        sizes.changed(b"a", Some(30), 0);
        assert_eq!((sizes.bytes(), sizes.is_doubtful()), (0, false));
    }

    #[test]
    fn what_is_written_blindly_is_counted_twice_until_a_pass_and_brings_one_about() {
        let mut sizes = Sizes::new(0);
        let mut writes = 0;
        while !sizes.is_doubtful() {
            sizes.changed(b"a", None, 1_000);
            writes += 1;
        }
        assert_eq!(writes, DOUBT_BYTES_MIN / 1_000 + 1);
        sizes.counted((1, 1_000), None);
        assert_eq!((sizes.bytes(), sizes.is_doubtful()), (1_000, false));
        // A delete may take away as much as a record usually has.
        for _ in 0..writes {
            sizes.changed(b"a", None, 0);
        }
        assert!(sizes.is_doubtful());
    }

    #[test]
    fn a_pass_is_exact_over_changes_on_both_sides_of_it() {
        // a, b, c, d with ten bytes each; the first slice has looked at a and b.
        let mut sizes = Sizes::new(777);
        sizes.counted((2, 20), Some(&cursor(b"c")));
        sizes.changed(b"a", Some(10), 15);
        sizes.changed(b"b", Some(10), 0);
        // The slice to come finds these as they are then.
        sizes.changed(b"c", Some(10), 99);
        sizes.changed(b"d", None, 0);
        sizes.counted((1, 99), None);
        assert_eq!((sizes.bytes(), sizes.doubt), (15 + 99, 0));
    }

    #[test]
    fn a_pass_that_is_given_up_changes_nothing() {
        let mut sizes = Sizes::new(777);
        sizes.counted((2, 20), Some(&cursor(b"c")));
        sizes.forget_pass();
        sizes.counted((3, 30), None);
        assert_eq!(sizes.bytes(), 30);
    }
}
