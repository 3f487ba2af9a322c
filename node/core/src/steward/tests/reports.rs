//! What counts as heard.

use super::world::{World, restart};
use crate::ids::{Incarnation, NodeId, ReplicaId, ShardId};
use crate::message::NodeReport;
use crate::steward::{FRESH_MS, record, round};

const ZONES: [&str; 3] = ["a", "b", "c"];

#[test]
fn an_old_report_makes_a_node_unknown_not_gone() {
    let mut world = World::new(&ZONES);
    world.report();
    assert!(world.view().heard(NodeId(2)).is_some());
    world.now_ms += FRESH_MS + 1;
    assert!(world.view().heard(NodeId(2)).is_none());
    assert_eq!(world.view().silent_ms(NodeId(2)), FRESH_MS + 1);
    assert_eq!(world.reports.nodes(world.now_ms).count(), 3, "the reports are kept, with their age");
}

#[test]
fn a_report_of_an_earlier_start_does_not_count() {
    let mut world = World::new(&ZONES);
    world.report();
    restart(&mut world, 2, 5);
    assert!(world.view().heard(NodeId(2)).is_none(), "the map knows of a later start");
    let report = |n| NodeReport { node: NodeId(2), incarnation: Incarnation(n), ..NodeReport::default() };
    world.reports.insert(report(5), world.now_ms);
    world.reports.insert(report(4), world.now_ms + 1);
    assert_eq!(world.view().heard(NodeId(2)).map(|r| r.incarnation), Some(Incarnation(5)));
}

#[test]
fn a_shard_that_its_node_no_longer_leads_has_no_known_leader() {
    let mut world = World::new(&ZONES);
    world.table(&[vec![1, 2, 3]]);
    world.report();
    assert_eq!(world.view().leader(ShardId(1)).map(|(node, _)| node), Some(NodeId(1)));
    let resigned = NodeReport { node: NodeId(1), ..NodeReport::default() };
    world.reports.insert(resigned, world.now_ms);
    assert!(world.view().leader(ShardId(1)).is_none());
}

#[test]
fn a_former_leader_does_not_cover_up_a_newer_one() {
    let mut world = World::new(&ZONES);
    world.table(&[vec![1, 2, 3]]);
    world.report();
    let (_, report) = world.view().leader(ShardId(1)).unwrap();
    let mut newer = report.clone();
    (newer.term, newer.leader) = (2, ReplicaId(3));
    let report = NodeReport { node: NodeId(2), led: vec![newer], ..NodeReport::default() };
    world.reports.insert(report, world.now_ms);
    for node in [1, 3] {
        let former = NodeReport { node: NodeId(node), ..NodeReport::default() };
        world.reports.insert(former, world.now_ms);
    }
    assert_eq!(world.view().leader(ShardId(1)).map(|(node, _)| node), Some(NodeId(2)));
    world.silent.insert(NodeId(2));
    world.report();
    assert_eq!(world.view().leader(ShardId(1)).map(|(node, _)| node), Some(NodeId(2)), "node 1 reports an older term");
}

#[test]
fn newer_descriptors_are_recorded_once() {
    let mut world = World::new(&ZONES);
    world.table(&[vec![1, 2]]);
    world.settle(20);
    world.target(1, &[1, 3]);
    world.steward();
    world.lead();
    world.report();
    assert_eq!(record(&world.view()).len(), 1);
    world.steward();
    assert!(record(&world.view()).is_empty());
}

#[test]
fn a_new_steward_that_has_heard_nothing_decides_nothing() {
    let mut world = World::new(&ZONES);
    world.table(&[vec![1, 2]]);
    world.target(1, &[2, 3]);
    assert_eq!(round(&world.view()), []);
}
