//! The table at the tour's end: what happened in each phase, and what was checked.

use std::time::Duration;

use skerry_core::history::Counts;

use super::ledger::{Counters, Verdict};
use super::moves::Moved;
use crate::output::{Output, Paint, table_text};
use crate::view::size;

/// Violations told in words; the rest is counted.
const VIOLATIONS_TOLD: usize = 10;

/// One phase under load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PhaseResult {
    /// What was done.
    pub(crate) title: String,
    /// How long it took.
    pub(crate) took: Duration,
    /// What readers and writers did meanwhile.
    pub(crate) counters: Counters,
    /// What moved.
    pub(crate) moved: Moved,
}

/// All that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    /// In order.
    pub(crate) phases: Vec<PhaseResult>,
    /// Of the history.
    pub(crate) counts: Counts,
    /// Of the check.
    pub(crate) verdict: Verdict,
    /// Imported rows, in both tables.
    pub(crate) rows: u64,
    /// Of these, those that were there with their value at the end.
    pub(crate) rows_back: u64,
}

impl Summary {
    /// True if nothing was lost, stale or impossible.
    pub(crate) fn is_good(&self) -> bool {
        self.rows_back == self.rows && self.verdict.violations.is_empty()
    }

    /// As text, painted for stdout.
    pub(crate) fn text(&self, output: &Output) -> String {
        let header = ["PHASE", "TOOK", "WRITES", "READS", "UNANSWERED", "LONGEST PAUSE", "MOVED", "AT LEAST", "BYTES"];
        let phase = |p: &PhaseResult| {
            vec![
                p.title.clone(),
                size::time(p.took),
                size::count(p.counters.writes),
                size::count(p.counters.reads),
                size::count(p.counters.failed),
                size::time(p.counters.longest_pause),
                format!("{} replicas", p.moved.replicas),
                p.moved.lower_bound.to_string(),
                size::bytes(p.moved.bytes),
            ]
        };
        let phases = table_text(&header, self.phases.iter().map(phase).collect());
        let checks: Vec<Vec<String>> = self
            .checks()
            .into_iter()
            .map(|(name, found, well)| {
                let mark = if well { output.paint(Paint::Good, "ok") } else { output.paint(Paint::Bad, "FAILED") };
                vec![name.to_owned(), found, mark]
            })
            .collect();
        let mut text = format!("{phases}\n\n{}", table_text(&["CHECKED", "FOUND", ""], checks));
        for violation in self.verdict.violations.iter().take(VIOLATIONS_TOLD) {
            text.push_str(&format!("\n  {violation}"));
        }
        text
    }

    fn checks(&self) -> Vec<(&'static str, String, bool)> {
        let Verdict { lost, stale, impossible, .. } = self.verdict;
        let none = |count: usize| (size::count(count as u64), count == 0);
        let unknown = format!("{} of unknown outcome, each placed or absent", size::count(self.counts.unknown as u64));
        let rows = format!("{} of {}", size::count(self.rows_back), size::count(self.rows));
        vec![
            ("writes acknowledged", size::count(self.counts.acknowledged as u64), self.counts.acknowledged > 0),
            ("writes not acknowledged", unknown, true),
            ("reads, each checked", size::count(self.counts.reads as u64), self.counts.reads > 0),
            ("acknowledged writes lost", none(lost).0, none(lost).1),
            ("stale reads", none(stale).0, none(stale).1),
            ("other contradictions", none(impossible).0, none(impossible).1),
            ("imported rows read back", rows, self.rows == self.rows_back),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        let counts = Counts { keys: 1, acknowledged: 2, unknown: 0, reads: 3 };
        Summary { phases: vec![], counts, verdict: Verdict::default(), rows: 5, rows_back: 5 }
    }

    #[test]
    fn one_missing_row_or_violation_is_not_good() {
        assert!(summary().is_good());
        assert!(!Summary { rows_back: 4, ..summary() }.is_good());
        let violation = skerry_core::history::Violation::Phantom {
            key: vec![],
            at: 0,
            value: 1,
            version: skerry_core::time::Version(1),
        };
        let verdict = Verdict { impossible: 1, violations: vec![violation], ..Verdict::default() };
        assert!(!Summary { verdict, ..summary() }.is_good());
    }
}
