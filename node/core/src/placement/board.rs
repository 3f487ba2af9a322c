//! The board on which replicas are placed: how loaded every node is, and what every shard has in every zone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{PlacementError, Site, Spread, Wanted, zones};
use crate::ids::{NodeId, ShardId};

/// Positions in `Board::nodes`, `Board::zone_sizes`, `Board::shards`.
type NodeAt = usize;
type ZoneAt = usize;
type ShardAt = usize;

struct NodePlace {
    id: NodeId,
    zone: ZoneAt,
    shards: BTreeSet<ShardAt>,
}

struct ShardPlace {
    copies: usize,
    spread: Spread,
    nodes: Vec<NodeAt>,
    /// Nodes that had a replica at the start: going back to one moves nothing.
    had: Vec<NodeAt>,
}

pub(super) struct Board {
    nodes: Vec<NodePlace>,
    zone_sizes: Vec<usize>,
    /// The nodes of each zone by load.
    by_load: Vec<BTreeSet<(usize, NodeAt)>>,
    shards: Vec<ShardPlace>,
}

impl Board {
    /// What may stay where it is.
    pub(super) fn keep(sites: &[Site], wanted: &[Wanted]) -> Result<Self, PlacementError> {
        let names = zones(sites);
        let zone_of = |site: &Site| names.iter().position(|z| *z == site.zone).unwrap_or(0);
        let unique: BTreeMap<NodeId, ZoneAt> = sites.iter().map(|s| (s.node, zone_of(s))).collect();
        let nodes: Vec<_> = unique.iter().map(|(&id, &zone)| NodePlace { id, zone, shards: BTreeSet::new() }).collect();
        let mut zone_sizes = vec![0; names.len()];
        nodes.iter().for_each(|n| zone_sizes[n.zone] += 1);
        let at: BTreeMap<NodeId, NodeAt> = nodes.iter().enumerate().map(|(at, n)| (n.id, at)).collect();
        let mut by_load = vec![BTreeSet::new(); names.len()];
        for (node, place) in nodes.iter().enumerate() {
            by_load[place.zone].insert((0, node));
        }
        let mut board = Self { nodes, zone_sizes, by_load, shards: Vec::with_capacity(wanted.len()) };
        for want in wanted {
            board.add(want, &at)?;
        }
        for shard in 0..board.shards.len() {
            board.drop_excess(shard);
        }
        Ok(board)
    }

    fn add(&mut self, want: &Wanted, at: &BTreeMap<NodeId, NodeAt>) -> Result<(), PlacementError> {
        let (shard, copies, sites) = (want.shard, want.copies, self.nodes.len());
        if copies == 0 {
            return Err(PlacementError::NoCopy { shard });
        }
        if copies > sites {
            return Err(PlacementError::TooFewNodes { shard, copies, sites });
        }
        let had: BTreeSet<NodeAt> = want.current.iter().filter_map(|n| at.get(n).copied()).collect();
        let had: Vec<NodeAt> = had.into_iter().collect();
        let spread = Spread::new(copies, &self.zone_sizes);
        self.shards.push(ShardPlace { copies, spread, nodes: Vec::new(), had: had.clone() });
        for node in had {
            self.put(self.shards.len() - 1, node);
        }
        Ok(())
    }

    fn load(&self, node: NodeAt) -> usize {
        self.nodes[node].shards.len()
    }

    fn put(&mut self, shard: ShardAt, node: NodeAt) {
        let (zone, load) = (self.nodes[node].zone, self.load(node));
        self.by_load[zone].remove(&(load, node));
        self.by_load[zone].insert((load + 1, node));
        self.nodes[node].shards.insert(shard);
        self.shards[shard].nodes.push(node);
    }

    fn take(&mut self, shard: ShardAt, node: NodeAt) {
        let (zone, load) = (self.nodes[node].zone, self.load(node));
        self.by_load[zone].remove(&(load, node));
        self.by_load[zone].insert((load - 1, node));
        self.nodes[node].shards.remove(&shard);
        self.shards[shard].nodes.retain(|n| *n != node);
    }

    fn in_zone(&self, shard: ShardAt, zone: ZoneAt) -> usize {
        self.shards[shard].nodes.iter().filter(|n| self.nodes[**n].zone == zone).count()
    }

    fn low(&self, shard: ShardAt, zone: ZoneAt) -> usize {
        self.shards[shard].spread.low(self.zone_sizes[zone])
    }

    fn high(&self, shard: ShardAt, zone: ZoneAt) -> usize {
        self.shards[shard].spread.high(self.zone_sizes[zone])
    }

    /// Zones in which the shard has more than its low.
    fn extras(&self, shard: ShardAt) -> usize {
        (0..self.zone_sizes.len()).map(|zone| self.in_zone(shard, zone).saturating_sub(self.low(shard, zone))).sum()
    }

    /// Takes away what the zones' bounds do not allow, from the most loaded nodes first.
    fn drop_excess(&mut self, shard: ShardAt) {
        for zone in 0..self.zone_sizes.len() {
            while self.in_zone(shard, zone) > self.high(shard, zone) {
                self.drop_one(shard, |board, node| board.nodes[node].zone == zone);
            }
        }
        while self.extras(shard) > self.shards[shard].spread.extras {
            self.drop_one(shard, |board, node| {
                let zone = board.nodes[node].zone;
                board.in_zone(shard, zone) > board.low(shard, zone)
            });
        }
    }

    fn drop_one(&mut self, shard: ShardAt, may_go: impl Fn(&Self, NodeAt) -> bool) {
        let candidates = self.shards[shard].nodes.iter().copied().filter(|n| may_go(self, *n));
        if let Some(node) = candidates.max_by_key(|n| (self.load(*n), *n)) {
            self.take(shard, node);
        }
    }

    /// Places what is missing on the least loaded nodes, in the zones that lack it first.
    pub(super) fn fill(&mut self) {
        for shard in 0..self.shards.len() {
            while self.shards[shard].nodes.len() < self.shards[shard].copies {
                let lacking = |board: &Self, zone| board.in_zone(shard, zone) < board.low(shard, zone);
                let open = |board: &Self, zone| board.in_zone(shard, zone) < board.high(shard, zone);
                let Some(node) = self.least_loaded(shard, lacking).or_else(|| self.least_loaded(shard, open)) else {
                    break;
                };
                self.put(shard, node);
            }
        }
    }

    fn least_loaded(&self, shard: ShardAt, allowed: impl Fn(&Self, ZoneAt) -> bool) -> Option<NodeAt> {
        let zones = (0..self.zone_sizes.len()).filter(|zone| allowed(self, *zone));
        let best =
            |zone: ZoneAt| self.by_load[zone].iter().find(|(_, n)| !self.nodes[*n].shards.contains(&shard)).copied();
        zones.filter_map(best).min().map(|(_, node)| node)
    }

    /// Moves replicas from loaded to less loaded nodes until no move makes the board more even.
    pub(super) fn even_out(&mut self) {
        loop {
            for zone in 0..self.zone_sizes.len() {
                while self.move_within(zone) {}
            }
            if !self.move_between() {
                return;
            }
        }
    }

    fn extremes(&self, zone: ZoneAt) -> Option<((usize, NodeAt), (usize, NodeAt))> {
        Some((*self.by_load[zone].first()?, *self.by_load[zone].last()?))
    }

    fn move_within(&mut self, zone: ZoneAt) -> bool {
        let Some(((low, to), (high, from))) = self.extremes(zone) else { return false };
        if high < low + 2 {
            return false;
        }
        if let Some(path) = self.free_path(zone, from, high) {
            for (shard, from, to) in path {
                self.take(shard, from);
                self.put(shard, to);
            }
            return true;
        }
        // Two shards more are on the loaded node than on the other, so one of them is not on both.
        self.cheapest(from, to, |_, _| true).is_some_and(|shard| {
            self.take(shard, from);
            self.put(shard, to);
            true
        })
    }

    /// A way from a loaded node over others of its zone to a less loaded one, on which only replicas change places that
    /// had none of their data yet, so that nothing more moves than before.
    fn free_path(&self, zone: ZoneAt, from: NodeAt, high: usize) -> Option<Vec<(ShardAt, NodeAt, NodeAt)>> {
        let mut came: BTreeMap<NodeAt, (ShardAt, NodeAt)> = BTreeMap::new();
        let mut next = VecDeque::from([from]);
        while let Some(node) = next.pop_front() {
            let new: Vec<ShardAt> =
                self.nodes[node].shards.iter().copied().filter(|s| !self.shards[*s].had.contains(&node)).collect();
            for &(load, to) in self.by_load[zone].iter().take_while(|_| !new.is_empty()) {
                let moves = new.iter().find(|s| !self.nodes[to].shards.contains(s));
                let Some(&shard) = moves.filter(|_| to != from && !came.contains_key(&to)) else { continue };
                came.insert(to, (shard, node));
                if load + 2 <= high {
                    return Some(path_to(to, &came));
                }
                next.push_back(to);
            }
        }
        None
    }

    /// A shard that may go from one node to the other, best one that is new on the first or was on the second before.
    fn cheapest(&self, from: NodeAt, to: NodeAt, may_go: impl Fn(&Self, ShardAt) -> bool) -> Option<ShardAt> {
        let candidates =
            self.nodes[from].shards.difference(&self.nodes[to].shards).copied().filter(|s| may_go(self, *s));
        let cost = |shard: &ShardAt| {
            let had = &self.shards[*shard].had;
            usize::from(had.contains(&from)) + usize::from(!had.contains(&to))
        };
        let mut best = None;
        for shard in candidates {
            let cost = cost(&shard);
            if cost == 0 {
                return Some(shard);
            }
            if best.is_none_or(|(lowest, _)| cost < lowest) {
                best = Some((cost, shard));
            }
        }
        best.map(|(_, shard)| shard)
    }

    /// Moves one replica from the zone with the most loaded node to one whose least loaded node has two fewer.
    fn move_between(&mut self) -> bool {
        let mut ends: Vec<_> =
            (0..self.zone_sizes.len()).filter_map(|zone| Some((zone, self.extremes(zone)?))).collect();
        ends.sort_by_key(|(zone, (_, (high, _)))| (std::cmp::Reverse(*high), *zone));
        for &(zone, (_, (high, _))) in &ends {
            let mut lower: Vec<_> = ends.iter().filter(|(z, ((low, _), _))| *z != zone && high >= low + 2).collect();
            lower.sort_by_key(|(z, ((low, _), _))| (*low, *z));
            for &&(other, ((_, to), _)) in &lower {
                if self.move_to(zone, high, other, to) {
                    return true;
                }
            }
        }
        false
    }

    fn move_to(&mut self, zone: ZoneAt, high: usize, other: ZoneAt, to: NodeAt) -> bool {
        let fits = |board: &Self, shard: ShardAt| {
            board.in_zone(shard, zone) > board.low(shard, zone)
                && board.in_zone(shard, other) < board.high(shard, other)
        };
        let loaded: Vec<NodeAt> =
            self.by_load[zone].iter().rev().take_while(|(load, _)| *load == high).map(|(_, n)| *n).collect();
        for from in loaded {
            if let Some(shard) = self.cheapest(from, to, fits) {
                self.take(shard, from);
                self.put(shard, to);
                return true;
            }
        }
        false
    }

    pub(super) fn placed(&self, wanted: &[Wanted]) -> BTreeMap<ShardId, Vec<NodeId>> {
        let ids = |place: &ShardPlace| {
            let mut ids: Vec<_> = place.nodes.iter().map(|n| self.nodes[*n].id).collect();
            ids.sort_unstable();
            ids
        };
        wanted.iter().zip(&self.shards).map(|(w, place)| (w.shard, ids(place))).collect()
    }

    /// Replicas that must come to nodes that have none of the shard, whatever stays. Exact where every shard's share of
    /// every zone is fixed, as with as many copies as zones or without zones, and no shard has copies to spare.
    pub(super) fn fewest_new(&self) -> usize {
        let sizes = &self.zone_sizes;
        if sizes.len() == 1 || self.shards.iter().all(|s| s.spread.extras == self.open_zones(s)) {
            let share =
                |s: &ShardPlace, zone: ZoneAt| if sizes.len() == 1 { s.copies } else { s.spread.high(sizes[zone]) };
            return (0..sizes.len()).map(|zone| self.fewest_new_among(|z| z == zone, |s| share(s, zone), true)).sum();
        }
        self.fewest_new_among(|_| true, |s| s.copies, false)
    }

    /// Zones that could hold an extra copy.
    fn open_zones(&self, shard: &ShardPlace) -> usize {
        self.zone_sizes.iter().filter(|size| shard.spread.high(**size) > shard.spread.low(**size)).count()
    }

    /// The larger of what the shards lack and, if the nodes are to be even, of what the nodes lack.
    fn fewest_new_among(
        &self,
        zones: impl Fn(ZoneAt) -> bool,
        share: impl Fn(&ShardPlace) -> usize,
        is_even: bool,
    ) -> usize {
        let mut had = vec![0; self.nodes.len()];
        let (mut lacking, mut total) = (0, 0);
        for shard in &self.shards {
            let here: Vec<_> = shard.had.iter().filter(|n| zones(self.nodes[**n].zone)).collect();
            here.iter().for_each(|n| had[**n] += 1);
            lacking += share(shard).saturating_sub(here.len());
            total += share(shard);
        }
        let loads = self.nodes.iter().zip(had).filter(|(n, _)| zones(n.zone)).map(|(_, load)| load).collect();
        if is_even { lacking.max(fewest_new(loads, total)) } else { lacking }
    }
}

/// The moves that led to a node, the first one first.
fn path_to(to: NodeAt, came: &BTreeMap<NodeAt, (ShardAt, NodeAt)>) -> Vec<(ShardAt, NodeAt, NodeAt)> {
    let steps = std::iter::successors(Some(to), |node| came.get(node).map(|(_, from)| *from));
    let mut path: Vec<_> =
        steps.filter_map(|node| came.get(&node).map(|(shard, from)| (*shard, *from, node))).collect();
    path.reverse();
    path
}

/// Replicas to add to nodes with these loads, when in the end all have `total`, evenly: whoever has more keeps the more.
fn fewest_new(mut loads: Vec<usize>, total: usize) -> usize {
    loads.sort_unstable_by(|a, b| b.cmp(a));
    let (each, more) = (total / loads.len().max(1), total % loads.len().max(1));
    let share = |position: usize| each + usize::from(position < more);
    loads.iter().enumerate().map(|(position, load)| share(position).saturating_sub(*load)).sum()
}
