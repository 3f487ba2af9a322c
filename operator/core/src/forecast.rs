//! What would move: every shard placed on the nodes that are to stay, against where its copies are bound for now.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use skerry_core::ids::{NodeId, ShardId, TableId};
use skerry_core::node::Status;
use skerry_core::placement::{PlacementError, Site, Wanted, lower_bound, place};

use crate::desired::{Desired, DesiredTable};
use crate::health::shards_now;

/// Where every shard belongs, and what that moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// The nodes that every shard is to be on.
    pub placed: BTreeMap<ShardId, Vec<NodeId>>,
    /// Copies and bytes that move to get there.
    pub moves: Moves,
}

/// Number of copies and bytes that move when shards get other nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moves {
    /// Shards that get a copy somewhere new.
    pub shards: usize,
    /// Number of copies that arrive on a node that does not have them now.
    pub replicas: usize,
    /// The fewest copies that any placement with the same balance would have to move.
    pub lower_bound: usize,
    /// Bytes of the arriving copies, as far as known.
    pub bytes: u64,
    /// What each node gets and gives up, also those where nothing changes.
    pub nodes: BTreeMap<NodeId, Change>,
}

impl Moves {
    /// Copies that go, because there is another one for each or because there are to be fewer.
    pub fn going(&self) -> usize {
        self.nodes.values().map(|node| (node.before + node.arriving).saturating_sub(node.after)).sum()
    }
}

/// What a node gets and gives up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// Number of copies that the node has now.
    pub before: usize,
    /// Number of copies that the node has when everything has moved.
    pub after: usize,
    /// Number of copies that arrive on the node.
    pub arriving: usize,
    /// Bytes of the arriving copies, as far as known.
    pub bytes: u64,
}

/// The nodes that copies may be on.
#[derive(Debug, Clone)]
pub struct Places {
    all: Vec<Site>,
    preferred: Vec<Site>,
}

impl Places {
    /// Any of these nodes.
    pub fn of(all: Vec<Site>) -> Self {
        Self { preferred: all.clone(), all }
    }

    /// The same, but for nodes that get copies only of shards that are to have more than there are others.
    pub fn avoiding(self, avoided: impl Fn(NodeId) -> bool) -> Self {
        Self { preferred: self.all.iter().filter(|site| !avoided(site.node)).cloned().collect(), all: self.all }
    }

    /// Where every shard belongs.
    pub(crate) fn place(&self, wanted: &[Wanted]) -> Result<BTreeMap<ShardId, Vec<NodeId>>, PlacementError> {
        let mut placed = BTreeMap::new();
        for (sites, shards) in self.part(wanted) {
            placed.append(&mut place(sites, &shards)?);
        }
        Ok(placed)
    }

    /// The fewest copies that any placement with the same balance would have to move.
    fn lower_bound(&self, wanted: &[Wanted]) -> Result<usize, PlacementError> {
        self.part(wanted).into_iter().map(|(sites, shards)| lower_bound(sites, &shards)).sum()
    }

    /// Which nodes are for which of these shards. Nearly always all of them are for all: of a hundred thousand none is copied.
    fn part<'a>(&self, wanted: &'a [Wanted]) -> Vec<(&[Site], Cow<'a, [Wanted]>)> {
        let fits = |shard: &Wanted| shard.copies <= self.preferred.len();
        if wanted.iter().all(fits) {
            return vec![(&self.preferred, Cow::Borrowed(wanted))];
        }
        let (few, many): (Vec<Wanted>, Vec<Wanted>) = wanted.iter().cloned().partition(fits);
        let parts = [(&self.preferred[..], few), (&self.all[..], many)];
        parts.into_iter().filter(|(_, of)| !of.is_empty()).map(|(sites, of)| (sites, Cow::Owned(of))).collect()
    }
}

/// Places every shard, with as many copies as desired; tables that are not desired keep what they have.
pub fn forecast(places: &Places, desired: &Desired, status: &Status) -> Result<Forecast, PlacementError> {
    let factors = factors(desired, status);
    let wanted: Vec<Wanted> = status
        .map
        .live_shards()
        .map(|shard| Wanted {
            shard: shard.descriptor.shard,
            copies: factors.get(&shard.descriptor.table).copied().unwrap_or(shard.target.len()),
            current: shard.target.clone(),
        })
        .collect();
    let placed = places.place(&wanted)?;
    let moves = Moves { lower_bound: places.lower_bound(&wanted)?, ..moves(&placed, &wanted, &places.all, status) };
    Ok(Forecast { placed, moves })
}

fn factors(desired: &Desired, status: &Status) -> BTreeMap<TableId, usize> {
    let there = |t: &DesiredTable| status.map.table_named(&t.name).filter(|there| t.is_of_kind(there));
    desired.tables.iter().filter_map(|t| Some((there(t)?.id, t.replication_factor as usize))).collect()
}

fn moves(placed: &BTreeMap<ShardId, Vec<NodeId>>, wanted: &[Wanted], sites: &[Site], status: &Status) -> Moves {
    let bytes: BTreeMap<ShardId, u64> =
        shards_now(status).iter().filter_map(|s| Some((s.descriptor.shard, s.report?.bytes))).collect();
    let mut moves = Moves::default();
    for site in sites {
        moves.nodes.entry(site.node).or_default();
    }
    for shard in wanted {
        let (before, after) = (set(&shard.current), placed.get(&shard.shard).map_or_else(BTreeSet::new, |n| set(n)));
        let size = bytes.get(&shard.shard).copied().unwrap_or(0);
        before.iter().for_each(|node| moves.nodes.entry(*node).or_default().before += 1);
        after.iter().for_each(|node| moves.nodes.entry(*node).or_default().after += 1);
        for node in &after - &before {
            let change = moves.nodes.entry(node).or_default();
            change.arriving += 1;
            change.bytes += size;
            moves.replicas += 1;
            moves.bytes += size;
        }
        moves.shards += usize::from(!after.is_subset(&before));
    }
    moves
}

fn set(nodes: &[NodeId]) -> BTreeSet<NodeId> {
    nodes.iter().copied().collect()
}
