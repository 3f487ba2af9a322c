//! A leader that has heard from a voter that its disk is full takes no puts: what it takes would eat what the voter keeps
//! for deletes.

use std::collections::{BTreeMap, BTreeSet};

use skerry_core::command::{Command, Outcome};
use skerry_core::ids::{Incarnation, NodeId, TableId, Token};
use skerry_core::map::Role;
use skerry_core::message::PeerMessage;
use skerry_core::node::{Answer, Input};

use crate::hardship::Hardship;
use crate::world::{MILLISECOND, World};

/// What was heard so long ago counts for certain: nobody is silent yet.
const FRESH: u64 = 300 * MILLISECOND;

/// What one node said to a process of another.
struct Said {
    boot: u64,
    incarnation: Incarnation,
    is_full: bool,
    at: u64,
}

/// What nodes have heard of one another's disks, and which requests must be refused for it.
#[derive(Default)]
pub(crate) struct FullDisks {
    /// What was said of disks, by the node that heard it and the node that said it.
    said: BTreeMap<(NodeId, NodeId), Said>,
    /// Requests that were put to a node before: an answer may be to that.
    known: BTreeSet<Token>,
    refused: BTreeSet<Token>,
}

impl FullDisks {
    /// True if this is the answer to a put that was to be refused.
    pub(crate) fn is_broken_by(&mut self, token: Token, answer: &Answer) -> bool {
        self.refused.remove(&token) && matches!(answer, Answer::Write(Ok(Outcome::Applied(_))))
    }

    fn says_full(&self, (by, of): (NodeId, NodeId), boot: u64, time: u64) -> bool {
        self.said.get(&(by, of)).is_some_and(|said| said.boot == boot && said.is_full && time < said.at + FRESH)
    }
}

impl World {
    /// Notes what messages that arrive at a node say of their senders' disks.
    pub(crate) fn arrives(&mut self, to: NodeId, (from, incarnation): (NodeId, Incarnation), messages: &[PeerMessage]) {
        if !self.setting.has(Hardship::FullDisks) {
            return;
        }
        let Some(boot) = self.hosts.get(&to).filter(|host| host.is_up()).map(|host| host.boot) else { return };
        if self.hosts.get(&from).is_none_or(|host| incarnation.0 > host.incarnation) {
            // Forged.
            return;
        }
        for message in messages {
            let PeerMessage::Beat(beat) = message else { continue };
            let Some(is_full) = beat.disk_full else { continue };
            let at = self.time;
            let said = self.full_disks.said.get(&(to, from));
            if said.is_none_or(|said| said.boot != boot || said.incarnation <= incarnation) {
                self.full_disks.said.insert((to, from), Said { boot, incarnation, is_full, at });
            }
        }
    }

    /// A request arrives at a node.
    pub(crate) fn asked_of(&mut self, id: NodeId, input: &Input) {
        if let (true, Input::Write { token, table, command }) = (self.setting.has(Hardship::FullDisks), input)
            && self.full_disks.known.insert(*token)
            && self.must_refuse(id, *table, command)
        {
            self.full_disks.refused.insert(*token);
        }
    }

    fn must_refuse(&self, id: NodeId, table: TableId, command: &Command) -> bool {
        let Some(host) = self.hosts.get(&id) else { return false };
        let Some(node) = &host.node else { return false };
        let Some(first) = command.mutations.first().filter(|_| !command.only_deletes()) else { return false };
        let Some(record) = node.map().route(table, first.key()) else { return false };
        let Some(replica) = node.replica(record.descriptor.shard) else { return false };
        let mut voters = replica.descriptor().members.iter().filter(|member| member.role != Role::Learner);
        replica.summary().is_leader
            && voters.any(|voter| self.full_disks.says_full((id, voter.replica.node), host.boot, self.time))
    }
}
