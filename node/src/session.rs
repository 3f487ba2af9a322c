//! The answers' way out of the worker to one client stream: batches, bounded by what the stream may have in hand.

use std::sync::atomic::{AtomicUsize, Ordering};

use skerry_core::command::ReadResult;
use skerry_core::node::Answer;
use tokio::sync::mpsc;

/// With so many requests in hand a stream takes no further frame: the client's window fills, and it waits.
pub const SESSION_REQUESTS_MAX: usize = 4_096;
/// With so many bytes of answers waiting for its client, neither.
const UNDELIVERED_BYTES_MAX: usize = 8 << 20;

/// Answers, each with the client's own number.
pub type Answers = Vec<(u64, Answer)>;

/// One client stream, as the worker knows it.
#[derive(Debug)]
pub struct Session {
    answers: mpsc::Sender<Answers>,
    in_hand: AtomicUsize,
    undelivered_bytes: AtomicUsize,
}

impl Session {
    /// A new stream, and where its answers come out. The queue has room for a batch per request in hand, so that
    /// the worker, which never waits, never finds it full.
    pub fn new() -> (Self, mpsc::Receiver<Answers>) {
        let (answers, receiver) = mpsc::channel(2 * SESSION_REQUESTS_MAX);
        (Self { answers, in_hand: AtomicUsize::new(0), undelivered_bytes: AtomicUsize::new(0) }, receiver)
    }

    /// Requests in hand.
    pub fn in_hand(&self) -> usize {
        self.in_hand.load(Ordering::Acquire)
    }

    /// True if another frame, of at most [`SESSION_REQUESTS_MAX`] requests, may be taken.
    pub fn has_room(&self) -> bool {
        self.in_hand() < SESSION_REQUESTS_MAX && self.undelivered_bytes.load(Ordering::Acquire) < UNDELIVERED_BYTES_MAX
    }

    /// Counts requests that go to the worker, before they do.
    pub fn took(&self, requests: usize) {
        self.in_hand.fetch_add(requests, Ordering::AcqRel);
    }

    /// Hands answers over. A client that is gone does not matter.
    pub fn answer(&self, answers: Answers) {
        let bytes = answers.iter().map(|(_, answer)| answer_bytes(answer)).sum();
        self.undelivered_bytes.fetch_add(bytes, Ordering::AcqRel);
        let _gone = self.answers.try_send(answers);
    }

    /// An answer was put into a frame for the client.
    pub fn delivered(&self, answer: &Answer) {
        self.undelivered_bytes.fetch_sub(answer_bytes(answer), Ordering::AcqRel);
        self.in_hand.fetch_sub(1, Ordering::AcqRel);
    }

    /// Requests that the worker did not take after all.
    pub fn returned(&self, requests: usize) {
        self.in_hand.fetch_sub(requests, Ordering::AcqRel);
    }
}

/// Bytes of keys and values in an answer.
pub fn answer_bytes(answer: &Answer) -> usize {
    match answer {
        Answer::Read(Ok(ReadResult::Value(Some(record)))) => record.key.len() + record.value.len(),
        Answer::Read(Ok(ReadResult::Page { records, .. })) => records.iter().map(|r| r.key.len() + r.value.len()).sum(),
        Answer::Read(Ok(ReadResult::Value(None)) | Err(_)) | Answer::Write(_) | Answer::Admin(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use skerry_core::command::Outcome;
    use skerry_core::time::Version;

    use super::*;

    #[tokio::test]
    async fn a_full_stream_takes_no_frame_until_an_answer_was_delivered() {
        let (session, mut receiver) = Session::new();
        session.took(SESSION_REQUESTS_MAX);
        assert!(!session.has_room());
        session.answer(vec![(1, Answer::Write(Ok(Outcome::Applied(Version(1)))))]);
        assert!(!session.has_room());
        let answers = receiver.recv().await.unwrap();
        session.delivered(&answers[0].1);
        assert!(session.has_room());
    }
}
