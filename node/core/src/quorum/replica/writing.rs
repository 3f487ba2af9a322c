//! A client's write: prepared, sent to the copies, answered when enough of them have it durably. Preparing it, the entry of
//! this copy's own log and the messages to the others are one step: whatever this copy prepares next builds on it.

use super::journal::After;
use super::out::{Here, Out};
use super::preparing::Failed;
use super::{COORDINATE_TICKS, QuorumReplica};
use crate::answer::{Answer, NotCoordinator, Refusal};
use crate::command::{self, Command, WriteOptions};
use crate::engine::EngineError;
use crate::ids::{Epoch, Generation, ReplicaId, Token};
use crate::quorum::journal::Journaled;
use crate::quorum::message::Body;
use crate::quorum::shown::Resolve;
use crate::quorum::write::{Outcome, WriteRound, WriteStep};
use crate::record::Stored;

impl QuorumReplica {
    /// A client's write, of keys that are all in this shard.
    ///
    /// # Errors
    ///
    /// Of the store: the node must stop.
    pub fn write(
        &mut self,
        token: Token,
        command: Command,
        options: &WriteOptions,
        here: &Here<'_>,
        out: &mut Out,
    ) -> Result<(), EngineError> {
        match self.begin_write(token, command, options, here) {
            Ok((number, steps)) => self.act_on_write(number, steps, here, out),
            Err(Failed::Engine(error)) => Err(error),
            Err(Failed::Refused(refusal)) => {
                out.answers.push((token, Answer::Write(Err(refusal))));
                Ok(())
            }
            Err(Failed::TooOld(floor)) => {
                out.answers.push((token, Answer::Write(Ok(command::Outcome::RequestTooOld { floor }))));
                Ok(())
            }
        }
    }

    fn begin_write(
        &mut self,
        token: Token,
        command: Command,
        options: &WriteOptions,
        here: &Here<'_>,
    ) -> Result<(u64, Vec<WriteStep>), Failed> {
        let shard = self.state().shard();
        let resolve = self.may_write(command.only_deletes(), here)?;
        if !command.conditions.is_empty() {
            return Err(Refusal::ConditionsNeedLeader.into());
        }
        if !command.keys().all(|key| self.state().contains(key)) {
            return Err(Refusal::WrongShard { epoch: Epoch(0) }.into());
        }
        if !self.writes.has_room(command.bytes()) {
            return Err(Refusal::Overloaded { shard, queued: self.writes.len() }.into());
        }
        let puts = !command.only_deletes();
        let entries = self.preparing.prepare(command, options, &self.machine, (resolve, here))?;
        let is_full = |copy| puts && (here.is_full)(copy);
        let deadline = here.ticks.saturating_add(COORDINATE_TICKS);
        let begun = WriteRound::begin(self.machine.layout(), options.copies, is_full, here.ticks, deadline);
        let (round, steps) = begun?;
        let number = self.next_number();
        self.writes.begin(number, token, round, entries);
        Ok((number, steps))
    }

    /// By which rule a write is made, if this copy coordinates any. It has to be able to take the write itself: whatever it
    /// sends next of the key must hold it.
    fn may_write(&self, only_deletes: bool, here: &Here<'_>) -> Result<Resolve, Refusal> {
        let resolve = self.may_coordinate()?;
        let reason = match self.state() {
            state if !state.layout().takes_writes(state.replica()) => NotCoordinator::Leaving,
            // One that has not copied all yet would let a key have more siblings than are allowed.
            state if state.floor().is_bare() || !state.is_complete() => NotCoordinator::Coming,
            state if !only_deletes && (here.is_full)(state.replica()) => NotCoordinator::Full,
            _ => return Ok(resolve),
        };
        Err(self.not_coordinator(reason))
    }

    /// What a write's round wants done.
    pub(super) fn act_on_write(
        &mut self,
        number: u64,
        steps: Vec<WriteStep>,
        here: &Here<'_>,
        out: &mut Out,
    ) -> Result<(), EngineError> {
        let shard = self.state().shard();
        for step in steps {
            match step {
                WriteStep::Send(to, generation) if to == self.id() => self.write_own(number, generation),
                WriteStep::Send(to, generation) => {
                    let entries = self.writes.entries(number).cloned().unwrap_or_default();
                    self.send(to, generation, Body::Write(number, entries), out);
                }
                WriteStep::Answer(outcome) => {
                    let Some((token, version)) = self.writes.answer(number) else { continue };
                    let result = match outcome {
                        Outcome::Written => Ok(command::Outcome::Applied(version)),
                        Outcome::Unknown => Err(Refusal::OutcomeUnknown { shard }),
                    };
                    out.answers.push((token, Answer::Write(result)));
                }
                WriteStep::Learn(generation) => out.want_record(generation),
                // What is in this copy's own log needs none.
                WriteStep::Hint(to) if to == self.id() => {}
                WriteStep::Hint(to) => self.keep_hints(number, to, here)?,
            }
        }
        self.writes.forget_if_over(number);
        Ok(())
    }

    fn write_own(&mut self, number: u64, generation: Generation) {
        if self.writes.write_own(number, generation)
            && let Some(entries) = self.writes.entries(number).cloned()
        {
            let after = After::Write { to: self.id(), number, generation };
            let index = self.journal(Journaled::Writes(entries.clone()), after);
            self.preparing.wrote(&entries, index);
        }
    }

    fn keep_hints(&mut self, number: u64, to: ReplicaId, here: &Here<'_>) -> Result<(), EngineError> {
        let Some(entries) = self.writes.entries(number) else { return Ok(()) };
        // No key is there twice, so none of these changes what another one finds in the store.
        let records = entries.iter().filter_map(|(key, record, _)| Some((&key[..], Stored::decode(record).ok()?)));
        let kept = self.hints.keep(to, records, self.machine.layout().generation, here.engine)?;
        if kept.is_empty() { Ok(()) } else { here.engine.write(kept) }
    }
}
