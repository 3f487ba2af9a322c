//! The receiving end of the other nodes' streams: frames for this database and this node go to the worker, in order.

use std::sync::Arc;

use skerry_core::ids::{Incarnation, NodeId};
use skerry_core::map::NodeState;
use skerry_proto::v1::peer_service_server::PeerService;
use skerry_proto::v1::{PeerFrame, PeerSummary};
use tonic::{Code, Request, Response, Status, Streaming};
use tracing::warn;

use super::older::OlderPeer;
use super::{Context, status};
use crate::vitals::GIVEN_UP;
use crate::wire;

/// Serves the peer API: takes in the streams of messages from other nodes.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) context: Arc<Context>,
    /// On the clients' port: whoever speaks here must be a node of the release before.
    pub(super) only_older: bool,
}

impl Peer {
    async fn take(&self, mut frames: Streaming<PeerFrame>) -> Result<Response<PeerSummary>, Status> {
        let context = &self.context;
        let (mut messages, mut has_skipped) = (0, false);
        let level = || context.map.borrow().level.0;
        let mut older = self.only_older.then(|| OlderPeer::of_stream(level())).transpose()?;
        loop {
            let frame = tokio::select! {
                biased;
                () = context.signals().stopped().cancelled() => return Err(Status::unavailable("this node has stopped")),
                frame = frames.message() => frame?,
            };
            let Some(frame) = frame else { return Ok(Response::new(PeerSummary { messages })) };
            self.check(&frame)?;
            let (from, incarnation) = (NodeId(frame.from_node_id), Incarnation(frame.incarnation));
            if let Some(older) = &mut older {
                older.check(context, from, incarnation).await?;
            }
            let received = wire::peer_messages(frame.messages);
            context.metrics.peers.skipped.inc_by(received.skipped);
            if let Some(why) = received.why.filter(|_| !std::mem::replace(&mut has_skipped, true)) {
                // Once a stream: a newer release goes on saying it.
                warn!(peer = from.0, %why, "peer says what this release does not understand");
            }
            context.metrics.peers.received.inc_by(received.messages.len() as u64);
            messages += received.messages.len() as u64;
            if !context.inbox.deliver(from, incarnation, received.messages).await {
                return Err(Status::unavailable("this node has stopped"));
            }
        }
    }

    /// A volume or an address that was mixed up must not let two databases, or two nodes, speak with each other.
    fn check(&self, frame: &PeerFrame) -> Result<(), Status> {
        let me = &self.context.sender;
        if frame.cluster_id.is_empty() {
            return Err(Status::invalid_argument("cluster_id is missing"));
        }
        self.context.check_cluster(&frame.cluster_id)?;
        if frame.to_node_id != me.node.0 {
            let why = format!("this is node {}, not {}", me.node, NodeId(frame.to_node_id));
            return Err(Status::failed_precondition(why));
        }
        let from = NodeId(frame.from_node_id);
        let known = self.context.map.borrow().nodes.get(&from).map(|record| (record.state, record.incarnation));
        if known.is_some_and(|(state, _)| state == NodeState::Removed) {
            // Nobody else tells it: the map is not sent to nodes that are removed.
            let why = format!("node {from} was removed from the database");
            return Err(status::plain(Code::FailedPrecondition, "REMOVED", &why));
        }
        if self.context.map.borrow().has_given_up(from) {
            // The core ignores it, and nobody sends it anything.
            let why = format!("node {from} {GIVEN_UP}");
            return Err(status::plain(Code::FailedPrecondition, "GIVEN_UP", &why));
        }
        let latest = known.map(|(_, incarnation)| incarnation);
        if let Some(latest) = latest.filter(|latest| *latest > Incarnation(frame.incarnation)) {
            // The core refuses these as well; saying so tells the process that it, or its volume, is out of date.
            let why = format!("node {from} has started as {latest}; {} is over", Incarnation(frame.incarnation));
            return Err(Status::failed_precondition(why));
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl PeerService for Peer {
    async fn stream(&self, request: Request<Streaming<PeerFrame>>) -> Result<Response<PeerSummary>, Status> {
        self.take(request.into_inner()).await
    }

    async fn bulk(&self, request: Request<Streaming<PeerFrame>>) -> Result<Response<PeerSummary>, Status> {
        self.take(request.into_inner()).await
    }
}
