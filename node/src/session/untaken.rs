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
use crate::budget::{Budget, Kind, Permit};

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
    given: Option<Given>,
}

/// What the transport was given, of whatever answers, and the system has not taken from it. It keeps up to 400 KiB of each
/// answer, also of those that are over.
#[derive(Debug)]
struct Given {
    permit: Permit,
    moved: Instant,
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

    /// So many bytes were written to the connection.
    pub(crate) fn written(&self, bytes: usize) {
        let mut answers = self.answers();
        answers.given = answers.given.take().and_then(|Given { mut permit, .. }| {
            drop(permit.split(bytes));
            (permit.bytes() > 0).then(|| Given { permit, moved: Instant::now() })
        });
    }

    /// All that the transport could send was written, or it is gone.
    pub(crate) fn flushed(&self) {
        self.answers().given = None;
    }

    /// True if an answer waits, or what the transport has of answers, and its client has taken nothing of it for so long.
    pub(crate) fn stands_still(&self, patience: Duration) -> bool {
        let answers = self.answers();
        let is_given = answers.given.as_ref().is_some_and(|given| given.moved.elapsed() >= patience);
        is_given || answers.open.values().any(|waiting| waiting.bytes > 0 && waiting.moved.elapsed() >= patience)
    }
}

impl Ticket {
    /// The client has taken a part: so many bytes are left.
    pub(crate) fn moved(&self, bytes: usize) {
        if let Some(waiting) = self.of.answers().open.get_mut(&self.number) {
            *waiting = Waiting { bytes, moved: Instant::now() };
        }
    }

    /// The transport was given so many bytes of it: they count until they are written.
    pub(crate) fn given(&self, bytes: usize, budget: &Arc<Budget>) {
        let permit = budget.charge(Kind::Answers, bytes);
        let mut answers = self.of.answers();
        match &mut answers.given {
            Some(given) => given.permit.merge(permit),
            none => *none = Some(Given { permit, moved: Instant::now() }),
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
    pub(crate) fn look(&self, is_short: bool, patience: Duration) -> usize {
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

    #[test]
    fn what_the_transport_has_of_answers_that_are_over_counts_until_it_is_written() {
        let (connection, budget) = (Arc::new(Untaken::of(Arc::default())), Budget::new(1 << 20));
        for _ in 0..2 {
            connection.begin(0, |_| ()).given(1_000, &budget);
        }
        assert_eq!(budget.used_by(Kind::Answers), 2_000);
        assert!(connection.stands_still(Duration::ZERO) && !connection.stands_still(Duration::from_secs(3_600)));
        connection.written(1_500);
        assert_eq!(budget.used(), 500);
        connection.written(1_500);
        assert!(budget.used() == 0 && !connection.stands_still(Duration::ZERO));
        // Of an answer that its client gave up, the transport writes nothing more.
        connection.begin(0, |_| ()).given(1_000, &budget);
        connection.flushed();
        assert!(budget.used() == 0 && !connection.stands_still(Duration::ZERO));
    }
}
