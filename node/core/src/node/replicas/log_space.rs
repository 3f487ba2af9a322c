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
    /// True if they take much, and what is left waits for the store.
    pub(in crate::node) wants_sync: bool,
}

/// With more than this the logs are cut: followers take entries up to the bound itself. Were both the same, a node that is
/// full and cannot cut more would take each entry only once its store has synced those before, at the pace of heartbeats.
fn most_before_cut(config: &NodeConfig) -> usize {
    let all = config.log_memory_bytes_max;
    if is_planted(Planted::LogsCutOnlyWhenFull) { all } else { all / 8 * 7 }
}

impl Replicas {
    /// Has the logs forget what nobody needs, and more while they take too much together.
    pub(in crate::node) fn cut_logs(&mut self, config: &NodeConfig) -> Cuts {
        let mut cuts = Cuts::default();
        self.forget(|_| true, |replica| replica.cut(config.log_keep_bytes, usize::MAX), &mut cuts.cuts);
        // Early enough that the store has synced what may be forgotten before it must be.
        cuts.wants_sync = self.held().log > config.log_memory_bytes_max / 4 * 3;
        let all = most_before_cut(config);
        // What nobody needs now goes first, so that a copy that lags or is being built does not start anew for it.
        let mut order = [LogUse::NotNeeded, LogUse::ByCopyThatLags, LogUse::BySnapshot];
        if is_planted(Planted::NeededLogsCutFirst) {
            order.reverse();
        }
        for log_use in order {
            let is_any_kept = self.cut_to_share(log_use, (all, config.log_keep_bytes), &mut cuts);
            if log_use == LogUse::NotNeeded && self.waits_for_sync(is_any_kept) {
                break;
            }
        }
        cuts
    }

    /// True if what copies need is not cut yet: the store is about to sync what nobody needs. Only from one look to the
    /// next: a store may hang.
    fn waits_for_sync(&mut self, is_any_kept: bool) -> bool {
        let has_waited = std::mem::replace(&mut self.logs_wait_for_sync, is_any_kept);
        is_any_kept && !has_waited && !is_planted(Planted::NeededLogsCutFirst)
    }

    /// While the logs take too much together, those that nobody needs get half of it, and all others the other half: those
    /// from which copies go on that snapshots bring up, if there are any, a quarter of their own. True if some keep more.
    fn cut_to_share(&mut self, log_use: LogUse, (all, keep): (usize, usize), cuts: &mut Cuts) -> bool {
        if self.held().log <= all || is_planted(Planted::LogMemoryUnbounded) {
            return false;
        }
        let count = |log_use| self.all().filter(|replica| LogUse::of(replica) == log_use).count();
        let is_half = log_use != LogUse::BySnapshot && (log_use == LogUse::NotNeeded || count(LogUse::BySnapshot) == 0);
        let most = all / if is_half { 2 } else { 4 } / count(log_use).max(1);
        let is_meant = |replica: &Replica| LogUse::of(replica) == log_use;
        // A copy that lacks the last entry does not need those before.
        let has_unneeded = log_use == LogUse::ByCopyThatLags && !is_planted(Planted::NeededLogsCutWhole);
        if has_unneeded {
            self.forget(is_meant, |replica| replica.cut_unneeded(most), &mut cuts.cuts);
        }
        if !has_unneeded || self.held().log > all {
            self.forget(is_meant, |replica| replica.cut(keep, most), &mut cuts.cuts);
        }
        self.held().log > all && self.all().any(|replica| LogUse::of(replica) == log_use && replica.log_bytes() > most)
    }
}
