//! One copy of a quorum shard: what it holds durably, what it coordinates for clients, and what it keeps for other copies.
//!
//! Each part owns its state: `machine` what is applied, `journal` what waits for the log, `preparing` the stamps and the
//! copy's own writes, `writes` and `reads` what is coordinated, `syncs` what the store has made durable. What makes
//! copies equal is `super::convergence`'s. Here, and in the files that say so, inputs are routed to them.
//!
//! Three rules hold everywhere. What is told is durable before. What answers, is applied. What comes under another
//! generation than the one that is held has no effect, and what was acknowledged counts for that one generation alone.

mod ahead;
mod ends;
mod hearing;
mod hints_out;
mod journal;
mod machine;
mod out;
mod preparing;
mod reading;
mod reads;
mod recent;
mod records;
mod repairs;
mod state;
mod sweeps;
mod syncs;
mod view;
mod writes;
mod writing;

use bytes::Bytes;

pub use out::{Here, Out};
pub use records::Records;
pub use state::QuorumState;
pub use view::QuorumView;

use super::convergence::{Convergence, Copy, Do};
use super::floor::{Floor, Refused};
use super::hints::{Hint, Hints};
use super::journal::Journaled;
use super::layout::{Layout, Part};
use super::message::{Body, Entry, Envelope};
use super::room::brings_no_value;
use super::shown::Resolve;
use super::write::Said;
use crate::answer::{Answer, NotCoordinator, Refusal};
use crate::engine::{Engine, EngineError};
use crate::ids::{Generation, Incarnation, ReplicaId};
use crate::log::{LogCut, RecoveredLog};
use crate::planted::{Planted, is_planted};
use crate::record::{Actor, Stored};
use hints_out::HintsOut;
use journal::{After, Durable, Journal, TERM};
use machine::{Machine, Taken};
use preparing::Preparing;
use reads::Reads;
use repairs::Repairs;
use sweeps::Sweeps;
use syncs::Syncs;
use writes::Writes;

/// Ticks that a write or a read has until it is answered one way or the other: five seconds.
pub const COORDINATE_TICKS: u64 = 100;
/// Of a number the bits that count the requests of one start of a node: a million a second for twelve days.
const NUMBER_BITS: u32 = 40;

/// One copy of a quorum shard on this node.
#[derive(Debug)]
pub struct QuorumReplica {
    machine: Machine,
    journal: Journal,
    syncs: Syncs,
    preparing: Preparing,
    writes: Writes,
    reads: Reads,
    repairs: Repairs,
    /// Of the last request that it coordinates. No other start of the node has the same: an answer may come so late.
    number: u64,
    hints: Hints,
    hints_out: HintsOut,
    convergence: Convergence,
    sweeps: Sweeps,
}

impl QuorumReplica {
    /// A copy as store and log have it. Whatever the log has is durable, so all of it is applied. `log` = `None` if the log
    /// has nothing of the copy.
    ///
    /// # Errors
    ///
    /// Of the store; of a log that does not go on where the store ends; of what this release cannot read.
    pub fn open(
        state: QuorumState,
        log: Option<RecoveredLog>,
        incarnation: Incarnation,
        engine: &dyn Engine,
    ) -> Result<Self, EngineError> {
        let (shard, replica) = (state.shard(), state.replica());
        let log = log.filter(|log| log.replica == replica);
        let mut machine = Machine::open(state, engine)?;
        let log_start = log.as_ref().map_or(machine.state().applied(), |log| log.start.0);
        let last = log.as_ref().map(|log| log.start.0 + log.entries.len() as u64);
        let is_gap = log_start > machine.state().applied() || last.is_some_and(|last| last < machine.state().applied());
        if is_gap {
            let (applied, last) = (machine.state().applied(), last.unwrap_or(log_start));
            return Err(EngineError::damaged(format!(
                "copy {replica} of quorum shard {shard} has applied entry {applied}, and its log has {} to {last}",
                log_start + 1
            )));
        }
        let applied = machine.state().applied();
        for entry in log.iter().flat_map(|log| &log.entries).filter(|entry| entry.index > applied) {
            let journaled = journal::read(entry).map_err(EngineError::unreadable)?;
            machine.apply(entry.index, &journaled, engine)?;
        }
        machine.flush(engine)?;
        // The records of a new copy, which are none, or few, need no tick.
        machine.pass(engine)?;
        let start = if is_planted(Planted::NumbersReused) { 0 } else { incarnation.0 << NUMBER_BITS };
        Ok(Self {
            journal: Journal::new(machine.state().applied(), machine.layout().generation, log.is_some()),
            syncs: Syncs::new(log_start),
            preparing: Preparing::new(Actor { replica, incarnation }),
            writes: Writes::default(),
            reads: Reads::default(),
            repairs: Repairs::default(),
            number: start,
            hints: Hints::open(shard, engine)?,
            hints_out: HintsOut::default(),
            convergence: Convergence::new(start ^ replica.0),
            sweeps: Sweeps::default(),
            machine,
        })
    }

    /// What the store keeps of this copy beside its records.
    pub fn state(&self) -> &QuorumState {
        self.machine.state()
    }

    /// Id of this copy.
    pub fn id(&self) -> ReplicaId {
        self.state().replica()
    }

    /// The map has this record of the shard. It is held, and told, once it is durable and applied.
    pub fn learn(&mut self, layout: Layout) {
        if state::is_sound(&layout) && layout.generation > self.journal.layout() {
            self.journal(Journaled::Layout(layout), After::Layout);
        }
    }

    /// To be called with each tick of the node.
    ///
    /// # Errors
    ///
    /// Of the store: the node must stop.
    pub fn tick(&mut self, here: &Here<'_>, out: &mut Out) -> Result<(), EngineError> {
        if !self.acts() {
            return Ok(());
        }
        for (number, steps) in self.writes.tick(here.ticks) {
            self.act_on_write(number, steps, here, out)?;
        }
        let steps = self.reads.tick(here.ticks);
        self.act_on_reads(steps, here, out)?;
        self.send_hints(here, out)?;
        if !self.machine.pass(here.engine)?
            && let Some(from) = self.sweeps.due(self.machine.floor(), self.machine.has_ended(), here.ticks)
        {
            let next = self.machine.sweep(&from, here.now.wall_ms, here.engine)?;
            self.sweeps.swept(next);
        }
        if is_planted(Planted::NeverCompared) {
            return Ok(());
        }
        self.machine.limit_recent(here.recent_bytes);
        self.machine.limit_pieces(if self.convergence.is_comparing(here.ticks) { here.pieces_bytes } else { 0 });
        self.converge(here, out, |convergence, copy| convergence.tick(copy))
    }

    /// A turn of the hints for each copy that takes them.
    fn send_hints(&mut self, here: &Here<'_>, out: &mut Out) -> Result<(), EngineError> {
        let layout = self.machine.layout();
        let (generation, floor) = (layout.generation, self.machine.floor().floor());
        let members: Vec<ReplicaId> = layout.write_members().into_iter().collect();
        let is_asked = |to: &ReplicaId| members.contains(to) && (here.is_heard)(*to);
        let targets: Vec<ReplicaId> = self.hints.targets().filter(is_asked).collect();
        let mut writes = self.hints.retain(&members, here.engine)?;
        for (to, from) in self.hints_out.due(&targets, here.ticks) {
            let mut turn = self.hints.turn(to, &from, generation, floor, here.engine)?;
            writes.extend(turn.writes);
            let is_full = (here.is_full)(to);
            let bounds = self.machine.floor();
            turn.send = turn.send.into_iter().filter_map(|hint| as_sent(hint, bounds, is_full)).collect();
            self.hints_out.sent(to, (turn.send.len(), is_full), turn.next, here.ticks);
            if !turn.send.is_empty() {
                let hints = turn.send.into_iter().map(|hint| (hint.key, hint.record)).collect();
                self.send(to, generation, Body::Hints(hints), out);
            }
        }
        if writes.is_empty() { Ok(()) } else { here.engine.write(writes) }
    }

    /// The node of another copy has fallen silent, or another process speaks for it: what it kept for others in memory may
    /// be gone.
    pub fn lost_sight(&mut self, copy: ReplicaId, ticks: u64) {
        self.convergence.lost_sight(copy, ticks, self.journal.last());
    }

    /// Entries that wait become a write to the log, as part of the batch of this sequence.
    pub fn collect(&mut self, sequence: u64, out: &mut Out) {
        if !self.syncs.is_held() {
            out.log = self.journal.collect(self.state().shard(), self.id(), sequence);
        }
    }

    /// The batch of this and lower sequences is durable in the log: its entries are applied, and whoever waits is told.
    ///
    /// # Errors
    ///
    /// Of the store: the node must stop.
    pub fn log_durable(&mut self, sequence: u64, here: &Here<'_>, out: &mut Out) -> Result<(), EngineError> {
        let mut applied = Vec::new();
        while let Some(Durable { index, entry, after }) = self.journal.pop_durable(sequence) {
            let taken = self.machine.apply(index, &entry, here.engine)?;
            self.preparing.applied(&entry, index);
            out.returned_bytes += self.repairs.applied(&entry, &taken, index);
            // What came under a generation that is not held any more may have been missed by who has copied since.
            let held = self.machine.layout().generation;
            applied.push((entry, taken, after, held));
        }
        self.machine.flush(here.engine)?;
        applied.into_iter().try_for_each(|(entry, taken, after, held)| match after {
            After::Write { to, number, generation } => {
                self.took_write(&taken, (to, number), (generation, held), here, out)
            }
            After::Repair { to, number, generation, earlier } => {
                self.took_repair((&taken, &earlier), (to, number), (generation, held), here, out)
            }
            After::Hints { to, generation } => {
                let hinted = if generation == held { hinted(entry, &taken) } else { Vec::new() };
                if !hinted.is_empty() {
                    self.send(to, generation, Body::Hinted(hinted), out);
                }
                Ok(())
            }
            // What was not taken is not here: whoever waits for it waits, and begins anew.
            After::Converge(..) if taken.iter().any(Result::is_err) => Ok(()),
            After::Converge(then, generation) if generation == self.machine.layout().generation => {
                self.converge(here, out, |convergence, copy| convergence.applied(then, copy))
            }
            After::Converge(..) => Ok(()),
            After::Layout => self.layout_held(here, out),
        })
    }

    fn took_write(
        &mut self,
        taken: &Taken,
        (to, number): (ReplicaId, u64),
        (generation, held): (Generation, Generation),
        here: &Here<'_>,
        out: &mut Out,
    ) -> Result<(), EngineError> {
        let is_any = |is_so: fn(&Refused) -> bool| taken.iter().filter_map(|taken| taken.as_ref().err()).any(is_so);
        let said = if generation != held && !is_planted(Planted::EarlierWriteAcknowledged) {
            Some(Said::Newer(held))
        } else if is_any(|refused| matches!(refused, Refused::Bare | Refused::TooMuch(_))) {
            None
        } else if is_any(|refused| matches!(refused, Refused::TooOld(_))) {
            Some(Said::TooOld)
        } else {
            Some(Said::Durable)
        };
        if to != self.id() {
            said.into_iter().for_each(|said| self.send(to, generation, Body::Said(number, said), out));
            return Ok(());
        }
        self.writes.wrote_own(number, generation);
        let Some(said) = said else { return Ok(()) };
        let steps = self.writes.hear(number, (to, generation), said, here.ticks);
        self.act_on_write(number, steps, here, out)
    }

    /// `earlier` = what was in entries before this one, if the copy has taken it.
    fn took_repair(
        &mut self,
        (taken, earlier): (&Taken, &[Entry]),
        (to, number): (ReplicaId, u64),
        (generation, held): (Generation, Generation),
        here: &Here<'_>,
        out: &mut Out,
    ) -> Result<(), EngineError> {
        if generation != held || taken.iter().any(Result::is_err) {
            return Ok(());
        }
        for (key, record) in earlier {
            if !self.machine.has(key, record, here.engine)? {
                return Ok(());
            }
        }
        if to != self.id() {
            self.send(to, generation, Body::Repaired(number), out);
            return Ok(());
        }
        let steps = self.reads.repaired(number, to, generation);
        self.act_on_read(number, steps, here, out)
    }

    /// Another layout is held: what is coordinated goes on under it.
    fn layout_held(&mut self, here: &Here<'_>, out: &mut Out) -> Result<(), EngineError> {
        if self.state().part() == Part::Over {
            self.end(out);
            return Ok(());
        }
        let layout = self.machine.layout().clone();
        for (number, steps) in self.writes.renew(&layout, here.ticks) {
            self.act_on_write(number, steps, here, out)?;
        }
        let (steps, ended) = self.reads.renew(&layout, &self.nearest(self.number, here), here.ticks);
        out.answers.extend(ended.into_iter().map(|(token, error)| {
            let refusal = Refusal::ReadQuorum(error);
            (token, Answer::Read(Err(refusal)))
        }));
        self.act_on_reads(steps, here, out)?;
        self.converge(here, out, |convergence, copy| convergence.layout_changed(copy))
    }

    /// Lets convergence look at the copy, and does what it wants done.
    fn converge(
        &mut self,
        here: &Here<'_>,
        out: &mut Out,
        step: impl FnOnce(&mut Convergence, &Copy<'_, Records<'_>>) -> Vec<Do>,
    ) -> Result<(), EngineError> {
        for step in self.ask_convergence(here, step)? {
            match step {
                Do::Send(to, body) => self.send(to, self.machine.layout().generation, body, out),
                Do::Journal(Journaled::Copies(entries), then) => {
                    let entries = self.judged_early(entries, here)?;
                    let after = After::Converge(then, self.machine.layout().generation);
                    self.journal(Journaled::Copies(entries), after);
                }
                Do::Journal(entry, then) => {
                    let after = After::Converge(then, self.machine.layout().generation);
                    self.journal(entry, after);
                }
                Do::Compared { with, mark } => {
                    let writes = mark.map(|mark| self.hints.compared(with, mark)).unwrap_or_default();
                    if !writes.is_empty() {
                        here.engine.write(writes)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn ask_convergence(
        &mut self,
        here: &Here<'_>,
        step: impl FnOnce(&mut Convergence, &Copy<'_, Records<'_>>) -> Vec<Do>,
    ) -> Result<Vec<Do>, EngineError> {
        let Self { machine, journal, hints, convergence, .. } = self;
        let (view, state) = (machine.records(here.engine), machine.state());
        let steps = step(
            convergence,
            &Copy {
                id: state.replica(),
                layout: state.layout(),
                floor: state.floor(),
                is_complete: state.is_complete(),
                copied: state.copied(),
                ends_ms: machine.ends_ms(),
                last: state.last_version(),
                above: machine.lowest_above(),
                log: (state.applied(), journal.last()),
                tree: machine.tree(),
                view: &view,
                hints,
                wall_ms: here.now.wall_ms,
                ticks: here.ticks,
                pace: here.pace,
                is_heard: here.is_heard,
                is_full: here.is_full,
                is_own: &|key| state.is_own(key),
            },
        );
        view.check()?;
        Ok(steps)
    }

    /// A planted bug judges what comes by the bounds of the moment in which it comes.
    fn judged_early(&self, entries: Vec<Entry>, here: &Here<'_>) -> Result<Vec<Entry>, EngineError> {
        if !is_planted(Planted::JudgedEarly) {
            return Ok(entries);
        }
        let (mut judged, records) = (Vec::new(), self.machine.records(here.engine));
        for (key, record) in entries {
            let Ok(record) = Stored::decode(&record) else { continue };
            let held = records.read(&key)?;
            let taken = self.machine.floor().take_copy(held.as_ref(), record, self.state().is_complete());
            judged.extend(taken.ok().flatten().map(|record| (key, record.encode())));
        }
        Ok(judged)
    }

    /// A sync of the store begins that covers all that is applied.
    ///
    /// # Errors
    ///
    /// Of the store: the node must stop.
    pub fn sync_begins(&mut self, mark: u64, engine: &dyn Engine) -> Result<(), EngineError> {
        self.machine.save(engine)?;
        self.syncs.begins(mark, self.state().applied());
        Ok(())
    }

    /// Syncs up to `mark` have finished.
    pub fn sync_finished(&mut self, mark: u64) {
        self.syncs.finished(mark);
    }

    /// What the log may forget by now.
    pub fn cut(&mut self) -> Option<LogCut> {
        let until = self.syncs.cut(self.state().applied())?;
        Some(LogCut { shard: self.state().shard(), replica: self.id(), start: (until, TERM) })
    }

    /// Waits for the store to make this new copy durable before it says or writes anything. It has promised nothing yet.
    pub fn hold_until(&mut self, mark: u64) {
        self.syncs.hold_until(mark);
    }

    /// This copy ends here: whoever waits is told.
    pub fn end(&mut self, out: &mut Out) {
        let shard = self.state().shard();
        let unknown = |token| (token, Answer::Write(Err(Refusal::OutcomeUnknown { shard })));
        out.answers.extend(self.writes.end().into_iter().map(unknown));
        let refusal = self.not_coordinator(NotCoordinator::Over);
        out.answers.extend(self.reads.end_all().into_iter().map(|token| (token, Answer::Read(Err(refusal.clone())))));
    }

    /// True while it says something: it is durable, and the shard has it.
    fn acts(&self) -> bool {
        !self.syncs.is_held() && self.state().part() != Part::Over
    }

    /// The rule for what is written at the same time, if this copy coordinates anything.
    fn may_coordinate(&self) -> Result<Resolve, Refusal> {
        if self.state().part() == Part::Over {
            return Err(self.not_coordinator(NotCoordinator::Over));
        }
        let resolve = self.machine.layout().resolve;
        if self.syncs.is_held() { Err(self.not_coordinator(NotCoordinator::Starting)) } else { Ok(resolve) }
    }

    fn not_coordinator(&self, reason: NotCoordinator) -> Refusal {
        Refusal::NotCoordinator { shard: self.state().shard(), reason }
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn journal(&mut self, entry: Journaled, after: After) -> u64 {
        self.preparing.journaled(&entry);
        self.journal.push(entry, after)
    }

    fn send(&self, to: ReplicaId, generation: Generation, body: Body, out: &mut Out) {
        out.send.push(Envelope { shard: self.state().shard(), from: self.id(), to, generation, body });
    }
}

/// A hint without bytes that have ended for all. `None` = it is not to be sent: the other disk has no room for it. Deletes may
/// make room there; all else waits.
fn as_sent(hint: Hint, bounds: &Floor, is_full: bool) -> Option<Hint> {
    let Hint { key, record: encoded } = hint;
    let record = Stored::decode(&encoded).ok()?;
    let encoded = bounds.encoded_without_ended(&record, encoded);
    let is_taken = !is_full || brings_no_value(None, &bounds.without_ended(record));
    is_taken.then_some(Hint { key, record: encoded })
}

/// What became of hints, but for those that need bounds first.
fn hinted(entry: Journaled, taken: &Taken) -> Vec<(Bytes, Bytes, bool)> {
    let Journaled::Writes(hints) = entry else { return Vec::new() };
    let answered = hints.into_iter().zip(taken).filter(|(_, taken)| !matches!(taken, Err(Refused::Bare)));
    answered.map(|((key, record, _), taken)| (key, record, taken.is_ok())).collect()
}

#[cfg(test)]
mod tests;
