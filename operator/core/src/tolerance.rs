//! How much may fail now without a shard losing its majority, or a write that was acknowledged: the first thing one wants to
//! know of a database.

use std::collections::BTreeMap;

use skerry_core::ids::NodeId;
use skerry_core::node::Status;

use crate::health::{Needed, ShardNow, shards_now};

/// Which failures the database would survive now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tolerance {
    /// Number of shards in all tables.
    pub shards: usize,
    /// Shards without a leader, or with fewer copies than reads or writes of their Quorum table need: now they wait.
    pub unavailable: usize,
    /// Shards with fewer copies in sync than their table asks for.
    pub short_of_copies: usize,
    /// So many nodes, whichever, may fail now.
    pub nodes: usize,
    /// So many zones, whichever, may fail now.
    pub zones: usize,
    /// True if a shard that is unavailable is of a Quorum table.
    has_quorum: bool,
}

impl Tolerance {
    /// Looks at every shard; the weakest counts.
    pub fn of(status: &Status) -> Self {
        let shards = shards_now(status);
        let zone_of = |node: NodeId| status.map.nodes.get(&node).map_or("", |n| n.zone.as_str());
        let nodes = shards.iter().map(|s| survivable(s, |node| node)).min().unwrap_or(0);
        let zones = shards.iter().map(|s| survivable(s, zone_of)).min().unwrap_or(0);
        let short = |s: &&ShardNow<'_>| s.in_sync().len() < s.record.target.len();
        Self {
            shards: shards.len(),
            unavailable: shards.iter().filter(|s| !s.is_served()).count(),
            short_of_copies: shards.iter().filter(short).count(),
            nodes,
            zones,
            has_quorum: shards.iter().any(|s| s.is_quorum() && !s.is_served()),
        }
    }

    /// In a word or two, for a column: the most that may fail.
    pub fn column(&self) -> String {
        match (self.unavailable, self.zones, self.nodes) {
            (0, 0, 0) | (1.., ..) => "nothing".to_owned(),
            (0, 0, nodes) => plural(nodes, "node"),
            (0, zones, _) => plural(zones, "zone"),
        }
    }

    /// What is unavailable or may fail now, in one sentence.
    pub fn headline(&self) -> String {
        if self.unavailable > 0 {
            let (some, all) = (self.unavailable, plural(self.shards, "shard"));
            format!(
                "{some} of {all} unavailable: no leader{}",
                if self.has_quorum { ", or too few copies" } else { "" }
            )
        } else if self.nodes == 0 {
            "survives no failure now".to_owned()
        } else if self.zones == 0 {
            format!("survives the loss of {} now, but of no whole zone", plural(self.nodes, "node"))
        } else {
            format!("survives the loss of {} or {} now", plural(self.nodes, "node"), plural(self.zones, "zone"))
        }
    }
}

fn plural(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// So many groups of nodes may fail, whichever, and every set of the shard's copies keeps as many as it needs.
fn survivable<G: Ord>(shard: &ShardNow<'_>, group: impl Fn(NodeId) -> G) -> usize {
    shard.needed_to_keep_all().iter().map(|needed| set_survives(shard, needed, &group)).min().unwrap_or(0)
}

fn set_survives<G: Ord>(shard: &ShardNow<'_>, needed: &Needed, group: impl Fn(NodeId) -> G) -> usize {
    let mut groups: BTreeMap<G, usize> = BTreeMap::new();
    let there = needed.copies.iter().filter(|copy| shard.present().contains(copy));
    for node in there.filter_map(|copy| shard.descriptor.node_of(*copy)) {
        *groups.entry(group(node)).or_default() += 1;
    }
    let mut left: usize = groups.values().sum();
    let mut sizes: Vec<usize> = groups.into_values().collect();
    // The worst choice takes the largest groups.
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let mut lost = 0;
    for size in sizes {
        left -= size;
        if left < needed.at_least {
            break;
        }
        lost += 1;
    }
    lost
}

#[cfg(test)]
mod tests {
    use skerry_core::ids::ReplicaId;
    use skerry_core::map::NodeState::Active;
    use skerry_core::map::Role;

    use super::*;
    use crate::testing::{at_rest, node, put_quorum_table, shard, status};

    #[test]
    fn three_copies_in_three_zones_survive_one_of_plural() {
        let nodes = vec![node(1, "a", Active), node(2, "b", Active), node(3, "c", Active)];
        let tolerance = Tolerance::of(&status(nodes, vec![shard(1, 1, &[1, 2, 3], &[1, 2, 3])]));
        assert_eq!((tolerance.nodes, tolerance.zones), (1, 1));
        assert_eq!(tolerance.headline(), "survives the loss of 1 node or 1 zone now");
    }

    #[test]
    fn two_copies_in_one_zone_survive_no_zone() {
        let nodes = vec![node(1, "a", Active), node(2, "a", Active), node(3, "b", Active)];
        let tolerance = Tolerance::of(&status(nodes, vec![shard(1, 1, &[1, 2, 3], &[1, 2, 3])]));
        assert_eq!((tolerance.nodes, tolerance.zones), (1, 0));
    }

    #[test]
    fn weakest_shard_and_copies_out_of_step_count() {
        let nodes = (1..=5).map(|n| node(n, &format!("z{n}"), Active)).collect();
        let five = shard(1, 1, &[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5]);
        let mut three = shard(2, 1, &[1, 2, 3], &[1, 2, 3]);
        three.1.in_sync.retain(|r| *r != ReplicaId(3));
        let tolerance = Tolerance::of(&status(nodes, vec![five, three]));
        assert_eq!((tolerance.nodes, tolerance.short_of_copies), (0, 1));
        assert_eq!(tolerance.headline(), "survives no failure now");
    }

    #[test]
    fn joint_configuration_needs_both_majorities() {
        let nodes = (1..=6).map(|n| node(n, &format!("z{n}"), Active)).collect();
        let mut moving = shard(1, 1, &[1, 2, 3], &[1, 2, 3]);
        let mut incoming = moving.1.descriptor.members[2];
        incoming.role = Role::Incoming;
        incoming.replica.node = NodeId(4);
        incoming.replica.id = ReplicaId(4);
        moving.1.descriptor.members[2].role = Role::Outgoing;
        moving.1.descriptor.members.push(incoming);
        // The incoming copy is not in sync: {1, 2, 4} has but a bare majority.
        assert_eq!(Tolerance::of(&status(nodes, vec![moving])).nodes, 0);
    }

    #[test]
    fn shard_without_a_fresh_leader_is_unavailable() {
        let nodes = vec![node(1, "a", Active)];
        let mut status = status(nodes, vec![shard(1, 1, &[1], &[1])]);
        status.shards[0].1 = 10_000;
        assert_eq!(Tolerance::of(&status).headline(), "1 of 1 shard unavailable: no leader");
    }
    /// W and R of two of three copies.
    #[test]
    fn quorum_shard_needs_w_and_r_of_its_copies() {
        let mut status = at_rest(&["a", "b", "c"], 0);
        put_quorum_table(&mut status, "cart", &[&[1, 2, 3]]);
        let all = Tolerance::of(&status);
        assert_eq!((all.unavailable, all.short_of_copies, all.nodes, all.zones), (0, 0, 1, 1));
        status.nodes.pop();
        let two = Tolerance::of(&status);
        assert_eq!((two.unavailable, two.short_of_copies, two.nodes), (0, 1, 0));
        status.nodes.pop();
        let one = Tolerance::of(&status);
        assert_eq!(
            (one.unavailable, one.headline().as_str()),
            (1, "1 of 1 shard unavailable: no leader, or too few copies")
        );
    }

    /// Reads and writes go on with one copy, and what was acknowledged last may be on any one.
    #[test]
    fn quorum_shard_survives_as_many_losses_as_its_writes_do() {
        for ((write, read), nodes) in [((1, 1), 0), ((2, 1), 1), ((2, 2), 1), ((1, 3), 0), ((3, 1), 0)] {
            let mut status = at_rest(&["a", "b", "c"], 0);
            put_quorum_table(&mut status, "cart", &[&[1, 2, 3]]);
            let map = std::sync::Arc::make_mut(&mut status.map);
            let mut record = map.shards.values().next().expect("a shard").clone();
            record.quorum.as_mut().expect("a quorum shard").current = skerry_core::map::Quorums { write, read };
            map.put_shard(record);
            let tolerance = Tolerance::of(&status);
            assert_eq!((tolerance.nodes, tolerance.zones), (nodes, nodes), "W {write} R {read}");
        }
    }
}
