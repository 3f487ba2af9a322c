//! Checks every field of a Raft message before raft sees it. raft takes its peers' word: it ends the process on an index
//! that no leader would send, and lets a term rise for ever. Here is what a member of the group can send, given what this
//! copy knows; anything else is refused, and nothing happens.
//!
//! Raft does not tolerate a member that lies within these bounds. That a message is of a member is what its connection
//! has to show; that it is possible at all is what is checked here.

pub mod snapshot;

use crate::codec;
use crate::ids::{NodeId, ReplicaId};
use crate::limits::REPLICATION_FACTOR_MAX;
use crate::log::{EntryKind, INDEX_MAX, LogEntry};
use crate::message::{RaftEnvelope, RaftKind};
use crate::planted::{Planted, is_planted};
use crate::replica::Replica;
use crate::replica::members::MemberChange;
use crate::replica::state_machine::content;

/// A term may be this much above the own one: as many elections as one group could hold in a century, one every 700 ms.
pub const TERM_JUMP_MAX: u64 = 1 << 32;
/// raft's longest context is that of a leadership transfer.
const CONTEXT_BYTES_MAX: usize = 64;
/// A copy that nobody has led for so many ticks takes messages of a copy that it does not know: log and map are both so
/// old here that the group may have no other members left.
const LEADERLESS_TICKS: u64 = 100;

/// What a copy knows when a message comes in.
#[derive(Debug, Clone, Copy)]
pub struct RaftFacts {
    /// Id of the copy that receives the message.
    pub id: ReplicaId,
    /// True if the copy is of the system shard.
    pub is_system: bool,
    /// Raft term that the receiving copy is in.
    pub term: u64,
    /// The leader of that term; 0 = unknown.
    pub leader: ReplicaId,
    /// True if the receiving copy leads the shard.
    pub is_leader: bool,
    /// Index of the last entry in the receiving copy's log.
    pub last: u64,
    /// True if no leader was heard of for long.
    pub is_leaderless: bool,
    /// The node of the copy that the message says it is from. `None` = unknown.
    pub home: Option<NodeId>,
}

/// Why a Raft message is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It says it is from a copy that is on another node, or from the receiver itself.
    #[error("sender {replica} is not on {node}")]
    Sender {
        /// The copy that the message says it is from.
        replica: ReplicaId,
        /// The node that sent the message.
        node: NodeId,
    },
    /// It is from a copy that neither the shard's descriptor nor the map names.
    #[error("sender {replica} is not known")]
    UnknownSender {
        /// The copy that the message says it is from.
        replica: ReplicaId,
    },
    /// The term is 0, or no number of elections could have led to it.
    #[error("term {term} must be 1 to {max}")]
    Term {
        /// Term that the message names.
        term: u64,
        /// Highest term that is accepted.
        max: u64,
    },
    /// The message claims to be from the leader of a term that has another leader.
    #[error("{replica} does not lead term {term}")]
    Leader {
        /// The copy that claims to lead.
        replica: ReplicaId,
        /// Term that the message names, and that the replica claims to lead.
        term: u64,
    },
    /// An index is beyond what the receiver's log allows.
    #[error("{field} {value} must be at most {max}")]
    Index {
        /// Name of the index that is too high, such as `commit`.
        field: &'static str,
        /// Value of that index in the message.
        value: u64,
        /// Highest value that is accepted.
        max: u64,
    },
    /// An index and its term do not fit each other.
    #[error("no entry has index {index} and term {term}")]
    Position {
        /// Index that the message names.
        index: u64,
        /// Term that the message names for that index.
        term: u64,
    },
    /// Entries that are not consecutive, or whose terms fall, or a message that carries none.
    #[error("entries of the message are out of order")]
    Entries,
    /// An entry that this shard never holds.
    #[error("entry {index} is not one of this shard")]
    Content {
        /// Index of the entry that cannot be one of this shard.
        index: u64,
    },
    /// The context is longer than any of raft.
    #[error("context has {bytes} bytes, it must have at most {CONTEXT_BYTES_MAX}")]
    Context {
        /// Length of the context, in bytes.
        bytes: usize,
    },
}

/// Whether raft may see a message that `from` has sent.
///
/// # Errors
///
/// What no member of the group would have sent.
pub fn admit(facts: &RaftFacts, from: NodeId, message: &RaftEnvelope) -> Result<(), Refused> {
    sender(facts, from, message.from)?;
    let max = facts.term.saturating_add(TERM_JUMP_MAX).min(INDEX_MAX);
    if message.term == 0 || message.term > max {
        return Err(Refused::Term { term: message.term, max });
    }
    if message.context.len() > CONTEXT_BYTES_MAX {
        return Err(Refused::Context { bytes: message.context.len() });
    }
    if message.kind != RaftKind::Append && !message.entries.is_empty() {
        return Err(Refused::Entries);
    }
    // raft does no more than answer what is of an earlier term.
    if message.term < facts.term {
        return Ok(());
    }
    match message.kind {
        RaftKind::Append => append(facts, message),
        RaftKind::Heartbeat => heartbeat(facts, message),
        RaftKind::TimeoutNow => timeout_now(facts, message),
        RaftKind::RequestVote | RaftKind::RequestPreVote => vote_request(message),
        RaftKind::AppendResponse => append_response(facts, message),
        RaftKind::HeartbeatResponse | RaftKind::RequestVoteResponse | RaftKind::RequestPreVoteResponse => {
            at_most("commit", message.commit, INDEX_MAX)
        }
    }
}

fn sender(facts: &RaftFacts, from: NodeId, replica: ReplicaId) -> Result<(), Refused> {
    match facts.home {
        _ if is_planted(Planted::SenderUnchecked) => Ok(()),
        _ if replica == facts.id || replica.0 == 0 => Err(Refused::Sender { replica, node: from }),
        Some(home) if home != from => Err(Refused::Sender { replica, node: from }),
        None if !facts.is_leaderless => Err(Refused::UnknownSender { replica }),
        Some(_) | None => Ok(()),
    }
}

/// Of a term that is not over there is one leader.
fn leader(facts: &RaftFacts, message: &RaftEnvelope) -> Result<(), Refused> {
    let is_known = facts.is_leader || facts.leader.0 != 0;
    if message.term == facts.term && is_known && (facts.is_leader || facts.leader != message.from) {
        return Err(Refused::Leader { replica: message.from, term: message.term });
    }
    Ok(())
}

fn append(facts: &RaftFacts, message: &RaftEnvelope) -> Result<(), Refused> {
    leader(facts, message)?;
    position(message.index, message.log_term, message.term)?;
    at_most("commit", message.commit, INDEX_MAX)?;
    let (mut index, mut term) = (message.index, message.log_term.max(1));
    for entry in &message.entries {
        let is_next = entry.index == index + 1 && entry.term >= term && entry.term <= message.term;
        if !is_next && !is_planted(Planted::EntriesUnchecked) {
            return Err(Refused::Entries);
        }
        (index, term) = (entry.index, entry.term);
        if !belongs(entry, facts.is_system) {
            return Err(Refused::Content { index });
        }
    }
    Ok(())
}

/// A leader tells a follower only of what the follower has acknowledged.
fn heartbeat(facts: &RaftFacts, message: &RaftEnvelope) -> Result<(), Refused> {
    leader(facts, message)?;
    let max = if is_planted(Planted::CommitUnchecked) { INDEX_MAX } else { facts.last };
    at_most("commit", message.commit, max)
}

/// Only the leader of this very term hands it over.
fn timeout_now(facts: &RaftFacts, message: &RaftEnvelope) -> Result<(), Refused> {
    leader(facts, message)?;
    if message.term > facts.term { Err(Refused::Term { term: message.term, max: facts.term }) } else { Ok(()) }
}

fn vote_request(message: &RaftEnvelope) -> Result<(), Refused> {
    position(message.index, message.log_term, message.term)?;
    at_most("commit", message.commit, message.index)
}

/// A follower answers for what this leader has sent.
fn append_response(facts: &RaftFacts, message: &RaftEnvelope) -> Result<(), Refused> {
    if !facts.is_leader || message.term > facts.term {
        return at_most("index", message.index, INDEX_MAX);
    }
    let last = if is_planted(Planted::AcknowledgementUnchecked) { u64::MAX } else { facts.last };
    at_most("index", message.index, last)?;
    at_most("request_snapshot", message.request_snapshot, last)?;
    // One that asks for a snapshot tells how long its own log is.
    let hint_max = if message.request_snapshot == 0 { last } else { INDEX_MAX };
    at_most("reject_hint", message.reject_hint, hint_max)
}

fn at_most(field: &'static str, value: u64, max: u64) -> Result<(), Refused> {
    if value > max { Err(Refused::Index { field, value, max }) } else { Ok(()) }
}

/// Before the first entry are index 0 and term 0; every entry has both.
fn position(index: u64, log_term: u64, term: u64) -> Result<(), Refused> {
    let is_possible = (index == 0) == (log_term == 0) && log_term <= term && index <= INDEX_MAX;
    if is_possible || is_planted(Planted::EntriesUnchecked) {
        Ok(())
    } else {
        Err(Refused::Position { index, term: log_term })
    }
}

/// True unless the entry is one that this shard can never hold. What a newer release may have written passes: it is
/// replicated, and whoever cannot read it stops at it.
fn belongs(entry: &LogEntry, is_system: bool) -> bool {
    match entry.kind {
        EntryKind::Normal if is_planted(Planted::PayloadUnchecked) => true,
        EntryKind::Normal => entry.data.is_empty() || content::may_hold(&entry.data, is_system),
        EntryKind::Members => entry.data.is_empty() && fits(&entry.context),
    }
}

/// True for a change of members that can be read and is no larger than any, and for one of a newer release.
fn fits(context: &[u8]) -> bool {
    let ids_fit = |ids: &[ReplicaId]| ids.len() <= 2 * REPLICATION_FACTOR_MAX && ids.iter().all(|id| id.0 != 0);
    match codec::decode::<MemberChange>("change of members", context) {
        Ok(MemberChange::AddLearner(copy)) => copy.id.0 != 0 && copy.node.0 != 0,
        Ok(MemberChange::Remove(id)) => id.0 != 0,
        Ok(MemberChange::Joint { promote, remove }) => ids_fit(&promote) && ids_fit(&remove),
        Ok(MemberChange::Leave) => true,
        Err(_) => codec::is_newer(context, MemberChange::KINDS),
    }
}

impl Replica {
    /// Checks a message that `from` has sent for this copy. `known` = where the map has the sender.
    pub(crate) fn admit(
        &self,
        from: NodeId,
        known: impl FnOnce() -> Option<NodeId>,
        envelope: &RaftEnvelope,
    ) -> Result<(), Refused> {
        admit(&self.facts(envelope.from, known), from, envelope)
    }

    /// What this copy knows, and where the copy is that speaks to it.
    fn facts(&self, speaker: ReplicaId, known: impl FnOnce() -> Option<NodeId>) -> RaftFacts {
        let consensus = &self.consensus;
        let home = self.descriptor().node_of(speaker).or_else(known);
        RaftFacts {
            id: self.id(),
            is_system: self.descriptor().shard == crate::ids::ShardId::SYSTEM,
            term: consensus.term(),
            leader: consensus.leader().unwrap_or_default(),
            is_leader: self.is_leader(),
            last: consensus.last_index(),
            is_leaderless: consensus.leaderless_ticks() > LEADERLESS_TICKS,
            home: home.or_else(|| consensus.node_of(speaker)),
        }
    }

    /// True if this copy leads with an entry of its own term committed, and has applied all that is.
    pub(crate) fn leads_and_has_all(&self) -> bool {
        let has_all = self.machine.applied().0 == self.consensus.committed();
        self.is_leader() && self.consensus.has_committed_in_term() && has_all
    }

    /// True if this copy leads, or has heard from its leader lately.
    pub(crate) fn hears_leader(&self) -> bool {
        self.consensus.hears_leader()
    }
}

#[cfg(test)]
mod tests;
