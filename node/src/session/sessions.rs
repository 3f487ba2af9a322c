//! The client streams that are open, so that one whose client does not read can be ended when memory is short.
//!
//! A stream whose client does not read is not read from either, so what waits for it is bounded; it keeps that for as
//! long as memory is plenty. When answers fill a quarter of the budget, or keep puts out together with the logs, streams
//! that have stood still are ended: their reads can be asked again and their writes are found by their request ids, while
//! everybody else's requests go on. What they, and all other answers that nobody takes, still have in the transport comes
//! back when their connection is closed, a while later.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Connections, STILL_MAX, Session};
use crate::budget::{Budget, Kind};

/// With memory short, a client that has taken no answer for so long is given up. Slow ones take something in this time.
const STALL_MAX: Duration = Duration::from_secs(5);
/// Time between two looks for sessions that stand still.
const LOOK: Duration = Duration::from_millis(500);
/// Memory is short when answers take this part of the budget: a quarter.
const ANSWERS_PART: usize = 4;
/// And when they take this part, a thirty-second, while more is in use than logs and pre-images may take, five eighths:
/// puts are refused above three quarters, and those that keep all puts out may be answers that nobody takes.
const SCARCE_ANSWERS_PART: usize = 32;

/// All open sessions of clients.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<Vec<Weak<Session>>>);

impl Sessions {
    /// Adds one. It leaves when it is dropped.
    pub fn add(&self, session: &Arc<Session>) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.push(Arc::downgrade(session));
    }

    /// Looks now and then, at these connections too, until told to stop.
    pub async fn watch(self: Arc<Self>, connections: Arc<Connections>, budget: Arc<Budget>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let is_short = is_short(&budget);
            let ended = self.look(is_short, STALL_MAX);
            if ended > 0 {
                warn!(sessions = ended, "memory is short: sessions whose clients do not read their answers are ended");
            }
            let closed = connections.look(is_short, STILL_MAX);
            if closed > 0 {
                warn!(connections = closed, "memory is short: connections whose clients do not read are closed");
            }
        }
    }

    /// Forgets streams that are gone and, if memory is short, ends those that stand still. Returns how many.
    fn look(&self, is_short: bool, patience: Duration) -> usize {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|session| session.strong_count() > 0);
        let stalled: Vec<_> = match is_short {
            true => open.iter().filter_map(Weak::upgrade).filter(|session| session.is_stalled(patience)).collect(),
            false => Vec::new(),
        };
        drop(open);
        stalled.iter().for_each(|session| session.end());
        stalled.len()
    }
}

fn is_short(budget: &Budget) -> bool {
    let (answers, limit) = (budget.used_by(Kind::Answers), budget.limit());
    let is_scarce_for_puts = budget.used() > limit / 8 * 5;
    answers > limit / ANSWERS_PART || (is_scarce_for_puts && answers > limit / SCARCE_ANSWERS_PART)
}

#[cfg(test)]
mod tests {
    use skerry_core::command::Outcome;
    use skerry_core::node::Answer;
    use skerry_core::time::Version;

    use super::*;
    use crate::budget::Share;

    #[test]
    fn a_stream_that_stands_still_is_ended_only_when_memory_is_short() {
        let (sessions, budget) = (Sessions::default(), Budget::new(1_000));
        let [reads, stands] = [(); 2].map(|()| Arc::new(Session::new(budget.clone())));
        sessions.add(&reads);
        sessions.add(&stands);
        stands.took(1, 0);
        stands.answer(vec![(1, Answer::Write(Ok(Outcome::Applied(Version(1)))))], 0);
        assert_eq!(sessions.look(false, Duration::ZERO), 0);
        assert_eq!(sessions.look(true, STALL_MAX), 0, "it has just come");
        assert_eq!(sessions.look(true, Duration::ZERO), 1);
        assert!(stands.is_ended() && !reads.is_ended());
        drop(stands);
        sessions.look(true, Duration::ZERO);
        assert_eq!(sessions.0.lock().unwrap().len(), 1, "what is gone is forgotten");
    }

    #[test]
    fn answers_that_nobody_takes_do_not_keep_every_put_out_beside_a_full_log() {
        let budget = Budget::new(64 << 20);
        budget.measured(Kind::Log, budget.limit() / 2);
        budget.measured(Kind::Preimages, budget.limit() / 8);
        let _answers = budget.charge(Kind::Answers, budget.limit() / 8);
        assert!(budget.acquire(Kind::Requests, 1_000, Share::Most).is_none());
        assert!(is_short(&budget), "or no put is ever taken again");
    }
}
