//! How a node with an empty volume gets its id: through nodes that are in the database already, again and again until
//! one of them can say.

use std::collections::VecDeque;
use std::time::Duration;

use skerry_client::wire::{Wire, required};
use skerry_core::ids::{ClusterId, NodeId};
use skerry_core::map::{MapDelta, NodeRecord};
use skerry_core::system::{NewNode, SystemRefusal};
use skerry_proto::v1::admin_service_client::AdminServiceClient;
use skerry_proto::v1::{JoinRequest, join_response};
use tonic::transport::Endpoint;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tracing::{info, warn};

use crate::chain::chain;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Nodes asked in one round at most: the seeds, and the leaders that they name.
const ASKED_MAX: usize = 16;
/// Every so many rounds in vain a line is logged.
const ROUNDS_PER_LINE: u32 = 10;

/// Why the database does not take this node in, however often it asks.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// The seed belongs to another database, or refuses this volume.
    #[error("{seed} refuses this node: {why}")]
    Refused {
        /// Who said so.
        seed: String,
        /// What it said.
        why: String,
    },
}

/// What a node is told when it joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Its id.
    pub node: NodeId,
    /// The nodes of the database.
    pub nodes: Vec<NodeRecord>,
}

/// Why one seed gave no id.
enum Failed {
    /// Another node may.
    Elsewhere { leader: Option<String>, why: String },
    /// None will.
    ForGood(String),
}

/// Asks until there is an answer. To be cancelled by dropping.
pub async fn join(seeds: &[String], cluster: &ClusterId, node: &NewNode) -> Result<Joined, OriginError> {
    let mut backoff = BACKOFF_FIRST;
    let mut rounds = 0_u32;
    loop {
        let mut waiting: VecDeque<String> = seeds.iter().cloned().collect();
        let mut last = String::new();
        for _ in 0..ASKED_MAX {
            let Some(seed) = waiting.pop_front() else { break };
            match ask(&seed, cluster, node).await {
                Ok(joined) => {
                    info!(seed, node = joined.node.0, "node has joined");
                    return Ok(joined);
                }
                Err(Failed::ForGood(why)) => return Err(OriginError::Refused { seed, why }),
                Err(Failed::Elsewhere { leader, why }) => {
                    last = format!("{seed}: {why}");
                    if let Some(leader) = leader.filter(|leader| !leader.is_empty() && *leader != seed) {
                        waiting.push_front(leader);
                    }
                }
            }
        }
        if rounds.is_multiple_of(ROUNDS_PER_LINE) {
            warn!(last, "no seed takes this node in yet");
        }
        rounds += 1;
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

async fn ask(seed: &str, cluster: &ClusterId, node: &NewNode) -> Result<Joined, Failed> {
    let elsewhere = |why: String| Failed::Elsewhere { leader: None, why };
    let endpoint = Endpoint::from_shared(format!("http://{seed}")).map_err(|e| elsewhere(e.to_string()))?;
    let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT).timeout(ANSWER_TIMEOUT);
    let channel = endpoint.connect().await.map_err(|e| elsewhere(chain(&e)))?;
    let request = JoinRequest { cluster_id: cluster.0.clone(), node: Some(node.clone().into_wire()) };
    let answer = AdminServiceClient::new(channel).join(request).await.map_err(|status| failed(&status))?;
    match answer.into_inner().result {
        Some(join_response::Result::Joined(joined)) => {
            let map = required::<MapDelta>(joined.map, "map").map_err(|e| elsewhere(e.to_string()))?;
            Ok(Joined { node: NodeId(joined.node_id), nodes: map.nodes })
        }
        Some(join_response::Result::Refusal(refusal)) => {
            let why = SystemRefusal::from_wire(refusal).map_or_else(|e| e.to_string(), |refusal| refusal.to_string());
            Err(Failed::ForGood(why))
        }
        None => Err(elsewhere("answered nothing".to_owned())),
    }
}

/// Only a node of another database says FAILED_PRECONDITION or INVALID_ARGUMENT to a newcomer: see `server/admin.rs`.
fn failed(status: &Status) -> Failed {
    if matches!(status.code(), Code::FailedPrecondition | Code::InvalidArgument) {
        return Failed::ForGood(status.message().to_owned());
    }
    let info = status.get_details_error_info();
    let leader = info.and_then(|info| info.metadata.get("leader_address").cloned());
    Failed::Elsewhere { leader, why: status.message().to_owned() }
}
