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

fn step(descriptor: &Descriptor, assigned: &[Replica], leader: u64, in_step: &[u64]) -> NextStep {
    let in_step = in_step.iter().map(|&id| ReplicaId(id)).collect();
    next_step(&Situation { descriptor, assigned, leader: ReplicaId(leader), in_step: &in_step, joint_overdue: false })
}

#[test]
fn a_copy_that_is_not_in_step_keeps_the_old_one_in_place() {
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
fn a_lost_copy_makes_room_only_if_a_majority_of_the_others_is_in_step() {
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
            let in_step = descriptor.members.iter().map(|m| m.replica.id).collect();
            let now = Situation { descriptor: &descriptor, assigned: &assigned, leader, in_step: &in_step, joint_overdue: false };
            match next_step(&now) {
                NextStep::Nothing => break,
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
}
