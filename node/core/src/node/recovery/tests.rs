//! Claims about the system shard's way on from one copy: only if every other one is lost, silent or without a leader.

use super::*;
use crate::ids::{Incarnation, ReplicaId};
use crate::message::{CopyReport, NodeReport};
use crate::node::tests::{NOW, node, ticked};
use crate::replica::Replica;
use crate::replica::tests::Memory;
use crate::steward::{FRESH_MS, LOST_SILENCE_MS};
use crate::time::TICK_MS;

const SILENCE_TICKS: u64 = LOST_SILENCE_MS / TICK_MS;

/// Node 1, whose copy has had no leader for long, and which hears of node 2 only.
fn stranded(engine: &Memory) -> Node {
    let mut node = node(engine);
    ticked(&mut node, engine, SILENCE_TICKS);
    node.others.hear(NodeId(2), Incarnation(1));
    node
}

/// What node 2 has said of its copy.
fn says(node: &mut Node, leaderless: Option<u64>, lost: Option<u64>, at_ms: u64) {
    let own = node.replica(ShardId::SYSTEM).and_then(Replica::leaderless).expect("it has no leader");
    let copy = |id| CopyReport { replica: ReplicaId(id), ..own.clone() };
    let leaderless = leaderless.map(copy).into_iter().collect();
    let lost = lost.map(|id| (ShardId::SYSTEM, ReplicaId(id))).into_iter().collect();
    let report = NodeReport { node: NodeId(2), leaderless, lost, ..NodeReport::default() };
    node.others.system_copy_told(&report, Now { monotonic_ms: at_ms, ..NOW });
}

fn asked(node: &Node, survivor: u64, lost: &[u64]) -> Result<(), AdminRefusal> {
    let lost = lost.iter().map(|n| NodeId(*n)).collect();
    let wanted = WantedRecovery { shard: ShardId::SYSTEM, survivor: ReplicaId(survivor), based_on: Epoch(0), lost };
    node.may_recover_system(&wanted, NOW).map(drop)
}

fn unclear() -> Result<(), AdminRefusal> {
    let (shard, node, replica) = (ShardId::SYSTEM, NodeId(2), ReplicaId(2));
    Err(RecoveryRefusal::Unclear { shard, node, replica }.into())
}

#[test]
fn what_another_node_says_of_its_copy_counts_for_that_copy_and_while_it_is_fresh() {
    let engine = Memory::default();
    let mut node = stranded(&engine);
    let now = NOW.monotonic_ms;
    assert_eq!(asked(&node, 1, &[3]), unclear(), "it is heard of and has said nothing");
    for (leaderless, lost, at_ms, is_taken) in [
        (None, Some(2), now, true),
        (None, Some(2), now - FRESH_MS, true),
        (None, Some(2), now - FRESH_MS - 1, false),
        (None, Some(9), now, false),
        (Some(9), None, now, false),
        (None, None, now, false),
    ] {
        says(&mut node, leaderless, lost, at_ms);
        let expected = if is_taken { Ok(()) } else { unclear() };
        assert_eq!(asked(&node, 1, &[3]), expected, "{leaderless:?} {lost:?} {at_ms}");
    }
}

#[test]
fn two_copies_without_a_leader_that_hear_one_another_are_a_majority() {
    let engine = Memory::default();
    let mut node = stranded(&engine);
    says(&mut node, Some(2), None, NOW.monotonic_ms);
    assert_eq!(asked(&node, 1, &[3]), Err(RecoveryRefusal::Majority { shard: ShardId::SYSTEM }.into()));
}

#[test]
fn only_a_node_that_was_silent_for_long_and_is_named_counts_as_lost() {
    let engine = Memory::default();
    let mut node = stranded(&engine);
    says(&mut node, None, Some(2), NOW.monotonic_ms);
    let (shard, silent, replica) = (ShardId::SYSTEM, NodeId(3), ReplicaId(3));
    assert_eq!(asked(&node, 1, &[]), Err(RecoveryRefusal::Unheard { shard, node: silent, replica }.into()));
    node.others.hear(NodeId(3), Incarnation(1));
    assert_eq!(asked(&node, 1, &[3]), Err(RecoveryRefusal::Alive { node: NodeId(3) }.into()));
    // A process that has just begun to listen knows nothing.
    let mut young = stranded(&engine);
    says(&mut young, None, Some(2), NOW.monotonic_ms);
    young.ticks = SILENCE_TICKS - 1;
    assert_eq!(asked(&young, 1, &[3]), Err(RecoveryRefusal::Alive { node: NodeId(3) }.into()));
}

#[test]
fn another_copy_than_the_one_here_is_not_gone_on_from() {
    let engine = Memory::default();
    let mut node = stranded(&engine);
    says(&mut node, None, Some(2), NOW.monotonic_ms);
    let (asked_for, best) = (ReplicaId(2), ReplicaId(1));
    let refusal = RecoveryRefusal::OtherSurvivor { shard: ShardId::SYSTEM, asked: asked_for, best };
    assert_eq!(asked(&node, 2, &[3]), Err(refusal.into()));
}

#[test]
fn a_node_that_says_nothing_of_its_copy_takes_its_word_back() {
    let engine = Memory::default();
    let mut node = stranded(&engine);
    let mut report =
        NodeReport { node: NodeId(2), lost: vec![(ShardId::SYSTEM, ReplicaId(2))], ..NodeReport::default() };
    node.others.system_copy_told(&report, NOW);
    assert_eq!(asked(&node, 1, &[3]), Ok(()));
    report.lost = vec![(ShardId(7), ReplicaId(2))];
    node.others.system_copy_told(&report, NOW);
    assert_eq!(asked(&node, 1, &[3]), unclear());
}
