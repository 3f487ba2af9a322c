//! How many bytes a shard's records take. A pass over all of them, in the slices of the sweep, gives the exact number; from
//! then on every change is counted, and is exact where the record before was read anyway: for a condition, or in the same
//! batch. What is written blindly may take the place of a record that is counted already: of it, as large a part is counted
//! as has been new between the last two passes. How far off that may be is remembered as doubt, and much of it is a reason
//! for the next pass: no write reads only to be counted.
//!
//! Where every record is overwritten again and again, there is as much doubt after a pass as before. So passes rest eight
//! times as long as the last one has taken: they read a ninth of the time at most, however much is written.
//!
//! Copies of one shard have different numbers: only a leader passes over its records.

use bytes::Bytes;

use crate::planted::{Planted, is_planted};
use crate::record;

/// So much doubt is no reason for a pass, however small the shard is.
const DOUBT_BYTES_MIN: u64 = 64 << 10;
/// After a pass, none begins for doubt alone for so many times as long as it has taken.
const RESTS: u64 = 8;
/// All that is written, in the parts that the new part of it is counted in.
const WHOLE: u64 = 1 << 10;

/// Owner of what is known of sizes.
#[derive(Debug)]
pub(super) struct Sizes {
    /// Estimated size of all records together, in bytes.
    bytes: u64,
    /// By how much that may be off.
    doubt: u64,
    /// Of a record, as the last pass found.
    usual: u64,
    /// What the last pass has found, and what is known to have changed since. `None` = there was none.
    known: Option<i64>,
    /// Bytes written blindly since the last pass.
    blind: u64,
    /// How many parts of [`WHOLE`] of what is written blindly are new, as far as is known.
    new_parts: u64,
    pass: Option<Pass>,
    /// No pass begins for doubt alone before this time, in milliseconds on the monotonic clock.
    rests_until_ms: u64,
}

/// One count through all records of the shard.
#[derive(Debug)]
struct Pass {
    begun_ms: u64,
    /// Encoded key up to which records are counted, itself not included.
    cursor: Bytes,
    /// What was found, and is known to have changed there since.
    known: i64,
    /// Bytes written blindly to what was counted already.
    blind: u64,
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
        let (doubt, usual, known, blind, pass, rests_until_ms) = (0, 0, None, 0, None, 0);
        Self { bytes, doubt, usual, known, blind, new_parts: WHOLE, pass, rests_until_ms }
    }

    /// Bytes that all records of the shard take, about.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// True if the number may be far off, and it is time to look.
    pub(super) fn is_doubtful(&self, now_ms: u64) -> bool {
        let has_rested = now_ms >= self.rests_until_ms || is_planted(Planted::SizePassesNeverRest);
        has_rested && self.doubt > (self.bytes / 8).max(DOUBT_BYTES_MIN)
    }

    /// A record changes from `before` bytes to `after`. `None` = nobody has looked whether there is one.
    pub(super) fn changed(&mut self, key: &[u8], before: Option<u64>, after: u64) {
        let before = before.filter(|_| !is_planted(Planted::SizeOnlyRises));
        let pass = self.pass.as_mut().filter(|pass| key < &pass.cursor[..]);
        if let Some(before) = before {
            self.bytes = self.bytes.saturating_add(after).saturating_sub(before);
            let change = signed(after).saturating_sub(signed(before));
            let known = pass.map(|pass| &mut pass.known).into_iter().chain(&mut self.known);
            known.for_each(|known| *known = known.saturating_add(change));
            return;
        }
        let doubt = after.max(self.usual).max(key.len() as u64);
        self.bytes = self.bytes.saturating_add(new_of(after, self.new_parts));
        self.doubt = self.doubt.saturating_add(doubt);
        self.blind = self.blind.saturating_add(after);
        if let Some(pass) = pass {
            pass.doubt = pass.doubt.saturating_add(doubt);
            pass.blind = pass.blind.saturating_add(after);
        }
    }

    /// A slice has found so many records and bytes. `next` = where the next one begins; `None` = that were all.
    pub(super) fn counted(&mut self, (records, bytes): (u64, u64), next: Option<&Bytes>, now_ms: u64) {
        let first = Pass { begun_ms: now_ms, cursor: Bytes::new(), known: 0, blind: 0, doubt: 0, records: 0 };
        let so_far = self.pass.take().unwrap_or(first);
        let (records, known) = (so_far.records + records, so_far.known.saturating_add(signed(bytes)));
        let pass = Pass { records, known, ..so_far };
        match next {
            Some(cursor) => self.pass = Some(Pass { cursor: cursor.clone(), ..pass }),
            None => self.ends(&pass, now_ms),
        }
    }

    /// All records are counted.
    fn ends(&mut self, pass: &Pass, now_ms: u64) {
        self.rests_until_ms = now_ms.saturating_add(RESTS.saturating_mul(now_ms.saturating_sub(pass.begun_ms)));
        if is_planted(Planted::SizeOnlyRises) {
            return;
        }
        // Of what was written blindly since the last pass, this one has seen what came before it.
        let seen = self.blind.saturating_sub(pass.blind);
        if let Some(before) = self.known.filter(|_| seen > 0) {
            let new = u64::try_from(pass.known.saturating_sub(before)).unwrap_or(0);
            self.new_parts = u64::try_from(u128::from(new) * u128::from(WHOLE) / u128::from(seen))
                .map_or(WHOLE, |parts| parts.min(WHOLE));
        }
        let found = u64::try_from(pass.known).unwrap_or(0);
        self.bytes = found.saturating_add(new_of(pass.blind, self.new_parts));
        (self.known, self.blind, self.doubt) = (Some(signed(self.bytes)), 0, pass.doubt);
        self.usual = found.checked_div(pass.records).unwrap_or(0);
    }

    /// The pass under way is given up.
    pub(super) fn forget_pass(&mut self) {
        self.pass = None;
    }
}

/// What is new of so many bytes that were written blindly, about.
fn new_of(bytes: u64, new_parts: u64) -> u64 {
    u64::try_from(u128::from(bytes) * u128::from(new_parts) / u128::from(WHOLE)).unwrap_or(bytes)
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
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
        assert_eq!((sizes.bytes(), sizes.is_doubtful(0)), (0, false));
    }

    #[test]
    fn what_is_written_blindly_is_counted_twice_until_a_pass_and_brings_one_about() {
        let mut sizes = Sizes::new(0);
        let mut writes = 0;
        while !sizes.is_doubtful(0) {
            sizes.changed(b"a", None, 1_000);
            writes += 1;
        }
        assert_eq!(writes, DOUBT_BYTES_MIN / 1_000 + 1);
        sizes.counted((1, 1_000), None, 0);
        assert_eq!((sizes.bytes(), sizes.is_doubtful(0)), (1_000, false));
        // A delete may take away as much as a record usually has.
        for _ in 0..writes {
            sizes.changed(b"a", None, 0);
        }
        assert!(sizes.is_doubtful(0));
    }

    #[test]
    fn a_pass_is_exact_over_changes_on_both_sides_of_it() {
        // a, b, c, d with ten bytes each; the first slice has looked at a and b.
        let mut sizes = Sizes::new(777);
        sizes.counted((2, 20), Some(&cursor(b"c")), 0);
        sizes.changed(b"a", Some(10), 15);
        sizes.changed(b"b", Some(10), 0);
        // The slice to come finds these as they are then.
        sizes.changed(b"c", Some(10), 99);
        sizes.changed(b"d", None, 0);
        sizes.counted((1, 99), None, 0);
        assert_eq!((sizes.bytes(), sizes.doubt), (15 + 99, 0));
    }

    #[test]
    fn a_pass_that_is_given_up_changes_nothing() {
        let mut sizes = Sizes::new(777);
        sizes.counted((2, 20), Some(&cursor(b"c")), 0);
        sizes.forget_pass();
        sizes.counted((3, 30), None, 0);
        assert_eq!(sizes.bytes(), 30);
    }

    /// A thousand records, each of which is overwritten blindly four times as fast as a pass goes over them. In how many of
    /// so many periods a pass reads, and the highest number of bytes that is told once the second pass is over.
    fn overwritten_for(periods: u64) -> (u64, u64) {
        const RECORDS: u64 = 1_000;
        const BYTES: u64 = 1_000;
        let key = |number: u64| Bytes::from(format!("{:04}", number % RECORDS));
        let mut sizes = Sizes::new(RECORDS * BYTES);
        let (mut cursor, mut reads, mut passes, mut most) = (0, 0, 0, 0);
        for period in 0..periods {
            (0..40).for_each(|number| sizes.changed(&key((period * 40 + number) * 7), None, BYTES));
            if cursor > 0 || sizes.is_doubtful(period * 50) {
                cursor += 10;
                let next = (cursor < RECORDS).then(|| key(cursor));
                sizes.counted((10, 10 * BYTES), next.as_ref(), period * 50);
                reads += 1;
                passes += u64::from(next.is_none());
                cursor %= RECORDS;
            }
            most = most.max(if passes < 2 { 0 } else { sizes.bytes() });
        }
        (reads, most)
    }

    #[test]
    fn passes_rest_where_all_is_overwritten_for_ever_and_what_is_told_stays_true() {
        let (reads, most) = overwritten_for(20_000);
        assert!((300..=20_000 / 8).contains(&reads), "{reads}");
        assert!((1_000_000..=1_100_000).contains(&most), "{most}");
    }

    #[test]
    fn what_is_written_blindly_counts_by_how_much_of_it_was_new_the_last_time() {
        let mut sizes = Sizes::new(0);
        sizes.counted((10, 1_000), None, 0);
        // Half of this is new.
        (0..8).for_each(|_| sizes.changed(b"a", None, 100));
        sizes.counted((14, 1_400), None, 0);
        (0..8).for_each(|_| sizes.changed(b"a", None, 100));
        assert_eq!(sizes.bytes(), 1_800);
        // All of this, and what is known to change is no part of it.
        sizes.changed(b"b", Some(100), 0);
        sizes.counted((21, 2_100), None, 0);
        sizes.changed(b"a", None, 100);
        assert_eq!(sizes.bytes(), 2_200);
    }

    #[cfg(feature = "planted")]
    #[test]
    fn passes_that_never_rest_are_noticed() {
        crate::planted::plant(Some(Planted::SizePassesNeverRest));
        let (reads, _) = overwritten_for(20_000);
        crate::planted::plant(None);
        assert!(reads > 19_000, "{reads}");
    }
}
