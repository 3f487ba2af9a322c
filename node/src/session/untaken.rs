//! What the clients of each connection have asked for and not taken yet.
//!
//! A client that stops reading leaves its answers here: whole, in pieces that the transport has not asked for, or in the
//! transport's own buffers. None of it comes back before the connection ends. So when memory is short, a connection on
//! which an answer has stood still for long is closed: what it held is free at once. A session is told first, by
//! [`Sessions`](super::Sessions), which wait half as long.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::End;

/// With memory short, a connection on which an answer was not taken further for so long is closed.
pub(super) const STILL_MAX: Duration = Duration::from_secs(10);

/// The answers of one connection that are on their way out.
#[derive(Debug)]
pub struct Untaken {
    end: Arc<End>,
    answers: Mutex<Answers>,
}

#[derive(Debug, Default)]
struct Answers {
    last: u64,
    open: BTreeMap<u64, Waiting>,
    is_listed: bool,
}

#[derive(Debug)]
struct Waiting {
    bytes: usize,
    moved: Instant,
}

/// One answer, until it is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    of: Arc<Untaken>,
    number: u64,
}

impl Untaken {
    /// Of a connection that this ends.
    pub(crate) fn of(end: Arc<End>) -> Self {
        Self { end, answers: Mutex::default() }
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer of so many bytes begins. `list` is called with the connection's first one.
    pub(crate) fn begin(self: &Arc<Self>, bytes: usize, list: impl FnOnce(&Arc<Self>)) -> Ticket {
        let mut answers = self.answers();
        answers.last += 1;
        let number = answers.last;
        answers.open.insert(number, Waiting { bytes, moved: Instant::now() });
        let is_first = !std::mem::replace(&mut answers.is_listed, true);
        drop(answers);
        if is_first {
            list(self);
        }
        Ticket { of: self.clone(), number }
    }

    /// True if an answer waits and its client has taken nothing of it for so long.
    fn stands_still(&self, patience: Duration) -> bool {
        self.answers().open.values().any(|waiting| waiting.bytes > 0 && waiting.moved.elapsed() >= patience)
    }
}

impl Ticket {
    /// The client has taken a part: so many bytes are left.
    pub(crate) fn moved(&self, bytes: usize) {
        if let Some(waiting) = self.of.answers().open.get_mut(&self.number) {
            *waiting = Waiting { bytes, moved: Instant::now() };
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.of.answers().open.remove(&self.number);
    }
}

/// The connections that have had an answer.
#[derive(Debug, Default)]
pub struct Connections(Mutex<Vec<Weak<Untaken>>>);

impl Connections {
    /// Adds one. It leaves when it is dropped.
    pub(crate) fn add(&self, connection: &Arc<Untaken>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(connection));
    }

    /// Forgets connections that are gone and, if memory is short, closes those on which an answer has stood still for so
    /// long. Returns how many.
    pub(super) fn look(&self, is_short: bool, patience: Duration) -> usize {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|connection| connection.strong_count() > 0);
        if !is_short {
            return 0;
        }
        let open: Vec<_> = open.iter().filter_map(Weak::upgrade).collect();
        let still = open.iter().filter(|connection| !connection.end.is_told() && connection.stands_still(patience));
        still.map(|connection| connection.end.tell()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_closed_when_memory_is_short_and_one_of_its_answers_stands_still() {
        let connections = Connections::default();
        let [reads, stands] = [(); 2].map(|()| Arc::new(Untaken::of(Arc::default())));
        let moving = reads.begin(1_000, |connection| connections.add(connection));
        let still = stands.begin(1_000, |connection| connections.add(connection));
        let more = stands.begin(10, |_| unreachable!("it is listed"));
        assert_eq!(connections.look(false, Duration::ZERO), 0);
        assert_eq!(connections.look(true, STILL_MAX), 0, "they have just come");
        moving.moved(0);
        more.moved(0);
        assert_eq!(connections.look(true, Duration::ZERO), 1);
        assert!(stands.end.is_told() && !reads.end.is_told());
        assert_eq!(connections.look(true, Duration::ZERO), 0, "once");
        drop((still, more, stands));
        connections.look(true, Duration::ZERO);
        assert_eq!(connections.0.lock().unwrap().len(), 1, "what is gone is forgotten");
    }

    #[test]
    fn an_answer_that_was_dropped_or_was_taken_a_part_of_does_not_stand_still() {
        let connection = Arc::new(Untaken::of(Arc::default()));
        let ticket = connection.begin(1_000, |_| ());
        assert!(connection.stands_still(Duration::ZERO));
        ticket.moved(10);
        assert!(!connection.stands_still(Duration::from_secs(3_600)) && connection.stands_still(Duration::ZERO));
        drop(ticket);
        assert!(!connection.stands_still(Duration::ZERO));
    }
}
