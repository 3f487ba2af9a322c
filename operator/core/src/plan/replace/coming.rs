//! Copies on their way to a node whose volume is given up. Such a copy may be complete by the time the node's process ends,
//! and be the only one that has all: so it is turned back first, and then looked at again.
//!
//! That the steward does not hear the node says nothing of who else does: a leader may, and bring its move to an end. What
//! counts is that neither the map nor the leader names a copy there any more, for which the node need not be heard.

use std::collections::BTreeSet;

use skerry_core::ids::{NodeId, ShardId};
use skerry_core::map::{NodeState, Role, ShardRecord};
use skerry_core::system::AdminChange;

use super::{Due, Next, Scene};
use crate::health::{coming_to, shards_now};
use crate::plan::step::named;
use crate::plan::{Loss, Wait};
use crate::planted::{Planted, is_planted};

impl Scene<'_> {
    /// The nodes that do not come back on their volumes: the claims of these go, or the nodes are being replaced. They may be
    /// heard until their hosts know of it, and take copies.
    pub(super) fn given_up_already(&self) -> BTreeSet<NodeId> {
        if is_planted(Planted::GivenUpGetsCopies) {
            return BTreeSet::new();
        }
        let going = self.seats.staying_slots().filter(|(_, slot)| slot.volume.leaving).map(|(name, _)| name);
        let silent = self.seen.silent.iter().filter(|s| self.is_begun(&s.slot, Some(s.node), s.volume.as_ref()));
        let asked = self.begun_for_a_person().map(|asked| asked.slot.as_str());
        let slots = going.chain(silent.map(|silent| silent.slot.as_str())).chain(asked);
        slots.filter_map(|slot| self.node(slot)).collect()
    }

    /// What is to be done about the copies that a node would be needed for, before its volume is given up. `None` = there are
    /// none.
    pub(super) fn turning_back(&self, slot: &str, node: NodeId, silent: bool) -> Option<Next> {
        let is_ignored = is_planted(Planted::ComingCopyIgnored) || silent && is_planted(Planted::SilentTakesNoCopies);
        let mut coming = coming_to(self.status, node, |other| self.stands(other, slot, silent));
        // The leader of the system shard is the steward itself: whom that does not hear it makes no member.
        coming.retain(|shard| !is_ignored && (!silent || *shard != ShardId::SYSTEM));
        let (targets, mut stuck) = self.turned(&coming, node);
        // A node that is heard can wait: its copies arrive, or go elsewhere once there is a place.
        stuck.retain(|_| silent);
        coming.retain(|shard| !(stuck.contains(shard) && self.is_accepted(*shard, node)));
        stuck.retain(|shard| coming.contains(shard));
        if coming.is_empty() {
            return None;
        }
        let held = if stuck.is_empty() {
            let why = format!("copies of {} are on the way to it", named(&coming));
            Wait::ReplacementHeld { slot: slot.to_owned(), why }
        } else {
            self.loss_to_accept(slot, stuck, Loss::OfSilent)
        };
        let targets = (!targets.is_empty()).then_some(AdminChange::SetTargets(targets));
        Some(Ok(Due::TurningBack { node, targets, held }))
    }

    /// Where those of these shards go, in order, that are bound for a node; and which of them have no other place, or may have
    /// their only copy there by now: they have no leader, as far as is known, and the one that they had may have gone on.
    fn turned(&self, coming: &[ShardId], without: NodeId) -> (Vec<(ShardId, Vec<NodeId>)>, Vec<ShardId>) {
        let given_up = self.given_up_already();
        let stays = |node: &NodeId| {
            let record = self.status.map.nodes.get(node);
            *node != without && !given_up.contains(node) && record.is_some_and(|n| n.state == NodeState::Active)
        };
        let sites: Vec<NodeId> = self.seats.sites().into_iter().map(|site| site.node).collect();
        let (mut targets, mut stuck) = (Vec::new(), Vec::new());
        for shard in shards_now(self.status).iter().filter(|s| coming.binary_search(&s.descriptor.shard).is_ok()) {
            let (record, id) = (shard.record, shard.descriptor.shard);
            let may_be_there = !shard.survives() && record.assigned.iter().any(|copy| copy.node == without);
            let nodes = elsewhere(record, stays, |node| self.is_up(*node), &sites);
            match record.target.contains(&without) {
                _ if may_be_there => stuck.push(id),
                true if nodes.is_empty() => stuck.push(id),
                // The steward itself places the system shard.
                true if id == ShardId::SYSTEM => {}
                true => targets.push((id, nodes)),
                false => {}
            }
        }
        (targets, stuck)
    }
}

/// As many nodes for a shard as it is to have: of those that it is bound for and that have it, then of those that have it,
/// then of others. Fewer if there are no more: what is missing comes once there is a node in the other's place. A node that has no copy yet
/// gets one only while it is up: two that are silent would have each other's for ever.
fn elsewhere(
    record: &ShardRecord,
    stays: impl Fn(&NodeId) -> bool,
    is_up: impl Fn(&NodeId) -> bool,
    sites: &[NodeId],
) -> Vec<NodeId> {
    let has_it =
        |node: &NodeId| record.descriptor.members.iter().any(|m| m.role == Role::Voter && m.replica.node == *node);
    let bound = || record.target.iter().copied();
    let voters = record.descriptor.members.iter().filter(|m| m.role == Role::Voter).map(|m| m.replica.node);
    let there = bound().filter(has_it).chain(voters.filter(&is_up));
    let others = bound().chain(sites.iter().copied()).filter(&is_up);
    let mut nodes: Vec<NodeId> = Vec::new();
    for node in there.chain(others).filter(stays) {
        if nodes.len() < record.target.len() && !nodes.contains(&node) {
            nodes.push(node);
        }
    }
    nodes
}
