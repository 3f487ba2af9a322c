//! Checks the members of a shard: which members are possible, whoever has sent them.

use crate::ids::{Generation, NodeId, ReplicaId};
use crate::limits::REPLICATION_FACTOR_MAX;
use crate::map::{Descriptor, Replica, Role, ShardRecord};
use crate::quorum::layout::Layout;

/// A descriptor may be this many changes ahead of the map's record: a thousand recoveries, each of which skips 2^32.
pub const GENERATION_JUMP_MAX: u64 = 1 << 42;

/// Ids of copies may be this far above the highest that the map knows of where its record is unsure: as many as thousands of
/// recoveries of the system shard skip that the map knows nothing of.
pub(crate) const REPLICAS_JUMP_MAX: u64 = 1 << 32;

/// The node of a copy that is a member of the shard, or is to become one.
pub(crate) fn home_of(record: &ShardRecord, replica: ReplicaId) -> Option<NodeId> {
    let assigned = record.assigned.iter().find(|copy| copy.id == replica).map(|copy| copy.node);
    record.descriptor.node_of(replica).or(assigned)
}

/// What a shard may have become since the map's record of it. `Err` = the field that cannot be so.
pub(crate) fn check_descriptor(
    descriptor: &Descriptor,
    record: &ShardRecord,
    replica_max: ReplicaId,
) -> Result<(), &'static str> {
    let known = &record.descriptor;
    if (known.table, &known.start, &known.end) != (descriptor.table, &descriptor.start, &descriptor.end) {
        return Err("bounds");
    }
    let generation = descriptor.generation.0;
    if generation == 0 || generation > known.generation.0.saturating_add(GENERATION_JUMP_MAX) {
        return Err("generation");
    }
    let is_at_home = |copy: &Replica| home_of(record, copy.id).is_none_or(|home| home == copy.node);
    let are_given = descriptor.members.iter().all(|member| member.replica.id <= replica_max);
    let are_at_home = descriptor.members.iter().all(|member| is_at_home(&member.replica));
    if are_given && are_at_home { check_members(descriptor) } else { Err("members") }
}

/// What the record of a quorum shard says beside its members, which are checked by themselves: sets that can be, and
/// generations in their order. That of a shard that follows a leader says nothing.
pub(crate) fn check_quorum(record: &ShardRecord) -> Result<(), &'static str> {
    if record.quorum.is_none() {
        return Ok(());
    }
    let layout = record.layout().ok_or("quorum")?;
    let is_settled = layout.change.is_none();
    let is_possible = |role: Role| role == Role::Voter || (role != Role::Learner && !is_settled);
    let are_roles = record.descriptor.members.iter().all(|member| is_possible(member.role));
    if are_roles && is_layout(&layout) { Ok(()) } else { Err("quorum") }
}

/// A layout that a copy of a quorum shard may hold, with the nodes of all its copies, none of which has an id above this one.
pub(crate) fn check_layout(layout: &Layout, replica_max: ReplicaId) -> Result<(), &'static str> {
    let members = layout.members();
    let are_at_home = layout.homes.keys().eq(&members) && layout.homes.values().all(|node| node.0 != 0);
    let are_given = members.iter().all(|copy| copy.0 != 0 && *copy <= replica_max);
    let is_numbered = layout.generation > Generation(0);
    if are_at_home && are_given && is_numbered && is_layout(layout) { Ok(()) } else { Err("layout") }
}

/// Sets that can be, and generations in their order.
fn is_layout(layout: &Layout) -> bool {
    let are_ordered = layout.change.as_ref().is_none_or(|change| {
        change.began.0 > 0 && change.began <= change.reads_since && change.reads_since <= layout.generation
    });
    let mut sets = std::iter::once(&layout.current).chain(layout.change.as_ref().map(|change| &change.next));
    are_ordered && sets.all(|set| set.is_sound() && set.members.len() <= REPLICATION_FACTOR_MAX)
}

/// Each copy once, in order, and not more than a shard can have.
pub(crate) fn check_members(descriptor: &Descriptor) -> Result<(), &'static str> {
    let members = &descriptor.members;
    let is_sorted = members.is_sorted_by(|a, b| a.replica.id < b.replica.id);
    let are_named = members.iter().all(|member| member.replica.id.0 != 0 && member.replica.node.0 != 0);
    let are_few = (1..=2 * REPLICATION_FACTOR_MAX).contains(&members.len());
    if is_sorted && are_named && are_few { Ok(()) } else { Err("members") }
}
