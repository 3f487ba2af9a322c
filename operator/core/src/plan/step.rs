//! What a plan is made of.

use std::fmt;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use skerry_api::{PendingRemoval, Victim};
use skerry_core::ids::{Incarnation, NodeId};
use skerry_core::system::AdminChange;

use crate::forecast::Moves;

/// One thing for the shell to do. Done twice, it is as if done once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write down who leaves. Nothing is done to them before that is durable.
    RecordVictims(Vec<Victim>),
    /// Write down which tables are to go, and since when. None goes before that is durable.
    RecordRemovals(Vec<PendingRemoval>),
    /// Make a slot and start its node, which joins the database, or founds it if there is none.
    AddSlot {
        /// Its name.
        slot: String,
        /// Its failure domain.
        zone: String,
    },
    /// Change the system shard, with the plan's epoch and the operator's fencing token.
    Change(AdminChange),
    /// Ask for a certificate now, and only with it remove the node from the database.
    RemoveNode {
        /// Which.
        node: NodeId,
        /// Its start that was looked at.
        incarnation: Incarnation,
    },
    /// Tell the only node to found the database. Told twice, it says that it has.
    Found {
        /// Its slot.
        slot: String,
    },
    /// Write down that the database was founded. Nothing else is done to it before that is durable.
    RecordFounded,
    /// Stop the node of a slot; it comes back as the spec says now.
    RestartNode {
        /// Its slot.
        slot: String,
    },
    /// Set the lost volume of a slot aside, and give it an empty one. The node that comes is a new one.
    ReplaceVolume {
        /// Which.
        slot: String,
    },
    /// Stop the node of a slot, keep its volume aside, forget the slot.
    RemoveSlot {
        /// Its name.
        slot: String,
    },
}

/// What holds the rest of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// The spec says so.
    Paused,
    /// What slots there are is unknown, and why.
    SlotsUnknown(String),
    /// The first node is to found the database.
    Founding(String),
    /// The database does not answer, and why.
    Unreachable(String),
    /// A person is to approve the moves.
    Approval {
        /// What the annotation must say.
        generation: i64,
        /// What would move.
        moves: Box<Moves>,
    },
    /// The copies cannot be placed so, and why. A person must change the spec.
    NoPlacement(String),
    /// A table is laid out otherwise, or in other shards, and stays so. A person must change the spec.
    OtherFragmentation {
        /// Its name.
        table: String,
    },
    /// A table that the spec does not name any more is dropped, unless it is put back before.
    TableToGo {
        /// The table's name.
        table: String,
        /// The moment at which its delay is over, by the wall clock of who looks.
        at: Time,
    },
    /// Nodes run otherwise than the spec says, and cannot be restarted yet.
    Restarting {
        /// Their slots.
        slots: Vec<String>,
        /// What holds the next one up.
        why: String,
    },
    /// A node was started as the spec says, and does not run. No other is started so. A person must change the spec, or
    /// what it needs.
    RolloutStopped {
        /// Its slot.
        slot: String,
        /// Why it does not run.
        why: String,
        /// Slots whose nodes were not started as the spec says, and are left as they are.
        others: Vec<String>,
    },
    /// A volume is lost, and is replaced if its node stays away.
    VolumeLost {
        /// Whose.
        slot: String,
        /// Until then.
        left: Duration,
    },
    /// Nodes are to join, named by their slots.
    Joining(Vec<String>),
    /// A node is to be emptied.
    Emptying {
        /// Which.
        node: NodeId,
        /// Shards that name it.
        shards: usize,
    },
}

impl Wait {
    /// In CamelCase, for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Paused => "Paused",
            Self::SlotsUnknown(_) => "SlotsUnknown",
            Self::Founding(_) => "Founding",
            Self::Unreachable(_) => "DatabaseUnreachable",
            Self::Approval { .. } => "ApprovalAwaited",
            Self::NoPlacement(_) => "NoPlacement",
            Self::OtherFragmentation { .. } => "OtherFragmentation",
            Self::TableToGo { .. } => "TableToGo",
            Self::Restarting { .. } => "NodesRestarting",
            Self::RolloutStopped { .. } => "RolloutStopped",
            Self::VolumeLost { .. } => "VolumeLost",
            Self::Joining(_) => "NodesJoining",
            Self::Emptying { .. } => "NodeNotEmpty",
        }
    }

    /// True if it goes on for long, whatever is done meanwhile: nodes can be restarted, and to look again soon is of no use.
    pub fn is_long(&self) -> bool {
        self.needs_a_person() || matches!(self, Self::TableToGo { .. })
    }

    /// True if a person wants it so: nothing is wrong.
    pub fn is_wished(&self) -> bool {
        matches!(self, Self::Paused | Self::Approval { .. })
    }

    /// True if it stays so until a person does something.
    pub fn needs_a_person(&self) -> bool {
        match self {
            Self::Paused
            | Self::Approval { .. }
            | Self::NoPlacement(_)
            | Self::OtherFragmentation { .. }
            | Self::RolloutStopped { .. } => true,
            Self::SlotsUnknown(_)
            | Self::Founding(_)
            | Self::Unreachable(_)
            | Self::TableToGo { .. }
            | Self::Restarting { .. }
            | Self::VolumeLost { .. }
            | Self::Joining(_)
            | Self::Emptying { .. } => false,
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused => f.write_str("paused: set spec.paused to false to go on"),
            Self::SlotsUnknown(why) => write!(f, "what nodes there are is unknown: {why}"),
            Self::Founding(slot) => write!(f, "{slot} is to found the database"),
            Self::Unreachable(why) => write!(f, "the database does not answer: {why}"),
            Self::Approval { generation, moves } => write!(
                f,
                "{} replicas of {} shards would move, {} bytes; to approve, set the annotation {} to \"{generation}\"",
                moves.replicas,
                moves.shards,
                moves.bytes,
                skerry_api::APPROVED_PLAN,
            ),
            Self::NoPlacement(why) => f.write_str(why),
            Self::OtherFragmentation { table } => {
                write!(f, "table {table:?} is laid out otherwise than the spec says, and stays so: name another table")
            }
            Self::TableToGo { table, at } => write!(
                f,
                "table {table:?} is dropped with its data at {:.0}: put it back into spec.tables before that to keep it",
                at.0,
            ),
            Self::Restarting { slots, why } => write!(f, "{} to be restarted: {why}", slots.join(", ")),
            Self::RolloutStopped { slot, why, others } => write!(
                f,
                "{slot} was started as the spec says and does not run: {why}; {} stay as they are: correct the spec",
                others.join(", "),
            ),
            Self::VolumeLost { slot, left } => {
                write!(f, "the volume of {slot} is lost; it is replaced by an empty one in {} s", left.as_secs())
            }
            Self::Joining(slots) => write!(f, "{} to join", slots.join(", ")),
            Self::Emptying { node, shards } => write!(f, "{node} to be emptied of {shards} shards"),
        }
    }
}
