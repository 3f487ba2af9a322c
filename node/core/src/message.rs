//! What nodes say to one another. The shell turns these into frames and back; nothing else crosses between nodes.

mod report;

use bytes::Bytes;
pub use report::{
    COPIED_MAX, CopiesReport, CopyReport, LEADERLESS_MAX, LedReport, NodeReport, QUORUM_COPIES_MAX, QuorumReport,
    Report, ShardReport,
};

use crate::ids::{Epoch, Generation, NodeId, ReplicaId, ShardId};
use crate::level::FormatLevel;
use crate::log::LogEntry;
use crate::map::{Descriptor, MapDelta};
use crate::quorum::message::Envelope;
use crate::time::Version;

/// From so many bytes on, what quorum copies exchange to become equal goes beside what must be quick. Less of it costs
/// less than a second stream's turn.
const BULK_BYTES: usize = 64 << 10;

/// A message from one node to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerMessage {
    /// Between two replicas of a shard.
    Raft(RaftEnvelope),
    /// Between two copies of a quorum shard.
    Quorum(Envelope),
    /// A leader wants to send a snapshot to a fresh replica.
    SnapshotOffer(SnapshotOffer),
    /// The next piece of a snapshot.
    SnapshotChunk(SnapshotChunk),
    /// How far the receiver of a snapshot is.
    SnapshotAck(SnapshotAck),
    /// The sender lives, and how it is. Also for its copies that say nothing themselves while they are quiescent.
    Beat(Beat),
    /// Asks for what changed in the map.
    MapWant {
        /// Epoch of the sender's map.
        have: Epoch,
    },
    /// The records of the map that have changed since the epoch that was asked from.
    Map(MapDelta),
    /// What a node knows, for the steward.
    Report(Report),
    /// The steward does not have what the receiver's last report built on: all that it leads, please.
    ReportWant,
    /// The steward asks every shard's leader, and every copy of a quorum shard, whether a node may go.
    CertifyAsk {
        /// Ties the answers to the question.
        nonce: u64,
        /// Node that is to be removed.
        node: NodeId,
        /// The shards whose leaders, or quorum copies, are asked, on the receiving node.
        shards: Vec<ShardId>,
    },
    /// A shard's leader answers, its leadership freshly confirmed; or a copy of a quorum shard for itself.
    CertifyAnswer {
        /// The nonce of the question that is answered.
        nonce: u64,
        /// Shard that the answer is for.
        shard: ShardId,
        /// What the shard's leader, or the copy, has found.
        answer: CertifyAnswer,
    },
    /// The steward asks a shard's leader to hand leadership to another voter.
    TransferLeader {
        /// Shard whose leadership is to be handed over.
        shard: ShardId,
        /// Replica that is to become the leader: a voter of the shard.
        to: ReplicaId,
    },
}

impl PeerMessage {
    /// Bulk data that must not hold up the rest, and so goes on a stream of its own.
    pub fn is_bulk(&self) -> bool {
        match self {
            Self::SnapshotOffer(_) | Self::SnapshotChunk(_) => true,
            Self::Quorum(envelope) => envelope.body.is_background() && envelope.body.bytes() > BULK_BYTES,
            Self::Raft(_)
            | Self::SnapshotAck(_)
            | Self::Beat(_)
            | Self::MapWant { .. }
            | Self::Map(_)
            | Self::Report(_)
            | Self::ReportWant
            | Self::CertifyAsk { .. }
            | Self::CertifyAnswer { .. }
            | Self::TransferLeader { .. } => false,
        }
    }
}

/// What a node says of itself to the nodes that it shares shards with, a few times a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Beat {
    /// True while it takes no puts: its disk is nearly full. `None` = it has not looked yet, or is of an older version.
    pub disk_full: Option<bool>,
    /// True while a write of its log waits for too long. An older version never says so.
    pub disk_stalled: bool,
    /// What its wall clock shows: milliseconds since 1970. `None` = it is of an older version.
    pub wall_ms: Option<u64>,
}

/// A Raft message, addressed to one replica id: a replica that has another id ignores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftEnvelope {
    /// Shard whose Raft group the message belongs to.
    pub shard: ShardId,
    /// Replica that sends the message.
    pub from: ReplicaId,
    /// Replica that is to receive the message.
    pub to: ReplicaId,
    /// Raft's kind of message; the numbers are those of [`RaftKind`].
    pub kind: RaftKind,
    /// Raft term of the message: the sender's own, or in a pre-vote the term that it would stand in.
    pub term: u64,
    /// Term of the entry before `entries`.
    pub log_term: u64,
    /// Index of the entry before `entries`, or what is answered.
    pub index: u64,
    /// Entries that the receiver is to append to its log, in order.
    pub entries: Vec<LogEntry>,
    /// Sender's commit index.
    pub commit: u64,
    /// Term of the entry at `commit`.
    pub commit_term: u64,
    /// True if the sender refuses what it was sent.
    pub reject: bool,
    /// Where the receiver's log may match.
    pub reject_hint: u64,
    /// Not zero: the sender needs a snapshot, whatever its log has.
    pub request_snapshot: u64,
    /// Of read-index rounds and leadership transfer.
    pub context: Bytes,
}

impl RaftEnvelope {
    /// One that says nothing but its kind and term: all else is zero or empty.
    pub fn empty(shard: ShardId, (from, to): (ReplicaId, ReplicaId), kind: RaftKind, term: u64) -> Self {
        Self {
            shard,
            from,
            to,
            kind,
            term,
            log_term: 0,
            index: 0,
            entries: Vec::new(),
            commit: 0,
            commit_term: 0,
            reject: false,
            reject_hint: 0,
            request_snapshot: 0,
            context: Bytes::new(),
        }
    }
}

/// The kinds of Raft messages that cross the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "raft's own names")]
pub enum RaftKind {
    Append,
    AppendResponse,
    RequestVote,
    RequestVoteResponse,
    RequestPreVote,
    RequestPreVoteResponse,
    Heartbeat,
    HeartbeatResponse,
    TimeoutNow,
}

/// The head of a snapshot: a shard's whole state at one applied index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotOffer {
    /// Names this transfer; unique for the sending replica.
    pub id: u64,
    /// Replica that sends the snapshot: the shard's leader.
    pub from: ReplicaId,
    /// Replica that is to install the snapshot.
    pub to: ReplicaId,
    /// Raft term that the sender leads in.
    pub term: u64,
    /// Applied index that the data is at.
    pub index: u64,
    /// Raft term of the entry at `index`.
    pub index_term: u64,
    /// The shard's descriptor as of `index`.
    pub descriptor: Descriptor,
    /// Highest version given in the shard.
    pub last_version: Version,
    /// Requests issued at or before this are refused.
    pub request_floor: Version,
    /// Estimate of all bytes to come, for progress.
    pub bytes: u64,
    /// Format level whose rules the shard's copies follow at that index.
    pub level: FormatLevel,
}

/// Records of a snapshot, in key order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotChunk {
    /// Shard that the snapshot is of.
    pub shard: ShardId,
    /// Id of the transfer, as in its offer.
    pub id: u64,
    /// Replica that is to install the snapshot.
    pub to: ReplicaId,
    /// Counts from 0 without gaps.
    pub sequence: u64,
    /// Store keys and values: of the family data, and at the end the request ids.
    pub records: Vec<(Bytes, Bytes)>,
    /// True for the snapshot's last piece.
    pub last: bool,
    /// CRC32C over the keys and values in order.
    pub checksum: u32,
}

/// The receiver's answer to an offer or a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotAck {
    /// Shard that the snapshot is of.
    pub shard: ShardId,
    /// Id of the transfer, as in its offer.
    pub id: u64,
    /// The sending replica, that this answers.
    pub from: ReplicaId,
    /// Where the transfer stands.
    pub state: SnapshotState,
}

/// Where a transfer stands at the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotState {
    /// Chunks below this sequence are stored; go on.
    Want(u64),
    /// All is stored and the replica stands at the snapshot's index.
    Installed,
    /// The receiver does not need it: it can go on with the log.
    Refused,
}

/// What a shard's leader, or a copy of a quorum shard, says of removing a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertifyAnswer {
    /// No replica on that node, and this many in-step copies elsewhere.
    Clear {
        /// Number of copies that are in step, the leader's included. A copy of a quorum shard counts itself if it is
        /// complete.
        in_sync: u32,
        /// Generation of the leader's descriptor, or of the layout that the quorum copy holds durably.
        generation: Generation,
    },
    /// The node still has a replica of the shard.
    Held {
        /// Replica that is still on the node.
        replica: ReplicaId,
    },
    /// The asked node does not lead the shard (any more), or has no copy of the quorum shard.
    NotLeader,
}
