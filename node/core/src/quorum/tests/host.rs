//! One node of the tests' world: a store and a log that lose what was not durable, and the copy that runs on them.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::super::layout::Layout;
use super::super::merkle::{Grid, Tree};
use super::super::replica::{Here, Out, QuorumReplica, QuorumState};
use crate::engine::{Engine, EngineError, data_end, data_key, encoded_key, shard_key, state};
use crate::ids::{Incarnation, ReplicaId, ShardId, TableId};
use crate::log::{LogCut, LogEntry, LogWrite, RecoveredLog};
use crate::map::Descriptor;
use crate::record::Stored;
use crate::replica::tests::Memory;

pub(super) const SHARD: ShardId = ShardId(3);
const TABLE: TableId = TableId(1);

/// What a node's log keeps of one copy.
#[derive(Default)]
struct Log {
    is_known: bool,
    start: (u64, u64),
    entries: Vec<LogEntry>,
    /// Writes that are not durable yet, by the sequence of their batch.
    pending: VecDeque<(u64, LogWrite)>,
}

impl Log {
    fn write(&mut self, write: LogWrite) {
        self.is_known = true;
        if let Some(start) = write.reset {
            self.start = start;
            self.entries.clear();
        }
        for entry in write.entries {
            let at = entry.index.checked_sub(self.start.0 + 1).expect("it is above the log's start");
            self.entries.truncate(usize::try_from(at).expect("there are few"));
            assert_eq!(self.entries.len() as u64, at, "entries leave no gap");
            self.entries.push(entry);
        }
    }

    /// All is durable. Gives the sequence of the last batch.
    fn durable(&mut self) -> Option<u64> {
        let last = self.pending.back().map(|(sequence, _)| *sequence);
        std::mem::take(&mut self.pending).into_iter().for_each(|(_, write)| self.write(write));
        last
    }

    /// The machine crashed: of what was not durable the first are there.
    fn crash(&mut self, kept: usize) {
        let pending = std::mem::take(&mut self.pending);
        pending.into_iter().take(kept).for_each(|(_, write)| self.write(write));
    }

    fn cut(&mut self, cut: LogCut) {
        let forgotten = cut.start.0.saturating_sub(self.start.0);
        self.entries.drain(..usize::try_from(forgotten).expect("there are few"));
        self.start = cut.start;
    }

    fn recovered(&self, replica: ReplicaId) -> Option<RecoveredLog> {
        let log = RecoveredLog { replica, start: self.start, entries: self.entries.clone(), ..RecoveredLog::default() };
        self.is_known.then_some(log)
    }
}

pub(super) struct Host {
    pub(super) id: ReplicaId,
    starts: u64,
    pub(super) engine: Memory,
    log: Log,
    sequence: u64,
    mark: u64,
    /// A sync that runs: its mark, and the batches that it covers.
    syncing: Option<(u64, u64)>,
    /// `None` = it has no copy.
    pub(super) replica: Option<QuorumReplica>,
}

fn descriptor() -> Descriptor {
    Descriptor { shard: SHARD, table: TABLE, ..Descriptor::default() }
}

impl Host {
    pub(super) fn new(id: ReplicaId) -> Self {
        let (engine, log) = Default::default();
        Self { id, starts: 1, engine, log, sequence: 0, mark: 0, syncing: None, replica: None }
    }

    /// A first copy of the shard, durably.
    pub(super) fn found(&mut self, layout: Layout) {
        self.make(QuorumState::first(self.id, &descriptor(), layout));
        self.begin_sync();
        self.finish_sync();
    }

    /// A copy that comes new. It says nothing until its store is synced.
    pub(super) fn come(&mut self, layout: Layout) {
        self.make(QuorumState::coming(self.id, &descriptor(), layout));
    }

    fn make(&mut self, state: QuorumState) {
        self.engine.write(vec![state.write()]).expect("it is in memory");
        let mut replica = self.open(state);
        replica.hold_until(self.mark + 1);
        self.replica = Some(replica);
    }

    fn open(&self, state: QuorumState) -> QuorumReplica {
        let log = self.log.recovered(self.id);
        QuorumReplica::open(state, log, Incarnation(self.starts), &self.engine).expect("log and store fit")
    }

    /// The machine crashes and starts again. Of what store and log did not have durably so many batches are there.
    pub(super) fn crash(&mut self, kept: (usize, usize)) {
        self.starts += 1;
        self.syncing = None;
        self.engine.crash(kept.0);
        self.log.crash(kept.1);
        let stored = self.engine.get(&shard_key(SHARD, state::QUORUM, &[])).expect("it is in memory");
        self.replica = stored.map(|stored| self.open(QuorumState::decode_of(SHARD, &stored).expect("it was written")));
        if let Some(replica) = &self.replica {
            assert!(replica.view().sum.is_none_or(|sum| sum == self.counted()), "sums are those of the records");
        } else {
            assert!(!self.log.is_known, "a copy that is not durable writes nothing");
        }
    }

    /// The copy is handed something. What it then wants of its log, it gets.
    pub(super) fn call(
        &mut self,
        here: impl FnOnce(&Memory, &mut dyn FnMut(&Here<'_>)),
        call: impl FnOnce(&mut QuorumReplica, &Here<'_>, &mut Out) -> Result<(), EngineError>,
    ) -> Out {
        let (mut out, mut call) = (Out::default(), Some(call));
        let Some(replica) = &mut self.replica else { return out };
        here(&self.engine, &mut |here| {
            let call = call.take().expect("once");
            call(replica, here, &mut out).expect("it is in memory");
        });
        self.sequence += 1;
        replica.collect(self.sequence, &mut out);
        self.log.pending.extend(out.log.take().map(|write| (self.sequence, write)));
        out
    }

    /// All that the log has is durable. Gives the sequence that the copy is to be told.
    pub(super) fn log_durable(&mut self) -> Option<u64> {
        self.log.durable()
    }

    pub(super) fn begin_sync(&mut self) {
        if self.syncing.is_none() {
            self.mark += 1;
            if let Some(replica) = &mut self.replica {
                replica.sync_begins(self.mark, &self.engine).expect("it is in memory");
            }
            self.syncing = Some((self.mark, self.engine.written()));
        }
    }

    pub(super) fn finish_sync(&mut self) {
        let Some((mark, written)) = self.syncing.take() else { return };
        self.engine.finish_sync(written);
        if let Some(replica) = &mut self.replica {
            replica.sync_finished(mark);
            if let Some(cut) = replica.cut() {
                self.log.cut(cut);
            }
        }
    }

    /// The sum of the records, counted anew.
    pub(super) fn counted(&self) -> u128 {
        let mut tree = Tree::new(SHARD, Grid::even(&[], None));
        self.records().iter().for_each(|(key, record)| tree.changed(key, None, Some(record)));
        tree.root()
    }

    pub(super) fn records(&self) -> Vec<(Bytes, Stored)> {
        let mut records = Vec::new();
        let mut visit = |key: &[u8], value: &[u8]| {
            let record = Stored::decode(&Bytes::copy_from_slice(value)).expect("it was written");
            records.push((Bytes::copy_from_slice(encoded_key(key)), record));
            ControlFlow::Continue(())
        };
        self.engine.scan(&data_key(TABLE, b""), &data_end(TABLE, None), &mut visit).expect("it is in memory");
        records
    }
}
