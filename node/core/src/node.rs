//! One node's core: all its replicas, its view of the map, and, where it leads the system shard, the steward.
//!
//! A plain step function: [`Node::handle`] takes inputs, [`Node::ready`] gives what the shell is to do. The shell
//! and the simulator run the same code. It may call the [`Engine`](crate::engine::Engine), reads no clock and draws no random number.

use std::sync::Arc;

use crate::command::{Command, Outcome, Read, ReadConsistency, ReadResult};
use crate::ids::{ClusterId, Epoch, Incarnation, NodeId, ReplicaId, ShardId, TableId, Token};
use crate::limits::LimitExceeded;
use crate::log::{LogCut, LogWrite};
use crate::map::Map;
use crate::message::{NodeReport, PeerMessage, ShardReport};
use crate::system::{SystemCommand, SystemRefusal, SystemReply};

/// Ticks between two reports to the steward.
pub const REPORT_TICKS: u64 = 10;
/// Milliseconds between two ticks.
pub const TICK_MS: u64 = 50;

/// What a node is, durable on its volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Which database.
    pub cluster: ClusterId,
    /// Which node.
    pub node: NodeId,
    /// Which start; counted up and made durable before the core is built.
    pub incarnation: Incarnation,
    /// Where the others reach it.
    pub address: String,
    /// Its failure domain.
    pub zone: String,
}

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// [`TICK_MS`] have passed. Never handed in twice for one period, however late.
    Tick,
    /// From another node. The shell has checked the cluster id.
    Peer {
        /// Sender.
        from: NodeId,
        /// Its start.
        incarnation: Incarnation,
        /// In the order they were sent.
        messages: Vec<PeerMessage>,
    },
    /// A write of a client, keys encoded.
    Write {
        /// To be answered with.
        token: Token,
        /// Which table.
        table: TableId,
        /// What to do.
        command: Command,
    },
    /// A read of a client, keys encoded.
    Read {
        /// To be answered with.
        token: Token,
        /// Which table.
        table: TableId,
        /// What to read.
        read: Read,
        /// How fresh.
        consistency: ReadConsistency,
    },
    /// Of the operator, a joining node, or a client that wants the status.
    Admin {
        /// To be answered with.
        token: Token,
        /// What is asked.
        request: AdminRequest,
    },
    /// Everything in the log batch of this and lower sequences is durable.
    LogDurable {
        /// Of [`LogBatch`].
        sequence: u64,
    },
    /// A sync of the engine that began after the effects with this number were carried out has finished.
    EngineDurable {
        /// Of [`Effects::sync`].
        mark: u64,
    },
    /// The disk's state changed.
    Disk {
        /// True: puts are refused until it is false again.
        full: bool,
        /// Bytes that store and log take.
        bytes: u64,
    },
}

/// What only the system shard's leader answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminRequest {
    /// A change of the system shard.
    Command(SystemCommand),
    /// May this node, in this incarnation, be removed?
    CertifyRemoval {
        /// Who.
        node: NodeId,
        /// As the asker knows it.
        incarnation: Incarnation,
    },
    /// The map and the latest reports.
    Status,
}

/// What the shell is to do, in any order but for what is said at each field.
#[derive(Debug, Default)]
pub struct Effects {
    /// Append in one go, then say [`Input::LogDurable`] with its sequence. Batches in the order given.
    pub log: Option<LogBatch>,
    /// To send; loss and reordering are allowed.
    pub send: Vec<(NodeId, PeerMessage)>,
    /// To answer.
    pub answers: Vec<(Token, Answer)>,
    /// The log may forget these. Safe at any later time.
    pub cuts: Vec<LogCut>,
    /// The map changed.
    pub map: Option<Arc<Map>>,
    /// Sync the engine now, off this thread, and say [`Input::EngineDurable`] with this mark.
    pub sync: Option<u64>,
}

/// What to append to the shared log in one go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogBatch {
    /// Rises by one.
    pub sequence: u64,
    /// At most one a shard.
    pub writes: Vec<LogWrite>,
}

/// The answer to a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To a write.
    Write(Result<Outcome, Refusal>),
    /// To a read.
    Read(Result<ReadResult, Refusal>),
    /// To an admin request.
    Admin(Result<AdminReply, AdminRefusal>),
}

/// Why a node did not serve a client. Each says whether the write may have happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing happened. Ask the leader.
    #[error("shard {shard} is led by another node")]
    NotLeader {
        /// Which shard.
        shard: ShardId,
        /// Best known leader's node. `None` = unknown now; try any member.
        leader: Option<NodeId>,
    },
    /// Nothing happened. The keys are not on this node, or not in one shard; route anew with a map of at least this epoch.
    #[error("the keys are not in one shard of this node at epoch {epoch}")]
    WrongShard {
        /// Of this node's map.
        epoch: Epoch,
    },
    /// Nothing happened.
    #[error("table {0} is unknown here or dropped")]
    UnknownTable(TableId),
    /// The write may have happened; a retry with the same request id finds out.
    #[error("leadership of shard {shard} was lost before the outcome was known")]
    OutcomeUnknown {
        /// Which shard.
        shard: ShardId,
    },
    /// Nothing happened. Try again after a pause.
    #[error("shard {shard} has {queued} requests waiting, its most")]
    Overloaded {
        /// Which shard.
        shard: ShardId,
        /// Requests waiting.
        queued: usize,
    },
    /// Nothing happened; deletes are still taken.
    #[error("the disk of this node is nearly full: only deletes are taken")]
    DiskFull,
    /// Nothing happened, and never will.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// The replica here has not seen everything that old yet.
    #[error("this replica is {behind_ms} ms behind, more than asked for")]
    TooStale {
        /// How far behind. `u64::MAX` = unknown.
        behind_ms: u64,
    },
}

impl Refusal {
    /// True if the write may have taken effect all the same.
    pub fn may_have_happened(&self) -> bool {
        matches!(self, Self::OutcomeUnknown { .. })
    }
}

/// The system shard's leader's answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminReply {
    /// To a command.
    Command(SystemReply),
    /// To a request for a certificate.
    Removal(Removal),
    /// To a request for the status.
    Status(Box<Status>),
}

/// Why an admin request was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminRefusal {
    /// Nothing happened.
    #[error("this node does not lead the system shard")]
    NotLeader {
        /// Best known leader's node.
        leader: Option<NodeId>,
    },
    /// The command may have happened; commands may be repeated.
    #[error("leadership of the system shard was lost before the outcome was known")]
    OutcomeUnknown,
    /// Nothing happened.
    #[error(transparent)]
    Refused(#[from] SystemRefusal),
}

/// May a node be removed? Unknown is never yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// Proven, now.
    Safe(Certificate),
    /// Not now, and why.
    NotYet(Vec<NotYet>),
    /// Some leader did not answer: no statement.
    Unknown {
        /// Shards without an answer.
        shards: Vec<ShardId>,
    },
}

/// The system shard's proof that a node, in one incarnation, can be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Who.
    pub node: NodeId,
    /// Which start.
    pub incarnation: Incarnation,
    /// Of the map it was given on.
    pub epoch: Epoch,
    /// Shards whose leaders were asked.
    pub shards: u64,
}

/// A reason that stands against a removal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotYet {
    /// Drain first.
    #[error("node {0} is not draining")]
    NotDraining(NodeId),
    /// Another start.
    #[error("asked about incarnation {asked}, the latest is {latest}")]
    OtherIncarnation {
        /// In the question.
        asked: Incarnation,
        /// In the registry.
        latest: Incarnation,
    },
    /// A replica is on it.
    #[error("shard {shard} has a replica on it")]
    Holds {
        /// Which.
        shard: ShardId,
    },
    /// Not enough copies elsewhere.
    #[error("shard {shard}: {in_step}/{wanted} copies in step elsewhere")]
    Copies {
        /// Which.
        shard: ShardId,
        /// In step elsewhere.
        in_step: u32,
        /// Replication factor.
        wanted: u32,
    },
}

/// The database as the steward sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// At the leader's applied index.
    pub map: Arc<Map>,
    /// The latest report of each node, with its age in milliseconds. A node without one has not been heard of since
    /// this leader took over: unknown, not absent.
    pub nodes: Vec<(NodeReport, u64)>,
    /// The latest report of each shard's leader, with its age in milliseconds.
    pub shards: Vec<(ShardReport, u64)>,
    /// Who answers.
    pub steward: NodeId,
    /// Copies that are lost, and being built anew.
    pub lost: Vec<(ShardId, ReplicaId)>,
}
