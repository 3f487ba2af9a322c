//! Writes records, many under way at a time, and knows up to where all are written. Rows of one key are written in
//! their order: one after the other, however often each must be tried.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use skerry_client::{Key, ReadError, WriteError};

use super::bad::Raw;
use super::mark::Mark;
use super::record::{Item, Record, RecordError};
use crate::failure::Failure;

/// Between two notes of the progress.
const NOTE_EVERY: Duration = Duration::from_millis(500);

/// Why writing stopped. What was noted is written.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// A row could not be written.
    Row {
        /// Number of the row, from 0 on.
        row: u64,
        /// It is no record, or the database did not take it.
        why: NotWritten,
    },
    /// The progress could not be noted in the state file.
    Note(Failure),
}

/// Why a row is not written.
#[derive(Debug)]
pub(crate) enum NotWritten {
    /// The row is no valid record.
    NoRecord(RecordError),
    /// The database did not take it.
    Refused(WriteError),
    /// What the table has of its key could not be read.
    Unread(ReadError),
}

impl NotWritten {
    /// True if it is the row's own fault: other rows can be written all the same.
    fn is_of_the_row(&self) -> bool {
        match self {
            Self::NoRecord(_)
            | Self::Refused(WriteError::Key(_) | WriteError::Limit(_))
            | Self::Unread(ReadError::Key(_) | ReadError::Limit(_)) => true,
            Self::Refused(_) | Self::Unread(_) => false,
        }
    }

    /// The same as the failure of a command.
    pub(crate) fn failure(self) -> Failure {
        match self {
            Self::NoRecord(error) => Failure::from(error),
            Self::Refused(error) => Failure::from(error),
            Self::Unread(error) => Failure::from(error),
        }
    }
}

/// Who is told how an import goes.
pub(crate) trait Observer {
    /// So far all rows are done; told now and then, and at the end.
    fn note(&mut self, mark: &Mark) -> Result<(), Failure>;

    /// A row was left out, as a person has asked for.
    fn left_out(&mut self) {}

    /// A row cannot be written, and never will be as it is. `Ok` = pass over it.
    fn bad(&mut self, row: u64, why: NotWritten, raw: &Raw) -> Result<(), Stopped> {
        let _unseen = raw;
        Err(Stopped::Row { row, why })
    }
}

/// Writes all records with `put`, beginning after the mark; gives the number of rows, those before the mark included.
pub(crate) async fn write<Done>(
    items: impl Iterator<Item = Item>,
    mut mark: Mark,
    in_flight: usize,
    put: impl Fn(Record) -> Done,
    observer: &mut impl Observer,
) -> Result<u64, Stopped>
where
    Done: Future<Output = Result<(), NotWritten>>,
{
    let put = &put;
    let mut queue = Queue { items, busy: HashSet::new(), held: None };
    let mut writes = FuturesUnordered::new();
    let mut noted = Instant::now();
    let mut failed = None;
    loop {
        while failed.is_none() && writes.len() < in_flight && !mark.is_full() {
            let Some(Item { check, record, raw }) = queue.next() else { break };
            let row = mark.begin(check);
            match record {
                Ok(None) => {
                    observer.left_out();
                    mark.done(row);
                }
                Ok(Some(record)) => writes.push(async move {
                    let key = record.key.clone();
                    (row, key, raw, put(record).await)
                }),
                Err(error) => match observer.bad(row, NotWritten::NoRecord(error), &raw) {
                    Ok(()) => mark.done(row),
                    Err(stopped) => failed = Some(stopped),
                },
            }
        }
        // After a failure the rest is waited for, so that the mark is as high as can be.
        let Some((row, key, raw, written)) = writes.next().await else { break };
        queue.busy.remove(&key);
        let passed = match written {
            Ok(()) => Ok(()),
            Err(why) if why.is_of_the_row() => observer.bad(row, why, &raw),
            Err(why) => Err(Stopped::Row { row, why }),
        };
        match passed {
            Ok(()) => mark.done(row),
            Err(stopped) => drop(failed.get_or_insert(stopped)),
        }
        if noted.elapsed() >= NOTE_EVERY {
            observer.note(&mark).map_err(Stopped::Note)?;
            noted = Instant::now();
        }
    }
    observer.note(&mark).map_err(Stopped::Note)?;
    match failed {
        Some(stopped) => Err(stopped),
        None => Ok(mark.below()),
    }
}

/// What is to be written next. A row whose key is being written waits for that, and all after it with it.
struct Queue<I> {
    items: I,
    busy: HashSet<Key>,
    held: Option<Item>,
}

impl<I: Iterator<Item = Item>> Queue<I> {
    fn next(&mut self) -> Option<Item> {
        let item = self.held.take().or_else(|| self.items.next())?;
        let is_free = match &item.record {
            Ok(Some(record)) => self.busy.insert(record.key.clone()),
            Ok(None) | Err(_) => true,
        };
        if is_free {
            return Some(item);
        }
        self.held = Some(item);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::import::rows::RowError;

    #[derive(Default)]
    struct Seen {
        below: u64,
        bad: Vec<u64>,
        passes_over: bool,
    }

    impl Observer for Seen {
        fn note(&mut self, mark: &Mark) -> Result<(), Failure> {
            self.below = mark.below();
            Ok(())
        }

        fn bad(&mut self, row: u64, why: NotWritten, _: &Raw) -> Result<(), Stopped> {
            self.bad.push(row);
            if self.passes_over { Ok(()) } else { Err(Stopped::Row { row, why }) }
        }
    }

    fn item(key: &str, value: &str) -> Item {
        let record = match value {
            "bad" => Err(RowError::Array.into()),
            "left out" => Ok(None),
            value => {
                let key = Key::new(key.to_owned());
                Ok(Some(Record { key, value: value.into(), expires_ms: None, is_sibling: false }))
            }
        };
        Item { check: 1, record, raw: Raw::default() }
    }

    /// Writes, each taking so many turns as its value says; tells the order in which they took effect.
    async fn written(rows: &[(&str, &str)], seen: &mut Seen) -> (Vec<String>, Result<u64, Stopped>) {
        let log = RefCell::new(Vec::new());
        let put = async |record: Record| {
            let value = String::from_utf8(record.value).unwrap();
            for _ in 0..value.parse().unwrap_or(0) {
                tokio::task::yield_now().await;
            }
            if value == "huge" {
                let limit = skerry_core::limits::LimitExceeded::Value { bytes: 1 };
                return Err(NotWritten::Refused(WriteError::Limit(limit)));
            }
            let key = String::from_utf8(record.key.partition.to_vec()).unwrap();
            log.borrow_mut().push(format!("{key}{value}"));
            Ok(())
        };
        let items = rows.iter().map(|(key, value)| item(key, value));
        let ended = write(items, Mark::start(), 10, put, seen).await;
        (log.into_inner(), ended)
    }

    #[tokio::test]
    async fn rows_of_one_key_are_written_in_their_order_however_long_each_takes() {
        let rows = [("a", "9"), ("b", "0"), ("a", "3"), ("a", "0"), ("c", "0")];
        let (log, ended) = written(&rows, &mut Seen::default()).await;
        let of_a: Vec<&str> = log.iter().map(String::as_str).filter(|line| line.starts_with('a')).collect();
        assert_eq!((of_a, ended.unwrap()), (vec!["a9", "a3", "a0"], 5));
        assert_eq!(log[0], "b0", "another key does not wait");
    }

    #[tokio::test]
    async fn rows_that_are_left_out_are_done_and_hold_no_other_row_of_their_key_up() {
        let rows = [("a", "3"), ("a", "left out"), ("b", "0")];
        let mut seen = Seen::default();
        let (log, ended) = written(&rows, &mut seen).await;
        assert_eq!((log, ended.unwrap(), seen.below), (vec!["b0".to_owned(), "a3".to_owned()], 3, 3));
    }

    #[tokio::test]
    async fn bad_rows_stop_an_import_or_are_passed_over() {
        let rows = [("a", "0"), ("b", "bad"), ("c", "huge"), ("d", "0")];
        let mut seen = Seen { passes_over: true, ..Seen::default() };
        let (log, ended) = written(&rows, &mut seen).await;
        assert_eq!((log, ended.unwrap(), seen.bad, seen.below), (vec!["a0".into(), "d0".into()], 4, vec![1, 2], 4));

        let mut seen = Seen::default();
        let (log, ended) = written(&rows, &mut seen).await;
        assert!(matches!(ended, Err(Stopped::Row { row: 1, .. })));
        assert_eq!((log, seen.below), (vec!["a0".to_owned()], 1));
    }
}
