//! The steps and waits that a plan is made of.

mod told;

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use skerry_api::{DistributedDatabaseStatus, PendingRemoval, Victim};
use skerry_core::ids::{Incarnation, NodeId, ShardId};
use skerry_core::level::FormatLevel;
use skerry_core::system::AdminChange;

use crate::forecast::Moves;
pub(super) use told::named;
use told::{growing, late, level, loss_to_accept};

/// One thing for the shell to do. Done twice, it is as if done once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write something down in the status. Nothing is done on it before that is durable.
    Record(Record),
    /// Make a slot and start its node, which joins the database, or founds it if there is none.
    AddSlot {
        /// Name of the new slot.
        slot: String,
        /// Failure domain of the new slot. Empty = none named.
        zone: String,
    },
    /// Change the system shard, with the plan's epoch and the operator's fencing token.
    Change(AdminChange),
    /// Ask for a certificate now, and only with it remove the node from the database.
    RemoveNode {
        /// Node that is to be removed from the database.
        node: NodeId,
        /// Its start that was looked at.
        incarnation: Incarnation,
    },
    /// Tell the only node to found the database. Told twice, it says that it has.
    Found {
        /// Name of the slot that the node is in.
        slot: String,
    },
    /// Stop the node of a slot; it comes back as the spec says now.
    RestartNode {
        /// Name of the slot that the node is in.
        slot: String,
    },
    /// Set the volume of a slot aside, lost or not, and give it an empty one. The node that comes is a new one.
    ReplaceVolume {
        /// Name of the slot whose volume is replaced.
        slot: String,
        /// True if nobody hears its node: whoever runs its process may not answer either, and is not waited for.
        silent: bool,
    },
    /// Stop the node of a slot, keep its volume aside, forget the slot.
    RemoveSlot {
        /// Name of the slot that is removed.
        slot: String,
    },
}

impl Step {
    /// The slot whose node is away for a while.
    pub(crate) fn takes_down(&self) -> Option<&str> {
        match self {
            Self::RestartNode { slot } | Self::ReplaceVolume { slot, .. } => Some(slot),
            Self::Record(_)
            | Self::AddSlot { .. }
            | Self::Change(_)
            | Self::RemoveNode { .. }
            | Self::Found { .. }
            | Self::RemoveSlot { .. } => None,
        }
    }
}

/// What is written down in the status before anything is done on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The nodes that are to leave the database.
    Victims(Vec<Victim>),
    /// The tables that are to be dropped, and since when.
    Removals(Vec<PendingRemoval>),
    /// The database was founded: no node may found it a second time.
    Founded,
}

impl Record {
    /// Writes this into the resource's status.
    pub fn write_to(&self, status: &mut DistributedDatabaseStatus) {
        match self {
            Self::Victims(victims) => status.victims.clone_from(victims),
            Self::Removals(removals) => status.table_removals.clone_from(removals),
            Self::Founded => status.founded = true,
        }
    }
}

/// How a wait comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// It ends by itself, and what it waits for is under way.
    Soon,
    /// It ends by itself, after long, whatever is done meanwhile: nodes can be restarted, and to look again soon is of no
    /// use.
    Later,
    /// Something is wrong: it stays so until a person corrects it.
    Corrected,
    /// Nothing is wrong: a person wants it so, until they say otherwise.
    Released,
}

/// What holds the rest of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// The spec pauses all changes.
    Paused,
    /// What slots there are is unknown, and why.
    SlotsUnknown(String),
    /// The first node is to found the database.
    Founding {
        /// The slot that the node is in.
        slot: String,
        /// Why the node was not heard, in words. `None` = it was, or there is none yet.
        why: Option<String>,
    },
    /// The slot that was to found the database is not as the spec says any more, does not run, and may have founded it before:
    /// it has a volume, and nobody says what is on it.
    FounderUnwanted {
        /// The slot that the node is in.
        slot: String,
    },
    /// The database does not answer, and why.
    Unreachable(String),
    /// A person is to approve the moves.
    Approval {
        /// Name of the database.
        database: String,
        /// Id of the plan: the approving annotation must have this value.
        plan: String,
        /// The copies and bytes that the plan would move.
        moves: Box<Moves>,
    },
    /// The copies cannot be placed so, and why. A person must change the spec.
    NoPlacement(String),
    /// A table is laid out otherwise, or in other shards, and stays so. A person must change the spec.
    OtherFragmentation {
        /// Name of the table.
        table: String,
    },
    /// A table's copies follow a leader and are to do without, or the other way round. It stays as it is.
    OtherConsistency {
        /// Name of the table.
        table: String,
        /// What it is, as the resource names it.
        there: &'static str,
    },
    /// Tables of a kind that the database cannot have before every node runs a release that knows it.
    FormatLevel {
        /// Names of the tables.
        tables: Vec<String>,
        /// The format level that the database has.
        enabled: FormatLevel,
        /// Nodes that run an older release.
        older: Vec<String>,
        /// Nodes of which it is not known what they run.
        unheard: Vec<String>,
    },
    /// A table that the spec does not name any more is dropped, unless it is put back before.
    TableToGo {
        /// Name of the table.
        table: String,
        /// The moment at which its delay is over, by the wall clock of who looks.
        at: Time,
    },
    /// Nodes run otherwise than the spec says, and cannot be restarted yet.
    Restarting {
        /// Names of the slots that these nodes are in.
        slots: Vec<String>,
        /// What holds the next one up.
        why: String,
    },
    /// A node was started as the spec says, and does not run. No other is started so. A person must change the spec, or
    /// what it needs.
    RolloutStopped {
        /// Name of the slot that the node is in.
        slot: String,
        /// Why the node does not run, in words.
        why: String,
        /// Slots whose nodes were not started as the spec says, and are left as they are.
        others: Vec<String>,
    },
    /// A volume is lost, and is replaced if its node stays away.
    VolumeLost {
        /// Name of the slot whose volume is lost.
        slot: String,
        /// The moment, by the wall clock of who looks.
        at: Time,
    },
    /// A volume is lost, and is not replaced: a shard that had a copy on it has no leader, or has lost so many copies that
    /// writes of a Quorum table may be lost with them. Or its node is silent, and may alone have such writes. A person must
    /// recover it, or accept its loss.
    LossToAccept {
        /// The slot whose volume is lost, or whose node is silent.
        slot: String,
        /// Its node, and the node's start that is known last. `None` = none had joined.
        node: Option<(NodeId, Incarnation)>,
        /// The shards that had a copy on it and that nobody leads, or that may lack writes.
        shards: Vec<ShardId>,
        /// What it is that may be lost.
        loss: Loss,
    },
    /// A node is silent, and is replaced if it stays so.
    NodeSilent {
        /// Name of the slot that the node is in.
        slot: String,
        /// The moment, by the wall clock of who looks.
        at: Time,
    },
    /// The volume of a slot is to be replaced, and cannot be yet.
    ReplacementHeld {
        /// The slot that is to get a new volume.
        slot: String,
        /// Why the replacement cannot begin yet, in words.
        why: String,
    },
    /// A volume was replaced, or is about to be. A node is to join on the new one.
    Replacing {
        /// The slot that gets a new volume.
        slot: String,
    },
    /// A person asked for the replacement of what is not there.
    NoSuchSlot {
        /// The slot that the person named.
        slot: String,
        /// Names of the slots that there are.
        there: Vec<String>,
    },
    /// Nodes have not joined for long. The rest goes on without them.
    Late {
        /// Their slots, and why they do not run, if anybody says so.
        slots: Vec<(String, Option<String>)>,
        /// Nodes that leave only when they have joined.
        held: Vec<NodeId>,
        /// Why the copies have no places without them. `None` = they have.
        why: Option<String>,
    },
    /// Volumes are to be larger, and are not yet.
    VolumesGrowing {
        /// Their slots, what they have, and why they have no more, if anybody says so.
        volumes: Vec<(String, String, Option<String>)>,
        /// What they are to have.
        size: String,
    },
    /// Nodes are to join, named by their slots.
    Joining(Vec<String>),
    /// A node is to be emptied.
    Emptying {
        /// Node whose replicas are to move to other nodes.
        node: NodeId,
        /// Number of shards that still name the node.
        shards: usize,
        /// Of these, shards that cannot move: they have no leader, or lack copies that a move of a Quorum shard needs.
        stuck: Vec<ShardId>,
    },
}

impl Wait {
    /// The reason in CamelCase, for programs to compare.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Paused => "Paused",
            Self::SlotsUnknown(_) => "SlotsUnknown",
            Self::Founding { .. } => "Founding",
            Self::FounderUnwanted { .. } => "FounderUnwanted",
            Self::Unreachable(_) => "DatabaseUnreachable",
            Self::Approval { .. } => "ApprovalAwaited",
            Self::NoPlacement(_) => "NoPlacement",
            Self::OtherFragmentation { .. } => "OtherFragmentation",
            Self::OtherConsistency { .. } => "OtherConsistency",
            Self::FormatLevel { .. } => "FormatLevelAwaited",
            Self::TableToGo { .. } => "TableToGo",
            Self::Restarting { .. } => "NodesRestarting",
            Self::RolloutStopped { .. } => "RolloutStopped",
            Self::VolumeLost { .. } => "VolumeLost",
            Self::LossToAccept { .. } => "LossToAccept",
            Self::NodeSilent { .. } => "NodeSilent",
            Self::ReplacementHeld { .. } => "ReplacementHeld",
            Self::Replacing { .. } => "NodeReplacing",
            Self::NoSuchSlot { .. } => "NoSuchSlot",
            Self::Late { .. } => "NodesLate",
            Self::VolumesGrowing { .. } => "VolumesGrowing",
            Self::Joining(_) => "NodesJoining",
            Self::Emptying { .. } => "NodeNotEmpty",
        }
    }

    /// How the wait comes to its end.
    pub fn until(&self) -> Until {
        match self {
            Self::Paused | Self::Approval { .. } => Until::Released,
            Self::NoPlacement(_)
            | Self::OtherFragmentation { .. }
            | Self::OtherConsistency { .. }
            | Self::FounderUnwanted { .. }
            | Self::LossToAccept { .. }
            | Self::NoSuchSlot { .. }
            | Self::RolloutStopped { .. } => Until::Corrected,
            // Nodes are restarted meanwhile: that may be how they get the release, or the room, that is waited for.
            Self::FormatLevel { .. } | Self::TableToGo { .. } | Self::Late { .. } | Self::VolumesGrowing { .. } => {
                Until::Later
            }
            Self::SlotsUnknown(_)
            | Self::Founding { .. }
            | Self::Unreachable(_)
            | Self::Restarting { .. }
            | Self::VolumeLost { .. }
            | Self::NodeSilent { .. }
            | Self::ReplacementHeld { .. }
            | Self::Replacing { .. }
            | Self::Joining(_)
            | Self::Emptying { .. } => Until::Soon,
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused => f.write_str("paused: set spec.paused to false to go on"),
            Self::SlotsUnknown(why) => write!(f, "what nodes there are is unknown: {why}"),
            Self::Founding { slot, why: None } => write!(f, "{slot} is to found the database"),
            Self::Founding { slot, why: Some(why) } => {
                write!(f, "{slot} is to found the database, and does not answer: {why}")
            }
            Self::FounderUnwanted { slot } => write!(
                f,
                "{slot} is not as the spec says any more and does not run, and may have founded the database on its volume: it is \
                 not taken away. Undo the edit; or, if nobody ever wrote anything, delete the resource, then annotate \
                 the claim data-{slot} with skerry.io/break-glass, delete it, and make the resource anew"
            ),
            Self::Unreachable(why) => write!(f, "the database does not answer: {why}"),
            Self::Approval { database, plan, moves } => write!(
                f,
                "{} replicas of {} shards would move, {} bytes; to approve: kubectl annotate ddb/{database} {}={plan} --overwrite",
                moves.replicas,
                moves.shards,
                moves.bytes,
                skerry_api::APPROVED_PLAN,
            ),
            Self::NoPlacement(why) => f.write_str(why),
            Self::OtherFragmentation { table } => {
                write!(f, "table {table:?} is laid out otherwise than the spec says, and stays so: name another table")
            }
            Self::OtherConsistency { table, there } => write!(
                f,
                "table {table:?} is a {there} table and stays one: name another table, and copy the records into it"
            ),
            Self::FormatLevel { tables, enabled, older, unheard } => level(f, tables, *enabled, older, unheard),
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
            Self::VolumeLost { slot, at } => {
                write!(f, "the volume of {slot} is lost; it is replaced by an empty one at {:.0}", at.0)
            }
            Self::LossToAccept { slot, node, shards, loss } => loss_to_accept(f, (slot, *loss), *node, shards),
            Self::NodeSilent { slot, at } => {
                write!(f, "{slot} is silent; its volume is replaced by an empty one at {:.0} if it stays so", at.0)
            }
            Self::ReplacementHeld { slot, why } => write!(f, "the volume of {slot} cannot be replaced yet: {why}"),
            Self::Replacing { slot } => write!(f, "{slot} to join on a new volume"),
            Self::NoSuchSlot { slot, there } => {
                write!(f, "{} names {slot:?}, which is not there; there are {}", skerry_api::REPLACE, there.join(", "))
            }
            Self::VolumesGrowing { volumes, size } => growing(f, volumes, size),
            Self::Late { slots, held, why } => late(f, slots, held, why.as_deref()),
            Self::Joining(slots) => write!(f, "{} to join", slots.join(", ")),
            Self::Emptying { node, shards, stuck } if stuck.is_empty() => {
                write!(f, "{node} to be emptied of {shards} shards")
            }
            Self::Emptying { node, shards, stuck } => write!(
                f,
                "{node} to be emptied of {shards} shards; {} cannot move without a leader, or without copies that are away: \
                 see skerry recover",
                named(stuck),
            ),
        }
    }
}

/// What may be lost with a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The volume is lost, and shards had copies on it of which nothing is left, or too little.
    OfVolume,
    /// The volume is there, as far as is known, and its node is silent, or takes no part in writes now: it may alone have some.
    OfSilent,
    /// The node is there and takes writes that it acknowledges by itself: others do not have the last of them yet.
    OfWrites,
}
