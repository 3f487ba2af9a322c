//! Reads bytes from front to back; `None` where there are too few.

use bytes::Bytes;

use super::stamp::{Actor, Stamp};
use crate::command::RequestId;
use crate::ids::{Incarnation, ReplicaId};
use crate::time::Version;

/// The part of a stored record, or of a token, that is not decoded yet.
pub(super) struct Rest<'a> {
    pub(super) bytes: &'a Bytes,
    pub(super) at: usize,
}

impl Rest<'_> {
    pub(super) fn number(&mut self) -> Option<u64> {
        let number = self.bytes.get(self.at..)?.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))?;
        self.at += 8;
        Some(number)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    pub(super) fn count(&mut self) -> Option<u16> {
        let count = self.bytes.get(self.at..)?.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes))?;
        self.at += 2;
        Some(count)
    }

    pub(super) fn part(&mut self) -> Option<Bytes> {
        let length = self.bytes.get(self.at..)?.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))?;
        let start = self.at + 4;
        let end = start.checked_add(usize::try_from(length).ok()?).filter(|end| *end <= self.bytes.len())?;
        self.at = end;
        Some(self.bytes.slice(start..end))
    }

    pub(super) fn actor(&mut self) -> Option<Actor> {
        Some(Actor { replica: ReplicaId(self.number()?), incarnation: Incarnation(self.number()?) })
    }

    pub(super) fn stamp(&mut self) -> Option<Stamp> {
        Some(Stamp { version: Version(self.number()?), actor: self.actor()? })
    }

    /// A request, and which attempt of it.
    pub(super) fn attempt(&mut self) -> Option<(Option<RequestId>, u32)> {
        let request = RequestId { issued: Version(self.number()?), client: self.number()?, sequence: self.number()? };
        let attempt = self.bytes.get(self.at..)?.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))?;
        self.at += 4;
        Some((Some(request), attempt))
    }
}

pub(super) fn put_actor(bytes: &mut Vec<u8>, actor: Actor) {
    bytes.extend(actor.replica.0.to_be_bytes());
    bytes.extend(actor.incarnation.0.to_be_bytes());
}

pub(super) fn put_stamp(bytes: &mut Vec<u8>, stamp: Stamp) {
    bytes.extend(stamp.version.0.to_be_bytes());
    put_actor(bytes, stamp.actor);
}

pub(super) fn put_attempt(bytes: &mut Vec<u8>, request: RequestId, attempt: u32) {
    for number in [request.issued.0, request.client, request.sequence] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.extend(attempt.to_be_bytes());
}
