//! Which shards need a node, and why: who is taken away by choice, or given up, only if none does.

use std::collections::BTreeMap;
use std::fmt;

use skerry_core::ids::{NodeId, ReplicaId, ShardId};
use skerry_core::map::{Member, Role};
use skerry_core::node::Status;

use super::quorum::Lack;
use super::{Needed, ShardNow, is_on, shards_now, without_one};

/// A shard that needs a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) shard: ShardId,
    why: Why,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Why {
    /// It has no leader, which would know.
    NoLeader,
    /// Too few copies in sync would be left of one that is led.
    NoMajority,
    /// Too few copies of a Quorum shard would be left that have all.
    TooFew {
        /// So many have to be.
        needed: usize,
        /// The nodes whose copies have all.
        have_all: Vec<NodeId>,
        /// The others, and why they do not count.
        others: Vec<(NodeId, Option<Lack>)>,
    },
}

/// True if every shard goes on without this node, as far as is known: it is led from another one, and a majority of each
/// configuration in force is in sync elsewhere; or enough copies of each of its sets are. What is not heard does not count.
pub fn does_without(status: &Status, node: NodeId) -> bool {
    let leads = |shard: &ShardNow<'_>| shard.leader() == Some(node);
    needing(status, node).is_empty() && !shards_now(status).iter().any(|shard| is_on(shard, node) && leads(shard))
}

/// Shards that would be without a majority in sync, or without enough copies for W and R, if this node were gone: or that
/// have no leader, which would know.
pub fn needing(status: &Status, node: NodeId) -> Vec<ShardId> {
    needs_of(status, node, |_| true).into_iter().map(|need| need.shard).collect()
}

/// The same, where only copies on nodes count that are up, and why.
pub(crate) fn needs_of(status: &Status, node: NodeId, is_up: impl Fn(NodeId) -> bool) -> Vec<Need> {
    let shards = shards_now(status);
    let need = |shard: &ShardNow<'_>| {
        let why = why_needed(shard, node, &is_up)?;
        Some(Need { shard: shard.descriptor.shard, why })
    };
    shards.iter().filter(|shard| is_on(shard, node)).filter_map(need).collect()
}

/// Shards that would be short without this node once their copies are where they are bound for, as far as is known: a copy
/// that comes there, or is to stay there as one of fewer, would be one of those that the shard cannot do without. Their
/// leaders may be further.
pub(crate) fn coming_to(status: &Status, node: NodeId, is_up: impl Fn(NodeId) -> bool) -> Vec<ShardId> {
    let coming = shards_now(status).into_iter().filter(|shard| is_needed_as_bound(shard, node, &is_up));
    coming.map(|shard| shard.descriptor.shard).collect()
}

fn is_needed_as_bound(shard: &ShardNow<'_>, node: NodeId, is_up: &impl Fn(NodeId) -> bool) -> bool {
    let (record, members) = (shard.record, &shard.descriptor.members);
    let voters: Vec<NodeId> = members.iter().filter(|m| is_voter_then(m)).map(|m| m.replica.node).collect();
    // Whoever is yet to come gets all from the others first.
    let counts = |other: &NodeId| {
        let mut its = members.iter().filter(|m| is_voter_then(m) && m.replica.node == *other).peekable();
        let has_all = if its.peek().is_none() {
            shard.survives()
        } else {
            its.any(|member| shard.in_sync().contains(&member.replica.id))
        };
        *other != node && is_up(*other) && has_all
    };
    let left = |of: &[NodeId]| of.iter().filter(|other| counts(other)).count();
    let needed = |copies: usize| if shard.is_quorum() { without_one(0, copies) } else { copies / 2 + 1 };
    let assigned: Vec<NodeId> = record.assigned.iter().map(|copy| copy.node).collect();
    let is_short = |bound: &[NodeId]| bound.contains(&node) && left(bound) < needed(bound.len());
    // Its leader has not heard yet that it is turned back, and may have it vote, and one of the others no more.
    let is_learner = members.iter().any(|m| m.replica.node == node && m.role == Role::Learner);
    let may_come_yet = is_learner && !assigned.contains(&node);
    is_short(&record.target)
        || is_short(&assigned)
        || (may_come_yet && left(&voters) < needed(voters.len()).saturating_add(1))
}

/// True if a copy votes, or does when the change of members that is under way is over.
fn is_voter_then(member: &Member) -> bool {
    matches!(member.role, Role::Voter | Role::Incoming)
}

/// `None` = the shard goes on without the node. Of a Quorum shard the node's own copy counts by what it has that others
/// lack, and by nothing else: whatever it lacks itself does not keep it.
fn why_needed(shard: &ShardNow<'_>, node: NodeId, is_up: &impl Fn(NodeId) -> bool) -> Option<Why> {
    if !shard.is_quorum() && shard.leader().is_none() {
        return Some(Why::NoLeader);
    }
    let home = |copy: ReplicaId| shard.descriptor.node_of(copy).filter(|home| *home != node);
    let counts = |copy: ReplicaId| home(copy).is_some_and(is_up) && shard.in_sync().contains(&copy);
    let needed = shard.needed_without_one();
    let Needed { copies, at_least } = needed.iter().find(|needed| !needed.is_met(counts))?;
    let Some(quorum) = &shard.quorum else { return Some(Why::NoMajority) };
    let (have_all, others): (Vec<ReplicaId>, Vec<ReplicaId>) =
        copies.iter().filter(|copy| home(**copy).is_some()).partition(|copy| counts(**copy));
    let lack = |copy: ReplicaId| Some((home(copy)?, quorum.copy(copy).and_then(|copy| quorum.lack(copy))));
    Some(Why::TooFew {
        needed: *at_least,
        have_all: have_all.into_iter().filter_map(home).collect(),
        others: others.into_iter().filter_map(lack).collect(),
    })
}

/// Quorum shards of which this node, which is silent, may alone have some of what was acknowledged.
pub(crate) fn alone_on(status: &Status, node: NodeId) -> Vec<ShardId> {
    let is_alone = |shard: &ShardNow<'_>| shard.quorum.as_ref().is_some_and(|quorum| quorum.may_be_alone(node));
    shards_now(status).iter().filter(|shard| is_alone(shard)).map(|shard| shard.descriptor.shard).collect()
}

/// Quorum shards of which this node, which is there, may alone have writes that are under way and were acknowledged.
pub(crate) fn writing_on(status: &Status, node: NodeId) -> Vec<ShardId> {
    let is_alone = |shard: &ShardNow<'_>| shard.quorum.as_ref().is_some_and(|quorum| quorum.is_writing_alone(node));
    shards_now(status).iter().filter(|shard| is_alone(shard)).map(|shard| shard.descriptor.shard).collect()
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shard = self.shard;
        match &self.why {
            Why::NoLeader => {
                write!(f, "no majority would be left of shard {shard}, as far as is known: it has no leader")
            }
            Why::NoMajority => write!(f, "no majority would be left of shard {shard}"),
            Why::TooFew { needed, have_all, others } => {
                let on = names(have_all.iter().copied());
                let left = if on.is_empty() { String::new() } else { format!(" ({on})") };
                write!(
                    f,
                    "shard {shard} has {} other copies with all its records{left} and needs {needed}",
                    have_all.len()
                )?;
                for (lack, nodes) in by_lack(others) {
                    write!(f, "; {} {lack}", names(nodes.into_iter()))?;
                }
                Ok(())
            }
        }
    }
}

/// Nodes that lack something for the same reason are told of together.
fn by_lack(others: &[(NodeId, Option<Lack>)]) -> BTreeMap<String, Vec<NodeId>> {
    let mut by: BTreeMap<String, Vec<NodeId>> = BTreeMap::new();
    for (node, lack) in others {
        let why = lack.map_or_else(|| "does not stay up".to_owned(), |lack| lack.to_string());
        by.entry(why).or_default().push(*node);
    }
    by
}

fn names(nodes: impl Iterator<Item = NodeId>) -> String {
    nodes.map(|node| node.to_string()).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("is silent, or its disk does not answer"),
            Self::Lost => f.write_str("has lost its copy"),
            Self::Copying => f.write_str("has no complete copy yet"),
            Self::Full(of) => write!(f, "has a disk that is nearly full, without room for what {of} has"),
            Self::Behind(of) => write!(f, "has not got all yet that {of} has"),
        }
    }
}
