//! Clients: what they ask, and what they learn of it.

use bytes::Bytes;
use skerry_core::command::{Command, Mutation, Outcome, Read, ReadConsistency, ReadResult, RequestId};
use skerry_core::history::{Action, History, Operation, WriteOutcome};
use skerry_core::ids::{NodeId, Token};
use skerry_core::node::{Answer, Input};
use skerry_core::time::Version;

use crate::cluster::{Cluster, TABLE};

/// A request that waits for its answer.
pub(crate) struct Asked {
    key: &'static str,
    /// `None` = a read.
    value: Option<u64>,
    invoked: u64,
}

impl Asked {
    pub(crate) fn answered(self, answer: Answer, at: u64, history: &mut History) {
        let action = match (self.value, answer) {
            (Some(value), Answer::Write(result)) => {
                let outcome = match result {
                    Ok(Outcome::Applied(version)) => WriteOutcome::Acknowledged(version),
                    Ok(_) => WriteOutcome::Failed,
                    Err(refusal) if refusal.may_have_happened() => WriteOutcome::Unknown,
                    Err(_) => return,
                };
                Action::Write { value: Some(value), expected: None, outcome }
            }
            (None, Answer::Read(Ok(ReadResult::Value(record)))) => {
                let number = |value: &[u8]| value.first_chunk::<8>().map_or(0, |b| u64::from_be_bytes(*b));
                Action::Read { found: record.map(|r| (r.version, number(&r.value))) }
            }
            _ => return,
        };
        history.record(self.key.as_bytes(), Operation { invoked: self.invoked, returned: at, action });
    }
}

impl Cluster {
    fn ask(&mut self, key: &'static str, value: Option<u64>) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.asked.insert(token, Asked { key, value, invoked: self.steps });
        token
    }

    /// A write of a value of its own.
    pub(crate) fn write(&mut self, node: NodeId, key: &'static str) -> Token {
        let token = self.ask(key, Some(self.tokens + 1));
        let mut value = token.0.to_be_bytes().to_vec();
        value.resize(40, 0);
        let request = RequestId { issued: Version::at_ms(self.now().wall_ms), client: 1, sequence: token.0 };
        let put = Mutation::Put { key: Bytes::from_static(key.as_bytes()), value: value.into(), expires_ms: None };
        let command = Command { request: Some(request), conditions: Vec::new(), mutations: vec![put] };
        self.input(node, Input::Write { token, table: TABLE, command });
        token
    }

    /// Sends a linearizable read of a key to a node.
    pub(crate) fn read(&mut self, node: NodeId, key: &'static str) -> Token {
        let token = self.ask(key, None);
        let read = Read::Get { key: Bytes::from_static(key.as_bytes()) };
        self.input(node, Input::Read { token, table: TABLE, read, consistency: ReadConsistency::Linearizable });
        token
    }

    /// What was not answered by now may have happened, or may yet.
    pub(crate) fn give_up_waiting(&mut self) {
        for (_, asked) in std::mem::take(&mut self.asked) {
            let action = Action::Write { value: asked.value, expected: None, outcome: WriteOutcome::Unknown };
            if asked.value.is_some() {
                let operation = Operation { invoked: asked.invoked, returned: u64::MAX, action };
                self.history.record(asked.key.as_bytes(), operation);
            }
        }
    }

    /// Number of writes that were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.history.counts().acknowledged
    }

    /// Number of reads that were answered so far.
    pub(crate) fn reads(&self) -> usize {
        self.history.counts().reads
    }
}
