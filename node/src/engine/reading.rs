//! Reads a store through, to see whether all of it can be read. Every record that lies in it is compared with its checksum by
//! the engine on the way.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use skerry_core::engine::{Engine, EngineError};
use tracing::info;

use super::is_damage_told_by;
use crate::panics;

/// A store that takes longer is read as far as that, and then used as before: its copies are missed meanwhile.
const TIME_MAX: Duration = Duration::from_secs(15 * 60);
/// Between two lines of the log that tell how far it has come.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// So many records are read between two looks at the clock.
const LOOK_EVERY: u64 = 1_024;
/// Past every key: families of keys are letters.
const PAST_ALL: [u8; 1] = [0xff];

/// What came of reading a store through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// All of it can be read.
    Whole {
        /// Number of records that the store has.
        records: u64,
    },
    /// What was read in the time for it can be read.
    Cut {
        /// Number of records that were read in that time.
        records: u64,
    },
}

/// Reads everything in a store, whose files lie in this folder. An error that is damage says that it does not hold what was
/// written.
pub fn read_through(engine: &dyn Engine, folder: &Path) -> Result<Reading, EngineError> {
    read_for(engine, folder, TIME_MAX)
}

fn read_for(engine: &dyn Engine, folder: &Path, time_max: Duration) -> Result<Reading, EngineError> {
    let (began, mut told) = (Instant::now(), Instant::now());
    let (mut records, mut bytes, mut is_cut) = (0_u64, 0_u64, false);
    let mut visit = |key: &[u8], value: &[u8]| {
        records += 1;
        bytes += (key.len() + value.len()) as u64;
        if !records.is_multiple_of(LOOK_EVERY) {
            return ControlFlow::Continue(());
        }
        if told.elapsed() >= TOLD_EVERY {
            told = Instant::now();
            info!(records, bytes, seconds = began.elapsed().as_secs(), "store is being read through");
        }
        is_cut = began.elapsed() >= time_max;
        if is_cut { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    match panics::catch(|| engine.scan(&[], &PAST_ALL, &mut visit)) {
        Ok(read) => read?,
        Err(panic) if is_damage_told_by(&panic, folder) => {
            return Err(EngineError::damaged(format!("it panicked while it was read through: {panic}")));
        }
        Err(panic) => return Err(EngineError::failed(format!("it panicked while it was read through: {panic}"))),
    }
    Ok(if is_cut { Reading::Cut { records } } else { Reading::Whole { records } })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use skerry_core::engine::EngineWrite;

    use super::*;
    use crate::engine::{self, EngineKind};

    #[test]
    fn all_records_are_read_as_far_as_there_is_time() {
        for kind in [EngineKind::Sled, EngineKind::Fjall] {
            let folder = tempfile::tempdir().unwrap();
            let engine = engine::open(kind, folder.path(), 1 << 20).unwrap();
            let record = |n: u64| EngineWrite::Put(Bytes::copy_from_slice(&n.to_be_bytes()), Bytes::from_static(b"v"));
            engine.write((0..3 * LOOK_EVERY).map(record).collect()).unwrap();
            let read = |time_max| read_for(engine.as_ref(), folder.path(), time_max).unwrap();
            assert_eq!(read(TIME_MAX), Reading::Whole { records: 3 * LOOK_EVERY });
            assert_eq!(read(Duration::ZERO), Reading::Cut { records: LOOK_EVERY });
        }
    }
}
