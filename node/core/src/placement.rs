//! Which nodes each shard's replicas belong on: a pure function of the nodes, the shards and where the replicas are.
//!
//! Copies of a shard spread over the zones as evenly as the zones' sizes allow; replicas spread over a zone's nodes
//! within one; and as few replicas move as that takes. It keeps what may stay, fills what is missing on the least
//! loaded nodes, then evens out node by node. Placing the result again changes nothing.

mod board;
mod spread;

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{NodeId, ShardId};
use board::Board;
use spread::Spread;

/// A node that may hold replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Id of the node.
    pub node: NodeId,
    /// Its failure domain; nodes without a name share one.
    pub zone: String,
}

/// A shard whose replicas are to be placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Id of the shard.
    pub shard: ShardId,
    /// Number of replicas that the shard is to have.
    pub copies: usize,
    /// Where replicas are, or are on their way to; also nodes that may hold none any more.
    pub current: Vec<NodeId>,
}

/// Why the replicas cannot be placed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// Copies of a shard are on distinct nodes.
    #[error("shard {shard} wants {copies} copies, but only {sites} nodes can hold replicas")]
    TooFewNodes {
        /// Shard that wants more copies than there are nodes.
        shard: ShardId,
        /// Number of copies that the shard wants.
        copies: usize,
        /// Number of nodes that may hold replicas.
        sites: usize,
    },
    /// A shard wants no copy at all.
    #[error("shard {shard} wants no copy")]
    NoCopy {
        /// Shard that wants no copy.
        shard: ShardId,
    },
}

/// Where every shard's replicas belong, in order of node id.
pub fn place(sites: &[Site], shards: &[Wanted]) -> Result<BTreeMap<ShardId, Vec<NodeId>>, PlacementError> {
    let mut board = Board::keep(sites, shards)?;
    board.fill();
    board.even_out();
    Ok(board.placed(shards))
}

/// Replicas of a placement that are not where a replica was: those whose data moves.
pub fn moved(placed: &BTreeMap<ShardId, Vec<NodeId>>, shards: &[Wanted]) -> usize {
    let new =
        |w: &Wanted| placed.get(&w.shard).map_or(0, |nodes| nodes.iter().filter(|n| !w.current.contains(n)).count());
    shards.iter().map(new).sum()
}

/// The fewest replicas that any placement with these zones and this balance must newly place.
pub fn lower_bound(sites: &[Site], shards: &[Wanted]) -> Result<usize, PlacementError> {
    let board = Board::keep(sites, shards)?;
    Ok(board.fewest_new())
}

/// The distinct zones of these nodes, in alphabetical order.
fn zones(sites: &[Site]) -> Vec<String> {
    sites.iter().map(|s| s.zone.clone()).collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests;
