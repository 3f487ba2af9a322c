//! Which copies have not answered lately, whose turn it is, and which copy of a quorum shard is asked. Any of them coordinates:
//! a near one first, in turns, and none that has just not answered while there is another. So it is with reads that any copy of
//! a shard with a leader answers ([`crate::routes::any_replica`]).

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use skerry_core::ids::{NodeId, ShardId};
use skerry_core::map::{Role, ShardRecord};
use skerry_core::quorum::layout::Stage;
use tokio::time::Instant;

/// A node that did not answer is asked last for so long: a node that is down costs one operation now and then, not each. Twice
/// as long each time that it does not answer then either, up to so many times: of each write that is asked of it in vain, and
/// that keeps siblings, its key has to remember something until the node is back.
const SHUNNED_FOR: Duration = Duration::from_secs(3);
const DOUBLED_MAX: u32 = 4;
/// A node that was asked last is known as that for so long afterwards.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);

/// A node, or its copy of one shard.
type Place = (NodeId, Option<ShardId>);

/// The nodes and copies that have not answered lately, and whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Coordinators {
    shunned: RwLock<HashMap<Place, Shunned>>,
    turn: AtomicUsize,
}

/// A node or a copy that has not answered.
#[derive(Debug, Clone, Copy)]
struct Shunned {
    until: Instant,
    /// How often it has not answered after it had been asked last for its time.
    times: u32,
}

impl Shunned {
    /// As it is when the node has not answered now. What had been asked before it was shunned counts once.
    fn after(before: Option<Self>, now: Instant) -> Self {
        let times = match before {
            Some(before) if now < before.until => return before,
            Some(before) => before.times.saturating_add(1),
            None => 0,
        };
        Self { until: now + SHUNNED_FOR * (1 << times.min(DOUBLED_MAX)), times }
    }
}

impl Coordinators {
    /// A node has not answered, or cannot be reached.
    pub(crate) fn shun(&self, node: NodeId, now: Instant) {
        self.note((node, None), now);
    }

    /// A node has no records of a shard, or has not answered what only the shard's leader answers. That says nothing of its
    /// other copies.
    pub(crate) fn shun_copy(&self, node: NodeId, shard: ShardId, now: Instant) {
        self.note((node, Some(shard)), now);
    }

    fn note(&self, place: Place, now: Instant) {
        let mut shunned = self.shunned.write().unwrap_or_else(PoisonError::into_inner);
        shunned.retain(|_, shunned| now < shunned.until + REMEMBERED_FOR);
        let before = shunned.get(&place).copied();
        shunned.insert(place, Shunned::after(before, now));
    }

    /// True if a node, or its copy of this shard, is asked last.
    pub(crate) fn is_shunned(&self, node: NodeId, shard: ShardId, now: Instant) -> bool {
        let shunned = self.shunned.read().unwrap_or_else(PoisonError::into_inner);
        let is_shunned = |place: Place| shunned.get(&place).is_some_and(|shunned| now < shunned.until);
        !shunned.is_empty() && (is_shunned((node, None)) || is_shunned((node, Some(shard))))
    }

    /// A node has answered.
    pub(crate) fn trust(&self, node: NodeId) {
        self.forget(&[(node, None)]);
    }

    /// A node has answered from its copy of a shard.
    pub(crate) fn trust_copy(&self, node: NodeId, shard: ShardId) {
        self.forget(&[(node, None), (node, Some(shard))]);
    }

    fn forget(&self, places: &[Place]) {
        let shunned = self.shunned.read().unwrap_or_else(PoisonError::into_inner);
        let is_known = !shunned.is_empty() && places.iter().any(|place| shunned.contains_key(place));
        drop(shunned);
        if is_known {
            let mut shunned = self.shunned.write().unwrap_or_else(PoisonError::into_inner);
            for place in places {
                shunned.remove(place);
            }
        }
    }

    /// The turn of a new operation: operations go to the copies one after the other.
    pub(crate) fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// Whom an operation asks, one after the other, that has this turn and was tried so often before.
    pub(crate) fn order(
        &self,
        shard: &ShardRecord,
        is_near: impl Fn(NodeId) -> bool,
        (turn, tries): (usize, u32),
        now: Instant,
    ) -> Vec<NodeId> {
        let mut nodes = coordinating(shard);
        // In turns among those that are equally good.
        let count = nodes.len().max(1);
        nodes.rotate_left(turn % count);
        nodes.sort_by_key(|(node, is_likely)| (!is_likely, !is_near(*node)));
        let shunned = self.shunned.read().unwrap_or_else(PoisonError::into_inner);
        let is_shunned = |node: NodeId| shunned.get(&(node, None)).is_some_and(|shunned| now < shunned.until);
        let (mut last, mut first): (Vec<NodeId>, Vec<NodeId>) =
            nodes.into_iter().map(|(node, _)| node).partition(|node| is_shunned(*node));
        let tries = usize::try_from(tries).unwrap_or(0);
        for part in [&mut first, &mut last] {
            let count = part.len().max(1);
            part.rotate_left(tries % count);
        }
        first.extend(last);
        first
    }
}

/// The nodes with a copy, and whether it is one that takes writes and has all records at the shard's stage.
fn coordinating(shard: &ShardRecord) -> Vec<(NodeId, bool)> {
    let stage = shard.quorum.and_then(|quorum| quorum.change).map(|change| change.stage);
    let is_likely = |role: Role| match role {
        Role::Voter => true,
        Role::Outgoing => stage != Some(Stage::NewOnly),
        Role::Incoming => stage == Some(Stage::NewOnly),
        Role::Learner => false,
    };
    shard.descriptor.members.iter().map(|member| (member.replica.node, is_likely(member.role))).collect()
}

#[cfg(test)]
mod tests {
    use skerry_core::ids::{Generation, ReplicaId};
    use skerry_core::map::{Descriptor, Member, QuorumChange, QuorumRecord, Quorums, Replica};
    use skerry_core::quorum::shown::Resolve;

    use super::*;

    const TWO: Quorums = Quorums { write: 2, read: 2 };

    fn shard(members: &[(u64, Role)], stage: Option<Stage>) -> ShardRecord {
        let member = |&(n, role): &(u64, Role)| Member { replica: Replica { node: NodeId(n), id: ReplicaId(n) }, role };
        let descriptor = Descriptor { members: members.iter().map(member).collect(), ..Descriptor::default() };
        let (began, reads_since) = (Generation(2), Generation(2));
        let change = stage.map(|stage| QuorumChange { next: TWO, stage, began, reads_since });
        ShardRecord {
            descriptor,
            quorum: Some(QuorumRecord { current: TWO, change, resolve: Resolve::default(), is_unsure: false }),
            ..ShardRecord::default()
        }
    }

    fn settled() -> ShardRecord {
        shard(&[(1, Role::Voter), (2, Role::Voter), (3, Role::Voter)], None)
    }

    fn order(coordinators: &Coordinators, shard: &ShardRecord, turns: (usize, u32), now: Instant) -> Vec<u64> {
        coordinators.order(shard, |_| false, turns, now).into_iter().map(|node| node.0).collect()
    }

    #[tokio::test]
    async fn copies_take_turns_and_each_try_asks_another() {
        let (coordinators, now) = (Coordinators::default(), Instant::now());
        assert_eq!(order(&coordinators, &settled(), (0, 0), now), [1, 2, 3]);
        assert_eq!(order(&coordinators, &settled(), (1, 0), now), [2, 3, 1]);
        assert_eq!(order(&coordinators, &settled(), (1, 1), now), [3, 1, 2]);
        assert_eq!(order(&coordinators, &settled(), (usize::MAX, u32::MAX), now).len(), 3);
        assert!(order(&coordinators, &shard(&[], None), (5, 5), now).is_empty());
        assert_ne!(coordinators.next_turn(), coordinators.next_turn());
    }

    #[tokio::test]
    async fn a_near_copy_is_asked_first_and_one_that_did_not_answer_last_for_a_while() {
        let (coordinators, now) = (Coordinators::default(), Instant::now());
        let near = |tries| {
            let nodes = coordinators.order(&settled(), |node| node == NodeId(2), (0, tries), now);
            nodes.into_iter().map(|node| node.0).collect::<Vec<_>>()
        };
        assert_eq!((near(0), near(1)), (vec![2, 1, 3], vec![1, 3, 2]));
        coordinators.shun(NodeId(2), now);
        assert_eq!((near(0), near(1), near(2)), (vec![1, 3, 2], vec![3, 1, 2], vec![1, 3, 2]));
        assert_eq!(order(&coordinators, &settled(), (1, 0), now + SHUNNED_FOR), [2, 3, 1]);
        (1..=3).for_each(|node| coordinators.shun(NodeId(node), now));
        assert_eq!(near(0), [2, 1, 3], "there is no other");
        coordinators.trust(NodeId(3));
        assert_eq!(near(0), [3, 2, 1]);
    }

    #[tokio::test]
    async fn a_copy_without_records_is_none_of_the_nodes_other_copies() {
        let (coordinators, now) = (Coordinators::default(), Instant::now());
        let of = |shard| coordinators.is_shunned(NodeId(1), ShardId(shard), now);
        coordinators.shun_copy(NodeId(1), ShardId(7), now);
        assert_eq!((of(7), of(8)), (true, false));
        assert_eq!(order(&coordinators, &settled(), (0, 0), now), [1, 2, 3]);
        coordinators.shun(NodeId(1), now);
        assert_eq!((of(7), of(8)), (true, true));
        coordinators.trust_copy(NodeId(1), ShardId(8));
        assert_eq!((of(7), of(8)), (true, false), "the node answers");
        assert!(!coordinators.is_shunned(NodeId(1), ShardId(7), now + SHUNNED_FOR));
        coordinators.trust_copy(NodeId(1), ShardId(7));
        assert!(!of(7));
    }

    /// For how long a node is asked last that does not answer now.
    fn shunned_for(coordinators: &Coordinators, now: Instant) -> u64 {
        coordinators.shun(NodeId(1), now);
        let is_last = |secs: u64| order(coordinators, &settled(), (0, 0), now + Duration::from_secs(secs))[2] == 1;
        (0..).find(|secs| !is_last(*secs)).expect("there is an end")
    }

    #[tokio::test]
    async fn a_copy_that_hangs_is_asked_ever_more_seldom_until_it_answers() {
        let (coordinators, mut now) = (Coordinators::default(), Instant::now());
        for expected in [3, 6, 12, 24, 48, 48] {
            assert_eq!(shunned_for(&coordinators, now), expected);
            // What was under way to it fails as well.
            coordinators.shun(NodeId(1), now + Duration::from_secs(1));
            now += Duration::from_secs(expected);
        }
        coordinators.trust(NodeId(1));
        assert_eq!(shunned_for(&coordinators, now), 3);
        now += Duration::from_secs(3 + 60);
        assert_eq!(shunned_for(&coordinators, now), 3, "it is long since");
    }

    #[tokio::test]
    async fn copies_that_leave_or_come_are_asked_first_only_where_writes_take_them() {
        let (coordinators, now) = (Coordinators::default(), Instant::now());
        let members = [(1, Role::Incoming), (2, Role::Outgoing), (3, Role::Voter)];
        for stage in [Stage::WriteBoth, Stage::ReadNew] {
            assert_eq!(order(&coordinators, &shard(&members, Some(stage)), (0, 0), now), [2, 3, 1]);
        }
        assert_eq!(order(&coordinators, &shard(&members, Some(Stage::NewOnly)), (0, 0), now), [1, 3, 2]);
    }
}
