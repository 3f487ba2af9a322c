//! What befalls which kind of table in a run, as the map and the hosts tell it: a proof by seeds is worth what its seeds
//! have met.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use skerry_core::ids::{NodeId, ShardId, TableId};
use skerry_core::map::{Consistency, Fragmentation, Map, NodeState, ShardRecord, TableRecord};

use crate::faults::newest_map;
use crate::world::World;

/// A kind of table: how its keys lie, and how its copies agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    /// In the order of their keys, and one copy of each shard leads.
    RangeLeader,
    /// By a hash of their keys, and one copy of each shard leads.
    HashLeader,
    /// In the order of their keys, and any copy takes writes.
    RangeQuorum,
    /// By a hash of their keys, and any copy takes writes.
    HashQuorum,
}

impl Cell {
    /// All kinds that there are.
    pub const ALL: [Self; 4] = [Self::RangeLeader, Self::HashLeader, Self::RangeQuorum, Self::HashQuorum];

    fn of(table: &TableRecord) -> Self {
        match (table.fragmentation, table.consistency) {
            (Fragmentation::Range, Consistency::Leader) => Self::RangeLeader,
            (Fragmentation::Hash, Consistency::Leader) => Self::HashLeader,
            (Fragmentation::Range, Consistency::Quorum { .. }) => Self::RangeQuorum,
            (Fragmentation::Hash, Consistency::Quorum { .. }) => Self::HashQuorum,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RangeLeader => "Range, Leader",
            Self::HashLeader => "Hash, Leader",
            Self::RangeQuorum => "Range, Quorum",
            Self::HashQuorum => "Hash, Quorum",
        })
    }
}

/// Something that befalls a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// A copy comes to a node that has joined since.
    ScaleOut,
    /// A copy goes from a node that is to leave.
    ScaleIn,
    /// A shard has more copies than before.
    CopiesUp,
    /// A shard has fewer copies than before.
    CopiesDown,
    /// A node with a copy is gone for good, and another one has taken its place.
    NodeLost,
    /// All nodes of a zone with copies are down, and others are up.
    ZoneLost,
    /// A change of copies is under way, and everything is to be as it was before.
    Reversed,
}

impl Change {
    /// All that there are.
    pub const ALL: [Self; 7] = [
        Self::ScaleOut,
        Self::ScaleIn,
        Self::CopiesUp,
        Self::CopiesDown,
        Self::NodeLost,
        Self::ZoneLost,
        Self::Reversed,
    ];
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ScaleOut => "scale out",
            Self::ScaleIn => "scale in",
            Self::CopiesUp => "copies up",
            Self::CopiesDown => "copies down",
            Self::NodeLost => "node lost",
            Self::ZoneLost => "zone lost",
            Self::Reversed => "reversed midway",
        })
    }
}

/// Nothing that may befall a table has this name.
#[derive(Debug, Clone, thiserror::Error)]
#[error("nothing that may befall a table is named {0}; there are {all:?}", all = Change::ALL)]
pub struct UnknownChange(String);

impl FromStr for Change {
    type Err = UnknownChange;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|change| format!("{change:?}") == name);
        found.ok_or_else(|| UnknownChange(name.to_owned()))
    }
}

/// What has befallen which kind of table.
pub type Met = BTreeSet<(Cell, Change)>;

/// Owner of what was met in a run since the faults began.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// The nodes that were there at first. `None` = it has not begun.
    first: Option<BTreeSet<NodeId>>,
    shards: BTreeMap<ShardId, Followed>,
    met: Met,
}

/// A shard since it was settled last.
#[derive(Debug, Default)]
struct Followed {
    /// The nodes with its copies then.
    settled: BTreeSet<NodeId>,
    /// True if copies have been assigned to other nodes since.
    is_away: bool,
}

impl Watch {
    /// All is at rest, and from now on counts.
    pub(crate) fn begin(&mut self, world: &World) {
        self.first = newest_map(world).map(|map| map.nodes.keys().copied().collect());
        self.look(world);
    }

    /// What was met so far.
    pub(crate) fn met(&self) -> &Met {
        &self.met
    }

    /// Looks at the map as it is now.
    pub(crate) fn look(&mut self, world: &World) {
        let (Some(first), Some(map)) = (self.first.clone(), newest_map(world)) else { return };
        for record in map.live_shards().filter(|record| record.descriptor.table != TableId::SYSTEM) {
            let Some(cell) = map.tables.get(&record.descriptor.table).map(Cell::of) else { continue };
            let changes = self.changes(record, &first, (map, world));
            let zone = is_zone_lost(record, map, world).then_some(Change::ZoneLost);
            self.met.extend(changes.into_iter().chain(zone).map(|change| (cell, change)));
        }
    }

    fn changes(&mut self, record: &ShardRecord, first: &BTreeSet<NodeId>, (map, world): (&Map, &World)) -> Vec<Change> {
        let assigned: BTreeSet<NodeId> = record.assigned.iter().map(|copy| copy.node).collect();
        let followed = self.shards.entry(record.descriptor.shard).or_default();
        if !record.is_settled() {
            followed.is_away |= assigned != followed.settled;
            return Vec::new();
        }
        let before = std::mem::replace(followed, Followed { settled: assigned.clone(), is_away: false });
        if before.settled.is_empty() {
            return Vec::new();
        }
        let leaves = |node: &NodeId| map.nodes.get(node).is_none_or(|node| node.state != NodeState::Active);
        let is_gone = |node: &NodeId| world.hosts.get(node).is_some_and(|host| host.gone && host.node.is_none());
        let (come, gone) = (|| assigned.difference(&before.settled), || before.settled.difference(&assigned));
        let is_lost = gone().any(|node| leaves(node) && is_gone(node));
        [
            (Change::ScaleOut, come().any(|node| !first.contains(node))),
            (Change::ScaleIn, gone().any(leaves) && !is_lost),
            (Change::CopiesUp, assigned.len() > before.settled.len()),
            (Change::CopiesDown, assigned.len() < before.settled.len()),
            (Change::NodeLost, is_lost),
            (Change::Reversed, before.is_away && assigned == before.settled),
        ]
        .into_iter()
        .filter_map(|(change, is_met)| is_met.then_some(change))
        .collect()
    }
}

/// True if a zone in which a shard has copies has no node that is up, while another one has.
fn is_zone_lost(record: &ShardRecord, map: &Map, world: &World) -> bool {
    let is_up = |node: &NodeId| world.hosts.get(node).is_some_and(|host| host.is_up());
    let mut zones: BTreeMap<&str, Vec<NodeId>> = BTreeMap::new();
    for node in map.nodes.values().filter(|node| node.state != NodeState::Removed) {
        zones.entry(&node.zone).or_default().push(node.id);
    }
    let has_copies = |nodes: &[NodeId]| nodes.iter().any(|node| record.names(*node));
    let is_down = |nodes: &[NodeId]| !nodes.iter().any(is_up);
    zones.values().any(|nodes| has_copies(nodes) && is_down(nodes)) && zones.values().any(|nodes| !is_down(nodes))
}
