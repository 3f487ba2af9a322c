//! One seed, asked once to take this node in: what it said, and what that tells of the database.

use std::time::Duration;

use skerry_client::Secrets;
use skerry_client::dial;
use skerry_client::door::{self, Door, Place};
use skerry_client::secret::Presented;
use skerry_client::wire::{Wire, required};
use skerry_core::ids::NodeId;
use skerry_core::map::MapDelta;
use skerry_core::system::SystemRefusal;
use skerry_program::chain::chain;
use skerry_proto::v1::admin_service_client::AdminServiceClient;
use skerry_proto::v1::{JoinRequest, JoinResponse, join_response};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{Asker, Joined};
use crate::failpoints::Failpoint;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// A seed of an earlier release sends its whole map.
const JOINED_BYTES_MAX: usize = 256 << 20;

/// Whether the seed is in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// It was not asked, or it is without an identity itself.
    None,
    /// The seed is in the database.
    There,
    /// It was asked, and what it did is not known.
    Unclear,
}

/// Why a seed gave no id.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// Another node may, or this one later.
    Elsewhere { leader: Option<String>, presence: Presence, why: String },
    /// The node that the volume belongs to was removed.
    Removed(NodeId),
    /// The request was refused, for this reason: to ask again will not help.
    ForGood(String),
}

pub(super) async fn ask(seed: &str, asker: Asker<'_>) -> Result<Joined, Failed> {
    let channel = connect(seed).await?;
    let (identity, place) = door::find(channel.clone(), seed, Door::Peers).await.map_err(|s| unclear(s.message()))?;
    let presence = if identity.node.is_some() { Presence::There } else { Presence::Unclear };
    let (channel, secrets) = match place {
        Place::WithClients => (channel, Secrets::default()),
        Place::At(place) => match connect(&place).await {
            Ok(channel) => (channel, asker.keyring.secrets()),
            Err(Failed::Elsewhere { why, .. }) => return Err(Failed::Elsewhere { leader: None, presence, why }),
            Err(failed) => return Err(failed),
        },
    };
    match timeout(ANSWER_TIMEOUT, secrets.present(|presented| join(channel.clone(), presented, asker))).await {
        Ok(Ok(response)) => joined(response),
        Ok(Err(status)) => Err(failed(&status)),
        Err(_) => Err(unclear("has not answered in time")),
    }
}

fn unclear(why: &str) -> Failed {
    Failed::Elsewhere { leader: None, presence: Presence::Unclear, why: why.to_owned() }
}

async fn join(channel: Channel, presented: Presented, asker: Asker<'_>) -> Result<JoinResponse, Status> {
    let (cluster_id, node) = (asker.cluster.0.clone(), Some(asker.node.clone().into_wire()));
    let request = JoinRequest { cluster_id, node, format_level: Failpoint::highest_level().0 };
    let leader = AdminServiceClient::with_interceptor(channel, presented);
    let mut leader = leader.max_decoding_message_size(JOINED_BYTES_MAX);
    Ok(leader.join(request).await?.into_inner())
}

fn joined(answer: JoinResponse) -> Result<Joined, Failed> {
    match answer.result {
        Some(join_response::Result::Joined(joined)) => {
            let map = required::<MapDelta>(joined.map, "map").map_err(|e| unclear(&e.to_string()))?;
            Ok(Joined { node: NodeId(joined.node_id), nodes: map.nodes })
        }
        Some(join_response::Result::Refusal(refusal)) => match SystemRefusal::from_wire(refusal) {
            Ok(SystemRefusal::RemovedNode(node)) => Err(Failed::Removed(node)),
            // As things are: a database that is made anew, or goes on from a copy of before, may have a lower level.
            Ok(refusal @ SystemRefusal::LevelTooLow { .. }) => {
                Err(Failed::Elsewhere { leader: None, presence: Presence::There, why: refusal.to_string() })
            }
            Ok(refusal) => Err(Failed::ForGood(refusal.to_string())),
            Err(malformed) => Err(Failed::ForGood(malformed.to_string())),
        },
        None => Err(unclear("answered nothing")),
    }
}

async fn connect(address: &str) -> Result<Channel, Failed> {
    let absent = |why: String| Failed::Elsewhere { leader: None, presence: Presence::None, why };
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|e| absent(e.to_string()))?;
    dial::channel(endpoint).await.map_err(|e| absent(chain(&e)))
}

/// Only a node of another database says FAILED_PRECONDITION or INVALID_ARGUMENT to a newcomer: see `server/admin.rs`.
/// What a node without an identity says is in `server/waiting.rs`.
fn failed(status: &Status) -> Failed {
    if matches!(status.code(), Code::FailedPrecondition | Code::InvalidArgument) {
        return Failed::ForGood(status.message().to_owned());
    }
    let info = status.get_details_error_info();
    let presence = match info.as_ref().map(|info| info.reason.as_str()) {
        Some("BLANK") => Presence::None,
        Some("OPENING") | None => Presence::Unclear,
        Some(_) => Presence::There,
    };
    let leader = info.and_then(|info| info.metadata.get("leader_address").cloned()).filter(|leader| !leader.is_empty());
    Failed::Elsewhere { leader, presence, why: status.message().to_owned() }
}

#[cfg(test)]
mod tests {
    use skerry_core::level::FormatLevel;
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    fn presence(reason: &str) -> Presence {
        let details = ErrorDetails::with_error_info(reason, "skerry.io", HashMap::new());
        match failed(&Status::with_error_details(Code::Unavailable, "", details)) {
            Failed::Elsewhere { presence, .. } => presence,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_program_that_is_too_old_for_the_database_asks_on_and_one_of_a_removed_node_does_not() {
        let refused = |refusal: SystemRefusal| {
            joined(JoinResponse { result: Some(join_response::Result::Refusal(refusal.into_wire())) })
        };
        let too_low = SystemRefusal::LevelTooLow { level: FormatLevel(2), enabled: FormatLevel(3) };
        let why = too_low.to_string();
        assert_eq!(refused(too_low), Err(Failed::Elsewhere { leader: None, presence: Presence::There, why }));
        assert_eq!(refused(SystemRefusal::RemovedNode(NodeId(4))), Err(Failed::Removed(NodeId(4))));
    }

    #[test]
    fn only_a_seed_without_identity_leaves_the_database_to_be_made() {
        assert_eq!(presence("BLANK"), Presence::None);
        assert_eq!(presence("OPENING"), Presence::Unclear);
        for reason in ["NOT_LEADER", "CLOSING", "REMOVED"] {
            assert_eq!(presence(reason), Presence::There, "{reason}");
        }
        // Who does not know the secret has learnt nothing.
        let stranger = failed(&Status::unauthenticated("the secret"));
        assert!(matches!(stranger, Failed::Elsewhere { presence: Presence::Unclear, .. }), "{stranger:?}");
        let broken = failed(&Status::unavailable("broken pipe"));
        assert!(matches!(broken, Failed::Elsewhere { presence: Presence::Unclear, .. }), "{broken:?}");
    }
}
