//! What other copies say. Nothing of it is trusted: what is not sound is ignored, as if the message were lost.

use bytes::Bytes;

use super::QuorumReplica;
use super::journal::After;
use super::out::{Here, Out};
use crate::engine::EngineError;
use crate::ids::{Generation, ReplicaId};
use crate::limits::{BATCH_MUTATIONS_MAX, SCAN_RECORDS_MAX};
use crate::planted::{Planted, is_planted};
use crate::quorum::hints::{Hint, TURN_HINTS_MAX};
use crate::quorum::journal::Journaled;
use crate::quorum::layout::Part;
use crate::quorum::merge::{NotTaken, admitted, held_elsewhere};
use crate::quorum::message::{Body, Entry, Envelope};
use crate::quorum::write::Said;
use crate::record::{Stamp, Stored};

/// Records of one repair, at most: what the pages of the copies that there can be during a change hold together.
const RECORDS_MAX: usize = 14 * SCAN_RECORDS_MAX;

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
                match self.admit_write(&entries, here) {
                    Admitted::Taken => {
                        let after = After::Write { to: from, number, generation };
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
                if self.are_admitted(&entries) {
                    let entries = self.judged_early(entries, here)?;
                    let after = After::Repair { to: from, number, generation };
                    self.journal(Journaled::Copies(entries), after);
                }
                Ok(())
            }
            Body::Hints(entries) if takes_writes => {
                let hints = entries.into_iter().take(TURN_HINTS_MAX).filter_map(|hint| self.hint(hint, here));
                let hints: Vec<_> = hints.collect();
                if !hints.is_empty() {
                    self.journal(Journaled::Writes(hints), After::Hints { to: from, generation });
                }
                Ok(())
            }
            Body::Write(..) | Body::Repair(..) | Body::Hints(_) => Ok(()),
            body @ (Body::BoundsWanted | Body::Compare(..) | Body::Push(..) | Body::Bar(_) | Body::Floor(_)) => {
                self.converge(here, out, |convergence, copy| convergence.hear(from, body, copy))
            }
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
            | Body::Floor(_) => Ok(()),
        }
    }

    fn admit_write(&self, entries: &[(Bytes, Bytes, Stamp)], here: &Here<'_>) -> Admitted {
        if entries.is_empty() || entries.len() > BATCH_MUTATIONS_MAX {
            return Admitted::Ignored;
        }
        let mut puts = false;
        for (key, record, stamp) in entries {
            match self.admit(key, record, here) {
                Ok(record) if record.values().any(|value| value.stamp == *stamp) => {
                    puts |= !record.newest.is_tombstone;
                }
                Err(Unfit::Ahead) => return Admitted::Said(Said::Ahead),
                Ok(_) | Err(Unfit::Unsound) => return Admitted::Ignored,
            }
        }
        if puts && (here.is_full)(self.id()) { Admitted::Said(Said::Full) } else { Admitted::Taken }
    }

    fn are_admitted(&self, entries: &[Entry]) -> bool {
        let is_held = |(key, record): &Entry| self.state().is_own(key) && held_elsewhere(record).is_ok();
        entries.len() <= RECORDS_MAX && entries.iter().all(is_held)
    }

    fn hint(&self, (key, record): Entry, here: &Here<'_>) -> Option<(Bytes, Bytes, Stamp)> {
        let stamp = self.admit(&key, &record, here).ok()?.newest.stamp;
        Some((key, record, stamp))
    }

    /// A record that may be taken here now, of a key of this shard.
    fn admit(&self, key: &Bytes, record: &Bytes, here: &Here<'_>) -> Result<Stored, Unfit> {
        let is_of_shard = self.state().is_own(key);
        match admitted(record, here.now.wall_ms) {
            Ok(admitted) if is_of_shard => Ok(admitted),
            Err(NotTaken::Ahead { .. }) if is_of_shard => Err(Unfit::Ahead),
            Ok(_) | Err(NotTaken::Ahead { .. } | NotTaken::Unreadable(_)) => Err(Unfit::Unsound),
        }
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
