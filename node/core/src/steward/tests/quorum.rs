//! Copies of quorum shards are moved, grown, shrunk and built anew, step by step, and turned round at each.

mod certificate;
mod evidence;
mod full;
mod random;
mod recovered;
mod silent;

use super::world::{World, nodes};
use crate::ids::{NodeId, ReplicaId, ShardId, TableId};
use crate::level::FormatLevel;
use crate::map::{MoveLimits, Quorums, Role, ShardRecord};
use crate::quorum::layout::Stage;
use crate::quorum::shown::Resolve;
use crate::steward::{RecoveryRefusal, SILENCE_MS, STEPS_MAX, leaders, recoveries, recovery, round, steps};
use crate::system::{AdminChange, Recovery, StepKind, SystemCommand};

const ZONES: [&str; 6] = ["a", "b", "c", "a", "b", "c"];
const SHARD: ShardId = ShardId(1);
const MAJORITIES: (u32, u32) = (2, 2);

/// A quorum table with one shard on the first three nodes, settled.
fn world(quorums: (u32, u32)) -> (World, TableId) {
    let mut world = World::new(&ZONES);
    let table = world.quorum_table(&[vec![1, 2, 3]], quorums);
    world.settle(20);
    (world, table)
}

fn record(world: &World) -> &ShardRecord {
    &world.map().shards[&SHARD]
}

fn stage(world: &World) -> Option<Stage> {
    record(world).quorum.expect("a quorum shard").change.map(|change| change.stage)
}

fn alter(world: &mut World, table: TableId, replication_factor: u32, (write, read): (u32, u32)) {
    let (quorums, resolve) = (Quorums { write, read }, Resolve::Siblings);
    world.admin(AdminChange::AlterQuorumTable { table, replication_factor, quorums, resolve }).unwrap();
}

/// Rounds until the shard is at this stage.
fn go_to(world: &mut World, wanted: Option<Stage>) {
    for _ in 0..20 {
        if stage(world) == wanted {
            return;
        }
        world.steward();
        world.lead();
    }
    panic!("not at {wanted:?}: {:#?}", record(world));
}

/// Rounds in which nothing that there is to decide can be decided.
fn stays(world: &mut World, rounds: usize) {
    let before = record(world).clone();
    for _ in 0..rounds {
        world.steward();
        world.lead();
    }
    assert_eq!(*record(world), before);
}

fn settled_on(world: &World, on: &[u64], quorums: (usize, usize)) {
    let layout = record(world).layout().expect("a quorum shard");
    assert!(record(world).is_settled(), "{:#?}", record(world));
    let mut homes: Vec<NodeId> = record(world).descriptor.members.iter().map(|m| m.replica.node).collect();
    homes.sort_unstable();
    assert_eq!(homes, nodes(on));
    assert_eq!((layout.current.write, layout.current.read), quorums);
    assert!(record(world).descriptor.members.iter().all(|m| !world.gone.contains(&m.replica.id)));
}

#[test]
fn a_move_takes_each_step_once_it_is_due_and_keeps_the_copies_that_stay() {
    let (mut world, _) = world(MAJORITIES);
    let before = record(&world).assigned.clone();
    world.target(1, &[1, 2, 4]);
    let mut taken = Vec::new();
    for _ in 0..20 {
        let of_steps = |command| if let SystemCommand::Step { step, .. } = command { Some(step) } else { None };
        taken.extend(world.steward().into_iter().filter_map(of_steps));
        world.lead();
    }
    assert_eq!(taken, [StepKind::Begin, StepKind::ReadNew, StepKind::NewOnly, StepKind::Settle]);
    assert_eq!(record(&world).assigned[..2], before[..2]);
    settled_on(&world, &[1, 2, 4], (2, 2));
    assert!(world.gone.contains(&before[2].id), "the old copy is over");
    assert_eq!(round(&world.view()), []);
}

#[test]
fn a_table_grows_and_shrinks_with_its_w_and_r() {
    let (mut world, table) = world(MAJORITIES);
    alter(&mut world, table, 5, (3, 3));
    stays(&mut world, 4);
    world.target(1, &[1, 2, 3, 4, 5]);
    world.settle(20);
    settled_on(&world, &[1, 2, 3, 4, 5], (3, 3));
    alter(&mut world, table, 3, (1, 3));
    world.target(1, &[1, 4, 5]);
    world.settle(20);
    settled_on(&world, &[1, 4, 5], (1, 3));
}

#[test]
fn another_w_and_r_are_a_change_without_moves_of_a_few_shards_at_a_time() {
    let mut world = World::new(&ZONES);
    let table = world.quorum_table(&vec![vec![1, 2, 3]; 40], MAJORITIES);
    world.settle(20);
    alter(&mut world, table, 3, (3, 1));
    let began = world.steward();
    assert_eq!(began.len(), 16, "{began:?}");
    let is_settled = |world: &World| world.map().live_shards().filter(|record| record.is_settled()).count();
    assert_eq!(is_settled(&world), 24);
    (0..60).for_each(|_| {
        world.lead();
        world.steward();
    });
    assert!(world.map().live_shards().all(|record| record.is_settled()));
    settled_on(&world, &[1, 2, 3], (3, 1));
    assert!(world.map().live_shards().all(|r| r.quorum.is_some_and(|q| q.current == Quorums { write: 3, read: 1 })));
    assert_eq!(round(&world.view()), []);
}

#[test]
fn steps_of_one_round_are_bounded() {
    let mut world = World::new(&ZONES);
    world.quorum_table(&vec![vec![1, 2]; 100], (1, 2));
    world.admin(AdminChange::SetLimits(MoveLimits { moves_per_node: 200, ..MoveLimits::default() })).unwrap();
    world.settle(20);
    (1..=100).for_each(|shard| world.target(shard, &[1, 3]));
    for _ in 0..20 {
        let commands = world.steward();
        assert!(commands.iter().filter(|c| matches!(c, SystemCommand::Step { .. })).count() <= STEPS_MAX);
    }
    assert!(steps(&world.view()).is_empty(), "nobody has taken the first layout yet");
    world.settle(60);
}

#[test]
fn a_move_that_is_turned_round_at_any_stage_comes_back_and_reuses_no_copy_that_is_over() {
    for rounds in 0..9 {
        let mut world = World::new(&ZONES);
        world.quorum_table(&vec![vec![1, 2, 3]; 4], MAJORITIES);
        world.settle(30);
        (1..=4).for_each(|shard| world.target(shard, &[4, 5, 6]));
        for _ in 0..rounds {
            world.steward();
            world.lead();
        }
        (1..=4).for_each(|shard| world.target(shard, &[1, 2, 3]));
        world.settle(60);
        for shard in world.map().live_shards() {
            assert!(shard.is_settled());
            assert!(shard.assigned.iter().all(|r| !world.gone.contains(&r.id)));
            assert_eq!(shard.assigned.iter().map(|r| r.node).collect::<Vec<_>>(), nodes(&[1, 2, 3]));
        }
        assert_eq!(round(&world.view()), []);
    }
}

#[test]
fn before_writes_leave_the_old_copies_out_a_move_goes_back_to_them_as_they_are() {
    for at in [Stage::WriteBoth, Stage::ReadNew] {
        let (mut world, _) = world(MAJORITIES);
        let before = record(&world).descriptor.members.clone();
        world.target(1, &[4, 5, 6]);
        go_to(&mut world, Some(at));
        world.target(1, &[1, 2, 3]);
        world.settle(20);
        assert_eq!(record(&world).descriptor.members, before, "{at:?}");
    }
    let (mut world, _) = world(MAJORITIES);
    let before = record(&world).assigned.clone();
    world.target(1, &[4, 5, 6]);
    go_to(&mut world, Some(Stage::NewOnly));
    world.target(1, &[1, 2, 3]);
    world.settle(30);
    settled_on(&world, &[1, 2, 3], (2, 2));
    assert!(record(&world).assigned.iter().all(|copy| !before.contains(copy)), "they had been left out");
}

#[test]
fn a_move_that_is_sent_elsewhere_midway_goes_there() {
    for at in [Stage::WriteBoth, Stage::ReadNew, Stage::NewOnly] {
        let (mut world, _) = world(MAJORITIES);
        world.target(1, &[1, 2, 4]);
        go_to(&mut world, Some(at));
        world.target(1, &[1, 3, 5]);
        world.settle(40);
        settled_on(&world, &[1, 3, 5], (2, 2));
    }
}

#[test]
fn an_incoming_copy_that_is_lost_ends_the_change_and_another_one_comes() {
    for at in [Stage::WriteBoth, Stage::ReadNew] {
        let (mut world, _) = world(MAJORITIES);
        world.target(1, &[1, 2, 4]);
        go_to(&mut world, Some(at));
        let incoming = record(&world).descriptor.members.iter().find(|m| m.role == Role::Incoming).unwrap().replica;
        world.gone.insert(incoming.id);
        world.copies.remove(&incoming.id);
        let mut was_back = false;
        for _ in 0..10 {
            world.steward();
            world.lead();
            was_back |= stage(&world).is_none() && record(&world).descriptor.node_of(incoming.id).is_none();
        }
        assert!(was_back, "{at:?}");
        world.settle(20);
        settled_on(&world, &[1, 2, 4], (2, 2));
    }
}

#[test]
fn a_lost_copy_is_built_anew_under_another_id_on_the_same_node() {
    let (mut world, _) = world(MAJORITIES);
    let lost = record(&world).assigned[2];
    lose(&mut world, lost.id);
    world.settle(20);
    settled_on(&world, &[1, 2, 3], (2, 2));
    assert!(record(&world).assigned.iter().all(|r| r.id != lost.id));
}

fn lose(world: &mut World, copy: ReplicaId) {
    world.gone.insert(copy);
    world.copies.remove(&copy);
}

#[test]
fn a_copy_that_stays_and_is_lost_midway_is_built_anew_after_the_move() {
    let (mut world, _) = world(MAJORITIES);
    world.target(1, &[1, 2, 4]);
    go_to(&mut world, Some(Stage::WriteBoth));
    let (lost, came) = (record(&world).assigned[1], record(&world).assigned[2]);
    lose(&mut world, lost.id);
    world.settle(30);
    settled_on(&world, &[1, 2, 4], (2, 2));
    assert!(record(&world).assigned.contains(&came), "what had come is not given up");
}

#[test]
fn a_move_that_a_lost_copy_makes_impossible_is_given_up_first() {
    // All copies of the new set are needed, and one that stays is gone.
    let (mut world, _) = world((3, 1));
    world.target(1, &[1, 2, 4]);
    go_to(&mut world, Some(Stage::WriteBoth));
    let lost = record(&world).assigned[1];
    lose(&mut world, lost.id);
    world.settle(40);
    settled_on(&world, &[1, 2, 4], (3, 1));
}

#[test]
fn two_lost_copies_of_three_are_built_anew_from_the_last_and_three_are_left_to_a_person() {
    let (mut world, _) = world(MAJORITIES);
    let copies = record(&world).assigned.clone();
    copies[1..].iter().for_each(|copy| lose(&mut world, copy.id));
    world.settle(30);
    settled_on(&world, &[1, 2, 3], (2, 2));
    let copies = record(&world).assigned.clone();
    copies.iter().for_each(|copy| lose(&mut world, copy.id));
    stays(&mut world, 10);
}

#[test]
fn a_silent_copy_holds_up_what_its_answer_is_needed_for_and_nothing_else() {
    let (mut world, _) = world(MAJORITIES);
    world.silent.insert(NodeId(3));
    world.now_ms += 60_000;
    world.target(1, &[1, 2, 4]);
    world.settle(20);
    settled_on(&world, &[1, 2, 4], (2, 2));

    // A write with W = 1 may be on the silent copy alone.
    let (mut other, _) = self::world((1, 1));
    other.target(1, &[1, 2, 4]);
    go_to(&mut other, Some(Stage::WriteBoth));
    other.silent.insert(NodeId(3));
    other.now_ms += 60_000;
    stays(&mut other, 10);
    other.silent.clear();
    other.settle(20);
    settled_on(&other, &[1, 2, 4], (1, 1));
}

#[test]
fn a_change_begins_once_a_majority_and_the_new_nodes_are_heard_of() {
    let (mut world, _) = world(MAJORITIES);
    for silent in [&[1, 2][..], &[6]] {
        world.target(1, &[1, 2, 6]);
        world.silent.extend(nodes(silent));
        world.now_ms += 10_000;
        stays(&mut world, 4);
        world.silent.clear();
    }
    world.full.insert(NodeId(6));
    stays(&mut world, 4);
    world.full.clear();
    world.settle(20);
    settled_on(&world, &[1, 2, 6], (2, 2));
}

#[test]
fn new_copies_that_fall_silent_do_not_hold_writes_up_for_ever() {
    let (mut world, _) = world(MAJORITIES);
    world.target(1, &[4, 5, 6]);
    go_to(&mut world, Some(Stage::WriteBoth));
    world.silent.extend(nodes(&[4, 5]));
    world.steward();
    assert_eq!(stage(&world), Some(Stage::WriteBoth), "they may be back soon");
    world.now_ms += SILENCE_MS;
    go_to(&mut world, None);
    assert_eq!(record(&world).layout().map(|layout| layout.current.members.len()), Some(3));
    stays(&mut world, 4);
    world.silent.clear();
    world.settle(20);
    settled_on(&world, &[4, 5, 6], (2, 2));
}

#[test]
fn new_copies_whose_disks_are_full_do_not_hold_writes_up_for_ever() {
    let (mut world, _) = world(MAJORITIES);
    world.target(1, &[4, 5, 6]);
    go_to(&mut world, Some(Stage::WriteBoth));
    world.full.extend(nodes(&[4, 5]));
    go_to(&mut world, None);
    stays(&mut world, 4);
    world.full.clear();
    world.settle(20);
    settled_on(&world, &[4, 5, 6], (2, 2));
}

#[test]
fn copies_that_stay_are_not_left_alone_for_a_full_disk() {
    let (mut world, _) = world(MAJORITIES);
    world.target(1, &[2, 3, 4]);
    go_to(&mut world, Some(Stage::WriteBoth));
    world.full.extend(nodes(&[2, 3]));
    world.steward();
    assert_ne!(stage(&world), None, "they have all that they had");
}

#[test]
fn copies_are_given_up_only_while_all_that_stay_are_in_step() {
    let (mut world, table) = world(MAJORITIES);
    alter(&mut world, table, 2, (1, 2));
    world.target(1, &[1, 2]);
    let stays_silent = |world: &mut World, node: u64| {
        world.silent.insert(NodeId(node));
        world.now_ms += 10_000;
        stays(world, 4);
        world.silent.clear();
    };
    stays_silent(&mut world, 2);
    // It is heard of, and lacks some of what the shard holds.
    let second = record(&world).descriptor.members.iter().find(|m| m.replica.node == NodeId(2)).unwrap().replica.id;
    world.copies.get_mut(&second).unwrap().is_complete = false;
    (0..4).for_each(|_| drop(world.steward()));
    assert_eq!(stage(&world), None);
    world.copies.get_mut(&second).unwrap().is_complete = true;
    world.settle(20);
    settled_on(&world, &[1, 2], (1, 2));
}

/// A change goes on to the stage in which a copy that leaves hands over what it keeps: that copy, which keeps something.
fn leaving(world: &mut World) -> ReplicaId {
    go_to(world, Some(Stage::ReadNew));
    let old = record(world).descriptor.members.iter().find(|m| m.role == Role::Outgoing).unwrap().replica;
    world.copies.get_mut(&old.id).unwrap().hints = 7;
    go_to(world, Some(Stage::NewOnly));
    old.id
}

#[test]
fn copies_that_leave_hand_over_what_they_keep_for_others_as_far_as_those_are_there() {
    let (mut world, _) = world(MAJORITIES);
    world.target(1, &[1, 2, 4]);
    let old = leaving(&mut world);
    stays(&mut world, 4);
    world.copies.get_mut(&old).unwrap().hints = 0;
    world.settle(20);

    // One of the others is away: what is kept for it is not waited for, and what those that are there lack is.
    let (mut other, _) = self::world(MAJORITIES);
    other.target(1, &[1, 2, 4]);
    let old = leaving(&mut other);
    other.silent.insert(NodeId(2));
    other.now_ms += 10_000;
    stays(&mut other, 4);
    hand_over(&mut other, old, &[1, 4]);
    other.settle(20);

    // It has no hints yet of what it has acknowledged.
    let (mut third, _) = self::world(MAJORITIES);
    third.target(1, &[1, 2, 4]);
    let old = leaving(&mut third);
    let copy = third.copies.get_mut(&old).unwrap();
    (copy.hints, copy.under_way) = (0, 1);
    stays(&mut third, 4);
    third.copies.get_mut(&old).unwrap().under_way = 0;
    third.settle(20);
}

/// Whoever drains a node does so because its disk hangs, most often.
#[test]
fn a_copy_that_leaves_a_disk_which_hangs_is_not_awaited() {
    let (mut world, _) = world(MAJORITIES);
    world.target(1, &[1, 2, 4]);
    let old = leaving(&mut world);
    world.copies.get_mut(&old).unwrap().under_way = 1;
    stays(&mut world, 4);
    world.hung.insert(NodeId(3));
    world.settle(20);
    settled_on(&world, &[1, 2, 4], (2, 2));
}

/// A copy says that those on these nodes lack nothing of what it has.
fn hand_over(world: &mut World, from: ReplicaId, to: &[u64]) {
    let members = record(world).descriptor.members.iter().map(|member| member.replica);
    let mut others: Vec<ReplicaId> =
        members.filter(|copy| copy.id != from && to.contains(&copy.node.0)).map(|copy| copy.id).collect();
    others.sort_unstable();
    world.copies.get_mut(&from).unwrap().handed_over = others;
}

#[test]
fn moves_of_quorum_shards_keep_within_the_limits() {
    let mut world = World::new(&ZONES);
    world.quorum_table(&vec![vec![1, 2, 3]; 10], MAJORITIES);
    world.settle(30);
    (1..=10).for_each(|shard| world.target(shard, &[1, 2, 4]));
    world.steward();
    world.steward();
    assert_eq!(world.map().live_shards().filter(|record| !record.assigned_reached()).count(), 2);
    world.settle(100);
}

/// By the rule of its table: with the next generation, whatever else is under way.
#[test]
fn another_rule_for_what_is_written_at_once_is_one_step_at_any_stage() {
    let (mut world, table) = world(MAJORITIES);
    let (quorums, resolve) = (Quorums { write: 2, read: 2 }, Resolve::LastWriterWins);
    let change = AdminChange::AlterQuorumTable { table, replication_factor: 3, quorums, resolve };
    world.admin(change).unwrap();
    let before = record(&world).layout().unwrap();
    world.settle(4);
    let after = record(&world).layout().unwrap();
    assert_eq!((after.generation.0, after.resolve), (before.generation.0 + 1, resolve));
    assert_eq!((after.current, after.change), (before.current, None));
    world.target(1, &[1, 2, 4]);
    go_to(&mut world, Some(Stage::WriteBoth));
    alter(&mut world, table, 3, MAJORITIES);
    world.silent.insert(NodeId(4));
    world.steward();
    let moving = record(&world).layout().unwrap();
    assert_eq!((moving.resolve, moving.change.map(|change| change.stage)), (Resolve::Siblings, Some(Stage::WriteBoth)));
    world.silent.clear();
    world.settle(20);
    settled_on(&world, &[1, 2, 4], (2, 2));
}

#[test]
fn quorum_shards_have_no_leaders_to_spread_and_no_majority_to_lose() {
    let (mut world, table) = world(MAJORITIES);
    world.silent.extend(nodes(&[1, 2]));
    world.now_ms += 60_000;
    world.report();
    assert_eq!(leaders(&world.view()), []);
    assert_eq!(recoveries(&world.view(), &[]), []);
    let refusal = RecoveryRefusal::Quorum { shard: SHARD };
    assert_eq!(recovery(&world.view(), SHARD, &[]), Err(refusal));
    world.silent.clear();
    world.target(1, &[4, 5, 6]);
    world.admin(AdminChange::DropTable { table }).unwrap();
    world.report();
    assert_eq!((round(&world.view()), world.view().lost().len()), (Vec::new(), 0));
}
