//! Where a node is reached for what is not its clients': it listens on a port of its own for the other nodes, and on one
//! for orders, and says on its clients' port which they are. A node of the release before has one port for all.

use std::time::Duration;

use skerry_proto::v1;
use skerry_proto::v1::identity_service_client::IdentityServiceClient;
use tokio::time::timeout;
use tonic::Status;
use tonic::transport::Channel;

use crate::identity::Identity;
use crate::wire::Wire;

/// Every node answers from its first moment on, without a look at anything.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A port of a node, named by whom it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The other nodes, and those that are to join them.
    Peers,
    /// Administrators: the operator and the command line, which give orders to the database.
    Admin,
}

/// Where a node has one of its ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At this `host:port`, where the database's secret may be demanded.
    At(String),
    /// Where the node's clients are, and no secret is known there: it is of the release before.
    WithClients,
}

/// Asks the node, whose clients' port is at this address, who it is and where its door is.
pub async fn find(channel: Channel, address: &str, door: Door) -> Result<(Identity, Place), Status> {
    let mut node = IdentityServiceClient::new(channel);
    let answer = timeout(ANSWER_TIMEOUT, node.identify(v1::IdentifyRequest {})).await;
    let answer = answer.map_err(|_| Status::deadline_exceeded("the node has not said in time where its ports are"))?;
    let identity = Identity::from_wire(answer?.into_inner()).map_err(|e| Status::internal(e.to_string()))?;
    let port = match door {
        Door::Peers => identity.peer_port,
        Door::Admin => identity.admin_port,
    };
    let place = port.map_or(Place::WithClients, |port| Place::At(with_port(address, port)));
    Ok((identity, place))
}

/// The host of this address with another port.
fn with_port(address: &str, port: u16) -> String {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    format!("{host}:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_is_on_the_host_of_the_clients_port() {
        assert_eq!(with_port("shop-a-0.shop-nodes.sales.svc:7400", 7402), "shop-a-0.shop-nodes.sales.svc:7402");
        assert_eq!(with_port("[::1]:7400", 1), "[::1]:1");
    }
}
