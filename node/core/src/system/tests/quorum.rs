//! Quorum tables: what they may be, and the steps by which their shards' copies change.

use super::*;
use crate::ids::{Generation, ReplicaId, ShardId};
use crate::map::{Consistency, GENERATION_JUMP_MAX, Replica, Role, ShardRecord};
use crate::quorum::copies::Copies;
use crate::quorum::layout::{Layout, Stage};
use crate::system::{QuorumRecovery, Recovery, StepKind, StepRefusal};

const SHARD: ShardId = ShardId(1);
const MAJORITIES: (u32, u32) = (2, 2);

fn alter(table: TableId, replication_factor: u32, write: u32, read: u32) -> SystemCommand {
    let (quorums, resolve) = (Quorums { write, read }, Resolve::Siblings);
    admin(AdminChange::AlterQuorumTable { table, replication_factor, quorums, resolve })
}

/// Five nodes, and a table with one shard on the first three.
fn with_table() -> (SystemState, TableId) {
    let mut state = quorum_database(5);
    let table = created(&mut state, quorum_table("carts", &[""], &[1, 2, 3], MAJORITIES));
    (state, table)
}

fn record(state: &SystemState) -> &ShardRecord {
    &state.map().shards[&SHARD]
}

fn step(state: &SystemState, step: StepKind) -> SystemCommand {
    SystemCommand::Step { shard: SHARD, based_on: record(state).descriptor.generation, step }
}

fn take(state: &mut SystemState, kind: StepKind) {
    let command = step(state, kind);
    let before = record(state).descriptor.generation;
    done(state, &command);
    assert_eq!(record(state).descriptor.generation, Generation(before.0 + 1));
    assert_eq!(record(state).epoch, state.map().epoch);
}

/// Assigns the copies of these nodes: those that are there, and new ones.
fn assign(state: &mut SystemState, nodes: &[u64]) {
    let there: Vec<Replica> = record(state).descriptor.members.iter().map(|m| m.replica).collect();
    let id = |node| there.iter().find(|r| r.node == node).map_or(ReplicaId::NEW, |r| r.id);
    let replicas = nodes.iter().map(|n| Replica { node: NodeId(*n), id: id(NodeId(*n)) }).collect();
    let based_on = record(state).epoch;
    done(state, &SystemCommand::Assign { shard: SHARD, based_on, replicas, target: None });
}

fn roles(state: &SystemState) -> Vec<(u64, Role)> {
    record(state).descriptor.members.iter().map(|m| (m.replica.node.0, m.role)).collect()
}

fn stage(state: &SystemState) -> Option<Stage> {
    record(state).quorum.expect("a quorum shard").change.map(|change| change.stage)
}

#[test]
fn a_quorum_table_needs_its_format_level() {
    let mut state = database(3);
    let create = admin(quorum_table("carts", &[""], &[1, 2, 3], MAJORITIES));
    let (needed, enabled) = (FormatLevel::QUORUM, FormatLevel::FIRST);
    assert_eq!(refused(&mut state, &create), SystemRefusal::NotEnabled { needed, enabled });
    let based_on = state.map().epoch;
    done(&mut state, &SystemCommand::EnableLevel { level: FormatLevel(2), based_on });
    let enabled = FormatLevel(2);
    for command in [&create, &alter(TableId(1), 3, 2, 2), &step_of(SHARD)] {
        assert_eq!(command.level(), FormatLevel::QUORUM);
        assert_eq!(refused(&mut state, command), SystemRefusal::NotEnabled { needed, enabled });
    }
    let based_on = state.map().epoch;
    done(&mut state, &SystemCommand::EnableLevel { level: FormatLevel::QUORUM, based_on });
    assert!(state.apply(&create).is_ok());
}

fn step_of(shard: ShardId) -> SystemCommand {
    SystemCommand::Step { shard, based_on: Generation(1), step: StepKind::Begin }
}

#[test]
fn a_quorum_table_is_made_once_with_its_first_layouts() {
    let (mut state, table) = with_table();
    let consistency = Consistency::Quorum { write: 2, read: 2, resolve: Resolve::LastWriterWins };
    assert_eq!(state.map().tables[&table].consistency, consistency);
    assert!(record(&state).is_settled());
    let layout = record(&state).layout().expect("a quorum shard");
    assert_eq!((layout.current.members.len(), layout.current.write, layout.current.read), (3, 2, 2));
    let epoch = state.map().epoch;
    let again = created(&mut state, quorum_table("carts", &[""], &[1, 2, 3], MAJORITIES));
    assert_eq!((again, state.map().epoch), (table, epoch));
    for other in [quorum_table("carts", &[""], &[1, 2, 3], (3, 1)), super::table("carts", &[""], &[1, 2, 3])] {
        assert_eq!(refused(&mut state, &admin(other)), SystemRefusal::TableExists("carts".into()));
    }
}

#[test]
fn w_and_r_fit_the_replication_factor_when_a_table_is_made_and_when_it_is_altered() {
    let (mut state, table) = with_table();
    for (write, read) in [(0, 2), (2, 0), (4, 2), (2, 4)] {
        let refusal = SystemRefusal::Quorums { write, read, replication_factor: 3 };
        let create = admin(quorum_table("other", &[""], &[1, 2, 3], (write, read)));
        assert_eq!(refused(&mut state, &create), refusal);
        assert_eq!(refused(&mut state, &alter(table, 3, write, read)), refusal);
    }
    assert!(matches!(refused(&mut state, &alter(table, 9, 2, 2)), SystemRefusal::ReplicationFactor { .. }));
    let refusal = SystemRefusal::Quorums { write: 2, read: 2, replication_factor: 1 };
    assert_eq!(refused(&mut state, &alter(table, 1, 2, 2)), refusal, "of the factor that is to be");
    done(&mut state, &alter(table, 5, 4, 1));
    let record = &state.map().tables[&table];
    let consistency = Consistency::Quorum { write: 4, read: 1, resolve: Resolve::Siblings };
    assert_eq!((record.replication_factor, record.consistency), (5, consistency));
    let epoch = state.map().epoch;
    done(&mut state, &alter(table, 5, 4, 1));
    assert_eq!(state.map().epoch, epoch, "the same again is no change");
}

#[test]
fn a_table_keeps_the_way_in_which_its_copies_agree() {
    let (mut state, quorum) = with_table();
    let led = created(&mut state, table("accounts", &[""], &[1, 2, 3]));
    assert_eq!(refused(&mut state, &alter(led, 3, 2, 2)), SystemRefusal::Consistency(led));
    let factor = admin(AdminChange::AlterTable { table: quorum, replication_factor: 5 });
    assert_eq!(refused(&mut state, &factor), SystemRefusal::Consistency(quorum));
    assert_eq!(refused(&mut state, &alter(TableId::SYSTEM, 3, 2, 2)), SystemRefusal::SystemTable);
    assert_eq!(refused(&mut state, &alter(TableId(9), 3, 2, 2)), SystemRefusal::UnknownTable(TableId(9)));
    let of_leader = SystemCommand::Step { shard: ShardId(2), based_on: Generation(1), step: StepKind::Begin };
    assert_eq!(refused(&mut state, &of_leader), SystemRefusal::Step { shard: ShardId(2), why: StepRefusal::Leader });
    let newer = crate::map::Descriptor { generation: Generation(7), ..record(&state).descriptor.clone() };
    assert_eq!(refused(&mut state, &SystemCommand::Record(newer)), SystemRefusal::QuorumShard(SHARD));
    let from = record(&state).assigned[0];
    let recovery = Recovery { from, last: (1, 1), generation: Generation(1), given_up: Vec::new(), at_ms: 0 };
    let recover = SystemCommand::Recover { shard: SHARD, based_on: state.map().epoch, recovery };
    assert_eq!(refused(&mut state, &recover), SystemRefusal::QuorumShard(SHARD));
}

#[test]
fn a_move_goes_through_its_stages_with_members_and_roles_in_the_descriptor() {
    let (mut state, _) = with_table();
    assign(&mut state, &[1, 2, 4]);
    assert!(!record(&state).assigned_reached());
    take(&mut state, StepKind::Begin);
    let moving = [(1, Role::Voter), (2, Role::Voter), (3, Role::Outgoing), (4, Role::Incoming)];
    for (kind, reached) in [(StepKind::ReadNew, Stage::WriteBoth), (StepKind::NewOnly, Stage::ReadNew)] {
        assert_eq!((roles(&state), stage(&state)), (moving.to_vec(), Some(reached)));
        take(&mut state, kind);
    }
    assert_eq!((roles(&state), stage(&state)), (moving.to_vec(), Some(Stage::NewOnly)));
    take(&mut state, StepKind::Settle);
    assert_eq!(roles(&state), [1, 2, 4].map(|node| (node, Role::Voter)));
    assert!(record(&state).assigned_reached() && stage(&state).is_none());
}

#[test]
fn a_step_is_taken_at_the_very_generation_that_it_was_decided_on() {
    let (mut state, _) = with_table();
    assign(&mut state, &[1, 2, 4]);
    let begin = step(&state, StepKind::Begin);
    done(&mut state, &begin);
    let other = |based_on, generation| SystemRefusal::OtherGeneration {
        shard: SHARD,
        based_on: Generation(based_on),
        generation: Generation(generation),
    };
    assert_eq!(refused(&mut state, &begin), other(1, 2), "it is not taken twice");
    let early = SystemCommand::Step { shard: SHARD, based_on: Generation(3), step: StepKind::ReadNew };
    assert_eq!(refused(&mut state, &early), other(3, 2));
}

#[test]
fn a_step_that_leads_nowhere_is_refused_with_the_reason() {
    let (mut state, table) = with_table();
    let why = |state: &mut SystemState, kind| {
        let command = step(state, kind);
        let refused = refused(state, &command);
        let SystemRefusal::Step { why, .. } = refused else { panic!("{refused:?}") };
        why
    };
    assert_eq!(why(&mut state, StepKind::Begin), StepRefusal::Unchanged);
    for kind in [StepKind::ReadNew, StepKind::NewOnly, StepKind::Settle, StepKind::Back] {
        assert_eq!(why(&mut state, kind), StepRefusal::Stage);
    }
    done(&mut state, &alter(table, 3, 3, 1));
    take(&mut state, StepKind::Begin);
    assert_eq!(why(&mut state, StepKind::Begin), StepRefusal::Stage);
    done(&mut state, &admin(AdminChange::DropTable { table }));
    let dropped = step(&state, StepKind::ReadNew);
    assert_eq!(refused(&mut state, &dropped), SystemRefusal::UnknownTable(table));
}

#[test]
fn the_id_of_a_copy_that_was_given_up_never_comes_back() {
    let (mut state, _) = with_table();
    let old = record(&state).assigned.clone();
    assign(&mut state, &[1, 2, 4]);
    take(&mut state, StepKind::Begin);
    let came = record(&state).assigned[2];
    take(&mut state, StepKind::Back);
    assert_eq!(record(&state).descriptor.members.len(), 3, "the old copies alone");
    let again = record(&state).assigned[2];
    assert!(again.node == came.node && again.id > came.id, "what was begun on the node is wiped");
    take(&mut state, StepKind::Begin);
    for kind in [StepKind::ReadNew, StepKind::NewOnly] {
        take(&mut state, kind);
    }
    // Turned round too late: the copy on node 3 leaves, and another one comes in its place.
    assign(&mut state, &[1, 2, 3]);
    assert_eq!(record(&state).assigned[2].id, old[2].id);
    take(&mut state, StepKind::Settle);
    assert!(record(&state).assigned[2].id > again.id);
}

#[test]
fn another_w_is_a_change_of_the_same_copies_and_another_factor_waits_for_its_copies() {
    let (mut state, table) = with_table();
    done(&mut state, &alter(table, 3, 3, 1));
    take(&mut state, StepKind::Begin);
    assert!(record(&state).has_assigned() && !record(&state).is_settled());
    for kind in [StepKind::ReadNew, StepKind::NewOnly, StepKind::Settle] {
        take(&mut state, kind);
    }
    let layout = record(&state).layout().expect("a quorum shard");
    assert_eq!((layout.current.write, layout.current.read), (3, 1));
    done(&mut state, &alter(table, 5, 3, 3));
    let begin = step(&state, StepKind::Begin);
    let unchanged = SystemRefusal::Step { shard: SHARD, why: StepRefusal::Unchanged };
    assert_eq!(refused(&mut state, &begin), unchanged);
    assign(&mut state, &[1, 2, 3, 4, 5]);
    take(&mut state, StepKind::Begin);
    let next = record(&state).layout().and_then(|layout| layout.change).expect("a change").next;
    assert_eq!((next.members.len(), next.write, next.read), (5, 3, 3));
}

#[test]
fn another_rule_for_what_is_written_at_once_is_a_step_of_its_own() {
    let (mut state, table) = with_table();
    assert_eq!(record(&state).layout().map(|layout| layout.resolve), Some(Resolve::LastWriterWins));
    let resolve = step(&state, StepKind::Resolve);
    let unchanged = SystemRefusal::Step { shard: SHARD, why: StepRefusal::Unchanged };
    assert_eq!(refused(&mut state, &resolve), unchanged);
    done(&mut state, &alter(table, 3, 2, 2));
    assert_eq!(record(&state).layout().map(|layout| layout.resolve), Some(Resolve::LastWriterWins), "not yet");
    assert!(!record(&state).is_as_wanted(&state.map().tables[&table]));
    take(&mut state, StepKind::Resolve);
    assert_eq!(record(&state).layout().map(|layout| layout.resolve), Some(Resolve::Siblings));
    assert!(record(&state).is_as_wanted(&state.map().tables[&table]));
}

/// The state after a recovery of the system shard from this one.
fn recovered(mut state: SystemState) -> SystemState {
    let from = Replica { node: NodeId(1), id: ReplicaId(1) };
    let recovery = Recovery { from, last: (5, 2), generation: Generation(1), given_up: Vec::new(), at_ms: 0 };
    state.recover_itself(&recovery, FormatLevel::QUORUM);
    state
}

fn go_on(state: &SystemState, layout: Layout, given_up: Vec<Replica>) -> SystemCommand {
    let recovery = QuorumRecovery { layout, given_up, begins_anew: false, at_ms: 7 };
    SystemCommand::RecoverQuorum { shard: SHARD, based_on: record(state).epoch, recovery }
}

/// A lost majority of the system shard may have taken steps that are not known here.
#[test]
fn no_generation_that_a_lost_majority_may_have_given_is_given_again() {
    let (state, _) = with_table();
    let mut later = state.clone();
    assign(&mut later, &[1, 2, 4]);
    take(&mut later, StepKind::Begin);
    let held = record(&later).layout().expect("a quorum shard");
    let mut state = recovered(state);
    let kept = (record(&state).descriptor.clone(), record(&state).is_unsure());
    assert_eq!(kept, (record(&with_table().0).descriptor.clone(), true), "nothing is known but that it is as it was");
    assign(&mut state, &[1, 2, 5]);
    let unsure = SystemRefusal::Step { shard: SHARD, why: StepRefusal::Unsure };
    let begin = step(&state, StepKind::Begin);
    assert_eq!(refused(&mut state, &begin), unsure);
    let command = go_on(&state, held.clone(), Vec::new());
    done(&mut state, &command);
    assert_eq!(record(&state).layout(), Some(Layout { generation: Generation(1 << 32), ..held.clone() }));
    assert!(!record(&state).is_unsure() && !state.map().recoveries.contains_key(&SHARD));
    assert!(record(&state).assigned.iter().map(|copy| copy.id).eq(held.last().members.iter().copied()));
    assert!(matches!(refused(&mut state, &command), SystemRefusal::Stale { .. }));
    take(&mut state, StepKind::ReadNew);
    assert_eq!(state.map().epoch.recoveries(), 1);
    assert!(record(&recovered(state)).is_unsure(), "and once more with the next one");
}

#[test]
fn a_shard_goes_on_above_what_copies_hold_from_a_recovery_that_is_not_known_here() {
    let (state, _) = with_table();
    let mut state = recovered(state);
    let held = Layout { generation: Generation((1 << 32) + 7), ..record(&state).layout().expect("a quorum shard") };
    let command = go_on(&state, held.clone(), Vec::new());
    done(&mut state, &command);
    assert_eq!(record(&state).layout(), Some(Layout { generation: Generation(2 << 32), ..held }));
}

#[test]
fn a_shard_of_which_nothing_was_made_begins_with_other_copies_on_the_same_nodes() {
    let (state, _) = with_table();
    let begin = |state: &SystemState, given_up: Vec<Replica>| {
        let layout = record(state).layout().expect("a quorum shard");
        let recovery = QuorumRecovery { layout, given_up, begins_anew: true, at_ms: 0 };
        SystemCommand::RecoverQuorum { shard: SHARD, based_on: record(state).epoch, recovery }
    };
    let refusal = SystemRefusal::Step { shard: SHARD, why: StepRefusal::Layout };
    let command = begin(&state, Vec::new());
    assert_eq!(refused(&mut state.clone(), &command), refusal, "it is known what its copies hold");
    let mut state = recovered(state);
    let before = record(&state).clone();
    let command = begin(&state, before.assigned.clone());
    let nothing = SystemRefusal::Step { shard: SHARD, why: StepRefusal::NothingLeft };
    assert_eq!(refused(&mut state.clone(), &command), nothing, "somebody has to go on");
    // One of them may have been made, on a node that is gone for good.
    let (mut without, command) = (state.clone(), begin(&state, vec![before.assigned[0]]));
    done(&mut without, &command);
    let given_up = &without.map().recoveries[&SHARD].given_up;
    assert_eq!(given_up[..], record(&without).assigned[..1], "what is to be in its place is given up as well");
    assert!(!record(&without).is_unsure() && given_up[0].id > before.assigned[2].id);
    let command = begin(&state, Vec::new());
    done(&mut state, &command);
    let after = record(&state);
    assert_eq!((after.descriptor.generation, after.is_unsure()), (Generation(1), false));
    let nodes = |record: &ShardRecord| record.assigned.iter().map(|copy| copy.node).collect::<Vec<_>>();
    assert!(nodes(after) == nodes(&before) && after.is_settled());
    assert!(after.assigned.iter().all(|copy| before.assigned.iter().all(|old| copy.id > old.id)));
    let mut changed = recovered(with_table().0);
    assign(&mut changed, &[1, 2, 4]);
    let moved = Layout { generation: Generation(5), ..record(&changed).layout().expect("a quorum shard") };
    let command = go_on(&changed, moved, Vec::new());
    done(&mut changed, &command);
    let mut changed = recovered(changed);
    let command = begin(&changed, Vec::new());
    assert_eq!(refused(&mut changed, &command), refusal, "it has gone on since");
}

/// Writes have left the old copies out, and all the new ones are lost.
#[test]
fn a_shard_that_goes_back_from_its_last_stage_keeps_its_copies_where_others_were_to_come() {
    let (mut state, _) = with_table();
    let old = record(&state).assigned.clone();
    assign(&mut state, &[4, 5]);
    for kind in [StepKind::Begin, StepKind::ReadNew, StepKind::NewOnly] {
        take(&mut state, kind);
    }
    let replicas = [3, 2, 4].map(|node| Replica { node: NodeId(node), id: ReplicaId::NEW }).to_vec();
    let based_on = record(&state).epoch;
    done(&mut state, &SystemCommand::Assign { shard: SHARD, based_on, replicas, target: None });
    take(&mut state, StepKind::Back);
    assert_eq!((roles(&state), stage(&state)), ([1, 2, 3].map(|node| (node, Role::Voter)).to_vec(), None));
    let assigned = &record(&state).assigned;
    assert_eq!(assigned[..2], [old[2], old[1]]);
    assert!(assigned[2].node == NodeId(4) && !old.contains(&assigned[2]));
}

#[test]
fn a_layout_that_no_copy_can_hold_is_not_gone_on_with() {
    let (state, _) = with_table();
    let mut state = recovered(state);
    let held = record(&state).layout().expect("a quorum shard");
    let wrong: [fn(Layout) -> Layout; 5] = [
        |layout| Layout { generation: Generation(GENERATION_JUMP_MAX + 2), ..layout },
        |layout| Layout { generation: Generation(0), ..layout },
        |layout| Layout { homes: layout.homes.into_iter().skip(1).collect(), ..layout },
        |layout| Layout { current: Copies { write: 4, ..layout.current }, ..layout },
        |layout| {
            let (mut members, mut homes) = (layout.current.members.clone(), layout.homes);
            members.push(ReplicaId(u64::MAX));
            homes.insert(ReplicaId(u64::MAX), NodeId(4));
            Layout { current: Copies { members, ..layout.current }, homes, ..layout }
        },
    ];
    for change in wrong {
        let command = go_on(&state, change(held.clone()), Vec::new());
        let refusal = SystemRefusal::Step { shard: SHARD, why: StepRefusal::Layout };
        assert_eq!(refused(&mut state, &command), refusal);
    }
    let command = go_on(&state, held, Vec::new());
    done(&mut state, &command);
}

#[test]
fn copies_that_are_given_up_stay_noted_while_the_shard_names_them_and_one_is_always_left() {
    let (mut state, _) = with_table();
    let layout = record(&state).layout().expect("a quorum shard");
    let copies = record(&state).assigned.clone();
    let give_up = |state: &SystemState, copy: usize| go_on(state, layout.clone(), vec![copies[copy]]);
    for copy in [2, 1] {
        let before = record(&state).clone();
        let command = give_up(&state, copy);
        done(&mut state, &command);
        assert_eq!(*record(&state), ShardRecord { epoch: state.map().epoch, ..before }, "it is as it was");
        assert_eq!(state.map().recoveries[&SHARD].given_up, copies[copy..]);
    }
    let last = give_up(&state, 0);
    assert_eq!(refused(&mut state, &last), SystemRefusal::Step { shard: SHARD, why: StepRefusal::NothingLeft });
    let records = state.take_changes();
    let loaded = SystemState::load(records.iter().map(|(key, value)| (&key[..], &value[..]))).unwrap();
    assert_eq!(loaded.map().recoveries, state.map().recoveries);
    let led = created(&mut state, table("accounts", &[""], &[1, 2, 3]));
    let shard = state.map().shards_of(led).next().expect("one").descriptor.shard;
    let recovery = QuorumRecovery { layout, given_up: Vec::new(), begins_anew: false, at_ms: 0 };
    let of_leader = SystemCommand::RecoverQuorum { shard, based_on: state.map().epoch, recovery };
    assert_eq!(refused(&mut state, &of_leader), SystemRefusal::Step { shard, why: StepRefusal::Leader });
}

#[cfg(feature = "planted")]
#[test]
fn bugs_of_quorum_tables_are_noticed() {
    use crate::planted::{Planted, plant};
    let is_taken = |bug, mut state: SystemState, command: &SystemCommand| {
        plant(Some(bug));
        let reply = state.apply(command);
        plant(None);
        reply.is_ok()
    };
    let create = admin(quorum_table("carts", &[""], &[1, 2, 3], MAJORITIES));
    assert!(is_taken(Planted::LevelNotAwaited, database(3), &create));
    let (mut state, _) = with_table();
    assign(&mut state, &[1, 2, 4]);
    let begin = step(&state, StepKind::Begin);
    done(&mut state, &begin);
    let stale = SystemCommand::Step { shard: SHARD, based_on: Generation(1), step: StepKind::Back };
    assert!(is_taken(Planted::StepGenerationIgnored, state, &stale));
    plant(Some(Planted::GenerationGivenTwice));
    let caught = std::panic::catch_unwind(no_generation_that_a_lost_majority_may_have_given_is_given_again).is_err();
    plant(None);
    assert!(caught);
}
