//! A leader whose disk hangs gives its leadership to others that can lead: clients wait for no disk but a majority's.

use std::collections::{BTreeMap, BTreeSet};

use super::{Broken, broken};
use crate::ids::{NodeId, ShardId};
use crate::map::Role;
use crate::replica::ReplicaView;

/// Milliseconds for which a write may have waited before its node notices: two seconds, some late ticks, and a clock that is
/// slow.
const NOTICED_MS: u64 = 2_500;
/// Milliseconds that it may take to hand over from then on: some tries, each of which may be lost.
const HANDED_OVER_MS: u64 = 3_000;

/// How the process and the disk of a node are.
#[derive(Debug, Clone, Copy)]
pub struct Disk {
    /// For how long the oldest write of its log has waited, in milliseconds. 0 = none waits.
    pub waiting_ms: u64,
    /// Its process runs, and does not count its own disk as stalled.
    pub can_lead: bool,
}

/// Remembers since when leaders should have given way.
#[derive(Debug, Default)]
pub struct Stalled {
    since: BTreeMap<(ShardId, NodeId), u64>,
    late_ms: u64,
}

impl Stalled {
    /// Messages may be under way for so long, beyond what is usual.
    pub fn allow_late(&mut self, late_ms: u64) {
        self.late_ms = late_ms;
    }

    /// Looks at all leaders. `disks` = of the nodes whose processes run and are not paused.
    pub fn check<'a>(
        &mut self,
        now_ms: u64,
        leaders: impl Iterator<Item = &'a ReplicaView>,
        disks: &BTreeMap<NodeId, Disk>,
    ) -> Result<(), Broken> {
        let hangs = |leader: &&ReplicaView| {
            disks.get(&leader.node).is_some_and(|d| d.waiting_ms > NOTICED_MS) && others_can_lead(leader, disks)
        };
        let to_give_way: BTreeSet<_> = leaders.filter(hangs).map(|leader| (leader.shard, leader.node)).collect();
        self.since.retain(|leader, _| to_give_way.contains(leader));
        for leader in to_give_way {
            let since = *self.since.entry(leader).or_insert(now_ms);
            if now_ms - since > HANDED_OVER_MS + 2 * self.late_ms {
                let seen = format!("shard {} on {}, for {} ms", leader.0, leader.1, now_ms - since);
                return broken("a leader whose disk hangs gives way to those that can lead", seen);
            }
        }
        Ok(())
    }
}

/// True if a majority of each configuration in force is in sync on other nodes that can lead.
fn others_can_lead(leader: &ReplicaView, disks: &BTreeMap<NodeId, Disk>) -> bool {
    let has_majority = |voting: [Role; 2]| {
        let voters = leader.descriptor.members.iter().filter(|m| voting.contains(&m.role)).map(|m| m.replica);
        let is_fit = |node| node != leader.node && disks.get(&node).is_some_and(|disk: &Disk| disk.can_lead);
        let fit = voters.clone().filter(|copy| leader.in_sync.contains(&copy.id) && is_fit(copy.node)).count();
        2 * fit > voters.count()
    };
    has_majority([Role::Voter, Role::Outgoing]) && has_majority([Role::Voter, Role::Incoming])
}
