//! A committed entry that this release cannot read stops the copy where it is: to skip it would make the copy another
//! than the rest, and to end the process would end every other copy on the node. The copy goes on to vote and to
//! acknowledge, since its log has everything; it neither leads nor applies, and its node is not ready, until a release
//! that can read the entry is started on its volume. Nothing of what stops here is durable: the next start tries again.

use crate::replica::Replica;

impl Replica {
    /// The index of the entry that this copy cannot read, if it has met one.
    pub(crate) fn unreadable(&self) -> Option<u64> {
        self.machine.unreadable()
    }

    /// This copy has stopped before an entry. It may have led: whoever can read the entry takes over.
    pub(super) fn leave_to_those_who_can_read(&mut self) {
        if self.unreadable().is_some() && self.is_leader() {
            self.consensus.follow_nobody();
        }
    }

    /// A copy that cannot apply does not stand for election, as one without records does not.
    pub(super) fn wait_for_release(&mut self) {
        if self.unreadable().is_some() {
            self.consensus.put_off_election();
        }
    }
}
