//! The history of one key, in bounded memory: at a moment at which nothing is under way on the key, it is checked and
//! cut down to what the next part has to be held against.
//!
//! Such a cut loses nothing. Every operation before it returned before any later one was sent, so of the past only the
//! highest version that was known counts, and writes of unknown outcome, which may still take effect at any time:
//! those are kept. They are bounded by the writers' number times the run's length, over the deadline of an operation.

use std::collections::BTreeSet;

use skerry_core::history::{Action, History, Operation, Violation, WriteOutcome};

/// From this length on, the next quiet moment is used to cut.
const CUT_AT: usize = 256;
/// No operation begins on a key with so many, so that a quiet moment comes.
const FULL_AT: usize = 2_048;

/// One key's operations since its last cut, and what the cut kept.
#[derive(Debug, Default)]
pub(crate) struct Window {
    operations: Vec<Operation>,
    kept: usize,
    under_way: usize,
}

impl Window {
    /// An operation is about to be sent. False = not on this key, not now.
    pub(crate) fn begin(&mut self) -> bool {
        let admitted = self.operations.len() - self.kept < FULL_AT;
        self.under_way += usize::from(admitted);
        admitted
    }

    /// It ended, and left this. `None` = nothing to be checked.
    pub(crate) fn end(&mut self, operation: Option<Operation>) -> Vec<Violation> {
        assert!(self.under_way > 0, "an operation ended that had not begun");
        self.under_way -= 1;
        self.operations.extend(operation);
        let is_long = self.operations.len() - self.kept >= CUT_AT;
        if self.under_way == 0 && is_long { self.cut() } else { Vec::new() }
    }

    /// Checks, and forgets what no later operation needs. Nothing may be under way.
    pub(crate) fn cut(&mut self) -> Vec<Violation> {
        assert!(self.under_way == 0, "cut while operations are under way");
        let mut history = History::default();
        for operation in &self.operations {
            history.record(b"", operation.clone());
        }
        self.operations = carry(&self.operations);
        self.kept = self.operations.len();
        history.check()
    }
}

/// What later operations have to be held against.
fn carry(operations: &[Operation]) -> Vec<Operation> {
    let found: BTreeSet<u64> = operations.iter().filter_map(|o| value_read(&o.action)).collect();
    let open = operations.iter().filter(|o| match o.action {
        Action::Write { value, outcome: WriteOutcome::Unknown, .. } => value.is_none_or(|v| !found.contains(&v)),
        Action::Write { .. } | Action::Read { .. } => false,
    });
    let mut carried: Vec<Operation> = open.cloned().collect();
    carried.extend(highest(operations));
    carried
}

/// The highest version that anyone knows of, as a write that was acknowledged when it became known.
fn highest(operations: &[Operation]) -> Option<Operation> {
    let known = operations.iter().filter_map(|o| match o.action {
        Action::Write { value, outcome: WriteOutcome::Acknowledged(version), .. } => Some((version, value, o)),
        Action::Read { found: Some((version, value)) } => Some((version, Some(value), o)),
        Action::Write { .. } | Action::Read { .. } => None,
    });
    // Of the writer and the readers of one version, the first that was told of it.
    let first = known.max_by_key(|(version, _, o)| (*version, std::cmp::Reverse(o.returned)));
    first.map(|(version, value, o)| {
        let outcome = WriteOutcome::Acknowledged(version);
        let sent = operations.iter().find(|w| is_write_of(&w.action, value)).map_or(o.invoked, |w| w.invoked);
        let action = Action::Write { value, expected: None, outcome };
        Operation { invoked: sent.min(o.returned), returned: o.returned, action }
    })
}

fn value_read(action: &Action) -> Option<u64> {
    if let Action::Read { found: Some((_, value)) } = action { Some(*value) } else { None }
}

fn is_write_of(action: &Action, of: Option<u64>) -> bool {
    matches!(action, Action::Write { value, .. } if *value == of)
}

#[cfg(test)]
mod tests;
