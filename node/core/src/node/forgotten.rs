//! Copies that were on this node and of which nothing is left, since its store is lost: it cannot name them, and must
//! never speak for one of them again.
//!
//! Replica ids rise, and whatever this node ever spoke for was given before this start of it was registered. So once the
//! map names this start, every id up to the highest that was given by then may be one of those, and any later one is new.
//! Until then no copy is made here at all.

use serde::{Deserialize, Serialize};

use crate::codec::{self, Undecodable};
use crate::engine::{Engine, EngineError, EngineWrite, own, own_key};
use crate::ids::ReplicaId;
use crate::map::Map;
use crate::node::Identity;
use crate::planted::{Planted, is_planted};

/// Which copies these may be. Kept in the store from then on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Forgotten {
    /// None: the store is as old as the node.
    #[default]
    Nothing,
    /// Any that the map names here, until the map names this start.
    Any,
    /// Any copy with an id up to this one.
    UpTo(ReplicaId),
}

impl Forgotten {
    /// Number of kinds in the encoding.
    const KINDS: u8 = 3;

    /// As the store has it, or as it is from now on.
    pub(super) fn open(is_store_new: bool, engine: &dyn Engine) -> Result<Self, EngineError> {
        if is_store_new && !is_planted(Planted::EmptiedTakenForNew) {
            Self::Any.keep(engine)?;
            return Ok(Self::Any);
        }
        match engine.get(&own_key(own::FORGOTTEN))? {
            Some(bytes) => codec::decode("forgotten copies", &bytes).map_err(|error| {
                let is_newer = error.is_newer || codec::is_newer(&bytes, Self::KINDS);
                EngineError::unreadable(Undecodable { is_newer, ..error })
            }),
            None => Ok(Self::Nothing),
        }
    }

    /// True if this node may have spoken for this copy and not know it.
    pub(super) fn may_be(self, replica: ReplicaId) -> bool {
        match self {
            Self::Nothing => false,
            Self::Any => true,
            Self::UpTo(highest) => replica <= highest,
        }
    }

    /// True while it is not known which copies these may be.
    pub(super) fn is_open(self) -> bool {
        self == Self::Any
    }

    /// It is certain that the map has this start. Not durable at once: without it, all are refused again after a crash, until a map comes.
    pub(super) fn bound(&mut self, own: &Identity, map: &Map, engine: &dyn Engine) -> Result<(), EngineError> {
        let is_registered = map.nodes.get(&own.node).is_some_and(|record| record.incarnation >= own.incarnation);
        if *self == Self::Any && is_registered {
            *self = Self::UpTo(map.replica_max());
            self.keep(engine)?;
        }
        Ok(())
    }

    fn keep(self, engine: &dyn Engine) -> Result<(), EngineError> {
        engine.write(vec![EngineWrite::Put(own_key(own::FORGOTTEN), codec::encode(&self))])
    }
}

#[cfg(test)]
mod tests;
