//! The system shard's commands: what may be changed of catalog, node registry, shard map and targets, and by whom.
//!
//! [`state`] decides every command when it is applied, so that all its replicas decide the same.

pub mod state;

mod fence;
mod lengths;
mod levels;
mod members;
mod nodes;
mod quorum;
mod record_key;
mod recovery;
mod tables;
mod targets;

mod stored;

#[cfg(test)]
mod tests;

pub(crate) use lengths::check_lengths;
pub use quorum::{QuorumRecovery, StepKind, StepRefusal};
pub use state::SystemState;
pub use stored::LoadError;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, Generation, Incarnation, NodeId, ReplicaId, ShardId, TableId};
use crate::level::FormatLevel;
use crate::limits::REPLICATION_FACTOR_MAX;
use crate::map::{Descriptor, Fragmentation, MoveLimits, Quorums, Replica};
use crate::quorum::shown::Resolve;

/// A command to the system shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SystemCommand {
    /// A node with an empty volume asks for an id. The same volume gets the same id again.
    Join(NewNode),
    /// A node has started: its address, zone and incarnation are what counts from now on.
    Start {
        /// Node that has started.
        node: NodeId,
        /// Incarnation of this start. Not below the recorded one.
        incarnation: Incarnation,
        /// `host:port` where the node is reached.
        address: String,
        /// The node's failure domain. Empty = none named.
        zone: String,
    },
    /// A change that the operator wants.
    Admin {
        /// Who asks, and on what it was decided.
        fence: Fence,
        /// The change that is wanted.
        change: AdminChange,
    },
    /// The steward notes a shard's newer descriptor.
    Record(Descriptor),
    /// The steward chooses the copies that a shard's leader is to bring about. A `ReplicaId(0)` asks for a new id.
    /// Refused if the shard's record has changed since `based_on`.
    Assign {
        /// Shard whose copies are chosen.
        shard: ShardId,
        /// Epoch of the shard's record that it was decided on.
        based_on: Epoch,
        /// The copies that the shard is to have, on distinct nodes.
        replicas: Vec<Replica>,
        /// The new target too, for the system shard, whose target is the steward's own choice. `None` = unchanged.
        target: Option<Vec<NodeId>>,
    },
    /// A shard goes on from one copy, as a person has decided, or the steward if nothing was ever written to it. The steward
    /// has checked that nothing else is left. Not for the system shard, which cannot decide anything then. Refused if the
    /// shard's record has changed since `based_on`.
    Recover {
        /// Shard that is recovered.
        shard: ShardId,
        /// Epoch of the shard's record that it was decided on.
        based_on: Epoch,
        /// The copy to go on from, the copies that are given up, and when it was decided.
        recovery: Recovery,
    },
    /// The steward has heard of every node that it has this format level. Refused if a node's record has changed since
    /// `based_on`: it may be one that has a lower level. From level 2 on.
    EnableLevel {
        /// Which. One that is not above the enabled one changes nothing.
        level: FormatLevel,
        /// Epoch of the map that it was decided on.
        based_on: Epoch,
    },
    /// Like `Join`, by a node whose program has format levels up to this one. From level 2 on.
    JoinAt {
        /// What the node says of itself.
        node: NewNode,
        /// The highest that it reads and writes.
        level: FormatLevel,
    },
    /// The steward takes the next step of a change of a quorum shard's copies, which is due by what their nodes have
    /// reported. Refused unless the shard is at just this generation. From level 3 on.
    Step {
        /// Shard whose copies change.
        shard: ShardId,
        /// The shard's generation that it was decided on.
        based_on: Generation,
        /// Which way the change goes: begun, one stage on, or one back.
        step: StepKind,
    },
    /// A quorum shard goes on with what its copies hold, or without copies that are gone for good. Refused if the shard's
    /// record has changed since `based_on`. From level 3 on.
    RecoverQuorum {
        /// Shard that goes on.
        shard: ShardId,
        /// Epoch of the shard's record that it was decided on.
        based_on: Epoch,
        /// The layout to go on with, and the copies that are given up.
        recovery: QuorumRecovery,
    },
}

impl SystemCommand {
    /// The format level that a node needs in order to read this.
    pub fn level(&self) -> FormatLevel {
        match self {
            Self::EnableLevel { .. } | Self::JoinAt { .. } => FormatLevel(2),
            Self::Step { .. } | Self::RecoverQuorum { .. } => FormatLevel::QUORUM,
            Self::Admin { change, .. } => change.level(),
            Self::Join(_) | Self::Start { .. } | Self::Record(_) | Self::Assign { .. } | Self::Recover { .. } => {
                FormatLevel::FIRST
            }
        }
    }

    /// The shard whose copies the steward changes, or chooses, by this. `None` = it is another command.
    pub(crate) fn shard(&self) -> Option<ShardId> {
        match self {
            Self::Assign { shard, .. } | Self::Step { shard, .. } | Self::RecoverQuorum { shard, .. } => Some(*shard),
            Self::Join(_)
            | Self::JoinAt { .. }
            | Self::Start { .. }
            | Self::Admin { .. }
            | Self::Record(_)
            | Self::Recover { .. }
            | Self::EnableLevel { .. } => None,
        }
    }

    /// The format level that has to be enabled before this: a node that cannot read it must not meet it. Levels are
    /// enabled, and nodes join, by commands that need none.
    pub fn enabled_by(&self) -> FormatLevel {
        match self {
            Self::EnableLevel { .. } | Self::JoinAt { .. } => FormatLevel::FIRST,
            Self::Join(_)
            | Self::Start { .. }
            | Self::Admin { .. }
            | Self::Record(_)
            | Self::Assign { .. }
            | Self::Recover { .. }
            | Self::Step { .. }
            | Self::RecoverQuorum { .. } => self.level(),
        }
    }
}

/// A shard goes on from one copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// The copy that is kept, under a new id.
    pub from: Replica,
    /// Index and term of the last entry in its log.
    pub last: (u64, u64),
    /// The highest generation that is known of the shard.
    pub generation: Generation,
    /// The copies that are given up.
    pub given_up: Vec<Replica>,
    /// Milliseconds since 1970. 0 = nobody has decided it: nothing was ever written to the shard.
    pub at_ms: u64,
}

/// What a node says of itself when it joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewNode {
    /// Id of the volume, drawn once at random when the volume is first used.
    pub volume: String,
    /// Address of the node, `host:port`.
    pub address: String,
    /// Failure domain; empty = none named.
    pub zone: String,
}

/// Keeps a former operator, and a decision on an old map, from acting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// The transitions of the operator's lease. Lower than the highest seen is refused.
    pub token: u64,
    /// The map's epoch that the wish was decided on. Refused if what it touches has changed since in a way that the
    /// wish did not know. `None` = does not depend on the map. The removal of a node is based on the epoch of its
    /// certificate: see [`crate::node::Certificate::removal`].
    pub based_on: Option<Epoch>,
}

/// A change that the operator may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminChange {
    /// A new table with its first shards. Repeating it with the same parameters is answered with the same table.
    CreateTable {
        /// Name of the table: a DNS label.
        name: String,
        /// How the table's keys become its ordered range.
        fragmentation: Fragmentation,
        /// Number of copies that every shard is to have.
        replication_factor: u32,
        /// In key order; they cover the key space once.
        shards: Vec<NewShard>,
    },
    /// Another number of copies; the targets follow by `SetTargets`.
    AlterTable {
        /// Table that changes.
        table: TableId,
        /// Number of copies that every shard is to have.
        replication_factor: u32,
    },
    /// Drops a table and its data.
    DropTable {
        /// Table that is dropped.
        table: TableId,
    },
    /// Where replicas belong. Refused as a whole if one node is unknown, draining or removed.
    SetTargets(Vec<(ShardId, Vec<NodeId>)>),
    /// The node is to hold no replica.
    Drain(NodeId),
    /// Ends the drain of a node, which may hold replicas again.
    Reactivate(NodeId),
    /// The node is gone for good. Only on a certificate of the steward that was given lately and still fits: the node
    /// drains, its record is as it was at the certificate's epoch, which the fence must name, and no shard's record
    /// names it.
    Remove(NodeId),
    /// Sets the limits of data moves between nodes.
    SetLimits(MoveLimits),
    /// As `CreateTable`, a table several of whose copies take the writes. From level 3 on.
    CreateQuorumTable {
        /// Name of the table: a DNS label.
        name: String,
        /// How the table's keys become its ordered range.
        fragmentation: Fragmentation,
        /// Number of copies that every shard is to have.
        replication_factor: u32,
        /// W and R: each from 1 to the replication factor.
        quorums: Quorums,
        /// How values that were written at the same time become what a reader is shown.
        resolve: Resolve,
        /// In key order; they cover the key space once.
        shards: Vec<NewShard>,
    },
    /// Another number of copies, W, R or rule for what was written at the same time, of a quorum table: all as they are
    /// to be. From level 3 on.
    AlterQuorumTable {
        /// Table that changes.
        table: TableId,
        /// Number of copies that every shard is to have.
        replication_factor: u32,
        /// W and R: each from 1 to the replication factor.
        quorums: Quorums,
        /// How values that were written at the same time become what a reader is shown.
        resolve: Resolve,
    },
}

impl AdminChange {
    fn level(&self) -> FormatLevel {
        match self {
            Self::CreateQuorumTable { .. } | Self::AlterQuorumTable { .. } => FormatLevel::QUORUM,
            Self::CreateTable { .. }
            | Self::AlterTable { .. }
            | Self::DropTable { .. }
            | Self::SetTargets(_)
            | Self::Drain(_)
            | Self::Reactivate(_)
            | Self::Remove(_)
            | Self::SetLimits(_) => FormatLevel::FIRST,
        }
    }
}

/// A shard of a new table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewShard {
    /// First encoded key; empty for the first shard.
    pub start: Bytes,
    /// Where its first replicas are: distinct, active nodes.
    pub nodes: Vec<NodeId>,
}

/// What the system shard answers to a command that it carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SystemReply {
    /// Done, or it was so already; the map is at this epoch.
    Done(Epoch),
    /// The id of the node that joined.
    Joined(NodeId),
    /// The id of the table that was created, or that exists with the same parameters.
    Table(TableId),
}

/// Why the system shard refused a command. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum SystemRefusal {
    /// An operator with a higher fencing token has acted.
    #[error("fencing token {token} is below {highest}: another operator has taken over")]
    Fenced {
        /// Fencing token of the command.
        token: u64,
        /// Highest fencing token that the system shard has seen.
        highest: u64,
    },
    /// The map has changed since the decision.
    #[error("decided on epoch {based_on}, but {what} changed at epoch {changed}: decide again")]
    Stale {
        /// Epoch that the command was decided on.
        based_on: Epoch,
        /// Epoch of the record's last change.
        changed: Epoch,
        /// Names the record that has changed, in words.
        what: String,
    },
    /// No node has this id.
    #[error("node {0} is unknown")]
    UnknownNode(NodeId),
    /// The node was removed from the database.
    #[error("node {0} was removed; its volume cannot come back under this id")]
    RemovedNode(NodeId),
    /// The node is draining.
    #[error("node {0} is draining; nothing new can be placed on it")]
    DrainingNode(NodeId),
    /// A later start of the node is known.
    #[error("incarnation {incarnation} of node {node} is over; {highest} has started")]
    OldIncarnation {
        /// Node that the command is about.
        node: NodeId,
        /// Incarnation that the command names.
        incarnation: Incarnation,
        /// Highest incarnation of the node that is recorded.
        highest: Incarnation,
    },
    /// No table has this id.
    #[error("table {0} is unknown or dropped")]
    UnknownTable(TableId),
    /// No shard has this id.
    #[error("shard {0} is unknown")]
    UnknownShard(ShardId),
    /// The name is taken by a table with other parameters.
    #[error("table {0} exists with other parameters")]
    TableExists(String),
    /// The name is not a DNS label.
    #[error("table name {0:?} must be a DNS label of at most 63 characters")]
    TableName(String),
    /// Too few or too many copies.
    #[error("replication factor {wanted} must be between 1 and {allowed}")]
    ReplicationFactor {
        /// Replication factor that was asked for.
        wanted: u32,
        /// Highest factor that is allowed: a fixed limit, or the number of nodes that were named for a shard.
        allowed: usize,
    },
    /// The shards do not cover the key space once, or are too many.
    #[error("shards must start with the empty key and rise strictly, at most {allowed}: shard {position} does not")]
    Shards {
        /// Position of the wrong shard in the list, from 0 on.
        position: usize,
        /// Highest number of shards that a table can be created with.
        allowed: usize,
    },
    /// A node named twice, none, or too many.
    #[error("shard {shard}: nodes of a target must be distinct, at least one and at most {REPLICATION_FACTOR_MAX}")]
    Target {
        /// Shard whose target is invalid.
        shard: ShardId,
    },
    /// The node still holds replicas.
    #[error("node {node} still holds {replicas} replicas, such as one of shard {example}")]
    NodeInUse {
        /// Node that was to be removed.
        node: NodeId,
        /// How many shards name the node.
        replicas: usize,
        /// One of the shards that name the node.
        example: ShardId,
    },
    /// The system table is not the operator's to alter or drop.
    #[error("the system table can be neither altered nor dropped")]
    SystemTable,
    /// A target that another sets: the operator those of tables' shards, the steward that of the system shard.
    #[error("the target of shard {shard} is not this command's to set")]
    TargetOwner {
        /// Shard whose target was to be set.
        shard: ShardId,
    },
    /// An assigned copy that is neither new nor a present one of that shard on that node. Ids are never reused.
    #[error("shard {shard} has no replica {replica} on node {node} to keep; ask for a new one")]
    UnknownReplica {
        /// Shard that the replica was said to be of.
        shard: ShardId,
        /// Node that the replica was said to be on.
        node: NodeId,
        /// Replica that was to be kept.
        replica: ReplicaId,
    },
    /// A descriptor whose table or bounds are not those recorded.
    #[error("shard {0} has other bounds than recorded")]
    Bounds(ShardId),
    /// A limit is out of range.
    #[error("moves per node must be at least 1 and bytes per second at least 65536")]
    Limits,
    /// A node is removed only once it drains.
    #[error("node {0} is not draining")]
    NotDraining(NodeId),
    /// A removal without a certificate of this steward, or with one that is too old or for another start.
    #[error("node {0} is removed only on a certificate that this steward gave lately: ask for one, and name its epoch")]
    Uncertified(NodeId),
    /// A name, an address or a key is too long.
    #[error("{what} must have at most {allowed} bytes, it has {bytes}")]
    TooLong {
        /// Names the value that is too long, in words.
        what: String,
        /// Length of the value, in bytes.
        bytes: usize,
        /// The greatest length that is allowed, in bytes.
        allowed: usize,
    },
    /// No later operator would come up to it.
    #[error("fencing token {token} is too far above those seen before: at most {allowed} is taken now")]
    TokenTooHigh {
        /// Fencing token of the command.
        token: u64,
        /// The highest that is taken, as things are.
        allowed: u64,
    },
    /// The node's program is older than what the database writes.
    #[error(
        "the database has enabled format level {enabled}, and this node's program has levels up to {level}: start it with a release that has level {enabled}"
    )]
    LevelTooLow {
        /// Highest format level of the node's program.
        level: FormatLevel,
        /// Format level that the database has enabled.
        enabled: FormatLevel,
    },
    /// The command is of a format level that the database has not enabled.
    #[error("this needs format level {needed}, and the database has enabled {enabled}: upgrade every node first")]
    NotEnabled {
        /// Format level that the command needs.
        needed: FormatLevel,
        /// Format level that the database has enabled.
        enabled: FormatLevel,
    },
    /// W or R that no shard of the table could have.
    #[error("W = {write} and R = {read} must each be from 1 to the replication factor, {replication_factor}")]
    Quorums {
        /// W that was asked for.
        write: u32,
        /// R that was asked for.
        read: u32,
        /// Replication factor that the table has, or is to have.
        replication_factor: u32,
    },
    /// A table's copies agree in one way for ever.
    #[error("table {0} keeps its consistency: make another table, and copy what is in this one")]
    Consistency(TableId),
    /// The copies of a quorum shard follow no leader.
    #[error("shard {0} has no leader, its copies agree by quorums")]
    QuorumShard(ShardId),
    /// A quorum shard is at another generation than the step was decided on.
    #[error("the step was decided on generation {based_on} of shard {shard}, which is at {generation}: decide again")]
    OtherGeneration {
        /// Shard whose copies were to change.
        shard: ShardId,
        /// Generation that the step was decided on.
        based_on: Generation,
        /// Generation that the shard is at.
        generation: Generation,
    },
    /// A step that leads nowhere from where the shard is.
    #[error("shard {shard}: {why}")]
    Step {
        /// Shard whose copies were to change.
        shard: ShardId,
        /// Why there is no such step.
        why: StepRefusal,
    },
}

impl ReplicaId {
    /// Asks the system shard for a new id.
    pub const NEW: Self = Self(0);
}
