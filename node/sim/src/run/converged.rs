//! What quorum tables come to once the faults are over and nobody writes: copies become equal, floors rise, and all that
//! clients saw of them is held against what they promise.

use rand::seq::IndexedRandom;
use skerry_core::history::{Promise, Rule};
use skerry_core::quorum::shown::Resolve;
use skerry_core::time::Version;

use super::{CONVERGED, ENDED, Run};
use crate::client::Client;
use crate::faults::newest_map;
use crate::hardship::{QUORUM_RANGES, QUORUM_TABLE};
use crate::host::WALL_MS;
use crate::quorums;
use crate::world::{MILLISECOND, SECOND};

impl Run {
    /// Copies have missed deletes, nobody keeps hints of them, and their coordinators have ended: only by comparing all it is
    /// found.
    pub(super) fn delete_last(&mut self) {
        if self.world.setting.stress.is_none() {
            return;
        }
        let hosts = self.world.up();
        let Some(deaf) = hosts.choose(&mut self.world.nemesis.rng).copied() else { return };
        let time = self.world.nemesis.begin_last_act(deaf, self.world.time);
        self.until(time, |_| false);
        hosts.into_iter().for_each(|host| self.world.crash(host));
    }

    /// Before anybody reads, which would make up for much: from now on reads see all that was acknowledged.
    pub(super) fn see_equal_after_stress(&mut self) {
        if self.world.setting.stress.is_none() {
            return;
        }
        self.clients.iter_mut().for_each(|c| c.resting = true);
        self.until(10 * SECOND, |run| run.clients.iter().all(Client::is_idle));
        self.see_converged();
        self.rests_since = self.world.time;
    }

    pub(super) fn check_quorums(&mut self) {
        let Some(map) = newest_map(&self.world).cloned() else { return };
        for name in [QUORUM_TABLE, QUORUM_RANGES] {
            let Some((table, resolve)) = map.table_named(name).zip(self.world.setting.resolve_of(name)) else {
                continue;
            };
            let (rule, promise) = match (self.world.setting.stressed(name), resolve) {
                (Some(stressed), _) => (stressed.rule(), stressed.promise(self.rests_since)),
                (None, Resolve::LastWriterWins) => (Rule::LastWriter, Promise::Monotonic),
                (None, Resolve::Siblings) => (Rule::Siblings, Promise::Monotonic),
            };
            let clocks = self.world.clocks();
            self.world.checker.check_quorum_history(table.id, (rule, promise), clocks);
        }
    }

    /// The copies of quorum tables are equal within a minute of quiet.
    pub(super) fn see_converged(&mut self) {
        if self.world.setting.quorum.is_none() || self.world.checker.is_broken() {
            return;
        }
        self.until(CONVERGED, |run| quorums::unequal(&run.world).is_none());
        if let Some(unequal) = quorums::unequal(&self.world) {
            self.world.checker.broken.push(format!("copies are not equal: {unequal}"));
        }
    }

    /// Once nobody writes, floors rise above all that was written, and what is deleted or has ended goes.
    pub(super) fn see_floors_rise(&mut self) {
        if self.world.setting.stress.is_none() || self.world.checker.is_broken() {
            return;
        }
        let began = self.world.time;
        let lingering = |run: &Self| {
            let ended_ms = run.world.walls(run.world.time.saturating_sub(ENDED), run.world.time).0;
            let right = Version::at_ms(WALL_MS + began / MILLISECOND);
            let latest = if run.world.setting.has_wrong_clocks() { right } else { Version(u64::MAX) };
            quorums::lingering(&run.world, ended_ms, latest)
        };
        self.until(CONVERGED, |run| lingering(run).is_none());
        if let Some(lingering) = lingering(self) {
            self.world.checker.broken.push(format!("a floor stands still: {lingering}"));
        }
    }
}
