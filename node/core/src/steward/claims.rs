//! Leaders that the map does not name. A recovery of the system shard may go on from records that are older than the shards:
//! what the lost majority noted since is not known, and copies that it has added may lead by now.
//!
//! No node is believed by its word alone that it leads with such a copy, since copies elsewhere would be ended by it. Every
//! node tells of its copies that are ahead of its map, and where one of another node names the leader's copy as a voter, what
//! the leader tells is noted. So it is with a copy that the map names, as long as nothing was noted of the shard since the
//! recovery: it may have left the shard long ago, as far as the record tells.

use super::View;
use super::reports::claims::is_newer;
use crate::ids::{NodeId, ShardId};
use crate::map::{Descriptor, Member, Replica, Role, ShardRecord};
use crate::message::ShardReport;
use crate::planted::{Planted, is_planted};

fn is_voter_of(members: &[Member], copy: Replica) -> bool {
    members.iter().any(|member| member.replica == copy && member.role != Role::Learner)
}

/// True if a copy on another node names this one as a voter of the shard.
fn is_backed(view: &View<'_>, shard: ShardId, copy: Replica) -> bool {
    view.told_copies(shard).any(|(other, told)| other != copy.node && is_voter_of(&told.members, copy))
}

/// What is to be noted of shards whose leaders the map does not name.
pub(super) fn backed<'a>(view: &View<'a>) -> impl Iterator<Item = &'a Descriptor> {
    let claims = view.reports.claims();
    claims.shards().filter_map(move |shard| {
        let record = view.map.shards.get(&shard).filter(|record| view.map.is_live(record))?;
        let is_backed = |node: NodeId, report: &ShardReport| {
            is_backed(view, shard, Replica { node, id: report.leader }) || is_planted(Planted::ClaimBelieved)
        };
        let newer = claims.of(shard, view.now_ms).into_iter().filter(|(_, report)| is_newer(report, record));
        newer.filter(|(node, report)| is_backed(*node, report)).map(|(_, report)| &report.descriptor).next_back()
    })
}

/// True if a leader on a copy that the map names tells what nobody else does of a shard whose record is as a recovery of the
/// system shard has left it. The only voter has nobody to speak for it: it is believed once nothing is left of the others that
/// the record names.
pub(super) fn is_word_of_one(view: &View<'_>, record: &ShardRecord, report: &ShardReport) -> bool {
    let shard = record.descriptor.shard;
    let recovered = view.map.recoveries.get(&ShardId::SYSTEM).map(|recovery| recovery.epoch);
    let is_old = shard != ShardId::SYSTEM && recovered.is_some_and(|recovered| record.epoch <= recovered);
    if !is_old || !is_newer(report, record) || is_planted(Planted::OldMemberBelieved) {
        return false;
    }
    let Some(node) = report.descriptor.node_of(report.leader) else { return true };
    let is_other = |member: &&Member| member.replica.id != report.leader;
    let voters = |members: &[Member]| members.iter().filter(is_other).any(|member| member.role != Role::Learner);
    let are_gone = record.descriptor.members.iter().filter(is_other).all(|other| view.tells_lost(other.replica, shard));
    let is_only_one_left = !voters(&report.descriptor.members) && are_gone;
    !is_only_one_left && !is_backed(view, shard, Replica { node, id: report.leader })
}

/// A node that leads a shard, as it says, and what it says: with a copy that the map does not name, or with one by whose word
/// alone nothing is noted.
pub(super) fn claimant<'a>(view: &View<'a>, record: &ShardRecord) -> Option<(NodeId, &'a ShardReport)> {
    let claims = view.reports.claims().of(record.descriptor.shard, view.now_ms);
    let unnamed = claims.into_iter().rfind(|(_, report)| is_newer(report, record));
    let leader = view.leader(record.descriptor.shard);
    unnamed.or_else(|| leader.filter(|(_, report)| is_word_of_one(view, record, report)))
}
