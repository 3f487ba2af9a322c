//! The data that is imported: the flights of January 2013, again for each month until there are as many rows as wanted.
//! A year's 336,776 flights are so stood in for by twelve months and a half of January's.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;

use anyhow::{Context, Result};
use flate2::read::MultiGzDecoder;
use skerry_client::Key;
use skerry_core::map::Fragmentation;

const DATA: &[u8] = include_bytes!("../../../examples/data/flights-2013-01.csv.gz");
/// The year of the data's rows.
const YEAR: usize = 2013;

/// January's rows, without the header.
pub(super) fn january() -> Result<Vec<String>> {
    let mut text = String::new();
    MultiGzDecoder::new(DATA).read_to_string(&mut text).context("failed to unpack the flights")?;
    Ok(text.lines().skip(1).map(str::to_owned).collect())
}

/// The row of this number: January's rows over and over, each time with the next month's date.
pub(super) fn row(january: &[String], number: usize) -> Result<Row<'_>> {
    let source = &january[number % january.len()];
    let columns: Vec<&str> = source.split(',').collect();
    // As in the header of the data.
    let [_, _, day, _, _, _, _, _, _, carrier, flight, tailnum, origin, _, _, _, hour, minute, _] = columns[..] else {
        anyhow::bail!("a row of the flights has {} columns", columns.len());
    };
    let months = number / january.len();
    let (year, month) = (YEAR + months / 12, 1 + months % 12);
    let time = format!("{year}-{month:02}-{day:0>2}T{hour:0>2}:{minute:0>2}");
    let tailnum = if tailnum.is_empty() { "none" } else { tailnum };
    Ok(Row { time, carrier, flight, tailnum, origin, source })
}

/// The numbers of so many rows, in batches of rows of one group.
pub(super) fn batches(january: &[String], rows: usize, of: Fragmentation, length: usize) -> Result<Vec<Vec<usize>>> {
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for number in 0..rows {
        groups.entry(row(january, number)?.group(of).to_owned()).or_default().push(number);
    }
    Ok(groups.values().flat_map(|group| group.chunks(length)).map(<[usize]>::to_vec).collect())
}

/// What keys are made from.
#[derive(Debug)]
pub(super) struct Row<'a> {
    time: String,
    carrier: &'a str,
    flight: &'a str,
    tailnum: &'a str,
    origin: &'a str,
    source: &'a str,
}

impl Row<'_> {
    /// By aircraft in a hash table, by carrier in a range table.
    pub(super) fn key(&self, fragmentation: Fragmentation) -> Key {
        let Self { time, carrier, flight, tailnum, origin, .. } = self;
        match fragmentation {
            Fragmentation::Hash => {
                Key::with_sort((*tailnum).to_owned(), format!("{time}/{carrier}/{flight:0>4}/{origin}"))
            }
            Fragmentation::Range => Key::new(format!("{carrier}/{time}/{flight:0>4}/{origin}")),
        }
    }

    /// What rows that are written together have in common: they lie in one shard, since a range table is cut by letters.
    pub(super) fn group(&self, fragmentation: Fragmentation) -> &str {
        match fragmentation {
            Fragmentation::Hash => self.tailnum,
            Fragmentation::Range => self.carrier,
        }
    }

    /// The row as it is in the data.
    pub(super) fn value(&self) -> Vec<u8> {
        self.source.as_bytes().to_vec()
    }
}

/// Of records in any order: equal sums and numbers, equal records.
pub(super) fn mark(key: &Key, value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&key.partition[..], &key.sort[..], value).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_year_of_rows_has_keys_of_their_own_in_both_kinds_of_table() {
        let january = january().unwrap();
        assert_eq!(january.len(), 27_004);
        for fragmentation in [Fragmentation::Range, Fragmentation::Hash] {
            let keys: BTreeSet<Key> = (0..336_776).map(|n| row(&january, n).unwrap().key(fragmentation)).collect();
            assert_eq!(keys.len(), 336_776);
            let batches = batches(&january, 60_000, fragmentation, 100).unwrap();
            assert!(batches.iter().all(|b| b.len() <= 100));
            assert_eq!(batches.concat().into_iter().collect::<BTreeSet<_>>(), (0..60_000).collect());
        }
    }
}
