//! The requests that the core has and has not answered yet: token to reply. Answers leave in one batch a stream and
//! round, so that a stream's task wakes once, not once an answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use skerry_core::ids::Token;
use skerry_core::node::Answer;

use crate::budget::{Kind, Permit};
use crate::inbox::Reply;
use crate::metrics::{Metrics, Operation};
use crate::session::{Answers, Session, answer_bytes};

/// Requests without an answer, by token. Bounded by [`crate::inbox::REQUESTS_MAX`], which is checked before a request
/// comes here.
#[derive(Debug, Default)]
pub(super) struct Pending {
    last: u64,
    waiting: HashMap<Token, Waiting>,
    batches: HashMap<usize, Batch>,
}

/// What was asked, as far as metrics tell it apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) operation: Operation,
    /// It is for a quorum table.
    pub(super) of_quorum: bool,
}

#[derive(Debug)]
struct Waiting {
    reply: Reply,
    asked: Asked,
    since: Instant,
    /// The memory that the request takes.
    permit: Permit,
}

/// Answers of one round to one stream.
#[derive(Debug)]
struct Batch {
    session: Arc<Session>,
    answers: Answers,
    request_bytes: usize,
}

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// A token for a request that goes to the core now.
    pub(super) fn add(&mut self, reply: Reply, asked: Asked, since: Instant, permit: Permit) -> Token {
        self.last += 1;
        let token = Token(self.last);
        self.waiting.insert(token, Waiting { reply, asked, since, permit });
        token
    }

    /// Sends answers to where they belong. Returns how many requests are done with.
    pub(super) fn answer(&mut self, answers: Vec<(Token, Answer)>, metrics: &Metrics) -> usize {
        let now = Instant::now();
        let mut done = 0;
        for (token, answer) in answers {
            let Some(waiting) = self.waiting.remove(&token) else { continue };
            done += 1;
            let seconds = now.saturating_duration_since(waiting.since).as_secs_f64();
            let Asked { operation, of_quorum } = waiting.asked;
            metrics.answered(operation, &answer, seconds);
            if of_quorum {
                metrics.quorum.coordinated(operation, seconds);
            }
            match waiting.reply {
                // A caller that is gone does not matter.
                Reply::Once(reply) => {
                    let counted = waiting.permit.another(Kind::Answers, answer_bytes(&answer));
                    drop(reply.send((answer, counted)));
                }
                Reply::Session(session, number) => {
                    let batch = self.batches.entry(Arc::as_ptr(&session).addr());
                    let new = || Batch { session, answers: Vec::new(), request_bytes: 0 };
                    let batch = batch.or_insert_with(new);
                    batch.answers.push((number, answer));
                    batch.request_bytes += waiting.permit.bytes();
                }
            }
        }
        for (_, Batch { session, answers, request_bytes }) in self.batches.drain() {
            session.answer(answers, request_bytes);
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;
    use skerry_core::command::Outcome;
    use skerry_core::time::Version;
    use tokio::sync::oneshot;

    use super::*;
    use crate::budget::{Budget, Share};

    #[test]
    fn answers_of_one_round_reach_a_stream_as_one_batch_and_a_token_is_answered_once() {
        let metrics = Metrics::new(&mut Registry::default());
        let budget = Budget::new(1 << 20);
        let session = Arc::new(Session::new(budget.clone()));
        let (once, mut call) = oneshot::channel();
        let mut pending = Pending::default();
        let ask = Asked { operation: Operation::Admin, of_quorum: true };
        let now = Instant::now();
        session.took(2, 30);
        let mut permit = budget.acquire(Kind::Requests, 60, Share::All).unwrap();
        let a = pending.add(Reply::Session(session.clone(), 70), ask, now, permit.split(10));
        let b = pending.add(Reply::Session(session.clone(), 71), ask, now, permit.split(20));
        let c = pending.add(Reply::Once(once), ask, now, permit.split(30));
        assert_eq!(budget.used_by(Kind::Requests), 60);
        let answer = Answer::Write(Ok(Outcome::Applied(Version(5))));
        let answers = vec![(a, answer.clone()), (b, answer.clone()), (c, answer.clone()), (c, answer.clone())];
        assert_eq!(pending.answer(answers, &metrics), 3);
        assert_eq!(budget.used_by(Kind::Requests), 0, "what is answered takes no memory");
        assert_eq!(session.take(usize::MAX).0, vec![(70, answer.clone()), (71, answer.clone())]);
        assert!(!session.has_answers());
        let (got, permit) = call.try_recv().unwrap();
        assert_eq!(got, answer);
        assert_eq!(budget.used_by(Kind::Answers), permit.bytes(), "what is on its way to a call takes memory");
        assert!(permit.bytes() > 0);
        assert_eq!(pending.len(), 0);
    }
}
