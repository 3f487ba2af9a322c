//! Whether the worker still works, asked of the worker itself: it answers at the end of a round, so neither a loop without
//! end nor a lock that is never given back passes for life.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::clock;

/// The question to the worker. One is asked at a time, whoever asks: the oldest that is unanswered counts.
#[derive(Debug, Default)]
pub struct Probe {
    /// When it was asked, on the monotonic clock, in milliseconds. 0 = it is answered.
    asked_ms: AtomicU64,
    answered: Notify,
}

impl Probe {
    /// Asks, has the worker woken by `wake`, and waits for the answer, for no longer than `wait`.
    pub(crate) async fn ask(&self, wait: Duration, wake: impl FnOnce()) {
        let answered = self.answered.notified();
        tokio::pin!(answered);
        answered.as_mut().enable();
        let now = clock::monotonic_ms().max(1);
        let _asked_before = self.asked_ms.compare_exchange(0, now, Ordering::AcqRel, Ordering::Acquire);
        wake();
        // Whether there was an answer is read from `unanswered_ms`, by whoever wants to know.
        let _in_time = timeout(wait, answered).await;
    }

    /// The worker has finished a round.
    pub(crate) fn answer(&self) {
        if self.asked_ms.load(Ordering::Relaxed) != 0 {
            self.asked_ms.store(0, Ordering::Release);
            self.answered.notify_waiters();
        }
    }

    /// For how long the worker has owed an answer at `now_ms`, in milliseconds. 0 = it owes none.
    pub(crate) fn unanswered_ms(&self, now_ms: u64) -> u64 {
        match self.asked_ms.load(Ordering::Acquire) {
            0 => 0,
            asked => now_ms.saturating_sub(asked),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn whoever_asks_gets_on_with_the_workers_answer() {
        let probe = Arc::new(Probe::default());
        let worker = probe.clone();
        probe.ask(Duration::from_secs(60), move || worker.answer()).await;
        assert_eq!(probe.unanswered_ms(u64::MAX), 0);
    }

    #[tokio::test]
    async fn a_worker_that_does_not_answer_owes_since_it_was_first_asked() {
        let probe = Probe::default();
        probe.ask(Duration::from_millis(1), || ()).await;
        let first = probe.asked_ms.load(Ordering::Acquire);
        probe.ask(Duration::from_millis(1), || ()).await;
        assert_eq!(probe.unanswered_ms(first + 5_000), 5_000);
        probe.answer();
        assert_eq!(probe.unanswered_ms(first + 5_000), 0);
    }
}
