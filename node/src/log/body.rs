//! The payload of the records that belong to one replica.
//!
//! ```text
//! flags u8 | replica | start (index, term) | hard state (term, vote, commit) | first index, count, entries
//! entry    kind u8 | term | data length, data | context length, context
//! ```
//! Numbers are LEB128; what the flags do not announce is absent. Entries of one record have consecutive indexes.

use std::ops::RangeInclusive;

use bytes::Bytes;
use skerry_core::ids::ReplicaId;
use skerry_core::log::{EntryKind, HardState, LogEntry};

const HAS_START: u8 = 1;
const HAS_HARD_STATE: u8 = 2;
const HAS_ENTRIES: u8 = 4;
const IS_DESTROYED: u8 = 8;

/// A payload that cannot be read although its CRC is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the payload is not one of format version 1")]
pub(super) struct BadPayload;

/// The payload of a record without its entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Replica that the record belongs to.
    pub(super) replica: ReplicaId,
    /// The log starts after this (index, term).
    pub(super) start: Option<(u64, u64)>,
    /// Raft's hard state, as of this record. `None` = unchanged.
    pub(super) hard_state: Option<HardState>,
    /// Index of the first and of the last entry.
    pub(super) entries: Option<(u64, u64)>,
    /// True if the replica was destroyed.
    pub(super) destroyed: bool,
}

/// Appends the payload. `entries` must be those that `head.entries` announces.
pub(super) fn encode(head: &Head, entries: &[LogEntry], out: &mut Vec<u8>) {
    let flag = |present: bool, flag: u8| if present { flag } else { 0 };
    out.push(
        flag(head.start.is_some(), HAS_START)
            | flag(head.hard_state.is_some(), HAS_HARD_STATE)
            | flag(head.entries.is_some(), HAS_ENTRIES)
            | flag(head.destroyed, IS_DESTROYED),
    );
    put_number(head.replica.0, out);
    if let Some((index, term)) = head.start {
        put_number(index, out);
        put_number(term, out);
    }
    if let Some(state) = head.hard_state {
        put_number(state.term, out);
        put_number(state.vote, out);
        put_number(state.commit, out);
    }
    if let Some((first, _)) = head.entries {
        put_number(first, out);
        put_number(entries.len() as u64, out);
        for entry in entries {
            out.push(match entry.kind {
                EntryKind::Normal => 0,
                EntryKind::Members => 1,
            });
            put_number(entry.term, out);
            put_bytes(&entry.data, out);
            put_bytes(&entry.context, out);
        }
    }
}

/// More bytes than [`encode`] will append.
pub(super) fn bytes_max(entries: &[LogEntry]) -> usize {
    100 + entries.iter().map(|entry| entry.data.len() + entry.context.len() + 31).sum::<usize>()
}

/// Decodes a payload without its entries.
pub(super) fn decode_head(payload: &[u8]) -> Result<Head, BadPayload> {
    read_head(&mut Reader(payload))
}

/// The entries whose index is in `wanted`.
pub(super) fn decode_entries(payload: &[u8], wanted: RangeInclusive<u64>) -> Result<Vec<LogEntry>, BadPayload> {
    let mut reader = Reader(payload);
    let Some((first, last)) = read_head(&mut reader)?.entries else { return Ok(Vec::new()) };
    let mut entries = Vec::new();
    for index in first..=last.min(*wanted.end()) {
        let kind = match reader.byte()? {
            0 => EntryKind::Normal,
            1 => EntryKind::Members,
            _ => return Err(BadPayload),
        };
        let term = reader.number()?;
        let data = reader.bytes()?;
        let context = reader.bytes()?;
        if wanted.contains(&index) {
            let (data, context) = (Bytes::copy_from_slice(data), Bytes::copy_from_slice(context));
            entries.push(LogEntry { index, term, kind, data, context });
        }
    }
    Ok(entries)
}

fn read_head(reader: &mut Reader<'_>) -> Result<Head, BadPayload> {
    let flags = reader.byte()?;
    if flags & !(HAS_START | HAS_HARD_STATE | HAS_ENTRIES | IS_DESTROYED) != 0 {
        return Err(BadPayload);
    }
    let mut head =
        Head { replica: ReplicaId(reader.number()?), destroyed: flags & IS_DESTROYED != 0, ..Head::default() };
    if flags & HAS_START != 0 {
        head.start = Some((reader.number()?, reader.number()?));
    }
    if flags & HAS_HARD_STATE != 0 {
        let (term, vote, commit) = (reader.number()?, reader.number()?, reader.number()?);
        head.hard_state = Some(HardState { term, vote, commit });
    }
    if flags & HAS_ENTRIES != 0 {
        let (first, count) = (reader.number()?, reader.number()?);
        let last = first.checked_add(count).and_then(|end| end.checked_sub(1)).ok_or(BadPayload)?;
        head.entries = Some((first, last));
    }
    Ok(head)
}

/// Appends a number to `out`, in LEB128.
pub(super) fn put_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7F) as u8);
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_number(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// What is left to read of a payload.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, BadPayload> {
        let (&byte, rest) = self.0.split_first().ok_or(BadPayload)?;
        self.0 = rest;
        Ok(byte)
    }

    /// Reads a number in LEB128.
    pub(super) fn number(&mut self) -> Result<u64, BadPayload> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(BadPayload)
    }

    fn bytes(&mut self) -> Result<&'a [u8], BadPayload> {
        let length = usize::try_from(self.number()?).map_err(|_| BadPayload)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(BadPayload)?;
        self.0 = rest;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn entry()(
            term: u64,
            members: bool,
            data in vec(any::<u8>(), 0..300),
            context in vec(any::<u8>(), 0..20),
        ) -> LogEntry {
            let kind = if members { EntryKind::Members } else { EntryKind::Normal };
            LogEntry { index: 0, term, kind, data: data.into(), context: context.into() }
        }
    }

    prop_compose! {
        fn body()(
            replica: u64,
            start: Option<(u64, u64)>,
            state in option::of((any::<u64>(), any::<u64>(), any::<u64>())),
            destroyed: bool,
            first in 0..u64::MAX - 10,
            mut entries in vec(entry(), 0..5),
        ) -> (Head, Vec<LogEntry>) {
            for (index, entry) in (first..).zip(&mut entries) {
                entry.index = index;
            }
            let range = entries.last().map(|last| (first, last.index));
            let hard_state = state.map(|(term, vote, commit)| HardState { term, vote, commit });
            (Head { replica: ReplicaId(replica), start, hard_state, entries: range, destroyed }, entries)
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded((head, entries) in body()) {
            let mut payload = Vec::new();
            encode(&head, &entries, &mut payload);
            prop_assert!(payload.len() <= bytes_max(&entries));
            prop_assert_eq!(decode_head(&payload).unwrap(), head);
            prop_assert_eq!(decode_entries(&payload, 0..=u64::MAX).unwrap(), entries);
        }

        #[test]
        fn only_wanted_entries_are_decoded((head, entries) in body(), skip in 0u64..6, take in 0u64..6) {
            let mut payload = Vec::new();
            encode(&head, &entries, &mut payload);
            let first = head.entries.map_or(0, |(first, _)| first) + skip;
            let wanted = first..=first.saturating_add(take);
            let expected: Vec<_> = entries.into_iter().filter(|entry| wanted.contains(&entry.index)).collect();
            prop_assert_eq!(decode_entries(&payload, wanted).unwrap(), expected);
        }

        #[test]
        fn foreign_bytes_never_panic(payload in vec(any::<u8>(), 0..200)) {
            let _ = decode_head(&payload);
            let _ = decode_entries(&payload, 0..=1000);
        }
    }
}
