//! Syncs of logs and stores that fail. After a failed sync nobody knows what is on the disk, so the process ends at once and
//! the next one goes by what it finds there. A start whose own sync fails ends, too, and was none.

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use skerry_core::ids::NodeId;
use skerry_core::node::Input;
use skerry_core::planted::{Planted, is_planted};

use crate::hardship::Hardship;
use crate::host::{Lost, Synced};
use crate::world::{Event, MILLISECOND, SECOND, World};

/// Of 1,000 starts on a disk whose syncs fail, how many end so.
const STARTS_FAIL: u32 = 300;

/// Owner of which syncs fail.
pub(crate) struct FailedSyncs {
    rng: ChaCha8Rng,
    /// The node whose disk is bad now.
    node: Option<NodeId>,
    /// When another disk is.
    until: u64,
    /// Of 1,000 syncs of its log, how many fail.
    of_log: u32,
    /// Of 1,000 syncs of its store, how many fail.
    of_store: u32,
}

impl FailedSyncs {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0xF5FC_2065);
        let of_log = [2, 10, 50][rng.random_range(0..3)];
        let of_store = [20, 100, 300][rng.random_range(0..3)];
        Self { rng, node: None, until: 0, of_log, of_store }
    }

    fn fails(&mut self, of_1_000: u32) -> bool {
        self.rng.random_range(0..1_000) < of_1_000
    }
}

impl World {
    /// True on the one node whose disk is bad now, which is another one every few seconds.
    fn is_disk_bad(&mut self, host: NodeId) -> bool {
        if !self.is_troubled || !self.setting.has(Hardship::FailedSyncs) {
            return false;
        }
        if self.time >= self.failed_syncs.until {
            let hosts: Vec<NodeId> = self.hosts.keys().copied().collect();
            let bad = &mut self.failed_syncs;
            bad.until = self.time + bad.rng.random_range(500 * MILLISECOND..5 * SECOND);
            bad.node = hosts.choose(&mut bad.rng).copied();
        }
        self.failed_syncs.node == Some(host)
    }

    /// A sync of a node's log or store comes to its end. True = it fails, and the process with it.
    pub(super) fn fails_sync(&mut self, id: NodeId, synced: Synced) -> bool {
        if !self.is_disk_bad(id) {
            return false;
        }
        let of_1_000 = match synced {
            Synced::Log { .. } => self.failed_syncs.of_log,
            Synced::Store { .. } => self.failed_syncs.of_store,
        };
        if !self.failed_syncs.fails(of_1_000) {
            return false;
        }
        self.has_struck(Hardship::FailedSyncs);
        self.mark(&format!("{id}: a sync fails: {synced:?}"));
        if is_planted(Planted::FailedSyncIgnored) {
            self.ignore_failed_sync(id, synced);
            return true;
        }
        let Some(host) = self.hosts.get_mut(&id) else { return true };
        host.fail_sync(synced, &mut self.failed_syncs.rng);
        self.checker.restarted(host);
        self.start_later(id);
        true
    }

    /// Whoever watches over the process starts it anew. Where the whole system runs, its agents look for themselves.
    fn start_later(&mut self, id: NodeId) {
        if !self.has_agents {
            let delay = self.failed_syncs.rng.random_range(SECOND..4 * SECOND);
            self.after(delay, Event::Start { host: id });
        }
    }

    /// The planted bug: the process takes for durable what the disk has not.
    fn ignore_failed_sync(&mut self, id: NodeId, synced: Synced) {
        match synced {
            Synced::Log { sequence } => {
                self.hosts.get_mut(&id).into_iter().for_each(|host| host.log.lose(sequence));
                self.input(id, Input::LogDurable { sequence });
            }
            Synced::Store { mark } => self.input(id, Input::EngineDurable { mark }),
        }
    }

    /// Before a process starts: now and then one of the syncs of its start is to fail.
    pub(super) fn may_fail_start(&mut self, id: NodeId) {
        if self.is_disk_bad(id) && self.failed_syncs.fails(STARTS_FAIL) {
            let syncs = self.failed_syncs.rng.random_range(0..2);
            self.hosts.get_mut(&id).into_iter().for_each(|host| host.engine.fail_sync_after(syncs));
        }
    }

    /// A sync at a start has failed: there was no start, and the next one is told the same of what is lost.
    pub(super) fn end_start(&mut self, id: NodeId, lost: Lost) {
        self.has_struck(Hardship::FailedSyncs);
        self.mark(&format!("{id}: a sync of its start fails"));
        if let Some(host) = self.hosts.get_mut(&id) {
            host.end_start(lost, &mut self.failed_syncs.rng);
        }
        self.start_later(id);
    }
}
