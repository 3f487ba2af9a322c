//! Which records are to be looked at for those that have ended: a bounded number at a time, in passes over all of them,
//! and only while there may be any.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::command::{Command, Condition, Expected, Mutation};
use crate::engine::{Engine, EngineError, data_end, data_key, encoded_key};
use crate::map::Descriptor;
use crate::record;
use crate::replica::state_machine::sizes::size_of;

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

/// One sweep through all records of the shard.
#[derive(Debug)]
struct Pass {
    cursor: Bytes,
    /// The earliest end of a record that was seen, or put since it began.
    soonest: Option<u64>,
}

/// What a look at one slice of the records has found.
#[derive(Debug, Default)]
pub(in crate::replica) struct Slice {
    looked_at: usize,
    /// Records that are no tombstones, and their bytes.
    live: (u64, u64),
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

    /// True if there is something to look at. `is_wanted` = a pass is wanted, whatever has ended.
    pub(super) fn is_due(&self, applied: u64, now_ms: u64, is_wanted: bool) -> bool {
        let is_over = self.soonest.is_some_and(|soonest| soonest <= now_ms);
        applied >= self.under_way && (self.pass.is_some() || !self.is_known || is_over || is_wanted)
    }

    /// Looks at the next records of a shard.
    pub(super) fn look(&self, shard: &Descriptor, engine: &dyn Engine, now_ms: u64) -> Result<Slice, EngineError> {
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
            let size = size_of(key, stored);
            slice.live = (slice.live.0 + u64::from(size > 0), slice.live.1 + size);
            match record::expires_ms(stored) {
                Some(at) if at <= now_ms => slice.ended.push(Bytes::copy_from_slice(encoded_key(key))),
                later => slice.soonest = earlier(slice.soonest, later),
            }
            ControlFlow::Continue(())
        })?;
        Ok(slice)
    }

    /// A slice is done, its deletes are in the entry of this index, if there are any.
    pub(super) fn done(&mut self, slice: Slice, entry: Option<u64>) {
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

impl Slice {
    /// Records that it has found, and their bytes.
    pub(super) fn live(&self) -> (u64, u64) {
        self.live
    }

    /// Where the next slice begins. `None` = this was the last.
    pub(super) fn next(&self) -> Option<&Bytes> {
        self.next.as_ref()
    }

    /// The deletes of what has ended.
    pub(in crate::replica) fn deletes(&self) -> Vec<Command> {
        self.ended.iter().cloned().map(delete_ended).collect()
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
