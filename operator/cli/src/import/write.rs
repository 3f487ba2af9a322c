//! Writes records, many under way at a time, and knows up to where all are written.

use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use skerry_client::{Client, Key, WriteError};

use super::checkpoint::Mark;
use super::record::RecordError;
use crate::failure::Failure;

/// Between two notes of the progress.
const NOTE_EVERY: Duration = Duration::from_millis(500);

/// Why writing stopped. What was noted is written.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// A row is no record.
    Row { row: u64, source: RecordError },
    /// A record was not taken.
    Write { row: u64, source: WriteError },
    /// Progress could not be noted.
    Note(Failure),
}

/// Writes all records but the first `done`; gives their number, those included. `note` is told now and then, and at the
/// end, below which row all are written.
pub(crate) async fn write(
    client: &Client,
    table: &str,
    records: impl Iterator<Item = Result<(Key, Vec<u8>), RecordError>>,
    done: u64,
    in_flight: usize,
    mut note: impl FnMut(u64) -> Result<(), Failure>,
) -> Result<u64, Stopped> {
    let mut mark = Mark::at(done);
    let mut writes = FuturesUnordered::new();
    let mut noted = Instant::now();
    let mut failed = None;
    let mut records = (0_u64..).zip(records).skip_while(|(row, _)| *row < done);
    loop {
        while failed.is_none() && writes.len() < in_flight {
            match records.next() {
                Some((row, Ok((key, value)))) => {
                    writes.push(async move { (row, client.put(table, key, value).await) });
                }
                Some((row, Err(source))) => failed = Some(Stopped::Row { row, source }),
                None => break,
            }
        }
        // After a failure the rest is waited for, so that the mark is as high as can be.
        match writes.next().await {
            Some((row, Ok(_version))) => mark.done(row),
            Some((row, Err(source))) => {
                failed.get_or_insert(Stopped::Write { row, source });
            }
            None => break,
        }
        if noted.elapsed() >= NOTE_EVERY {
            note(mark.below()).map_err(Stopped::Note)?;
            noted = Instant::now();
        }
    }
    note(mark.below()).map_err(Stopped::Note)?;
    match failed {
        Some(stopped) => Err(stopped),
        None => Ok(mark.below()),
    }
}
