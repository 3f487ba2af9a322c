//! What a node wants done: the outputs of its step function.

use std::sync::Arc;

use crate::ids::{NodeId, Token};
use crate::log::{LogCut, LogWrite};
use crate::map::Map;
use crate::message::PeerMessage;
use crate::node::Answer;

/// What the shell is to do, in any order but for what is said at each field.
#[derive(Debug, Default)]
pub struct Effects {
    /// Append in one go, then say [`super::Input::LogDurable`] with its sequence. Batches in the order given.
    pub log: Option<LogBatch>,
    /// Messages to send, each to its node; loss and reordering are allowed.
    pub send: Vec<(NodeId, PeerMessage)>,
    /// Answers to hand out, each to the request that came with the token.
    pub answers: Vec<(Token, Answer)>,
    /// The log may forget these. Safe at any later time.
    pub cuts: Vec<LogCut>,
    /// The new map, if it has changed. `None` = unchanged.
    pub map: Option<Arc<Map>>,
    /// Sync the engine now, off this thread, and say [`super::Input::EngineDurable`] with this mark.
    pub sync: Option<u64>,
}

/// What to append to the shared log in one go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogBatch {
    /// Number of the batch, one higher than that of the batch before.
    pub sequence: u64,
    /// The writes of the batch, at most one for each shard.
    pub writes: Vec<LogWrite>,
}
