//! The history recorder that all readers and writers share: what they did to each key, what was found wrong, and the measures.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use skerry_core::history::{Action, Operation, Violation};

use crate::phase::{Came, Phase, Summary};
use crate::window::Window;

/// Violations that are told in words; all are counted.
const TOLD_MAX: usize = 20;
/// Highest number of phases that are remembered.
const PHASES_MAX: usize = 100;

/// What the check found so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Reads at the end that missed an acknowledged write.
    pub lost: u64,
    /// Reads before it that missed what was known when they were sent.
    pub stale: u64,
    /// Whatever else cannot be: a value that nobody wrote, a write that took effect twice, versions out of order.
    pub impossible: u64,
    /// The first of them, in words.
    pub violations: Vec<String>,
}

/// Shared by everyone who reads or writes.
#[derive(Debug)]
pub struct Recorder {
    begun: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    windows: Vec<Window>,
    found: Found,
    phase: Phase,
    ended: Vec<Summary>,
    total: Phase,
    /// Once the last reads began, on the history's clock.
    last_reads: Option<u64>,
}

/// An operation that was begun and must be ended.
#[derive(Debug)]
#[must_use]
pub(crate) struct Begun {
    key: usize,
    invoked: u64,
    is_write: bool,
}

impl Found {
    /// True if every answer was one that a correct database may give.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl Recorder {
    /// For so many keys; its clock starts.
    pub fn new(keys: usize) -> Self {
        let begun = Instant::now();
        let state = State {
            windows: (0..keys).map(|_| Window::default()).collect(),
            found: Found::default(),
            phase: Phase::new("start", begun, begun),
            ended: Vec::new(),
            total: Phase::new("all", begun, begun),
            last_reads: None,
        };
        Self { begun, state: Mutex::new(state) }
    }

    /// An operation on a key is about to be sent. `None` = not on this one, not now.
    pub(crate) fn begin(&self, key: usize, is_write: bool) -> Option<Begun> {
        let mut state = self.lock();
        // Under the lock: a cut must be before all that comes after it.
        let invoked = self.clock();
        state.windows[key].begin().then_some(Begun { key, invoked, is_write })
    }

    /// It ended, came to this, and did this. `None` = nothing that could be checked.
    pub(crate) fn end(&self, begun: Begun, came: Came, action: Option<Action>) {
        let mut state = self.lock();
        let returned = self.clock();
        let took = Duration::from_micros(returned - begun.invoked);
        let now = self.begun + Duration::from_micros(returned);
        state.phase.note(came, took, begun.is_write, now);
        state.total.note(came, took, begun.is_write, now);
        let operation = action.map(|action| Operation { invoked: begun.invoked, returned, action });
        let violations = state.windows[begun.key].end(operation);
        state.blame(&violations);
    }

    /// Ends the phase and begins one of this name.
    pub fn next_phase(&self, name: &str) -> Summary {
        let mut state = self.lock();
        let now = Instant::now();
        let next = state.phase.next(name, now);
        std::mem::replace(&mut state.phase, next).summary(now, state.last_reads.is_none())
    }

    /// Remembers a phase that ended.
    pub fn remember(&self, ended: Summary) {
        let mut state = self.lock();
        if state.ended.len() < PHASES_MAX {
            state.ended.push(ended);
        }
    }

    /// Writers have stopped: from here on, reads look for lost writes.
    pub(crate) fn begin_last_reads(&self) {
        let mut state = self.lock();
        let now = self.clock();
        state.last_reads.get_or_insert(now);
    }

    /// Checks what was not yet.
    ///
    /// # Panics
    /// If an operation is under way: readers and writers stop first.
    pub fn check_all(&self) {
        let mut state = self.lock();
        let violations: Vec<Violation> = state.windows.iter_mut().flat_map(Window::cut).collect();
        state.blame(&violations);
    }

    /// The whole run, the phase under way, the phases that ended, and what was found.
    pub fn so_far(&self) -> (Summary, Summary, Vec<Summary>, Found) {
        let state = self.lock();
        let now = Instant::now();
        let is_writing = state.last_reads.is_none();
        let (total, phase) = (state.total.summary(now, is_writing), state.phase.summary(now, is_writing));
        (total, phase, state.ended.clone(), state.found.clone())
    }

    fn clock(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is a broken promise of the windows; the others go on to tell what they saw.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn blame(&mut self, violations: &[Violation]) {
        for violation in violations {
            match violation {
                Violation::StaleRead { at, .. } if self.last_reads.is_some_and(|last| *at >= last) => {
                    self.found.lost += 1;
                }
                Violation::StaleRead { .. } => self.found.stale += 1,
                // A stale read of a value from before the last cut is named twice.
                Violation::Phantom { at, .. } if violations.iter().any(|v| is_stale_at(v, *at)) => continue,
                Violation::Phantom { .. }
                | Violation::Disorder { .. }
                | Violation::AppliedTwice { .. }
                | Violation::LostCondition { .. }
                | Violation::TornPage { .. }
                | Violation::Expired { .. }
                | Violation::WentBack { .. }
                | Violation::EffectBeforeCause { .. } => self.found.impossible += 1,
            }
            if self.found.violations.len() < TOLD_MAX {
                self.found.violations.push(violation.to_string());
            }
        }
    }
}

fn is_stale_at(violation: &Violation, when: u64) -> bool {
    matches!(violation, Violation::StaleRead { at, .. } if *at == when)
}

#[cfg(test)]
mod tests {
    use skerry_core::history::WriteOutcome::{Acknowledged, Unknown};
    use skerry_core::time::Version;

    use super::*;

    fn write(recorder: &Recorder, value: u64, version: Option<u64>) {
        let outcome = version.map_or(Unknown, |v| Acknowledged(Version(v)));
        let begun = recorder.begin(0, true).unwrap();
        let came = if version.is_some() { Came::Written } else { Came::Failed("deadline", true) };
        recorder.end(begun, came, Some(Action::Write { value: Some(value), expected: None, outcome }));
    }

    fn read(recorder: &Recorder, found: Option<(u64, u64)>) {
        later(recorder);
        let begun = recorder.begin(0, false).unwrap();
        let found = found.map(|(version, value)| (Version(version), value));
        recorder.end(begun, Came::Read, Some(Action::Read { found }));
        later(recorder);
    }

    /// The history's clock counts microseconds, and equal times are taken for concurrent.
    fn later(recorder: &Recorder) {
        let before = recorder.clock();
        while recorder.clock() == before {}
    }

    #[test]
    fn a_planted_stale_read_and_a_planted_lost_write_are_counted_apart() {
        let recorder = Recorder::new(1);
        write(&recorder, 1, Some(10));
        write(&recorder, 2, Some(20));
        recorder.check_all();
        read(&recorder, Some((10, 1)));
        recorder.begin_last_reads();
        read(&recorder, None);
        recorder.check_all();
        let (total, _, _, found) = recorder.so_far();
        assert_eq!((found.lost, found.stale, found.impossible), (1, 1, 0), "{found:?}");
        assert_eq!((total.acknowledged, total.reads), (2, 2));
    }

    #[test]
    fn a_late_unknown_write_is_no_violation() {
        let recorder = Recorder::new(1);
        write(&recorder, 1, Some(10));
        write(&recorder, 2, None);
        read(&recorder, Some((10, 1)));
        recorder.check_all();
        recorder.begin_last_reads();
        read(&recorder, Some((15, 2)));
        recorder.check_all();
        let (total, _, _, found) = recorder.so_far();
        assert_eq!((found, total.unknown), (Found::default(), 1));
    }

    #[test]
    fn phases_begin_anew_and_the_total_goes_on() {
        let recorder = Recorder::new(1);
        write(&recorder, 1, Some(10));
        assert_eq!(recorder.next_phase("second").acknowledged, 1);
        write(&recorder, 2, Some(20));
        let (total, phase, ..) = recorder.so_far();
        assert_eq!((total.acknowledged, phase.acknowledged, phase.phase.as_str()), (2, 1, "second"));
    }
}
