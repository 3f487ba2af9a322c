//! Nodes of two releases: this one, and the one before, which has the first format level alone.
//!
//! A node goes back to the release before only while another has that release: else the level of this one may be enabled
//! at any moment, and a node that goes back just then keeps out of what it cannot read, but has the level enabled above
//! its own. People who go back after all nodes were of the new release are refused: see `tests/cluster/levels.rs`.

use rand::Rng;
use skerry_core::ids::NodeId;
use skerry_core::level::FormatLevel;

use super::World;
use crate::MILLISECOND;
use crate::hardship::Hardship;
use crate::host::Host;

impl World {
    /// The level of a node that is made now. The first one makes the database.
    pub(crate) fn newcomers_level(&self) -> FormatLevel {
        let is_older = self.setting.has(Hardship::Releases) && (self.hosts.is_empty() || self.older().next().is_some());
        if is_older { FormatLevel::FIRST } else { self.setting.newest_level() }
    }

    /// Hosts that run the release before and are not lost.
    pub(crate) fn older(&self) -> impl Iterator<Item = &Host> {
        let newest = self.setting.newest_level();
        self.hosts.values().filter(move |host| host.highest_level < newest && !host.gone)
    }

    /// A process is about to start: at times as another release than the one before it.
    pub(crate) fn change_release(&mut self, id: NodeId) {
        if !self.setting.has(Hardship::Releases) || !self.is_troubled {
            return;
        }
        let may_go_back = self.older().any(|host| host.id != id);
        let (goes_on, goes_back) = (self.rng.random_bool(0.4), self.rng.random_bool(0.3));
        let newest = self.setting.newest_level();
        let Some(host) = self.hosts.get_mut(&id) else { return };
        match host.highest_level {
            FormatLevel::FIRST if goes_on => host.highest_level = newest,
            level if level == newest && goes_back && may_go_back => host.highest_level = FormatLevel::FIRST,
            _ => {}
        }
    }

    /// The rest is upgraded, one node after the other.
    pub(crate) fn upgrade_all(&mut self) {
        let (older, newest) = (self.older().map(|host| host.id).collect::<Vec<_>>(), self.setting.newest_level());
        for id in older {
            self.hosts.get_mut(&id).into_iter().for_each(|host| host.highest_level = newest);
            self.restart(id, 10 * MILLISECOND..60 * MILLISECOND);
        }
    }
}
