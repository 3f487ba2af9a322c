//! Leaders that the map does not name. A recovery of the system shard may go on from records that are older than the shards:
//! what the lost majority noted since is not known, and copies that it has added may lead by now.
//!
//! No node is believed by its word alone that it leads with such a copy, since copies elsewhere would be ended by it. Every
//! node tells of its copies that are ahead of its map, and where one of another node names the leader's copy as a voter, what
//! the leader tells is noted.

use super::View;
use super::reports::claims::is_newer;
use crate::ids::NodeId;
use crate::map::{Descriptor, Member, Replica, Role, ShardRecord};
use crate::message::{CopyReport, ShardReport};
use crate::planted::{Planted, is_planted};

fn is_voter_of(members: &[Member], copy: Replica) -> bool {
    members.iter().any(|member| member.replica == copy && member.role != Role::Learner)
}

/// What is to be noted of shards whose leaders the map does not name.
pub(super) fn backed<'a>(view: &View<'a>) -> impl Iterator<Item = &'a Descriptor> {
    let claims = view.reports.claims();
    claims.shards().filter_map(move |shard| {
        let record = view.map.shards.get(&shard).filter(|record| view.map.is_live(record))?;
        let told: Vec<_> = view.told_copies(shard).collect();
        let is_backed = |node: NodeId, report: &ShardReport| {
            let copy = Replica { node, id: report.leader };
            let names = |(other, told): &(NodeId, &CopyReport)| *other != node && is_voter_of(&told.members, copy);
            told.iter().any(names) || is_planted(Planted::ClaimBelieved)
        };
        let newer = claims.of(shard, view.now_ms).into_iter().filter(|(_, report)| is_newer(report, record));
        newer.filter(|(node, report)| is_backed(*node, report)).map(|(_, report)| &report.descriptor).next_back()
    })
}

/// A node that leads a shard with a copy which the map does not name, as it says, and what it says.
pub(super) fn claimant<'a>(view: &View<'a>, record: &ShardRecord) -> Option<(NodeId, &'a ShardReport)> {
    let claims = view.reports.claims().of(record.descriptor.shard, view.now_ms);
    claims.into_iter().rfind(|(_, report)| is_newer(report, record))
}
