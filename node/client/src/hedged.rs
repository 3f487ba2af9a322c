//! One attempt at a quorum shard: a copy is asked, and while that is silent another one, and so on. What each answer is to the
//! operation, [`skerry_core::client::round`] decides. Copies that take a write are told that it may have been sent before.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use skerry_core::client::attempts::Sent;
use skerry_core::client::progress::Progress;
use skerry_core::client::round::{Failed, Next, Round};
use skerry_core::command::Again;
use skerry_core::ids::NodeId;
use skerry_core::map::ShardRecord;
use skerry_proto::v1;
use skerry_proto::v1::session_item::Op;
use skerry_proto::v1::session_result::Result as Answer;
use tokio::time::{Instant, sleep_until};

use crate::client::Inner;
use crate::operation::{ATTEMPT_MAX, Attempted, Times};
use crate::retry::Fault;
use crate::routes::Routes;
use crate::wire::{Denial, QuorumDenial};

/// A copy tells after five seconds that too few others have answered. Whoever is silent for longer tells nothing.
const VERDICT_MAX: Duration = Duration::from_millis(5_500);

impl Inner {
    /// Asks the copies of a quorum shard until one has answered.
    pub(crate) async fn ask_copies(
        &self,
        (routes, shard): (&Routes, &ShardRecord),
        (item, bytes): (v1::SessionItem, usize),
        progress: &mut Progress,
        times: Times,
    ) -> Result<Answer, Attempted> {
        let began = Instant::now();
        let mut round = Round::new(matches!(item.op, Some(Op::Write(_))));
        let nodes =
            self.coordinators.order(shard, |node| self.is_near(routes, node), (progress.turn, progress.tries), began);
        progress.copies = nodes.len();
        let mut nodes = nodes.into_iter();
        let mut waiting = FuturesUnordered::new();
        let ask = |node: NodeId, sent: &mut Sent| {
            let (attempt, again) = sent.another(times.now());
            let asked = self.ask(node, sent_before(item.clone(), again), bytes, (began + VERDICT_MAX, times.until));
            async move { (node, attempt, asked.await) }
        };
        let Some(first) = nodes.next() else {
            self.refresh();
            return Err(Fault::NoRoute.into());
        };
        progress.ask();
        round.ask();
        waiting.push(ask(first, &mut progress.sent));
        // Whoever was asked last and has said nothing yet, and since when. Those before it are shunned by now.
        let mut last = Some((first, began));
        let mut hedge_at = began + ATTEMPT_MAX;
        loop {
            let (node, attempt, answered) = tokio::select! {
                biased;
                Some(answered) = waiting.next() => answered,
                () = sleep_until(hedge_at), if nodes.len() > 0 => {
                    if let Some((silent, _)) = last {
                        self.coordinators.shun(silent, Instant::now());
                    }
                    if let Some(next) = nodes.next() {
                        progress.ask();
                        round.ask();
                        waiting.push(ask(next, &mut progress.sent));
                        last = Some((next, Instant::now()));
                    }
                    hedge_at += ATTEMPT_MAX;
                    continue;
                }
            };
            let silent = last;
            last = last.filter(|(asked, _)| *asked != node);
            let next = match answered {
                Ok(answer) => {
                    self.coordinators.trust(node);
                    round.answered(&progress.sent, attempt, answer)
                }
                Err(Attempted::Fault(fault)) => {
                    self.learn(routes, shard, node, &fault, progress.tries);
                    self.learn_of_copy(node, &fault);
                    let (may_have_happened, is_of_all) = (fault.may_have_happened(), fault.is_of_all_copies());
                    progress.failed(may_have_happened);
                    round.failed(&mut progress.sent, attempt, fault, Failed { may_have_happened, is_of_all })
                }
                Err(Attempted::OutOfTime) => return Err(self.out_of_time(silent, progress, times)),
                Err(other) => return Err(other),
            };
            match next {
                Next::Wait => {}
                Next::Answered(answer) => return Ok(answer),
                Next::Failed(fault) => {
                    // What was sent to the others may happen yet.
                    progress.uncertain |= round.is_waiting();
                    return Err(fault.into());
                }
            }
        }
    }

    /// Time is up. Whoever was asked last, at that time, and has said nothing since may be silent for ever.
    fn out_of_time(&self, last: Option<(NodeId, Instant)>, progress: &mut Progress, times: Times) -> Attempted {
        progress.uncertain = true;
        if let Some((node, _)) = last.filter(|(_, asked)| times.is_silent_since(*asked)) {
            self.coordinators.shun(node, Instant::now());
        }
        Attempted::OutOfTime
    }

    /// What a fault tells of a node with a copy of a quorum shard.
    fn learn_of_copy(&self, node: NodeId, fault: &Fault) {
        match fault {
            Fault::Denied(Denial::Closing | Denial::Quorum(QuorumDenial::NotCoordinator { .. }))
            | Fault::Unreached { .. }
            | Fault::Lost { .. }
            | Fault::Silent { .. } => self.coordinators.shun(node, Instant::now()),
            // One copy's clock says nothing of the others'. What was seen of nodes' clocks is worth no more than that.
            Fault::Denied(Denial::Quorum(denial)) => {
                if let Some(allowed) = denial.allowed() {
                    self.request_ids.lower(allowed);
                }
            }
            Fault::Denied(_) | Fault::NoRoute | Fault::Answer(_) => {}
        }
    }
}

/// What is sent, with what is said of earlier attempts. `None` = there were none, or they surely have not happened.
fn sent_before(mut item: v1::SessionItem, again: Option<Again>) -> v1::SessionItem {
    if let Some(Op::Write(write)) = &mut item.op {
        write.again_ms = again.map(|again| again.first_sent_ms);
        write.attempt = again.map_or(0, |again| again.attempt);
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_goes_to_another_copy_says_for_how_long_it_may_have_been_there() {
        let item = || v1::SessionItem { op: Some(Op::Write(v1::WriteOp::default())), ..v1::SessionItem::default() };
        let told = |again| match sent_before(item(), again).op {
            Some(Op::Write(write)) => (write.again_ms, write.attempt),
            _ => (None, 0),
        };
        let again = Again { first_sent_ms: 1_503, attempt: 2 };
        assert_eq!((told(None), told(Some(again))), ((None, 0), (Some(1_503), 2)));
        let read = v1::SessionItem { op: Some(Op::Get(v1::GetOp::default())), ..v1::SessionItem::default() };
        assert_eq!(sent_before(read.clone(), Some(again)), read);
    }
}
