//! How long writes stop when the node that leads most shards is killed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use skerry_client::{Client, Key};
use skerry_core::ids::{NodeId, ShardId};

use crate::Settings;
use crate::cluster::{Cluster, Engine};
use crate::skerry::{SHARDS, TABLE, connect, leaders, make_table, value};

/// One measurement, on new nodes: from the kill until each shard that the node led has taken a write again.
pub(crate) async fn measure(settings: &Settings) -> Result<Duration> {
    let mut cluster = Cluster::start(Engine::Sled, 3, &settings.folder.join("skerry-failover")).await?;
    let client = connect(&cluster).await?;
    make_table(&client, SHARDS).await?;
    let leaders = leaders(&client).await?;
    let mut led = BTreeMap::<NodeId, Vec<ShardId>>::new();
    for (shard, node) in leaders {
        led.entry(node).or_default().push(shard);
    }
    let (victim, shards) = led.into_iter().max_by_key(|(_, shards)| shards.len()).context("no shard has a leader")?;
    let keys = keys(&client, &shards)?;
    for key in &keys {
        client.put(TABLE, key.clone(), value(settings)).await?;
    }
    let address = client.map().nodes.get(&victim).context("the leader is not in the map")?.address.clone();
    let killed = cluster.kill(&address)?;
    let mut writers = tokio::task::JoinSet::new();
    for key in keys {
        let (client, value) = (client.clone(), value(settings));
        writers.spawn(async move { client.put(TABLE, key, value).await.map(|_| Instant::now()) });
    }
    let mut last = killed;
    while let Some(written) = writers.join_next().await {
        last = last.max(written??);
    }
    Ok(last - killed)
}

/// One key of each of these shards.
fn keys(client: &Client, shards: &[ShardId]) -> Result<Vec<Key>> {
    /// Far more than it takes to meet a dozen shards.
    const TRIES: usize = 10_000;
    let map = client.map();
    let table = map.table_named(TABLE).context("the table is not in the map")?;
    let mut found = BTreeMap::new();
    for i in 0..TRIES {
        let name = format!("failover/{i}");
        let encoded = skerry_core::key::encode(table.fragmentation, name.as_bytes(), b"")?;
        let shard = map.route(table.id, &encoded).context("a key has no shard")?.descriptor.shard;
        if shards.contains(&shard) {
            found.entry(shard).or_insert_with(|| Key::new(name));
        }
        if found.len() == shards.len() {
            return Ok(found.into_values().collect());
        }
    }
    anyhow::bail!("no key was found for some of {} shards", shards.len())
}
