//! Quorum tables: writes a second beside those of a leader table, what clients notice of a copy that is killed, and what it
//! costs to make two copies equal that differ in few records.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use rand::Rng;
use skerry_client::{Client, Key, PutOptions};
use skerry_core::map::{Fragmentation, Quorums};
use skerry_core::quorum::shown::Resolve;
use skerry_core::system::{AdminChange, Fence, SystemCommand};

use crate::cluster::{Cluster, Engine};
use crate::process::wait_until;
use crate::skerry::{SHARDS, TABLE, active, connect, key, spread, value};
use crate::{IN_FLIGHT, Settings, load};

/// For the table to be there, and its copies to compare.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);
/// Comparing all of a large table after a start.
const EQUAL_LIMIT: Duration = Duration::from_secs(600);
/// Two of three copies take a write, and two are asked to read.
const TWO: Quorums = Quorums { write: 2, read: 2 };
/// Writes in flight while a copy is killed: few enough that each is told apart from the others' queues.
const WRITERS: usize = 32;
/// Length of a record's value in the tables that are compared.
const COMPARED_VALUE_BYTES: usize = 1_024;
/// Records in which the two copies differ.
const DIFFERING: usize = 100;

/// Acknowledged writes a second at W=2 of 3 copies, many in flight.
pub(crate) async fn writes(engine: Engine, settings: &Settings) -> Result<f64> {
    let cluster = Cluster::start(engine, 3, &settings.folder.join("skerry-quorum")).await?;
    let client = connect(&cluster).await?;
    make_table(&client, 3, TWO).await?;
    let value = value(settings);
    let put = async |i: usize| {
        client.put(TABLE, key(i), value.clone()).await?;
        Ok(())
    };
    load::each(IN_FLIGHT, settings.keys, put).await?;
    let overwrite = async || put(rand::rng().random_range(0..settings.keys)).await;
    Ok(load::for_a_while(IN_FLIGHT, settings.length, overwrite).await?.per_second)
}

/// What clients notice when one of three copies is killed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Killed {
    /// Writes that were begun.
    pub(crate) writes: u64,
    /// How many of them were not acknowledged.
    pub(crate) errors: u64,
    /// The longest that one took.
    pub(crate) longest: Duration,
}

impl fmt::Display for Killed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { writes, errors, longest } = self;
        write!(f, "{writes} writes at W=2, {errors} errors, the longest took {:.3} s", longest.as_secs_f64())
    }
}

/// Writes go on while a node is killed.
pub(crate) async fn killed(engine: Engine, settings: &Settings) -> Result<Killed> {
    let mut cluster = Cluster::start(engine, 3, &settings.folder.join("skerry-quorum-killed")).await?;
    let client = connect(&cluster).await?;
    make_table(&client, 3, TWO).await?;
    let victim = cluster.addresses().pop().context("no node was started")?;
    let value = value(settings);
    let found = RefCell::new(Killed { writes: 0, errors: 0, longest: Duration::ZERO });
    let put = async || {
        let begin = Instant::now();
        let written = client.put(TABLE, key(rand::rng().random_range(0..settings.keys)), value.clone()).await;
        let mut found = found.borrow_mut();
        found.writes += 1;
        found.errors += u64::from(written.is_err());
        found.longest = found.longest.max(begin.elapsed());
        Ok(())
    };
    let kill = async {
        tokio::time::sleep(settings.length / 4).await;
        cluster.kill(&victim)
    };
    tokio::try_join!(load::for_a_while(WRITERS, settings.length, put), kill)?;
    Ok(found.into_inner())
}

/// What it took to make two copies equal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compared {
    /// Keys and values that each of them has.
    pub(crate) held_bytes: u64,
    /// Bytes that they sent each other: sums, hashes, and the records that the other one lacked.
    pub(crate) sent_bytes: u64,
    /// Records that they sent.
    pub(crate) sent_records: u64,
    /// From the start of their nodes.
    pub(crate) took: Duration,
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { held_bytes, sent_bytes, sent_records, took } = self;
        write!(
            f,
            "two copies of {} MiB that differ in {DIFFERING} records: equal {:.1} s after the start, {sent_records} records and {} KiB sent",
            held_bytes >> 20,
            took.as_secs_f64(),
            sent_bytes >> 10
        )
    }
}

/// Two copies of so many bytes come to differ, and nobody remembers in what.
pub(crate) async fn compared(engine: Engine, mebibytes: usize, settings: &Settings) -> Result<Compared> {
    let mut cluster = Cluster::start(engine, 2, &settings.folder.join("skerry-quorum-compared")).await?;
    let client = connect(&cluster).await?;
    make_table(&client, 2, Quorums { write: 1, read: 1 }).await?;
    let record = key(0).partition.len() + COMPARED_VALUE_BYTES;
    let records = (mebibytes << 20).div_ceil(record);
    let settings = Settings { value_bytes: COMPARED_VALUE_BYTES, ..settings.clone() };
    let first = value(&settings);
    let on_both = async |i: usize| {
        let options = PutOptions { copies: Some(2), ..PutOptions::default() };
        client.put_with(TABLE, key(i), first.clone(), options).await?;
        Ok(())
    };
    load::each(IN_FLIGHT, records, on_both).await?;
    let addresses = cluster.addresses();
    let [stays, away] = &addresses[..] else { anyhow::bail!("there are not two nodes") };
    cluster.kill(away)?;
    let differing: Vec<Key> = (0..DIFFERING).map(|i| key(i * (records / DIFFERING).max(1))).collect();
    let second = value(&settings);
    for key in &differing {
        client.put(TABLE, key.clone(), second.clone()).await?;
    }
    // What the one that wrote keeps for the other goes with its process: only by comparing all it is found.
    cluster.kill(stays)?;
    let begin = Instant::now();
    cluster.start_all().await?;
    let client = connect(&cluster).await?;
    await_even(&client, &differing, &second).await?;
    let took = begin.elapsed();
    let (sent_bytes, sent_records, hinted) = (
        cluster.sum_of("skerry_node_quorum_comparison_bytes_total")?,
        cluster.sum_of("skerry_node_quorum_divergent_records_total")?,
        cluster.sum_of("skerry_node_quorum_hinted_records_total")?,
    );
    ensure!(
        hinted == 0 && sent_records >= DIFFERING as u64,
        "{sent_records} records were sent, {hinted} of what was kept"
    );
    Ok(Compared { held_bytes: u64::try_from(records * record)?, sent_bytes, sent_records, took })
}

/// Waits until both copies have compared all, and each has the values that one of them lacked.
async fn await_even(client: &Client, differing: &[Key], value: &Bytes) -> Result<()> {
    let is_even = async || are_even(client).await;
    wait_until("both copies have compared all", EQUAL_LIMIT, is_even).await?;
    for key in differing {
        for node in client.nodes_of(TABLE, key) {
            let found = client.values_of_copy(node, TABLE, key.clone()).await?;
            ensure!(found.records.iter().any(|record| record.value == *value), "{node} lacks {key:?}");
        }
    }
    Ok(())
}

/// True if every copy of the table is complete, and has compared all with the others since it started.
async fn are_even(client: &Client) -> bool {
    let Ok(status) = client.admin().status().await else { return false };
    let Some(table) = status.map.table_named(TABLE) else { return false };
    let shards = status.map.live_shards().filter(|record| record.descriptor.table == table.id);
    let mut copies =
        shards.flat_map(|record| record.descriptor.members.iter().map(move |member| (record, member.replica)));
    copies.all(|(record, copy)| {
        let told = status.copies.iter().find(|(node, told)| *node == copy.node && told.replica == copy.id);
        let others = record.descriptor.members.len() - 1;
        told.is_some_and(|(_, told)| told.is_complete && told.handed_over.len() >= others)
    })
}

/// Makes a quorum table over all nodes, and waits until every copy of it is complete.
async fn make_table(client: &Client, copies: usize, quorums: Quorums) -> Result<()> {
    let is_made = async || try_to_make(client, copies, quorums).await.is_ok();
    // Refused until every node has told that it has such tables.
    wait_until("the quorum table is made", SETTLE_LIMIT, is_made).await?;
    let whole = Cell::new(0);
    let is_whole = async || {
        let told =
            client.admin().status().await.map(|status| status.copies.iter().filter(|(_, c)| c.is_complete).count());
        whole.set(told.unwrap_or(0));
        whole.get() == SHARDS * copies
    };
    let waited = wait_until("every copy of the quorum table is there", SETTLE_LIMIT, is_whole).await;
    waited.with_context(|| format!("{} of {} copies", whole.get(), SHARDS * copies))
}

async fn try_to_make(client: &Client, copies: usize, quorums: Quorums) -> Result<()> {
    let nodes = active(client);
    ensure!(nodes.len() >= copies, "not all nodes are there yet");
    let change = AdminChange::CreateQuorumTable {
        name: TABLE.to_owned(),
        fragmentation: Fragmentation::Hash,
        replication_factor: u32::try_from(copies)?,
        quorums,
        resolve: Resolve::LastWriterWins,
        shards: spread(&nodes, SHARDS, copies),
    };
    let fence = Fence { token: 0, based_on: None };
    client.admin().execute(SystemCommand::Admin { fence, change }).await?;
    Ok(())
}
