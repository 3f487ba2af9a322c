//! Expiry by replicated time. A record is absent once the shard's time has reached its end: the time of the last version
//! given in the shard, which is the same on all copies that have applied as much. So what is absent once is absent for
//! ever, whoever leads, and reads and conditions agree. Compare tikv/tikv#13082 and valkey-io/valkey#2651.
//!
//! Where nothing is written the shard's time stands still. So a leader that would show a record whose end its clock has
//! passed has the shard's time follow first; and it sweeps: it looks at a bounded number of records at a time, and deletes
//! what has ended. And a condition that fails changes nothing, but its client has learnt from it what has ended: before
//! conditions the shard's time follows too. All are commands in the log that every release knows: one without effect,
//! and a delete on condition that there is no record, which holds for one that has ended and for none that was put since.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::answer::{Answer, Refusal};
use crate::command::{Command, Condition, Expected, Mutation, Read};
use crate::engine::{Engine, EngineError, data_end, data_key, encoded_key};
use crate::ids::{ShardId, Token};
use crate::map::Descriptor;
use crate::planted::{Planted, is_planted};
use crate::record;
use crate::replica::{Collected, Payload, Reader, Replica};
use crate::time::Now;

/// Records that a slice looks at while few have ended: so few that a store which reads them from a slow disk holds up
/// nothing else for long.
const SLICE_RECORDS_MIN: usize = 64;
/// The same while many have, so that deleting keeps up with writing.
const SLICE_RECORDS_MAX: usize = 1_024;
/// Keys and values of one slice, in bytes.
const SLICE_BYTES_MAX: usize = 256 << 10;

/// Owner of how far the sweep is.
#[derive(Debug)]
pub(super) struct Sweep {
    /// The earliest end of any record, in milliseconds since 1970. `None` = no record has one.
    soonest: Option<u64>,
    /// False until all records were looked at: what was there before is not known.
    is_known: bool,
    pass: Option<Pass>,
    /// Records that the next slice looks at.
    records: usize,
    /// The entry with the deletes of the last slice.
    under_way: u64,
}

/// One time through all records.
#[derive(Debug)]
struct Pass {
    cursor: Bytes,
    /// The earliest end of a record that was seen, or put since it began.
    soonest: Option<u64>,
}

/// What a slice has seen.
#[derive(Debug, Default)]
struct Slice {
    looked_at: usize,
    /// Encoded keys of records that have ended.
    ended: Vec<Bytes>,
    soonest: Option<u64>,
    /// Where the next slice begins. `None` = this was the last.
    next: Option<Bytes>,
}

impl Sweep {
    pub(super) fn new() -> Self {
        Self { soonest: None, is_known: false, pass: None, records: SLICE_RECORDS_MIN, under_way: 0 }
    }

    /// A record was put that ends then.
    pub(super) fn note(&mut self, expires_ms: u64) {
        self.soonest = earlier(self.soonest, Some(expires_ms));
        if let Some(pass) = &mut self.pass {
            pass.soonest = earlier(pass.soonest, Some(expires_ms));
        }
    }

    /// Deletes that were under way may never be applied: all records must be looked at anew.
    pub(super) fn forget(&mut self) {
        *self = Self::new();
    }

    fn is_due(&self, applied: u64, now_ms: u64) -> bool {
        let is_over = self.soonest.is_some_and(|soonest| soonest <= now_ms);
        applied >= self.under_way && (self.pass.is_some() || !self.is_known || is_over)
    }

    /// Looks at the next records of a shard.
    fn look(&self, shard: &Descriptor, engine: &dyn Engine, now_ms: u64) -> Result<Slice, EngineError> {
        let cursor = self.pass.as_ref().map(|pass| pass.cursor.clone());
        let start = cursor.unwrap_or_else(|| data_key(shard.table, &shard.start));
        let (mut slice, mut bytes) = (Slice::default(), 0);
        engine.scan(&start, &data_end(shard.table, shard.end.as_deref()), &mut |key, stored| {
            if slice.looked_at >= self.records || bytes >= SLICE_BYTES_MAX {
                slice.next = Some(Bytes::copy_from_slice(key));
                return ControlFlow::Break(());
            }
            slice.looked_at += 1;
            bytes += key.len() + stored.len();
            match record::expires_ms(stored) {
                Some(at) if at <= now_ms => slice.ended.push(Bytes::copy_from_slice(encoded_key(key))),
                later => slice.soonest = earlier(slice.soonest, later),
            }
            ControlFlow::Continue(())
        })?;
        Ok(slice)
    }

    /// A slice is done, its deletes are in the entry of this index, if there are any.
    fn done(&mut self, slice: Slice, entry: Option<u64>) {
        self.under_way = entry.unwrap_or(self.under_way);
        let is_worth_it = slice.ended.len() * 4 > slice.looked_at;
        self.records = if is_worth_it { (2 * self.records).min(SLICE_RECORDS_MAX) } else { SLICE_RECORDS_MIN };
        let before = self.pass.take().and_then(|pass| pass.soonest);
        let soonest = earlier(before, slice.soonest);
        match slice.next {
            Some(cursor) => self.pass = Some(Pass { cursor, soonest }),
            None => (self.soonest, self.is_known) = (soonest, true),
        }
    }
}

fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.into_iter().chain(b).min()
}

/// Deletes a record if it has ended.
fn delete_ended(key: Bytes) -> Command {
    let conditions = vec![Condition { key: key.clone(), expected: Expected::Absent }];
    Command { request: None, conditions, mutations: vec![Mutation::Delete { key }] }
}

/// A command without effect, but that its version is the shard's time.
fn time_passes() -> Command {
    Command { request: None, conditions: Vec::new(), mutations: Vec::new() }
}

/// Has the shard's time pass before commands with conditions: one that fails gives no version, and what its client was
/// told by its leader's clock must be so under the next leader.
pub(super) fn before_conditions(commands: &mut Vec<Command>, waiters: &mut Vec<Option<Token>>) {
    let has_conditions = commands.iter().any(|command| !command.conditions.is_empty());
    if has_conditions && !is_planted(Planted::FailedConditionWithoutTime) {
        commands.insert(0, time_passes());
        waiters.insert(0, None);
    }
}

impl Replica {
    /// True if this copy leads and has records to look at.
    pub(crate) fn wants_sweep(&self, now: Now) -> bool {
        self.is_leader()
            && self.applier.sweep.is_due(self.applier.state.applied.0, now.wall_ms)
            && self.descriptor().shard != ShardId::SYSTEM
            && !self.is_blank()
            && self.has_committed_in_term()
            && self.raw.raft.lead_transferee.is_none()
            && !self.writes_wait(0)
            && !is_planted(Planted::ExpiredNotSwept)
    }

    /// Looks at some records and has those deleted that have ended. True if there were any.
    pub(crate) fn sweep(&mut self, engine: &dyn Engine, now: Now) -> Result<bool, EngineError> {
        let slice = self.applier.sweep.look(&self.applier.state.descriptor, engine, now.wall_ms)?;
        let commands: Vec<_> = slice.ended.iter().cloned().map(delete_ended).collect();
        if commands.is_empty() {
            self.applier.sweep.done(slice, None);
            return Ok(false);
        }
        if !self.propose_own(commands, now) {
            // Looked at again at the next tick.
            return Ok(false);
        }
        self.applier.sweep.done(slice, Some(self.raw.raft.raft_log.last_index()));
        Ok(true)
    }

    /// The key of a record in the store that has ended by this time, if there is one.
    ///
    /// # Errors
    ///
    /// Of the store.
    pub fn first_ended(&self, engine: &dyn Engine, wall_ms: u64) -> Result<Option<Bytes>, EngineError> {
        let (shard, mut ended) = (self.descriptor(), None);
        let start = data_key(shard.table, &shard.start);
        engine.scan(&start, &data_end(shard.table, shard.end.as_deref()), &mut |key, stored| {
            if record::expires_ms(stored).is_some_and(|at| at <= wall_ms) {
                ended = Some(Bytes::copy_from_slice(encoded_key(key)));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(ended)
    }

    fn propose_own(&mut self, commands: Vec<Command>, now: Now) -> bool {
        let waiters = vec![None; commands.len()];
        self.propose_payload(&Payload::Data { wall_ms: now.wall_ms, commands }, waiters, false)
    }

    /// A client's read that this leader may answer: at once, or after the shard's time has followed the clock.
    pub(crate) fn answer_confirmed(
        &mut self,
        token: Token,
        read: Read,
        engine: &dyn Engine,
        now: Now,
        out: &mut Collected,
    ) -> Result<(), EngineError> {
        let Some(found) = self.found(token, &read, engine, now, out)? else { return Ok(()) };
        if !found.is_late {
            self.answer_found(token, found.result, out);
            return Ok(());
        }
        if self.propose_own(vec![time_passes()], out.time_limit.limited(now)) {
            self.reads.wait_applied(self.raw.raft.raft_log.last_index(), Reader::Late { token, read });
        } else {
            let refusal = Refusal::Overloaded { shard: self.descriptor().shard, queued: self.waiting() };
            out.answers.push((token, Answer::Read(Err(refusal))));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
