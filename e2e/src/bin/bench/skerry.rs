//! Three Skerry nodes and one table, driven by the client as an application would.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use rand::{Rng, RngCore};
use skerry_client::{Client, ClientConfig, Key};
use skerry_core::command::ReadConsistency;
use skerry_core::ids::{NodeId, ShardId};
use skerry_core::map::{Fragmentation, NodeState};
use skerry_core::system::{AdminChange, Fence, NewShard, SystemCommand};

use crate::cluster::{Cluster, Engine};
use crate::load;
use crate::process::wait_until;
use crate::sample::Sample;
use crate::{IN_FLIGHT, Settings};

pub(crate) const TABLE: &str = "bench";
/// Four a node, as a hash table of three nodes gets by default.
pub(crate) const SHARDS: usize = 12;
const COPIES: usize = 3;
/// For elections, and for the steward to spread the leaders.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// Measures one round, on new nodes.
pub(crate) async fn measure(engine: Engine, settings: &Settings) -> Result<Sample> {
    let cluster = Cluster::start(engine, 3, &settings.folder.join("skerry")).await?;
    let client = connect(&cluster).await?;
    make_table(&client, SHARDS).await?;
    wait_for_spread_leaders(&client).await?;
    let value = value(settings);
    let keys = settings.keys;
    load::each(IN_FLIGHT, keys, async |i| {
        client.put(TABLE, key(i), value.clone()).await?;
        Ok(())
    })
    .await?;
    let put = async || {
        client.put(TABLE, key(rand::rng().random_range(0..keys)), value.clone()).await?;
        Ok(())
    };
    let get = async || {
        let key = key(rand::rng().random_range(0..keys));
        let record = client.get(TABLE, key, ReadConsistency::Linearizable).await?;
        anyhow::ensure!(record.context("a key that was written is not there")?.value == value, "another value");
        Ok(())
    };
    let writes = load::for_a_while(IN_FLIGHT, settings.length, put).await?;
    let reads = load::for_a_while(IN_FLIGHT, settings.length, get).await?;
    let alone = load::for_a_while(1, settings.length, put).await?;
    Ok(Sample { writes: writes.per_second, reads: reads.per_second, alone_p50: alone.p50 })
}

/// A client that knows all nodes.
pub(crate) async fn connect(cluster: &Cluster) -> Result<Client> {
    Client::connect(ClientConfig::new(cluster.addresses())).await.context("failed to reach the nodes")
}

/// The nodes that take copies, in order of their numbers.
pub(crate) fn active(client: &Client) -> Vec<NodeId> {
    client.map().nodes.values().filter(|n| n.state == NodeState::Active).map(|n| n.id).collect()
}

/// The shards of a new hash table, their copies spread evenly over the nodes.
pub(crate) fn spread(nodes: &[NodeId], shards: usize, copies: usize) -> Vec<NewShard> {
    let shard = |(turn, start): (usize, Bytes)| NewShard {
        start,
        nodes: (0..copies).map(|copy| nodes[(turn + copy) % nodes.len()]).collect(),
    };
    skerry_core::key::hash_starts(shards).into_iter().enumerate().map(shard).collect()
}

/// Makes the hash table over all nodes, and waits until each copy of each shard is in sync.
pub(crate) async fn make_table(client: &Client, shards: usize) -> Result<()> {
    let change = AdminChange::CreateTable {
        name: TABLE.to_owned(),
        fragmentation: Fragmentation::Hash,
        replication_factor: u32::try_from(COPIES)?,
        shards: spread(&active(client), shards, COPIES),
    };
    let fence = Fence { token: 0, based_on: None };
    client.admin().execute(SystemCommand::Admin { fence, change }).await.context("failed to make the table")?;
    let whole = Cell::new(0);
    let is_whole = async || {
        whole.set(leaders(client).await.map_or(0, |leaders| leaders.len()));
        whole.get() == shards
    };
    wait_until("every copy of the table is in sync", SETTLE_LIMIT, is_whole)
        .await
        .with_context(|| format!("{} of {shards} shards", whole.get()))
}

/// Waits until the steward has given every node its part of the leaders.
pub(crate) async fn wait_for_spread_leaders(client: &Client) -> Result<()> {
    let is_spread = async || {
        let Ok(leaders) = leaders(client).await else { return false };
        let mut counts = BTreeMap::<NodeId, usize>::new();
        for node in leaders.values() {
            *counts.entry(*node).or_default() += 1;
        }
        leaders.len() == SHARDS && counts.values().all(|count| *count <= SHARDS.div_ceil(COPIES) + 1)
    };
    wait_until("the table's leaders are spread", SETTLE_LIMIT, is_spread).await
}

/// The nodes that lead the table's shards of which every copy is in sync.
pub(crate) async fn leaders(client: &Client) -> Result<BTreeMap<ShardId, NodeId>> {
    let status = client.admin().status().await?;
    let table = status.map.table_named(TABLE).context("the table is not in the map")?.id;
    let mut leaders = BTreeMap::new();
    for (report, _) in &status.shards {
        let descriptor = &report.descriptor;
        if descriptor.table == table && report.in_sync.len() == COPIES {
            leaders.insert(descriptor.shard, descriptor.node_of(report.leader).context("a leader is no member")?);
        }
    }
    Ok(leaders)
}

/// A value that does not compress.
pub(crate) fn value(settings: &Settings) -> Bytes {
    let mut value = vec![0; settings.value_bytes];
    rand::rng().fill_bytes(&mut value);
    value.into()
}

pub(crate) fn key(i: usize) -> Key {
    Key::new(format!("bench/{i:08}"))
}
