//! A shard goes on from one copy only where nothing else that lives, or may live, would be harmed.

use std::collections::BTreeSet;

use super::world::World;
use crate::ids::{Generation, NodeId, ReplicaId, ShardId};
use crate::map::{Member, Replica, Role};
use crate::message::{CopyReport, LedReport, NodeReport, Report};
use crate::steward::{
    LOST_SILENCE_MS, RECOVERIES_MAX, RecoveryPlan, RecoveryRefusal, Witness, alone, recoveries, recovery,
};
use crate::system::{SystemCommand, SystemRefusal};

const SHARD: ShardId = ShardId(1);

/// A table of one shard on nodes 1 to 3, whose leader is gone.
fn leaderless() -> (World, Vec<Replica>) {
    let mut world = World::new(&["a", "b", "c"]);
    world.table(&[vec![1, 2, 3]]);
    let copies = world.map().shards[&SHARD].assigned.clone();
    world.now_ms = LOST_SILENCE_MS + 1;
    (world, copies)
}

pub(super) fn copy(replica: Replica, last: (u64, u64), generation: u64, members: &[Member]) -> CopyReport {
    CopyReport {
        shard: SHARD,
        replica: replica.id,
        last,
        applied: last.0,
        last_version: crate::time::Version(0),
        generation: Generation(generation),
        members: members.to_vec(),
        is_blank: false,
    }
}

pub(super) fn voters(copies: &[Replica]) -> Vec<Member> {
    copies.iter().map(|&replica| Member { replica, role: Role::Voter }).collect()
}

pub(super) fn hear(world: &mut World, node: NodeId, leaderless: Vec<CopyReport>, lost: Vec<(ShardId, ReplicaId)>) {
    let incarnation = world.map().nodes[&node].incarnation;
    let node = NodeReport { node, incarnation, leaderless, lost, ..NodeReport::default() };
    assert!(
        world.reports.insert(Report { node, led: LedReport::all(1, Vec::new()), ..Report::default() }, world.now_ms)
    );
}

#[test]
fn only_a_node_that_is_named_and_silent_is_lost() {
    let (mut world, copies) = leaderless();
    let members = voters(&copies);
    hear(&mut world, NodeId(1), vec![copy(copies[0], (9, 2), 1, &members)], vec![]);
    let plan = |world: &World, lost: &[u64]| {
        recovery(&world.view(), SHARD, &lost.iter().map(|&n| NodeId(n)).collect::<Vec<_>>())
    };
    assert!(matches!(plan(&world, &[]), Err(RecoveryRefusal::Unheard { node: NodeId(2), .. })));
    assert!(matches!(plan(&world, &[2]), Err(RecoveryRefusal::Unheard { node: NodeId(3), .. })));
    assert!(matches!(plan(&world, &[1, 2, 3]), Err(RecoveryRefusal::Alive { node: NodeId(1) })));
    let good = plan(&world, &[2, 3]).unwrap();
    assert_eq!((good.survivor, &good.given_up[..]), (copies[0], &copies[1..]));
    // Heard of a moment ago, or not long listened for: not known to be lost.
    world.now_ms = LOST_SILENCE_MS - 1;
    hear(&mut world, NodeId(1), vec![copy(copies[0], (9, 2), 1, &members)], vec![]);
    assert!(matches!(plan(&world, &[2, 3]), Err(RecoveryRefusal::Alive { node: NodeId(2) })));
}

/// The copy that a recovery went on from gave its records up for a snapshot of the copies that it had given up, and those are
/// silenced: with them there, nobody can be elected.
fn records_given_up_for_copies_that_are_silenced() -> Result<RecoveryPlan, RecoveryRefusal> {
    let (mut world, copies) = leaderless();
    let members = voters(&copies);
    let behind = copy(copies[0], (5, 1), 1, &members);
    hear(&mut world, NodeId(1), vec![behind], vec![]);
    let plan = recovery(&world.view(), SHARD, &[NodeId(2), NodeId(3)]).unwrap();
    let command = SystemCommand::Recover { shard: SHARD, based_on: plan.based_on, recovery: plan.recovery(7) };
    world.state.apply(&command).unwrap();
    let alone = world.map().shards[&SHARD].descriptor.clone();
    let blank = CopyReport {
        is_blank: true,
        generation: alone.generation,
        ..copy(alone.members[0].replica, (5, 1), 1, &alone.members)
    };
    hear(&mut world, NodeId(1), vec![blank], vec![]);
    hear(&mut world, NodeId(2), vec![copy(copies[1], (9, 2), 1, &members)], vec![]);
    hear(&mut world, NodeId(3), vec![copy(copies[2], (8, 2), 1, &members)], vec![]);
    recovery(&world.view(), SHARD, &[])
}

#[test]
fn a_copy_without_records_does_not_keep_older_ones_from_going_on() {
    let plan = records_given_up_for_copies_that_are_silenced().unwrap();
    assert_eq!(plan.survivor.node, NodeId(2), "{plan:?}");
}

#[cfg(feature = "planted")]
#[test]
fn a_copy_without_records_that_counts_as_able_to_lead_is_noticed() {
    crate::planted::plant(Some(crate::planted::Planted::BlankMayStand));
    let plan = records_given_up_for_copies_that_are_silenced();
    crate::planted::plant(None);
    assert_eq!(plan, Err(RecoveryRefusal::Majority { shard: SHARD }));
}

/// Two of three are left. One has no records, but a later log than the other: it neither stands nor votes for that one.
#[test]
fn copies_of_which_nobody_can_be_elected_are_no_majority() {
    let (mut world, copies) = leaderless();
    let members = voters(&copies);
    for (last, can_elect) in [((9, 2), true), ((10, 2), false), ((9, 3), false)] {
        hear(&mut world, NodeId(1), vec![copy(copies[0], (9, 2), 1, &members)], vec![]);
        let blank = CopyReport { is_blank: true, ..copy(copies[1], last, 1, &members) };
        hear(&mut world, NodeId(2), vec![blank], vec![]);
        let plan = recovery(&world.view(), SHARD, &[NodeId(3)]);
        assert_eq!(plan.is_err(), can_elect, "{last:?}: {plan:?}");
    }
}

#[test]
fn a_shard_that_can_be_recovered_is_not_hidden_by_many_others_that_cannot() {
    let mut world = World::new(&["a", "b", "c", "d"]);
    world.table(&vec![vec![1, 2, 4]; RECOVERIES_MAX]);
    world.table(&[vec![1, 2, 3]]);
    world.now_ms = LOST_SILENCE_MS + 1;
    let last = world.map().shards.values().last().unwrap();
    let (shard, copies) = (last.descriptor.shard, last.assigned.clone());
    let left = CopyReport { shard, ..copy(copies[0], (9, 2), 1, &voters(&copies)) };
    hear(&mut world, NodeId(1), vec![left], vec![]);
    let listed = recoveries(&world.view(), &[NodeId(2), NodeId(3)]);
    assert_eq!(listed.len(), RECOVERIES_MAX);
    let (first, plan) = &listed[0];
    assert!(*first == shard && plan.is_ok(), "{:?}", listed[0]);
}

#[test]
fn a_copy_that_may_follow_a_leader_and_a_majority_are_left_alone() {
    let (mut world, copies) = leaderless();
    let members = voters(&copies);
    hear(&mut world, NodeId(1), vec![copy(copies[0], (9, 2), 1, &members)], vec![]);
    hear(&mut world, NodeId(2), vec![], vec![]);
    let unclear = recovery(&world.view(), SHARD, &[NodeId(3)]);
    assert!(matches!(unclear, Err(RecoveryRefusal::Unclear { node: NodeId(2), .. })), "{unclear:?}");
    hear(&mut world, NodeId(2), vec![copy(copies[1], (9, 2), 1, &members)], vec![]);
    let majority = recovery(&world.view(), SHARD, &[NodeId(3)]);
    assert_eq!(majority, Err(RecoveryRefusal::Majority { shard: SHARD }));
    // Its node says so itself; nobody has to name it.
    hear(&mut world, NodeId(2), vec![], vec![(SHARD, copies[1].id)]);
    assert!(recovery(&world.view(), SHARD, &[NodeId(3)]).is_ok());
}

/// Two equal copies, and a third that the joint configuration needs and that is lost.
#[test]
fn copies_stranded_in_a_joint_configuration_go_on_from_the_longest_log() {
    let (mut world, copies) = leaderless();
    let mut members = voters(&copies);
    members[2].role = Role::Outgoing;
    hear(&mut world, NodeId(1), vec![copy(copies[0], (9, 2), 2, &members)], vec![]);
    // This one has not applied the change yet.
    hear(&mut world, NodeId(3), vec![copy(copies[2], (9, 3), 1, &voters(&copies))], vec![]);
    let plan = recovery(&world.view(), SHARD, &[NodeId(2)]).unwrap();
    assert_eq!((plan.survivor, plan.generation), (copies[2], Generation(2)));
    let recovery = plan.recovery(7);
    assert_eq!((recovery.last, recovery.at_ms), ((9, 3), 7));
    let command = SystemCommand::Recover { shard: SHARD, based_on: plan.based_on, recovery };
    world.state.apply(&command).unwrap();
    let record = &world.map().shards[&SHARD];
    assert_eq!(record.descriptor.generation.recoveries(), 1);
    let all: BTreeSet<ReplicaId> = copies.iter().map(|r| r.id).collect();
    assert!(
        record.assigned.len() == 1 && record.assigned_reached() && all.iter().all(|id| *id < record.assigned[0].id)
    );
    assert_eq!(record.target.len(), 3);
    assert_eq!(world.map().recoveries[&SHARD].to, record.assigned[0].id);
    let again = world.state.apply(&command);
    assert!(matches!(again, Err(SystemRefusal::Stale { .. })), "{again:?}");
}

#[test]
fn a_copy_without_records_is_nothing_to_go_on_from() {
    let (mut world, copies) = leaderless();
    let blank = CopyReport { is_blank: true, ..copy(copies[0], (9, 2), 1, &voters(&copies)) };
    hear(&mut world, NodeId(1), vec![blank], vec![]);
    let refused = recovery(&world.view(), SHARD, &[NodeId(2), NodeId(3)]);
    assert_eq!(refused, Err(RecoveryRefusal::NothingLeft { shard: SHARD }));
}

/// Five copies, two left that hear one another: exactly one of them may go on, whoever is asked.
#[test]
fn of_two_copies_of_the_system_shard_only_the_better_one_goes_on() {
    let copies: Vec<Replica> = (1..=5).map(|n| Replica { node: NodeId(n), id: ReplicaId(n + 10) }).collect();
    let (members, lost) = (voters(&copies), [3, 4, 5].map(NodeId));
    let told = |at: usize, last| copy(copies[at], last, 1, &members);
    let ask = |here: usize, own: (u64, u64), other: Option<(u64, u64)>| {
        let witness = |replica: Replica| match other {
            Some(last) if replica == copies[1 - here] => Witness::Leaderless(told(1 - here, last)),
            None if replica == copies[1 - here] => Witness::Unclear,
            _ => Witness::Silent,
        };
        alone(copies[here].node, &told(here, own), &lost, witness)
    };
    for (first, second) in [((9, 2), (9, 2)), ((9, 2), (10, 2)), ((20, 1), (9, 2)), ((9, 3), (10, 2))] {
        let may = [ask(0, first, Some(second)), ask(1, second, Some(first))];
        assert_eq!(may.iter().filter(|may| may.is_ok()).count(), 1, "{may:?}");
        let is_first_better = (first.1, first.0) >= (second.1, second.0);
        assert_eq!(may[0].is_ok(), is_first_better, "{may:?}");
    }
    assert!(matches!(ask(0, (9, 2), None), Err(RecoveryRefusal::Unclear { node: NodeId(2), .. })));
}
