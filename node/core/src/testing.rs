//! A store in memory, for the tests of this crate and for the simulator: it loses what was not synced, as a disk may.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use crate::engine::{Engine, EngineError, EngineWrite};

/// What a store holds: values by key.
pub type Records = BTreeMap<Bytes, Bytes>;

#[derive(Debug, Default)]
struct Inner {
    now: Records,
    durable: Records,
    unsynced: VecDeque<Vec<EngineWrite>>,
    /// Batches that became durable so far.
    synced: u64,
}

impl Inner {
    fn make_durable(&mut self) -> bool {
        let Some(batch) = self.unsynced.pop_front() else { return false };
        for write in batch {
            apply(&mut self.durable, &write);
        }
        self.synced += 1;
        true
    }
}

/// Makes one change. Returns the value that the key had before.
fn apply(records: &mut Records, write: &EngineWrite) -> Option<Bytes> {
    match write {
        EngineWrite::Put(key, value) => records.insert(key.clone(), value.clone()),
        EngineWrite::Delete(key) => records.remove(key),
    }
}

/// An ordered store in memory. After a crash it holds a prefix of the batches, at least those that were synced.
#[derive(Debug, Default)]
pub struct MemoryEngine(RefCell<Inner>);

impl MemoryEngine {
    /// A store that holds these records, durably.
    pub fn holding(records: Records) -> Self {
        Self(RefCell::new(Inner { now: records.clone(), durable: records, ..Inner::default() }))
    }

    /// What it holds now, synced or not.
    pub fn records(&self) -> Records {
        self.0.borrow().now.clone()
    }

    /// The value that a crash now would leave of a key. `None` = perhaps none.
    pub fn durable(&self, key: &[u8]) -> Option<Bytes> {
        self.0.borrow().durable.get(key).cloned()
    }

    /// Batches written so far: what a sync that begins now will cover.
    pub fn written(&self) -> u64 {
        let inner = self.0.borrow();
        inner.synced + inner.unsynced.len() as u64
    }

    /// Batches that a crash now may lose.
    pub fn unsynced(&self) -> usize {
        self.0.borrow().unsynced.len()
    }

    /// A sync that began at `written` batches has finished.
    pub fn finish_sync(&self, written: u64) {
        let mut inner = self.0.borrow_mut();
        while inner.synced < written && inner.make_durable() {}
    }

    /// The machine crashed: of what was not synced the first `kept` batches are there, and no more.
    pub fn crash(&self, kept: usize) {
        let mut inner = self.0.borrow_mut();
        for _ in 0..kept.min(inner.unsynced.len()) {
            inner.make_durable();
        }
        inner.unsynced.clear();
        inner.now = inner.durable.clone();
    }

    /// Like [`Engine::write`]; tells each change, and the value that its key had before.
    pub fn write_told(&self, batch: Vec<EngineWrite>, mut changed: impl FnMut(&EngineWrite, Option<Bytes>)) {
        let mut inner = self.0.borrow_mut();
        for write in &batch {
            let before = apply(&mut inner.now, write);
            changed(write, before);
        }
        inner.unsynced.push_back(batch);
    }
}

impl Engine for MemoryEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.0.borrow().now.get(key).cloned())
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        if start >= end {
            return Ok(());
        }
        for (key, value) in self.0.borrow().now.range::<[u8], _>((Bound::Included(start), Bound::Excluded(end))) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, batch: Vec<EngineWrite>) -> Result<(), EngineError> {
        self.write_told(batch, |_, _| ());
        Ok(())
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.finish_sync(self.written());
        Ok(())
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(store: &MemoryEngine, key: &'static str, value: &'static str) {
        store.write(vec![EngineWrite::Put(key.into(), value.into())]).unwrap();
    }

    #[test]
    fn a_crash_leaves_what_was_synced_and_the_first_of_what_was_not() {
        let store = MemoryEngine::default();
        put(&store, "a", "1");
        let begun = store.written();
        put(&store, "a", "2");
        put(&store, "b", "3");
        store.finish_sync(begun);
        assert_eq!((store.unsynced(), store.durable(b"a")), (2, Some("1".into())));
        store.crash(1);
        assert_eq!(store.records(), Records::from([("a".into(), "2".into())]));
        assert_eq!((store.written(), store.unsynced()), (2, 0));
        store.write(vec![EngineWrite::Delete("a".into())]).unwrap();
        store.crash(0);
        assert_eq!(store.get(b"a").unwrap(), Some("2".into()));
    }

    #[test]
    fn each_change_is_told_with_the_value_before() {
        let (store, mut told) = (MemoryEngine::holding(Records::from([("a".into(), "1".into())])), Vec::new());
        let batch = vec![EngineWrite::Put("a".into(), "2".into()), EngineWrite::Delete("b".into())];
        store.write_told(batch, |_, before| told.push(before));
        assert_eq!(told, [Some("1".into()), None]);
        assert_eq!(store.durable(b"a"), Some("1".into()));
    }
}
