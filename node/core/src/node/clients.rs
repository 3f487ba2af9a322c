//! Clients' writes and reads: to the shard that holds the keys, if its leader is here.

use crate::command::{Command, Read, ReadConsistency};
use crate::engine::{Engine, EngineError};
use crate::ids::{TableId, Token};
use crate::limits::check_command;
use crate::map::ShardRecord;
use crate::node::{Answer, Node, Refusal};
use crate::replica::Replica;
use crate::time::Now;

/// A client's read.
pub(super) struct AskedRead {
    pub(super) token: Token,
    pub(super) table: TableId,
    pub(super) read: Read,
    pub(super) consistency: ReadConsistency,
}

impl Node {
    pub(super) fn write(&mut self, token: Token, table: TableId, command: Command) {
        match self.refuse(table, &command) {
            Err(refusal) => self.answers.push((token, Answer::Write(Err(refusal)))),
            Ok(shard) => {
                self.dirty.insert(shard);
                if let Some(replica) = self.replicas.get_mut(&shard) {
                    replica.wake(&self.heard);
                    replica.write(token, command, &mut self.answers);
                }
            }
        }
    }

    fn refuse(&self, table: TableId, command: &Command) -> Result<crate::ids::ShardId, Refusal> {
        check_command(command)?;
        let first = command.mutations.first().map(|m| m.key().clone()).unwrap_or_default();
        let record = self.route(table, &first)?;
        if !command.keys().all(|key| record.descriptor.contains(key)) {
            return Err(Refusal::WrongShard { epoch: self.map.epoch });
        }
        let shard = record.descriptor.shard;
        let replica = self.serving(record).ok_or_else(|| self.elsewhere(record))?;
        if replica.is_leader()
            && !command.only_deletes()
            && let Some(node) = replica.full_voter(&self.heard)
        {
            return Err(Refusal::DiskFull { node });
        }
        Ok(shard)
    }

    pub(super) fn read(&mut self, asked: AskedRead, engine: &dyn Engine, now: Now) -> Result<(), EngineError> {
        let AskedRead { token, table, read, consistency } = asked;
        let key = match &read {
            Read::Get { key } => key,
            Read::Scan { start, .. } => start,
        };
        let (shard, serves, elsewhere) = match self.route(table, key) {
            Ok(record) => (record.descriptor.shard, self.serving(record).is_some(), self.elsewhere(record)),
            Err(refusal) => {
                self.answers.push((token, Answer::Read(Err(refusal))));
                return Ok(());
            }
        };
        let Some(replica) = self.replicas.get_mut(&shard).filter(|_| serves) else {
            self.answers.push((token, Answer::Read(Err(elsewhere))));
            return Ok(());
        };
        match consistency {
            ReadConsistency::Linearizable => {
                self.dirty.insert(shard);
                replica.wake(&self.heard);
                replica.read(token, read, engine, now, &mut self.answers)
            }
            ReadConsistency::Local | ReadConsistency::BoundedStaleness(_) if replica.is_blank() => {
                self.answers.push((token, Answer::Read(Err(elsewhere))));
                Ok(())
            }
            ReadConsistency::Local => replica.answer_read(token, &read, engine, now, &mut self.answers),
            ReadConsistency::BoundedStaleness(allowed_ms) => {
                let behind_ms = replica.behind_ms(now);
                // Unknown is never fresh enough, whatever is allowed.
                if behind_ms > allowed_ms || behind_ms == u64::MAX {
                    self.answers.push((token, Answer::Read(Err(Refusal::TooStale { behind_ms }))));
                    return Ok(());
                }
                replica.answer_read(token, &read, engine, now, &mut self.answers)
            }
        }
    }

    fn route(&self, table: TableId, key: &[u8]) -> Result<&ShardRecord, Refusal> {
        if table == TableId::SYSTEM || self.map.tables.get(&table).is_none_or(|t| t.dropped) {
            return Err(Refusal::UnknownTable(table));
        }
        self.map.route(table, key).ok_or(Refusal::WrongShard { epoch: self.map.epoch })
    }

    /// The copy here, unless the map says that the shard went on without it. Its end may still wait to be confirmed, and
    /// until then it may lead others that were given up too.
    fn serving(&self, record: &ShardRecord) -> Option<&Replica> {
        let recoveries = record.descriptor.generation.recoveries();
        let replica = self.replicas.get(&record.descriptor.shard)?;
        (replica.is_blank() || replica.descriptor().generation.recoveries() >= recoveries).then_some(replica)
    }

    /// The refusal of a node that has no copy: ask a member.
    fn elsewhere(&self, record: &ShardRecord) -> Refusal {
        let members = &record.descriptor.members;
        let leader = members.iter().map(|m| m.replica.node).find(|n| *n != self.identity.node);
        Refusal::NotLeader { shard: record.descriptor.shard, leader }
    }
}
