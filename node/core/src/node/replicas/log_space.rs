//! What the logs of a node's replicas forget, so that together they stay within their memory.

use crate::log::LogCut;
use crate::node::NodeConfig;
use crate::node::replicas::Replicas;
use crate::planted::{Planted, is_planted};
use crate::replica::Replica;

/// What the older entries of a log are there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LogUse {
    NotNeeded,
    ByCopyThatLags,
    BySnapshot,
}

impl LogUse {
    fn of(replica: &Replica) -> Self {
        match replica.is_transferring() {
            true => Self::BySnapshot,
            false if replica.is_log_needed() => Self::ByCopyThatLags,
            false => Self::NotNeeded,
        }
    }
}

/// What was dropped from the logs in memory.
#[derive(Debug, Default)]
pub(in crate::node) struct Cuts {
    /// What the log on disk may forget, for each replica.
    pub(in crate::node) cuts: Vec<LogCut>,
    /// True if they take too much and what is left waits for the store.
    pub(in crate::node) wants_sync: bool,
}

impl Replicas {
    /// Has the logs forget what nobody needs, and more while they take too much together.
    pub(in crate::node) fn cut_logs(&mut self, config: &NodeConfig) -> Cuts {
        let mut cuts = Cuts::default();
        self.forget(|_| true, (config.log_keep_bytes, usize::MAX), &mut cuts.cuts);
        // What nobody needs now goes first, so that a copy that lags or is being built does not start anew for it.
        let mut order = [LogUse::NotNeeded, LogUse::ByCopyThatLags, LogUse::BySnapshot];
        if is_planted(Planted::NeededLogsCutFirst) {
            order.reverse();
        }
        for log_use in order {
            self.cut_to_share(log_use, config, &mut cuts);
        }
        cuts
    }

    /// While the logs take too much together, those that nobody needs get half of it, and all others the other half: those
    /// from which copies go on that snapshots bring up, if there are any, a quarter of their own.
    fn cut_to_share(&mut self, log_use: LogUse, config: &NodeConfig, cuts: &mut Cuts) {
        let all = config.log_memory_bytes_max;
        if self.held().log <= all || is_planted(Planted::LogMemoryUnbounded) {
            return;
        }
        let count = |log_use| self.all().filter(|replica| LogUse::of(replica) == log_use).count();
        let is_half = log_use != LogUse::BySnapshot && (log_use == LogUse::NotNeeded || count(LogUse::BySnapshot) == 0);
        let most = all / if is_half { 2 } else { 4 } / count(log_use).max(1);
        let limits = (config.log_keep_bytes, most);
        self.forget(|replica| LogUse::of(replica) == log_use, limits, &mut cuts.cuts);
        cuts.wants_sync = true;
    }
}
