//! What a message may say, by what this node's map knows. Raft messages and snapshots are looked at by the copy that
//! they are for: see `replica/admit.rs`. Maps are looked at where they are taken in: see `authority.rs`.

use crate::ids::{Epoch, Generation, Incarnation, NodeId, ReplicaId, ShardId};
use crate::level::FormatLevel;
use crate::log::INDEX_MAX;
use crate::map::{Map, ShardRecord, check_descriptor, check_layout, home_of};
use crate::message::{
    COPIED_MAX, LEADERLESS_MAX, NodeReport, PeerMessage, QUORUM_COPIES_MAX, QuorumReport, Report, ShardReport,
};
use crate::planted::{Planted, is_planted};
use crate::quorum::layout::Layout;
use crate::time::Version;

/// A node's start may be this much above the registry's: as many starts as it could make in a row, each of them over
/// before it was registered. A forged start shuts the node out until it has started as often.
pub const INCARNATION_JUMP_MAX: u64 = 1 << 16;
/// `host:port`, and a failure domain: as long as a DNS name can be, twice.
const NAME_BYTES_MAX: u64 = 512;
/// Bytes that are told of anything. Sums over all shards do not overflow.
pub const BYTES_MAX: u64 = 1 << 44;
/// Lost copies that a node may tell of though the map here does not have their shards yet.
const LOST_MAX: u64 = 1 << 20;
/// Replicas that a node can hold.
const REPLICAS_MAX: u64 = 1 << 32;

/// Why a message is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is from another process than this one, in this node's own name.
    #[error("{0} is this node itself")]
    OwnName(NodeId),
    /// No node of the database has this number.
    #[error("{0} is not a node of this database")]
    UnknownNode(NodeId),
    /// No node can have started so often since the registry heard of it.
    #[error("start {incarnation} of {node} must be at most {max}")]
    Incarnation {
        /// Node that the message is from.
        node: NodeId,
        /// Incarnation that the message names.
        incarnation: Incarnation,
        /// Highest incarnation that is accepted.
        max: Incarnation,
    },
    /// Only a node with a copy of the system shard says this.
    #[error("{0} has no copy of the system shard")]
    NoSteward(NodeId),
    /// A report is of another node or start than the one that sends it.
    #[error("report is of {node} in start {incarnation}")]
    Reporter {
        /// Node that the report names.
        node: NodeId,
        /// Incarnation that the report names.
        incarnation: Incarnation,
    },
    /// A shard is told of that the sender cannot lead, or that cannot be so.
    #[error("{field} of shard {shard} cannot be so")]
    Shard {
        /// Shard that the message describes.
        shard: ShardId,
        /// Name of the field that cannot be right.
        field: &'static str,
    },
    /// A message between copies of a quorum shard is of a copy that is not on the sender's node, or for one that is not
    /// here: so the map here says, which may be older than the sender's.
    #[error("shard {shard} has no quorum copy {replica} on {node}")]
    Copy {
        /// Shard that the message is of.
        shard: ShardId,
        /// Copy that sends the message, or that it is for.
        replica: ReplicaId,
        /// Node that the copy was said to be on.
        node: NodeId,
    },
    /// A number or a name is out of bounds.
    #[error("{field} must be at most {max}")]
    TooLarge {
        /// Name of the value that is out of bounds.
        field: &'static str,
        /// Highest value that is accepted.
        max: u64,
    },
}

/// Who may speak at all: another node that the map knows, in a start that can be. A map without nodes knows nobody yet. No
/// node sends itself anything: what one says in this node's name would count as what it knows of itself.
///
/// # Errors
///
/// Of a sender that cannot be.
pub fn admit_sender(map: &Map, (own, from): (NodeId, NodeId), incarnation: Incarnation) -> Result<(), Refused> {
    if from == own && !is_planted(Planted::OwnNameBelieved) {
        return Err(Refused::OwnName(from));
    }
    let Some(record) = map.nodes.get(&from) else {
        return if map.nodes.is_empty() { Ok(()) } else { Err(Refused::UnknownNode(from)) };
    };
    let max = Incarnation(record.incarnation.0.saturating_add(INCARNATION_JUMP_MAX));
    if incarnation > max && !is_planted(Planted::IncarnationUnchecked) {
        return Err(Refused::Incarnation { node: from, incarnation, max });
    }
    Ok(())
}

/// Whether a message of a known sender may have its effect.
///
/// # Errors
///
/// What no peer would have sent.
pub fn admit(
    map: &Map,
    (own, from): (NodeId, NodeId),
    incarnation: Incarnation,
    message: &PeerMessage,
) -> Result<(), Refused> {
    match message {
        // What is told of shards is for the steward alone. Others would judge it by a map that may be older.
        PeerMessage::Report(report) => {
            at_most("quorum", report.quorum.changed.len() as u64, QUORUM_COPIES_MAX as u64)?;
            at_most("ended", report.quorum.ended.len() as u64, (map.shards.len() as u64).max(LOST_MAX))?;
            check_reporter(map, from, incarnation, &report.node)
        }
        PeerMessage::Quorum(envelope) => {
            quorum_copy(map, envelope.shard, (envelope.from, from))?;
            quorum_copy(map, envelope.shard, (envelope.to, own))
        }
        PeerMessage::CertifyAsk { shards, .. } => {
            steward(map, from)?;
            at_most("shards", shards.len() as u64, map.shards.len() as u64)
        }
        PeerMessage::TransferLeader { .. } | PeerMessage::ReportWant => steward(map, from),
        // Looked at where they are taken in.
        PeerMessage::Raft(_)
        | PeerMessage::SnapshotOffer(_)
        | PeerMessage::SnapshotChunk(_)
        | PeerMessage::SnapshotAck(_)
        | PeerMessage::MapWant { .. }
        | PeerMessage::Map(_)
        | PeerMessage::CertifyAnswer { .. }
        | PeerMessage::Beat(_) => Ok(()),
    }
}

/// One that a person has given up is not listened to. Where a record is unsure, copies may be there that it does not name:
/// they are looked at by the copy that hears them, which knows the nodes of those that it holds a layout with.
fn quorum_copy(map: &Map, shard: ShardId, (replica, node): (ReplicaId, NodeId)) -> Result<(), Refused> {
    let record = map.shards.get(&shard).filter(|record| record.quorum.is_some());
    let is_at_home = |record: &ShardRecord| record.is_unsure() || home_of(record, replica) == Some(node);
    let given_up = map.recoveries.get(&shard).map_or(&[][..], |recovery| &recovery.given_up);
    let is_there = record.is_some_and(is_at_home) && !given_up.iter().any(|copy| copy.id == replica);
    let may = is_there || is_planted(Planted::QuorumCopyUnchecked);
    if may { Ok(()) } else { Err(Refused::Copy { shard, replica, node }) }
}

/// What was taken out of a report.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Disbelieved {
    /// The first that no node of this database would have sent.
    pub refused: Option<Refused>,
    /// True if anything was taken out: it is asked for again, since the map here may know by then.
    pub is_any: bool,
    /// Copies that were taken out and are not asked for again: of shards that neither the map here nor the sender's has. They
    /// are what is left of tables that a recovery of the system shard has given up.
    pub left_over: u64,
    /// Shards that the sender says it leads with a copy which the map here does not name, though it may be so: the system shard
    /// was recovered, and went on from older records.
    pub claims: Vec<ShardReport>,
    /// Unsure shards of which the sender has a copy, and says of it what cannot be so.
    pub unknown: Vec<ShardId>,
}

/// Takes out of a report what cannot be so of the shards that its sender says it leads or has quorum copies of, and gives
/// the first of it. The rest counts: of one shard the map here may be wrong, and the node lives all the same. `has_all` = the
/// map here has all changes that there are.
pub fn disbelieve(map: &Map, from: NodeId, has_all: bool, report: &mut Report) -> Disbelieved {
    let (mut refused, mut claims) = (Vec::new(), Vec::new());
    let led = &mut report.led;
    led.changed.retain(|shard| {
        let wrong = check_shard(map, from, shard).err().filter(|_| !is_planted(Planted::ReportUnchecked));
        // What was said of it before does not hold either.
        led.resigned.extend(wrong.as_ref().map(|_| shard.descriptor.shard));
        let is_believed = wrong.is_none();
        if !is_believed && is_claim(map, from, shard) {
            claims.push(shard.clone());
        } else {
            refused.extend(wrong);
        }
        is_believed
    });
    let (quorum, mut is_any, mut left_over, mut unknown_of) = (&mut report.quorum, !claims.is_empty(), 0, Vec::new());
    // Of one that has just started nobody knows what its map had. Whoever leads anew may have some changes yet to apply.
    let told = report.node.map_epoch;
    let has_same_map = has_all && told > Epoch(0) && told.recoveries() == map.epoch.recoveries() && told <= map.epoch;
    quorum.changed.retain_mut(|copy| {
        if has_same_map && !map.shards.contains_key(&copy.shard) {
            left_over += 1;
            quorum.ended.push(copy.shard);
            return false;
        }
        let is_unsure = map.shards.get(&copy.shard).is_some_and(ShardRecord::is_unsure);
        // Of others it is of no use, and its node may only be a moment behind.
        copy.layout = copy.layout.take().filter(|_| is_unsure);
        let checked = check_copy(map, from, copy);
        if matches!(checked, Ok(true)) || is_planted(Planted::ReportUnchecked) {
            return true;
        }
        is_any = true;
        refused.extend(checked.err());
        if is_unsure {
            // It has something there, and nobody knows what: nothing goes on as if it had not.
            *copy = unknown(copy);
            unknown_of.push(copy.shard);
            return true;
        }
        // What was said of it before does not hold either.
        quorum.ended.push(copy.shard);
        false
    });
    let is_any = is_any || !refused.is_empty();
    Disbelieved { is_any, refused: refused.into_iter().next(), left_over, claims, unknown: unknown_of }
}

fn unknown(copy: &QuorumReport) -> QuorumReport {
    QuorumReport {
        shard: copy.shard,
        replica: copy.replica,
        held: Generation(0),
        copied: Vec::new(),
        is_complete: false,
        floor: Version(0),
        hints: 0,
        under_way: 0,
        handed_over: Vec::new(),
        bytes: 0,
        layout: None,
    }
}

/// The steward leads the system shard, so its node has a copy of it. While the map has no system shard, anybody may be
/// it.
fn steward(map: &Map, from: NodeId) -> Result<(), Refused> {
    match map.shards.get(&ShardId::SYSTEM) {
        Some(record) if !holds_copy(record, from) && !is_planted(Planted::StewardUnchecked) => {
            Err(Refused::NoSteward(from))
        }
        Some(_) | None => Ok(()),
    }
}

/// True if a node has, or is to have, a copy of a shard.
fn holds_copy(record: &ShardRecord, node: NodeId) -> bool {
    let members = record.descriptor.members.iter().map(|member| member.replica.node);
    members.chain(record.assigned.iter().map(|copy| copy.node)).any(|holder| holder == node)
}

fn check_reporter(map: &Map, from: NodeId, start: Incarnation, report: &NodeReport) -> Result<(), Refused> {
    let NodeReport {
        node,
        incarnation,
        level,
        address,
        zone,
        map_epoch,
        disk_bytes,
        replicas,
        lost,
        leaderless,
        ahead,
        ..
    } = report;
    if (*node, *incarnation) != (from, start) && !is_planted(Planted::IncarnationUnchecked) {
        return Err(Refused::Reporter { node: *node, incarnation: *incarnation });
    }
    at_most("address", address.len() as u64, NAME_BYTES_MAX)?;
    at_most("zone", zone.len() as u64, NAME_BYTES_MAX)?;
    at_most("map_epoch", map_epoch.0, INDEX_MAX)?;
    at_most("level", level.0.into(), FormatLevel::MAX.0.into())?;
    at_most("disk_bytes", *disk_bytes, BYTES_MAX)?;
    at_most("replicas", *replicas, REPLICAS_MAX)?;
    at_most("leaderless", leaderless.len() as u64, LEADERLESS_MAX as u64)?;
    at_most("ahead", ahead.len() as u64, LEADERLESS_MAX as u64)?;
    at_most("lost", lost.len() as u64, (map.shards.len() as u64).max(LOST_MAX))
}

fn check_shard(map: &Map, from: NodeId, report: &ShardReport) -> Result<(), Refused> {
    check_led(map, from, report)?;
    let shard = report.descriptor.shard;
    let home = map.shards.get(&shard).and_then(|record| home_of(record, report.leader));
    // Whoever leads was promoted, and that is done only once the map has it as a member.
    if home == Some(from) { Ok(()) } else { Err(Refused::Shard { shard, field: "leader" }) }
}

/// Whether what a leader tells can be so of the shard that the map has, whichever copies the map names.
fn check_led(map: &Map, from: NodeId, report: &ShardReport) -> Result<(), Refused> {
    let ShardReport { descriptor, leader, term, in_sync, bytes, moving } = report;
    let shard = descriptor.shard;
    let wrong = |field| Err(Refused::Shard { shard, field });
    let Some(record) = map.shards.get(&shard) else { return wrong("id") };
    if record.quorum.is_some() {
        return wrong("leader");
    }
    check_descriptor(descriptor, record, map.replica_max()).or_else(wrong)?;
    if descriptor.node_of(*leader) != Some(from) {
        return wrong("leader");
    }
    if *term == 0 || *term > INDEX_MAX {
        return wrong("term");
    }
    if in_sync.iter().any(|id| descriptor.node_of(*id).is_none()) {
        return wrong("in_sync");
    }
    at_most("bytes", (*bytes).max(moving.0).max(moving.1), BYTES_MAX)
}

/// True if all that is wrong with a report is that the map does not name its leader, and a recovery of the system shard may
/// have left the map behind.
fn is_claim(map: &Map, from: NodeId, report: &ShardReport) -> bool {
    let shard = report.descriptor.shard;
    let is_newer = |known: &ShardRecord| {
        report.descriptor.generation > known.descriptor.generation && home_of(known, report.leader).is_none()
    };
    let may_be_behind = shard != ShardId::SYSTEM && map.may_be_behind();
    may_be_behind && map.shards.get(&shard).is_some_and(is_newer) && check_led(map, from, report).is_ok()
}

/// What a copy of a quorum shard tells of itself, by its own node, which is believed of what its copies hold and have copied:
/// nobody else knows. `false` = the copy is over, and its node has not heard of that yet.
///
/// A record is what the copies hold, or ahead of them. Only where a recovery of the system shard has left it unsure they may
/// hold anything from before that, and so be any copy: then they tell their layout, which must be one that can be, in which
/// they are on their node.
fn check_copy(map: &Map, from: NodeId, report: &QuorumReport) -> Result<bool, Refused> {
    let QuorumReport { shard, replica, held, copied, hints, under_way, handed_over, bytes, layout, .. } = report;
    let wrong = |field| Err(Refused::Shard { shard: *shard, field });
    let Some(record) = map.shards.get(shard) else { return wrong("id") };
    let is_unsure = record.is_unsure();
    let highest = if is_unsure { map.replica_limit() } else { map.replica_max() };
    if record.quorum.is_none() || *replica > highest {
        return wrong("replica");
    }
    let can_hold = if is_unsure { record.may_be_at(*held) } else { *held <= record.descriptor.generation };
    if !can_hold {
        return wrong("held");
    }
    let is_sorted = copied.is_sorted_by(|a, b| a.0 < b.0);
    if !is_sorted || copied.len() > COPIED_MAX || copied.iter().any(|(_, since)| since > held) {
        return wrong("copied");
    }
    if !handed_over.is_sorted_by(|a, b| a < b) || handed_over.len() > COPIED_MAX {
        return wrong("handed_over");
    }
    at_most("bytes", *bytes, BYTES_MAX)?;
    at_most("hints", (*hints).max(*under_way), INDEX_MAX)?;
    let is_own = |layout: &Layout| layout.generation == *held && layout.homes.get(replica) == Some(&from);
    let can_be = |layout: &Layout| is_own(layout) && check_layout(layout, highest).is_ok();
    if layout.as_ref().is_some_and(|layout| !can_be(layout)) {
        return wrong("layout");
    }
    match home_of(record, *replica) {
        // The record may be of a step that was not committed, and give another copy the same id.
        _ if record.is_unsure() => Ok(true),
        Some(home) if home == from => Ok(true),
        Some(_) => wrong("replica"),
        None => Ok(false),
    }
}

fn at_most(field: &'static str, value: u64, max: u64) -> Result<(), Refused> {
    if value > max { Err(Refused::TooLarge { field, max }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
