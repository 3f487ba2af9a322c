//! What a copy has applied, as others may look at it: pages for readers, leaves for who compares.

use std::cell::RefCell;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::recent::Recent;
use super::state::QuorumState;
use crate::engine::{Engine, EngineError, data_end, data_key, encoded_key};
use crate::quorum::merkle::compare::{View, Visit};
use crate::quorum::merkle::span::Span;
use crate::quorum::page::Page;
use crate::record::Stored;
use crate::time::Version;

/// Keys, and the records that the store has of them.
pub(super) type Read = Vec<(Bytes, Stored)>;

/// A look at a copy's records. Of one moment: nothing is applied while there is one.
pub struct Records<'a> {
    state: &'a QuorumState,
    recent: &'a Recent,
    engine: &'a dyn Engine,
    /// Why something could not be read by who cannot be told of it.
    failed: RefCell<Option<EngineError>>,
}

impl<'a> Records<'a> {
    pub(super) fn new((state, recent): (&'a QuorumState, &'a Recent), engine: &'a dyn Engine) -> Self {
        Self { state, recent, engine, failed: RefCell::new(None) }
    }

    /// The record of a key.
    ///
    /// # Errors
    ///
    /// Of the store, and of a record that this release cannot read.
    pub(super) fn read(&self, key: &[u8]) -> Result<Option<Stored>, EngineError> {
        Ok(self.read_sized(key)?.map(|(record, _)| record))
    }

    /// The same, with its length as it is stored.
    ///
    /// # Errors
    ///
    /// Of the store, and of a record that this release cannot read.
    pub(super) fn read_sized(&self, key: &[u8]) -> Result<Option<(Stored, usize)>, EngineError> {
        let stored = match self.recent.get(key) {
            Some(stored) => Some(stored.clone()),
            None => self.engine.get(&data_key(self.state.table(), key))?,
        };
        let read = |stored: Bytes| Stored::decode(&stored).map(|record| (record, stored.len()));
        stored.map(read).transpose().map_err(EngineError::unreadable)
    }

    /// Records from a key on, at most so many, of about so many bytes, and the key to go on from. `None` = that was all.
    ///
    /// # Errors
    ///
    /// Of the store, and of a record that this release cannot read.
    pub(super) fn slice(
        &self,
        from: &[u8],
        records_max: usize,
        bytes_max: usize,
    ) -> Result<(Read, Option<Bytes>), EngineError> {
        self.scan(from, None, records_max, bytes_max)
    }

    /// What a reader is told of a range: all of it that is applied, of one moment.
    ///
    /// # Errors
    ///
    /// Of the store, and of a record that this release cannot read.
    pub(super) fn page(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Page, EngineError> {
        let (entries, next) = self.scan(start, end, records_max, bytes_max)?;
        Ok(Page { entries, next, absence: self.absence() })
    }

    /// What has failed since the look began.
    ///
    /// # Errors
    ///
    /// Of the store, and of a record that this release cannot read.
    pub(super) fn check(self) -> Result<(), EngineError> {
        self.failed.into_inner().map_or(Ok(()), Err)
    }

    fn scan(
        &self,
        from: &[u8],
        end: Option<&[u8]>,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<(Read, Option<Bytes>), EngineError> {
        let (mut read, mut bytes, mut next): (Read, _, _) = (Vec::new(), 0, None);
        self.visit(from, end, &mut |key, record, size| {
            if read.len() >= records_max || bytes >= bytes_max {
                next = Some(key);
                return ControlFlow::Break(());
            }
            bytes += size;
            read.push((key, record));
            ControlFlow::Continue(())
        })?;
        Ok((read, next))
    }

    /// Visits records from a key on, each with its bytes, as far as they are in the shard's bounds.
    fn visit(
        &self,
        from: &[u8],
        end: Option<&[u8]>,
        visit: &mut dyn FnMut(Bytes, Stored, usize) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        let ((start, until), mut failed) = (self.state.range(), None);
        let end = match (end, until) {
            (Some(end), Some(until)) => Some(end.min(&until[..])),
            (end, until) => end.or(until.map(|until| &until[..])),
        };
        let first = data_key(self.state.table(), from.max(&start[..]));
        self.engine.scan(&first, &data_end(self.state.table(), end), &mut |key, stored| match Stored::decode(
            &Bytes::copy_from_slice(stored),
        ) {
            Ok(record) => visit(Bytes::copy_from_slice(encoded_key(key)), record, key.len() + stored.len()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        })?;
        failed.map_or(Ok(()), |error| Err(EngineError::unreadable(error)))
    }

    fn or_fail<T: Default>(&self, read: Result<T, EngineError>) -> T {
        read.unwrap_or_else(|error| {
            self.failed.borrow_mut().get_or_insert(error);
            T::default()
        })
    }
}

/// What other copies are told and sent: without bytes that have ended for all, whether or not a pass has come by.
impl View for Records<'_> {
    fn walk(&self, span: &Span, visit: &mut Visit<'_>) {
        let walked = self.visit(&span.start, span.end.as_deref(), &mut |key, record, bytes| {
            visit(&key, &self.state.floor().without_ended(record), bytes)
        });
        self.or_fail(walked);
    }

    fn get(&self, key: &[u8]) -> Option<Stored> {
        self.or_fail(self.read(key)).map(|record| self.state.floor().without_ended(record))
    }

    fn absence(&self) -> Version {
        self.state.floor().absence(self.state.is_complete())
    }
}
