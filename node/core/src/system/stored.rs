//! The system shard's state as records of the system table: one a node, table, shard and recovery, one for the
//! format level if that is not the first, and a head for the rest.
//! Every value is a version byte and postcard. Records of quorum tables have a version of their own, which a release before
//! them refuses as newer; those of other tables are as they always were.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::record_key::RecordKey;
use super::state::{NextIds, SystemState};
use crate::codec;
use crate::engine::Unreadable;
use crate::ids::{ClusterId, Epoch, ReplicaId};
use crate::level::FormatLevel;
use crate::map::{Consistency, Map, MoveLimits, NodeRecord, QuorumRecord, RecoveryRecord, ShardRecord, TableRecord};

const FORMAT: u8 = 1;
/// The format of records of quorum tables and their shards: only where format level 3 is enabled.
const EXTENDED: u8 = 2;
/// The first byte of each kind of key.
const FAMILIES: &[u8] = b"hnstrl";

/// What belongs to no single node, table or shard.
#[derive(Serialize, Deserialize)]
struct Head {
    cluster: ClusterId,
    epoch: Epoch,
    limits: (MoveLimits, Epoch),
    next: NextIds,
    token: u64,
}

/// The records of the system table do not make a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The table has no head record.
    #[error("the system table has no head record")]
    NoHead,
    /// A key is none that the system table has.
    #[error("the system table has an unknown key {0:?}")]
    Key(Vec<u8>),
    /// Written by another version of this program.
    #[error("record {key:?} of the system table has format {format:?}, which is not known of it")]
    Format {
        /// Key of the record, as it is stored.
        key: Vec<u8>,
        /// Its version byte. `None` = empty value.
        format: Option<u8>,
    },
    /// The record's value cannot be decoded: it is damaged.
    #[error("record {key:?} of the system table cannot be decoded")]
    Value {
        /// Key of the record, as it is stored.
        key: Vec<u8>,
        /// Why the value cannot be decoded.
        #[source]
        source: postcard::Error,
    },
    /// The value is followed by more bytes.
    #[error("record {key:?} of the system table has {bytes} bytes too many")]
    Trailing {
        /// Key of the record, as it is stored.
        key: Vec<u8>,
        /// Number of bytes after the end of the value.
        bytes: usize,
    },
}

impl Unreadable for LoadError {
    fn is_newer(&self) -> bool {
        match self {
            // Where it is known it is no error.
            Self::Format { format, .. } => format.is_some_and(|format| format > FORMAT),
            // Records of another family have its letter.
            Self::Key(key) => {
                key.first().is_some_and(|family| family.is_ascii_lowercase() && !FAMILIES.contains(family))
            }
            Self::NoHead | Self::Value { .. } | Self::Trailing { .. } => false,
        }
    }
}

impl SystemState {
    /// The records that changed since the last call, as encoded keys and values of the system table. To be written
    /// in one batch with the applied index of the commands that changed them.
    pub fn take_changes(&mut self) -> Vec<(Bytes, Bytes)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().filter_map(|key| Some((key.encode(), self.value(key)?))).collect()
    }

    /// True if [`Self::load`] can read this record.
    pub(crate) fn can_load(key: &[u8], value: &[u8]) -> bool {
        RecordKey::decode(key).is_some_and(|of| match of {
            RecordKey::Head => decode::<Head>(key, value).is_ok(),
            RecordKey::Level => decode::<(FormatLevel, Epoch)>(key, value).is_ok(),
            RecordKey::Table(_) => table(key, value).is_ok(),
            RecordKey::Recovery(_) => decode::<RecoveryRecord>(key, value).is_ok(),
            RecordKey::Node(_) => decode::<(NodeRecord, Epoch)>(key, value).is_ok(),
            RecordKey::Shard(_) => shard(key, value).is_ok(),
        })
    }

    /// The key of the record without which there is no state.
    pub(crate) fn head_key() -> Bytes {
        RecordKey::Head.encode()
    }

    /// The state of all the records of the system table, in any order.
    pub fn load<'a>(records: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<Self, LoadError> {
        let (mut head, mut level): (Option<Head>, (FormatLevel, Epoch)) = (None, Default::default());
        let mut map = Map::default();
        let (mut standing, mut targeted) = (BTreeMap::new(), BTreeMap::new());
        for (key, value) in records {
            match RecordKey::decode(key).ok_or_else(|| LoadError::Key(key.to_vec()))? {
                RecordKey::Head => head = Some(decode(key, value)?),
                RecordKey::Level => level = decode(key, value)?,
                RecordKey::Table(_) => map.put_table(table(key, value)?),
                RecordKey::Recovery(_) => map.put_recovery(decode::<RecoveryRecord>(key, value)?),
                RecordKey::Node(id) => {
                    let (record, epoch) = decode::<(NodeRecord, Epoch)>(key, value)?;
                    standing.insert(id, epoch);
                    map.put_node(record);
                }
                RecordKey::Shard(id) => {
                    let (record, epoch) = shard(key, value)?;
                    targeted.insert(id, epoch);
                    map.put_shard(record);
                }
            }
        }
        let Head { cluster, epoch, limits, next, token } = head.ok_or(LoadError::NoHead)?;
        (map.cluster, map.epoch, map.limits, map.level) = (cluster, epoch, limits, level);
        map.given(ReplicaId(next.replica.0.saturating_sub(1)));
        Ok(Self { map, next, token, standing, targeted, changed: BTreeSet::new() })
    }

    fn value(&self, key: RecordKey) -> Option<Bytes> {
        match key {
            RecordKey::Head => Some(encode(&Head {
                cluster: self.map.cluster.clone(),
                epoch: self.map.epoch,
                limits: self.map.limits,
                next: self.next,
                token: self.token,
            })),
            RecordKey::Level => Some(encode(&self.map.level)),
            RecordKey::Table(id) => {
                let record = self.map.tables.get(&id)?;
                Some(match record.consistency {
                    Consistency::Leader => encode(record),
                    Consistency::Quorum { .. } => codec::encode_extended(record),
                })
            }
            RecordKey::Recovery(id) => self.map.recoveries.get(&id).map(encode),
            RecordKey::Node(id) => Some(encode(&(self.map.nodes.get(&id)?, self.standing.get(&id)?))),
            RecordKey::Shard(id) => {
                let (record, targeted) = (self.map.shards.get(&id)?, self.targeted.get(&id)?);
                Some(match record.quorum {
                    None => encode(&(record, targeted)),
                    Some(quorum) => codec::encode_extended(&(record, targeted, quorum)),
                })
            }
        }
    }
}

fn encode(value: &impl Serialize) -> Bytes {
    let encoded = postcard::to_extend(value, vec![FORMAT]);
    assert!(encoded.is_ok(), "records of the system table are plain values, which postcard always encodes");
    encoded.unwrap_or_default().into()
}

fn table(key: &[u8], value: &[u8]) -> Result<TableRecord, LoadError> {
    let format = if is_extended(value) { EXTENDED } else { FORMAT };
    decode_as(format, key, value)
}

/// The record of a shard, and when its target last changed.
fn shard(key: &[u8], value: &[u8]) -> Result<(ShardRecord, Epoch), LoadError> {
    if is_extended(value) {
        let (record, epoch, quorum): (ShardRecord, Epoch, QuorumRecord) = decode_as(EXTENDED, key, value)?;
        return Ok((ShardRecord { quorum: Some(quorum), ..record }, epoch));
    }
    decode(key, value)
}

fn is_extended(value: &[u8]) -> bool {
    value.first() == Some(&EXTENDED)
}

fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, LoadError> {
    decode_as(FORMAT, key, value)
}

fn decode_as<T: DeserializeOwned>(known: u8, key: &[u8], value: &[u8]) -> Result<T, LoadError> {
    let key = || key.to_vec();
    match value.split_first() {
        Some((&format, bytes)) if format == known => {
            let (decoded, rest) =
                postcard::take_from_bytes(bytes).map_err(|source| LoadError::Value { key: key(), source })?;
            if rest.is_empty() { Ok(decoded) } else { Err(LoadError::Trailing { key: key(), bytes: rest.len() }) }
        }
        other => Err(LoadError::Format { key: key(), format: other.map(|(format, _)| *format) }),
    }
}
