//! Leaders that the map does not name. A recovery of the system shard may go on from records that are older than the shards:
//! what the lost majority noted since is not known, and copies that it has added may lead by now.
//!
//! No node is believed by its word alone that it leads with such a copy, since copies elsewhere would be ended by it. So it is
//! asked to hand over, and what two nodes have said one after the other, as leaders, is noted.

use std::collections::BTreeMap;

use super::View;
use super::reports::FRESH_MS;
use crate::ids::{NodeId, ReplicaId, ShardId};
use crate::map::{Descriptor, Map, Replica, Role, home_of};
use crate::message::{CopyReport, PeerMessage, ShardReport};
use crate::planted::{Planted, is_planted};
use crate::time::Version;

/// Leaders asked to hand over in one round.
const TRANSFERS_MAX: usize = 4;

/// What nodes have said of shards that they lead with copies which the map does not name. Begins empty when a node becomes
/// the steward.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims(BTreeMap<ShardId, BTreeMap<NodeId, Claim>>);

#[derive(Debug, Clone)]
struct Claim {
    report: ShardReport,
    at_ms: u64,
}

impl Claims {
    /// A node says that it leads, with a copy that the map does not name.
    pub(super) fn note(&mut self, from: NodeId, report: ShardReport, now_ms: u64) {
        self.0.entry(report.descriptor.shard).or_default().insert(from, Claim { report, at_ms: now_ms });
    }

    /// Forgets what the map has learnt by now.
    pub(super) fn retain_newer(&mut self, map: &Map) {
        self.0.retain(|shard, claims| {
            let known = map.shards.get(shard).filter(|record| map.is_live(record));
            let is_newer = |claim: &Claim| known.is_some_and(|known| is_newer(&claim.report, &known.descriptor));
            claims.retain(|_, claim| is_newer(claim));
            !claims.is_empty()
        });
    }

    /// The latest that is still said of a shard, and who says so.
    fn latest(&self, shard: ShardId, now_ms: u64) -> Option<(NodeId, &ShardReport)> {
        let claims = self.0.get(&shard)?.iter().filter(|(_, claim)| now_ms.saturating_sub(claim.at_ms) <= FRESH_MS);
        let latest = claims.max_by_key(|(_, claim)| order(&claim.report));
        latest.map(|(node, claim)| (*node, &claim.report))
    }

    /// A descriptor that two nodes have told as leaders. How long ago does not matter: it was true once, and generations
    /// only rise.
    fn backed(&self, shard: ShardId) -> Option<&Descriptor> {
        let claims = self.0.get(&shard)?;
        let needed = if is_planted(Planted::ClaimBelieved) { 1 } else { 2 };
        let told = claims.values().map(|claim| &claim.report.descriptor);
        let is_backed = |descriptor: &&Descriptor| told.clone().filter(|other| other == descriptor).count() >= needed;
        told.clone().filter(is_backed).max_by_key(|descriptor| descriptor.generation)
    }
}

fn order(report: &ShardReport) -> (u64, u64, u64) {
    let generation = report.descriptor.generation;
    (generation.recoveries(), report.term, generation.0)
}

fn is_newer(report: &ShardReport, known: &Descriptor) -> bool {
    report.descriptor.generation > known.generation
}

/// What is to be noted of shards because two nodes have said so.
pub(super) fn backed<'a>(view: &View<'a>) -> impl Iterator<Item = &'a Descriptor> {
    let (claims, map) = (view.reports.claims(), view.map);
    claims.0.keys().filter_map(|shard| claims.backed(*shard)).filter(|descriptor| {
        map.shards.get(&descriptor.shard).is_some_and(|known| descriptor.generation > known.descriptor.generation)
    })
}

/// The node that leads a shard with a copy which the map does not name, as it says.
pub(super) fn claimant<'a>(view: &View<'a>, shard: ShardId) -> Option<(NodeId, &'a ShardReport)> {
    let known = view.map.live_shards().find(|record| record.descriptor.shard == shard)?;
    let latest = view.reports.claims().latest(shard, view.now_ms);
    latest.filter(|(_, report)| is_newer(report, &known.descriptor))
}

/// Leaders that the map does not name are to hand over, best to a copy that it does name.
pub fn hand_overs(view: &View<'_>) -> Vec<(NodeId, PeerMessage)> {
    let claims = view.reports.claims();
    let open = claims.0.keys().filter(|shard| claims.backed(**shard).is_none());
    let transfers = open.filter_map(|shard| {
        let (node, report) = claimant(view, *shard)?;
        let to = heir(view, node, report)?;
        Some((node, PeerMessage::TransferLeader { shard: *shard, to }))
    });
    transfers.take(TRANSFERS_MAX).collect()
}

fn heir(view: &View<'_>, from: NodeId, report: &ShardReport) -> Option<ReplicaId> {
    let record = view.map.shards.get(&report.descriptor.shard)?;
    let voters = report.descriptor.members.iter().filter(|member| matches!(member.role, Role::Voter | Role::Incoming));
    let others = voters.map(|member| member.replica).filter(|copy| copy.node != from);
    let in_sync = others.filter(|copy| report.in_sync.contains(&copy.id) && view.heard(copy.node).is_some());
    let is_named = |copy: &Replica| home_of(record, copy.id) == Some(copy.node);
    in_sync.max_by_key(|copy| (is_named(copy), copy.id)).map(|copy| copy.id)
}

/// The only copy of a shard, which can hand over to nobody, and which a person may therefore have the shard go on from: as it
/// tells of itself.
pub(super) fn only_copy(report: &ShardReport) -> Option<CopyReport> {
    let ShardReport { descriptor, leader, term, .. } = report;
    let is_alone = descriptor.members.iter().all(|member| member.replica.id == *leader);
    is_alone.then(|| CopyReport {
        shard: descriptor.shard,
        replica: *leader,
        last: (0, *term),
        applied: 0,
        last_version: Version(0),
        generation: descriptor.generation,
        members: descriptor.members.clone(),
        is_blank: false,
    })
}
