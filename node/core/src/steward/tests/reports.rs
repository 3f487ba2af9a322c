//! What counts as heard.

use super::world::{World, restart};
use crate::ids::{Generation, Incarnation, NodeId, ReplicaId, ShardId};
use crate::message::{CopiesReport, LedReport, NodeReport, Report, ShardReport};
use crate::steward::{FRESH_MS, record, round};

const ZONES: [&str; 3] = ["a", "b", "c"];

fn leads_nothing(node: u64, incarnation: u64) -> Report {
    let (node, incarnation) = (NodeId(node), Incarnation(incarnation));
    let node = NodeReport { node, incarnation, ..NodeReport::default() };
    Report { node, led: LedReport::all(1, Vec::new()), ..Report::default() }
}

/// Node 1's next report: only what has changed since a version, and it is this one now.
fn changed(world: &World, since: u64, version: u64, changed: Vec<ShardReport>, resigned: &[u64]) -> Report {
    let resigned = resigned.iter().map(|&shard| ShardId(shard)).collect();
    Report { led: LedReport { version, since, changed, resigned }, ..world.report_of(NodeId(1)) }
}

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
fn quorum_copies_are_kept_by_node_and_start_and_what_is_not_told_is_as_it_was() {
    let mut world = World::new(&ZONES);
    world.quorum_table(&[vec![1, 2, 3], vec![1, 2]], (1, 2));
    world.report();
    let told = |world: &World, shard: u64| {
        let record = &world.map().shards[&ShardId(shard)];
        world.view().copy(record, record.assigned[0].id).map(|copy| copy.held)
    };
    let first = Some(Generation(1));
    assert_eq!((told(&world, 1), told(&world, 2)), (first, first));
    // What is durable stays so, however long ago it was told.
    world.now_ms += 10 * FRESH_MS;
    assert_eq!(told(&world, 1), first);
    let record = world.map().shards[&ShardId(1)].clone();
    assert!(!world.view().hears_copy(&record, record.assigned[0].id));
    let all = world.report_of(NodeId(1));
    let later = |since, version, quorum| {
        let led = LedReport { version, since, changed: Vec::new(), resigned: Vec::new() };
        Report { node: all.node.clone(), led, quorum }
    };
    let ended = CopiesReport { ended: vec![ShardId(2)], is_all: true, ..CopiesReport::default() };
    assert!(world.reports.insert(later(1, 2, ended), world.now_ms));
    assert_eq!((told(&world, 1), told(&world, 2)), (first, None), "what is not told is as it was");
    let made = CopiesReport::all(vec![all.quorum.changed[1].clone()]);
    assert!(world.reports.insert(later(2, 3, made), world.now_ms));
    assert_eq!((told(&world, 1), told(&world, 2)), (first, first));
    // Something was missed: what was durable stays so, and all is asked for.
    let missed = CopiesReport { ended: vec![ShardId(1)], is_all: true, ..CopiesReport::default() };
    assert!(!world.reports.insert(later(7, 8, missed), world.now_ms));
    assert_eq!((told(&world, 1), told(&world, 2)), (first, first));
    let only = CopiesReport::all(vec![all.quorum.changed[0].clone()]);
    assert!(world.reports.insert(later(0, 9, only), world.now_ms));
    assert_eq!((told(&world, 1), told(&world, 2)), (first, None), "here are all that there are");
    assert!(world.reports.insert(all.clone(), world.now_ms));
    let restarted = NodeReport { incarnation: Incarnation(1), ..all.node.clone() };
    let nothing = Report { node: restarted, led: LedReport::all(1, Vec::new()), quorum: CopiesReport::default() };
    assert!(world.reports.insert(nothing, world.now_ms));
    assert_eq!((told(&world, 1), told(&world, 2)), (None, None), "it tells anew");
}

#[test]
fn a_report_of_an_earlier_start_does_not_count() {
    let mut world = World::new(&ZONES);
    world.report();
    restart(&mut world, 2, 5);
    assert!(world.view().heard(NodeId(2)).is_none(), "the map knows of a later start");
    assert!(world.reports.insert(leads_nothing(2, 5), world.now_ms));
    assert!(world.reports.insert(leads_nothing(2, 4), world.now_ms + 1));
    assert_eq!(world.view().heard(NodeId(2)).map(|r| r.incarnation), Some(Incarnation(5)));
}

#[test]
fn a_shard_that_its_node_no_longer_leads_has_no_known_leader() {
    let mut world = World::new(&ZONES);
    world.table(&[vec![1, 2, 3]]);
    world.report();
    assert_eq!(world.view().leader(ShardId(1)).map(|(node, _)| node), Some(NodeId(1)));
    assert!(world.reports.insert(leads_nothing(1, 1), world.now_ms));
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
    let report = Report { led: LedReport::all(2, vec![newer]), ..leads_nothing(2, 1) };
    assert!(world.reports.insert(report, world.now_ms));
    for node in [1, 3] {
        assert!(world.reports.insert(leads_nothing(node, 1), world.now_ms));
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

#[test]
fn what_did_not_change_is_not_told_again_and_stays_fresh() {
    let mut world = World::new(&ZONES);
    world.table(&[vec![1, 2, 3], vec![1, 2, 3], vec![2, 1, 3]]);
    world.report();
    let led_by_one = |world: &World, shard| world.view().leader(ShardId(shard)).map(|(node, r)| (node.0, r.bytes));
    let mut larger = world.view().leader(ShardId(2)).unwrap().1.clone();
    larger.bytes = 7;
    world.now_ms += FRESH_MS;
    assert!(world.reports.insert(changed(&world, 1, 2, vec![larger], &[]), world.now_ms));
    assert_eq!([1, 2, 3].map(|shard| led_by_one(&world, shard)), [Some((1, 1)), Some((1, 7)), Some((2, 1))]);
    world.now_ms += FRESH_MS;
    assert!(world.reports.insert(changed(&world, 2, 3, Vec::new(), &[1]), world.now_ms));
    assert_eq!([1, 2, 3].map(|shard| led_by_one(&world, shard)), [None, Some((1, 7)), None]);
    world.now_ms += FRESH_MS;
    assert!(world.reports.insert(changed(&world, 3, 3, Vec::new(), &[]), world.now_ms));
    assert_eq!(led_by_one(&world, 2), Some((1, 7)));
}

#[test]
fn changes_of_what_was_not_heard_make_the_shards_unknown_until_all_is_told() {
    let mut world = World::new(&ZONES);
    world.table(&[vec![1, 2, 3]]);
    world.report();
    let leader = |world: &World| world.view().leader(ShardId(1)).map(|(node, _)| node);
    for since in [2, 2] {
        assert!(!world.reports.insert(changed(&world, since, 3, Vec::new(), &[]), world.now_ms));
        assert!(world.view().heard(NodeId(1)).is_some() && leader(&world).is_none());
    }
    assert!(world.reports.insert(world.report_of(NodeId(1)), world.now_ms));
    assert_eq!(leader(&world), Some(NodeId(1)));
    restart(&mut world, 1, 2);
    assert!(!world.reports.insert(changed(&world, 1, 1, Vec::new(), &[]), world.now_ms), "of another start");
    assert!(leader(&world).is_none());
}
