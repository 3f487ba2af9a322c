//! The format level that this node knows to be enabled. It is kept in the store: a node that starts anew goes on with it
//! before it has a map, and an older program is kept from the store.

use bytes::Bytes;

use crate::codec::{self, Undecodable};
use crate::engine::{EngineWrite, own, own_key};
use crate::level::{FormatLevel, LevelTooHigh};
use crate::map::NodeRecord;

/// Owner of what is known of levels.
#[derive(Debug)]
pub(super) struct Levels {
    enabled: FormatLevel,
    highest: FormatLevel,
}

impl Levels {
    /// As the store has it.
    ///
    /// # Errors
    ///
    /// Of a store that only a newer program can read.
    pub(super) fn open(enabled: FormatLevel, highest: FormatLevel) -> Result<Self, LevelTooHigh> {
        highest.admit(enabled).map(|()| Self { enabled, highest })
    }

    /// The level that is enabled, as far as this node knows.
    pub(super) fn enabled(&self) -> FormatLevel {
        self.enabled
    }

    /// The highest that this node reads and writes.
    pub(super) fn highest(&self) -> FormatLevel {
        self.highest
    }

    /// Takes over what the map says; nothing is lowered.
    ///
    /// # Errors
    ///
    /// Of a level that this node does not have: it was started with an older program just as the level was enabled.
    pub(super) fn learn(&mut self, enabled: FormatLevel) -> Result<(), LevelTooHigh> {
        self.highest.admit(enabled)?;
        self.enabled = self.enabled.max(enabled);
        Ok(())
    }
}

/// The store's record of the nodes that this one knows, and of the level that is enabled, for its next start. A program
/// that has only the first level refuses the record of a later one, and so the store.
pub(super) fn nodes_write(enabled: FormatLevel, nodes: Vec<NodeRecord>) -> EngineWrite {
    let value = match enabled {
        FormatLevel::FIRST => codec::encode(&nodes),
        later => codec::encode_extended(&(later, nodes)),
    };
    EngineWrite::Put(own_key(own::NODES), value)
}

/// What [`nodes_write`] has kept. `None` = the store is a new one.
pub(super) fn known(stored: Option<Bytes>) -> Result<(FormatLevel, Vec<NodeRecord>), Undecodable> {
    let Some(bytes) = stored else { return Ok((FormatLevel::FIRST, Vec::new())) };
    match codec::decode_extended("known nodes", &bytes)? {
        Some(known) => Ok(known),
        None => Ok((FormatLevel::FIRST, codec::decode("known nodes", &bytes)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(enabled: FormatLevel) -> Bytes {
        let EngineWrite::Put(_, value) = nodes_write(enabled, Vec::new()) else { panic!("it is kept") };
        value
    }

    #[test]
    fn what_is_enabled_is_kept_and_the_first_level_as_the_first_releases_keep_it() {
        for level in [FormatLevel::FIRST, FormatLevel(2), FormatLevel(3)] {
            assert_eq!(known(Some(stored(level))), Ok((level, Vec::new())));
        }
        assert_eq!(known(None), Ok((FormatLevel::FIRST, Vec::new())));
        assert_eq!(stored(FormatLevel::FIRST), codec::encode(&Vec::<NodeRecord>::new()));
        assert!(codec::decode::<Vec<NodeRecord>>("known nodes", &stored(FormatLevel(2))).unwrap_err().is_newer);
    }

    #[test]
    fn what_is_enabled_only_rises_and_never_above_what_the_program_has() {
        let mut levels = Levels::open(FormatLevel(2), FormatLevel(3)).unwrap();
        levels.learn(FormatLevel::FIRST).unwrap();
        assert_eq!(levels.enabled(), FormatLevel(2));
        assert!(levels.learn(FormatLevel(4)).is_err());
        assert_eq!(levels.enabled(), FormatLevel(2));
        assert!(Levels::open(FormatLevel(4), FormatLevel(3)).is_err());
    }
}
