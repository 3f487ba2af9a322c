//! Copies that a recovered system shard may know nothing of: no shard goes on from an older one while a node may have a later
//! one.

use super::{RecoveryRefusal, silent};
use crate::ids::{NodeId, ShardId};
use crate::map::{NodeState, Replica, Role, ShardRecord};
use crate::message::{CopyReport, LEADERLESS_MAX, NodeReport, ShardReport};
use crate::planted::{Planted, is_planted};
use crate::steward::View;

/// The copies of a shard that are ahead of the map, where that may be behind: those that any node has.
///
/// # Errors
///
/// If a node that may have one is not heard of and is not named as lost, is named as lost and heard, or has not told yet.
pub(super) fn ahead(
    view: &View<'_>,
    shard: ShardId,
    lost: &[NodeId],
) -> Result<Vec<(NodeId, CopyReport)>, RecoveryRefusal> {
    if !view.map.may_be_behind() || is_planted(Planted::AheadNotAwaited) {
        return Ok(Vec::new());
    }
    for node in view.map.nodes.values().filter(|node| node.state != NodeState::Removed).map(|record| record.id) {
        match view.heard(node) {
            _ if lost.contains(&node) => silent(view, node)?,
            None => return Err(RecoveryRefusal::Unseen { shard, node }),
            Some(report) if !tells_of(view, report, shard) => return Err(RecoveryRefusal::Untold { shard, node }),
            Some(_) => {}
        }
    }
    Ok(view.copies_told(shard, |report| &report.ahead).map(|(node, copy)| (node, copy.clone())).collect())
}

/// True if a node knows of the last recovery of the system shard, and has room to tell of this shard.
fn tells_of(view: &View<'_>, report: &NodeReport, shard: ShardId) -> bool {
    let knows = report.map_epoch.recoveries() == view.map.epoch.recoveries();
    let has_room =
        |copies: &[CopyReport]| copies.len() < LEADERLESS_MAX || copies.last().is_some_and(|last| last.shard >= shard);
    knows && has_room(&report.leaderless) && has_room(&report.ahead)
}

/// What the only voter of a shard tells of itself, which the map does not name and nobody else speaks of: a person may have
/// the shard go on from it, once nothing is left of the copies that the map does name. `None` = the shard is led, by the one
/// that says so.
///
/// `ahead` = what [`ahead`] gives: so the nodes in `lost` are silent, and the leader's is not one of them.
pub(super) fn only_copy(
    view: &View<'_>,
    record: &ShardRecord,
    (node, report): (NodeId, &ShardReport),
    ahead: &[(NodeId, CopyReport)],
    lost: &[NodeId],
) -> Option<CopyReport> {
    let shard = record.descriptor.shard;
    let mut others = report.descriptor.members.iter().filter(|member| member.replica.id != report.leader);
    let is_alone = others.all(|member| member.role == Role::Learner);
    let is_gone = |copy: Replica| lost.contains(&copy.node) || view.tells_lost(copy, shard);
    let is_itself = |copy: Replica| (copy.node, copy.id) == (node, report.leader);
    let members = record.descriptor.members.iter().map(|member| member.replica);
    let are_gone = members.filter(|copy| !is_itself(*copy)).all(is_gone);
    let is_alone_told = view.told_copies(shard).all(|(other, _)| other == node);
    let itself = ahead.iter().find(|(other, copy)| (*other, copy.replica) == (node, report.leader));
    itself.filter(|_| is_alone && are_gone && is_alone_told).map(|(_, copy)| copy.clone())
}
