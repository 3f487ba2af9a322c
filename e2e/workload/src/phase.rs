//! What is measured: counts, times and the longest pause, of one phase or of the whole run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::moves::Moved;

/// The longest time that is told apart, in microseconds; longer ones count as this.
const LONGEST_US: u64 = 600_000_000;

/// How a write is called whose condition did not hold.
pub(crate) const CONDITION_FAILED: &str = "write: condition failed";

/// Of one phase or of the whole run, as JSON tells it. Times are in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Name of the phase, as the scenario gave it.
    pub phase: String,
    /// Length of the phase, in seconds.
    pub seconds: f64,
    /// Number of writes that were acknowledged.
    pub acknowledged: u64,
    /// Number of writes that may have happened.
    pub unknown: u64,
    /// Number of reads that were answered.
    pub reads: u64,
    /// Number of operations without success, by kind of error.
    pub errors: BTreeMap<String, u64>,
    /// The longest time without an acknowledged write of anyone. One that lasts over a phase's end counts, as a whole, in both.
    pub longest_pause_ms: u64,
    /// The longest that one writer waited for an answer.
    pub longest_write_ms: u64,
    /// The longest that one reader waited for an answer.
    pub longest_read_ms: u64,
    /// Half of the acknowledged writes took no longer.
    pub write_p50_ms: f64,
    /// 99 of 100 took no longer.
    pub write_p99_ms: f64,
    /// Half of the answered reads took no longer.
    pub read_p50_ms: f64,
    /// 99 of 100 took no longer.
    pub read_p99_ms: f64,
    /// `None` = the database could not be asked at the end.
    pub moved: Option<Moved>,
}

/// Counts until it is summed up.
#[derive(Debug)]
pub(crate) struct Phase {
    name: String,
    begun: Instant,
    summary: Summary,
    last_acknowledged: Instant,
    writes: Histogram<u64>,
    reads: Histogram<u64>,
}

/// The result of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    Written,
    Read,
    /// The error's kind, and whether it was a write that may have happened.
    Failed(&'static str, bool),
}

impl Summary {
    /// Operations without an answer. A condition that failed, since another writer came first, is one.
    pub fn unanswered(&self) -> u64 {
        self.errors.iter().filter(|(kind, _)| *kind != CONDITION_FAILED).map(|(_, count)| count).sum()
    }

    /// The longest that anybody waited for an answer.
    pub fn longest_wait(&self) -> Duration {
        Duration::from_millis(self.longest_write_ms.max(self.longest_read_ms))
    }
}

impl Phase {
    /// Begins; the last acknowledged write may lie before.
    pub(crate) fn new(name: &str, now: Instant, last_acknowledged: Instant) -> Self {
        let histogram = || Histogram::new_with_max(LONGEST_US, 2).expect("the bounds are constants that suit");
        let (writes, reads) = (histogram(), histogram());
        Self { name: name.to_owned(), begun: now, summary: Summary::default(), last_acknowledged, writes, reads }
    }

    /// Begins the phase that follows this one.
    pub(crate) fn next(&self, name: &str, now: Instant) -> Self {
        Self::new(name, now, self.last_acknowledged)
    }

    /// An operation ended now, after so long.
    pub(crate) fn note(&mut self, came: Came, took: Duration, is_write: bool, now: Instant) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let summary = &mut self.summary;
        match came {
            Came::Written => {
                summary.acknowledged += 1;
                let pause = milliseconds(now.saturating_duration_since(self.last_acknowledged));
                summary.longest_pause_ms = summary.longest_pause_ms.max(pause);
                self.last_acknowledged = now;
                self.writes.saturating_record(us);
            }
            Came::Read => {
                summary.reads += 1;
                self.reads.saturating_record(us);
            }
            Came::Failed(kind, may_have_happened) => {
                *summary.errors.entry(kind.to_owned()).or_default() += 1;
                summary.unknown += u64::from(may_have_happened);
            }
        }
        let longest = if is_write { &mut summary.longest_write_ms } else { &mut summary.longest_read_ms };
        *longest = milliseconds(took).max(*longest);
    }

    /// As of now. A pause that goes on counts, unless writing is over.
    pub(crate) fn summary(&self, now: Instant, is_writing: bool) -> Summary {
        let mut summary = self.summary.clone();
        if is_writing {
            let pause = milliseconds(now.saturating_duration_since(self.last_acknowledged));
            summary.longest_pause_ms = summary.longest_pause_ms.max(pause);
        }
        summary.phase.clone_from(&self.name);
        summary.seconds = now.saturating_duration_since(self.begun).as_secs_f64();
        let at = |histogram: &Histogram<u64>, quantile| {
            Duration::from_micros(histogram.value_at_quantile(quantile)).as_secs_f64() * 1e3
        };
        (summary.write_p50_ms, summary.write_p99_ms) = (at(&self.writes, 0.5), at(&self.writes, 0.99));
        (summary.read_p50_ms, summary.read_p99_ms) = (at(&self.reads, 0.5), at(&self.reads, 0.99));
        summary
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_longest_pause_is_between_acknowledged_writes_of_anyone() {
        let start = Instant::now();
        let mut phase = Phase::new("a", start, start);
        phase.note(Came::Written, SECOND, true, start + SECOND);
        phase.note(Came::Read, SECOND, false, start + SECOND * 2);
        phase.note(Came::Failed("deadline", true), SECOND, true, start + SECOND * 3);
        phase.note(Came::Written, SECOND, true, start + SECOND * 4);
        phase.note(Came::Written, SECOND, true, start + SECOND * 5);
        let summary = phase.summary(start + SECOND * 6, true);
        assert_eq!((summary.longest_pause_ms, summary.acknowledged, summary.unknown), (3_000, 3, 1));
        assert_eq!(summary.errors, BTreeMap::from([("deadline".to_owned(), 1)]));
    }

    #[test]
    fn a_pause_over_the_end_of_a_phase_counts_in_both() {
        let start = Instant::now();
        let first = Phase::new("a", start, start);
        let mut second = first.next("b", start + SECOND);
        assert_eq!(first.summary(start + SECOND, true).longest_pause_ms, 1_000);
        second.note(Came::Written, SECOND, true, start + SECOND * 2);
        assert_eq!(second.summary(start + SECOND * 9, false).longest_pause_ms, 2_000);
    }
}
