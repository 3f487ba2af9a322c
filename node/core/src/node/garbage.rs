//! Records that nobody owns any more: they go in slices, so that no client waits for them.

use std::ops::ControlFlow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::{self, Undecodable};
use crate::engine::{Engine, EngineError, EngineWrite, data_end, data_key, shard_key, state};
use crate::ids::{ReplicaId, ShardId, TableId};
use crate::key::prefix_end;
use crate::planted::{Planted, is_planted};
use crate::ranges::{Content, Held, KeyRange, Ranges};
use crate::replica::state::ReplicaState;

/// A range of records to be wiped, as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wipe {
    shard: ShardId,
    replica: ReplicaId,
    table: TableId,
    start: Bytes,
    end: Option<Bytes>,
    /// True if the copy lives on and waits for this to be done.
    copy_lives: bool,
}

impl Wipe {
    /// What the store holds.
    ///
    /// # Errors
    ///
    /// Of bytes that no node has written.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        let wipe: Self = codec::decode("garbage", bytes)?;
        let is_range = wipe.end.as_ref().is_none_or(|end| *end >= wipe.start);
        let reason = || format!("no range of records of shard {}", wipe.shard);
        if is_range { Ok(wipe) } else { Err(Undecodable::damaged("garbage", reason())) }
    }

    /// The records of a copy. `copy_lives` = it waits until they are gone. `None` = it holds nothing: one that has never had
    /// a snapshot does not even know its range.
    pub(super) fn of(state: &ReplicaState, copy_lives: bool) -> Option<Self> {
        let descriptor = &state.descriptor;
        let wipe = || Self {
            shard: descriptor.shard,
            replica: state.replica,
            table: descriptor.table,
            start: descriptor.start.clone(),
            end: descriptor.end.clone(),
            copy_lives,
        };
        (!descriptor.members.is_empty()).then(wipe)
    }

    /// The records of a copy that has ended, in a range that it held.
    pub(super) fn of_range(shard: ShardId, replica: ReplicaId, range: KeyRange) -> Self {
        let KeyRange { table, start, end } = range;
        Self { shard, replica, table, start, end, copy_lives: false }
    }

    fn held(&self) -> Held {
        let range = KeyRange { table: self.table, start: self.start.clone(), end: self.end.clone() };
        Held { range, shard: self.shard, replica: self.replica, content: Content::Garbage }
    }

    /// The ranges of the store's keys that are to be deleted. A later copy of the shard is made only once all are gone.
    fn parts(&self) -> [(Bytes, Bytes); 2] {
        let hints = shard_key(self.shard, state::HINT, &[]);
        let end_of_hints = prefix_end(&hints).unwrap_or_default();
        [(data_key(self.table, &self.start), data_end(self.table, self.end.as_deref())), (hints, end_of_hints)]
    }

    fn key(&self) -> Bytes {
        shard_key(self.shard, state::GARBAGE, &self.replica.0.to_be_bytes())
    }

    fn write(&self) -> EngineWrite {
        EngineWrite::Put(self.key(), codec::encode(self))
    }
}

/// The deletes of one step of a wipe.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slice {
    /// To be made together, with what is to be written when all is gone.
    pub(super) writes: Vec<EngineWrite>,
    /// True if nothing is left of the range then.
    pub(super) is_last: bool,
    /// The copy that waited for this to be the last slice, if one did.
    pub(super) wiped: Option<(ShardId, ReplicaId)>,
}

/// Owner of the ranges to be wiped.
#[derive(Debug, Default)]
pub(super) struct Garbage {
    /// At most one for each copy, in the order in which they came.
    wipes: Vec<Wipe>,
    ranges: Ranges,
    /// True if a replica is to be made once one of these is wiped.
    is_awaited: bool,
}

impl Garbage {
    /// The garbage that the store still holds, from its records.
    pub(super) fn open(wipes: Vec<Wipe>) -> Self {
        let mut garbage = Self::default();
        let wipes = wipes.into_iter().filter(|_| !is_planted(Planted::GarbageForgottenAtOpen));
        wipes.for_each(|wipe| drop(garbage.add(wipe)));
        garbage
    }

    /// The range is to be wiped, from the write on. `None` = that is known.
    pub(super) fn add(&mut self, wipe: Wipe) -> Option<EngineWrite> {
        self.ranges.put(wipe.held());
        let write = wipe.write();
        match self.wipes.iter_mut().find(|known| (known.shard, known.replica) == (wipe.shard, wipe.replica)) {
            Some(known) if *known == wipe => return None,
            // A copy that waited for it has ended.
            Some(known) => *known = wipe,
            None => self.wipes.push(wipe),
        }
        Some(write)
    }

    /// The ranges that are to be wiped.
    pub(super) fn held(&self) -> impl Iterator<Item = &Held> {
        self.ranges.iter()
    }

    /// True if nothing is to be wiped in a range.
    pub(super) fn is_free(&self, range: &KeyRange) -> bool {
        let is_ignored = is_planted(Planted::OverlapIgnored) || is_planted(Planted::GarbageNotAwaited);
        is_ignored || self.ranges.find(range, |_| true).is_none()
    }

    /// A replica is to be made once something is wiped: what is there now, or what a copy that still lives will leave.
    pub(super) fn wait(&mut self) {
        self.is_awaited = true;
    }

    /// True once, if a replica waited for what is wiped now.
    pub(super) fn take_awaited(&mut self) -> bool {
        std::mem::take(&mut self.is_awaited)
    }

    /// True while records of an earlier copy of the shard are still here.
    pub(super) fn is_of(&self, shard: ShardId) -> bool {
        self.wipes.iter().any(|wipe| wipe.shard == shard) && !is_planted(Planted::GarbageNotAwaited)
    }

    /// The deletes of the next so many records, of a range in which nobody has any; `may_wipe` tells. With them go hints that
    /// a copy of the shard kept for others. `None` = there is nothing to wipe.
    pub(super) fn next_slice(
        &mut self,
        records: usize,
        may_wipe: impl Fn(&Held) -> bool,
        engine: &dyn Engine,
    ) -> Result<Option<Slice>, EngineError> {
        let Some(at) = self.wipes.iter().position(|wipe| may_wipe(&wipe.held())) else { return Ok(None) };
        let wipe = &self.wipes[at];
        let records = records.max(1);
        let mut writes = Vec::new();
        for (start, end) in wipe.parts() {
            engine.scan(&start, &end, &mut |key, _| {
                writes.push(EngineWrite::Delete(Bytes::copy_from_slice(key)));
                if writes.len() < records { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            if writes.len() == records {
                break;
            }
        }
        if writes.len() == records {
            return Ok(Some(Slice { writes, is_last: false, wiped: None }));
        }
        let wipe = self.wipes.remove(at);
        self.ranges.remove((wipe.shard, wipe.replica));
        writes.push(EngineWrite::Delete(wipe.key()));
        let wiped = wipe.copy_lives.then_some((wipe.shard, wipe.replica));
        Ok(Some(Slice { writes, is_last: true, wiped }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;
    use crate::map::{Descriptor, Member, Replica as Copy, Role};
    use crate::replica::tests::Memory;

    const SHARD: ShardId = ShardId(7);
    const TABLE: TableId = TableId(1);

    fn wipe(copy_lives: bool) -> Wipe {
        let member = Member { replica: Copy { node: NodeId(1), id: ReplicaId(3) }, role: Role::Voter };
        let descriptor = Descriptor { shard: SHARD, table: TABLE, members: vec![member], ..Descriptor::default() };
        Wipe::of(&ReplicaState::first(ReplicaId(3), descriptor), copy_lives).expect("it has records")
    }

    #[test]
    fn a_copy_that_does_not_know_its_range_has_nothing_to_wipe() {
        for copy_lives in [false, true] {
            assert_eq!(Wipe::of(&ReplicaState::blank(ReplicaId(3), SHARD), copy_lives), None);
        }
    }

    /// Five records, in a store that keeps what is to be wiped too.
    fn store(garbage: &mut Garbage, copy_lives: bool) -> Memory {
        let engine = Memory::default();
        let record = |n: u8| EngineWrite::Put(data_key(TABLE, &[n]), Bytes::from_static(b"v"));
        let writes = (0..5).map(record).chain(garbage.add(wipe(copy_lives))).collect();
        engine.write(writes).expect("it is in memory");
        engine
    }

    fn is_kept(engine: &Memory) -> bool {
        engine.get(&wipe(true).key()).expect("it is in memory").is_some()
    }

    #[test]
    fn garbage_goes_in_slices_and_is_kept_to_its_end() {
        for copy_lives in [false, true] {
            let mut garbage = Garbage::default();
            let engine = store(&mut garbage, copy_lives);
            for deletes in [2, 2, 2] {
                assert!(garbage.is_of(SHARD) && is_kept(&engine));
                let slice = garbage.next_slice(2, |_| true, &engine).expect("it is in memory").expect("there is more");
                assert_eq!(slice.writes.len(), deletes);
                let wiped = (!garbage.is_of(SHARD) && copy_lives).then_some((SHARD, ReplicaId(3)));
                assert_eq!(slice.wiped, wiped);
                engine.write(slice.writes).expect("it is in memory");
            }
            assert!(!garbage.is_of(SHARD) && !is_kept(&engine));
            assert_eq!(garbage.next_slice(2, |_| true, &engine), Ok(None));
        }
    }

    #[test]
    fn hints_of_a_copy_that_has_ended_go_with_its_records() {
        let mut garbage = Garbage::default();
        let engine = store(&mut garbage, false);
        let hint = |shard, number: u8| shard_key(shard, state::HINT, &[number]);
        let others = hint(ShardId(8), 1);
        let hints = (0..5).map(|number| hint(SHARD, number)).chain([others.clone()]);
        let hints = hints.map(|key| EngineWrite::Put(key, Bytes::from_static(b"v"))).collect();
        engine.write(hints).expect("it is in memory");
        let mut slices = 0;
        while let Some(slice) = garbage.next_slice(3, |_| true, &engine).expect("it is in memory") {
            slices += 1;
            assert!(slice.writes.len() <= 3 && slice.is_last == (slices == 4), "{slice:?}");
            engine.write(slice.writes).expect("it is in memory");
        }
        assert_eq!(slices, 4);
        assert!((0..5).all(|number| engine.get(&hint(SHARD, number)).expect("it is in memory").is_none()));
        assert!(engine.get(&others).expect("it is in memory").is_some(), "another shard's");
    }

    #[test]
    fn what_is_to_be_wiped_is_noted_once_and_read_as_it_was_written() {
        let mut garbage = Garbage::default();
        let Some(EngineWrite::Put(_, bytes)) = garbage.add(wipe(true)) else { panic!("it is new") };
        assert_eq!(Wipe::decode(&bytes), Ok(wipe(true)));
        assert_eq!(garbage.add(wipe(true)), None);
        let upside_down = Wipe { start: Bytes::from_static(b"b"), end: Some(Bytes::from_static(b"a")), ..wipe(true) };
        assert!(Wipe::decode(&codec::encode(&upside_down)).is_err());
    }

    #[test]
    fn nothing_is_wiped_where_somebody_has_records_and_the_others_get_their_turn() {
        let mut garbage = Garbage::default();
        let engine = store(&mut garbage, false);
        let other = Wipe { replica: ReplicaId(4), table: TableId(2), ..wipe(false) };
        assert!(garbage.add(other).is_some());
        let is_of_other = |held: &Held| held.replica == ReplicaId(4);
        let slice = garbage.next_slice(2, is_of_other, &engine).expect("it is in memory").expect("it is free");
        assert!(slice.is_last);
        assert_eq!(garbage.next_slice(2, is_of_other, &engine), Ok(None));
        assert!(garbage.is_of(SHARD) && is_kept(&engine), "it waits");
    }

    #[test]
    fn a_range_is_free_once_nothing_is_to_be_wiped_in_any_part_of_it() {
        let mut garbage = Garbage::default();
        let engine = store(&mut garbage, false);
        let end = Some(Bytes::from_static(b"n"));
        let part = KeyRange { table: TABLE, start: Bytes::from_static(b"m"), end };
        assert!(garbage.is_free(&KeyRange { table: TableId(2), ..part.clone() }) && !garbage.is_free(&part));
        assert!(!garbage.take_awaited());
        garbage.wait();
        assert!(garbage.take_awaited() && !garbage.take_awaited());
        garbage.next_slice(9, |_| true, &engine).expect("it is in memory");
        assert!(garbage.is_free(&part) && garbage.held().count() == 0);
    }

    #[test]
    fn the_remains_of_a_copy_that_ends_are_wiped_once_and_nobody_waits_for_them() {
        let mut garbage = Garbage::default();
        let engine = store(&mut garbage, true);
        assert!(garbage.add(wipe(false)).is_some());
        let slice = garbage.next_slice(9, |_| true, &engine).expect("it is in memory").expect("there are some");
        assert_eq!((slice.is_last, slice.wiped), (true, None));
        assert_eq!(garbage.next_slice(9, |_| true, &engine), Ok(None));
    }
}
