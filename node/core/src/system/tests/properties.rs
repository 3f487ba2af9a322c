//! Properties over random sequences of commands.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::ids::{Epoch, Generation, Incarnation, ReplicaId, ShardId};
use crate::map::{Map, Member, MoveLimits, Replica, Role, check_quorum};
use crate::system::StepKind;

/// A command in terms of what there may be, so that most are carried out; resolved against the state when its turn comes.
#[derive(Debug, Clone)]
enum Draft {
    Plain(SystemCommand),
    Assign { shard: u64, age: u64, nodes: Vec<u64>, renew: bool },
    Record { shard: u64, ahead: u64, assigned: bool },
    Remove { node: u64, age: u64 },
    Step { shard: u64, behind: u64, step: StepKind },
}

impl Draft {
    fn resolve(self, map: &Map) -> SystemCommand {
        match self {
            Self::Plain(command) => command,
            Self::Assign { shard, age, nodes, renew } => {
                let record = map.shards.get(&ShardId(shard)).cloned().unwrap_or_default();
                let members = record.descriptor.members.iter().map(|m| m.replica);
                let there: Vec<Replica> = record.assigned.iter().copied().chain(members).collect();
                let on = |node| there.iter().find(|r| r.node == node).filter(|_| !renew).map(|r| r.id);
                let copy = |n| Replica { node: NodeId(n), id: on(NodeId(n)).unwrap_or(ReplicaId::NEW) };
                let replicas: Vec<Replica> = nodes.iter().map(|&n| copy(n)).collect();
                let target = (shard == 0).then(|| replicas.iter().map(|r| r.node).collect());
                let based_on = Epoch(record.epoch.0.saturating_sub(age));
                SystemCommand::Assign { shard: ShardId(shard), based_on, replicas, target }
            }
            Self::Step { shard, behind, step } => {
                let record = map.shards.get(&ShardId(shard)).cloned().unwrap_or_default();
                let based_on = Generation(record.descriptor.generation.0.saturating_sub(behind));
                SystemCommand::Step { shard: ShardId(shard), based_on, step }
            }
            Self::Remove { node, age } => {
                let fence = Fence { token: 11, based_on: Some(Epoch(map.epoch.0.saturating_sub(age))) };
                SystemCommand::Admin { fence, change: AdminChange::Remove(NodeId(node)) }
            }
            Self::Record { shard, ahead, assigned } => {
                let record = map.shards.get(&ShardId(shard)).cloned().unwrap_or_default();
                let mut descriptor = record.descriptor;
                descriptor.shard = ShardId(shard);
                descriptor.generation = Generation((descriptor.generation.0 + ahead).saturating_sub(1));
                if assigned {
                    let voter = |&replica| Member { replica, role: Role::Voter };
                    descriptor.members = record.assigned.iter().map(voter).collect();
                }
                SystemCommand::Record(descriptor)
            }
        }
    }
}

fn change() -> impl Strategy<Value = AdminChange> {
    let nodes = || vec(1..6_u64, 1..4);
    let starts = || prop::sample::subsequence(vec!["", "D", "M", "T"], 1..=4);
    let quorums = || (0..4_u32, 1..4_u32);
    prop_oneof![
        4 => ("[ab]", starts(), nodes()).prop_map(|(name, starts, nodes)| table(&name, &starts, &nodes)),
        4 => ("[cd]", starts(), nodes(), quorums())
            .prop_map(|(name, starts, nodes, quorums)| quorum_table(&name, &starts, &nodes, quorums)),
        3 => (0..4_u32, 0..4_u32, quorums()).prop_map(|(t, replication_factor, (write, read))| {
            let (quorums, resolve) = (Quorums { write, read }, Resolve::Siblings);
            AdminChange::AlterQuorumTable { table: TableId(t), replication_factor, quorums, resolve }
        }),
        1 => (0..4_u32, 0..4_u32)
            .prop_map(|(t, replication_factor)| AdminChange::AlterTable { table: TableId(t), replication_factor }),
        1 => (0..4_u32).prop_map(|t| AdminChange::DropTable { table: TableId(t) }),
        4 => vec((0..6_u64, nodes()), 1..3).prop_map(|targets| {
            let targets = targets.into_iter();
            let ids = |nodes: Vec<u64>| nodes.into_iter().map(NodeId).collect();
            AdminChange::SetTargets(targets.map(|(shard, nodes)| (ShardId(shard), ids(nodes))).collect())
        }),
        1 => (1..6_u64).prop_map(|n| AdminChange::Drain(NodeId(n))),
        1 => (1..6_u64).prop_map(|n| AdminChange::Reactivate(NodeId(n))),
        1 => (1..6_u64).prop_map(|n| AdminChange::Remove(NodeId(n))),
        1 => (0..3_u32).prop_map(|moves_per_node| {
            AdminChange::SetLimits(MoveLimits { moves_per_node, bytes_per_second: 1 << 20 })
        }),
    ]
}

fn step() -> impl Strategy<Value = StepKind> {
    use StepKind::{Back, Begin, NewOnly, ReadNew, Settle};
    prop_oneof![4 => Just(Begin), 2 => Just(ReadNew), 2 => Just(NewOnly), 2 => Just(Settle), 1 => Just(Back)]
}

fn draft() -> impl Strategy<Value = Draft> {
    let plain = |command: BoxedStrategy<SystemCommand>| command.prop_map(Draft::Plain);
    let join = (1..7_u64).prop_map(|n| SystemCommand::Join(volume(n)));
    let start = (1..7_u64, 0..4_u64, 0..2_u8).prop_map(|(node, incarnation, zone)| SystemCommand::Start {
        node: NodeId(node),
        incarnation: Incarnation(incarnation),
        address: format!("host-{node}:1"),
        zone: format!("zone-{zone}"),
    });
    let admin =
        (0..3_u64, proptest::option::weighted(0.2, 0..30_u64), change()).prop_map(|(token, based_on, change)| {
            SystemCommand::Admin { fence: Fence { token: 10 + token / 2, based_on: based_on.map(Epoch) }, change }
        });
    prop_oneof![
        2 => plain(join.boxed()),
        1 => plain(start.boxed()),
        6 => plain(admin.boxed()),
        3 => (0..6_u64, 0..2_u64, vec(1..6_u64, 1..4), any::<bool>())
            .prop_map(|(shard, age, nodes, renew)| Draft::Assign { shard, age, nodes, renew }),
        2 => (1..6_u64, 0..3_u64).prop_map(|(node, age)| Draft::Remove { node, age }),
        9 => (1..6_u64, prop_oneof![9 => Just(0), 1 => Just(1_u64)], step())
            .prop_map(|(shard, behind, step)| Draft::Step { shard, behind, step }),
        3 => (0..6_u64, 0..3_u64, any::<bool>())
            .prop_map(|(shard, ahead, assigned)| Draft::Record { shard, ahead, assigned }),
    ]
}

/// Every table's shards cover its key space once, in order.
fn check_bounds(map: &Map) {
    for table in map.tables.keys() {
        let mut next = Some(Bytes::new());
        for shard in map.shards_of(*table) {
            assert_eq!(next.as_ref(), Some(&shard.descriptor.start), "bounds meet without gap or overlap");
            next.clone_from(&shard.descriptor.end);
        }
        assert_eq!(next, None, "the last shard of {table} is open");
    }
}

/// Shards are of their tables' kind, and what is said of a quorum shard can be. No copy leaves a set unasked: what is in
/// force after a step was, or was to be, before it.
fn check_quorums(before: &Map, after: &Map) {
    for (id, record) in &after.shards {
        let table = &after.tables[&record.descriptor.table];
        assert_eq!(record.quorum.is_some(), table.quorums().is_some());
        assert_eq!(check_quorum(record), Ok(()));
        let Some(layout) = record.layout() else { continue };
        assert_eq!(record.at(&layout), *record, "record and layout say the same");
        let Some(earlier) = before.shards.get(id).and_then(crate::map::ShardRecord::layout) else { continue };
        let was_next = earlier.change.as_ref().is_some_and(|change| change.next == layout.current);
        assert!(was_next || earlier.current == layout.current, "{earlier:?} became {layout:?}");
        assert_eq!(earlier == layout, earlier.generation == layout.generation);
    }
}

fn check_stamps(before: &Map, after: &Map) {
    let changed = before != after;
    assert_eq!(after.epoch.0 - before.epoch.0, u64::from(changed), "a change raises the epoch by one");
    let mut followed = before.clone();
    followed.merge(after.since(before.epoch));
    assert_eq!(followed, *after, "every changed record carries the new epoch");
    for (id, shard) in &before.shards {
        assert!(after.shards[id].descriptor.generation >= shard.descriptor.generation);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_sequence_of_commands_keeps_the_invariants_and_survives_a_restart(
        drafts in vec(draft(), 1..60),
        restarts in vec(any::<prop::sample::Index>(), 3),
    ) {
        let restarts: BTreeSet<usize> = restarts.iter().map(|at| at.index(drafts.len())).collect();
        let mut state = quorum_database(3);
        let mut stored = Stored::default();
        stored.take(&mut state);
        let mut highest = ReplicaId(1);
        for (at, draft) in drafts.into_iter().enumerate() {
            let before = state.clone();
            let command = draft.resolve(state.map());
            let known: BTreeSet<Replica> = copies(before.map());
            if state.apply(&command).is_err() {
                prop_assert_eq!(&state, &before);
            }
            check_bounds(state.map());
            check_stamps(before.map(), state.map());
            check_quorums(before.map(), state.map());
            for replica in copies(state.map()).difference(&known) {
                prop_assert!(replica.id > highest, "{} was given before", replica.id);
            }
            highest = copies(state.map()).iter().map(|r| r.id).max().unwrap().max(highest);
            stored.take(&mut state);
            let loaded = stored.load();
            prop_assert_eq!(&loaded, &state);
            if restarts.contains(&at) {
                state = loaded;
            }
        }
    }
}

fn copies(map: &Map) -> BTreeSet<Replica> {
    let of = |s: &crate::map::ShardRecord| {
        let members: Vec<Replica> = s.descriptor.members.iter().map(|m| m.replica).collect();
        [members, s.assigned.clone()].concat()
    };
    map.shards.values().flat_map(of).collect()
}
