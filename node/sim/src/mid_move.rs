//! A copy that is lost for good just as its shard's leader learns that fewer copies are to stay, this one among them, and
//! before the leader has done anything about it: it was heard of a moment ago, and is not there any more.

use skerry_core::ids::NodeId;
use skerry_core::map::{Role, ShardRecord};
use skerry_core::replica::ReplicaView;

use crate::check::views;
use crate::faults::is_expendable_beside;
use crate::hardship::Hardship;
use crate::world::{SECOND, World};

/// What a leader has asked before is forgotten by then.
const RESTED: u64 = 2 * SECOND;
/// Hosts that there must be yet: three copies have places after the loss.
const HOSTS_MIN: usize = 4;

impl World {
    /// Called before a host's tick. Once in a run, when there are to be fewer copies, and only where everything has enough copies without the lost host.
    pub(crate) fn lose_mid_move(&mut self, host: NodeId) {
        if !self.setting.has(Hardship::LostMidMove) {
            return;
        }
        let Some(node) = self.hosts.get(&host).and_then(|host| host.node.as_ref()) else { return };
        let led = node.replicas().filter(|view| view.is_leader);
        let led = led.filter_map(|view| Some((view.clone(), node.map().shards.get(&view.shard)?.clone())));
        for (leader, record) in led.collect::<Vec<_>>() {
            let place = (host, leader.shard);
            if record.assigned_reached() {
                self.resting_since.entry(place).or_insert(self.time);
                continue;
            }
            // Only the first time, and long after any other change: else the leader may have asked who is there.
            let has_rested = self.resting_since.remove(&place).is_some_and(|since| since + RESTED < self.time);
            let is_met = has_rested && self.may_lose_mid_move && becomes_fewer(&leader, &record);
            if let Some(lost) = self.expendable(&leader, &record).filter(|_| is_met) {
                self.mark(&format!("{lost}: lost for good, as fewer copies of {} are to stay", leader.shard));
                self.may_lose_mid_move = false;
                self.crash(lost);
                self.hosts.get_mut(&lost).into_iter().for_each(|host| host.gone = true);
                return self.lost_for_good.push(lost);
            }
        }
    }

    /// A host with a copy that is to stay, and that all can do without.
    fn expendable(&self, leader: &ReplicaView, record: &ShardRecord) -> Option<NodeId> {
        let hosts = self.up().len();
        let all = views(&self.hosts);
        let has_all = |id| all.get(&id).is_some_and(|view| !view.is_blank && view.last >= leader.committed);
        let whole = leader.in_sync.iter().filter(|id| has_all(**id)).count();
        // The leader and a majority of the others go on.
        let is_safe = whole == leader.descriptor.members.len() && whole >= 3 && hosts >= HOSTS_MIN;
        let mut staying = record.assigned.iter().map(|copy| copy.node).filter(|node| *node != leader.node);
        staying.find(|node| is_safe && is_expendable_beside(*node, Some(leader.shard), self))
    }
}

/// True if a leader would go straight to fewer copies, all of which are voters that it has.
fn becomes_fewer(leader: &ReplicaView, record: &ShardRecord) -> bool {
    let members = &leader.descriptor.members;
    let stays = |id| members.iter().any(|member| member.replica.id == id);
    record.descriptor.generation == leader.descriptor.generation
        && members.iter().all(|member| member.role == Role::Voter)
        && record.assigned.len() < members.len()
        && record.assigned.iter().all(|copy| stays(copy.id))
}
