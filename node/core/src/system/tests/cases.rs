//! One claim a test.

use super::*;
use crate::ids::{Epoch, Generation, Incarnation, ReplicaId, ShardId};
use crate::level::FormatLevel;
use crate::map::{Member, MoveLimits, NodeState, Replica, Role};
use crate::system::{LoadError, Recovery};

fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().map(|&n| NodeId(n)).collect()
}

fn new_on(node: u64) -> Replica {
    Replica { node: NodeId(node), id: ReplicaId::NEW }
}

#[test]
fn a_new_database_has_one_node_and_the_system_shard_on_it() {
    let state = database(1);
    let shard = &state.map().shards[&ShardId::SYSTEM];
    assert!(shard.is_settled());
    assert_eq!(shard.assigned, [Replica { node: NodeId(1), id: ReplicaId(1) }]);
    assert_eq!(shard.descriptor.generation, Generation(1));
    assert_eq!(state.map().nodes[&NodeId(1)].incarnation, Incarnation(0));
    assert_eq!(state.map().live_shards().count(), 0, "the system shard takes no part in placement");
}

#[test]
fn a_volume_that_joins_again_gets_the_same_node_until_it_is_removed() {
    let mut state = database(3);
    let epoch = state.map().epoch;
    assert_eq!(state.apply(&SystemCommand::Join(volume(2))), Ok(SystemReply::Joined(NodeId(2))));
    assert_eq!(state.map().epoch, epoch);
    done(&mut state, &admin(AdminChange::Drain(NodeId(2))));
    let remove = removal(&state, 2);
    done(&mut state, &remove);
    assert_eq!(refused(&mut state, &SystemCommand::Join(volume(2))), SystemRefusal::RemovedNode(NodeId(2)));
    assert_eq!(state.apply(&SystemCommand::Join(volume(9))), Ok(SystemReply::Joined(NodeId(4))));
}

#[test]
fn a_start_counts_from_the_recorded_incarnation_up() {
    let mut state = database(2);
    let start = |incarnation| SystemCommand::Start {
        node: NodeId(2),
        incarnation: Incarnation(incarnation),
        address: "new:1".into(),
        zone: "zone-2".into(),
    };
    done(&mut state, &start(4));
    let epoch = state.map().epoch;
    done(&mut state, &start(4));
    assert_eq!(state.map().epoch, epoch, "the same start again is no change");
    assert!(matches!(refused(&mut state, &start(3)), SystemRefusal::OldIncarnation { highest: Incarnation(4), .. }));
}

#[test]
fn a_table_is_made_once() {
    let mut state = database(3);
    let first = created(&mut state, table("customers", &["", "D", "M"], &[1, 2, 3]));
    let epoch = state.map().epoch;
    assert_eq!(created(&mut state, table("customers", &["", "D", "M"], &[1, 2, 3])), first);
    assert_eq!(state.map().epoch, epoch);
    let other = admin(table("customers", &["", "D"], &[1, 2, 3]));
    assert_eq!(refused(&mut state, &other), SystemRefusal::TableExists("customers".into()));
    let system = admin(table("system", &[""], &[1]));
    assert_eq!(refused(&mut state, &system), SystemRefusal::TableExists("system".into()));
    done(&mut state, &admin(AdminChange::DropTable { table: first }));
    assert_ne!(created(&mut state, table("customers", &["", "D"], &[1])), first, "a name is free after a drop");
}

#[test]
fn bad_tables_are_refused() {
    let mut state = database(3);
    done(&mut state, &admin(AdminChange::Drain(NodeId(3))));
    let mut refusal = |change| refused(&mut state, &admin(change));
    assert_eq!(refusal(table("Upper", &[""], &[1])), SystemRefusal::TableName("Upper".into()));
    assert!(matches!(refusal(table("a", &[], &[1])), SystemRefusal::Shards { position: 0, .. }));
    assert!(matches!(refusal(table("a", &["A"], &[1])), SystemRefusal::Shards { position: 0, .. }));
    assert!(matches!(refusal(table("a", &["", "B", "A"], &[1])), SystemRefusal::Shards { position: 2, .. }));
    assert!(matches!(refusal(table("a", &["", "B", "B"], &[1])), SystemRefusal::Shards { position: 2, .. }));
    assert!(matches!(refusal(table("a", &[""], &[])), SystemRefusal::ReplicationFactor { wanted: 0, .. }));
    assert!(matches!(refusal(table("a", &[""], &[1, 1])), SystemRefusal::Target { .. }));
    assert_eq!(refusal(table("a", &[""], &[1, 9])), SystemRefusal::UnknownNode(NodeId(9)));
    assert_eq!(refusal(table("a", &[""], &[1, 3])), SystemRefusal::DrainingNode(NodeId(3)));
}

#[test]
fn fewer_copies_than_the_replication_factor_are_refused() {
    let mut state = database(2);
    let AdminChange::CreateTable { name, fragmentation, shards, .. } = table("a", &[""], &[1, 2]) else { panic!() };
    let change = AdminChange::CreateTable { name, fragmentation, replication_factor: 3, shards };
    assert_eq!(refused(&mut state, &admin(change)), SystemRefusal::ReplicationFactor { wanted: 3, allowed: 2 });
}

#[test]
fn the_system_table_cannot_be_altered_or_dropped_nor_its_shard_placed_by_the_operator() {
    let mut state = database(2);
    let alter = AdminChange::AlterTable { table: TableId::SYSTEM, replication_factor: 2 };
    assert_eq!(refused(&mut state, &admin(alter)), SystemRefusal::SystemTable);
    let drop = AdminChange::DropTable { table: TableId::SYSTEM };
    assert_eq!(refused(&mut state, &admin(drop)), SystemRefusal::SystemTable);
    let targets = AdminChange::SetTargets(vec![(ShardId::SYSTEM, nodes(&[2]))]);
    assert_eq!(refused(&mut state, &admin(targets)), SystemRefusal::TargetOwner { shard: ShardId::SYSTEM });
}

#[test]
fn targets_are_set_all_or_none() {
    let mut state = database(3);
    created(&mut state, table("a", &["", "M"], &[1]));
    let mixed = AdminChange::SetTargets(vec![(ShardId(1), nodes(&[2])), (ShardId(2), nodes(&[7]))]);
    assert_eq!(refused(&mut state, &admin(mixed)), SystemRefusal::UnknownNode(NodeId(7)));
    let good = AdminChange::SetTargets(vec![(ShardId(1), nodes(&[2])), (ShardId(2), nodes(&[3]))]);
    done(&mut state, &admin(good));
    assert_eq!(state.map().shards[&ShardId(2)].target, nodes(&[3]));
}

#[test]
fn a_lower_fencing_token_is_refused() {
    let mut state = database(2);
    let drain =
        |token| SystemCommand::Admin { fence: Fence { token, based_on: None }, change: AdminChange::Drain(NodeId(2)) };
    done(&mut state, &drain(7));
    done(&mut state, &drain(7));
    assert_eq!(refused(&mut state, &drain(6)), SystemRefusal::Fenced { token: 6, highest: 7 });
}

#[test]
fn targets_decided_before_a_node_table_or_target_changed_are_stale_but_not_before_the_stewards_changes() {
    let mut state = database(3);
    let table_id = created(&mut state, table("a", &["", "M"], &[1]));
    let set = |based_on, shard, node| SystemCommand::Admin {
        fence: Fence { token: 1, based_on: Some(based_on) },
        change: AdminChange::SetTargets(vec![(ShardId(shard), nodes(&[node]))]),
    };
    let first = state.map().epoch;
    done(&mut state, &set(first, 1, 2));
    assert!(matches!(refused(&mut state, &set(first, 1, 3)), SystemRefusal::Stale { .. }));
    done(&mut state, &set(first, 1, 2));
    done(&mut state, &set(first, 2, 2));

    let based_on = state.map().epoch;
    let assign = SystemCommand::Assign { shard: ShardId(1), based_on, replicas: vec![new_on(2)], target: None };
    done(&mut state, &assign);
    let mut descriptor = state.map().shards[&ShardId(1)].descriptor.clone();
    descriptor.generation = Generation(2);
    done(&mut state, &SystemCommand::Record(descriptor));
    done(&mut state, &set(based_on, 1, 3));

    let based_on = state.map().epoch;
    done(&mut state, &admin(AdminChange::AlterTable { table: table_id, replication_factor: 2 }));
    assert!(matches!(refused(&mut state, &set(based_on, 2, 3)), SystemRefusal::Stale { .. }));
    let based_on = state.map().epoch;
    done(&mut state, &admin(AdminChange::Drain(NodeId(1))));
    assert!(matches!(refused(&mut state, &set(based_on, 2, 3)), SystemRefusal::Stale { .. }));
}

#[test]
fn a_node_that_any_shard_names_is_not_removed() {
    let mut state = database(3);
    let table_id = created(&mut state, table("a", &["", "M"], &[2]));
    done(&mut state, &admin(AdminChange::SetTargets(vec![(ShardId(1), nodes(&[3]))])));
    (1..=3).for_each(|node| done(&mut state, &admin(AdminChange::Drain(NodeId(node)))));
    let in_use = |node, replicas, example| SystemRefusal::NodeInUse { node: NodeId(node), replicas, example };
    for (node, replicas, example) in [(1, 1, ShardId::SYSTEM), (2, 2, ShardId(1)), (3, 1, ShardId(1))] {
        let remove = removal(&state, node);
        assert_eq!(refused(&mut state, &remove), in_use(node, replicas, example));
    }
    done(&mut state, &admin(AdminChange::DropTable { table: table_id }));
    let remove = removal(&state, 2);
    done(&mut state, &remove);
    assert_eq!(state.map().nodes[&NodeId(2)].state, NodeState::Removed);
    done(&mut state, &remove);
    let reactivate = admin(AdminChange::Reactivate(NodeId(2)));
    assert_eq!(refused(&mut state, &reactivate), SystemRefusal::RemovedNode(NodeId(2)));
}

/// A node that drains and holds nothing, and the removal that its certificate allows.
fn certified() -> (SystemState, SystemCommand) {
    let mut state = database(3);
    done(&mut state, &admin(AdminChange::Drain(NodeId(2))));
    let removal = removal(&state, 2);
    (state, removal)
}

#[test]
fn only_a_node_that_drains_is_removed() {
    let mut state = database(3);
    let remove = removal(&state, 2);
    assert_eq!(refused(&mut state, &remove), SystemRefusal::NotDraining(NodeId(2)));
    let (mut state, remove) = certified();
    done(&mut state, &admin(AdminChange::Reactivate(NodeId(2))));
    assert_eq!(refused(&mut state, &remove), SystemRefusal::NotDraining(NodeId(2)));
}

#[test]
fn a_removal_without_the_epoch_of_a_certificate_is_refused() {
    let (mut state, _) = certified();
    let remove = admin(AdminChange::Remove(NodeId(2)));
    assert_eq!(refused(&mut state, &remove), SystemRefusal::Uncertified(NodeId(2)));
}

#[test]
fn a_certificate_does_not_outlive_another_start_or_drain_of_its_node() {
    let (mut state, remove) = certified();
    let (address, zone) = ("host-2:1".to_owned(), "zone-2".to_owned());
    done(&mut state, &SystemCommand::Start { node: NodeId(2), incarnation: Incarnation(7), address, zone });
    assert!(matches!(refused(&mut state, &remove), SystemRefusal::Stale { .. }));

    let (mut state, remove) = certified();
    done(&mut state, &admin(AdminChange::Reactivate(NodeId(2))));
    done(&mut state, &admin(AdminChange::Drain(NodeId(2))));
    assert!(matches!(refused(&mut state, &remove), SystemRefusal::Stale { .. }));

    let (mut state, remove) = certified();
    assert_eq!(state.apply(&SystemCommand::Join(volume(9))), Ok(SystemReply::Joined(NodeId(4))));
    done(&mut state, &remove);
}

#[cfg(feature = "planted")]
#[test]
fn bugs_of_removals_are_caught() {
    use crate::planted::{Planted, plant};
    let is_removed = |bug, mut state: SystemState, command: &SystemCommand| {
        plant(Some(bug));
        let reply = state.apply(command);
        plant(None);
        reply.is_ok()
    };
    let active = database(3);
    let remove = removal(&active, 2);
    assert!(is_removed(Planted::RemovedUndrained, active, &remove));
    let (mut state, remove) = certified();
    done(&mut state, &admin(AdminChange::Reactivate(NodeId(2))));
    done(&mut state, &admin(AdminChange::Drain(NodeId(2))));
    assert!(is_removed(Planted::OldCertificateTaken, state, &remove));
}

#[test]
fn assigning_gives_new_ids_and_keeps_only_copies_that_are_there() {
    let mut state = database(3);
    created(&mut state, table("a", &[""], &[1, 2]));
    let record = state.map().shards[&ShardId(1)].clone();
    let kept = record.assigned[0];
    let assign = |based_on, replicas| SystemCommand::Assign { shard: ShardId(1), based_on, replicas, target: None };
    let moved = Replica { node: NodeId(3), id: kept.id };
    assert!(matches!(
        refused(&mut state, &assign(record.epoch, vec![moved])),
        SystemRefusal::UnknownReplica { replica, .. } if replica == kept.id
    ));
    let wanted = assign(record.epoch, vec![kept, new_on(3)]);
    done(&mut state, &wanted);
    assert_eq!(state.map().shards[&ShardId(1)].assigned, [kept, Replica { node: NodeId(3), id: ReplicaId(4) }]);
    assert!(matches!(refused(&mut state, &wanted), SystemRefusal::Stale { .. }));
}

#[test]
fn a_draining_node_keeps_its_copies_and_gets_no_new_one() {
    let mut state = database(3);
    created(&mut state, table("a", &[""], &[1, 2]));
    done(&mut state, &admin(AdminChange::Drain(NodeId(2))));
    let record = state.map().shards[&ShardId(1)].clone();
    let assign = |replicas| SystemCommand::Assign { shard: ShardId(1), based_on: record.epoch, replicas, target: None };
    let renewed = assign(vec![record.assigned[0], new_on(2)]);
    assert_eq!(refused(&mut state, &renewed), SystemRefusal::DrainingNode(NodeId(2)));
    done(&mut state, &assign(vec![record.assigned[1], new_on(3)]));
}

#[test]
fn the_steward_sets_the_target_of_the_system_shard_only() {
    let mut state = database(3);
    created(&mut state, table("a", &[""], &[1]));
    let assign = |state: &SystemState, shard, target: &[u64]| SystemCommand::Assign {
        shard,
        based_on: state.map().shards[&shard].epoch,
        replicas: vec![state.map().shards[&shard].assigned[0], new_on(2), new_on(3)],
        target: Some(nodes(target)),
    };
    let other = assign(&state, ShardId(1), &[1, 2, 3]);
    assert_eq!(refused(&mut state, &other), SystemRefusal::TargetOwner { shard: ShardId(1) });
    let elsewhere = assign(&state, ShardId::SYSTEM, &[1, 2]);
    assert_eq!(refused(&mut state, &elsewhere), SystemRefusal::Target { shard: ShardId::SYSTEM });
    let own = assign(&state, ShardId::SYSTEM, &[1, 2, 3]);
    done(&mut state, &own);
    assert_eq!(state.map().shards[&ShardId::SYSTEM].target, nodes(&[1, 2, 3]));
}

#[test]
fn only_a_newer_descriptor_of_the_same_bounds_is_recorded() {
    let mut state = database(2);
    created(&mut state, table("a", &[""], &[1]));
    let known = state.map().shards[&ShardId(1)].descriptor.clone();
    let epoch = state.map().epoch;
    done(&mut state, &SystemCommand::Record(known.clone()));
    assert_eq!(state.map().epoch, epoch);
    let mut newer = known.clone();
    newer.generation = Generation(5);
    newer.members.push(Member { replica: Replica { node: NodeId(2), id: ReplicaId(9) }, role: Role::Learner });
    done(&mut state, &SystemCommand::Record(newer.clone()));
    done(&mut state, &SystemCommand::Record(known.clone()));
    assert_eq!(state.map().shards[&ShardId(1)].descriptor, newer);
    newer.end = Some(Bytes::from_static(b"x"));
    newer.generation = Generation(6);
    assert_eq!(refused(&mut state, &SystemCommand::Record(newer)), SystemRefusal::Bounds(ShardId(1)));
}

#[test]
fn limits_of_moves_have_a_floor() {
    let mut state = database(1);
    let set = |moves_per_node, bytes_per_second| {
        admin(AdminChange::SetLimits(MoveLimits { moves_per_node, bytes_per_second }))
    };
    assert_eq!(refused(&mut state, &set(0, 1 << 20)), SystemRefusal::Limits);
    assert_eq!(refused(&mut state, &set(1, (64 << 10) - 1)), SystemRefusal::Limits);
    done(&mut state, &set(1, 64 << 10));
    assert_eq!(state.map().limits.1, state.map().epoch);
}

#[test]
fn damaged_records_are_refused_with_their_key() {
    let mut state = database(1);
    let mut stored = Stored::default();
    stored.take(&mut state);
    let load = |edit: &dyn Fn(&mut BTreeMap<Bytes, Bytes>)| {
        let mut records = stored.0.clone();
        edit(&mut records);
        SystemState::load(records.iter().map(|(k, v)| (&k[..], &v[..])))
    };
    assert_eq!(load(&|_| ()).unwrap(), state);
    let head = Bytes::from_static(b"h");
    assert_eq!(load(&|r| drop(r.remove(&head))).unwrap_err(), LoadError::NoHead);
    let future = load(&|r| drop(r.insert(head.clone(), Bytes::from_static(&[2])))).unwrap_err();
    assert_eq!(future, LoadError::Format { key: b"h".to_vec(), format: Some(2) });
    let torn = load(&|r| drop(r.insert(head.clone(), Bytes::from_static(&[1, 9])))).unwrap_err();
    assert!(matches!(torn, LoadError::Value { .. }));
    let long = load(&|r| drop(r.insert(head.clone(), [&r[&head][..], b"x"].concat().into()))).unwrap_err();
    assert!(matches!(long, LoadError::Trailing { bytes: 1, .. }));
    let foreign = load(&|r| drop(r.insert(Bytes::from_static(b"n1"), Bytes::new()))).unwrap_err();
    assert_eq!(foreign, LoadError::Key(b"n1".to_vec()));
    assert_eq!(state.map().epoch, Epoch(1));
}

#[test]
fn a_target_is_neither_empty_nor_too_large_and_names_no_node_twice() {
    let max = crate::limits::REPLICATION_FACTOR_MAX as u64;
    let check = |nodes: &[NodeId]| SystemState::distinct(ShardId(1), nodes);
    for right in [nodes(&[1]), nodes(&[3, 1, 2]), (1..=max).map(NodeId).collect()] {
        assert_eq!(check(&right), Ok(()));
    }
    for wrong in [nodes(&[]), (1..=max + 1).map(NodeId).collect(), nodes(&[1, 2, 1]), nodes(&[2, 2])] {
        assert_eq!(check(&wrong), Err(SystemRefusal::Target { shard: ShardId(1) }));
    }
}

#[test]
fn a_key_that_no_record_has_is_refused_and_not_taken_for_another() {
    let mut state = database(2);
    let mut stored = Stored::default();
    stored.take(&mut state);
    assert_eq!(stored.load(), state);
    let head = stored.0.remove(&b"h"[..]).expect("it has a head");
    for wrong in [&b"hx"[..], b"x", b"n", b"n1234567", b"t12345678", b""] {
        let records = stored.0.iter().map(|(k, v)| (&k[..], &v[..]));
        let loaded = SystemState::load(records.chain([(wrong, &head[..])]));
        assert_eq!(loaded.err(), Some(LoadError::Key(wrong.to_vec())));
    }
}

#[test]
fn no_id_that_a_lost_majority_may_have_given_is_given_again() {
    let mut state = database(2);
    let before = state.map().clone();
    let from = Replica { node: NodeId(1), id: ReplicaId(1) };
    let generation = Generation(1);
    let recovery = Recovery { from, last: (5, 2), generation, given_up: Vec::new(), at_ms: 0 };
    state.recover_itself(&recovery, FormatLevel::FIRST);
    let map = state.map().clone();
    assert!(map.epoch > before.epoch && map.nodes.values().all(|node| node.epoch == map.epoch));
    let Ok(SystemReply::Joined(node)) = state.apply(&SystemCommand::Join(volume(9))) else { panic!("it may join") };
    assert_eq!(node, NodeId(3 + (1 << 10)));
    let table = created(&mut state, table("customers", &[""], &[1]));
    assert!(table.0 > 1 << 10);
    let made = state.map().live_shards().next().expect("it has a shard");
    assert!(made.descriptor.shard.0 > 1 << 16 && made.assigned.iter().all(|copy| copy.id.0 > 1 << 20));
}

/// It may have been assigned in an entry that was not committed, and the lost majority have given its id to another copy.
#[test]
fn a_copy_that_may_not_have_been_given_gets_another_id_after_a_recovery() {
    let recovered = || {
        let mut state = database(3);
        created(&mut state, table("customers", &[""], &[1, 2]));
        let record = state.map().live_shards().next().expect("it has a shard").clone();
        let new = Replica { node: NodeId(3), id: ReplicaId::NEW };
        let (shard, replicas) = (record.descriptor.shard, vec![record.assigned[0], new]);
        let assign = SystemCommand::Assign { shard, based_on: record.epoch, replicas, target: None };
        state.apply(&assign).expect("it may be assigned");
        let before = state.map().shards[&shard].assigned.clone();
        let from = Replica { node: NodeId(1), id: ReplicaId(1) };
        let recovery = Recovery { from, last: (5, 2), generation: Generation(1), given_up: Vec::new(), at_ms: 0 };
        state.recover_itself(&recovery, FormatLevel::FIRST);
        (before, state.map().shards[&shard].assigned.clone())
    };
    let (before, after) = recovered();
    assert_eq!((after[0], after[1].node), (before[0], before[1].node), "a member stays what it is");
    assert!(after[1].id.0 > before[1].id.0 + (1 << 20));
    crate::planted::plant(Some(crate::planted::Planted::AssignedIdKept));
    let (before, after) = recovered();
    crate::planted::plant(None);
    assert_eq!(before, after, "the bug is noticed");
}

/// By the majority that is lost, and by the one that went on without knowing of that.
#[test]
fn two_recoveries_of_a_shard_have_an_order_though_the_first_is_forgotten() {
    let is_in_order = || {
        let mut state = database(3);
        created(&mut state, table("customers", &[""], &[1, 2, 3]));
        let recover = |state: &mut SystemState, copy: usize| {
            let record = state.map().live_shards().next().expect("it has a shard").clone();
            let (shard, from, generation) =
                (record.descriptor.shard, record.assigned[copy], record.descriptor.generation);
            let recovery = Recovery { from, last: (5, 2), generation, given_up: Vec::new(), at_ms: 0 };
            let command = SystemCommand::Recover { shard, based_on: record.epoch, recovery };
            state.apply(&command).expect("it may be recovered");
            state.map().shards[&shard].descriptor.generation
        };
        let mut forgotten = state.clone();
        let firsts = [recover(&mut forgotten, 0), recover(&mut forgotten, 0), recover(&mut forgotten, 0)];
        assert_eq!(firsts.map(|first| first.recoveries()), [1, 2, 3]);
        let from = Replica { node: NodeId(1), id: ReplicaId(1) };
        let recovery = Recovery { from, last: (5, 2), generation: Generation(1), given_up: Vec::new(), at_ms: 0 };
        state.recover_itself(&recovery, FormatLevel::FIRST);
        let second = recover(&mut state, 1);
        // Members have changed since the first ones.
        firsts.into_iter().all(|first| second.0 > first.0 + 1_000) && recover(&mut state, 0) > second
    };
    assert!(is_in_order());
    crate::planted::plant(Some(crate::planted::Planted::RecoveredAtOneGeneration));
    let is_so = is_in_order();
    crate::planted::plant(None);
    assert!(!is_so, "the bug is noticed");
}
