//! What a copy does while its node's disk has stalled: nothing that it must promise becomes durable, so it leads nothing
//! that others can lead. Where they cannot, since the disks of too many have stalled or too few are heard of, it goes on: a
//! slow leader is better than none.

use crate::ids::NodeId;
use crate::liveness::Liveness;
use crate::map::{Replica as Copy, Role};
use crate::planted::{Planted, is_planted};
use crate::replica::Replica;
use crate::time::ELECTION_TICKS;

/// A copy whose disk has stalled stands for election all the same if the others have had no leader for so long, ten
/// seconds: whatever keeps them from electing one, it may not.
const STAND_ANYWAY_TICKS: u64 = 200;

impl Replica {
    /// True if this node's disk has stalled and the others can do without it: of each configuration in force a majority is
    /// on other nodes that are heard of and whose disks answer.
    pub(crate) fn gives_way(&self, liveness: &Liveness) -> bool {
        if !liveness.is_stalled(self.consensus.node()) || is_planted(Planted::HungDiskKeepsLeading) {
            return false;
        }
        self.others_suffice(|copy| can_lead(copy.node, liveness)) || is_planted(Planted::GivesWayToFew)
    }

    /// True if of each configuration in force a majority is on other nodes and fit.
    fn others_suffice(&self, is_fit: impl Fn(Copy) -> bool) -> bool {
        let has_majority = |voting: [Role; 2]| {
            let voters = self.descriptor().members.iter().filter(|m| voting.contains(&m.role)).map(|m| m.replica);
            let fit = voters.clone().filter(|copy| copy.node != self.consensus.node() && is_fit(*copy)).count();
            2 * fit > voters.count()
        };
        has_majority([Role::Voter, Role::Outgoing]) && has_majority([Role::Voter, Role::Incoming])
    }

    /// True if the others can also elect one of them, and commit: a copy that is not in sync may do neither, however well
    /// its node is. Then leadership would be lost to nobody, and with it the reads, which need no disk.
    fn others_are_in_sync(&self, liveness: &Liveness) -> bool {
        let in_sync = self.in_sync();
        self.others_suffice(|copy| can_lead(copy.node, liveness) && in_sync.contains(&copy.id))
            || is_planted(Planted::GivesWayToFew)
            || is_planted(Planted::GivesWayToThoseBehind)
    }

    /// Hands leadership to a copy that is in sync on a node whose disk answers, if that is not under way. Tried again until
    /// it is done: raft gives up what takes longer than an election time-out.
    pub(crate) fn give_way(&mut self, liveness: &Liveness) {
        if !self.is_leader() || self.consensus.is_handing_over() || !self.gives_way(liveness) {
            return;
        }
        if !self.others_are_in_sync(liveness) {
            return;
        }
        // One that does not take it is not asked for ever.
        let transfer_targets = self.transfer_targets(|node| can_lead(node, liveness));
        let turn = usize::try_from(self.consensus.ticks()).unwrap_or(0) / (2 * ELECTION_TICKS);
        if let Some(transfer_target) =
            turn.checked_rem(transfer_targets.len()).and_then(|turn| transfer_targets.get(turn))
        {
            self.wake(liveness);
            self.transfer(*transfer_target);
        }
    }

    /// A copy that gives way does not stand for election.
    pub(super) fn leave_elections_to_others(&mut self, liveness: &Liveness) {
        let has_waited = self.consensus.leaderless_ticks() > STAND_ANYWAY_TICKS;
        if !self.is_leader() && !has_waited && self.gives_way(liveness) {
            self.consensus.put_off_election();
        }
    }
}

fn can_lead(node: NodeId, liveness: &Liveness) -> bool {
    liveness.is_heard(node) && !liveness.is_stalled(node)
}
