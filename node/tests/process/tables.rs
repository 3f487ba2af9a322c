//! Quorum tables of real processes: how they are made, what each copy has, and the smart client.

use std::time::Duration;

use skerry_client::{Client, ClientConfig};
use skerry_core::key::hash_starts;
use skerry_proto::v1;
use skerry_proto::v1::admin_command::Change;
use skerry_proto::v1::system_reply::Reply;

use crate::cluster::{Cluster, eventually};
use crate::database::get;
use crate::process::Process;

/// W, R and the conflict rule of a quorum table.
#[derive(Debug, Clone, Copy)]
pub struct Quorums {
    pub write: u32,
    pub read: u32,
    pub resolve: v1::ConflictResolution,
}

impl Quorums {
    pub fn last_writer(write: u32, read: u32) -> Self {
        Self { write, read, resolve: v1::ConflictResolution::LastWriterWins }
    }

    pub fn siblings(write: u32, read: u32) -> Self {
        Self { write, read, resolve: v1::ConflictResolution::Siblings }
    }
}

impl Cluster {
    /// A quorum table of one hash shard, with a copy on every node, whose copies all coordinate.
    pub async fn quorum_table(&self, name: &str, quorums: Quorums) -> u32 {
        let node_ids: Vec<u64> = self.nodes.iter().map(Process::id).collect();
        let shards = hash_starts(1).into_iter().map(|start| v1::NewShard { start, node_ids: node_ids.clone() });
        let table = v1::CreateTable {
            name: name.to_owned(),
            fragmentation: v1::Fragmentation::Hash.into(),
            replication_factor: u32::try_from(self.nodes.len()).unwrap(),
            shards: shards.collect(),
        };
        let Quorums { write, read, resolve } = quorums;
        let quorum = v1::QuorumTable { quorums: Some(v1::Quorums { write, read }), resolve: resolve.into() };
        let change = v1::CreateQuorumTable { table: Some(table), quorum: Some(quorum) };
        let (database, mut id) = (self.database(), None);
        eventually("the table is made", async || {
            // Refused until every node has told its format level.
            if let Ok(Reply::TableId(made)) = database.admin(Change::CreateQuorumTable(change.clone())).await {
                id = Some(made);
            }
            id.is_some()
        })
        .await;
        for node in &self.nodes {
            eventually("the copy coordinates", async || self.local(node, name, b"none").await.is_some()).await;
        }
        id.unwrap()
    }

    /// What the copy on one node has of a key, by itself. `None` = it does not answer.
    pub async fn local(&self, node: &Process, table: &str, key: &[u8]) -> Option<v1::GetResponse> {
        let request = v1::GetRequest { consistency: v1::ReadConsistency::Local.into(), ..get(table, key) };
        let answer = self.database().kv(&node.grpc().to_string()).get(request).await;
        answer.ok().map(tonic::Response::into_inner)
    }

    /// Waits until each copy by itself shows these values of a key, in any order.
    pub async fn await_equal(&self, table: &str, key: &[u8], values: &[&[u8]]) {
        let mut wanted: Vec<Vec<u8>> = values.iter().map(|value| value.to_vec()).collect();
        wanted.sort();
        for node in &self.nodes {
            eventually("every copy has it", async || {
                let found = self.local(node, table, key).await;
                found.is_some_and(|found| texts(&found) == wanted)
            })
            .await;
        }
    }

    /// The client that programs use.
    pub async fn client(&self) -> Client {
        let mut config = ClientConfig::new(self.nodes.iter().map(|node| node.grpc().to_string()));
        config.deadline = Duration::from_secs(30);
        Client::connect(config).await.unwrap()
    }
}

/// All values of an answer, sorted.
pub fn texts(found: &v1::GetResponse) -> Vec<Vec<u8>> {
    let mut texts: Vec<_> = found.record.iter().chain(&found.siblings).map(|record| record.value.to_vec()).collect();
    texts.sort();
    texts
}
