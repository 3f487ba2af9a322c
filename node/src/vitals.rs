//! How the node is, for /livez, /readyz and the health service: what each part reports of itself, and the verdict.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use skerry_program::pages::Check;

use crate::clock;
use crate::inbox::{Inbox, Signals};
use crate::readiness::{Look, Looks};
use crate::store_watch::StoreWatch;

/// A worker that has not answered for so long hangs, in a loop, for a lock or in the store: the process is to be
/// restarted, unless it is the disk that hangs. It answers after every round, and a round takes milliseconds.
const LIVE_SILENCE_MS_MAX: u64 = 15_000;
/// After so long clients are sent elsewhere.
const READY_SILENCE_MS_MAX: u64 = 2_000;

/// What is said of a node that no node of the database knows any more, and never will.
pub const GIVEN_UP: &str = "joined by what a recovery of the system shard has given up: it is no node of this database, give it an empty volume";
/// Others are asked for the map many times a second, and each says so again: what was not said for so long is over.
const GIVEN_UP_MS: u64 = 10_000;

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// The node opens its volume.
    Opening,
    /// Its volume is full: waits for space before it opens it.
    Full,
    /// Its volume is empty: asks the seeds for an identity, and waits to be told to make the database.
    Joining,
    /// Its store is lost: asks the seeds who the other nodes are.
    Asking,
    /// The node serves: it takes requests.
    Serving,
    /// Shutting down: finishes what is in hand.
    Stopping,
    /// Removed from its database: serves nothing more.
    Removed,
}

impl Phase {
    const ALL: [Self; 7] =
        [Self::Opening, Self::Full, Self::Joining, Self::Asking, Self::Serving, Self::Stopping, Self::Removed];

    /// What the node does in this phase, in words for people.
    fn words(self) -> &'static str {
        match self {
            Self::Opening => "opens its volume",
            Self::Full => "waits for space on its volume, which is full",
            Self::Joining => "has no identity yet: waits for the founding call or for a seed",
            Self::Asking => "has lost its store: waits for a seed to tell of the other nodes",
            Self::Serving => "serves",
            Self::Stopping => "stops",
            Self::Removed => "was removed from its database: serves nothing, and never will on this volume",
        }
    }
}

/// What the node's parts report of their state, for the probes.
#[derive(Debug)]
pub struct Vitals {
    phase: AtomicU8,
    map_epoch: AtomicU64,
    /// 1 = the map names this start of this node.
    registered: AtomicU8,
    copies: Mutex<Copies>,
    /// For how long the log's oldest write had waited at the last tick, while the disk has stalled. `u64::MAX` = it has not.
    stalled_ms: AtomicU64,
    /// Shards are led here all the same while the disk has stalled.
    leads_stalled: AtomicBool,
    /// When another node last said that this one was given up. 0 = never.
    given_up_ms: AtomicU64,
    /// Whether the worker waits for its store.
    store: Arc<StoreWatch>,
    /// Damaged parts of the volume that were put aside.
    aside: Mutex<Vec<PathBuf>>,
    /// The store was open when the machine stopped, and its engine does not notice every loss that comes of it.
    is_doubtful: AtomicBool,
    signals: Arc<Signals>,
}

#[derive(Debug, Default)]
struct Copies {
    looks: Looks,
    last: Option<Look>,
    is_well: bool,
}

impl Vitals {
    /// Of a process that has just started.
    pub fn new(signals: Arc<Signals>) -> Self {
        Self {
            phase: AtomicU8::new(Phase::Opening as u8),
            map_epoch: AtomicU64::new(0),
            registered: AtomicU8::new(0),
            copies: Mutex::default(),
            stalled_ms: AtomicU64::new(u64::MAX),
            leads_stalled: AtomicBool::new(false),
            given_up_ms: AtomicU64::new(0),
            store: Arc::default(),
            aside: Mutex::default(),
            is_doubtful: AtomicBool::new(false),
            signals,
        }
    }

    /// Whether the worker waits for its store: to be told by whoever calls it.
    pub fn store(&self) -> &Arc<StoreWatch> {
        &self.store
    }

    /// The process has come so far.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// These damaged parts of the volume were put aside, now or earlier; and whether a power cut left doubt of the store.
    pub fn volume(&self, aside: Vec<PathBuf>, is_doubtful: bool) {
        *self.aside.lock().unwrap_or_else(PoisonError::into_inner) = aside;
        self.is_doubtful.store(is_doubtful, Ordering::Release);
    }

    /// Never ill: the node is as well without them, but a person must decide what becomes of them.
    fn put_aside(&self) -> Check {
        let parts = self.aside.lock().unwrap_or_else(PoisonError::into_inner);
        let names = || parts.iter().map(|part| part.display().to_string()).collect::<Vec<_>>().join(", ");
        let doubt = if self.is_doubtful.load(Ordering::Acquire) {
            "; the store was open when the machine stopped: replace this node to be sure of its copies"
        } else {
            ""
        };
        let found = if parts.is_empty() {
            format!("nothing is put aside{doubt}")
        } else {
            format!("put aside as damaged, to be looked at and removed by a person: {}{doubt}", names())
        };
        Check { name: "volume", well: true, found }
    }

    /// Asks the worker for a sign of life, if there is one, and waits a while for it. To be called before it is judged.
    pub async fn ask_worker(&self, inbox: &Inbox) {
        if self.has_worker() {
            inbox.ask_worker().await;
        }
    }

    fn has_worker(&self) -> bool {
        matches!(self.phase(), Phase::Serving | Phase::Stopping) && !self.signals.stopped().is_cancelled()
    }

    /// The worker has a new map.
    pub fn map(&self, epoch: u64, registered: bool) {
        self.map_epoch.store(epoch, Ordering::Release);
        self.registered.store(u8::from(registered), Ordering::Release);
    }

    /// The disk has stalled, and the log's oldest write has waited for so long; or it has not. `leads` = shards are led
    /// here all the same.
    pub fn stalled(&self, waited_ms: Option<u64>, leads: bool) {
        self.leads_stalled.store(leads, Ordering::Release);
        self.stalled_ms.store(waited_ms.unwrap_or(u64::MAX), Ordering::Release);
    }

    /// A restart helps no disk, so a stall is no reason for one. Nor is it a reason to send clients away from what nobody
    /// else leads: where all disks are slow at once, no node would be left for them.
    fn disk(&self) -> Check {
        if let Some(waits) = self.store.waits_ms(clock::monotonic_ms()) {
            let found = format!("has stalled: the store has not answered for {waits} ms, and nothing is done here");
            return Check { name: "disk", well: false, found };
        }
        match self.stalled_ms.load(Ordering::Acquire) {
            u64::MAX => Check { name: "disk", well: true, found: "answers".to_owned() },
            waited if self.leads_stalled.load(Ordering::Acquire) => Check {
                name: "disk",
                well: true,
                found: format!(
                    "has stalled: a write of the log, or a sync of the store, has waited for {waited} ms, and others cannot lead all"
                ),
            },
            waited => Check {
                name: "disk",
                well: false,
                found: format!(
                    "has stalled: a write of the log, or a sync of the store, has waited for {waited} ms, and nothing is led here"
                ),
            },
        }
    }

    /// Another node says that this one joined by what was given up since.
    pub fn given_up(&self, monotonic_ms: u64) {
        self.given_up_ms.store(monotonic_ms.max(1), Ordering::Release);
    }

    /// The worker has looked at its copies. True if all is well, and was at this look too.
    pub fn copies(&self, look: Look) -> bool {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        copies.is_well = copies.looks.after(&look);
        let steady = copies.is_well && look.is_ok();
        copies.last = Some(look);
        steady
    }

    /// What must be well, or the process is to be restarted.
    pub fn live(&self) -> Vec<Check> {
        vec![self.durable(), self.live_worker(clock::monotonic_ms())]
    }

    /// What must be well for clients to come here.
    pub fn ready(&self) -> Vec<Check> {
        let epoch = self.map_epoch.load(Ordering::Acquire);
        let registered = self.registered.load(Ordering::Acquire) == 1;
        let phase = self.phase();
        let is_given_up = self.is_given_up(clock::monotonic_ms());
        let map = Check {
            name: "database",
            well: registered && !is_given_up,
            found: match (registered, epoch) {
                _ if is_given_up => format!("this node {GIVEN_UP}"),
                (true, _) => format!("map of epoch {epoch} names this start"),
                (false, 0) => "no map yet".to_owned(),
                (false, _) => format!("map of epoch {epoch} does not name this start yet"),
            },
        };
        let phase = Check { name: "phase", well: phase == Phase::Serving, found: phase.words().to_owned() };
        let worker = self.worker(clock::monotonic_ms(), READY_SILENCE_MS_MAX);
        vec![phase, self.durable(), worker, self.disk(), map, self.caught_up(), self.put_aside()]
    }

    fn is_given_up(&self, now_ms: u64) -> bool {
        let told = self.given_up_ms.load(Ordering::Acquire);
        told > 0 && now_ms.saturating_sub(told) <= GIVEN_UP_MS
    }

    fn caught_up(&self) -> Check {
        let copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match &copies.last {
            None => "not looked at yet".to_owned(),
            Some(Ok(voters)) if copies.is_well => format!("{voters} voting copies have nearly all that is committed"),
            Some(Ok(_)) => "just caught up".to_owned(),
            Some(Err(ailing)) => ailing.to_string(),
        };
        Check { name: "copies", well: copies.is_well, found }
    }

    fn phase(&self) -> Phase {
        let at = usize::from(self.phase.load(Ordering::Acquire));
        Phase::ALL.get(at).copied().unwrap_or(Phase::Stopping)
    }

    fn durable(&self) -> Check {
        let failure = self.signals.failure();
        let found = failure.map_or_else(|| "log and engine work".to_owned(), |reason| format!("poisoned: {reason}"));
        Check { name: "durability", well: failure.is_none(), found }
    }

    /// A restart helps no disk, so long as it is known that the worker waits for that and nothing else.
    fn live_worker(&self, now_ms: u64) -> Check {
        let worker = self.worker(now_ms, LIVE_SILENCE_MS_MAX);
        if worker.well || !self.store.is_disk_to_blame(now_ms) {
            return worker;
        }
        let found =
            format!("{}: it waits for the disk, which answers nobody, and which no restart helps", worker.found);
        Check { well: true, found, ..worker }
    }

    fn worker(&self, now_ms: u64, silence_ms_max: u64) -> Check {
        let check = |well, found: &str| Check { name: "worker", well, found: found.to_owned() };
        if self.signals.stopped().is_cancelled() {
            // At a stop it ends first.
            return check(matches!(self.phase(), Phase::Stopping | Phase::Removed), "ended");
        }
        if !self.has_worker() {
            return check(true, "not started");
        }
        match self.signals.probe().unanswered_ms(now_ms) {
            0 => check(true, "answers"),
            silence => check(silence <= silence_ms_max, &format!("has not answered for {silence} ms")),
        }
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
    fn a_node_is_ready_when_it_serves_the_map_names_its_start_and_its_copies_have_caught_up() {
        let (inbox, _receiver) = inbox();
        let vitals = Vitals::new(inbox.signals().clone());
        assert!(all_well(&vitals.live()) && !all_well(&vitals.ready()));
        vitals.enter(Phase::Serving);
        vitals.map(4, false);
        assert!(!all_well(&vitals.ready()));
        vitals.map(5, true);
        assert!(!all_well(&vitals.ready()));
        for _ in 0..9 {
            vitals.copies(Ok(1));
        }
        assert!(all_well(&vitals.ready()));
        vitals.enter(Phase::Stopping);
        assert!(!all_well(&vitals.ready()) && all_well(&vitals.live()));
    }

    #[test]
    fn a_node_without_identity_and_a_removed_one_are_live_but_not_ready_and_say_why() {
        let (inbox, _receiver) = inbox();
        let vitals = Vitals::new(inbox.signals().clone());
        for (phase, words) in [(Phase::Joining, "has no identity yet"), (Phase::Removed, "was removed")] {
            vitals.map(4, true);
            vitals.enter(phase);
            let ready = vitals.ready();
            assert!(ready.iter().any(|c| !c.well && c.found.starts_with(words)), "{ready:?}");
        }
        assert!(all_well(&vitals.live()));
    }

    /// Its own map names it: nobody sends it another.
    #[test]
    fn a_node_that_was_given_up_is_not_ready_and_says_what_to_do() {
        let (inbox, _receiver) = inbox();
        let vitals = Vitals::new(inbox.signals().clone());
        vitals.enter(Phase::Serving);
        vitals.map(5, true);
        for _ in 0..9 {
            vitals.copies(Ok(1));
        }
        assert!(all_well(&vitals.ready()));
        vitals.given_up(clock::monotonic_ms());
        let ready = vitals.ready();
        let said = ready.iter().find(|check| !check.well).map(|check| (check.name, check.found.as_str()));
        assert!(said.is_some_and(|(name, found)| name == "database" && found.ends_with("give it an empty volume")));
        vitals.given_up(7);
        assert!(vitals.is_given_up(7 + GIVEN_UP_MS) && !vitals.is_given_up(8 + GIVEN_UP_MS));
    }

    #[test]
    fn a_node_whose_disk_has_stalled_is_live_and_not_ready_until_it_answers() {
        let (inbox, _receiver) = inbox();
        let vitals = Vitals::new(inbox.signals().clone());
        vitals.stalled(Some(2_050), false);
        let ready = vitals.ready();
        assert!(ready.iter().any(|c| !c.well && c.name == "disk" && c.found.contains("2050 ms")), "{ready:?}");
        assert!(all_well(&vitals.live()));
        vitals.stalled(None, false);
        assert!(vitals.disk().well);
    }

    #[test]
    fn a_node_whose_disk_has_stalled_is_ready_for_what_nobody_else_can_lead() {
        let (inbox, _receiver) = inbox();
        let vitals = Vitals::new(inbox.signals().clone());
        vitals.stalled(Some(2_050), true);
        let disk = vitals.disk();
        assert!(disk.well && disk.found.contains("2050 ms"), "{disk:?}");
        vitals.stalled(Some(2_100), false);
        assert!(!vitals.disk().well);
    }

    #[test]
    fn every_phase_is_found_again() {
        let (inbox, _receiver) = inbox();
        let vitals = Vitals::new(inbox.signals().clone());
        for phase in Phase::ALL {
            vitals.enter(phase);
            assert_eq!(vitals.phase(), phase);
        }
    }

    #[test]
    fn a_poisoned_node_is_neither_live_nor_ready_and_says_why() {
        let (inbox, _receiver) = inbox();
        let vitals = Vitals::new(inbox.signals().clone());
        inbox.fail("fsync failed".into());
        let live = vitals.live();
        assert!(live.iter().any(|c| !c.well && c.found == "poisoned: fsync failed"), "{live:?}");
    }

    #[tokio::test]
    async fn a_worker_that_does_not_answer_is_soon_not_ready_and_later_not_live() {
        let (inbox, _receiver) = inbox();
        let vitals = Vitals::new(inbox.signals().clone());
        vitals.ask_worker(&inbox).await;
        assert!(vitals.worker(u64::MAX, 0).well, "there is none yet");
        vitals.enter(Phase::Serving);
        assert!(vitals.worker(u64::MAX, 0).well, "nobody has asked");
        vitals.ask_worker(&inbox).await;
        let asked = clock::monotonic_ms() - inbox.signals().probe().unanswered_ms(clock::monotonic_ms());
        assert!(vitals.worker(asked + READY_SILENCE_MS_MAX, READY_SILENCE_MS_MAX).well);
        assert!(!vitals.worker(asked + READY_SILENCE_MS_MAX + 50, READY_SILENCE_MS_MAX).well);
        assert!(vitals.worker(asked + READY_SILENCE_MS_MAX + 50, LIVE_SILENCE_MS_MAX).well);
        assert!(!vitals.worker(asked + LIVE_SILENCE_MS_MAX + 50, LIVE_SILENCE_MS_MAX).well);
        inbox.signals().probe().answer();
        assert!(vitals.worker(u64::MAX, 0).well);
    }

    #[test]
    fn a_worker_that_has_ended_while_the_node_serves_is_neither_live_nor_ready() {
        let (inbox, _receiver) = inbox();
        let vitals = Vitals::new(inbox.signals().clone());
        vitals.enter(Phase::Serving);
        inbox.signals().stopped().cancel();
        assert!(!all_well(&vitals.live()));
        vitals.enter(Phase::Stopping);
        assert!(all_well(&vitals.live()));
    }
}
