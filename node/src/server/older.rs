//! Nodes of the release before know one port of each node. While a database changes from that release to this one, they
//! are heard on the clients' port, without a secret: but only those that are such nodes, and only until the last of them
//! has changed.

use skerry_client::{Identity, identity};
use skerry_core::ids::{Incarnation, NodeId};
use skerry_core::level::FormatLevel;
use tonic::Status;

use super::Context;
use std::time::Duration;

/// With the look-up of the node's name.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// What was found out of the sender of one stream.
#[derive(Debug, Default)]
pub(super) struct OlderPeer {
    proven: Option<(NodeId, Incarnation)>,
}

impl OlderPeer {
    /// Of the stream of somebody who is perhaps such a node.
    ///
    /// # Errors
    ///
    /// There is none left: they cannot read what is written above the first format level, to which a database goes up when
    /// its last node has changed.
    pub(super) fn of_stream(level: FormatLevel) -> Result<Self, Status> {
        if level > FormatLevel::FIRST { Err(port_of_its_own()) } else { Ok(Self::default()) }
    }

    /// Refuses a frame whose sender, asked where the map says that it is reached, is not of the release before in this very
    /// start. So nobody can speak for a node that is of this release, or that does not answer.
    pub(super) async fn check(
        &mut self,
        context: &Context,
        from: NodeId,
        incarnation: Incarnation,
    ) -> Result<(), Status> {
        if self.proven == Some((from, incarnation)) {
            return Ok(());
        }
        let address = context.map.borrow().nodes.get(&from).map(|record| record.address.clone());
        let address = address.ok_or_else(port_of_its_own)?;
        let said = identity::identify(&address, ANSWER_TIMEOUT).await.map_err(|_| port_of_its_own())?;
        if !is_older(&said, context, from, incarnation) {
            return Err(port_of_its_own());
        }
        self.proven = Some((from, incarnation));
        Ok(())
    }
}

fn port_of_its_own() -> Status {
    Status::unimplemented("nodes speak with each other on a port of their own")
}

fn is_older(said: &Identity, context: &Context, from: NodeId, incarnation: Incarnation) -> bool {
    let is_sender = said.cluster == context.sender.cluster && said.node == Some(from);
    // A start that is not counted yet sends nothing.
    is_sender && said.incarnation == Some(incarnation) && said.peer_port.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_heard_as_a_node_of_the_release_before_once_there_is_none() {
        assert!(OlderPeer::of_stream(FormatLevel::FIRST).is_ok());
        assert_eq!(OlderPeer::of_stream(FormatLevel(2)).unwrap_err().code(), tonic::Code::Unimplemented);
    }
}
