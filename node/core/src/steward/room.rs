//! What full disks mean for moves of quorum shards: one that brings a copy to such a disk cannot end, and what the copy has got
//! by then keeps the disk full. So it is given up after a while, and where that happens again and again it is tried ever more
//! seldom.

use super::View;
use super::system_shard::SILENCE_MS;
use crate::ids::{NodeId, ReplicaId};
use crate::map::{ShardRecord, home_of};
use crate::planted::{Planted, is_planted};
use crate::quorum::copies::{Copies, Known};
use crate::quorum::layout::{Change, Stage};

/// True if a copy may come to the node, as far as its disk has shown until now.
pub(super) fn may_come(view: &View<'_>, node: NodeId) -> bool {
    !view.fullness(node).rests(view.now_ms)
}

/// True if a copy that is to come has been kept from copying by a full disk for long. `known` = what copies have told.
pub(super) fn is_kept_out(
    view: &View<'_>,
    record: &ShardRecord,
    (current, change): (&Copies, &Change),
    known: &impl Known,
) -> bool {
    let comes = |copy: &&ReplicaId| !current.members.contains(copy) && !current.is_copied(**copy, change.began, known);
    let is_full = |copy: &ReplicaId| {
        let node = home_of(record, *copy);
        node.is_some_and(|node| view.fullness(node).full_ms(view.now_ms) > SILENCE_MS)
    };
    let is_early = change.stage == Stage::WriteBoth && !is_planted(Planted::FullMoveAwaited);
    is_early && change.next.members.iter().filter(comes).any(is_full)
}

/// True if a move of a quorum shard has not begun since a copy is to come to a disk that has no room, or had none lately. It
/// may take long, and is in nobody's way.
pub(super) fn waits_for_room(view: &View<'_>, record: &ShardRecord) -> bool {
    let is_member = |id: ReplicaId| record.descriptor.members.iter().any(|member| member.replica.id == id);
    let mut comes = record.assigned.iter().filter(|copy| !is_member(copy.id));
    record.quorum.is_some_and(|quorum| quorum.change.is_none()) && comes.any(|copy| !may_come(view, copy.node))
}
