//! The requests that the core has and has not answered yet: token to reply. Answers leave in one batch a stream and
//! round, so that a stream's task wakes once, not once an answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use skerry_core::ids::Token;
use skerry_core::node::Answer;

use crate::inbox::{Ask, Reply};
use crate::metrics::{Metrics, Operation};
use crate::session::{Answers, Session};

/// By token. Bounded by [`crate::inbox::REQUESTS_MAX`], which is checked before a request comes here.
#[derive(Debug, Default)]
pub(super) struct Pending {
    last: u64,
    waiting: HashMap<Token, Waiting>,
    batches: HashMap<usize, (Arc<Session>, Answers)>,
}

#[derive(Debug)]
struct Waiting {
    reply: Reply,
    operation: Operation,
    since: Instant,
}

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// A token for a request that goes to the core now.
    pub(super) fn add(&mut self, reply: Reply, ask: &Ask, since: Instant) -> Token {
        self.last += 1;
        let token = Token(self.last);
        self.waiting.insert(token, Waiting { reply, operation: Operation::of(ask), since });
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
            metrics.answered(waiting.operation, &answer, seconds);
            match waiting.reply {
                // A caller that is gone does not matter.
                Reply::Once(reply) => drop(reply.send(answer)),
                Reply::Session(session, number) => {
                    let batch =
                        self.batches.entry(Arc::as_ptr(&session).addr()).or_insert_with(|| (session, Vec::new()));
                    batch.1.push((number, answer));
                }
            }
        }
        for (_, (session, answers)) in self.batches.drain() {
            session.answer(answers);
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;
    use skerry_core::command::Outcome;
    use skerry_core::node::AdminRequest;
    use skerry_core::time::Version;
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn answers_of_one_round_reach_a_stream_as_one_batch_and_a_token_is_answered_once() {
        let metrics = Metrics::new(&mut Registry::default());
        let (session, mut stream) = Session::new();
        let session = Arc::new(session);
        let (once, mut call) = oneshot::channel();
        let mut pending = Pending::default();
        let ask = Ask::Admin(AdminRequest::Status);
        let now = Instant::now();
        let a = pending.add(Reply::Session(session.clone(), 70), &ask, now);
        let b = pending.add(Reply::Session(session, 71), &ask, now);
        let c = pending.add(Reply::Once(once), &ask, now);
        let answer = Answer::Write(Ok(Outcome::Applied(Version(5))));
        let answers = vec![(a, answer.clone()), (b, answer.clone()), (c, answer.clone()), (c, answer.clone())];
        assert_eq!(pending.answer(answers, &metrics), 3);
        assert_eq!(stream.try_recv().unwrap(), vec![(70, answer.clone()), (71, answer.clone())]);
        assert!(stream.try_recv().is_err());
        assert_eq!(call.try_recv().unwrap(), answer);
        assert_eq!(pending.len(), 0);
    }
}
