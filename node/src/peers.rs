//! The streams to the other nodes: for each of them one for what must be quick and one for bulk, made when there is
//! something to send, and made anew when they break. What finds no place or no connection is dropped: the core takes
//! every message as lost until it is answered.

mod link;
pub(crate) mod size;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use skerry_core::ids::{ClusterId, Incarnation, NodeId};
use skerry_core::map::{Map, NodeRecord, NodeState};
use skerry_core::message::PeerMessage;
use skerry_core::node::Identity;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use self::link::{Lane, Link};
use self::size::message_bytes;
use crate::bootstrap::Founding;
use crate::budget::{Budget, Kind, PEERS_PART, Permit};
use crate::keyring::Keyring;
use crate::metrics::Metrics;
use crate::panics;
use crate::vitals::Vitals;

/// Batches that wait for one stream at most; the worker makes at most one a round.
const QUEUE_BATCHES_MAX: usize = 1_024;
/// Bytes of entries and records that wait for one stream at most.
const QUEUE_BYTES_MAX: usize = 32 << 20;

/// Names the process that messages to other nodes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// Id of the database that the messages are of.
    pub cluster: ClusterId,
    /// Id of this node.
    pub node: NodeId,
    /// Incarnation of this node's present start.
    pub incarnation: Incarnation,
}

impl Sender {
    /// Of this node, in this start.
    pub fn of(identity: &Identity) -> Self {
        Self { cluster: identity.cluster.clone(), node: identity.node, incarnation: identity.incarnation }
    }

    /// True if the map names this very start.
    pub fn is_registered(&self, map: &Map) -> bool {
        map.nodes.get(&self.node).is_some_and(|record| record.incarnation == self.incarnation)
    }
}

/// What the streams are made with.
#[derive(Debug, Clone)]
pub struct Context {
    /// Names this process to the other nodes.
    pub sender: Arc<Sender>,
    /// Is told if this node was removed.
    pub founding: Arc<Founding>,
    /// Is told if this node joined by what was given up since.
    pub vitals: Arc<Vitals>,
    /// The secrets to show to other nodes.
    pub keyring: Arc<Keyring>,
    /// The metrics in which the messages are counted.
    pub metrics: Metrics,
    /// The memory that waiting messages take.
    pub budget: Arc<Budget>,
    /// Ends every stream when it is cancelled.
    pub stop: CancellationToken,
    /// Keeps count of the streams' tasks.
    pub tasks: TaskTracker,
    /// Runtime that the streams' tasks run on.
    pub runtime: Handle,
}

/// All streams. Owned by the worker.
#[derive(Debug)]
pub struct Peers {
    context: Context,
    nodes: HashMap<NodeId, Peer>,
}

#[derive(Debug)]
struct Peer {
    address: watch::Sender<String>,
    quick: Outlet,
    bulk: Outlet,
}

/// The worker's end of one stream.
#[derive(Debug)]
struct Outlet {
    queue: mpsc::Sender<Batch>,
    budget: Arc<Budget>,
    bytes: Arc<AtomicUsize>,
    next: Vec<PeerMessage>,
}

/// Messages of one round of the worker to one node.
#[derive(Debug)]
struct Batch {
    messages: Vec<PeerMessage>,
    bytes: usize,
    permit: Permit,
}

impl Peers {
    /// Knows the nodes of the seeds' answer to begin with.
    pub fn new(context: Context, seeds: &[NodeRecord]) -> Self {
        let mut peers = Self { context, nodes: HashMap::new() };
        for record in seeds {
            peers.reach(record);
        }
        peers
    }

    /// Returns what names this process to the other nodes.
    pub fn sender(&self) -> &Sender {
        &self.context.sender
    }

    /// Takes over the addresses of a newer map, and forgets who was removed.
    pub fn follow(&mut self, map: &Map) {
        for record in map.nodes.values() {
            match record.state {
                NodeState::Active | NodeState::Draining => self.reach(record),
                NodeState::Removed if record.id == self.context.sender.node => self.context.founding.removed(),
                NodeState::Removed => drop(self.nodes.remove(&record.id)),
            }
        }
    }

    /// Sends what can be sent at once; never waits.
    pub fn send(&mut self, messages: Vec<(NodeId, PeerMessage)>) {
        let mut dropped = 0;
        for (to, message) in messages {
            match self.nodes.get_mut(&to) {
                Some(peer) if message.is_bulk() => peer.bulk.next.push(message),
                Some(peer) => peer.quick.next.push(message),
                None => dropped += 1,
            }
        }
        for peer in self.nodes.values_mut() {
            dropped += peer.quick.flush() + peer.bulk.flush();
        }
        self.context.metrics.peers.dropped.inc_by(dropped);
    }

    fn reach(&mut self, record: &NodeRecord) {
        if record.id == self.context.sender.node {
            return;
        }
        match self.nodes.get(&record.id) {
            Some(peer) => {
                peer.address.send_if_modified(|address| {
                    let moved = *address != record.address;
                    if moved {
                        address.clone_from(&record.address);
                    }
                    moved
                });
            }
            None => drop(self.nodes.insert(record.id, Peer::start(&self.context, record))),
        }
    }
}

impl Peer {
    fn start(context: &Context, record: &NodeRecord) -> Self {
        let (address, follow) = watch::channel(record.address.clone());
        let quick = Outlet::start(context, record.id, Lane::Quick, follow.clone());
        let bulk = Outlet::start(context, record.id, Lane::Bulk, follow);
        Self { address, quick, bulk }
    }
}

impl Outlet {
    fn start(context: &Context, to: NodeId, lane: Lane, address: watch::Receiver<String>) -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE_BATCHES_MAX);
        let bytes = Arc::new(AtomicUsize::new(0));
        let link = Link {
            context: context.clone(),
            to,
            lane,
            address,
            queue: receiver,
            bytes: bytes.clone(),
            sending: None,
            secret: 0,
        };
        // What waits for a link that is gone would be dropped for ever.
        context.tasks.spawn_on(panics::vital("link to a node", link.run()).in_current_span(), &context.runtime);
        Self { queue, budget: context.budget.clone(), bytes, next: Vec::new() }
    }

    /// Hands the collected messages to the stream. Returns how many were dropped.
    fn flush(&mut self) -> u64 {
        if self.next.is_empty() {
            return 0;
        }
        let mut messages = std::mem::take(&mut self.next);
        let (count, mut bytes) = (messages.len() as u64, messages.iter().map(message_bytes).sum());
        let queued = self.bytes.load(Ordering::Acquire);
        let is_scarce = self.budget.used_by(Kind::Outgoing) > self.budget.limit() / PEERS_PART;
        if queued + bytes > QUEUE_BYTES_MAX || (is_scarce && queued > 0 && bytes > 0) {
            messages.retain(|message| message_bytes(message) == 0);
            bytes = 0;
        }
        let dropped = count - messages.len() as u64;
        if messages.is_empty() {
            return dropped;
        }
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        let permit = self.budget.charge(Kind::Outgoing, bytes);
        match self.queue.try_send(Batch { messages, bytes, permit }) {
            Ok(()) => dropped,
            Err(_full_or_stopped) => {
                self.bytes.fetch_sub(bytes, Ordering::AcqRel);
                count
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use skerry_core::ids::{ReplicaId, ShardId};
    use skerry_core::log::{EntryKind, LogEntry};
    use skerry_core::message::{RaftEnvelope, RaftKind};

    use super::*;

    fn raft(kind: RaftKind, entries: Vec<LogEntry>) -> PeerMessage {
        let copies = (ReplicaId(2), ReplicaId(1));
        PeerMessage::Raft(RaftEnvelope { entries, ..RaftEnvelope::empty(ShardId(1), copies, kind, 1) })
    }

    fn append() -> PeerMessage {
        let (data, context) = (Bytes::from_static(b"entry"), Bytes::new());
        raft(RaftKind::Append, vec![LogEntry { index: 1, term: 1, kind: EntryKind::Normal, data, context }])
    }

    #[test]
    fn heartbeats_go_out_where_entries_find_no_room() {
        let budget = Budget::new(800);
        let (queue, mut sent) = mpsc::channel(2);
        let mut outlet = Outlet { queue, budget: budget.clone(), bytes: Arc::default(), next: vec![append()] };
        let _to_others = budget.charge(Kind::Outgoing, 101);
        assert_eq!(outlet.flush(), 0, "a stream that is empty takes entries");
        outlet.next = vec![append(), raft(RaftKind::Heartbeat, vec![])];
        assert_eq!(outlet.flush(), 1);
        assert_eq!(sent.try_recv().unwrap().messages, [append()]);
        assert_eq!(sent.try_recv().unwrap().messages, [raft(RaftKind::Heartbeat, vec![])]);
        outlet.next = vec![append()];
        assert_eq!(
            (outlet.flush(), budget.used_by(Kind::Outgoing)),
            (1, 101),
            "what was taken out gave its memory back"
        );
        assert!(sent.try_recv().is_err());
    }
}
