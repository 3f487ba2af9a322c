//! A leader that runs counts a copy as in step only while that copy is there, with data, in some process.

use std::collections::{BTreeMap, BTreeSet};

use super::{Broken, broken};
use crate::ids::{NodeId, ReplicaId};
use crate::replica::ReplicaView;

/// Milliseconds for which a leader may not have noticed that a copy is gone: it takes that for lost messages, and hears
/// what was under way.
const UNNOTICED_MS: u64 = 1_200;

/// Remembers since when copies are missing, and since when nodes run without a pause.
#[derive(Debug, Default)]
pub struct InStep {
    missing: BTreeMap<ReplicaId, u64>,
    running: BTreeMap<NodeId, u64>,
}

impl InStep {
    /// Looks at all replicas there are now. `running` = the nodes whose processes are not paused.
    pub fn check(
        &mut self,
        now_ms: u64,
        all: &BTreeMap<ReplicaId, ReplicaView>,
        running: &BTreeSet<NodeId>,
    ) -> Result<(), Broken> {
        self.running.retain(|node, _| running.contains(node));
        for node in running {
            self.running.entry(*node).or_insert(now_ms);
        }
        let has_run = |node: &NodeId| self.running.get(node).is_some_and(|since| now_ms - since > UNNOTICED_MS);
        let mut counted = BTreeMap::new();
        for leader in all.values().filter(|v| v.is_leader && has_run(&v.node)) {
            let absent = |id: &&ReplicaId| all.get(id).is_none_or(|v| v.is_blank);
            counted.extend(leader.in_step.iter().filter(absent).map(|id| (*id, leader)));
        }
        self.missing.retain(|id, _| counted.contains_key(id));
        for (id, leader) in counted {
            let since = *self.missing.entry(id).or_insert(now_ms);
            if now_ms - since > UNNOTICED_MS {
                let seen =
                    format!("shard {}: {} counts {id}, gone for {} ms", leader.shard, leader.node, now_ms - since);
                return broken("a copy in step is there", seen);
            }
        }
        Ok(())
    }
}
