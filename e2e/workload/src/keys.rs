//! The keys that are read and written: so many of each table, spread over all of its shards, and none that an earlier
//! run used.

use bytes::Bytes;
use skerry_client::Key;
use skerry_core::map::Fragmentation;

/// Keys of each table: few enough that each is written and read often, enough for every shard.
const EACH: u8 = 52;
/// Length of a value, in bytes.
const VALUE_BYTES: usize = 256;
/// In every key, and in no key of imported data.
const MARK: &str = "~check";

/// A key of a table that the workload reads and writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestedKey {
    /// Name of the table.
    pub table: String,
    /// The key within the table.
    pub key: Key,
}

/// All keys of these tables in a run; another run has others.
pub fn tested_keys(tables: &[(String, Fragmentation)], run: u32) -> Vec<TestedKey> {
    let of = |(table, fragmentation): &(String, Fragmentation)| {
        let (table, fragmentation) = (table.clone(), *fragmentation);
        (0..EACH).map(move |number| TestedKey { table: table.clone(), key: key(fragmentation, run, number) })
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

/// True for keys of this kind, of any run: they lie beside imported ones.
pub fn is_tested(key: &Key) -> bool {
    let partition = &key.partition;
    partition.starts_with(MARK.as_bytes()) || partition.get(1..).is_some_and(|rest| rest.starts_with(MARK.as_bytes()))
}

/// The stored value for a number: its digits, filled up with blanks.
pub(crate) fn encode(value: u64) -> Bytes {
    let mut bytes = value.to_string().into_bytes();
    bytes.resize(VALUE_BYTES, b' ');
    bytes.into()
}

/// A value that nobody wrote becomes zero, which no write has: the check finds it.
pub(crate) fn decode(bytes: &[u8]) -> u64 {
    std::str::from_utf8(bytes).ok().and_then(|text| text.trim_end().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_are_distinct_and_told_from_imported_ones() {
        let tables = [("a".to_owned(), Fragmentation::Range), ("b".to_owned(), Fragmentation::Hash)];
        let keys = tested_keys(&tables, 7);
        let names: BTreeSet<_> = keys.iter().map(|k| (&k.table, &k.key)).collect();
        assert_eq!(names.len(), 2 * usize::from(EACH));
        assert!(keys.iter().all(|k| is_tested(&k.key)));
        assert!(!is_tested(&Key::new("AA/2013-01-01T05:00/0001/JFK")) && !is_tested(&Key::with_sort("N730MQ", "x")));
    }

    #[test]
    fn values_are_whole_and_what_is_none_is_no_write() {
        assert_eq!((encode(77).len(), decode(&encode(77))), (VALUE_BYTES, 77));
        assert_eq!(decode(b"garbage"), 0);
    }
}
