//! What leaders have said that the map does not name, kept beside the reports.

use std::collections::BTreeMap;

use super::FRESH_MS;
use crate::ids::{NodeId, ShardId};
use crate::map::{Map, ShardRecord};
use crate::message::ShardReport;

/// What nodes have said of shards that they lead with copies which the map does not name. Begins empty when a node becomes
/// the steward.
#[derive(Debug, Clone, Default)]
pub(in crate::steward) struct Claims(BTreeMap<ShardId, BTreeMap<NodeId, Claim>>);

#[derive(Debug, Clone)]
struct Claim {
    report: ShardReport,
    at_ms: u64,
}

impl Claims {
    /// A node says that it leads, with copies that the map does not name. What the map has learnt by now is forgotten.
    pub(super) fn note(&mut self, from: NodeId, claims: Vec<ShardReport>, map: &Map, now_ms: u64) {
        if claims.is_empty() && self.0.is_empty() {
            return;
        }
        for report in claims {
            self.0.entry(report.descriptor.shard).or_default().insert(from, Claim { report, at_ms: now_ms });
        }
        self.0.retain(|shard, claims| {
            let known = map.shards.get(shard).filter(|record| map.is_live(record));
            claims.retain(|_, claim| known.is_some_and(|known| is_newer(&claim.report, known)));
            !claims.is_empty()
        });
    }

    /// The shards of which there are any.
    pub(in crate::steward) fn shards(&self) -> impl Iterator<Item = ShardId> {
        self.0.keys().copied()
    }

    /// Those of a shard that are still made, the latest last.
    pub(in crate::steward) fn of(&self, shard: ShardId, now_ms: u64) -> Vec<(NodeId, &ShardReport)> {
        let claims = self.0.get(&shard).into_iter().flatten();
        let fresh = claims.filter(|(_, claim)| now_ms.saturating_sub(claim.at_ms) <= FRESH_MS);
        let mut fresh: Vec<_> = fresh.map(|(node, claim)| (*node, &claim.report)).collect();
        fresh.sort_by_key(|(_, report)| (report.descriptor.generation.recoveries(), report.term));
        fresh
    }
}

pub(in crate::steward) fn is_newer(report: &ShardReport, known: &ShardRecord) -> bool {
    report.descriptor.generation > known.descriptor.generation
}
