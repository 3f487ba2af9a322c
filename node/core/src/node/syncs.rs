//! The syncs of this node's store: when one is wanted, which one runs, and what the next one covers.

/// Owner of the marks: each sync has one, and covers all that was written before it began.
#[derive(Debug)]
pub(super) struct Syncs {
    /// Mark of the last sync that began.
    mark: u64,
    is_running: bool,
    is_wanted: bool,
    /// True if something was written to the store since the last sync began.
    is_unsynced: bool,
}

impl Syncs {
    /// Of a store that has just been opened: nobody knows what the process before has left unsynced.
    pub(super) fn new() -> Self {
        Self { mark: 0, is_running: false, is_wanted: false, is_unsynced: true }
    }

    /// Something was written to the store. No hurry.
    pub(super) fn written(&mut self) {
        self.is_unsynced = true;
    }

    /// The store is to be synced as soon as may be.
    pub(super) fn want(&mut self) {
        self.is_wanted = true;
    }

    /// The same, if there is anything that a sync would make durable.
    pub(super) fn want_if_written(&mut self) {
        self.is_wanted |= self.is_unsynced;
    }

    /// Mark of the next sync, which covers all that is written by now.
    pub(super) fn next_mark(&self) -> u64 {
        self.mark + 1
    }

    /// One sync at a time; what is written while it runs waits for the next. The mark of the one that is to begin now.
    pub(super) fn begin(&mut self) -> Option<u64> {
        if !self.is_wanted || self.is_running {
            return None;
        }
        self.mark += 1;
        (self.is_wanted, self.is_unsynced, self.is_running) = (false, false, true);
        Some(self.mark)
    }

    /// The sync with this mark has finished. True if it is the one that runs.
    pub(super) fn finished(&mut self, mark: u64) -> bool {
        let is_this = self.is_running && self.mark == mark;
        self.is_running &= !is_this;
        is_this
    }

    /// (True if one is wanted, true if it would make anything durable.)
    #[cfg(test)]
    pub(super) fn waits(&self) -> (bool, bool) {
        (self.is_wanted, self.is_unsynced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Syncs {
        let mut syncs = Syncs::new();
        syncs.want();
        syncs
    }

    #[test]
    fn one_sync_runs_at_a_time_and_what_is_written_meanwhile_waits_for_the_next() {
        let mut syncs = written();
        let first = syncs.begin().expect("one is wanted");
        assert_eq!((syncs.waits(), syncs.begin()), ((false, false), None));
        syncs.written();
        syncs.want_if_written();
        assert_eq!(syncs.begin(), None);
        assert!(syncs.finished(first));
        assert_eq!(syncs.begin(), Some(first + 1));
        assert!(!syncs.finished(first), "that was the one before");
        syncs.want();
        assert_eq!(syncs.begin(), None, "the second runs yet");
    }

    #[test]
    fn the_next_mark_covers_what_is_written_before_it_begins() {
        let mut syncs = written();
        let next = syncs.next_mark();
        assert_eq!(syncs.begin(), Some(next));
        syncs.written();
        assert_eq!(syncs.next_mark(), next + 1, "the one that runs may have missed it");
    }

    #[test]
    fn a_store_in_which_nothing_was_written_is_not_synced_for_nothing() {
        let mut syncs = written();
        let first = syncs.begin().expect("one is wanted");
        assert!(syncs.finished(first));
        syncs.want_if_written();
        assert_eq!(syncs.begin(), None);
        syncs.written();
        syncs.want_if_written();
        assert!(syncs.begin().is_some());
    }
}
