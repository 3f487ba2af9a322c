//! What the store keeps of a replica beside its records: who it is, and how far its records are.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::{self, Undecodable};
use crate::engine::{EngineWrite, shard_key, state};
use crate::ids::{ReplicaId, ShardId};
use crate::level::FormatLevel;
use crate::log::INDEX_MAX;
use crate::log::RecoveredLog;
use crate::map::Descriptor;
use crate::map::check_members;
use crate::planted::{Planted, is_planted};
use crate::time::Version;

/// Index and term that a shard's first replicas start from, as if a first entry had been applied.
pub const FIRST: (u64, u64) = (1, 1);

/// In one atomic batch with the records that it covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaState {
    /// Id of the replica that this state belongs to.
    pub replica: ReplicaId,
    /// The shard at `applied`. Only the shard id counts while `blank`.
    pub descriptor: Descriptor,
    /// Index and term of the last applied entry.
    pub applied: (u64, u64),
    /// Highest version given in the shard.
    pub last_version: Version,
    /// Requests issued at or before this are refused.
    pub request_floor: Version,
    /// Bytes of the shard's records, as this copy has counted or estimated them: others may have another number.
    pub bytes: u64,
    /// True until its snapshot is complete: its records mean nothing. What it voted and acknowledged is in its log.
    pub blank: bool,
    /// True from a snapshot's end until an entry after it is applied. If the log does not begin at `applied` by then, the
    /// log is from before the snapshot, which stands for all of it.
    pub from_snapshot: bool,
    /// Format level whose rules the shard's copies follow, since an entry of their log said so. Never lowered.
    #[serde(skip)]
    pub level: FormatLevel,
}

impl ReplicaState {
    /// A first replica of a new shard.
    pub fn first(replica: ReplicaId, descriptor: Descriptor) -> Self {
        Self { applied: FIRST, descriptor, blank: false, ..Self::blank(replica, ShardId::SYSTEM) }
    }

    /// A replica that waits for its snapshot.
    pub fn blank(replica: ReplicaId, shard: ShardId) -> Self {
        Self {
            replica,
            descriptor: Descriptor { shard, ..Descriptor::default() },
            applied: (0, 0),
            last_version: Version(0),
            request_floor: Version(0),
            bytes: 0,
            blank: true,
            from_snapshot: false,
            level: FormatLevel::FIRST,
        }
    }

    /// True if the log is from before the snapshot that the store holds, which stands for all of it: a snapshot is durable
    /// in the store before the log begins anew after it. A log that has the snapshot's own last entry goes on from there,
    /// and keeps what follows.
    pub(super) fn stands_for(&self, log: &RecoveredLog) -> bool {
        let (index, term) = self.applied;
        let reaches_it = log.entries.iter().any(|e| (e.index, e.term) == (index, term));
        let is_other = self.from_snapshot && (!reaches_it || is_planted(Planted::LogDroppedBehindSnapshot));
        (is_other || log.entries.is_empty()) && log.start.0 < index
    }

    /// The write to the store that saves this state.
    pub fn write(&self) -> EngineWrite {
        EngineWrite::Put(shard_key(self.descriptor.shard, state::REPLICA, &[]), self.encode())
    }

    /// A release of the first level reads it for as long as the shard is of that level.
    fn encode(&self) -> Bytes {
        match self.level {
            FormatLevel::FIRST => codec::encode(self),
            later => codec::encode_extended(&(self, later)),
        }
    }

    /// Decodes the state from the value in the store.
    pub fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        match codec::decode_extended::<(Self, FormatLevel)>("replica state", bytes)? {
            Some((state, level)) => Ok(Self { level, ..state }),
            None => codec::decode("replica state", bytes),
        }
    }

    /// What the store holds under a shard's key.
    ///
    /// # Errors
    ///
    /// Of bytes that no copy of this shard has written.
    pub(crate) fn decode_of(shard: ShardId, bytes: &[u8]) -> Result<Self, Undecodable> {
        let state = Self::decode(bytes)?;
        state.check()?;
        if state.descriptor.shard == shard { Ok(state) } else { Err(state.unsound()) }
    }

    /// Whether raft can be started with this: it ends the process on members that cannot be.
    ///
    /// # Errors
    ///
    /// Of what no copy has written, and of what a damaged record of the map would make.
    pub(crate) fn check(&self) -> Result<(), Undecodable> {
        let is_empty = self.blank && self.descriptor.members.is_empty();
        let is_sound = self.replica.0 != 0
            && self.applied.0 <= INDEX_MAX
            && self.applied.1 <= INDEX_MAX
            && (FormatLevel::FIRST..=FormatLevel::MAX).contains(&self.level)
            && self.descriptor.end.as_ref().is_none_or(|end| *end >= self.descriptor.start)
            && (is_empty || check_members(&self.descriptor).is_ok());
        if is_sound { Ok(()) } else { Err(self.unsound()) }
    }

    fn unsound(&self) -> Undecodable {
        let reason = format!("it cannot be of shard {} and copy {}", self.descriptor.shard, self.replica);
        Undecodable::damaged("replica state", reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{EntryKind, LogEntry};

    fn log(start: u64, entries: impl IntoIterator<Item = (u64, u64)>) -> RecoveredLog {
        let entry = |(index, term)| LogEntry {
            index,
            term,
            kind: EntryKind::Normal,
            data: Bytes::new(),
            context: Bytes::new(),
        };
        RecoveredLog { start: (start, 1), entries: entries.into_iter().map(entry).collect(), ..RecoveredLog::default() }
    }

    fn at(index: u64, term: u64, from_snapshot: bool) -> ReplicaState {
        let blank = ReplicaState::blank(ReplicaId(1), ShardId(1));
        ReplicaState { applied: (index, term), blank: false, from_snapshot, ..blank }
    }

    #[test]
    fn a_snapshot_stands_for_a_log_that_ends_before_it_or_is_another() {
        assert!(at(10, 3, true).stands_for(&log(5, [(6, 2), (7, 2)])));
        assert!(at(10, 3, true).stands_for(&log(5, (6..=12).map(|index| (index, 2)))));
    }

    #[test]
    fn a_log_that_has_the_snapshots_entry_keeps_what_follows() {
        assert!(!at(8, 2, true).stands_for(&log(5, (6..=12).map(|index| (index, 2)))));
        assert!(!at(5, 1, true).stands_for(&log(5, [(6, 2)])));
    }

    #[test]
    fn records_without_a_snapshot_stand_for_an_empty_log_only() {
        assert!(!at(10, 3, false).stands_for(&log(5, [(6, 2), (7, 2)])));
        assert!(at(1, 1, false).stands_for(&log(0, [])));
    }

    #[test]
    fn a_state_is_read_under_its_own_shards_key_only() {
        let member = crate::map::Member {
            replica: crate::map::Replica { node: crate::ids::NodeId(1), id: ReplicaId(1) },
            role: crate::map::Role::Voter,
        };
        let table = crate::ids::TableId(1);
        let descriptor = Descriptor { shard: ShardId(1), table, members: vec![member], ..Descriptor::default() };
        let state = ReplicaState::first(ReplicaId(1), descriptor);
        let bytes = state.encode();
        assert_eq!(ReplicaState::decode_of(ShardId(1), &bytes), Ok(state.clone()));
        assert!(ReplicaState::decode_of(ShardId(2), &bytes).is_err());
        assert_eq!(bytes, codec::encode(&state), "a shard of the first level is kept as the first releases keep it");
        let later = ReplicaState { level: FormatLevel(2), ..state };
        assert_eq!(ReplicaState::decode_of(ShardId(1), &later.encode()), Ok(later.clone()));
        let error = codec::decode::<ReplicaState>("replica state", &later.encode()).unwrap_err();
        assert!(error.is_newer, "a release of the first level does not take it for damage: {error}");
    }

    #[cfg(feature = "planted")]
    #[test]
    fn a_log_that_is_dropped_behind_a_snapshot_is_noticed() {
        crate::planted::plant(Some(Planted::LogDroppedBehindSnapshot));
        let drops = at(8, 2, true).stands_for(&log(5, (6..=12).map(|index| (index, 2))));
        crate::planted::plant(None);
        assert!(drops);
    }
}
