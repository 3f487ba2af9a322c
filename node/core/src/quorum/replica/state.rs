//! What the store keeps of a copy of a quorum shard beside its records: who it is, which layout it holds, how far it is.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::{self, Undecodable};
use crate::engine::{EngineWrite, shard_key, state};
use crate::ids::{Generation, ReplicaId, ShardId, TableId};
use crate::key::check_place;
use crate::limits::REPLICATION_FACTOR_MAX;
use crate::log::INDEX_MAX;
use crate::map::{Descriptor, in_bounds};
use crate::quorum::copies::{Copies, Known};
use crate::quorum::floor::Floor;
use crate::quorum::layout::{Layout, Part};
use crate::time::Version;

const NAME: &str = "state of a quorum copy";

/// In one atomic batch with the records that it covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumState {
    replica: ReplicaId,
    shard: ShardId,
    table: TableId,
    start: Bytes,
    end: Option<Bytes>,
    /// Held durably: what was taken under earlier ones came before it in the log.
    layout: Layout,
    /// Index of the last applied entry. Entries are contiguous from 1 on.
    applied: u64,
    floor: Floor,
    /// From whom all was copied, and at which generation at the latest.
    copied: BTreeMap<ReplicaId, Generation>,
    last_version: Version,
    bytes: u64,
}

impl QuorumState {
    /// A first copy of a new shard.
    pub fn first(replica: ReplicaId, descriptor: &Descriptor, layout: Layout) -> Self {
        Self {
            replica,
            shard: descriptor.shard,
            table: descriptor.table,
            start: descriptor.start.clone(),
            end: descriptor.end.clone(),
            layout,
            applied: 0,
            floor: Floor::default(),
            copied: BTreeMap::new(),
            last_version: Version(0),
            bytes: 0,
        }
    }

    /// A copy that comes to a shard that there is: it takes nothing before it has taken over another one's bounds.
    pub fn coming(replica: ReplicaId, descriptor: &Descriptor, layout: Layout) -> Self {
        Self { floor: Floor::bare(), ..Self::first(replica, descriptor, layout) }
    }

    /// Id of the copy.
    pub fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// Shard that it is a copy of.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// Table that the shard is of.
    pub fn table(&self) -> TableId {
        self.table
    }

    /// First encoded key of the shard, and the first one beyond; `None` = the table's end.
    pub fn range(&self) -> (&Bytes, Option<&Bytes>) {
        (&self.start, self.end.as_ref())
    }

    /// The layout that it holds.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Index of the last applied entry.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// The bar, at or below which it takes no write, and the floor, at or below which all copies have the same.
    pub fn floor(&self) -> &Floor {
        &self.floor
    }

    /// From whom it has copied all, and at which generation at the latest.
    pub fn copied(&self) -> &BTreeMap<ReplicaId, Generation> {
        &self.copied
    }

    /// Highest version of a record that it has taken.
    pub fn last_version(&self) -> Version {
        self.last_version
    }

    /// Bytes of its records, without deletes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// True if the key lies in the shard's bounds.
    pub fn contains(&self, key: &[u8]) -> bool {
        in_bounds(key, &self.start, self.end.as_deref())
    }

    /// True for what is a key of the shard, or was taken for one by an earlier release.
    pub(super) fn is_own(&self, key: &[u8]) -> bool {
        !key.is_empty() && check_place(key).is_ok() && self.contains(key)
    }

    /// What the copy is there for under the layout that it holds.
    pub fn part(&self) -> Part {
        self.layout.part(self.replica)
    }

    /// True if what it lacks at or below its floor is deleted: see [`Layout::is_complete`].
    pub fn is_complete(&self) -> bool {
        self.layout.is_complete(self.replica, self)
    }

    /// The write to the store that saves this state.
    pub fn write(&self) -> EngineWrite {
        EngineWrite::Put(shard_key(self.shard, state::QUORUM, &[]), codec::encode(self))
    }

    /// What the store holds under a shard's key.
    ///
    /// # Errors
    ///
    /// Of bytes that no copy of this shard has written.
    pub fn decode_of(shard: ShardId, bytes: &[u8]) -> Result<Self, Undecodable> {
        let state: Self = codec::decode(NAME, bytes)?;
        state.check()?;
        if state.shard == shard { Ok(state) } else { Err(state.unsound()) }
    }

    /// Whether a copy can be opened with this.
    ///
    /// # Errors
    ///
    /// Of what no copy has written, and of what a damaged record of the map would make.
    pub fn check(&self) -> Result<(), Undecodable> {
        let is_sound = self.replica.0 != 0
            && self.applied <= INDEX_MAX
            && is_sound(&self.layout)
            && self.end.as_ref().is_none_or(|end| *end >= self.start);
        if is_sound { Ok(()) } else { Err(self.unsound()) }
    }

    fn unsound(&self) -> Undecodable {
        let reason = format!("it cannot be of shard {} and copy {}", self.shard, self.replica);
        Undecodable::damaged(NAME, reason)
    }

    /// An entry of the log is applied.
    pub(super) fn stand_at(&mut self, applied: u64) {
        self.applied = applied;
    }

    /// It holds a newer layout. What it has copied from copies that are none any more is forgotten.
    pub(super) fn hold(&mut self, layout: Layout) {
        if layout.generation > self.layout.generation {
            self.layout = layout;
            let (layout, change) = (&self.layout, self.layout.change.as_ref());
            let is_named = |copy: &ReplicaId| {
                layout.current.members.contains(copy) || change.is_some_and(|change| change.next.members.contains(copy))
            };
            self.copied.retain(|copy, _| is_named(copy));
        }
    }

    pub(super) fn floor_mut(&mut self) -> &mut Floor {
        &mut self.floor
    }

    /// All that another copy held at this generation is here.
    pub(super) fn has_copied_from(&mut self, from: ReplicaId, since: Generation) {
        if self.layout.current.members.contains(&from) {
            let at = self.copied.entry(from).or_default();
            *at = since.max(*at);
        }
    }

    /// A record of so many bytes has become one of so many, of this version at the highest.
    pub(super) fn record_changed(&mut self, before: u64, after: u64, version: Version) {
        self.bytes = self.bytes.saturating_sub(before).saturating_add(after);
        self.last_version = version.max(self.last_version);
    }
}

/// What a copy knows of itself, which is all that it needs to know whether it is complete.
impl Known for QuorumState {
    fn held(&self, copy: ReplicaId) -> Generation {
        if copy == self.replica { self.layout.generation } else { Generation(0) }
    }

    fn is_lost(&self, _: ReplicaId) -> bool {
        false
    }

    fn has_copied(&self, by: ReplicaId, from: ReplicaId, since: Generation) -> bool {
        by == self.replica && self.copied.get(&from).is_some_and(|at| *at >= since)
    }
}

/// True for a layout that a shard can have.
pub(super) fn is_sound(layout: &Layout) -> bool {
    let is_set = |copies: &Copies| copies.is_sound() && copies.members.len() <= REPLICATION_FACTOR_MAX;
    layout.generation > Generation(0)
        && is_set(&layout.current)
        && layout.change.as_ref().is_none_or(|change| is_set(&change.next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::layout::{Change, Stage};

    fn copies(members: &[u64]) -> Copies {
        Copies { members: members.iter().copied().map(ReplicaId).collect(), write: 2, read: 2 }
    }

    fn settled(generation: u64, members: &[u64]) -> Layout {
        Layout::settled(Generation(generation), copies(members))
    }

    fn changing(generation: u64) -> Layout {
        let began = Generation(generation);
        let change = Change { next: copies(&[2, 3, 4]), stage: Stage::WriteBoth, began, reads_since: began };
        Layout { change: Some(change), ..settled(generation, &[1, 2, 3]) }
    }

    fn first() -> QuorumState {
        let descriptor = Descriptor { shard: ShardId(5), table: TableId(2), ..Descriptor::default() };
        QuorumState::first(ReplicaId(1), &descriptor, settled(1, &[1, 2, 3]))
    }

    #[test]
    fn a_state_is_read_under_its_own_shards_key_only() {
        let state = first();
        let EngineWrite::Put(key, bytes) = state.write() else { panic!("it is put") };
        assert_eq!(key, shard_key(ShardId(5), state::QUORUM, &[]));
        assert_eq!(QuorumState::decode_of(ShardId(5), &bytes), Ok(state));
        assert!(QuorumState::decode_of(ShardId(6), &bytes).is_err());
        assert!(!QuorumState::decode_of(ShardId(5), &bytes[..9]).unwrap_err().is_newer);
    }

    #[test]
    fn what_no_copy_has_written_is_refused() {
        let unsound: [fn(&mut QuorumState); 5] = [
            |state| state.replica = ReplicaId(0),
            |state| state.applied = INDEX_MAX + 1,
            |state| state.layout = settled(0, &[1, 2, 3]),
            |state| state.layout.current.write = 4,
            |state| (state.start, state.end) = (Bytes::from_static(b"b"), Some(Bytes::from_static(b"a"))),
        ];
        for change in unsound {
            let mut state = first();
            assert_eq!(state.check(), Ok(()));
            change(&mut state);
            assert!(state.check().is_err(), "{state:?}");
        }
    }

    #[test]
    fn layouts_only_rise_and_forget_of_whom_they_do_not_name() {
        let mut state = first();
        state.hold(changing(2));
        state.has_copied_from(ReplicaId(3), Generation(2));
        state.has_copied_from(ReplicaId(9), Generation(2));
        state.hold(settled(1, &[7, 8, 9]));
        assert_eq!(state.layout(), &changing(2));
        assert_eq!(state.copied(), &BTreeMap::from([(ReplicaId(3), Generation(2))]), "9 is none to copy from");
        state.hold(settled(3, &[1, 2, 4]));
        assert!(state.copied().is_empty());
        assert_eq!(state.part(), Part::Stays);
    }

    #[test]
    fn a_copy_that_comes_is_complete_once_it_has_copied_from_enough() {
        let mut state = QuorumState { replica: ReplicaId(4), layout: changing(2), floor: Floor::bare(), ..first() };
        assert!(!state.is_complete());
        state.has_copied_from(ReplicaId(1), Generation(1));
        state.has_copied_from(ReplicaId(2), Generation(2));
        assert!(!state.is_complete(), "what was copied before the change does not count");
        state.has_copied_from(ReplicaId(1), Generation(2));
        assert!(state.is_complete());
    }
}
