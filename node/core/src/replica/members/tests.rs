//! Claims about single steps, and one about whole ways: any assignment is reached, and never with too few copies.

use proptest::prelude::*;

use super::*;
use crate::ids::NodeId;

fn replica(node: u64, id: u64) -> Replica {
    Replica { node: NodeId(node), id: ReplicaId(id) }
}

fn voters(ids: &[u64]) -> Descriptor {
    let members = ids.iter().map(|&id| Member { replica: replica(id, id), role: Role::Voter }).collect();
    Descriptor { members, ..Descriptor::default() }
}

fn step(descriptor: &Descriptor, assigned: &[Replica], leader: u64, in_sync: &[u64]) -> NextStep {
    probed(descriptor, assigned, leader, in_sync, in_sync)
}

/// `answered` of those that are in sync have acknowledged the probe.
fn probed(descriptor: &Descriptor, assigned: &[Replica], leader: u64, in_sync: &[u64], answered: &[u64]) -> NextStep {
    let [in_sync, answered] = [in_sync, answered].map(|ids| ids.iter().map(|&id| ReplicaId(id)).collect());
    let (leader, joint_overdue) = (ReplicaId(leader), false);
    next_step(&Situation { descriptor, assigned, leader, in_sync: &in_sync, answered: &answered, joint_overdue })
}

/// Copies whose loss alone leaves a set of the configuration without a majority.
fn critical(descriptor: &Descriptor) -> usize {
    let set = |roles: [Role; 2]| {
        let members = descriptor.members.iter().filter(move |m| roles.contains(&m.role));
        members.map(|m| m.replica.id).collect::<BTreeSet<_>>()
    };
    let sets = [set([Role::Voter, Role::Incoming]), set([Role::Voter, Role::Outgoing])];
    let fails = |set: &BTreeSet<ReplicaId>, lost| 2 * set.iter().filter(|id| **id != lost).count() <= set.len();
    let ids = descriptor.members.iter().map(|m| m.replica.id);
    ids.filter(|id| sets.iter().any(|set| set.contains(id) && fails(set, *id))).count()
}

/// From voters 1, 2, … to copies on these nodes, all of them in sync all the time: the configurations on the way.
fn way(from: &[u64], to: &[u64]) -> Vec<Descriptor> {
    let mut way = vec![voters(from)];
    let assigned: Vec<_> = to.iter().map(|&n| replica(n, if from.contains(&n) { n } else { n + 10 })).collect();
    let mut leader = from[0];
    for _ in 0..32 {
        let last = way.last().unwrap();
        let in_sync: Vec<u64> = last.members.iter().map(|m| m.replica.id.0).collect();
        match step(last, &assigned, leader, &in_sync) {
            NextStep::Nothing => break,
            NextStep::Transfer(to) => leader = to.0,
            NextStep::Change(change) => way.push(changed(last, &change)),
            NextStep::Probe => panic!("all have answered"),
        }
    }
    way
}

#[test]
fn a_joint_configuration_waits_for_every_copy_that_it_needs_to_answer() {
    let fewer = [replica(1, 1), replica(2, 2)];
    let joint = NextStep::Change(MemberChange::Joint { promote: vec![], remove: vec![ReplicaId(3)] });
    // The second was heard of lately, so it is in sync; but it may be gone since.
    assert_eq!(probed(&voters(&[1, 2, 3]), &fewer, 1, &[1, 2, 3], &[1]), NextStep::Probe);
    assert_eq!(probed(&voters(&[1, 2, 3]), &fewer, 1, &[1, 2, 3], &[1, 3]), NextStep::Probe);
    assert_eq!(probed(&voters(&[1, 2, 3]), &fewer, 1, &[1, 2, 3], &[1, 2]), joint);
    // Of those that go, a majority of the old set is needed and no more.
    let mut descriptor = voters(&[1, 2, 3]);
    descriptor.members.extend([4, 5].map(|n| Member { replica: replica(n, n), role: Role::Learner }));
    let moved = [replica(1, 1), replica(4, 4), replica(5, 5)];
    assert_eq!(probed(&descriptor, &moved, 1, &[1, 2, 4, 5], &[1, 4, 5]), NextStep::Probe);
    let step = probed(&descriptor, &moved, 1, &[1, 2, 4, 5], &[1, 2, 4, 5]);
    assert!(matches!(step, NextStep::Change(MemberChange::Joint { .. })), "{step:?}");
    // One of two is no majority.
    let mut descriptor = voters(&[1, 2]);
    descriptor.members.push(Member { replica: replica(3, 3), role: Role::Learner });
    let moved = [replica(1, 1), replica(3, 3)];
    assert_eq!(probed(&descriptor, &moved, 1, &[1, 2, 3], &[1, 3]), NextStep::Probe);
}

#[test]
fn a_joint_configuration_is_left_whoever_has_answered() {
    let mut descriptor = voters(&[1, 2, 3]);
    descriptor.members[2].role = Role::Outgoing;
    assert_eq!(probed(&descriptor, &[], 1, &[1, 2], &[1]), NextStep::Change(MemberChange::Leave));
}

#[test]
fn the_only_copy_moves_without_a_configuration_of_two_voters() {
    for to in [&[2_u64][..], &[2, 3], &[2, 3, 4]] {
        let way = way(&[1], to);
        let two = |d: &&Descriptor| !d.is_joint() && d.members.iter().filter(|m| m.role == Role::Voter).count() == 2;
        assert_eq!(way.iter().filter(two).count(), usize::from(to.len() == 2), "{to:?}: {way:#?}");
    }
    assert_eq!(way(&[1], &[2]).iter().filter(|d| d.is_joint()).count(), 1);
}

#[test]
fn one_of_two_copies_moves_without_a_moment_in_which_three_are_needed() {
    let way = way(&[1, 2], &[1, 3]);
    assert!(way.iter().all(|d| critical(d) <= 2), "{way:#?}");
}

#[test]
fn a_copy_that_is_not_in_sync_keeps_the_old_one_in_place() {
    let mut descriptor = voters(&[1, 2, 3]);
    descriptor.members.push(Member { replica: replica(4, 4), role: Role::Learner });
    let assigned = [replica(1, 1), replica(2, 2), replica(4, 4)];
    assert_eq!(step(&descriptor, &assigned, 1, &[1, 2, 3]), NextStep::Nothing);
    let change = MemberChange::Joint { promote: vec![ReplicaId(4)], remove: vec![ReplicaId(3)] };
    assert_eq!(step(&descriptor, &assigned, 1, &[1, 2, 3, 4]), NextStep::Change(change));
}

#[test]
fn a_leader_that_is_to_go_hands_over_first() {
    let assigned = [replica(2, 2), replica(3, 3)];
    assert_eq!(step(&voters(&[1, 2, 3]), &assigned, 1, &[1, 2, 3]), NextStep::Transfer(ReplicaId(2)));
}

#[test]
fn a_lost_copy_makes_room_only_if_a_majority_of_the_others_is_in_sync() {
    let assigned = [replica(1, 1), replica(2, 2), replica(3, 9)];
    assert_eq!(step(&voters(&[1, 2, 3]), &assigned, 1, &[1]), NextStep::Nothing);
    let remove = NextStep::Change(MemberChange::Remove(ReplicaId(3)));
    assert_eq!(step(&voters(&[1, 2, 3]), &assigned, 1, &[1, 2]), remove);
}

proptest! {
    #[test]
    fn every_assignment_is_reached_with_enough_copies(
        from in prop::collection::btree_set(1..8_u64, 1..6),
        to in prop::collection::btree_set(1..8_u64, 1..6),
    ) {
        let from: Vec<_> = from.into_iter().collect();
        let mut descriptor = voters(&from);
        let assigned: Vec<_> = to.iter().map(|&n| replica(n, if from.contains(&n) { n } else { n + 10 })).collect();
        let mut leader = descriptor.members[0].replica.id;
        let enough = from.len().min(to.len());
        for _ in 0..32 {
            let in_sync = descriptor.members.iter().map(|m| m.replica.id).collect();
            let now = Situation { descriptor: &descriptor, assigned: &assigned, leader, in_sync: &in_sync, answered: &in_sync, joint_overdue: false };
            match next_step(&now) {
                NextStep::Nothing | NextStep::Probe => break,
                NextStep::Transfer(to) => leader = to,
                NextStep::Change(change) => descriptor = changed(&descriptor, &change),
            }
            let incoming = descriptor.members.iter().filter(|m| matches!(m.role, Role::Voter | Role::Incoming)).count();
            prop_assert!(incoming >= enough);
            prop_assert!(descriptor.members.iter().any(|m| m.replica.id == leader));
        }
        let reached: BTreeSet<_> = descriptor.members.iter().map(|m| m.replica).collect();
        prop_assert_eq!(reached, assigned.iter().copied().collect());
        prop_assert!(descriptor.members.iter().all(|m| m.role == Role::Voter));
    }

    /// The only copy apart: while it moves, both are needed for as long as the protocol takes.
    #[test]
    fn no_way_needs_more_copies_at_a_time_than_its_ends(
        from in prop::collection::btree_set(1..8_u64, 1..6),
        to in prop::collection::btree_set(1..8_u64, 1..6),
    ) {
        let (from, to): (Vec<_>, Vec<_>) = (from.into_iter().collect(), to.into_iter().collect());
        let way = way(&from, &to);
        let of_ends = critical(&way[0]).max(critical(&way[way.len() - 1]));
        let allowed = if from.len() == 1 && to.len() == 1 { 2 } else { of_ends };
        for descriptor in &way {
            prop_assert!(critical(descriptor) <= allowed, "{descriptor:?} on the way {way:#?}");
        }
    }
}
