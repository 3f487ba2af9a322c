//! The answers' way out of the worker to one client stream: batches, bounded by what the stream may have in hand.

use std::sync::atomic::{AtomicUsize, Ordering};

use skerry_core::command::ReadResult;
use skerry_core::node::Answer;
use tokio::sync::{Notify, mpsc};

/// Requests that one stream may have in hand; its reader waits beyond this, and the client's window fills.
pub const SESSION_REQUESTS_MAX: usize = 4_096;
/// Bytes of answers that may wait for one stream's client before its reader waits.
const UNDELIVERED_BYTES_MAX: usize = 8 << 20;

/// Answers, each with the client's own number.
pub type Answers = Vec<(u64, Answer)>;

/// One client stream, as the worker knows it.
#[derive(Debug)]
pub struct Session {
    answers: mpsc::Sender<Answers>,
    in_hand: AtomicUsize,
    undelivered_bytes: AtomicUsize,
    room: Notify,
}

impl Session {
    /// A new stream, and where its answers come out. The queue has room for a batch per request in hand, so that
    /// the worker, which never waits, never finds it full.
    pub fn new() -> (Self, mpsc::Receiver<Answers>) {
        let (answers, receiver) = mpsc::channel(SESSION_REQUESTS_MAX);
        let (in_hand, undelivered_bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        (Self { answers, in_hand, undelivered_bytes, room: Notify::new() }, receiver)
    }

    /// Requests in hand.
    pub fn in_hand(&self) -> usize {
        self.in_hand.load(Ordering::Acquire)
    }

    /// Waits until so many requests more may be in hand, and counts them. To be called by the stream's only reader,
    /// with at most [`SESSION_REQUESTS_MAX`].
    pub async fn admit(&self, requests: usize) {
        loop {
            let room = self.room.notified();
            let fits = self.in_hand() + requests <= SESSION_REQUESTS_MAX;
            if fits && self.undelivered_bytes.load(Ordering::Acquire) <= UNDELIVERED_BYTES_MAX {
                self.in_hand.fetch_add(requests, Ordering::AcqRel);
                return;
            }
            room.await;
        }
    }

    /// Hands answers over. A client that is gone does not matter.
    pub fn answer(&self, answers: Answers) {
        let bytes = answers.iter().map(|(_, answer)| answer_bytes(answer)).sum();
        self.undelivered_bytes.fetch_add(bytes, Ordering::AcqRel);
        let _gone = self.answers.try_send(answers);
    }

    /// Answers that were taken out for the client.
    pub fn delivered(&self, answers: &Answers) {
        let bytes = answers.iter().map(|(_, answer)| answer_bytes(answer)).sum();
        self.undelivered_bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.in_hand.fetch_sub(answers.len(), Ordering::AcqRel);
        self.room.notify_one();
    }
}

fn answer_bytes(answer: &Answer) -> usize {
    match answer {
        Answer::Read(Ok(ReadResult::Value(Some(record)))) => record.key.len() + record.value.len(),
        Answer::Read(Ok(ReadResult::Page { records, .. })) => records.iter().map(|r| r.key.len() + r.value.len()).sum(),
        Answer::Read(Ok(ReadResult::Value(None)) | Err(_)) | Answer::Write(_) | Answer::Admin(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use skerry_core::command::Outcome;
    use skerry_core::time::Version;

    use super::*;

    #[tokio::test]
    async fn a_full_stream_waits_until_answers_were_delivered() {
        let (session, mut receiver) = Session::new();
        session.admit(SESSION_REQUESTS_MAX).await;
        assert!(tokio::time::timeout(Duration::from_millis(1), session.admit(1)).await.is_err());
        session.answer(vec![(1, Answer::Write(Ok(Outcome::Applied(Version(1)))))]);
        let answers = receiver.recv().await.unwrap();
        session.delivered(&answers);
        session.admit(1).await;
        assert_eq!(session.in_hand(), SESSION_REQUESTS_MAX);
    }
}
