//! Starts of the release before this one on stores that it cannot read: somebody has set the image back though the database
//! has a format level of this release. Such a start is refused and changes nothing, and the next one is of the right release.
//! As the shell does, a store that is told to be damaged is put aside.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use skerry_core::ids::NodeId;
use skerry_core::level::FormatLevel;

use crate::hardship::Hardship;
use crate::host::{Host, Lost, Start};
use crate::world::World;

/// The share of starts before which the release before is tried.
const STARTS: f64 = 0.25;

/// Owner of which starts are tried so.
pub(crate) struct RolledBack(ChaCha8Rng);

impl RolledBack {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed ^ 0x2011_2065))
    }
}

impl World {
    /// Perhaps tries to start the release before, and says what is lost to the start that follows.
    pub(super) fn try_rolled_back(&mut self, id: NodeId, lost: Lost) -> Lost {
        let is_hit =
            self.is_troubled && self.setting.has(Hardship::RolledBack) && self.rolled_back.0.random_bool(STARTS);
        let newest = self.setting.newest_level();
        let others = self.hosts.values().filter(|host| host.id != id && !host.gone).map(Host::record).collect();
        let start = Start { seed: self.seed, time: self.time, setting: &self.setting };
        let Some(host) = self.hosts.get_mut(&id).filter(|host| is_hit && host.highest_level == newest) else {
            return lost;
        };
        let Err(refused) = host.open(&host.engine.fork(), &start, lost.clone(), FormatLevel::FIRST) else {
            return lost;
        };
        let lost = if refused.is_damage {
            host.put_store_aside(others);
            Lost::Store
        } else {
            lost
        };
        self.has_struck(Hardship::RolledBack);
        self.mark(&format!("{id}: the release before does not start: {refused}"));
        lost
    }
}
