//! What waits for the log to be durable: messages that promise something, and what raft is to be told.

use std::collections::VecDeque;

use crate::message::{RaftEnvelope, RaftKind};

/// What waits for a log batch.
#[derive(Debug)]
pub(in crate::replica) struct Outstanding {
    /// Sequence of the log batch.
    pub(in crate::replica) sequence: u64,
    /// The term that the log has then.
    pub(in crate::replica) term: u64,
    /// Number of the `Ready` that raft gave the batch's content in.
    pub(in crate::replica) ready: u64,
    /// Messages that may be sent only once the batch is durable.
    pub(in crate::replica) messages: Vec<RaftEnvelope>,
    /// The index of a snapshot that the log begins anew after.
    pub(in crate::replica) snapshot: Option<u64>,
}

/// All that waits, in the order of the batches.
#[derive(Debug)]
pub(in crate::replica) struct Unpersisted {
    outstanding: VecDeque<Outstanding>,
    /// The highest term that the log has on disk.
    durable_term: u64,
}

impl Unpersisted {
    /// The log has this term on disk, and nothing waits for it.
    pub(super) fn new(durable_term: u64) -> Self {
        Self { outstanding: VecDeque::new(), durable_term }
    }

    /// True if nothing waits for a log batch.
    pub(super) fn is_empty(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// Waits for its batch, which is later than those before.
    pub(in crate::replica) fn push(&mut self, promises: Outstanding) {
        self.outstanding.push_back(promises);
    }

    /// Waits for the batches before, without one of its own. Gives it back if there are none.
    pub(super) fn join(&mut self, promises: Outstanding) -> Option<Outstanding> {
        let Some(last) = self.outstanding.back_mut() else { return Some(promises) };
        last.ready = promises.ready;
        last.messages.extend(promises.messages);
        None
    }

    /// The batches up to this one are durable: the next that has waited for one of them.
    pub(super) fn pop_durable(&mut self, sequence: u64) -> Option<Outstanding> {
        let next = self.outstanding.pop_front_if(|next| next.sequence <= sequence)?;
        self.durable_term = self.durable_term.max(next.term);
        Some(next)
    }

    /// Nothing of what waits ever goes out.
    pub(super) fn clear(&mut self) {
        self.outstanding.clear();
    }

    /// True if the log has this term, or a later one, on disk.
    pub(super) fn is_term_durable(&self, term: u64) -> bool {
        term <= self.durable_term
    }

    /// True for a follower's sign of life in a term that it has on disk. It acknowledges no entry, so it need not wait for
    /// any: a disk that takes longer than an election time-out would cost the shard its leader.
    pub(super) fn promises_nothing_new(&self, message: &RaftEnvelope) -> bool {
        message.kind == RaftKind::HeartbeatResponse && self.is_term_durable(message.term)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ReplicaId, ShardId};

    fn message(kind: RaftKind, term: u64) -> RaftEnvelope {
        RaftEnvelope::empty(ShardId(1), (ReplicaId(1), ReplicaId(2)), kind, term)
    }

    fn promises(sequence: u64, term: u64) -> Outstanding {
        let messages = vec![message(RaftKind::AppendResponse, term)];
        Outstanding { sequence, term, ready: sequence, messages, snapshot: None }
    }

    #[test]
    fn promises_go_out_in_order_once_their_batch_is_durable() {
        let mut unpersisted = Unpersisted::new(1);
        unpersisted.push(promises(3, 1));
        unpersisted.push(promises(5, 1));
        assert!(unpersisted.pop_durable(2).is_none());
        assert_eq!(unpersisted.pop_durable(4).map(|promises| promises.sequence), Some(3));
        assert!(unpersisted.pop_durable(4).is_none());
        assert_eq!(unpersisted.pop_durable(9).map(|promises| promises.sequence), Some(5));
        assert!(unpersisted.is_empty());
    }

    #[test]
    fn promises_without_a_batch_wait_for_the_last_one() {
        let mut unpersisted = Unpersisted::new(1);
        assert!(unpersisted.join(promises(3, 1)).is_some(), "there is none");
        unpersisted.push(promises(3, 1));
        assert!(unpersisted.join(promises(4, 1)).is_none());
        let both = unpersisted.pop_durable(3).expect("its batch is durable");
        assert_eq!((both.ready, both.messages.len()), (4, 2));
    }

    #[test]
    fn a_sign_of_life_waits_only_for_its_term() {
        let mut unpersisted = Unpersisted::new(1);
        assert!(unpersisted.promises_nothing_new(&message(RaftKind::HeartbeatResponse, 1)));
        assert!(!unpersisted.promises_nothing_new(&message(RaftKind::AppendResponse, 1)));
        assert!(!unpersisted.promises_nothing_new(&message(RaftKind::HeartbeatResponse, 2)));
        unpersisted.push(promises(3, 2));
        assert!(!unpersisted.promises_nothing_new(&message(RaftKind::HeartbeatResponse, 2)));
        unpersisted.pop_durable(3);
        assert!(unpersisted.promises_nothing_new(&message(RaftKind::HeartbeatResponse, 2)));
    }
}
