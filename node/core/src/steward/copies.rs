//! Which copies a shard is to have on given nodes: those that are there, and new ones elsewhere.

use std::collections::BTreeSet;

use super::View;
use super::reports::is_active;
use crate::ids::{NodeId, ReplicaId, ShardId};
use crate::map::{Replica, Role, ShardRecord};
use crate::quorum::layout::Stage;

/// Copies that can never be used again.
pub(super) type Lost = BTreeSet<(ShardId, ReplicaId)>;

/// The copies for these nodes. A lost copy is replaced by a new one, and so is one on its way out: a joint
/// configuration can only be left forwards, and an id is never used twice. A quorum shard's change can be turned round, so
/// its old copies stay what they are until it cannot any more.
pub(super) fn copies(record: &ShardRecord, nodes: &[NodeId], lost: &Lost) -> Vec<Replica> {
    let shard = record.descriptor.shard;
    let change = record.quorum.and_then(|quorum| quorum.change);
    let can_return = change.is_some_and(|change| change.stage != Stage::NewOnly);
    let is_going = |m: &crate::map::Member| m.role == Role::Outgoing && !can_return;
    let staying = record.descriptor.members.iter().filter(|m| !is_going(m)).map(|m| m.replica);
    let going = |replica: &Replica| record.descriptor.members.iter().any(|m| m.replica == *replica && is_going(m));
    let there: Vec<Replica> = record.assigned.iter().copied().filter(|r| !going(r)).chain(staying).collect();
    let copy = |&node: &NodeId| {
        let known = there.iter().find(|r| r.node == node).map(|r| r.id);
        let id = known.filter(|id| !lost.contains(&(shard, *id))).unwrap_or(ReplicaId::NEW);
        Replica { node, id }
    };
    nodes.iter().map(copy).collect()
}

/// True if every new one among the copies is on an active node: the system shard refuses others.
pub(super) fn can_assign(view: &View<'_>, replicas: &[Replica]) -> bool {
    let mut fresh = replicas.iter().filter(|r| r.id == ReplicaId::NEW);
    fresh.all(|r| view.map.nodes.get(&r.node).is_some_and(is_active))
}

/// The nodes that gain or lose a copy while a shard's members become these.
pub(super) fn changing(record: &ShardRecord, replicas: &[Replica]) -> BTreeSet<NodeId> {
    let members = &record.descriptor.members;
    let voting = |r: &Replica| members.iter().any(|m| m.role == Role::Voter && m.replica == *r);
    let gained = replicas.iter().filter(|r| !voting(r)).map(|r| r.node);
    let settled = |m: &crate::map::Member| m.role == Role::Voter && replicas.contains(&m.replica);
    let lost = members.iter().filter(|m| !settled(m)).map(|m| m.replica.node);
    gained.chain(lost).collect()
}
