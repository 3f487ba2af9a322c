//! The end of a run on quorum tables: copies become equal, and every key is read once more.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, stream};
use skerry_client::{Key, ReadError, Values};
use skerry_core::ids::NodeId;
use skerry_core::map::ShardRecord;
use skerry_core::node::Status;
use skerry_core::time::Version;
use tokio::time::sleep;

use super::{Door, QuorumWorkload};
use crate::keys::{TestedKey, decode};

/// So many keys are looked at by all copies at a time.
const COMPARED_AT_A_TIME: usize = 8;
/// Between two looks whether copies are equal.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Copies that are not equal, as they were last seen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotEqual {
    /// Those of a key do not show the same.
    #[error("after {} s the copies of key {key:?} of table {table:?} still differ: {}", .waited.as_secs(), .shown.join("; "))]
    Shown {
        /// Name of the table.
        table: String,
        /// The key whose copies differ.
        key: Key,
        /// What each copy has shown, or why it has shown nothing.
        shown: Vec<String>,
        /// How long this has been waited for.
        waited: Duration,
    },
    /// Those of a shard have not compared all that they hold, deletes among it, or keep something for one another.
    #[error("after {} s copies have not found that they hold the same: {}", .waited.as_secs(), .lacks.join("; "))]
    Held {
        /// What is known of copies that are behind, or not known.
        lacks: Vec<String>,
        /// How long this has been waited for.
        waited: Duration,
    },
}

impl QuorumWorkload {
    /// Waits until all copies of all keys are equal, and of others that somebody else has written, and reads every key of its
    /// own once more. Writers have stopped. Gives the time that it took until all showed the same.
    ///
    /// # Errors
    /// If they are not within the limit.
    pub async fn await_equal(&self, others: &[TestedKey], limit: Duration) -> Result<Duration, NotEqual> {
        let began = Instant::now();
        let own = self.tables.iter().flat_map(|watched| &watched.table.keys);
        let all: Vec<&TestedKey> = own.chain(others).collect();
        let compare = async |key: &TestedKey| self.await_equal_key(key, (began, limit)).await;
        let mut compared = stream::iter(all).map(compare).buffer_unordered(COMPARED_AT_A_TIME);
        while let Some(equal) = compared.next().await {
            equal?;
        }
        drop(compared);
        let took = began.elapsed();
        self.await_same_held((began, limit)).await?;
        for watched in &self.tables {
            watched.seen().rests_since(self.clock());
        }
        // A time that is equal counts as concurrent.
        sleep(Duration::from_millis(1)).await;
        self.read_all().await;
        Ok(took)
    }

    /// Reads every key once more.
    async fn read_all(&self) {
        let of = |table: usize| (0..self.tables[table].table.keys.len()).map(move |key| (table, key));
        let read = async |(table, key): (usize, usize)| {
            if self.read((table, key), Door::Plain).await.is_none() {
                let watched = &self.tables[table];
                watched.seen().unread(format!("{:?}", watched.table.keys[key].key));
            }
        };
        let all = stream::iter((0..self.tables.len()).flat_map(of));
        all.map(read).buffer_unordered(COMPARED_AT_A_TIME).for_each(|()| std::future::ready(())).await;
    }

    async fn await_equal_key(
        &self,
        TestedKey { table, key }: &TestedKey,
        (began, limit): (Instant, Duration),
    ) -> Result<(), NotEqual> {
        loop {
            let (is_equal, shown) = self.copies_of(table, key).await;
            if is_equal {
                return Ok(());
            }
            if began.elapsed() >= limit {
                return Err(NotEqual::Shown { table: table.clone(), key: key.clone(), shown, waited: limit });
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Whether all copies of a key show the same, and what each has shown.
    async fn copies_of(&self, table: &str, key: &Key) -> (bool, Vec<String>) {
        let nodes = self.client.nodes_of(table, key);
        let wanted = self.client.map().table_named(table).map_or(1, |table| table.replication_factor as usize);
        let are_all = nodes.len() >= wanted;
        let look = async |node: NodeId| (node, self.client.values_of_copy(node, table, key.clone()).await);
        let shown: Vec<(NodeId, Result<Values, ReadError>)> =
            stream::iter(nodes).map(look).buffer_unordered(COMPARED_AT_A_TIME).collect().await;
        let values: Option<BTreeSet<Vec<(Version, Bytes)>>> =
            shown.iter().map(|(_, found)| found.as_ref().ok().map(versions)).collect();
        let is_equal = are_all && values.is_some_and(|values| values.len() == 1);
        let in_words = |(node, found): &(NodeId, Result<Values, ReadError>)| match found {
            Ok(values) => {
                format!("{node} has {:?}", values.records.iter().map(|r| decode(&r.value)).collect::<Vec<_>>())
            }
            Err(error) => format!("{node}: {error}"),
        };
        (is_equal, shown.iter().map(in_words).collect())
    }

    /// Waits until the copies themselves have compared all their records with one another, and keep nothing for one another.
    /// What they show is equal by now; deletes, and what was seen of a key, are shown by nobody.
    async fn await_same_held(&self, (began, limit): (Instant, Duration)) -> Result<(), NotEqual> {
        loop {
            let lacks = match self.client.admin().status().await {
                Ok(status) => self.tables.iter().flat_map(|watched| behind(&status, &watched.name())).collect(),
                Err(error) => vec![format!("the status is not known: {error}")],
            };
            if lacks.is_empty() {
                return Ok(());
            }
            if began.elapsed() >= limit {
                return Err(NotEqual::Held { lacks, waited: limit });
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

/// The copies of a table's shards that are not known to hold the same as all others of their shard, in words.
fn behind(status: &Status, table: &str) -> Vec<String> {
    let Some(table) = status.map.table_named(table) else { return vec![format!("there is no table {table:?}")] };
    let shards = status.map.live_shards().filter(|record| record.descriptor.table == table.id);
    shards.flat_map(|record| behind_in(status, record)).collect()
}

fn behind_in(status: &Status, record: &ShardRecord) -> Vec<String> {
    let shard = record.descriptor.shard;
    let copies = || record.descriptor.members.iter().map(|member| member.replica);
    let behind = |copy: skerry_core::map::Replica| {
        let told = status.copies.iter().find(|(node, told)| *node == copy.node && told.replica == copy.id);
        let Some((_, told)) = told else { return Some(format!("{shard} on {}: nothing is told", copy.node)) };
        let others = copies().filter(|other| other.id != copy.id);
        let apart: Vec<NodeId> =
            others.filter(|other| !told.handed_over.contains(&other.id)).map(|other| other.node).collect();
        let is_even = told.is_complete && told.hints == 0 && apart.is_empty();
        (!is_even).then(|| {
            let (hints, is_complete) = (told.hints, told.is_complete);
            format!(
                "{shard} on {}: complete {is_complete}, keeps {hints}, has not handed all over to {apart:?}",
                copy.node
            )
        })
    };
    copies().filter_map(behind).collect()
}

/// All that a key of a quorum table has shown, in order.
fn versions(values: &Values) -> Vec<(Version, Bytes)> {
    let mut versions: Vec<_> = values.records.iter().map(|r| (r.version, r.value.clone())).collect();
    versions.sort_unstable();
    versions
}
