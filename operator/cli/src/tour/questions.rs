//! The tour's questions of the imported data, each held against the file.

use std::collections::BTreeMap;

use futures::StreamExt;
use skerry_client::{Client, Key, Record, ScanOptions, ScanRange};
use skerry_core::node::Status;
use skerry_operator_core::shards_now;
use skerry_workload::is_tested;

use super::flights::{BY_AIRCRAFT, BY_CARRIER, Flight, busiest, carrier_of, of_carriers};
use crate::failure::{Failure, Outcome};
use crate::view::size;

/// All flights of one aircraft: one partition, so one shard, on one node.
pub(crate) async fn one_aircraft(client: &Client, status: &Status, flights: &[Flight]) -> Outcome<String> {
    let (aircraft, expected) = busiest(flights);
    let range =
        ScanRange::Partition { partition: aircraft.clone().into(), sort_start: bytes::Bytes::new(), sort_end: None };
    let found = scan(client, BY_AIRCRAFT, range).await?;
    let departures: Vec<&[u8]> = found.iter().map(|r| r.key.sort.as_ref()).collect();
    if found.len() != expected || !departures.is_sorted() {
        return Err(Failure::new(format!(
            "{aircraft} has {expected} flights in the file, the database gave {}",
            found.len()
        )));
    }
    let place = place_of(status, &aircraft)?;
    Ok(format!("{aircraft}: {expected} flights in order of time, as in the file, from {place}"))
}

/// Carriers A to D: a range, in the order of the carriers.
pub(crate) async fn carriers_a_to_d(client: &Client, flights: &[Flight]) -> Outcome<String> {
    let expected = of_carriers(flights, "A", "E");
    let found = scan(client, BY_CARRIER, ScanRange::Keys { start: "A".into(), end: Some("E".into()) }).await?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for record in &found {
        *counts.entry(carrier_of(&String::from_utf8_lossy(&record.key.partition)).to_owned()).or_default() += 1;
    }
    if counts != expected {
        return Err(Failure::new(format!(
            "carriers A to D have {expected:?} flights in the file, the database gave {counts:?}"
        )));
    }
    let all = size::count(found.len() as u64);
    let each: Vec<String> =
        counts.iter().map(|(carrier, count)| format!("{carrier} {}", size::count(*count as u64))).collect();
    Ok(format!("{all} flights, as in the file: {}", each.join(", ")))
}

/// Reads both tables back, all of them; gives how many of the file's rows are there with their value.
pub(crate) async fn rows_back(client: &Client, flights: &[Flight], mut told: impl FnMut(u64)) -> Outcome<u64> {
    let mut back = 0;
    for table in [BY_AIRCRAFT, BY_CARRIER] {
        let key = |flight: &Flight| match table {
            BY_AIRCRAFT => Key::with_sort(flight.aircraft.clone(), flight.departure.clone()),
            _ => Key::new(flight.by_carrier.clone()),
        };
        let mut expected: BTreeMap<Key, &str> = flights.iter().map(|f| (key(f), f.value.as_str())).collect();
        let mut pages = client.scan(table, ScanRange::All, ScanOptions::default()).await?.into_stream().boxed();
        while let Some(page) = pages.next().await {
            for record in page? {
                if expected.get(&record.key).is_some_and(|value| value.as_bytes() == record.value) {
                    expected.remove(&record.key);
                    back += 1;
                }
            }
            told(back);
        }
    }
    Ok(back)
}

async fn scan(client: &Client, table: &str, range: ScanRange) -> Outcome<Vec<Record>> {
    let mut scan = client.scan(table, range, ScanOptions::default()).await?;
    let mut records = Vec::new();
    while let Some(page) = scan.next_page().await? {
        records.extend(page.into_iter().filter(|r| !is_tested(&r.key)));
    }
    Ok(records)
}

/// The shard that holds a partition, and the node that answers for it.
fn place_of(status: &Status, partition: &str) -> Outcome<String> {
    let unknown = || Failure::new(format!("the shard map has no {BY_AIRCRAFT}"));
    let table = status.map.table_named(BY_AIRCRAFT).ok_or_else(unknown)?;
    let key = skerry_core::key::encode(table.fragmentation, partition.as_bytes(), b"")?;
    let id = status.map.route(table.id, &key).ok_or_else(unknown)?.descriptor.shard;
    let shards = shards_now(status);
    let leader = shards.iter().find(|s| s.descriptor.shard == id).and_then(|s| s.leader());
    let leader = leader.map_or_else(|| "its leader".to_owned(), |n| n.to_string());
    Ok(format!("one node ({leader}), by one scan of one shard ({id})"))
}
