//! Targets: where the operator wants each shard's replicas.

use super::state::{SystemState, fresh};
use super::{SystemRefusal, SystemReply};
use crate::ids::{Epoch, NodeId, ShardId};
use crate::map::ShardRecord;

impl SystemState {
    /// Sets the targets of all the shards or of none. A target that is set already is no change and asks for nothing.
    ///
    /// The decision rested on the nodes' states and zones, on the tables of these shards and on the targets that they
    /// had; members and assigned copies, which the steward changes all the time, do not make it stale.
    pub(super) fn set_targets(
        &mut self,
        based_on: Option<Epoch>,
        targets: &[(ShardId, Vec<NodeId>)],
    ) -> Result<SystemReply, SystemRefusal> {
        let mut changes = Vec::new();
        for (shard, nodes) in targets {
            Self::distinct(*shard, nodes)?;
            let record = self.placed(*shard)?;
            if record.target == *nodes {
                continue;
            }
            nodes.iter().try_for_each(|&node| self.placeable(node))?;
            self.fresh_target(based_on, record)?;
            changes.push(ShardRecord { target: nodes.clone(), epoch: self.next_epoch(), ..record.clone() });
        }
        if !changes.is_empty() {
            for (node, &changed) in &self.standing {
                fresh(based_on, changed, || format!("node {node}"))?;
            }
        }
        changes.into_iter().for_each(|record| self.put_shard(record));
        Ok(self.done())
    }

    /// A shard whose target is the operator's to set.
    fn placed(&self, shard: ShardId) -> Result<&ShardRecord, SystemRefusal> {
        if shard == ShardId::SYSTEM {
            return Err(SystemRefusal::TargetOwner { shard });
        }
        self.live(shard)
    }

    fn fresh_target(&self, based_on: Option<Epoch>, record: &ShardRecord) -> Result<(), SystemRefusal> {
        let (shard, table) = (record.descriptor.shard, record.descriptor.table);
        let targeted = self.targeted.get(&shard).copied().unwrap_or_default();
        fresh(based_on, targeted, || format!("the target of shard {shard}"))?;
        let altered = self.map.tables.get(&table).map(|t| t.epoch).unwrap_or_default();
        fresh(based_on, altered, || format!("table {table}"))
    }
}
