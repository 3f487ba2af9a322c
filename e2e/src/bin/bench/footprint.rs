//! What data costs beside time: a node's memory and disk with so many records, and how long it takes to serve again after
//! a crash.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::cluster::{Cluster, Engine};
use crate::skerry::{SHARDS, TABLE, connect, key, make_table, value};
use crate::{IN_FLIGHT, Settings, load};

/// The start after a crash is measured with this part of the records first, then with all of them.
const FIRST_PART: usize = 4;
/// So many of the records are overwritten at random once all are there: files that are only ever appended to flatter.
const OVERWRITTEN_PART: usize = 5;

/// Of one engine. Memory, disk and start are those of one node; where nodes differ, of the one that has most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Footprint {
    /// Keys and values that can be read.
    pub(crate) live_bytes: u64,
    /// Memory that the process holds after all writes, in bytes.
    pub(crate) resident_bytes: u64,
    /// Bytes on disk after all writes, of store and log together.
    pub(crate) disk_bytes: u64,
    /// Time of the start after a crash, with a part of the records.
    pub(crate) start_of_part: Duration,
    /// Time of the start after a crash, with all records.
    pub(crate) start_of_all: Duration,
}

impl Footprint {
    /// How many times the live data its files are.
    pub(crate) fn disk_ratio(&self) -> f64 {
        self.disk_bytes as f64 / self.live_bytes as f64
    }
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = |bytes: u64| bytes >> 20;
        write!(
            f,
            "{} MiB of records: {} MiB of memory, {} MiB of disk ({:.2} ×); serves {:.1} s after a crash, {:.1} s at 1/{FIRST_PART}",
            mebibytes(self.live_bytes),
            mebibytes(self.resident_bytes),
            mebibytes(self.disk_bytes),
            self.disk_ratio(),
            self.start_of_all.as_secs_f64(),
            self.start_of_part.as_secs_f64(),
        )
    }
}

/// One measurement, on new nodes: every node has a copy of all records.
pub(crate) async fn measure(engine: Engine, records: usize, settings: &Settings) -> Result<Footprint> {
    let mut cluster = Cluster::start(engine, 3, &settings.folder.join("skerry-footprint")).await?;
    let client = connect(&cluster).await?;
    make_table(&client, SHARDS).await?;
    let value = value(settings);
    let put = async |i: usize| {
        client.put(TABLE, key(i), value.clone()).await?;
        Ok(())
    };
    let part = records / FIRST_PART;
    load::each(IN_FLIGHT, part, put).await?;
    let start_of_part = cluster.restart_first().await.context("with a part of the records")?;
    load::each(IN_FLIGHT, records - part, async |i| put(part + i).await).await?;
    // Seeded: both engines, and every release, overwrite the same records.
    let random = RefCell::new(StdRng::seed_from_u64(1));
    let overwrite = async |_| {
        let i = random.borrow_mut().random_range(0..records);
        put(i).await
    };
    load::each(IN_FLIGHT, records / OVERWRITTEN_PART, overwrite).await?;
    // The first node has started anew since, and cached less.
    let resident_bytes = cluster.usage()?.iter().map(|u| u.resident_bytes).max().unwrap_or(0);
    let disk_bytes = cluster.disk_bytes()?;
    let start_of_all = cluster.restart_first().await.context("with all records")?;
    let record = key(0).partition.len() + value.len();
    let live_bytes = u64::try_from(records * record)?;
    Ok(Footprint { live_bytes, resident_bytes, disk_bytes, start_of_part, start_of_all })
}
