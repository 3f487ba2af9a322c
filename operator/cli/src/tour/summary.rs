//! The table at the tour's end: what happened in each phase, and what was checked.

use std::time::Duration;

use skerry_workload::Found;

use super::sides::Sides;
use crate::output::{Output, Paint, table_text};
use crate::view::size;

/// Violations told in words; the rest is counted.
const VIOLATIONS_TOLD: usize = 10;

/// The results of a tour.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Summary {
    /// What each phase was measured to, in the order in which they ran.
    pub(crate) phases: Vec<skerry_workload::Summary>,
    /// From the first phase to the last read.
    pub(crate) total: skerry_workload::Summary,
    /// The violations that the check has found.
    pub(crate) found: Found,
    /// Number of imported rows, in both tables together.
    pub(crate) rows: u64,
    /// Number of the imported rows that were there with their value at the end.
    pub(crate) rows_back: u64,
    /// What was done with the quorum tables, and found. `None` = this release has none.
    pub(crate) quorum: Option<Sides>,
}

impl Summary {
    /// True if nothing was lost, stale or impossible.
    pub(crate) fn is_good(&self) -> bool {
        self.rows_back == self.rows && self.found.is_nothing() && self.quorum.as_ref().is_none_or(Sides::is_good)
    }

    /// The results as text, painted for stdout.
    pub(crate) fn text(&self, output: &Output) -> String {
        let header = ["PHASE", "TOOK", "WRITES", "READS", "UNANSWERED", "LONGEST WAIT", "MOVED", "AT LEAST", "BYTES"];
        let phase = |p: &skerry_workload::Summary| {
            let moved = p.moved.unwrap_or_default();
            vec![
                p.phase.clone(),
                size::time(Duration::from_secs_f64(p.seconds)),
                size::count(p.acknowledged),
                size::count(p.reads),
                size::count(p.unanswered()),
                size::time(p.longest_wait()),
                format!("{} replicas", moved.replicas),
                moved.lower_bound.map_or_else(|| "?".to_owned(), |least| least.to_string()),
                size::bytes(moved.bytes),
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
        let of_quorum = self.quorum.iter().flat_map(|quorum| &quorum.violations);
        for violation in self.found.violations.iter().chain(of_quorum).take(VIOLATIONS_TOLD) {
            text.push_str(&format!("\n  {violation}"));
        }
        text
    }

    fn checks(&self) -> Vec<(&'static str, String, bool)> {
        let Found { lost, stale, impossible, .. } = self.found;
        let none = |count: u64| (size::count(count), count == 0);
        let unknown = format!("{} of unknown outcome, each placed or absent", size::count(self.total.unknown));
        let rows = format!("{} of {}", size::count(self.rows_back), size::count(self.rows));
        let mut checks = vec![
            ("writes acknowledged", size::count(self.total.acknowledged), self.total.acknowledged > 0),
            ("writes not acknowledged", unknown, true),
            ("reads, each checked", size::count(self.total.reads), self.total.reads > 0),
            ("acknowledged writes lost", none(lost).0, none(lost).1),
            ("stale reads", none(stale).0, none(stale).1),
            ("other contradictions", none(impossible).0, none(impossible).1),
            ("imported rows read back", rows, self.rows == self.rows_back),
        ];
        checks.extend(self.quorum.iter().flat_map(Sides::checks));
        checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        let total = skerry_workload::Summary { acknowledged: 2, reads: 3, ..skerry_workload::Summary::default() };
        Summary { phases: vec![], total, found: Found::default(), rows: 5, rows_back: 5, quorum: None }
    }

    #[test]
    fn one_missing_row_or_violation_is_not_good() {
        assert!(summary().is_good());
        assert!(!Summary { rows_back: 4, ..summary() }.is_good());
        for quorum in [
            Sides { violations: vec!["lost".to_owned()], ..Sides::default() },
            Sides { carts: 2, whole_carts: 1, ..Sides::default() },
        ] {
            assert!(!Summary { quorum: Some(quorum), ..summary() }.is_good());
        }
        for found in [
            Found { lost: 1, ..Found::default() },
            Found { stale: 1, ..Found::default() },
            Found { impossible: 1, ..Found::default() },
        ] {
            assert!(!Summary { found, ..summary() }.is_good());
        }
    }
}
