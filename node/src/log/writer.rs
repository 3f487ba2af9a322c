//! The log's thread: takes everything that waits, makes one group of it, writes it and syncs it.

mod records;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use skerry_core::ids::ShardId;
use skerry_core::log::LogCut;
use skerry_core::node::LogBatch;

use super::body;
use super::cleaner::{Cleaning, Copied, choose};
use super::format::{Kind, SEGMENT_HEADER_BYTES, Seed, SegmentHeader};
use super::group::{FRAME_BYTES_MAX, Framed, Group, TooLarge};
use super::index::Index;
use super::mark::LogMark;
use super::prepare::Preparer;
use super::recovery::{Closed, replay};
use super::segment::{self, Segment};
use super::{Complete, Completion, Damage, LogConfig, LogError, checkpoint};
use crate::disk;
use crate::failpoints::Failpoint;

/// What comes together in one group at most, but for a single larger batch: bounds memory and the wait for the fsync.
const GROUP_BYTES_MAX: u64 = 4 << 20;
/// Quiet time after which the last group is sealed, at the price of one more fsync.
const SEAL_AFTER: Duration = Duration::from_millis(100);

/// What the thread is asked to do.
#[derive(Debug)]
pub(super) enum Message {
    /// Append the batch and make it durable.
    Append(LogBatch),
    /// Forget these entries: their space may be used again.
    Cut(Vec<LogCut>),
}

enum Next {
    Messages(Vec<Message>),
    Quiet,
    Closed,
}

/// The state of the log's thread.
pub(super) struct Writer {
    config: LogConfig,
    salt: u64,
    index: Index,
    closed: BTreeMap<u64, Closed>,
    current: Segment,
    /// Bytes of records beside the checkpoint in the current segment.
    written: u64,
    /// Where the next group is to be written in the current segment, in bytes.
    offset: u64,
    /// Number that the next group gets.
    number: u64,
    /// The current segment has no checkpoint yet.
    needs_census: bool,
    /// There is a group that no later group proves durable.
    unsealed: bool,
    /// The current segment is still to be noted.
    unnoted: bool,
    group: Group,
    preparer: Preparer,
    cleaning: Option<Cleaning>,
}

impl Writer {
    /// Reads what is there, or makes the first segment.
    pub(super) fn open(config: LogConfig) -> Result<(Self, Vec<Damage>), LogError> {
        let numbers = segment::list(&config.folder)?;
        let mut preparer = Preparer::start(config.clone())?;
        if numbers.is_empty() {
            let salt = rand::random();
            let current = new_segment(&config, &mut preparer, 1, salt, 0)?;
            return Ok((Self::on(config, salt, current, preparer), Vec::new()));
        }
        let replayed = replay(&config, &numbers)?;
        let salt = replayed.salt.unwrap_or_else(rand::random);
        let mut writer = Self::on(config, salt, replayed.last, preparer);
        writer.index = replayed.index;
        writer.closed = replayed.closed;
        writer.written = replayed.written;
        writer.offset = replayed.offset;
        writer.number = replayed.group;
        writer.needs_census = replayed.offset == SEGMENT_HEADER_BYTES as u64;
        writer.unsealed = !writer.needs_census;
        if replayed.must_rotate {
            writer.rotate(0)?;
            writer.commit(&[])?;
        }
        Ok((writer, replayed.damage))
    }

    fn on(config: LogConfig, salt: u64, current: Segment, mut preparer: Preparer) -> Self {
        preparer.want();
        Self {
            config,
            salt,
            index: Index::default(),
            closed: BTreeMap::new(),
            current,
            written: 0,
            offset: SEGMENT_HEADER_BYTES as u64,
            number: 1,
            needs_census: true,
            unsealed: false,
            unnoted: false,
            group: Group::default(),
            preparer,
            cleaning: None,
        }
    }

    /// What the log holds of all replicas, and where.
    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// Salt of the log.
    pub(super) fn salt(&self) -> u64 {
        self.salt
    }

    /// The mark of the log as it is now.
    pub(super) fn mark(&self) -> LogMark {
        LogMark { salt: self.salt, newest: self.current.number }
    }

    /// Works until the handle is dropped or something fails.
    pub(super) fn run(mut self, messages: &Receiver<Message>, complete: &Complete, poison: &OnceLock<Arc<LogError>>) {
        loop {
            let next = self.next(messages);
            let ends = matches!(next, Next::Closed);
            let result = match next {
                Next::Messages(messages) => self.commit(&messages),
                Next::Quiet if self.cleaning.is_some() => self.commit(&[]),
                Next::Quiet | Next::Closed => self.seal().map(|()| None),
            };
            match result {
                Ok(Some(sequence)) => complete(Completion::Durable { sequence }),
                Ok(None) => {}
                Err(error) => {
                    let error = Arc::new(error);
                    // Set before the queue closes, so that whoever finds it closed finds the reason.
                    let _first = poison.set(Arc::clone(&error));
                    return complete(Completion::Failed { error });
                }
            }
            if ends {
                return;
            }
        }
    }

    fn next(&self, messages: &Receiver<Message>) -> Next {
        let first = if self.cleaning.is_some() {
            messages.try_recv().map_err(|error| error == TryRecvError::Disconnected)
        } else if self.unsealed {
            messages.recv_timeout(SEAL_AFTER).map_err(|error| error == RecvTimeoutError::Disconnected)
        } else {
            messages.recv().map_err(|_| true)
        };
        let mut taken = match first {
            Ok(message) => vec![message],
            Err(true) => return Next::Closed,
            Err(false) => return Next::Quiet,
        };
        let most = GROUP_BYTES_MAX.min(self.config.segment_bytes / 4);
        let mut bytes = taken[0].bytes_max();
        while bytes < most
            && let Ok(message) = messages.try_recv()
        {
            bytes += message.bytes_max();
            taken.push(message);
        }
        Next::Messages(taken)
    }

    /// Brings messages, and some of what must be copied, to disk. Returns the highest sequence that is durable.
    fn commit(&mut self, messages: &[Message]) -> Result<Option<u64>, LogError> {
        let mut copied = self.next_copies()?;
        let copied_bytes: usize = copied.iter().map(|c| body::bytes_max(&c.entries) + FRAME_BYTES_MAX).sum();
        let mut bytes = messages.iter().map(Message::bytes_max).sum::<u64>() + copied_bytes as u64;
        if !self.has_room(bytes) && !copied.is_empty() && self.preparer.is_starved()? {
            // Copies must not take the space that they are meant to make.
            self.cleaning = None;
            copied = Vec::new();
            bytes -= copied_bytes as u64;
        }
        if !self.has_room(bytes) {
            self.rotate(bytes)?;
            self.unnoted = true;
        }
        self.note()?;
        self.begin_group();
        let filled = self.fill(&copied, messages);
        filled.map_err(|refused| refused.unwrap_or(LogError::TooLarge { bytes }))?;
        self.write_group(true)?;
        self.reclaim(!messages.is_empty())?;
        let sequence =
            |message: &Message| if let Message::Append(batch) = message { Some(batch.sequence) } else { None };
        Ok(messages.iter().rev().find_map(sequence))
    }

    /// Has the newest segment noted. Where there is no space for that, the log goes on and tries again with every group: what
    /// is missing of it would go unnoticed till then, but to end for want of space would help nobody.
    fn note(&mut self) -> Result<(), LogError> {
        if !self.unnoted {
            return Ok(());
        }
        let noted = (self.config.note)(self.mark());
        match noted.map_err(LogError::io("note the newest segment of", &self.config.folder)) {
            Err(error) if error.is_full() => {}
            noted => {
                noted?;
                self.unnoted = false;
            }
        }
        Ok(())
    }

    /// Proves to a later reader that the group before was durable.
    fn seal(&mut self) -> Result<(), LogError> {
        if !std::mem::take(&mut self.unsealed) || self.offset + FRAME_BYTES_MAX as u64 > self.current.capacity {
            return Ok(());
        }
        self.begin_group();
        let framed = Framed { kind: Kind::Seal, shard: ShardId(0), sequence: 0, fresh: false };
        self.group.push(framed, |_| ()).map_err(|TooLarge| LogError::TooLarge { bytes: 0 })?;
        self.write_group(false)
    }

    fn begin_group(&mut self) {
        let seed = Seed { salt: self.salt, segment: self.current.number };
        // A segment has less than 4 GiB.
        self.group.begin(seed, usize::try_from(self.offset).unwrap_or(usize::MAX), self.number);
    }

    fn write_group(&mut self, unsealed: bool) -> Result<(), LogError> {
        let bytes = self.group.finish();
        if bytes.is_empty() {
            return Ok(());
        }
        let path = || segment::path_of(&self.config.folder, self.current.number);
        let written = self.current.file.write_all_at(bytes, self.offset);
        written.map_err(|source| LogError::Io { action: "append to", path: path(), source })?;
        Failpoint::LogSyncHangs.hang();
        let synced = Failpoint::LogSyncFails.fail().and_then(|()| (self.config.sync)(&self.current.file));
        synced.map_err(|source| LogError::Io { action: "sync", path: path(), source })?;
        self.offset += bytes.len() as u64;
        self.number += 1;
        self.unsealed = unsealed;
        Ok(())
    }

    fn has_room(&self, bytes: u64) -> bool {
        self.offset + bytes + self.census_bytes_max() <= self.current.capacity
    }

    fn census_bytes_max(&self) -> u64 {
        let replicas = self.index.replicas.len();
        let records = replicas.div_ceil(checkpoint::REPLICAS_PER_RECORD).max(1);
        let bytes = replicas * checkpoint::BYTES_MAX_PER_REPLICA + records * (FRAME_BYTES_MAX + 10);
        if self.needs_census { bytes as u64 } else { 0 }
    }

    /// Goes over to a new segment with room for so much beside the checkpoint.
    fn rotate(&mut self, bytes: u64) -> Result<(), LogError> {
        self.needs_census = true;
        // Twice the checkpoint, so that a segment is not full of it.
        let least = SEGMENT_HEADER_BYTES as u64 + 2 * self.census_bytes_max() + bytes;
        let next = self.current.number + 1;
        let next = new_segment(&self.config, &mut self.preparer, next, self.salt, least)?;
        let old = std::mem::replace(&mut self.current, next);
        self.closed.insert(old.number, Closed { capacity: old.capacity, written: self.written });
        self.written = 0;
        self.offset = SEGMENT_HEADER_BYTES as u64;
        self.preparer.want();
        Ok(())
    }

    fn next_copies(&mut self) -> Result<Vec<Copied>, LogError> {
        let Some(cleaning) = &mut self.cleaning else { return Ok(Vec::new()) };
        let copied = cleaning.next(&self.index, self.salt)?;
        if copied.is_none() {
            self.cleaning = None;
        }
        Ok(copied.unwrap_or_default())
    }

    /// Lets old segments go. Everything that makes them needless is durable by now.
    fn reclaim(&mut self, news: bool) -> Result<(), LogError> {
        let starved = self.preparer.is_starved()?;
        while self.closed.len() > 1 {
            let Some((&oldest, &closed)) = self.closed.first_key_value() else { break };
            if self.index.live.bytes(oldest) > 0 {
                break;
            }
            self.remove(oldest, closed)?;
        }
        if self.cleaning.is_none() && news {
            self.cleaning = choose(&self.config, &self.index, &self.closed, starved)?;
        }
        Ok(())
    }

    fn remove(&mut self, number: u64, closed: Closed) -> Result<(), LogError> {
        let path = segment::path_of(&self.config.folder, number);
        let becomes_spare = self.preparer.is_starved()? && closed.capacity >= self.config.segment_bytes;
        let removed =
            if becomes_spare { fs::rename(&path, self.preparer.recycled_path()) } else { fs::remove_file(&path) };
        // Durable before the next one goes and before its bytes are overwritten: the log never has a gap.
        removed.and_then(|()| disk::sync_folder(&self.config.folder)).map_err(LogError::io("remove", &path))?;
        self.closed.remove(&number);
        self.preparer.want();
        Ok(())
    }
}

fn new_segment(
    config: &LogConfig,
    preparer: &mut Preparer,
    number: u64,
    salt: u64,
    bytes_min: u64,
) -> Result<Segment, LogError> {
    if bytes_min > u64::from(u32::MAX) {
        return Err(LogError::TooLarge { bytes: bytes_min });
    }
    let spare = preparer.take(bytes_min)?;
    let header = SegmentHeader { number, salt, capacity: spare.capacity };
    Segment::name(&config.folder, (&spare.path, spare.file), header, &config.sync)
}

impl Message {
    /// More bytes than it takes in a segment.
    fn bytes_max(&self) -> u64 {
        let bytes: usize = match self {
            Self::Append(batch) => {
                batch.writes.iter().map(|write| body::bytes_max(&write.entries) + FRAME_BYTES_MAX).sum()
            }
            Self::Cut(cuts) => cuts.len() * (body::bytes_max(&[]) + FRAME_BYTES_MAX),
        };
        bytes as u64
    }
}
