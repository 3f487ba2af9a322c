//! What a node is told: the inputs of its step function.

use crate::command::{Command, Read, ReadConsistency, WriteOptions};
use crate::ids::{Incarnation, NodeId, ShardId, TableId, Token};
use crate::message::PeerMessage;
use crate::node::WantedRecovery;
use crate::system::SystemCommand;

/// Something that happened and that the node is told of.
#[derive(Debug)]
pub enum Input {
    /// [`super::TICK_MS`] have passed. Never handed in twice for one period, however late.
    Tick,
    /// Messages from another node. The shell has checked the cluster id.
    Peer {
        /// Node that sent the messages.
        from: NodeId,
        /// Incarnation of the node that sent them.
        incarnation: Incarnation,
        /// In the order they were sent.
        messages: Vec<PeerMessage>,
    },
    /// A write of a client, keys encoded.
    Write {
        /// Token that the answer is to carry.
        token: Token,
        /// Table that is written.
        table: TableId,
        /// The write that the client wants.
        command: Command,
    },
    /// A write of a client with what it asks of a quorum table beside it, keys encoded.
    WriteWith {
        /// Token that the answer is to carry.
        token: Token,
        /// Table that is written.
        table: TableId,
        /// The write that the client wants.
        command: Command,
        /// How many copies must confirm it, and what was seen before.
        options: Box<WriteOptions>,
    },
    /// A read of a client, keys encoded.
    Read {
        /// Token that the answer is to carry.
        token: Token,
        /// Table that is read.
        table: TableId,
        /// What the client wants to read.
        read: Read,
        /// How fresh the data must be.
        consistency: ReadConsistency,
    },
    /// A read of a client with what it asks of a quorum table beside it, keys encoded.
    ReadWith {
        /// Token that the answer is to carry.
        token: Token,
        /// Table that is read.
        table: TableId,
        /// What the client wants to read.
        read: Read,
        /// How fresh the data must be.
        consistency: ReadConsistency,
        /// R for this read; promises nothing where it is lower than the table's. `None` = the table's.
        copies: Option<usize>,
    },
    /// A request of the operator, a joining node, or a client that wants the status.
    Admin {
        /// Token that the answer is to carry.
        token: Token,
        /// The order or the question.
        request: Box<AdminRequest>,
    },
    /// Everything in the log batch of this and lower sequences is durable.
    LogDurable {
        /// Sequence of the [`super::LogBatch`].
        sequence: u64,
    },
    /// A sync of the engine that began after the effects with this number were carried out has finished.
    EngineDurable {
        /// Mark of the sync, as in [`super::Effects::sync`].
        mark: u64,
    },
    /// The process is about to stop: leadership goes to copies that are in sync elsewhere.
    StepAside,
    /// What a look at the disk has found.
    Disk {
        /// True: puts are refused until it is false again.
        full: bool,
        /// Bytes that store and log take.
        bytes: u64,
    },
    /// How many bytes of records there is room for in answers to reads, until the next such input. Reads beyond it are
    /// refused; the last one may exceed it by one record or page. Without this input there is always room.
    AnswerRoom {
        /// Bytes of keys and values.
        bytes: usize,
    },
}

/// What the system shard's leader answers, where nothing else is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminRequest {
    /// A change of the system shard.
    Command(SystemCommand),
    /// May this node, in this incarnation, be removed?
    CertifyRemoval {
        /// Node that is to be removed.
        node: NodeId,
        /// Incarnation of the node, as the asker knows it.
        incarnation: Incarnation,
    },
    /// The map and the latest reports.
    Status,
    /// What would become of the data shards without a leader if these nodes were lost for ever. Changes nothing.
    PlanRecoveries {
        /// Nodes that are gone for good.
        lost: Vec<NodeId>,
        /// Only this shard, whether it has a leader or not. `None` = all without a leader, as many as fit into one answer.
        only: Option<ShardId>,
    },
    /// Has a data shard go on from one copy.
    Recover(WantedRecovery),
    /// How this node's own copy of the system shard is, if that has no leader. Any node answers.
    SystemCopy,
    /// Has the system shard go on from this node's own copy. Any node answers.
    RecoverSystem(WantedRecovery),
}
