//! Shards of two copies of which one was lost before the shard ever had a leader: a table was made while a node's volume
//! was gone. Such a node makes none of the copies that the map has given it by then, since it cannot tell them from those
//! that it has forgotten. The other copy alone is no majority.
//!
//! Nothing is committed without a majority, and of two copies that is both. So where the log of the one that is left is as
//! it was made, no write was acknowledged and no member changed, whatever the lost copy has seen. The shard goes on from
//! that one by itself; what its log takes in until it hears of that is kept. Of three copies or more the lost ones may have
//! been a majority.
//!
//! What the copy says has to be of after the other one was lost: between the two they may have had a leader, have left one of
//! them behind, and have acknowledged writes. So its node must know by then that the other node has started anew.
//!
//! That the other copy is lost has to be said by its own node, which then makes a new one. While a node is only silent the
//! shard waits for it: going on without it would have writes acknowledged by a single copy.

use std::collections::BTreeSet;

use super::{RecoveryPlan, recovery};
use crate::ids::{Generation, ShardId};
use crate::map::ShardRecord;
use crate::planted::{Planted, is_planted};
use crate::replica::state::FIRST;
use crate::steward::{RECORDS_MAX, View};
use crate::system::SystemCommand;

/// The shards that go on by themselves, since they have lost a copy before they ever had a leader.
pub fn never_begun(view: &View<'_>) -> Vec<SystemCommand> {
    if is_planted(Planted::NeverBegunWaits) {
        return Vec::new();
    }
    let lost: BTreeSet<ShardId> = view.lost().into_iter().map(|(shard, _)| shard).collect();
    let records = lost.iter().filter_map(|shard| view.map.shards.get(shard));
    let goes_on = |record: &ShardRecord| {
        let shard = record.descriptor.shard;
        let plan = recovery(view, shard, &[]).ok().filter(|plan| has_never_begun(view, record, plan))?;
        // The time says that nobody has decided it.
        Some(SystemCommand::Recover { shard, based_on: plan.based_on, recovery: plan.recovery(0) })
    };
    records.filter(|record| is_as_made(record)).filter_map(goes_on).take(RECORDS_MAX).collect()
}

/// True of the record of a shard whose first copies follow a leader, once they have one, and are all there ever were.
fn is_as_made(record: &ShardRecord) -> bool {
    record.quorum.is_none() && record.descriptor.generation == Generation(1)
}

/// True if nothing can have been committed. The plan says already that the copy has no leader, and that the other first
/// copies are lost.
fn has_never_begun(view: &View<'_>, record: &ShardRecord, plan: &RecoveryPlan) -> bool {
    let members = &record.descriptor.members;
    let copy = plan.copies.iter().find(|(_, copy)| copy.replica == plan.survivor.id).map(|(_, copy)| copy);
    let is_first = members.iter().any(|member| member.replica == plan.survivor);
    let is_empty = copy.is_some_and(|copy| copy.last == FIRST) || is_planted(Planted::BegunTakenForNeverBegun);
    let is_in_each_majority = members.len() <= 2 || is_planted(Planted::LostMajorityTakenForNone);
    // Else the two may have begun since.
    let is_since = plan.given_up.iter().all(|lost| view.knows_start(plan.survivor.node, lost.node))
        || is_planted(Planted::EarlierWordTaken);
    is_first && plan.generation == record.descriptor.generation && is_empty && is_in_each_majority && is_since
}
