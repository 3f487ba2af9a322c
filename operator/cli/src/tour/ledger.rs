//! What the tour measures: operations and pauses of each phase, and what clients saw, for the check at the end.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use skerry_core::history::{Action, History, Operation, Violation};

/// Shared by everyone who reads or writes.
#[derive(Debug)]
pub(crate) struct Ledger {
    begun: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    history: History,
    now: Counters,
}

/// Of one phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Writes acknowledged.
    pub(crate) writes: u64,
    /// Reads answered.
    pub(crate) reads: u64,
    /// Operations that failed, or whose outcome is unknown.
    pub(crate) failed: u64,
    /// The longest that a reader or writer went without success.
    pub(crate) longest_pause: Duration,
}

/// What an operation came to, for the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    Written,
    Read,
    ToNothing,
}

/// What the check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Acknowledged writes that the reads at the end missed.
    pub(crate) lost: usize,
    /// Reads before it that missed what was known when they were sent.
    pub(crate) stale: usize,
    /// Whatever else cannot be.
    pub(crate) impossible: usize,
    /// In words.
    pub(crate) violations: Vec<Violation>,
}

impl Ledger {
    /// Empty; its clock starts.
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), state: Mutex::new(State::default()) }
    }

    /// The history's clock, in microseconds.
    pub(crate) fn clock(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Notes an operation on a key, from when it was sent until now.
    pub(crate) fn note(&self, key: &[u8], invoked: u64, action: Action, came: Came) {
        let returned = self.clock();
        let mut state = self.lock();
        state.history.record(key, Operation { invoked, returned, action });
        match came {
            Came::Written => state.now.writes += 1,
            Came::Read => state.now.reads += 1,
            Came::ToNothing => state.now.failed += 1,
        }
    }

    /// Notes an operation that left no trace for the history, such as a read without an answer.
    pub(crate) fn note_failure(&self) {
        self.lock().now.failed += 1;
    }

    /// Notes how long one waited for a success.
    pub(crate) fn note_pause(&self, pause: Duration) {
        let mut state = self.lock();
        state.now.longest_pause = state.now.longest_pause.max(pause);
    }

    /// The counters of the phase so far.
    pub(crate) fn counters(&self) -> Counters {
        self.lock().now
    }

    /// Ends a phase: gives its counters and begins anew.
    pub(crate) fn end_phase(&self) -> Counters {
        std::mem::take(&mut self.lock().now)
    }

    /// Holds the whole history against what a correct database may answer. Reads sent at or after `last_reads` are
    /// those that look for lost writes.
    pub(crate) fn verdict(&self, last_reads: u64) -> (skerry_core::history::Counts, Verdict) {
        let state = self.lock();
        let violations = state.history.check();
        let mut verdict = Verdict::default();
        for violation in &violations {
            match violation {
                Violation::StaleRead { at, .. } if *at >= last_reads => verdict.lost += 1,
                Violation::StaleRead { .. } => verdict.stale += 1,
                Violation::Disorder { .. }
                | Violation::Phantom { .. }
                | Violation::AppliedTwice { .. }
                | Violation::LostCondition { .. }
                | Violation::TornPage { .. }
                | Violation::Expired { .. }
                | Violation::WentBack { .. } => verdict.impossible += 1,
            }
        }
        verdict.violations = violations;
        (state.history.counts(), verdict)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing that holds the lock can panic midway through a change.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use skerry_core::history::WriteOutcome::Acknowledged;
    use skerry_core::time::Version;

    use super::*;

    fn write(value: u64, version: u64) -> Action {
        Action::Write { value: Some(value), expected: None, outcome: Acknowledged(Version(version)) }
    }

    fn read(found: Option<(u64, u64)>) -> Action {
        Action::Read { found: found.map(|(version, value)| (Version(version), value)) }
    }

    fn later(ledger: &Ledger) -> u64 {
        std::thread::sleep(Duration::from_micros(50));
        ledger.clock()
    }

    #[test]
    fn lost_writes_and_stale_reads_are_told_apart_by_time() {
        let ledger = Ledger::new();
        ledger.note(b"a", later(&ledger), write(1, 10), Came::Written);
        ledger.note(b"a", later(&ledger), write(2, 20), Came::Written);
        ledger.note(b"a", later(&ledger), read(Some((10, 1))), Came::Read);
        ledger.note(b"b", later(&ledger), write(3, 10), Came::Written);
        let last = later(&ledger);
        ledger.note(b"a", later(&ledger), read(Some((20, 2))), Came::Read);
        ledger.note(b"b", later(&ledger), read(None), Came::Read);
        let (counts, verdict) = ledger.verdict(last);
        assert_eq!((counts.keys, counts.acknowledged, counts.reads), (2, 3, 3));
        assert_eq!((verdict.lost, verdict.stale, verdict.impossible), (1, 1, 0));
    }

    #[test]
    fn phase_counters_begin_anew() {
        let ledger = Ledger::new();
        ledger.note(b"a", 0, write(1, 10), Came::Written);
        ledger.note_pause(Duration::from_secs(2));
        ledger.note_pause(Duration::from_secs(1));
        let ended = ledger.end_phase();
        assert_eq!((ended.writes, ended.longest_pause), (1, Duration::from_secs(2)));
        assert_eq!(ledger.counters(), Counters::default());
    }
}
