//! A committed entry that this release cannot read stops the copy where it is: to skip it would make the copy another
//! than the rest, and to end the process would end every other copy on the node. The copy goes on to vote and to
//! acknowledge, since its log has everything; it neither leads nor applies, and its node is not ready, until a release
//! that can read the entry is started on its volume. Nothing of what stops here is durable: the next start tries again.

use raft::eraftpb::{Entry, EntryType};

use crate::codec::{self, Undecodable};
use crate::planted::{Planted, is_planted};
use crate::replica::members::MemberChange;
use crate::replica::{Payload, Replica, apply};
use crate::time::ELECTION_TICKS;

/// What an entry says.
pub(super) enum Content {
    /// A leader's first entry, or one that only tells of a commit.
    Nothing,
    Commands(Payload),
    Members(MemberChange),
}

/// What an entry says, if this release can read it.
pub(super) fn read(entry: &Entry) -> Result<Content, Undecodable> {
    match entry.get_entry_type() {
        EntryType::EntryNormal if entry.data.is_empty() => Ok(Content::Nothing),
        EntryType::EntryNormal => apply::payload(&entry.data).map(Content::Commands),
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
            codec::decode("change of members", &entry.context).map(Content::Members)
        }
    }
}

impl Replica {
    /// The index of the entry that this copy cannot read, if it has met one.
    pub(crate) fn unreadable(&self) -> Option<u64> {
        self.unreadable
    }

    /// This copy stops before an entry. It may have led: whoever can read the entry takes over.
    pub(super) fn stop_at(&mut self, index: u64) {
        if is_planted(Planted::UnreadableSkipped) {
            return;
        }
        self.unreadable = Some(index);
        if self.is_leader() {
            let term = self.term();
            self.raw.raft.become_follower(term, 0);
        }
    }

    /// A copy that cannot apply does not stand for election, as one without records does not.
    pub(super) fn wait_for_release(&mut self) {
        if self.unreadable.is_some() {
            let raft = &mut self.raw.raft;
            raft.election_elapsed = raft.election_elapsed.min(ELECTION_TICKS - 1);
        }
    }
}
