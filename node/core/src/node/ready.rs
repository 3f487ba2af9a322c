//! Gathers what is to be done: from every replica that something happened to, into one log batch and one list of
//! messages.

use std::sync::Arc;

use crate::engine::{Engine, EngineError};
use crate::ids::ShardId;
use crate::log::LogWrite;
use crate::message::PeerMessage;
use crate::node::{Answer, Effects, LogBatch, Node};
use crate::replica::{Collected, Reader, TimeLimit};
use crate::time::Now;

/// What the replicas had to say so far.
struct Gathered {
    sequence: u64,
    writes: Vec<LogWrite>,
    readers: Vec<(ShardId, Reader)>,
}

impl Node {
    /// What the shell is to do after the inputs so far. Applies committed commands to the store.
    pub fn ready(&mut self, engine: &dyn Engine, now: Now) -> Result<Effects, EngineError> {
        let now = self.clocks.agreed(now);
        let mut effects = Effects::default();
        let sequence = self.sequence + 1;
        let mut gathered = Gathered { sequence, writes: self.destroyed_writes(), readers: Vec::new() };
        // Twice: a newer map makes and ends replicas, and what they have to say belongs to the same batch.
        for _ in 0..2 {
            while let Some(shard) = self.dirty.pop_first() {
                self.collect(shard, engine, now, &mut gathered)?;
            }
            if self.map_changed {
                self.map_changed = false;
                effects.map = Some(Arc::clone(&self.map));
                self.follow_map(engine)?;
            }
        }
        let Gathered { writes, readers, .. } = gathered;
        for (shard, reader) in readers {
            self.confirmed(shard, reader, now);
        }
        if !writes.is_empty() {
            self.sequence = sequence;
            self.log.handed(sequence, writes.iter().map(|w| w.shard).collect());
            effects.log = Some(LogBatch { sequence, writes });
        }
        effects.sync = self.begin_sync();
        effects.cuts = self.cuts();
        effects.send = std::mem::take(&mut self.send);
        effects.answers = std::mem::take(&mut self.answers);
        if effects.map.is_none() && self.map_changed {
            self.map_changed = false;
            effects.map = Some(Arc::clone(&self.map));
        }
        Ok(effects)
    }

    fn collect(
        &mut self,
        shard: ShardId,
        engine: &dyn Engine,
        now: Now,
        gathered: &mut Gathered,
    ) -> Result<(), EngineError> {
        let mut out = self.collected(now);
        let Some(replica) = self.replicas.get_mut(&shard) else { return Ok(()) };
        let applied = replica.state().applied;
        replica.collect(engine, now, gathered.sequence, &mut out)?;
        self.answer_room = out.answer_room;
        self.unsynced |= replica.state().applied != applied;
        self.highest = self.highest.max(replica.last_version());
        if let Some(write) = out.log.take() {
            match gathered.writes.iter_mut().find(|w| w.shard == write.shard && w.replica == write.replica) {
                None => gathered.writes.push(write),
                Some(before) => crate::replica::merge(before, write),
            }
        }
        self.send.append(&mut out.send);
        self.answers.append(&mut out.answers);
        gathered.readers.extend(out.readers.into_iter().map(|r| (shard, r)));
        self.wants_sync |= out.wants_sync;
        if out.members_changed {
            self.told.tell_soon();
        }
        if out.system_changed {
            self.learn_own_map();
        }
        Ok(())
    }

    /// What a replica may take for its answers, before it wants anything done.
    pub(super) fn collected(&self, now: Now) -> Collected {
        let time_limit = TimeLimit(self.clocks.confirmed_ms(now));
        Collected { answer_room: self.answer_room, time_limit, ..Collected::default() }
    }

    fn confirmed(&mut self, shard: ShardId, reader: Reader, now: Now) {
        match reader {
            Reader::Client { .. } | Reader::Late { .. } => {}
            Reader::Certify { nonce, asker, node } => {
                let Some(replica) = self.replicas.get(&shard) else { return };
                let answer = replica.certify(node);
                self.tell(asker, PeerMessage::CertifyAnswer { nonce, shard, answer });
            }
            Reader::Steward { nonce } => self.stewardship_confirmed(nonce, now),
            Reader::Status { token } => {
                let status = self.status(now);
                self.answers.push((token, Answer::Admin(Ok(super::AdminReply::Status(Box::new(status))))));
            }
        }
    }

    pub(super) fn log_durable(&mut self, sequence: u64) {
        while let Some(shards) = self.log.durable(sequence) {
            for shard in shards {
                let Some(replica) = self.replicas.get_mut(&shard) else { continue };
                let mut out = Collected::default();
                replica.log_durable(sequence, &mut out);
                self.send.append(&mut out.send);
                self.dirty.insert(shard);
            }
        }
    }
}
