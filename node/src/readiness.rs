//! Whether this node's copies are such that another node may be stopped: all that it is to have are here, hear of their
//! leaders, and have nearly all that is committed; those of quorum shards have copied what they are to have. Only what the
//! node itself can know.

use std::collections::BTreeSet;

use skerry_core::ids::{NodeId, ReplicaId, ShardId};
use skerry_core::map::{Map, Member, Role, ShardRecord};
use skerry_core::quorum::layout::{Part, Stage};
use skerry_core::quorum::replica::QuorumView;
use skerry_core::replica::ReplicaView;

/// A copy that lacks no more entries than this is not behind: that much is caught up with in a moment.
const BEHIND_MAX: u64 = 1_024;
/// Looks in a row that must be good before all is well: a copy that has just started hears of its leader first, and of
/// what it lacks a heartbeat later.
const GOOD_LOOKS: u32 = 3;
/// Looks in a row that must be bad before it is not: an election is no reason to send clients away.
const BAD_LOOKS: u32 = 20;

/// What was found at one look: of the first copy that is not well, why.
pub type Look = Result<usize, Ailing>;

/// A copy that is not well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ailing {
    /// The map has a copy here that counts, and there is none.
    #[error("the copy of shard {0} is not here yet")]
    Absent(ShardId),
    /// The shard's copy has no records yet.
    #[error("the copy of shard {0} is being filled")]
    Blank(ShardId),
    /// Without a leader it cannot know how far it is behind.
    #[error("the copy of shard {0} has heard of no leader yet")]
    Leaderless(ShardId),
    /// It has stopped. A release that can read the entry goes on there.
    #[error("the copy of shard {shard} has stopped at entry {index}, which this release cannot read")]
    Unreadable {
        /// Shard that the copy is of.
        shard: ShardId,
        /// Index of the entry that cannot be read.
        index: u64,
    },
    /// The copy has yet to apply many entries that its leader has committed.
    #[error("the copy of shard {shard} lacks {entries} entries")]
    Behind {
        /// Shard that the copy is of.
        shard: ShardId,
        /// Number of committed entries that the copy has not applied yet.
        entries: u64,
    },
}

/// Looks at every copy that votes, or that reads and writes of a quorum shard count on. Copies that are only on their way
/// here hold up nobody.
pub fn look(
    node: NodeId,
    map: &Map,
    replicas: impl Iterator<Item = ReplicaView>,
    quorums: impl Iterator<Item = QuorumView>,
) -> Look {
    let mut expected: BTreeSet<(ShardId, ReplicaId)> = map
        .shards
        .values()
        .filter(|record| map.is_live(record))
        .flat_map(|record| record.descriptor.members.iter().map(move |member| (record, member)))
        .filter(|(record, member)| member.replica.node == node && counts(record, member.role))
        .map(|(record, member)| (record.descriptor.shard, member.replica.id))
        .collect();
    let mut found = 0;
    for view in replicas {
        expected.remove(&(view.shard, view.replica));
        let votes = |m: &Member| m.replica.id == view.replica && m.role != Role::Learner;
        if !view.descriptor.members.iter().any(votes) {
            continue;
        }
        found += 1;
        if view.is_blank {
            return Err(Ailing::Blank(view.shard));
        }
        if let Some(index) = view.unreadable {
            return Err(Ailing::Unreadable { shard: view.shard, index });
        }
        if !view.has_leader {
            return Err(Ailing::Leaderless(view.shard));
        }
        let entries = view.told_committed.saturating_sub(view.applied.0);
        if entries > BEHIND_MAX {
            return Err(Ailing::Behind { shard: view.shard, entries });
        }
    }
    for view in quorums {
        expected.remove(&(view.shard, view.replica));
        match view.part {
            Part::Comes | Part::Over => continue,
            Part::Stays | Part::Leaves => found += 1,
        }
        if view.is_held_back || !view.is_complete {
            return Err(Ailing::Blank(view.shard));
        }
    }
    expected.first().map_or(Ok(found), |(shard, _)| Err(Ailing::Absent(*shard)))
}

/// True for a copy that votes; of a quorum shard for one that reads or writes count on.
fn counts(record: &ShardRecord, role: Role) -> bool {
    let stage = record.quorum.and_then(|quorum| quorum.change).map(|change| change.stage);
    match role {
        Role::Voter | Role::Outgoing => true,
        // It copies until reads turn to it.
        Role::Incoming => record.quorum.is_none() || stage != Some(Stage::WriteBoth),
        Role::Learner => false,
    }
}

/// How many looks in a row were good or bad, and whether the node counts as well for that.
#[derive(Debug, Default)]
pub struct Looks {
    good: u32,
    bad: u32,
    is_well: bool,
}

impl Looks {
    /// After one look more: whether all is well.
    pub fn after(&mut self, look: &Look) -> bool {
        (self.good, self.bad) = if look.is_ok() { (self.good.saturating_add(1), 0) } else { (0, self.bad + 1) };
        self.is_well = if self.is_well { self.bad < BAD_LOOKS } else { self.good >= GOOD_LOOKS };
        self.is_well
    }
}

#[cfg(test)]
mod tests {
    use skerry_core::ids::{Epoch, Generation, TableId};
    use skerry_core::map::{
        Consistency, Descriptor, Fragmentation, QuorumChange, QuorumRecord, Quorums, Replica, TableRecord,
    };
    use skerry_core::quorum::copies::Copies;
    use skerry_core::quorum::layout::{Change, Layout};
    use skerry_core::quorum::shown::Resolve;
    use skerry_core::time::Version;

    use super::*;

    const HERE: NodeId = NodeId(2);
    const SHARD: ShardId = ShardId(7);

    fn descriptor(role: Role) -> Descriptor {
        let member = |node: u64, role| Member { replica: Replica { node: NodeId(node), id: ReplicaId(node) }, role };
        let members = vec![member(1, Role::Voter), member(2, role), member(3, Role::Voter)];
        Descriptor { shard: SHARD, members, ..Descriptor::default() }
    }

    fn view(role: Role) -> ReplicaView {
        ReplicaView {
            node: HERE,
            shard: SHARD,
            replica: ReplicaId(2),
            term: 1,
            is_leader: false,
            committed: 9,
            applied: (9, 1),
            last: 9,
            descriptor: descriptor(role),
            in_sync: Vec::new(),
            is_blank: false,
            has_leader: true,
            told_committed: 9,
            is_quiescent: false,
            unreadable: None,
        }
    }

    fn map() -> Map {
        let mut map = Map::default();
        let table = TableRecord {
            id: TableId::default(),
            name: "sales".to_owned(),
            fragmentation: Fragmentation::Hash,
            consistency: Consistency::Leader,
            replication_factor: 3,
            dropped: false,
            epoch: Epoch(1),
        };
        map.tables.insert(table.id, table);
        map.shards.insert(SHARD, ShardRecord { descriptor: descriptor(Role::Voter), ..ShardRecord::default() });
        map.epoch = Epoch(1);
        map
    }

    #[test]
    fn a_voter_that_is_missing_blank_leaderless_or_far_behind_is_not_well() {
        let look = |views: Vec<ReplicaView>| look(HERE, &map(), views.into_iter(), std::iter::empty());
        assert_eq!(look(vec![view(Role::Voter)]), Ok(1));
        assert_eq!(look(vec![]), Err(Ailing::Absent(SHARD)));
        let blank = ReplicaView { is_blank: true, ..view(Role::Voter) };
        assert_eq!(look(vec![blank]), Err(Ailing::Blank(SHARD)));
        let stopped = ReplicaView { unreadable: Some(10), ..view(Role::Voter) };
        assert_eq!(look(vec![stopped]), Err(Ailing::Unreadable { shard: SHARD, index: 10 }));
        let leaderless = ReplicaView { has_leader: false, ..view(Role::Voter) };
        assert_eq!(look(vec![leaderless]), Err(Ailing::Leaderless(SHARD)));
        let behind = ReplicaView { told_committed: 10 + BEHIND_MAX, ..view(Role::Voter) };
        assert_eq!(look(vec![behind]), Err(Ailing::Behind { shard: SHARD, entries: 1 + BEHIND_MAX }));
    }

    #[test]
    fn a_copy_that_is_only_coming_holds_up_nobody() {
        let coming = ReplicaView { is_blank: true, ..view(Role::Learner) };
        assert_eq!(look(HERE, &Map::default(), std::iter::once(coming), std::iter::empty()), Ok(0));
    }

    fn quorum_view(current: &[u64], next: Option<&[u64]>) -> QuorumView {
        let set =
            |members: &[u64]| Copies { members: members.iter().copied().map(ReplicaId).collect(), write: 2, read: 2 };
        let generation = Generation(3);
        let change = next.map(|members| Change {
            next: set(members),
            stage: Stage::WriteBoth,
            began: generation,
            reads_since: generation,
        });
        let layout = Layout { change, ..Layout::settled(generation, set(current)) };
        QuorumView {
            shard: SHARD,
            replica: ReplicaId(2),
            part: layout.part(ReplicaId(2)),
            layout,
            is_held_back: false,
            is_complete: true,
            bar: Version::default(),
            floor: Version::default(),
            applied: 0,
            journaled: 0,
            coordinated: (0, 0),
            hints: (0, 0),
            sum: None,
        }
    }

    /// The map of a quorum shard whose copy here has this role.
    fn quorum_map(role: Role, stage: Option<Stage>) -> Map {
        let (mut map, quorums) = (map(), Quorums { write: 2, read: 2 });
        let (began, reads_since) = (Generation(2), Generation(2));
        let change = stage.map(|stage| QuorumChange { next: quorums, stage, began, reads_since });
        let quorum =
            Some(QuorumRecord { current: quorums, change, resolve: Resolve::LastWriterWins, is_unsure: false });
        map.shards.insert(SHARD, ShardRecord { descriptor: descriptor(role), quorum, ..ShardRecord::default() });
        map
    }

    #[test]
    fn a_quorum_copy_is_well_once_it_is_here_and_complete() {
        let map = quorum_map(Role::Voter, None);
        let look = |view: Option<QuorumView>| look(HERE, &map, std::iter::empty(), view.into_iter());
        let view = || quorum_view(&[1, 2, 3], None);
        assert_eq!(look(Some(view())), Ok(1));
        assert_eq!(look(None), Err(Ailing::Absent(SHARD)));
        assert_eq!(look(Some(QuorumView { is_held_back: true, ..view() })), Err(Ailing::Blank(SHARD)));
        assert_eq!(look(Some(QuorumView { is_complete: false, ..view() })), Err(Ailing::Blank(SHARD)));
    }

    #[test]
    fn a_quorum_copy_that_comes_holds_up_nobody_until_it_is_read() {
        let coming = || QuorumView { is_complete: false, ..quorum_view(&[1, 3], Some(&[1, 2, 3])) };
        let look = |stage, view: Option<QuorumView>| {
            look(HERE, &quorum_map(Role::Incoming, Some(stage)), std::iter::empty(), view.into_iter())
        };
        assert_eq!(look(Stage::WriteBoth, Some(coming())), Ok(0));
        assert_eq!(look(Stage::WriteBoth, None), Ok(0));
        assert_eq!(look(Stage::ReadNew, None), Err(Ailing::Absent(SHARD)));
    }

    #[test]
    fn all_is_well_after_some_good_looks_and_no_more_after_many_bad_ones() {
        let mut looks = Looks::default();
        let bad = Err(Ailing::Blank(SHARD));
        assert!(!looks.after(&Ok(1)) && !looks.after(&bad));
        assert!(!looks.after(&Ok(1)) && !looks.after(&Ok(1)) && looks.after(&Ok(1)));
        for _ in 1..BAD_LOOKS {
            assert!(looks.after(&bad));
        }
        assert!(!looks.after(&bad));
    }
}
