//! Expiry by replicated time. A record is absent once the shard's time has reached its end: the time of the last version
//! given in the shard, which is the same on all copies that have applied as much. So what is absent once is absent for
//! ever, whoever leads, and reads and conditions agree. Compare tikv/tikv#13082 and valkey-io/valkey#2651.
//!
//! Where nothing is written the shard's time stands still. So a leader that would show a record whose end its clock has
//! passed has the shard's time follow first, once for all who read meanwhile; and it sweeps: it looks at a bounded
//! number of records at a time, and deletes what has ended. And a condition that fails changes nothing, but its client
//! has learnt from it what has ended: before conditions the shard's time follows the clock too, and what else they are
//! judged by. All are commands in the log that every release knows: one without effect, and a delete on condition that
//! there is no record, which holds for one that has ended and for none that was put since.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::answer::{Answer, Refusal};
use crate::command::{Command, Read};
use crate::engine::{Engine, EngineError, data_end, data_key, encoded_key};
use crate::ids::Token;
use crate::level::FormatLevel;
use crate::planted::{Planted, is_planted};
use crate::record;
use crate::replica::consensus::Batch;
use crate::replica::consensus::reads::Reader;
use crate::replica::state_machine::above_issue;
use crate::replica::state_machine::content::Payload;
use crate::replica::{Collected, Replica, TransferRoom};
use crate::time::Now;

/// A command without effect, but that its version is the shard's time.
fn time_passes() -> Command {
    Command { request: None, conditions: Vec::new(), mutations: Vec::new() }
}

/// Has the shard's time pass before commands with conditions: one that fails gives no version, and what its client was
/// told must be so under the next leader. Gives the time of their entry: the leader's clock, or as far ahead of it as the
/// latest of their requests was issued, by which they are judged if versions follow that (`is_causal`).
pub(super) fn before_conditions(batch: &mut Batch, clock_ms: u64, is_causal: bool) -> u64 {
    let judged = batch.commands.iter().filter(|command| !command.conditions.is_empty());
    let follows_issue = is_causal && !is_planted(Planted::IssueTimeNotFollowed);
    let issued_ms = |command: &Command| {
        let request = command.request.as_ref().filter(|_| follows_issue);
        request.map_or(0, |request| above_issue(request).wall_ms())
    };
    let Some(latest_ms) = judged.map(issued_ms).max() else { return clock_ms };
    if !is_planted(Planted::FailedConditionWithoutTime) {
        batch.commands.insert(0, time_passes());
        batch.waiters.insert(0, None);
    }
    clock_ms.max(latest_ms)
}

/// A command under way by which the shard's time follows the clock.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TimeUnderWay {
    /// Term of the leader that proposed it, and index of its entry.
    at: (u64, u64),
    wall_ms: u64,
}

impl Replica {
    /// True if this copy leads and has records to look at.
    pub(crate) fn wants_sweep(&self, now: Now) -> bool {
        self.is_leader()
            && self.machine.is_sweep_due(now)
            && !self.is_blank()
            && self.consensus.has_committed_in_term()
            && !self.consensus.is_handing_over()
            && !self.writes_room().is_some_and(TransferRoom::is_used_up)
            && !is_planted(Planted::ExpiredNotSwept)
    }

    /// Looks at some records and has those deleted that have ended. True if there were any.
    pub(crate) fn sweep(&mut self, engine: &dyn Engine, now: Now) -> Result<bool, EngineError> {
        let slice = self.machine.look(engine, now.wall_ms)?;
        let commands = slice.deletes();
        if commands.is_empty() {
            self.machine.looked_at(slice, None, now);
            return Ok(false);
        }
        let overwrites = self.overwrites(&commands, engine)?;
        let bytes = commands.iter().map(Command::bytes).sum();
        let fits = self.writes_room().is_none_or(|mut room| room.take(bytes, overwrites));
        if !fits && !is_planted(Planted::SweepsOutrunSnapshot) {
            // What has ended is shown to nobody: it can wait until transfers leave room for it.
            return Ok(false);
        }
        if !self.propose_own(commands, overwrites, now) {
            // Looked at again at the next tick.
            return Ok(false);
        }
        self.machine.looked_at(slice, Some(self.consensus.last_index()), now);
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

    fn propose_own(&mut self, commands: Vec<Command>, overwrites: usize, now: Now) -> bool {
        let waiters = vec![None; commands.len()];
        self.propose_payload(&Payload::Data { wall_ms: now.wall_ms, commands }, waiters, overwrites)
    }

    /// Has the shard's time follow the clock to `ended_ms` at least, which that has passed: index and time of the entry by which
    /// it does. Whoever wants no more than what is under way waits for that, if nothing was written after it: what was put
    /// meanwhile may have ended before the reader came. `None` = raft takes nothing now.
    fn pass_time(&mut self, ended_ms: u64, now: Now) -> Option<(u64, u64)> {
        let TimeUnderWay { at: (term, index), wall_ms } = self.time_under_way;
        let is_last = index == self.consensus.last_index();
        let is_under_way = term == self.term() && is_last && index > self.machine.applied().0;
        if is_under_way && wall_ms >= ended_ms && !is_planted(Planted::TimePassesForEachReader) {
            return Some((index, wall_ms));
        }
        if !self.propose_own(vec![time_passes()], 0, now) {
            return None;
        }
        let index = self.consensus.last_index();
        self.time_under_way = TimeUnderWay { at: (self.term(), index), wall_ms: now.wall_ms };
        Some((index, now.wall_ms))
    }

    /// True if what is proposed now may be applied where versions follow what is issued: the entry that says so may be
    /// under way, also that of a leader before this one.
    pub(super) fn is_causal(&self) -> bool {
        let level = self.level().max(self.level_proposed.1);
        level >= FormatLevel::CAUSAL_VERSIONS || !self.has_applied_in_term()
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
        match found.late_ms {
            None => self.answer_found(token, found.result, out),
            Some(ended_ms) => {
                let now = out.time_limit.limited(now);
                self.wait_for_time((token, read), ended_ms, Some(now.wall_ms), now, out);
            }
        }
        Ok(())
    }

    /// A read for which the shard's time has followed the clock. `asked_ms` = the clock's time when it came, if the entry that
    /// it waited for is of an earlier one: what was written before that entry may have ended between the two.
    pub(super) fn answer_late(
        &mut self,
        (token, read): (Token, Read),
        asked_ms: Option<u64>,
        engine: &dyn Engine,
        now: Now,
        out: &mut Collected,
    ) -> Result<(), EngineError> {
        let Some(found) = self.found(token, &read, engine, now, out)? else { return Ok(()) };
        match asked_ms.filter(|_| found.late_ms.is_some() && !is_planted(Planted::EarlierTimeEnough)) {
            // Once is enough: more may have ended since, and so for ever.
            None => self.answer_found(token, found.result, out),
            Some(asked_ms) => self.wait_for_time((token, read), asked_ms, None, out.time_limit.limited(now), out),
        }
        Ok(())
    }

    /// Has a read wait until the shard's time is at `until_ms` at least.
    fn wait_for_time(
        &mut self,
        (token, read): (Token, Read),
        until_ms: u64,
        asked_ms: Option<u64>,
        now: Now,
        out: &mut Collected,
    ) {
        if let Some((index, wall_ms)) = self.pass_time(until_ms, now) {
            let asked_ms = asked_ms.filter(|asked_ms| wall_ms < *asked_ms);
            self.consensus.reads_mut().wait_applied(index, Reader::Late { token, read, asked_ms });
        } else {
            let refusal = Refusal::Overloaded { shard: self.descriptor().shard, queued: self.waiting() };
            out.answers.push((token, Answer::Read(Err(refusal))));
        }
    }
}

#[cfg(test)]
mod tests;
