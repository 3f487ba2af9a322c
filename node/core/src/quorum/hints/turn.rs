//! What is sent of the hints for one copy, a bounded piece at a time.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::{GENERATION_BYTES, Hint, Hints, SHARD_KEY_BYTES, TURN_BYTES_MAX, TURN_HINTS_MAX, read};
use crate::engine::{Engine, EngineError, EngineWrite};
use crate::ids::{Generation, ReplicaId};
use crate::key::prefix_end;
use crate::time::Version;

/// One turn through the hints for a copy.
#[derive(Debug, Default)]
pub struct Turn {
    /// To be sent, under the generation that was asked for.
    pub send: Vec<Hint>,
    /// What goes because it is stale.
    pub writes: Vec<EngineWrite>,
    /// The key to go on from. `None` = that was all.
    pub next: Option<Bytes>,
}

impl Hints {
    /// A copy takes a hint no more, since it is not above its bar. What it lacks of it a round or a comparison brings.
    ///
    /// # Errors
    ///
    /// Of the store.
    pub fn refused(
        &mut self,
        to: ReplicaId,
        sent: &Hint,
        engine: &dyn Engine,
    ) -> Result<Vec<EngineWrite>, EngineError> {
        let mut writes = self.confirmed(to, sent, engine)?;
        if !writes.is_empty() {
            writes.push(self.lose(to));
        }
        Ok(writes)
    }

    /// The next hints for a copy, from a key on. Those of another generation are stale: no copy takes them, and all must be
    /// compared with it instead, as with what cannot be read. Those at or below the tombstone floor are everywhere, or ended
    /// for ever.
    ///
    /// # Errors
    ///
    /// Of the store.
    pub fn turn(
        &mut self,
        to: ReplicaId,
        from: &[u8],
        generation: Generation,
        floor: Version,
        engine: &dyn Engine,
    ) -> Result<Turn, EngineError> {
        self.forget_written(engine)?;
        let (mut turn, mut stale, mut looked, mut bytes) = (Turn::default(), Vec::new(), 0, 0);
        let end = prefix_end(&self.key(to, &[])).unwrap_or_default();
        let given = &self.given;
        engine.scan(&self.key(to, from), &end, &mut |at, value| {
            let key = Bytes::copy_from_slice(&at[SHARD_KEY_BYTES + 8..]);
            if looked == TURN_HINTS_MAX || bytes >= TURN_BYTES_MAX {
                turn.next = Some(key);
                return ControlFlow::Break(());
            }
            looked += 1;
            let value = match given.get(at) {
                None => Bytes::copy_from_slice(value),
                Some(Some(given)) => given.clone(),
                Some(None) => return ControlFlow::Continue(()),
            };
            let current = read(&value).filter(|(of, _)| *of == generation);
            if current.as_ref().is_some_and(|(_, record)| record.newest.stamp.version > floor) {
                bytes += key.len() + value.len();
                turn.send.push(Hint { key, record: value.slice(GENERATION_BYTES..) });
            } else {
                stale.push((Bytes::copy_from_slice(at), key.len() + value.len(), current.is_some()));
            }
            ControlFlow::Continue(())
        })?;
        if stale.iter().any(|(.., is_current)| !is_current) {
            turn.writes.push(self.lose(to));
        }
        for (at, bytes, _) in stale {
            self.forget(to, bytes);
            turn.writes.push(self.delete(at));
        }
        Ok(turn)
    }
}
