//! What a copy is told of its node, and what it wants its node to do.

use crate::answer::Answer;
use crate::engine::Engine;
use crate::ids::{Generation, ReplicaId, Token};
use crate::log::LogWrite;
use crate::quorum::convergence::Pace;
use crate::quorum::message::Envelope;
use crate::time::Now;

/// Of the node, at the moment of a call.
#[derive(Clone, Copy)]
pub struct Here<'a> {
    /// The node's store.
    pub engine: &'a dyn Engine,
    /// The node's monotonic clock, and the wall clock that most nodes agree with; both in milliseconds.
    pub now: Now,
    /// Ticks since its start.
    pub ticks: u64,
    /// How often copies compare, and raise the floor.
    pub pace: Pace,
    /// True for copies whose nodes were heard of lately.
    pub is_heard: &'a dyn Fn(ReplicaId) -> bool,
    /// True for copies, this one included, whose nodes say that their disks are nearly full.
    pub is_full: &'a dyn Fn(ReplicaId) -> bool,
    /// Bytes that copies here may still take by repairs while the node's disk is nearly full.
    pub repair_room: usize,
    /// Memory that what the copy's comparisons have learnt of its records may take, in bytes.
    pub pieces_bytes: usize,
    /// Memory that records which the copy has written lately may take, in bytes.
    pub recent_bytes: usize,
}

/// What a copy wants its node to do.
#[derive(Debug, Default)]
pub struct Out {
    /// To be appended to the log; at most one for each call of `collect`.
    pub log: Option<LogWrite>,
    /// Never to the copy itself.
    pub send: Vec<Envelope>,
    /// Answers to clients.
    pub answers: Vec<(Token, Answer)>,
    /// The store is to be synced soon: the log cannot forget anything before.
    pub wants_sync: bool,
    /// Bytes that were taken by repairs although the disk is nearly full: to be counted against [`Here::repair_room`].
    pub repaired_bytes: usize,
    /// Of these, or of earlier ones, bytes that turned out to have changed nothing: they do not count any more.
    pub returned_bytes: usize,
    /// Somebody holds a newer record of the shard: this generation at least.
    pub wants_record: Option<Generation>,
}

impl Out {
    /// Somebody holds a newer record than this copy.
    pub(super) fn want_record(&mut self, generation: Generation) {
        self.wants_record = self.wants_record.max(Some(generation));
    }
}
