//! Whether a database is at rest, and what keeps it from that.

use std::collections::BTreeSet;

use skerry_core::ids::{NodeId, ShardId};
use skerry_core::map::NodeState;
use skerry_core::node::Status;

use super::{ShardNow, is_heard, needing, shards_now};

/// What keeps a database from rest, in words. `None` = every shard is where it should be, takes reads and writes, and has
/// its copies in step, and every node was heard of.
pub fn unrest(status: &Status) -> Option<String> {
    let shards = shards_now(status);
    let (short_of_room, behind) = short(&shards);
    let full: BTreeSet<NodeId> = short_of_room.iter().flat_map(|shard| shard.full()).collect();
    let of_room = (short_of_room.len(), "shards short of copies, for which disks have no room", few(&full));
    in_words(status, &shards, behind.len(), of_room)
}

/// What keeps this node from being taken away for a while, in words. That other disks have no room does so only where a
/// shard needs the node for that: it may last for long, and a node with more room may be what helps.
pub(crate) fn unrest_without(status: &Status, node: NodeId) -> Option<String> {
    let shards = shards_now(status);
    let (short_of_room, behind) = short(&shards);
    let needing: BTreeSet<ShardId> =
        if short_of_room.is_empty() { BTreeSet::new() } else { needing(status, node).into_iter().collect() };
    let needing: Vec<_> = short_of_room.into_iter().filter(|s| needing.contains(&s.descriptor.shard)).collect();
    let full: BTreeSet<NodeId> = needing.iter().flat_map(|shard| shard.full()).collect();
    let what = format!("shards that need {node}, since other disks are nearly full");
    in_words(status, &shards, behind.len(), (needing.len(), &what, few(&full)))
}

/// True if nothing but want of room on disks keeps a database from rest.
pub(crate) fn is_short_of_room_alone(status: &Status) -> bool {
    let shards = shards_now(status);
    let (short_of_room, behind) = short(&shards);
    !short_of_room.is_empty() && behind.is_empty() && in_words(status, &shards, 0, (0, "", String::new())).is_none()
}

/// Shards that have fewer copies in step than they are to have: those for want of room on disks, and the others.
fn short<'a>(shards: &'a [ShardNow<'a>]) -> (Vec<&'a ShardNow<'a>>, Vec<&'a ShardNow<'a>>) {
    let short = shards.iter().filter(|shard| shard.in_sync().len() < shard.record.target.len());
    short.partition(|shard| shard.is_short_of_room())
}

fn in_words(status: &Status, shards: &[ShardNow<'_>], behind: usize, of_room: (usize, &str, String)) -> Option<String> {
    let moving = shards.iter().filter(|s| !s.record.is_settled()).count();
    let Unheard { nodes, leaderless, too_few } = unheard(status, shards);
    let parts = [
        (nodes.len(), "nodes silent", few(&nodes)),
        (leaderless.len(), "shards without leader", few(&leaderless)),
        (too_few.len(), "shards with fewer copies than reads or writes need", few(&too_few)),
        (moving, "shards moving", String::new()),
        (behind, "shards short of copies", String::new()),
        of_room,
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, what, which)| format!("{count} {what}{which}"))
        .collect();
    if parts.is_empty() { None } else { Some(parts.join(", ")) }
}

/// True if every node is heard, and every shard takes reads and writes, whether or not shards move or are short of copies.
pub(crate) fn all_speak(status: &Status) -> bool {
    let Unheard { nodes, leaderless, too_few } = unheard(status, &shards_now(status));
    nodes.is_empty() && leaderless.is_empty() && too_few.is_empty()
}

/// Who does not speak.
struct Unheard {
    nodes: Vec<NodeId>,
    leaderless: Vec<ShardId>,
    /// Quorum shards that do not take reads, or writes.
    too_few: Vec<ShardId>,
}

fn unheard(status: &Status, shards: &[ShardNow<'_>]) -> Unheard {
    let nodes = status.map.nodes.values().filter(|n| n.state != NodeState::Removed).map(|n| n.id);
    let (too_few, leaderless): (Vec<_>, Vec<_>) =
        shards.iter().filter(|s| !s.is_served()).partition(|shard| shard.is_quorum());
    let ids = |shards: Vec<&ShardNow<'_>>| shards.iter().map(|s| s.descriptor.shard).collect();
    Unheard {
        nodes: nodes.filter(|node| !is_heard(status, *node)).collect(),
        leaderless: ids(leaderless),
        too_few: ids(too_few),
    }
}

/// The first few of these, in brackets, and `…` if there are more.
fn few<'a, T: ToString + 'a>(of: impl IntoIterator<Item = &'a T>) -> String {
    const NAMED_MAX: usize = 3;
    let names: Vec<String> = of.into_iter().take(NAMED_MAX + 1).map(ToString::to_string).collect();
    let more = if names.len() > NAMED_MAX { ", …" } else { "" };
    format!(" ({}{more})", names[..names.len().min(NAMED_MAX)].join(", "))
}
