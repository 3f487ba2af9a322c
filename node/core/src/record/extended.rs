//! The second format of records.

use bytes::Bytes;

use super::{FORMAT_EXTENDED, HAS_EXPIRY, HEAD_BYTES, Unreadable, number};
use crate::ids::{Incarnation, NodeId, ReplicaId};
use crate::planted::{Planted, is_planted};
use crate::time::Version;

const IS_TOMBSTONE: u8 = 2;
const HAS_STAMP: u8 = 4;
const HAS_CONTEXT: u8 = 8;
const HAS_SIBLINGS: u8 = 16;
/// All flags that this release knows. Another may change what the rest of the record means.
pub(super) const KNOWN_FLAGS: u8 = HAS_EXPIRY | IS_TOMBSTONE | HAS_STAMP | HAS_CONTEXT | HAS_SIBLINGS;

/// All that a record of the second format holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) version: Version,
    /// `None` = never.
    pub(crate) expires_ms: Option<u64>,
    /// The value is empty, and readers see no record.
    pub(crate) is_tombstone: bool,
    /// Who ordered the write. `None` = the shard's leader.
    pub(crate) stamp: Option<Stamp>,
    /// A version vector: for each replica the highest version of its writes that this record has seen.
    pub(crate) context: Vec<(ReplicaId, Version)>,
    /// Values that were written at the same time as this one.
    pub(crate) siblings: Vec<Sibling>,
    pub(crate) value: Bytes,
}

/// Makes a version unique though the clock of the node that gave it went back over a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
}

/// One of several values of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sibling {
    pub(crate) version: Version,
    /// `None` = never.
    pub(crate) expires_ms: Option<u64>,
    /// A delete that was made at the same time as the rest was written.
    pub(crate) is_tombstone: bool,
    /// Who ordered the write. `None` = the shard's leader.
    pub(crate) stamp: Option<Stamp>,
    pub(crate) value: Bytes,
}

pub(super) fn is_tombstone(flags: u8) -> bool {
    flags & IS_TOMBSTONE != 0
}

impl Stored {
    /// The stored form. No table of this release needs more than the first format, so only tests write it yet. At most
    /// 65,535 parts of the context, and as many siblings, are kept.
    #[cfg(test)]
    pub(crate) fn encode(&self) -> Bytes {
        let Self { version, expires_ms, is_tombstone, stamp, context, siblings, value } = self;
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let flags = flag(expires_ms.is_some(), HAS_EXPIRY)
            | flag(*is_tombstone, IS_TOMBSTONE)
            | flag(stamp.is_some(), HAS_STAMP)
            | flag(!context.is_empty(), HAS_CONTEXT)
            | flag(!siblings.is_empty(), HAS_SIBLINGS);
        let mut bytes = vec![FORMAT_EXTENDED, flags];
        bytes.extend(version.0.to_be_bytes());
        bytes.extend(expires_ms.unwrap_or(0).to_be_bytes());
        if let Some(Stamp { node, incarnation }) = stamp {
            bytes.extend(node.0.to_be_bytes());
            bytes.extend(incarnation.0.to_be_bytes());
        }
        if !context.is_empty() {
            let count = u16::try_from(context.len()).unwrap_or(u16::MAX);
            bytes.extend(count.to_be_bytes());
            for (replica, version) in &context[..count.into()] {
                bytes.extend(replica.0.to_be_bytes());
                bytes.extend(version.0.to_be_bytes());
            }
        }
        if !siblings.is_empty() {
            let count = u16::try_from(siblings.len()).unwrap_or(u16::MAX);
            bytes.extend(count.to_be_bytes());
            for sibling in siblings.iter().take(count.into()).cloned() {
                let encoded = Self::from(sibling).encode();
                bytes.extend(u32::try_from(encoded.len()).unwrap_or(u32::MAX).to_be_bytes());
                bytes.extend_from_slice(&encoded);
            }
        }
        if !is_tombstone {
            bytes.extend_from_slice(value);
        }
        bytes.into()
    }

    /// What [`Self::encode`] made.
    ///
    /// # Errors
    ///
    /// Of flags that a newer release may know, and of bytes that nobody has written.
    pub(crate) fn decode(stored: &Bytes) -> Result<Self, Unreadable> {
        let flags = *stored.get(1).ok_or_else(|| Unreadable::of(stored))?;
        if stored[0] != FORMAT_EXTENDED || flags & !KNOWN_FLAGS != 0 {
            return Err(Unreadable::of(stored));
        }
        let (head, parts, start) = Self::head(stored, flags).ok_or_else(|| Unreadable::of(stored))?;
        let siblings = parts.iter().map(|part| Sibling::decode(part, stored)).collect::<Result<_, _>>()?;
        Ok(Self { siblings, value: stored.slice(start..), ..head })
    }

    /// All but siblings and value; then the siblings as they are stored, and where the value begins.
    fn head(stored: &Bytes, flags: u8) -> Option<(Self, Vec<Bytes>, usize)> {
        let has = |flag: u8| flags & flag != 0;
        let (version, end) = (Version(number(stored, 2)?), number(stored, 10)?);
        let expires_ms = has(HAS_EXPIRY).then_some(end);
        let mut rest = Rest { stored, at: HEAD_BYTES };
        let (mut stamp, mut context, mut parts) = (None, Vec::new(), Vec::new());
        if has(HAS_STAMP) {
            stamp = Some(Stamp { node: NodeId(rest.number()?), incarnation: Incarnation(rest.number()?) });
        }
        if has(HAS_CONTEXT) {
            for _ in 0..rest.count()? {
                context.push((ReplicaId(rest.number()?), Version(rest.number()?)));
            }
        }
        if has(HAS_SIBLINGS) {
            for _ in 0..rest.count()? {
                parts.push(rest.part()?);
            }
        }
        let is_tombstone = has(IS_TOMBSTONE);
        let is_sound = (has(HAS_EXPIRY) || end == 0) && (!is_tombstone || rest.at == stored.len());
        let head = Self { version, expires_ms, is_tombstone, stamp, context, ..Self::default() };
        is_sound.then_some((head, parts, rest.at))
    }
}

#[cfg(test)]
impl From<Sibling> for Stored {
    fn from(Sibling { version, expires_ms, is_tombstone, stamp, value }: Sibling) -> Self {
        Self { version, expires_ms, is_tombstone, stamp, value, ..Self::default() }
    }
}

impl Sibling {
    /// One of the siblings in a record. One that a newer release wrote is told of as such. None has siblings or a context
    /// of its own, which is seen before they are read: however deep bytes are nested, nothing here calls itself.
    fn decode(part: &Bytes, whole: &Bytes) -> Result<Self, Unreadable> {
        let flags = *part.get(1).ok_or_else(|| Unreadable::of(part))?;
        let is_newer = part[0] != FORMAT_EXTENDED || flags & !KNOWN_FLAGS != 0;
        let is_plain = flags & (HAS_CONTEXT | HAS_SIBLINGS) == 0;
        if !is_newer && !is_plain && !is_planted(Planted::SiblingsOfSiblingsRead) {
            return Err(Unreadable::of(whole));
        }
        let Stored { version, expires_ms, is_tombstone, stamp, value, .. } = Stored::decode(part)?;
        is_plain
            .then_some(Self { version, expires_ms, is_tombstone, stamp, value })
            .ok_or_else(|| Unreadable::of(whole))
    }
}

/// The part of a stored record that is not decoded yet.
struct Rest<'a> {
    stored: &'a Bytes,
    at: usize,
}

impl Rest<'_> {
    fn number(&mut self) -> Option<u64> {
        let number = number(self.stored, self.at)?;
        self.at += 8;
        Some(number)
    }

    fn count(&mut self) -> Option<u16> {
        let count = self.stored.get(self.at..)?.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes))?;
        self.at += 2;
        // One that counts nothing is not written.
        (count > 0).then_some(count)
    }

    fn part(&mut self) -> Option<Bytes> {
        let length = self.stored.get(self.at..)?.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))?;
        let start = self.at + 4;
        let end = start.checked_add(usize::try_from(length).ok()?).filter(|end| *end <= self.stored.len())?;
        self.at = end;
        Some(self.stored.slice(start..end))
    }
}
