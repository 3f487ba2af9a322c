//! Gathers what is to be done: from every replica that something happened to, into one log batch and one list of
//! messages.

use crate::duty::{self, Duty};
use crate::engine::{Engine, EngineError};
use crate::ids::ShardId;
use crate::log::LogWrite;
use crate::message::PeerMessage;
use crate::node::{AdminReply, Effects, LogBatch, Node};
use crate::replica::{Collected, TimeLimit};
use crate::time::Now;

/// What the replicas had to say so far.
struct Gathered {
    sequence: u64,
    writes: Vec<LogWrite>,
    duties: Vec<(ShardId, Duty)>,
}

impl Gathered {
    /// A copy's part of the log batch. What it has written to it before stays in front.
    fn add(&mut self, write: Option<LogWrite>) {
        let Some(write) = write else { return };
        match self.writes.iter_mut().find(|w| w.shard == write.shard && w.replica == write.replica) {
            None => self.writes.push(write),
            Some(before) => crate::replica::merge(before, write),
        }
    }
}

impl Node {
    /// What the shell is to do after the inputs so far. Applies committed commands to the store.
    pub fn ready(&mut self, engine: &dyn Engine, now: Now) -> Result<Effects, EngineError> {
        let now = self.others.clocks().agreed(now);
        let mut effects = Effects::default();
        let sequence = self.disk.log().next_sequence();
        let mut gathered = Gathered { sequence, writes: self.tombstones.take_ends(), duties: Vec::new() };
        // Twice: a newer map makes and ends replicas, and what they have to say belongs to the same batch.
        for _ in 0..2 {
            while let Some(shard) = self.replicas.next_touched() {
                self.collect(shard, engine, now, &mut gathered)?;
            }
            while let Some(shard) = self.replicas.quorums_mut().next_touched() {
                gathered.add(self.collect_quorum(shard, sequence));
            }
            if let Some(map) = self.map.take_change() {
                self.follow_map(&map, engine)?;
                effects.map = Some(map);
            }
        }
        let Gathered { writes, duties, .. } = gathered;
        for (shard, duty) in duties {
            self.confirmed(shard, duty, now);
        }
        if !writes.is_empty() {
            self.disk.log_mut().handed(sequence, writes.iter().map(|w| w.shard).collect());
            effects.log = Some(LogBatch { sequence, writes });
        }
        effects.sync = self.begin_sync(engine)?;
        effects.cuts = self.cuts();
        effects.send = self.outbox.take_send();
        effects.answers = self.outbox.take_answers();
        if effects.map.is_none() {
            effects.map = self.map.take_change();
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
        out.snapshot_starts = *self.replicas.snapshot_starts();
        let Some(replica) = self.replicas.get_mut(shard) else { return Ok(()) };
        let applied = replica.state().applied;
        replica.collect(engine, now, gathered.sequence, &mut out)?;
        if replica.state().applied != applied {
            self.disk.syncs().written();
        }
        let version = replica.last_version();
        *self.replicas.snapshot_starts() = out.snapshot_starts;
        self.replicas.saw_version(version);
        gathered.add(out.log.take());
        self.outbox.take_with_room(&mut out);
        gathered.duties.extend(out.duties.into_iter().map(|duty| (shard, duty)));
        if out.wants_sync {
            self.disk.syncs().want();
        }
        if out.members_changed {
            self.replicas.note_range(shard);
            self.told.tell_soon();
        }
        if out.system_changed {
            self.learn_own_map();
        }
        Ok(())
    }

    /// What a replica may take for its answers, before it wants anything done.
    pub(super) fn collected(&self, now: Now) -> Collected {
        let time_limit = TimeLimit(self.others.clocks().confirmed_ms(now));
        self.outbox.collected(time_limit, self.map.levels().enabled())
    }

    fn confirmed(&mut self, shard: ShardId, duty: Duty, now: Now) {
        match duty {
            Duty::Certify { nonce, asker, node } => {
                let Some(replica) = self.replicas.get(shard) else { return };
                let answer = duty::certify(replica.descriptor(), replica.in_sync().len(), node);
                self.tell(asker, PeerMessage::CertifyAnswer { nonce, shard, answer });
            }
            Duty::Steward { nonce } => self.stewardship_confirmed(nonce, now),
            Duty::Status { token } => {
                let status = self.status(now);
                self.outbox.answer_admin(token, Ok(AdminReply::Status(Box::new(status))));
            }
        }
    }

    pub(super) fn log_durable(&mut self, sequence: u64, engine: &dyn Engine, now: Now) -> Result<(), EngineError> {
        while let Some(shards) = self.disk.log_mut().durable(sequence) {
            for shard in shards {
                self.quorum_log_durable(shard, sequence, engine, now)?;
                let Some(replica) = self.replicas.get_mut(shard) else { continue };
                let mut out = Collected::default();
                replica.log_durable(sequence, &mut out);
                self.outbox.take(&mut out);
                self.replicas.touch(shard);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
