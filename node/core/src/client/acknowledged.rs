//! What quorum tables have acknowledged of a client's writes, key by key.
//!
//! Where the last writer wins, a write is placed by the time of its issue. So a later write of a key must not be issued
//! below what the client knows to be acknowledged of it, whatever clocks show: it would be acknowledged as well, and lost.
//! That concerns this key alone. Were the highest version kept for all keys, one that a wrong clock has lifted would keep
//! the client from writing any other one until clocks have come so far.

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::ids::TableId;
use crate::time::Version;

/// Keys that are remembered. The ones with the lowest versions are forgotten first: clocks have passed those, or will soon.
/// Of a key that is forgotten the order of two writes is that of the clocks by which they were issued.
pub const KEYS_MAX: usize = 4_096;

/// The highest version that was acknowledged of each of the keys that a client wrote last.
///
/// Keys are known by a hash of 64 bits. Two that have the same share the higher version, which does no harm: the one with
/// the lower version is issued later than it need be, or refused for as long as the other one would be. No write comes
/// before one that it has to follow.
#[derive(Debug, Default)]
pub struct Acknowledged {
    versions: BTreeMap<u64, Version>,
    /// The same pairs, lowest versions first.
    by_version: BTreeSet<(Version, u64)>,
}

impl Acknowledged {
    /// Notes that a write of a key was acknowledged at a version.
    pub fn note(&mut self, table: TableId, key: &[u8], version: Version) {
        let name = name(table, key);
        let before = self.versions.get(&name).copied();
        if before.is_some_and(|before| before >= version) {
            return;
        }
        if let Some(before) = before {
            self.by_version.remove(&(before, name));
        }
        self.versions.insert(name, version);
        self.by_version.insert((version, name));
        if self.versions.len() > KEYS_MAX
            && let Some((_, lowest)) = self.by_version.pop_first()
        {
            self.versions.remove(&lowest);
        }
    }

    /// The highest version that was acknowledged of any of these keys; 0 = none is remembered.
    pub fn highest<'a>(&self, table: TableId, keys: impl Iterator<Item = &'a [u8]>) -> Version {
        if self.versions.is_empty() {
            return Version::default();
        }
        keys.filter_map(|key| self.versions.get(&name(table, key)).copied()).max().unwrap_or_default()
    }
}

fn name(table: TableId, key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, table.0.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: TableId = TableId(7);

    fn of(acknowledged: &Acknowledged, table: TableId, key: &str) -> Version {
        acknowledged.highest(table, [key.as_bytes()].into_iter())
    }

    #[test]
    fn a_key_that_a_wrong_clock_has_lifted_lifts_no_other() {
        let (mut acknowledged, day) = (Acknowledged::default(), Version::at_ms(24 * 3_600_000));
        acknowledged.note(TABLE, b"lifted", day);
        acknowledged.note(TABLE, b"plain", Version(5));
        acknowledged.note(TABLE, b"lifted", Version(6));
        assert_eq!(of(&acknowledged, TABLE, "lifted"), day);
        assert_eq!(of(&acknowledged, TABLE, "plain"), Version(5));
        assert_eq!(of(&acknowledged, TableId(8), "lifted"), Version(0), "another table's key");
        let both = [&b"plain"[..], b"lifted", b"unknown"];
        assert_eq!(acknowledged.highest(TABLE, both.into_iter()), day);
    }

    #[test]
    fn it_is_bounded_and_forgets_first_what_clocks_have_passed() {
        let (mut acknowledged, lifted) = (Acknowledged::default(), Version(u64::MAX));
        acknowledged.note(TABLE, b"lifted", lifted);
        for number in 1..=3 * KEYS_MAX as u64 {
            acknowledged.note(TABLE, &number.to_be_bytes(), Version(number));
        }
        assert_eq!((acknowledged.versions.len(), acknowledged.by_version.len()), (KEYS_MAX, KEYS_MAX));
        assert_eq!(of(&acknowledged, TABLE, "lifted"), lifted);
        let last = 3 * KEYS_MAX as u64;
        let of_number = |number: u64| acknowledged.highest(TABLE, [&number.to_be_bytes()[..]].into_iter());
        assert_eq!((of_number(1), of_number(last)), (Version(0), Version(last)));
    }
}
