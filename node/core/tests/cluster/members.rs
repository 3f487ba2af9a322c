//! Changes of members while copies are lost: what is alive is not stranded.

use std::collections::BTreeSet;

use skerry_core::ids::{NodeId, ShardId};
use skerry_core::map::{Descriptor, Role};
use skerry_core::replica::ReplicaView;

use crate::harness::{Cluster, table_on, three_nodes};

fn views(cluster: &Cluster, shard: ShardId) -> Vec<ReplicaView> {
    cluster.hosts.values().filter_map(|h| h.node.replica(shard)).map(|r| r.view()).collect()
}

fn voters(descriptor: &Descriptor) -> usize {
    descriptor.members.iter().filter(|m| m.role == Role::Voter).count()
}

/// It was heard of a moment before, so it counted as in sync. The joint configuration then needed it for ever.
#[test]
fn a_copy_lost_on_the_way_to_fewer_copies_does_not_strand_the_others() {
    let (mut cluster, nodes, table) = three_nodes();
    cluster.settle();
    let shard = cluster.hosts[&NodeId(1)].node.map().route(table, b"a").unwrap().descriptor.shard;
    let leader = views(&cluster, shard).into_iter().find(|v| v.is_leader).unwrap().node;
    // Not node 1, which has to be there for the steward.
    let lost = nodes.into_iter().rfind(|n| *n != leader && *n != NodeId(1)).unwrap();
    let fewer = BTreeSet::from([leader, lost]);
    cluster.target_next(shard, fewer.iter().copied().collect());
    let is_assigned = |cluster: &Cluster| {
        let map = cluster.hosts[&leader].node.map();
        map.shards[&shard].assigned.iter().map(|r| r.node).collect::<BTreeSet<_>>() == fewer
    };
    for _ in 0..200 {
        cluster.run(1);
        if is_assigned(&cluster) {
            break;
        }
    }
    assert!(is_assigned(&cluster));
    assert!(views(&cluster, shard).iter().all(|v| voters(&v.descriptor) == 3 && !v.descriptor.is_joint()));
    cluster.hosts.remove(&lost);
    cluster.run(300);
    let left = views(&cluster, shard);
    assert!(left.iter().any(|v| v.is_leader), "no leader among {left:#?}");
    cluster.put(table, "a", "x");
}

#[test]
fn the_only_copy_moves_within_a_few_ticks_of_needing_both() {
    let mut cluster = Cluster::start();
    let nodes = [NodeId(1), cluster.join(2)];
    let table = table_on(&mut cluster, &nodes[..1]);
    for number in 0..40 {
        cluster.put(table, &format!("a{number}"), "x");
    }
    let shard = cluster.hosts[&NodeId(1)].node.map().route(table, b"a").unwrap().descriptor.shard;
    cluster.target_next(shard, vec![nodes[1]]);
    let mut needs_both = 0;
    for _ in 0..400 {
        cluster.run(1);
        let views = views(&cluster, shard);
        assert!(views.iter().all(|v| v.descriptor.is_joint() || voters(&v.descriptor) <= 1), "{views:#?}");
        needs_both += u64::from(views.iter().any(|v| v.descriptor.is_joint()));
    }
    cluster.settle();
    assert!(needs_both <= 2, "{needs_both} ticks in a joint configuration");
    assert_eq!(cluster.get(table, "a7").as_deref(), Some(&b"x"[..]));
}

#[cfg(feature = "planted")]
#[test]
fn the_tests_of_members_catch_their_planted_bugs() {
    use skerry_core::planted::{Planted, plant};

    let tests: [(Planted, fn()); 2] = [
        (Planted::JointUnprobed, a_copy_lost_on_the_way_to_fewer_copies_does_not_strand_the_others),
        (Planted::PromotedBeforeRemoval, the_only_copy_moves_within_a_few_ticks_of_needing_both),
    ];
    for (bug, test) in tests {
        plant(Some(bug));
        let caught = std::panic::catch_unwind(test).is_err();
        plant(None);
        assert!(caught, "{bug:?}");
    }
}
