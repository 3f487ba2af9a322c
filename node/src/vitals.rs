//! How the node is, for /livez, /readyz and the health service: what each part reports of itself, and the verdict.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::clock;
use crate::inbox::Signals;

/// A worker that has finished no round for so long hangs, in the store or for want of a processor: the process is to be
/// restarted. A round is due every [`skerry_core::node::TICK_MS`].
const WORKER_SILENCE_MS_MAX: u64 = 60_000;

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Opening its volume.
    Opening,
    /// Asking the seeds for an identity.
    Joining,
    /// Serving.
    Serving,
    /// Shutting down.
    Stopping,
}

/// What the parts report.
#[derive(Debug)]
pub struct Vitals {
    phase: AtomicU8,
    round_ms: AtomicU64,
    map_epoch: AtomicU64,
    /// 1 = the map names this start of this node.
    registered: AtomicU8,
    signals: Arc<Signals>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// Whether it is well.
    pub well: bool,
    /// What was found.
    pub found: String,
}

impl Vitals {
    /// Of a process that has just started.
    pub fn new(signals: Arc<Signals>) -> Self {
        Self {
            phase: AtomicU8::new(Phase::Opening as u8),
            round_ms: AtomicU64::new(0),
            map_epoch: AtomicU64::new(0),
            registered: AtomicU8::new(0),
            signals,
        }
    }

    /// The process has come so far.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// The worker has finished a round.
    pub fn round(&self, monotonic_ms: u64) {
        self.round_ms.store(monotonic_ms, Ordering::Release);
    }

    /// The worker has a new map.
    pub fn map(&self, epoch: u64, registered: bool) {
        self.map_epoch.store(epoch, Ordering::Release);
        self.registered.store(u8::from(registered), Ordering::Release);
    }

    /// What must be well, or the process is to be restarted.
    pub fn live(&self) -> Vec<Check> {
        vec![self.durable(), self.worker(clock::monotonic_ms())]
    }

    /// What must be well for clients to come here.
    pub fn ready(&self) -> Vec<Check> {
        let epoch = self.map_epoch.load(Ordering::Acquire);
        let registered = self.registered.load(Ordering::Acquire) == 1;
        let phase = self.phase();
        let map = Check {
            name: "database",
            well: registered,
            found: match (registered, epoch) {
                (true, _) => format!("map of epoch {epoch} names this start"),
                (false, 0) => "no map yet".to_owned(),
                (false, _) => format!("map of epoch {epoch} does not name this start yet"),
            },
        };
        let phase = Check { name: "phase", well: phase == Phase::Serving, found: format!("{phase:?}").to_lowercase() };
        vec![phase, self.durable(), self.worker(clock::monotonic_ms()), map]
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Opening,
            1 => Phase::Joining,
            2 => Phase::Serving,
            _ => Phase::Stopping,
        }
    }

    fn durable(&self) -> Check {
        let failure = self.signals.failure();
        let found = failure.map_or_else(|| "log and engine work".to_owned(), |reason| format!("poisoned: {reason}"));
        Check { name: "durability", well: failure.is_none(), found }
    }

    fn worker(&self, now_ms: u64) -> Check {
        let last = self.round_ms.load(Ordering::Acquire);
        let silence = if last == 0 { 0 } else { now_ms.saturating_sub(last) };
        let found = if last == 0 { "not started".to_owned() } else { format!("last round {silence} ms ago") };
        Check { name: "worker", well: silence <= WORKER_SILENCE_MS_MAX, found }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::inbox;

    fn all_well(checks: &[Check]) -> bool {
        checks.iter().all(|c| c.well)
    }

    #[test]
    fn a_node_is_ready_when_it_serves_and_the_map_names_its_start() {
        let (inbox, _receiver) = inbox();
        let vitals = Vitals::new(inbox.signals().clone());
        assert!(all_well(&vitals.live()) && !all_well(&vitals.ready()));
        vitals.enter(Phase::Serving);
        vitals.map(4, false);
        assert!(!all_well(&vitals.ready()));
        vitals.map(5, true);
        assert!(all_well(&vitals.ready()));
        vitals.enter(Phase::Stopping);
        assert!(!all_well(&vitals.ready()) && all_well(&vitals.live()));
    }

    #[test]
    fn a_poisoned_node_is_neither_live_nor_ready_and_says_why() {
        let (inbox, _receiver) = inbox();
        let vitals = Vitals::new(inbox.signals().clone());
        inbox.fail("fsync failed".into());
        let live = vitals.live();
        assert!(live.iter().any(|c| !c.well && c.found == "poisoned: fsync failed"), "{live:?}");
    }

    #[test]
    fn a_worker_that_hangs_is_not_live() {
        let (inbox, _receiver) = inbox();
        let vitals = Vitals::new(inbox.signals().clone());
        vitals.round(1_000);
        assert!(vitals.worker(1_000 + WORKER_SILENCE_MS_MAX).well);
        assert!(!vitals.worker(1_001 + WORKER_SILENCE_MS_MAX).well);
    }
}
