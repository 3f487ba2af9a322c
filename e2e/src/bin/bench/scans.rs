//! What a reader of all records costs those who write: how long the slowest hundredth of the writes takes beside it, and
//! without it.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use anyhow::Result;
use rand::Rng;
use skerry_client::{Client, ScanOptions, ScanRange};

use crate::cluster::{Cluster, Engine};
use crate::skerry::{SHARDS, TABLE, connect, key, make_table, value, wait_for_spread_leaders};
use crate::{IN_FLIGHT, Settings, load};

/// More than what a scan gets through while the writes are measured.
const RECORDS: usize = 1_000_000;

/// How scans slow writes down, measured with one engine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scans {
    /// 99 of 100 writes took no longer, with nobody scanning.
    pub(crate) without_p99: Duration,
    /// The same, with one client that scans the table from beginning to end again and again.
    pub(crate) beside_p99: Duration,
    /// Records that the scanning client got each second.
    pub(crate) records_per_second: f64,
}

impl Scans {
    /// How many times as long the slowest writes take.
    pub(crate) fn ratio(&self) -> f64 {
        self.beside_p99.as_secs_f64() / self.without_p99.as_secs_f64()
    }
}

impl fmt::Display for Scans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "write p99 {:.1} ms, {:.1} ms beside a scan of {:.0} records/s",
            self.without_p99.as_secs_f64() * 1e3,
            self.beside_p99.as_secs_f64() * 1e3,
            self.records_per_second,
        )
    }
}

/// Makes one measurement, on new nodes.
pub(crate) async fn measure(engine: Engine, settings: &Settings) -> Result<Scans> {
    let cluster = Cluster::start(engine, 3, &settings.folder.join("skerry-scans")).await?;
    let client = connect(&cluster).await?;
    make_table(&client, SHARDS).await?;
    wait_for_spread_leaders(&client).await?;
    let value = value(settings);
    let put = async |i: usize| {
        client.put(TABLE, key(i), value.clone()).await?;
        Ok(())
    };
    load::each(IN_FLIGHT, RECORDS, put).await?;
    let overwrite = async || put(rand::rng().random_range(0..RECORDS)).await;
    let without = load::for_a_while(IN_FLIGHT, settings.length, overwrite).await?;
    let is_over = Cell::new(false);
    let writes = async {
        let writes = load::for_a_while(IN_FLIGHT, settings.length, overwrite).await;
        is_over.set(true);
        writes
    };
    let (beside, scanned) = tokio::try_join!(writes, scan(&client, &is_over))?;
    Ok(Scans {
        without_p99: without.p99,
        beside_p99: beside.p99,
        records_per_second: scanned as f64 / settings.length.as_secs_f64(),
    })
}

/// Reads the table again and again, and counts the records.
async fn scan(client: &Client, is_over: &Cell<bool>) -> Result<usize> {
    let mut records = 0;
    while !is_over.get() {
        let mut scan = client.scan(TABLE, ScanRange::All, ScanOptions::default()).await?;
        while !is_over.get()
            && let Some(page) = scan.next_page().await?
        {
            records += page.len();
        }
    }
    Ok(records)
}
