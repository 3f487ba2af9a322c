//! What a copy does while its node's disk has stalled: nothing that it must promise becomes durable, so it leads nothing
//! that others can lead. Where they cannot, since the disks of too many have stalled or too few are heard of, it goes on: a
//! slow leader is better than none.

use crate::heard::Heard;
use crate::ids::NodeId;
use crate::map::{Replica as Copy, Role};
use crate::planted::{Planted, is_planted};
use crate::replica::{ELECTION_TICKS, Replica};

/// A copy whose disk has stalled stands for election all the same if the others have had no leader for so long, ten
/// seconds: whatever keeps them from electing one, it may not.
const STAND_ANYWAY_TICKS: u64 = 200;

impl Replica {
    /// True if this node's disk has stalled and the others can do without it: of each configuration in force a majority is
    /// on other nodes that are heard of and whose disks answer.
    pub(crate) fn gives_way(&self, heard: &Heard) -> bool {
        if !heard.is_stalled(self.node) || is_planted(Planted::HungDiskKeepsLeading) {
            return false;
        }
        self.others_suffice(|copy| can_lead(copy.node, heard)) || is_planted(Planted::GivesWayToFew)
    }

    /// True if of each configuration in force a majority is on other nodes and fit.
    fn others_suffice(&self, is_fit: impl Fn(Copy) -> bool) -> bool {
        let has_majority = |voting: [Role; 2]| {
            let voters = self.descriptor().members.iter().filter(|m| voting.contains(&m.role)).map(|m| m.replica);
            let fit = voters.clone().filter(|copy| copy.node != self.node && is_fit(*copy)).count();
            2 * fit > voters.count()
        };
        has_majority([Role::Voter, Role::Outgoing]) && has_majority([Role::Voter, Role::Incoming])
    }

    /// True if the others can also elect one of them, and commit: a copy that is not in step may do neither, however well
    /// its node is. Then leadership would be lost to nobody, and with it the reads, which need no disk.
    fn others_are_in_step(&self, heard: &Heard) -> bool {
        let in_step = self.in_step();
        self.others_suffice(|copy| can_lead(copy.node, heard) && in_step.contains(&copy.id))
            || is_planted(Planted::GivesWayToFew)
            || is_planted(Planted::GivesWayToThoseBehind)
    }

    /// Hands leadership to a copy that is in step on a node whose disk answers, if that is not under way. Tried again until
    /// it is done: raft gives up what takes longer than an election time-out.
    pub(crate) fn give_way(&mut self, heard: &Heard) {
        if !self.is_leader() || self.raw.raft.lead_transferee.is_some() || !self.gives_way(heard) {
            return;
        }
        if !self.others_are_in_step(heard) {
            return;
        }
        // One that does not take it is not asked for ever.
        let heirs = self.heirs(|node| can_lead(node, heard));
        let turn = usize::try_from(self.ticks).unwrap_or(0) / (2 * ELECTION_TICKS);
        if let Some(heir) = turn.checked_rem(heirs.len()).and_then(|turn| heirs.get(turn)) {
            self.wake(heard);
            self.transfer(*heir);
        }
    }

    /// A copy that gives way does not stand for election.
    pub(super) fn leave_elections_to_others(&mut self, heard: &Heard) {
        let has_waited = self.ticks.saturating_sub(self.led_tick) > STAND_ANYWAY_TICKS;
        if !self.is_leader() && !has_waited && self.gives_way(heard) {
            let raft = &mut self.raw.raft;
            raft.election_elapsed = raft.election_elapsed.min(ELECTION_TICKS - 1);
        }
    }
}

fn can_lead(node: NodeId, heard: &Heard) -> bool {
    heard.is_heard(node) && !heard.is_stalled(node)
}
