//! What other copies say. Nothing of it is trusted: what is not sound is ignored, as if the message were lost.

use bytes::Bytes;

use super::QuorumReplica;
use super::journal::After;
use super::out::{Here, Out};
use crate::engine::EngineError;
use crate::ids::{Generation, ReplicaId};
use crate::limits::BATCH_MUTATIONS_MAX;
use crate::planted::{Planted, is_planted};
use crate::quorum::convergence::Then;
use crate::quorum::hints::{Hint, TURN_HINTS_MAX};
use crate::quorum::journal::Journaled;
use crate::quorum::layout::Part;
use crate::quorum::merge::{NotTaken, admitted, follows, held_elsewhere, latest};
use crate::quorum::message::{Body, Entry, Envelope, REPAIR_MAX};
use crate::quorum::room::brings_no_value;
use crate::quorum::write::Said;
use crate::record::{Stamp, Stored};

impl QuorumReplica {
    /// A message from another copy.
    ///
    /// # Errors
    ///
    /// Of the store: the node must stop.
    pub fn hear(&mut self, envelope: Envelope, here: &Here<'_>, out: &mut Out) -> Result<(), EngineError> {
        let Envelope { shard, from, to, generation, body } = envelope;
        let is_own = shard == self.state().shard() && to == self.id() && from != self.id();
        if !is_own || !self.acts() {
            return Ok(());
        }
        if !body.is_question() {
            return self.answered((from, generation), body, here, out);
        }
        let held = self.machine.layout().generation;
        if generation > held {
            out.want_record(generation);
            if let Body::Write(number, _) = body {
                self.send(from, generation, Body::Said(number, Said::Older), out);
            }
        } else if generation < held {
            let answer = match body {
                Body::Write(number, _) => Some(Body::Said(number, Said::Newer(held))),
                Body::Read(number, ..)
                | Body::Compare(number, ..)
                | Body::Repair(number, _)
                | Body::Push(number, _) => Some(Body::Newer(number, held)),
                // Sent again under the newer one, or no question.
                Body::Hints(_)
                | Body::BoundsWanted
                | Body::Bar(_)
                | Body::Floor(_)
                | Body::Elapsed(_)
                | Body::Said(..)
                | Body::Page(..)
                | Body::Newer(..)
                | Body::Repaired(_)
                | Body::Hinted(_)
                | Body::Bounds(_)
                | Body::Compared(..)
                | Body::Pushed(_)
                | Body::Barred(_) => None,
            };
            answer.into_iter().for_each(|answer| self.send(from, generation, answer, out));
        } else if self.machine.layout().part(from) != Part::Over && (self.journal.has_room() || !body.is_journaled()) {
            self.asked((from, generation), body, here, out)?;
        }
        Ok(())
    }

    /// A copy asks, at the generation that is held here.
    fn asked(
        &mut self,
        (from, generation): (ReplicaId, Generation),
        body: Body,
        here: &Here<'_>,
        out: &mut Out,
    ) -> Result<(), EngineError> {
        let takes_writes = self.machine.layout().takes_writes(self.id());
        match body {
            Body::Write(number, entries) if takes_writes => {
                match self.admit_write(&entries, here)? {
                    Admitted::Taken => {
                        let after = After::Write { to: from, number, generation };
                        let entries = if (here.is_full)(self.id()) { self.without_ended(entries) } else { entries };
                        self.journal(Journaled::Writes(entries), after);
                        if is_planted(Planted::QuorumAckBeforeDurable) {
                            self.send(from, generation, Body::Said(number, Said::Durable), out);
                        }
                    }
                    Admitted::Said(said) => self.send(from, generation, Body::Said(number, said), out),
                    Admitted::Ignored => {}
                }
                Ok(())
            }
            Body::Read(number, start, end, limit) => {
                self.answer_page((number, start, end, limit), (from, generation), here, out)
            }
            Body::Repair(number, entries) if takes_writes => {
                self.take_repair(entries, (from, number, generation), here, out).map(drop)
            }
            Body::Hints(entries) if takes_writes => {
                let (mut hints, mut ahead) = (Vec::new(), Vec::new());
                for (key, record) in entries.into_iter().take(TURN_HINTS_MAX) {
                    match self.admit(&key, &record, here)? {
                        // What there is no room for waits where it is.
                        Ok(stored) => {
                            let stamp = stored.newest.stamp;
                            let record = self.machine.floor().encoded_without_ended(&stored, record);
                            if self.has_room(&key, stored, here)? {
                                hints.push((key, record, stamp));
                            }
                        }
                        Err(Unfit::Ahead) => ahead.push((key, record, false)),
                        Err(Unfit::Unsound) => {}
                    }
                }
                // Comparing brings them: who holds what a wrong clock has stamped is not left alone with it.
                if !ahead.is_empty() {
                    self.send(from, generation, Body::Hinted(ahead), out);
                }
                if !hints.is_empty() {
                    self.journal(Journaled::Writes(hints), After::Hints { to: from, generation });
                }
                Ok(())
            }
            Body::Write(..) | Body::Repair(..) | Body::Hints(_) => Ok(()),
            body @ (Body::BoundsWanted
            | Body::Compare(..)
            | Body::Push(..)
            | Body::Bar(_)
            | Body::Floor(_)
            | Body::Elapsed(_)) => self.converge(here, out, |convergence, copy| convergence.hear(from, body, copy)),
            // No questions.
            Body::Said(..)
            | Body::Page(..)
            | Body::Newer(..)
            | Body::Repaired(_)
            | Body::Hinted(_)
            | Body::Bounds(_)
            | Body::Compared(..)
            | Body::Pushed(_)
            | Body::Barred(_) => Ok(()),
        }
    }

    /// A copy answers a question of this one, or one of the process before.
    fn answered(
        &mut self,
        (from, generation): (ReplicaId, Generation),
        body: Body,
        here: &Here<'_>,
        out: &mut Out,
    ) -> Result<(), EngineError> {
        match body {
            Body::Said(number, said) => {
                let steps = self.writes.hear(number, (from, generation), said, here.ticks);
                self.act_on_write(number, steps, here, out)
            }
            Body::Newer(number, newer) if self.reads.wanted(number).is_some() => {
                let steps = self.reads.refused(number, from, newer);
                self.act_on_read(number, steps, here, out)
            }
            Body::Page(number, entries, next, absence) => {
                let steps = self.hear_page(number, (from, generation), (entries, next, absence));
                self.act_on_read(number, steps, here, out)
            }
            Body::Repaired(number) => {
                let steps = self.reads.repaired(number, from, generation);
                self.act_on_read(number, steps, here, out)
            }
            _ if generation != self.machine.layout().generation => Ok(()),
            _ if self.machine.layout().part(from) == Part::Over => Ok(()),
            Body::Hinted(hinted) => self.hinted(from, hinted, here),
            _ if body.is_journaled() && !self.journal.has_room() => Ok(()),
            body @ (Body::Newer(..) | Body::Bounds(_) | Body::Compared(..) | Body::Pushed(_) | Body::Barred(_)) => {
                self.converge(here, out, |convergence, copy| convergence.hear(from, body, copy))
            }
            // No answers.
            Body::Write(..)
            | Body::Read(..)
            | Body::Repair(..)
            | Body::Hints(_)
            | Body::BoundsWanted
            | Body::Compare(..)
            | Body::Push(..)
            | Body::Bar(_)
            | Body::Floor(_)
            | Body::Elapsed(_) => Ok(()),
        }
    }

    fn admit_write(&self, entries: &[(Bytes, Bytes, Stamp)], here: &Here<'_>) -> Result<Admitted, EngineError> {
        if entries.is_empty() || entries.len() > BATCH_MUTATIONS_MAX {
            return Ok(Admitted::Ignored);
        }
        let mut has_room = true;
        for (key, record, stamp) in entries {
            match self.admit(key, record, here)? {
                Ok(record) if record.values().any(|value| value.stamp == *stamp) => {
                    // A delete is taken with whatever it leaves beside it.
                    let is_delete = record.newest.is_tombstone && record.newest.stamp == *stamp;
                    has_room = has_room && (is_delete || self.has_room(key, record, here)?);
                }
                Err(Unfit::Ahead) => return Ok(Admitted::Said(Said::Ahead)),
                Ok(_) | Err(Unfit::Unsound) => return Ok(Admitted::Ignored),
            }
        }
        Ok(if has_room { Admitted::Taken } else { Admitted::Said(Said::Full) })
    }

    /// What a read repairs goes to the log: all of it, or nothing if some of it is unsound. A disk that is nearly full takes
    /// values too, as far as there is room for that: a reader waits, and other copies may not be there to take them. Beyond
    /// that it takes deletes alone, and confirms nothing. `of` = the read's coordinator, its number, and the generation. Returns
    /// true if it is going to be answered.
    pub(super) fn take_repair(
        &mut self,
        entries: Vec<Entry>,
        of: (ReplicaId, u64, Generation),
        here: &Here<'_>,
        out: &mut Out,
    ) -> Result<bool, EngineError> {
        if entries.len() > REPAIR_MAX {
            return Ok(false);
        }
        let (mut fit, mut values, mut earlier, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for (key, record) in entries {
            let Ok(stored) = held_elsewhere(&record) else { return Ok(false) };
            if !self.state().is_own(&key) {
                return Ok(false);
            }
            let record = self.machine.floor().encoded_without_ended(&stored, record);
            if self.has_room(&key, stored, here)? {
                fit.push((key, record));
            } else if let Some(waiting) = self.repairs.waiting(&key, &record) {
                earlier.push(waiting);
            } else {
                bytes += key.len() + record.len();
                values.push((key, record));
            }
        }
        let is_all = out.repaired_bytes + bytes <= here.repair_room || values.is_empty();
        if is_all {
            out.repaired_bytes += bytes;
            fit.extend(values.iter().cloned());
        } else {
            values.clear();
        }
        if fit.is_empty() && !is_all {
            return Ok(false);
        }
        let entries = self.judged_early(fit, here)?;
        let (to, number, generation) = of;
        let after = After::Repair { to, number, generation, earlier };
        let nobody = After::Converge(Then::Nothing, self.machine.layout().generation);
        // What waits already is not written again: this entry, with the rest or with nothing, comes after it.
        let index = self.journal(Journaled::Copies(entries), if is_all { after } else { nobody });
        self.repairs.wait(values, index);
        Ok(is_all)
    }

    /// A write as it goes into the log of a disk that is nearly full.
    fn without_ended(&self, entries: Vec<Written>) -> Vec<Written> {
        let floor = self.machine.floor();
        let stripped = |(key, encoded, stamp): Written| match Stored::decode(&encoded) {
            Ok(record) => (key, floor.encoded_without_ended(&record, encoded), stamp),
            Err(_) => (key, encoded, stamp),
        };
        entries.into_iter().map(stripped).collect()
    }

    /// True if the disk has room for a record: for deletes, for what has ended, and for what is held already, it always has.
    fn has_room(&self, key: &Bytes, record: Stored, here: &Here<'_>) -> Result<bool, EngineError> {
        if !(here.is_full)(self.id()) {
            return Ok(true);
        }
        let held = self.machine.records(here.engine).read(key)?;
        Ok(brings_no_value(held.as_ref(), &self.machine.floor().without_ended(record)))
    }

    /// A record that may be taken here now, of a key of this shard.
    fn admit(&self, key: &Bytes, record: &Bytes, here: &Here<'_>) -> Result<Result<Stored, Unfit>, EngineError> {
        if !self.state().is_own(key) {
            return Ok(Err(Unfit::Unsound));
        }
        let latest = latest(here.now.wall_ms, self.machine.floor().bar());
        let stamp = match admitted(record, latest) {
            Ok(record) => return Ok(Ok(record)),
            Err(NotTaken::Unreadable(_)) => return Ok(Err(Unfit::Unsound)),
            Err(NotTaken::Ahead { stamp, .. }) => stamp,
        };
        if held_elsewhere(record).is_err() {
            return Ok(Err(Unfit::Unsound));
        }
        // A key that a wrong clock has stamped stays to be written, from where it is on.
        let held = self.machine.records(here.engine).read(key)?.map(|held| held.newest.stamp.version);
        let follows = held.is_some_and(|held| follows(stamp, held)) && !is_planted(Planted::AheadOfOwnKey);
        Ok(if follows { Stored::decode(record).map_err(|_| Unfit::Unsound) } else { Err(Unfit::Ahead) })
    }

    /// A copy has answered hints.
    fn hinted(
        &mut self,
        from: ReplicaId,
        hinted: Vec<(Bytes, Bytes, bool)>,
        here: &Here<'_>,
    ) -> Result<(), EngineError> {
        let expected = self.hints_out.answered(from, hinted.len(), here.ticks);
        for (key, record, is_durable) in hinted.into_iter().take(expected) {
            let sent = Hint { key, record };
            let writes = match is_durable {
                true => self.hints.confirmed(from, &sent, here.engine)?,
                false => self.hints.refused(from, &sent, here.engine)?,
            };
            if !writes.is_empty() {
                here.engine.write(writes)?;
            }
        }
        Ok(())
    }
}

/// A key, its record, and the stamp of the write that it comes with.
type Written = (Bytes, Bytes, Stamp);

/// Why a record is not taken.
enum Unfit {
    /// Its clock is far ahead of the one here.
    Ahead,
    /// No copy of this shard sends it.
    Unsound,
}

/// What becomes of a coordinator's message.
enum Admitted {
    Taken,
    Said(Said),
    Ignored,
}
