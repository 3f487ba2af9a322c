//! Clients' writes and reads: to the shard that holds the keys, if its leader is here.

use crate::command::{Command, Mutation, Read, ReadConsistency, WriteOptions};
use crate::engine::{Engine, EngineError};
use crate::ids::{NodeId, ShardId, TableId, Token};
use crate::key::{self, KeyError};
use crate::limits::{BATCH_BYTES_MAX, LimitExceeded, check_command};
use crate::map::{Fragmentation, Map, ShardRecord};
use crate::node::{Answer, Node, Refusal};
use crate::planted::{Planted, is_planted};
use crate::quorum::replica::QuorumReplica;
use crate::replica::Replica;
use crate::time::Now;

/// A client's write that waits to be handed to its shard.
pub(super) struct AskedWrite {
    pub(super) token: Token,
    pub(super) table: TableId,
    pub(super) command: Command,
    pub(super) options: WriteOptions,
}

/// The copy here that serves a request.
#[derive(Debug, Clone, Copy)]
enum Served {
    /// One of a Raft group.
    ByLeader(ShardId),
    /// One of a quorum shard.
    ByQuorum(ShardId),
}

/// A client's read that waits to be handed to its shard.
pub(super) struct AskedRead {
    pub(super) token: Token,
    pub(super) table: TableId,
    pub(super) read: Read,
    pub(super) consistency: ReadConsistency,
    /// R for this read. `None` = the table's.
    pub(super) copies: Option<usize>,
}

impl Node {
    pub(super) fn write(&mut self, asked: AskedWrite, engine: &dyn Engine, now: Now) -> Result<(), EngineError> {
        let AskedWrite { token, table, command, options } = asked;
        match self.refuse(table, &command, &options) {
            Err(refusal) => self.outbox.answer(token, Answer::Write(Err(refusal))),
            Ok(Served::ByQuorum(shard)) => return self.quorum_write(shard, (token, command, options), engine, now),
            Ok(Served::ByLeader(_)) if options.copies.is_some() || !options.seen.is_empty() => {
                self.outbox.answer(token, Answer::Write(Err(Refusal::NoQuorumTable(table))));
            }
            Ok(Served::ByLeader(shard)) => {
                self.replicas.touch(shard);
                if let Some(replica) = self.replicas.awake(shard, self.others.liveness()) {
                    replica.write(token, command, self.outbox.answers());
                }
            }
        }
        Ok(())
    }

    fn refuse(&self, table: TableId, command: &Command, options: &WriteOptions) -> Result<Served, Refusal> {
        check_command(command)?;
        check_options(command, options)?;
        let map = self.map.known();
        let first = command.mutations.first().map(|m| m.key().clone()).unwrap_or_default();
        let (fragmentation, record) = route(map, table, &first)?;
        check_keys(fragmentation, command)?;
        if !command.keys().all(|key| record.descriptor.contains(key)) {
            return Err(Refusal::WrongShard { epoch: map.epoch });
        }
        let shard = record.descriptor.shard;
        if record.quorum.is_some() {
            let shard = self.quorum_serves(record)?;
            let queued = self.replicas.quorums().get(shard).map_or(0, QuorumReplica::waiting);
            let is_glutted = self.disk.log().is_glutted();
            return if is_glutted { Err(Refusal::Overloaded { shard, queued }) } else { Ok(Served::ByQuorum(shard)) };
        }
        let replica = self.replicas.get(shard).filter(|replica| serves(replica, record));
        let replica = replica.ok_or_else(|| elsewhere(self.identity.node, record))?;
        if replica.is_leader() && self.disk.log().is_glutted() && !is_planted(Planted::WritesOutrunDisk) {
            return Err(Refusal::Overloaded { shard, queued: replica.waiting() });
        }
        if replica.is_leader()
            && !command.only_deletes()
            && let Some(node) = replica.full_voter(self.others.liveness())
        {
            return Err(Refusal::DiskFull { node });
        }
        Ok(Served::ByLeader(shard))
    }

    pub(super) fn read(&mut self, asked: AskedRead, engine: &dyn Engine, now: Now) -> Result<(), EngineError> {
        let AskedRead { token, table, read, consistency, copies } = asked;
        let key = match &read {
            Read::Get { key } => key,
            Read::Scan { start, .. } => start,
        };
        let routed = route(self.map.known(), table, key);
        if let Ok((fragmentation, record)) = &routed
            && record.quorum.is_some()
        {
            let checked = check_read(*fragmentation, &read).map_err(Refusal::from);
            return match checked.and_then(|()| self.quorum_serves(record)) {
                Ok(shard) => self.quorum_read(shard, (token, read, consistency, copies), engine, now),
                Err(refusal) => {
                    self.outbox.answer(token, Answer::Read(Err(refusal)));
                    Ok(())
                }
            };
        }
        // A copy without records can only ask a leader.
        let needs_records = consistency != ReadConsistency::Linearizable;
        let here = self.identity.node;
        let mut out = self.collected(now);
        let found = routed.and_then(|(fragmentation, record)| {
            check_read(fragmentation, &read)?;
            if copies.is_some() {
                return Err(Refusal::NoQuorumTable(table));
            }
            let replica = self.replicas.get_mut(record.descriptor.shard);
            let replica = replica.filter(|replica| serves(replica, record) && !(needs_records && replica.is_blank()));
            replica.ok_or_else(|| elsewhere(here, record))
        });
        let replica = match found {
            Ok(replica) => replica,
            Err(refusal) => {
                self.outbox.answer(token, Answer::Read(Err(refusal)));
                return Ok(());
            }
        };
        let shard = replica.descriptor().shard;
        let (done, has_work) = match consistency {
            ReadConsistency::Linearizable => {
                replica.wake(self.others.liveness());
                (replica.read(token, read, engine, now, &mut out), true)
            }
            ReadConsistency::Local => (replica.answer_read(token, &read, engine, now, &mut out), false),
            // Whatever is allowed, a leader is not behind, and how far any other copy is nobody knows.
            ReadConsistency::BoundedStaleness(_) if replica.is_leader() => {
                replica.wake(self.others.liveness());
                (replica.read_bounded(token, read, engine, now, &mut out), true)
            }
            ReadConsistency::BoundedStaleness(_) => {
                out.answers.push((token, Answer::Read(Err(Refusal::TooStale { behind_ms: u64::MAX }))));
                (Ok(()), false)
            }
        };
        if has_work {
            self.replicas.touch(shard);
        }
        self.outbox.take_with_room(&mut out);
        done
    }
}

fn route<'a>(map: &'a Map, table: TableId, key: &[u8]) -> Result<(Fragmentation, &'a ShardRecord), Refusal> {
    let found = map.tables.get(&table).filter(|t| table != TableId::SYSTEM && !t.dropped);
    let fragmentation = found.ok_or(Refusal::UnknownTable(table))?.fragmentation;
    let record = map.route(table, key).ok_or(Refusal::WrongShard { epoch: map.epoch })?;
    Ok((fragmentation, record))
}

/// Clients of a session encode keys themselves. This is the only place that every write passes, whatever door it came
/// by: where a command is applied the table is not known, and copies of different releases must decide alike there.
fn check_keys(fragmentation: Fragmentation, command: &Command) -> Result<(), KeyError> {
    let unchecked = is_planted(Planted::KeyUncheckedInSession);
    let check = |key| if unchecked { Ok(()) } else { key::check(fragmentation, key) };
    command.conditions.iter().try_for_each(|condition| check(&condition.key))?;
    command.mutations.iter().try_for_each(|mutation| match mutation {
        Mutation::Put { key, .. } => check(key),
        Mutation::Delete { key } if key.is_empty() => Err(KeyError::Empty),
        // What an earlier release took under a key that is none can be removed.
        Mutation::Delete { key } => key::check_place(key),
    })
}

/// What was seen of the keys counts as what is written there does.
fn check_options(command: &Command, options: &WriteOptions) -> Result<(), LimitExceeded> {
    let seen: usize = options.seen.iter().map(|(_, context)| context.len()).sum();
    let bytes = command.bytes().saturating_add(seen);
    if seen > 0 && bytes > BATCH_BYTES_MAX { Err(LimitExceeded::Batch { bytes }) } else { Ok(()) }
}

fn check_read(fragmentation: Fragmentation, read: &Read) -> Result<(), KeyError> {
    match read {
        Read::Get { key } => key::check(fragmentation, key),
        Read::Scan { start, end, .. } => {
            std::iter::once(start).chain(end).try_for_each(|place| key::check_place(place))
        }
    }
}

/// True unless the map says that the shard went on without this copy. Its end may still wait to be confirmed, and until
/// then it may lead others that were given up too.
fn serves(replica: &Replica, record: &ShardRecord) -> bool {
    let recoveries = record.descriptor.generation.recoveries();
    replica.is_blank() || replica.descriptor().generation.recoveries() >= recoveries
}

/// The refusal of a node that has no copy: ask a member.
fn elsewhere(here: NodeId, record: &ShardRecord) -> Refusal {
    let members = &record.descriptor.members;
    let leader = members.iter().map(|m| m.replica.node).find(|n| *n != here);
    Refusal::NotLeader { shard: record.descriptor.shard, leader }
}

#[cfg(test)]
mod tests;
