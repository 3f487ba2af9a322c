//! What was done with a quorum table, in numbers.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use skerry_core::history::{QuorumWrite, WriteOutcome};

/// Counts of the operations on one quorum table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumCounts {
    /// Number of writes that were acknowledged.
    pub acknowledged: u64,
    /// Number of writes that may have happened.
    pub unknown: u64,
    /// Number of writes of which several attempts may have taken effect: the client had sent them again, or elsewhere as well.
    pub repeated: u64,
    /// Number of reads that were answered.
    pub reads: u64,
    /// Number of reads and writes without success, those of unknown outcome included.
    pub unanswered: u64,
    /// The longest that anybody waited for the end of an operation.
    pub longest: Duration,
}

impl QuorumCounts {
    /// A write has ended. Times are in microseconds.
    pub(crate) fn write(&mut self, write: &QuorumWrite) {
        match write.outcome {
            WriteOutcome::Acknowledged(_) => self.acknowledged += 1,
            WriteOutcome::Unknown => (self.unknown, self.unanswered) = (self.unknown + 1, self.unanswered + 1),
            WriteOutcome::Failed => self.unanswered += 1,
        }
        self.repeated += u64::from(write.is_repeated);
        self.took(write.invoked, write.returned);
    }

    /// A read was answered. Times are in microseconds.
    pub(crate) fn read(&mut self, invoked: u64, returned: u64) {
        self.reads += 1;
        self.took(invoked, returned);
    }

    /// A read was not answered. Times are in microseconds.
    pub(crate) fn unanswered_read(&mut self, invoked: u64, returned: u64) {
        self.unanswered += 1;
        self.took(invoked, returned);
    }

    fn took(&mut self, invoked: u64, returned: u64) {
        self.longest = self.longest.max(Duration::from_micros(returned.saturating_sub(invoked)));
    }
}
