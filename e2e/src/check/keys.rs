//! The keys that are read and written: so many of each table, spread over all of its shards, and none that an earlier
//! run used.

use bytes::Bytes;
use skerry_client::Key;
use skerry_core::map::Fragmentation;

/// Keys of each table: few enough that each is written and read often, enough for every shard.
const EACH: u8 = 52;
/// Bytes of a value.
const VALUE_BYTES: usize = 256;
/// In every key, and in no key of imported data.
const MARK: &str = "~check";

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Of which table.
    pub(super) table: String,
    /// The key.
    pub(super) key: Key,
}

/// All keys of these tables in this run.
pub(super) fn places(tables: &[(String, Fragmentation)], run: u32) -> Vec<Place> {
    let of = |(table, fragmentation): &(String, Fragmentation)| {
        let (table, fragmentation) = (table.clone(), *fragmentation);
        (0..EACH).map(move |number| Place { table: table.clone(), key: key(fragmentation, run, number) })
    };
    tables.iter().flat_map(of).collect()
}

/// A range table is cut by letters, so its keys begin with each of them in turn.
fn key(fragmentation: Fragmentation, run: u32, number: u8) -> Key {
    match fragmentation {
        Fragmentation::Range => {
            let letter = char::from(b'A' + number % 26);
            Key::new(format!("{letter}{MARK}/{run:08x}/{number:02}"))
        }
        Fragmentation::Hash => Key::with_sort(format!("{MARK}/{run:08x}/{number:02}"), "load"),
    }
}

/// True for keys of this kind, of any run.
pub(super) fn is_of_check(key: &Key) -> bool {
    let partition = &key.partition;
    partition.starts_with(MARK.as_bytes()) || partition.get(1..).is_some_and(|rest| rest.starts_with(MARK.as_bytes()))
}

/// The number, then filler.
pub(super) fn encode(value: u64) -> Bytes {
    let mut bytes = value.to_string().into_bytes();
    bytes.resize(VALUE_BYTES, b' ');
    bytes.into()
}

/// A value that nobody wrote becomes zero, which no write has: the check finds it.
pub(super) fn decode(bytes: &[u8]) -> u64 {
    std::str::from_utf8(bytes).ok().and_then(|text| text.trim_end().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_are_distinct_and_told_from_imported_ones() {
        let tables = [("a".to_owned(), Fragmentation::Range), ("b".to_owned(), Fragmentation::Hash)];
        let places = places(&tables, 7);
        let names: BTreeSet<_> = places.iter().map(|p| (&p.table, &p.key)).collect();
        assert_eq!(names.len(), 2 * usize::from(EACH));
        assert!(places.iter().all(|p| is_of_check(&p.key)));
        assert!(
            !is_of_check(&Key::new("AA/2013-01-01T05:00/0001/JFK")) && !is_of_check(&Key::with_sort("N730MQ", "x"))
        );
    }

    #[test]
    fn values_are_whole_and_what_is_none_is_no_write() {
        assert_eq!((encode(77).len(), decode(&encode(77))), (VALUE_BYTES, 77));
        assert_eq!(decode(b"garbage"), 0);
    }
}
