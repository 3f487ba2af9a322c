//! What goes wrong, and when: at the n-th write, at a write of some name, at reads of some kind.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::ground::Ground;

/// What goes wrong with a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It is made, and the operator dies.
    Death,
    /// It is made, and the answer is an error.
    LostAnswer,
    /// It is not made, and the answer is an error.
    LostWrite,
}

/// What happens to the write at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    Pass,
    DieAfter,
    FailAfter,
    FailInstead,
}

/// Something that somebody else than the operator does.
pub type Other = fn(&mut Ground);

/// All that is to go wrong.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Writes so far, whether made or not.
    pub writes: usize,
    /// At the n-th write, from 1.
    at: Option<(Fault, usize)>,
    /// Right before the write whose words begin so, once.
    meanwhile: Option<(&'static str, Other)>,
    /// The n-th write waits until it is released.
    hold: Option<(usize, Arc<Notify>)>,
    /// The n-th read of this resource waits until it is released.
    hold_read: Option<(&'static str, usize, Arc<Notify>)>,
    /// Told when a write or a read is held.
    pub holding: Arc<Notify>,
    /// Name of a resource of which every read fails.
    pub unreadable: Option<&'static str>,
    /// Objects of this resource whose names begin so are not the operator's to read or write.
    pub forbidden: Option<(&'static str, &'static str)>,
    /// The next read of this resource gives what it was so many writes ago.
    stale: Option<(&'static str, usize)>,
    death: Arc<Notify>,
}

impl Faults {
    pub fn plan(&mut self, at: Option<(Fault, usize)>) {
        *self = Self { at, ..Self::default() };
    }

    /// The write after so many goes wrong so.
    pub fn next(&mut self, fault: Fault, after: usize) {
        self.at = Some((fault, self.writes + after));
    }

    /// True if what was planned has not happened.
    pub fn is_due(&self) -> bool {
        self.at.is_some()
    }

    pub fn before(&mut self, words: &'static str, other: Other) {
        self.meanwhile = Some((words, other));
    }

    /// The n-th write waits until this is told.
    pub fn hold(&mut self, write: usize) -> Arc<Notify> {
        let release = Arc::new(Notify::new());
        self.hold = Some((write, release.clone()));
        release
    }

    /// The n-th read of this resource from now on waits until this is told.
    pub fn hold_read(&mut self, resource: &'static str, nth: usize) -> Arc<Notify> {
        let release = Arc::new(Notify::new());
        self.hold_read = Some((resource, nth, release.clone()));
        release
    }

    pub fn stale_once(&mut self, resource: &'static str, versions: usize) {
        self.stale = Some((resource, versions));
    }

    /// Counts a write and says what becomes of it.
    pub fn gate(&mut self) -> Gate {
        self.writes += 1;
        match self.at.take_if(|(_, at)| *at == self.writes) {
            None => Gate::Pass,
            Some((Fault::Death, _)) => Gate::DieAfter,
            Some((Fault::LostAnswer, _)) => Gate::FailAfter,
            Some((Fault::LostWrite, _)) => Gate::FailInstead,
        }
    }

    pub fn meanwhile(&mut self, words: &str) -> Option<Other> {
        self.meanwhile.take_if(|(start, _)| words.starts_with(*start)).map(|(_, other)| other)
    }

    /// What the write at hand waits for.
    pub fn held(&mut self) -> Option<Arc<Notify>> {
        let next = self.writes + 1;
        let held = self.hold.take_if(|(write, _)| *write == next).map(|(_, release)| release);
        if held.is_some() {
            self.holding.notify_one();
        }
        held
    }

    /// What the read at hand waits for.
    pub fn held_read(&mut self, resource: &str) -> Option<Arc<Notify>> {
        let (_, left, _) = self.hold_read.as_mut().filter(|(of, ..)| *of == resource)?;
        *left -= 1;
        let held = self.hold_read.take_if(|(_, left, _)| *left == 0).map(|(.., release)| release);
        if held.is_some() {
            self.holding.notify_one();
        }
        held
    }

    pub fn refuses_reads_of(&self, resource: &str) -> bool {
        self.unreadable == Some(resource)
    }

    pub fn forbids(&self, resource: &str, name: &str) -> bool {
        self.forbidden.is_some_and(|(of, start)| of == resource && name.starts_with(start))
    }

    pub fn staleness(&mut self, resource: &str) -> Option<usize> {
        self.stale.take_if(|(of, _)| *of == resource).map(|(_, versions)| versions)
    }

    pub fn die(&self) {
        self.death.notify_one();
    }

    /// To be told of the operator's death.
    pub fn death(&self) -> Arc<Notify> {
        self.death.clone()
    }
}
