//! A client's read: R copies are asked, what differs is repaired, the client is shown what they hold together.

use std::collections::VecDeque;

use bytes::Bytes;

use super::out::{Here, Out};
use super::reads::{Asked, Steps, Wanted};
use super::{COORDINATE_TICKS, QuorumReplica};
use crate::answer::{Answer, Refusal};
use crate::command::{Read, ReadConsistency, ReadResult};
use crate::engine::EngineError;
use crate::ids::{Epoch, Generation, ReplicaId, Token};
use crate::limits::{SCAN_BYTES_MAX, SCAN_RECORDS_MAX};
use crate::quorum::message::{Body, Entry};
use crate::quorum::page::Page;
use crate::quorum::read::ReadStep;
use crate::quorum::room::brings_no_value;
use crate::record::Stored;
use crate::time::Version;

impl QuorumReplica {
    /// A client's read. `copies` = R for this read, which promises nothing where it is lower than the table's.
    ///
    /// # Errors
    ///
    /// Of the store: the node must stop.
    pub fn read(
        &mut self,
        token: Token,
        (read, consistency): (Read, ReadConsistency),
        copies: Option<usize>,
        here: &Here<'_>,
        out: &mut Out,
    ) -> Result<(), EngineError> {
        match self.begin_read(token, read, (consistency, copies), here) {
            Ok(Some((number, steps))) => self.act_on_read(number, steps, here, out),
            Ok(None) => {
                let nothing = ReadResult::Page { records: Vec::new(), next: None };
                out.answers.push((token, Answer::Read(Ok(nothing))));
                Ok(())
            }
            Err(refusal) => {
                out.answers.push((token, Answer::Read(Err(refusal))));
                Ok(())
            }
        }
    }

    /// `None` = no key can be in the range.
    fn begin_read(
        &mut self,
        token: Token,
        read: Read,
        (consistency, copies): (ReadConsistency, Option<usize>),
        here: &Here<'_>,
    ) -> Result<Option<(u64, Vec<ReadStep>)>, Refusal> {
        self.may_coordinate()?;
        let (_, end) = self.state().range();
        let wanted = Wanted::of(read, end, |key| self.state().contains(key));
        let wanted = wanted.ok_or(Refusal::WrongShard { epoch: Epoch(0) })?;
        if wanted.is_empty() {
            return Ok(None);
        }
        let set = self.machine.layout().read_set();
        let copies = match consistency {
            ReadConsistency::Linearizable => copies,
            ReadConsistency::Local => Some(1),
            // How old an answer is nobody can tell here, unless it is as new as any.
            ReadConsistency::BoundedStaleness(_) if set.overlap() => None,
            ReadConsistency::BoundedStaleness(_) => {
                let (write, read, copies) = (set.write, set.read, set.members.len());
                return Err(Refusal::StalenessUnknown { write, read, copies });
            }
        };
        if !self.reads.has_room() {
            return Err(Refusal::Overloaded { shard: self.state().shard(), queued: self.reads.len() });
        }
        let number = self.next_number();
        let nearest = self.nearest(number, here);
        let (ticks, deadline) = (here.ticks, here.ticks.saturating_add(COORDINATE_TICKS));
        let asked = Asked { layout: self.machine.layout(), nearest: &nearest, copies, ticks, deadline };
        let steps = self.reads.begin(number, token, wanted, &asked).map_err(Refusal::ReadQuorum)?;
        Ok(Some((number, steps)))
    }

    /// This copy first, then those that are heard, in turns, so that no one of them answers all reads.
    pub(super) fn nearest(&self, number: u64, here: &Here<'_>) -> Vec<ReplicaId> {
        let mut others = self.machine.layout().read_set().members.clone();
        let turn = usize::try_from(number % others.len().max(1) as u64).unwrap_or(0);
        others.rotate_left(turn);
        others.sort_by_key(|copy| (*copy != self.id(), !(here.is_heard)(*copy)));
        others
    }

    /// What a read's round wants done.
    pub(super) fn act_on_read(
        &mut self,
        number: u64,
        steps: Vec<ReadStep>,
        here: &Here<'_>,
        out: &mut Out,
    ) -> Result<(), EngineError> {
        let mut steps = VecDeque::from(steps);
        while let Some(step) = steps.pop_front() {
            match step {
                ReadStep::Ask(to, generation) => {
                    let Some(Wanted { start, end, limit, .. }) = self.reads.wanted(number).cloned() else { break };
                    if to == self.id() {
                        let records = self.machine.records(here.engine);
                        let page = records.page(&start, end.as_deref(), limit, SCAN_BYTES_MAX)?;
                        let bytes = page.entries.iter().map(|(key, record)| key.len() + weight(record)).sum();
                        steps.extend(self.reads.hear(number, (to, generation), page, bytes));
                    } else {
                        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
                        self.send(to, generation, Body::Read(number, start, end, limit), out);
                    }
                }
                ReadStep::Repair(to, _) if (here.is_full)(to) && self.is_repaired_without(number, to, here) => {}
                ReadStep::Repair(to, generation) if to == self.id() => {
                    self.repair_own(number, generation, here, out)?;
                }
                ReadStep::Repair(to, generation) => {
                    let lacking = self.reads.lacking(number, to);
                    self.send(to, generation, Body::Repair(number, lacking), out);
                }
                ReadStep::Learn(generation) => out.want_record(generation),
                ReadStep::Answer(page) => {
                    let basis = self.reads.basis(number, page.absence);
                    let Some((token, wanted)) = self.reads.end(number) else { break };
                    let result = wanted.show((page, basis), self.machine.layout().resolve, here.now.wall_ms);
                    out.answers.push((token, Answer::Read(Ok(result))));
                }
                ReadStep::Unreachable => {
                    let refusal = Refusal::TooFewCopies { shard: self.state().shard() };
                    let ended = self.reads.end(number).map(|(token, _)| (token, Answer::Read(Err(refusal))));
                    out.answers.extend(ended);
                }
            }
        }
        Ok(())
    }

    pub(super) fn act_on_reads(&mut self, steps: Steps, here: &Here<'_>, out: &mut Out) -> Result<(), EngineError> {
        steps.into_iter().try_for_each(|(number, steps)| self.act_on_read(number, steps, here, out))
    }

    /// True if a copy whose disk is nearly full need not be repaired for the read to end: it lacks values, and those that have
    /// room for them, and are heard of, make up W.
    fn is_repaired_without(&self, number: u64, full: ReplicaId, here: &Here<'_>) -> bool {
        let lacks = |copy: ReplicaId| self.reads.lacking(number, copy);
        let is_repaired = |copy: ReplicaId| lacks(copy).is_empty() || (here.is_heard)(copy) && !(here.is_full)(copy);
        let has_value =
            |(_, record): &Entry| Stored::decode(record).is_ok_and(|record| !brings_no_value(None, &record));
        lacks(full).iter().any(has_value) && self.machine.layout().is_written(is_repaired)
    }

    fn repair_own(
        &mut self,
        number: u64,
        generation: Generation,
        here: &Here<'_>,
        out: &mut Out,
    ) -> Result<(), EngineError> {
        // Others can make up W; and the read asks again.
        if !self.journal.has_room() || self.reads.repairs_own(number, generation) {
            return Ok(());
        }
        let of = (self.id(), number, generation);
        if self.take_repair(self.reads.lacking(number, self.id()), of, here, out)? {
            self.reads.repair_own(number, generation);
        }
        Ok(())
    }

    /// Another copy reads.
    pub(super) fn answer_page(
        &self,
        body: (u64, Bytes, Option<Bytes>, u32),
        (to, generation): (ReplicaId, Generation),
        here: &Here<'_>,
        out: &mut Out,
    ) -> Result<(), EngineError> {
        let (number, start, end, limit) = body;
        let is_asked = self.machine.layout().answers_reads(self.id())
            && self.state().contains(&start)
            && end.as_ref().is_none_or(|end| *end > start);
        if !is_asked {
            return Ok(());
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).clamp(1, SCAN_RECORDS_MAX);
        let records = self.machine.records(here.engine);
        let Page { entries, next, absence } = records.page(&start, end.as_deref(), limit, SCAN_BYTES_MAX)?;
        let entries = entries.into_iter().map(|(key, record)| (key, record.encode())).collect();
        self.send(to, generation, Body::Page(number, entries, next, absence), out);
        Ok(())
    }

    /// Another copy has answered a read.
    pub(super) fn hear_page(
        &mut self,
        number: u64,
        from: (ReplicaId, Generation),
        (entries, next, absence): (Vec<Entry>, Option<Bytes>, Version),
    ) -> Vec<ReadStep> {
        let sizes = entries.iter().map(|(key, record)| key.len() + record.len());
        let bytes: usize = sizes.clone().sum();
        // A page ends once it has so many bytes; the last record may be of any size.
        let is_bounded = entries.len() <= SCAN_RECORDS_MAX && bytes - sizes.last().unwrap_or(0) < SCAN_BYTES_MAX;
        if !is_bounded || self.reads.wanted(number).is_none() {
            return Vec::new();
        }
        let decoded = entries.into_iter().map(|(key, record)| Stored::decode(&record).map(|record| (key, record)));
        let Ok(entries) = decoded.collect::<Result<Vec<_>, _>>() else { return Vec::new() };
        self.reads.hear(number, from, Page { entries, next, absence }, bytes)
    }
}

fn weight(record: &Stored) -> usize {
    record.values().map(|value| value.value.len()).sum()
}
