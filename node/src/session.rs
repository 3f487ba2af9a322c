//! The answers' way out of the worker to one client stream: bounded by what the stream may have in hand, and counted in
//! the node's memory budget until they are encoded. What becomes of streams and connections whose clients do not read.

mod end;
mod sessions;
mod untaken;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use skerry_core::command::ReadResult;
use skerry_core::node::Answer;
use tokio::sync::Notify;

pub use self::end::End;
pub use self::sessions::Sessions;
use self::untaken::STILL_MAX;
pub(crate) use self::untaken::Ticket;
pub use self::untaken::{Connections, Untaken};
use crate::budget::{Budget, Kind, Permit};

/// With so many requests in hand a stream takes no further frame: the client's window fills, and it waits.
pub const SESSION_REQUESTS_MAX: usize = 4_096;
/// With so many bytes of requests in hand, or of answers waiting for its client, neither.
const SESSION_BYTES_MAX: usize = 8 << 20;

/// Answers, each with the client's own number.
pub type Answers = Vec<(u64, Answer)>;

/// One client stream, as the worker knows it.
#[derive(Debug)]
pub struct Session {
    budget: Arc<Budget>,
    in_hand: AtomicUsize,
    request_bytes: AtomicUsize,
    outbox: Mutex<Outbox>,
    news: Notify,
}

/// The answers that wait to be sent to the client, with the memory that they take.
#[derive(Debug)]
struct Outbox {
    answers: VecDeque<(u64, Answer)>,
    permit: Permit,
    /// When the client last took something, or the first answer came that it has not taken.
    moved: Instant,
    is_ended: bool,
}

impl Session {
    /// A new stream, whose answers take memory from this budget.
    pub fn new(budget: Arc<Budget>) -> Self {
        let permit = budget.charge(Kind::Answers, 0);
        let outbox = Outbox { answers: VecDeque::new(), permit, moved: Instant::now(), is_ended: false };
        Self {
            budget,
            in_hand: AtomicUsize::new(0),
            request_bytes: AtomicUsize::new(0),
            outbox: Mutex::new(outbox),
            news: Notify::new(),
        }
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of the session's requests that are not answered yet.
    pub fn in_hand(&self) -> usize {
        self.in_hand.load(Ordering::Acquire)
    }

    /// True if another frame, of at most [`SESSION_REQUESTS_MAX`] requests, may be taken.
    pub fn has_room(&self) -> bool {
        self.in_hand() < SESSION_REQUESTS_MAX
            && self.request_bytes.load(Ordering::Acquire) < SESSION_BYTES_MAX
            && self.outbox().permit.bytes() < SESSION_BYTES_MAX
    }

    /// Counts requests that go to the worker, before they do, and their bytes.
    pub fn took(&self, requests: usize, bytes: usize) {
        self.in_hand.fetch_add(requests, Ordering::AcqRel);
        self.request_bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Hands answers over, to requests of so many bytes. A client that is gone does not matter.
    pub fn answer(&self, answers: Answers, request_bytes: usize) {
        self.request_bytes.fetch_sub(request_bytes, Ordering::AcqRel);
        let bytes = answers.iter().map(|(_, answer)| answer_bytes(answer)).sum();
        let mut outbox = self.outbox();
        if outbox.is_ended {
            self.in_hand.fetch_sub(answers.len(), Ordering::AcqRel);
            return;
        }
        if outbox.answers.is_empty() {
            outbox.moved = Instant::now();
        }
        outbox.permit.merge(self.budget.charge(Kind::Answers, bytes));
        outbox.answers.extend(answers);
        drop(outbox);
        self.news.notify_one();
    }

    /// True if answers wait to be sent.
    pub fn has_answers(&self) -> bool {
        !self.outbox().answers.is_empty()
    }

    /// Waits until there are answers, or the session was ended.
    pub async fn ready(&self) {
        loop {
            let news = self.news.notified();
            {
                let outbox = self.outbox();
                if outbox.is_ended || !outbox.answers.is_empty() {
                    return;
                }
            }
            news.await;
        }
    }

    /// Answers for the next frame, of about so many bytes, and the memory that they take. Empty if none wait.
    pub fn take(&self, frame_bytes: usize) -> (Answers, Permit) {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        let mut outbox = self.outbox();
        while bytes < frame_bytes
            && let Some((number, answer)) = outbox.answers.pop_front()
        {
            bytes += answer_bytes(&answer);
            taken.push((number, answer));
        }
        outbox.moved = Instant::now();
        let permit = outbox.permit.split(bytes);
        drop(outbox);
        self.in_hand.fetch_sub(taken.len(), Ordering::AcqRel);
        (taken, permit)
    }

    /// True if answers wait and the client has taken none for so long.
    pub fn is_stalled(&self, patience: Duration) -> bool {
        let outbox = self.outbox();
        !outbox.answers.is_empty() && outbox.moved.elapsed() >= patience
    }

    /// Gives up what waits for a client that does not read. Its stream is told so when its client reads again.
    pub fn end(&self) {
        let mut outbox = self.outbox();
        outbox.is_ended = true;
        let (given_up, permit) = (std::mem::take(&mut outbox.answers), outbox.permit.split(usize::MAX));
        drop(outbox);
        self.in_hand.fetch_sub(given_up.len(), Ordering::AcqRel);
        drop((given_up, permit));
        self.news.notify_one();
    }

    /// True once the session was ended.
    pub fn is_ended(&self) -> bool {
        self.outbox().is_ended
    }

    /// Requests, of so many bytes, that the worker did not take after all.
    pub fn returned(&self, requests: usize, bytes: usize) {
        self.in_hand.fetch_sub(requests, Ordering::AcqRel);
        self.request_bytes.fetch_sub(bytes, Ordering::AcqRel);
    }
}

/// Memory that an answer takes, about: keys and values, and what is around them.
pub fn answer_bytes(answer: &Answer) -> usize {
    const AROUND: usize = 96;
    match answer {
        Answer::Read(Ok(result @ (ReadResult::Page { records, .. } | ReadResult::Values { records, .. }))) => {
            AROUND * (1 + records.len()) + result.bytes()
        }
        Answer::Read(Ok(result @ ReadResult::Value(_))) => AROUND + result.bytes(),
        Answer::Read(Err(_)) | Answer::Write(_) | Answer::Admin(_) => AROUND,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use skerry_core::command::{Outcome, Record};
    use skerry_core::time::Version;

    use super::*;

    fn record(bytes: usize) -> Answer {
        let (key, value) = (Bytes::new(), Bytes::from(vec![0; bytes]));
        let record = Record { key, version: Version(1), value, expires_ms: None };
        Answer::Read(Ok(ReadResult::Value(Some(record))))
    }

    #[tokio::test]
    async fn a_full_stream_takes_no_frame_until_an_answer_was_taken() {
        let session = Session::new(Budget::new(1 << 30));
        session.took(SESSION_REQUESTS_MAX, 0);
        assert!(!session.has_room());
        session.answer(vec![(1, Answer::Write(Ok(Outcome::Applied(Version(1)))))], 0);
        assert!(!session.has_room());
        session.ready().await;
        assert_eq!(session.take(1).0.len(), 1);
        assert!(session.has_room());
    }

    #[test]
    fn bytes_of_requests_in_hand_stop_the_reading_of_a_stream_until_they_are_answered() {
        let session = Session::new(Budget::new(1 << 30));
        session.took(2, SESSION_BYTES_MAX);
        assert!(!session.has_room());
        session.answer(vec![(1, Answer::Write(Ok(Outcome::Applied(Version(1)))))], 1 << 20);
        assert!(session.has_room());
    }

    #[test]
    fn answers_take_memory_until_the_frame_after_theirs() {
        let budget = Budget::new(1 << 30);
        let session = Session::new(budget.clone());
        session.took(3, 0);
        session.answer((0..3).map(|number| (number, record(1_000))).collect(), 0);
        let all = budget.used_by(Kind::Answers);
        assert!((3_000..3_500).contains(&all), "{all}");
        let (taken, permit) = session.take(1);
        assert_eq!((taken.len(), budget.used_by(Kind::Answers)), (1, all));
        drop(permit);
        assert_eq!(budget.used_by(Kind::Answers), all / 3 * 2);
        drop(session);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_client_that_does_not_read_is_noticed_and_what_waits_for_it_is_given_up() {
        let budget = Budget::new(1 << 30);
        let session = Session::new(budget.clone());
        assert!(!session.is_stalled(Duration::ZERO), "nothing waits for it");
        session.took(2, 0);
        session.answer(vec![(1, record(1_000))], 0);
        assert!(session.is_stalled(Duration::ZERO) && !session.is_stalled(Duration::from_secs(3_600)));
        session.end();
        session.answer(vec![(2, record(1_000))], 0);
        assert_eq!((session.in_hand(), budget.used()), (0, 0));
        assert!(session.is_ended() && session.take(1).0.is_empty());
    }
}
