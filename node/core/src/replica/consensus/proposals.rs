//! Commands that wait for the log, and entries that were proposed and wait for their turn to be applied: who is to be
//! answered, and what.

use std::collections::{BTreeMap, VecDeque};

use crate::answer::{AdminRefusal, AdminReply, Answer, Refusal};
use crate::command::Command;
use crate::ids::{NodeId, ShardId, Token};
use crate::planted::{Planted, is_planted};
use crate::replica::state_machine::Applied;
use crate::system::SystemCommand;

/// Writes that one shard lets wait; each is answered or refused, none forgotten.
pub(in crate::replica) const WAITING_MAX: usize = 8_192;
/// Commands and bytes of one log entry: what waits together is replicated together.
const ENTRY_COMMANDS_MAX: usize = 256;
const ENTRY_BYTES_MAX: usize = 512 << 10;

/// What waits, in the order in which it came.
#[derive(Debug, Default)]
pub(in crate::replica) struct Proposals {
    writes: VecDeque<(Command, Token)>,
    system_commands: VecDeque<(SystemCommand, Option<Token>)>,
    /// By the index of their entries.
    proposed: BTreeMap<u64, Proposed>,
}

/// An entry that this leader proposed, and who waits for it.
#[derive(Debug)]
pub(in crate::replica) struct Proposed {
    /// Of the leader that proposed it.
    pub(in crate::replica) term: u64,
    /// In the order of the entry's commands.
    pub(in crate::replica) waiters: Vec<Option<Token>>,
    /// True for commands to the system shard.
    pub(in crate::replica) is_system: bool,
    /// Bytes that transfers would keep of what it overwrites, about.
    pub(in crate::replica) overwrites: usize,
}

/// Commands of one entry, and who waits for each.
#[derive(Debug, Default)]
pub(in crate::replica) struct Batch {
    /// The commands of the entry, to be applied in order.
    pub(in crate::replica) commands: Vec<Command>,
    /// Tokens to answer, one for each command in the same order. `None` = nobody waits for that command.
    pub(in crate::replica) waiters: Vec<Option<Token>>,
    /// Bytes that the commands take, about.
    pub(in crate::replica) bytes: usize,
    /// Bytes that transfers would keep of what they overwrite, about.
    pub(in crate::replica) overwrites: usize,
}

impl Proposals {
    /// Queues a client's write until it is proposed.
    pub(in crate::replica) fn push(&mut self, command: Command, token: Token) {
        self.writes.push_back((command, token));
    }

    /// A command to the system shard waits. False = there are too many.
    pub(in crate::replica) fn push_system(&mut self, command: SystemCommand, token: Option<Token>) -> bool {
        let has_room = self.system_commands.len() < WAITING_MAX;
        if has_room {
            self.system_commands.push_back((command, token));
        }
        has_room
    }

    /// True if no more writes are to be taken.
    pub(in crate::replica) fn is_full(&self) -> bool {
        self.writes.len() + self.proposed.len() >= WAITING_MAX
    }

    /// True if writes wait for the log.
    pub(in crate::replica) fn has_writes(&self) -> bool {
        !self.writes.is_empty()
    }

    /// True if anything waits for the log.
    pub(in crate::replica) fn is_any_new(&self) -> bool {
        !self.writes.is_empty() || !self.system_commands.is_empty()
    }

    /// True if commands to the system shard wait, or anything is under way.
    pub(in crate::replica) fn has_system_commands(&self) -> bool {
        !self.system_commands.is_empty() || !self.proposed.is_empty()
    }

    /// True if no command waits to be proposed or for its answer.
    pub(in crate::replica) fn is_empty(&self) -> bool {
        !self.is_any_new() && self.proposed.is_empty()
    }

    /// Commands that wait for their answers. Goes through all of them.
    pub(in crate::replica) fn len(&self) -> usize {
        let proposed: usize = self.proposed.values().map(|proposed| proposed.waiters.len()).sum();
        self.writes.len() + self.system_commands.len() + proposed
    }

    /// Bytes that transfers would keep of what the entries under way overwrite, about.
    pub(in crate::replica) fn overwrites(&self) -> usize {
        self.proposed.values().map(|proposed| proposed.overwrites).sum()
    }

    /// The commands of the next entry. Those that `refuse` has a reason against are answered with it. `weigh` tells what
    /// transfers would keep of what a command overwrites; `None` = it has to wait, and so have all behind it.
    pub(in crate::replica) fn next_batch(
        &mut self,
        refuse: impl Fn(&Command) -> Option<Refusal>,
        mut weigh: impl FnMut(&Command) -> Option<usize>,
        answers: &mut Vec<(Token, Answer)>,
    ) -> Batch {
        let mut batch = Batch::default();
        while let Some((command, token)) = self.writes.front() {
            if let Some(refusal) = refuse(command) {
                answers.push((*token, Answer::Write(Err(refusal))));
                self.writes.pop_front();
                continue;
            }
            let Some(overwrites) = weigh(command) else { break };
            let Some((command, token)) = self.writes.pop_front() else { break };
            batch.overwrites += overwrites;
            batch.bytes += command.bytes();
            batch.commands.push(command);
            batch.waiters.push(Some(token));
            if batch.commands.len() >= ENTRY_COMMANDS_MAX || batch.bytes >= ENTRY_BYTES_MAX {
                break;
            }
        }
        batch
    }

    /// Commands that could not be proposed wait again, before all others. Those that nobody waits for are dropped.
    pub(in crate::replica) fn put_back(&mut self, commands: Vec<Command>, waiters: Vec<Option<Token>>) {
        let back = commands.into_iter().zip(waiters).filter_map(|(command, waiter)| Some((command, waiter?)));
        let back: Vec<(Command, Token)> = back.collect();
        for waiting in back.into_iter().rev() {
            self.writes.push_front(waiting);
        }
    }

    /// All commands to the system shard, and who waits for each.
    pub(in crate::replica) fn next_system_batch(&mut self) -> (Vec<SystemCommand>, Vec<Option<Token>>) {
        self.system_commands.drain(..).unzip()
    }

    /// Commands to the system shard that could not be proposed wait again.
    pub(in crate::replica) fn put_back_system(&mut self, commands: Vec<SystemCommand>, waiters: Vec<Option<Token>>) {
        self.system_commands.extend(commands.into_iter().zip(waiters));
    }

    /// An entry is in the log.
    pub(in crate::replica) fn proposed(&mut self, index: u64, proposed: Proposed) {
        self.proposed.insert(index, proposed);
    }

    /// The entry of this index and term is applied, with this outcome: the answers to those who wait for it.
    pub(in crate::replica) fn applied(
        &mut self,
        (index, term): (u64, u64),
        outcome: Option<Applied>,
        shard: ShardId,
    ) -> Vec<(Token, Answer)> {
        let Some(proposed) = self.proposed.remove(&index) else { return Vec::new() };
        let ours = outcome.filter(|_| proposed.term == term);
        answers_to(proposed, ours, shard)
    }

    /// Leadership is lost: whoever waits is told, and told whether it may have happened.
    pub(in crate::replica) fn lost(&mut self, shard: ShardId, leader: Option<NodeId>) -> Vec<(Token, Answer)> {
        let not_leader = || Answer::Write(Err(Refusal::NotLeader { shard, leader }));
        let mut answers: Vec<_> = self.writes.drain(..).map(|(_, token)| (token, not_leader())).collect();
        for (_, token) in self.system_commands.drain(..) {
            answers.extend(token.map(|t| (t, Answer::Admin(Err(AdminRefusal::NotLeader { leader })))));
        }
        for proposed in std::mem::take(&mut self.proposed).into_values() {
            for token in proposed.waiters.into_iter().flatten() {
                let answer = if proposed.is_system {
                    Answer::Admin(Err(AdminRefusal::OutcomeUnknown))
                } else if is_planted(Planted::UnknownTakenForNo) {
                    not_leader()
                } else {
                    Answer::Write(Err(Refusal::OutcomeUnknown { shard }))
                };
                answers.push((token, answer));
            }
        }
        answers
    }
}

fn answers_to(proposed: Proposed, applied: Option<Applied>, shard: ShardId) -> Vec<(Token, Answer)> {
    let waiters = proposed.waiters.into_iter();
    match applied {
        Some(Applied::Data(outcomes)) => {
            waiters.zip(outcomes).filter_map(|(token, outcome)| Some((token?, Answer::Write(Ok(outcome))))).collect()
        }
        Some(Applied::System(replies)) => waiters
            .zip(replies)
            .filter_map(|(token, reply)| {
                Some((token?, Answer::Admin(reply.map(AdminReply::Command).map_err(AdminRefusal::Refused))))
            })
            .collect(),
        // Another leader's entry took this place: ours never will be applied.
        None if proposed.is_system => {
            waiters.flatten().map(|t| (t, Answer::Admin(Err(AdminRefusal::NotLeader { leader: None })))).collect()
        }
        None => {
            waiters.flatten().map(|t| (t, Answer::Write(Err(Refusal::NotLeader { shard, leader: None })))).collect()
        }
    }
}

#[cfg(test)]
mod tests;
