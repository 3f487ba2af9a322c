//! A leader that runs counts a copy as in sync only while that copy is there, with data, in some process.

use std::collections::{BTreeMap, BTreeSet};

use super::{Broken, broken};
use crate::ids::{NodeId, ReplicaId};
use crate::map::Replica;
use crate::replica::ReplicaView;

/// Milliseconds for which a leader may not have noticed that a copy is gone: it takes that for lost messages, and hears
/// what was under way.
const UNNOTICED_MS: u64 = 1_200;

/// Remembers since when copies are missing, and since when nodes run without a pause.
#[derive(Debug, Default)]
pub struct InSync {
    missing: BTreeMap<Replica, u64>,
    running: BTreeMap<NodeId, u64>,
    late_ms: u64,
}

impl InSync {
    /// Messages may be under way for so long, beyond what is usual.
    pub fn allow_late(&mut self, late_ms: u64) {
        self.late_ms = late_ms;
    }

    /// A process has started: its copies are there, if only until the next look.
    pub fn restarted(&mut self, node: NodeId) {
        self.missing.retain(|copy, _| copy.node != node);
    }

    /// Looks at all replicas there are now. `running` = the nodes whose processes are not paused.
    pub fn check(
        &mut self,
        now_ms: u64,
        all: &BTreeMap<ReplicaId, ReplicaView>,
        running: &BTreeSet<NodeId>,
    ) -> Result<(), Broken> {
        let unnoticed_ms = UNNOTICED_MS + self.late_ms;
        self.running.retain(|node, _| running.contains(node));
        for node in running {
            self.running.entry(*node).or_insert(now_ms);
        }
        let has_run = |node: &NodeId| self.running.get(node).is_some_and(|since| now_ms - since > unnoticed_ms);
        let mut counted = BTreeMap::new();
        for leader in all.values().filter(|v| v.is_leader && has_run(&v.node)) {
            let absent = |copy: &Replica| all.get(&copy.id).is_none_or(|v| v.is_blank);
            let copies = leader.descriptor.members.iter().map(|m| m.replica);
            let in_sync = copies.filter(|copy| leader.in_sync.contains(&copy.id));
            counted.extend(in_sync.filter(absent).map(|copy| (copy, leader)));
        }
        self.missing.retain(|copy, _| counted.contains_key(copy));
        for (copy, leader) in counted {
            let (id, since) = (copy.id, *self.missing.entry(copy).or_insert(now_ms));
            if now_ms - since > unnoticed_ms {
                let seen =
                    format!("shard {}: {} counts {id}, gone for {} ms", leader.shard, leader.node, now_ms - since);
                return broken("a copy in sync is there", seen);
            }
        }
        Ok(())
    }
}
