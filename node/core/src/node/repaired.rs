//! Bytes that copies of quorum shards take by repairs while the disk is nearly full. The store has a note of them, a piece
//! ahead: else a node that starts again and again would take as much each time, until the disk is full.

use bytes::Bytes;

use crate::engine::{Engine, EngineError, EngineWrite, own, own_key};
use crate::planted::{Planted, is_planted};

/// Much for readers that wait, and little of what is kept for deletes.
const BYTES_MAX: usize = 16 << 20;
/// What is noted at a time: each note costs a write of the store, and each start may lose so much of what is left.
const PIECE_BYTES: usize = 1 << 20;

/// Owner of what was taken since the disk is nearly full.
#[derive(Debug, Default)]
pub(super) struct Repaired {
    taken: usize,
    /// What the store has.
    noted: usize,
}

impl Repaired {
    /// As the start before has left it.
    ///
    /// # Errors
    ///
    /// Of the store.
    pub(super) fn open(engine: &dyn Engine) -> Result<Self, EngineError> {
        let noted = engine.get(&own_key(own::REPAIRED))?;
        let bytes = noted.and_then(|noted| noted.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes)));
        let noted = bytes.map_or(0, |bytes| usize::try_from(bytes).unwrap_or(BYTES_MAX).min(BYTES_MAX));
        let taken = if is_planted(Planted::RepairsForgotten) { 0 } else { noted };
        Ok(Self { taken, noted })
    }

    /// Bytes that may still be taken.
    pub(super) fn room(&self) -> usize {
        BYTES_MAX.saturating_sub(self.taken)
    }

    /// So many bytes were taken.
    pub(super) fn take(&mut self, bytes: usize) {
        self.taken = self.taken.saturating_add(bytes);
    }

    /// So many of these bytes have turned out to change nothing.
    pub(super) fn give_back(&mut self, bytes: usize) {
        self.taken = self.taken.saturating_sub(bytes);
    }

    /// The disk has room again.
    pub(super) fn begin_anew(&mut self) {
        self.taken = 0;
    }

    /// What the store is to note now. `None` = what it has is enough.
    pub(super) fn note(&mut self) -> Option<EngineWrite> {
        let due = self.taken.min(BYTES_MAX).next_multiple_of(PIECE_BYTES);
        if due == 0 && self.noted > 0 {
            self.noted = 0;
            return Some(EngineWrite::Delete(own_key(own::REPAIRED)));
        }
        if due <= self.noted {
            return None;
        }
        self.noted = due;
        let bytes = Bytes::copy_from_slice(&(due as u64).to_be_bytes());
        Some(EngineWrite::Put(own_key(own::REPAIRED), bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::tests::Memory;

    fn note(repaired: &mut Repaired, engine: &Memory) -> bool {
        let write = repaired.note();
        let is_due = write.is_some();
        engine.write(write.into_iter().collect()).unwrap();
        is_due
    }

    /// Bytes that a disk takes by repairs though its node starts anew after each of them.
    fn taken_over_restarts() -> usize {
        let (engine, mut taken) = (Memory::default(), 0);
        for _ in 0..100 {
            let mut repaired = Repaired::open(&engine).unwrap();
            let bytes = repaired.room().min(400 << 10);
            repaired.take(bytes);
            taken += bytes;
            note(&mut repaired, &engine);
        }
        taken
    }

    #[test]
    fn a_full_disk_takes_no_more_by_repairs_however_often_its_node_starts() {
        assert!((1..=BYTES_MAX).contains(&taken_over_restarts()));
    }

    #[test]
    fn what_is_taken_is_noted_a_piece_ahead_until_there_is_room() {
        let (engine, mut repaired) = (Memory::default(), Repaired::default());
        assert!(!note(&mut repaired, &engine));
        repaired.take(7);
        assert!(note(&mut repaired, &engine));
        repaired.take(PIECE_BYTES - 7);
        assert!(!note(&mut repaired, &engine), "that is noted");
        repaired.give_back(PIECE_BYTES - 9);
        assert_eq!(repaired.room(), BYTES_MAX - 9);
        let mut other = Repaired::open(&engine).unwrap();
        assert_eq!(other.room(), BYTES_MAX - PIECE_BYTES);
        other.take(usize::MAX);
        assert!(other.room() == 0 && note(&mut other, &engine) && !note(&mut other, &engine));
        other.begin_anew();
        assert!(note(&mut other, &engine) && !note(&mut other, &engine));
        assert_eq!(Repaired::open(&engine).unwrap().room(), BYTES_MAX);
    }

    #[cfg(feature = "planted")]
    #[test]
    fn repairs_that_a_start_forgets_are_noticed() {
        crate::planted::plant(Some(Planted::RepairsForgotten));
        let taken = taken_over_restarts();
        crate::planted::plant(None);
        assert!(taken > BYTES_MAX);
    }
}
