//! The data that is imported: the 336,776 flights that left New York in 2013, in the order of the months.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;

use anyhow::{Context, Result, ensure};
use flate2::read::MultiGzDecoder;
use skerry_client::Key;
use skerry_core::map::Fragmentation;

macro_rules! months {
    ($($month:literal)*) => {
        [$(include_bytes!(concat!("../../../examples/data/flights-2013-", $month, ".csv.gz")) as &[u8]),*]
    };
}

const MONTHS: [&[u8]; 12] = months!("01" "02" "03" "04" "05" "06" "07" "08" "09" "10" "11" "12");

/// The first so many flights, each a line of CSV.
pub(super) fn flights(count: usize) -> Result<Vec<String>> {
    let mut flights = Vec::with_capacity(count);
    for month in MONTHS {
        let mut text = String::new();
        MultiGzDecoder::new(month).read_to_string(&mut text).context("failed to unpack the flights")?;
        let header = 1;
        flights.extend(text.lines().skip(header).take(count - flights.len()).map(str::to_owned));
    }
    ensure!(flights.len() == count, "{count} flights were asked for, and there are {}", flights.len());
    Ok(flights)
}

/// Parses a line of the flights' data.
pub(super) fn row(flight: &str) -> Result<Row<'_>> {
    let columns: Vec<&str> = flight.split(',').collect();
    // As in the header of the data.
    let [year, month, day, _, _, _, _, _, _, carrier, number, tailnum, origin, _, _, _, hour, minute, _] = columns[..]
    else {
        anyhow::bail!("a row of the flights has {} columns", columns.len());
    };
    let time = format!("{year}-{month:0>2}-{day:0>2}T{hour:0>2}:{minute:0>2}");
    let tailnum = if tailnum.is_empty() { "none" } else { tailnum };
    Ok(Row { time, carrier, number, tailnum, origin, source: flight })
}

/// The flights in batches, each of one group.
pub(super) fn batches(flights: &[String], of: Fragmentation, length: usize) -> Result<Vec<Vec<&str>>> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for flight in flights {
        groups.entry(row(flight)?.group(of)).or_default().push(flight);
    }
    Ok(groups.values().flat_map(|group| group.chunks(length)).map(<[&str]>::to_vec).collect())
}

/// The columns of a flight that its keys are made from.
#[derive(Debug)]
pub(super) struct Row<'a> {
    time: String,
    carrier: &'a str,
    number: &'a str,
    tailnum: &'a str,
    origin: &'a str,
    source: &'a str,
}

impl<'a> Row<'a> {
    /// By aircraft in a hash table, by carrier in a range table.
    pub(super) fn key(&self, fragmentation: Fragmentation) -> Key {
        let Self { time, carrier, number, tailnum, origin, .. } = self;
        match fragmentation {
            Fragmentation::Hash => {
                Key::with_sort((*tailnum).to_owned(), format!("{time}/{carrier}/{number:0>4}/{origin}"))
            }
            Fragmentation::Range => Key::new(format!("{carrier}/{time}/{number:0>4}/{origin}")),
        }
    }

    /// What rows that are written together have in common: they lie in one shard, since a range table is cut by letters.
    pub(super) fn group(&self, fragmentation: Fragmentation) -> &'a str {
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

    const ALL: usize = 336_776;

    #[test]
    fn every_flight_has_a_key_of_its_own_in_both_kinds_of_table() {
        let flights = flights(ALL).unwrap();
        for fragmentation in [Fragmentation::Range, Fragmentation::Hash] {
            let keys: BTreeSet<Key> = flights.iter().map(|f| row(f).unwrap().key(fragmentation)).collect();
            assert_eq!(keys.len(), ALL);
            let batches = batches(&flights, fragmentation, 100).unwrap();
            assert!(batches.iter().all(|b| b.len() <= 100));
            let batched = batches.concat();
            assert_eq!(batched.len(), ALL);
            assert!(batched.into_iter().collect::<BTreeSet<_>>() == flights.iter().map(String::as_str).collect());
        }
    }

    #[test]
    fn more_flights_than_there_were_are_refused() {
        assert_eq!(flights(30_000).unwrap().len(), 30_000);
        let refused = flights(ALL + 1).unwrap_err().to_string();
        assert_eq!(refused, "336777 flights were asked for, and there are 336776");
    }
}
