//! Everything comes back from the wire as it went onto it.

use std::sync::Arc;

use bytes::Bytes;
use skerry_core::command::{
    Again, Command, Condition, Expected, Mutation, Read, ReadBasis, ReadConsistency, ReadResult, Record, RequestId,
    WriteOptions,
};
use skerry_core::ids::{ClusterId, Epoch, Generation, Incarnation, NodeId, ReplicaId, ShardId, TableId};
use skerry_core::level::FormatLevel;
use skerry_core::map::{
    Consistency, Descriptor, Fragmentation, Map, MapDelta, Member, MoveLimits, NodeRecord, NodeState, QuorumChange,
    QuorumRecord, Quorums, RecoveryRecord, Replica, Role, ShardRecord, TableRecord,
};
use skerry_core::message::{CopiesReport, CopyReport, LedReport, NodeReport, QuorumReport, ShardReport};
use skerry_core::node::{Certificate, NotYet, Removal, Status};
use skerry_core::quorum::copies::Copies;
use skerry_core::quorum::layout::{Change, Layout, Stage};
use skerry_core::quorum::shown::Resolve;
use skerry_core::steward::{RecoveryPlan, RecoveryRefusal};
use skerry_core::system::{
    AdminChange, Fence, NewNode, NewShard, QuorumRecovery, StepKind, StepRefusal, SystemCommand, SystemRefusal,
    SystemReply,
};
use skerry_core::time::Version;
use skerry_proto::v1;

use super::*;

fn there_and_back<T: Wire + Clone + PartialEq + std::fmt::Debug>(value: T) {
    assert_eq!(T::from_wire(value.clone().into_wire()).as_ref(), Ok(&value));
}

fn descriptor() -> Descriptor {
    let roles = [Role::Voter, Role::Learner, Role::Incoming, Role::Outgoing];
    let member = |(n, role)| Member { replica: Replica { node: NodeId(n), id: ReplicaId(n + 10) }, role };
    Descriptor {
        shard: ShardId(7),
        table: TableId(3),
        start: Bytes::from_static(b"d"),
        end: Some(Bytes::new()),
        generation: Generation(5),
        members: (1..).zip(roles).map(member).collect(),
    }
}

fn quorum(resolve: Resolve) -> Consistency {
    Consistency::Quorum { write: 2, read: 1, resolve }
}

/// One that follows a leader, or a quorum shard, or one that changes.
fn shard(quorum: Option<Option<Stage>>) -> ShardRecord {
    let quorum = quorum.map(|stage| QuorumRecord {
        current: Quorums { write: 2, read: 1 },
        change: stage.map(|stage| QuorumChange {
            next: Quorums { write: 3, read: 4 },
            stage,
            began: Generation(5),
            reads_since: Generation(6),
        }),
        resolve: Resolve::Siblings,
        is_unsure: stage.is_none(),
    });
    ShardRecord {
        descriptor: descriptor(),
        target: vec![NodeId(1), NodeId(2)],
        assigned: vec![Replica { node: NodeId(1), id: ReplicaId(11) }],
        epoch: Epoch(9),
        quorum,
    }
}

fn layout(stage: Option<Stage>) -> Layout {
    let set = |members: &[u64], write, read| Copies {
        members: members.iter().map(|id| ReplicaId(*id)).collect(),
        write,
        read,
    };
    let (began, reads_since) = (Generation(5), Generation(6));
    Layout {
        generation: Generation(7),
        current: set(&[11, 12], 2, 1),
        change: stage.map(|stage| Change { next: set(&[12, 13, 14], 3, 2), stage, began, reads_since }),
        resolve: Resolve::Siblings,
        homes: (11..15).map(|id| (ReplicaId(id), NodeId(id - 10))).collect(),
    }
}

fn delta() -> MapDelta {
    let node = |id, state| NodeRecord {
        id: NodeId(id),
        incarnation: Incarnation(2),
        volume: "v".into(),
        address: "a:1".into(),
        zone: "z".into(),
        state,
        epoch: Epoch(4),
    };
    let table = |id, fragmentation| TableRecord {
        id: TableId(id),
        name: format!("t{id}"),
        fragmentation,
        consistency: Consistency::Leader,
        replication_factor: 3,
        dropped: id == 2,
        epoch: Epoch(6),
    };
    MapDelta {
        cluster: ClusterId("c".into()),
        since: Epoch(2),
        epoch: Epoch(9),
        replica_max: ReplicaId(7),
        limits: Some((MoveLimits { moves_per_node: 4, bytes_per_second: 1 << 20 }, Epoch(3))),
        level: Some((FormatLevel(2), Epoch(5))),
        nodes: vec![node(1, NodeState::Active), node(2, NodeState::Draining), node(3, NodeState::Removed)],
        tables: vec![
            table(1, Fragmentation::Range),
            table(2, Fragmentation::Hash),
            TableRecord { consistency: quorum(Resolve::LastWriterWins), ..table(3, Fragmentation::Range) },
            TableRecord { consistency: quorum(Resolve::Siblings), ..table(4, Fragmentation::Hash) },
        ],
        shards: [
            None,
            Some(None),
            Some(Some(Stage::WriteBoth)),
            Some(Some(Stage::ReadNew)),
            Some(Some(Stage::NewOnly)),
        ]
        .map(shard)
        .to_vec(),
        recoveries: vec![RecoveryRecord {
            shard: ShardId(7),
            from: Replica { node: NodeId(1), id: ReplicaId(5) },
            to: ReplicaId(6),
            last: (20, 3),
            given_up: vec![Replica { node: NodeId(2), id: ReplicaId(4) }],
            at_ms: 1_000,
            generation: Generation(1 << 32),
            epoch: Epoch(8),
        }],
    }
}

fn report() -> NodeReport {
    NodeReport {
        node: NodeId(1),
        incarnation: Incarnation(2),
        level: FormatLevel(2),
        address: "a:1".into(),
        zone: "z".into(),
        map_epoch: Epoch(9),
        disk_full: true,
        disk_stalled: true,
        store_doubtful: true,
        disk_bytes: 10,
        replicas: 4,
        lost: vec![(ShardId(7), ReplicaId(13))],
        leaderless: vec![copy()],
        ahead: vec![copy()],
    }
}

fn copy() -> CopyReport {
    CopyReport {
        shard: ShardId(7),
        replica: ReplicaId(11),
        last: (90, 4),
        applied: 88,
        last_version: Version(7 << 20),
        generation: Generation(5),
        members: descriptor().members,
        is_blank: true,
    }
}

fn shard_report() -> ShardReport {
    ShardReport {
        descriptor: descriptor(),
        leader: ReplicaId(11),
        term: 3,
        in_sync: vec![ReplicaId(11)],
        bytes: 100,
        moving: (1, 2),
    }
}

#[test]
fn maps_and_reports_come_back_as_they_went() {
    there_and_back(delta());
    there_and_back(MapDelta::default());
    there_and_back(report());
    let copy = quorum_copy();
    let held = QuorumReport { layout: Some(layout(None)), ..copy.clone() };
    there_and_back(CopiesReport { changed: vec![copy, held], ended: vec![ShardId(8)], is_all: true });
    there_and_back(LedReport { version: 3, since: 2, changed: vec![shard_report()], resigned: vec![ShardId(8)] });
}

fn quorum_copy() -> QuorumReport {
    QuorumReport {
        shard: ShardId(7),
        replica: ReplicaId(11),
        held: Generation(5),
        copied: vec![(ReplicaId(12), Generation(4)), (ReplicaId(13), Generation(5))],
        is_complete: true,
        floor: Version(7 << 20),
        hints: 8,
        under_way: 10,
        handed_over: vec![ReplicaId(12), ReplicaId(14)],
        bytes: 9,
        layout: None,
    }
}

#[test]
fn recoveries_come_back_as_they_went() {
    let (shard, node, replica) = (ShardId(7), NodeId(2), ReplicaId(4));
    let plan = RecoveryPlan {
        shard,
        based_on: Epoch(9),
        survivor: Replica { node: NodeId(1), id: ReplicaId(11) },
        copies: vec![(NodeId(1), copy())],
        given_up: vec![Replica { node, id: replica }],
        generation: Generation(5),
    };
    there_and_back((shard, Ok::<_, RecoveryRefusal>(plan)));
    let refusals = [
        RecoveryRefusal::Unknown(shard),
        RecoveryRefusal::Led { shard, node },
        RecoveryRefusal::Unheard { shard, node, replica },
        RecoveryRefusal::Alive { node },
        RecoveryRefusal::Unclear { shard, node, replica },
        RecoveryRefusal::Majority { shard },
        RecoveryRefusal::NothingLeft { shard },
        RecoveryRefusal::Quorum { shard },
        RecoveryRefusal::Unseen { shard, node },
        RecoveryRefusal::Untold { shard, node },
        RecoveryRefusal::Disbelieved { shard, node },
        RecoveryRefusal::Unalike { shard },
        RecoveryRefusal::OtherSurvivor { shard, asked: replica, best: ReplicaId(11) },
    ];
    refusals.into_iter().for_each(|refusal| there_and_back((shard, Err::<RecoveryPlan, _>(refusal))));
}

#[test]
fn writes_come_back_as_they_went() {
    let key = Bytes::from_static(b"k");
    let condition = |expected| Condition { key: key.clone(), expected };
    let command = Command {
        request: Some(RequestId { issued: Version(u64::MAX), client: 5, sequence: 1 }),
        conditions: vec![
            condition(Expected::Absent),
            condition(Expected::Version(Version(0))),
            condition(Expected::Value(Bytes::new())),
        ],
        mutations: vec![
            Mutation::Put { key: key.clone(), value: Bytes::new(), expires_ms: Some(0) },
            Mutation::Put { key: key.clone(), value: Bytes::from_static(b"v"), expires_ms: None },
            Mutation::Delete { key: key.clone() },
        ],
    };
    there_and_back((command.clone(), WriteOptions::default()));
    there_and_back((
        command,
        WriteOptions {
            copies: Some(3),
            seen: vec![(key.clone(), "seen".into())],
            again: Some(Again { first_sent_ms: 7, attempt: 2 }),
        },
    ));
}

#[test]
fn reads_and_their_results_come_back_as_they_went() {
    let start = Bytes::from_static(b"a");
    for read in
        [Read::Get { key: start.clone() }, Read::Scan { start: start.clone(), end: Some(Bytes::new()), limit: 9 }]
    {
        for consistency in
            [ReadConsistency::Linearizable, ReadConsistency::Local, ReadConsistency::BoundedStaleness(70)]
        {
            let options = ReadOptions::from(consistency);
            assert_eq!(read_from_op(read_to_op(read.clone(), options)), Ok(Some((read.clone(), options))));
            let at_leader = (read.clone(), ReadOptions::from(ReadConsistency::Linearizable));
            assert_eq!(read_from_op(linearizable(read_to_op(read.clone(), options))), Ok(Some(at_leader)));
            let options = ReadOptions { copies: Some(2), ..options };
            let may = consistency == ReadConsistency::Linearizable;
            let expected = if may { Ok(Some((read.clone(), options))) } else { Err(Malformed::Range("copies")) };
            assert_eq!(read_from_op(read_to_op(read.clone(), options)), expected);
        }
    }
    let record = Record { key: start.clone(), version: Version(1), value: Bytes::new(), expires_ms: Some(2) };
    let page = ReadResult::Page { records: vec![record.clone()], next: Some(Bytes::new()) };
    assert_eq!(read_result_from_wire(read_result_into_wire(page.clone())), Ok(Some(page)));
    let value = read_result_from_wire(read_result_into_wire(ReadResult::Value(Some(record.clone()))));
    let record = Record { key: Bytes::new(), ..record };
    assert_eq!(value, Ok(Some(ReadResult::Value(Some(record.clone())))));
    let siblings = vec![record.clone(), Record { version: Version(0), ..record }];
    for records in [Vec::new(), siblings] {
        let basis = ReadBasis { copies: 1, write: 2, read: 3, members: 5, absence: Version(7) };
        let values = ReadResult::Values { records, context: Bytes::from_static(b"seen"), basis };
        assert_eq!(read_result_from_wire(read_result_into_wire(values.clone())), Ok(Some(values)));
    }
}

#[test]
fn what_was_seen_goes_with_the_mutation_of_its_key_and_of_a_key_that_is_there_twice_the_last_counts() {
    let mutation = |key: &'static str, context: &'static str| v1::EncodedMutation {
        key: key.into(),
        value: Some(Bytes::new()),
        expires_ms: None,
        context: context.into(),
    };
    let mutations =
        vec![mutation("a", "1"), mutation("b", "2"), mutation("c", ""), mutation("a", "3"), mutation("b", "")];
    let write = v1::WriteOp { mutations, copies: Some(2), ..v1::WriteOp::default() };
    let (command, options) = <(Command, WriteOptions)>::from_wire(write).unwrap();
    assert_eq!(command.mutations.len(), 5);
    assert_eq!(options, WriteOptions { copies: Some(2), seen: vec![("a".into(), "3".into())], again: None });
    let contexts: Vec<_> = (command, options).into_wire().mutations.into_iter().map(|m| m.context).collect();
    assert_eq!(contexts, ["3", "", "", "3", ""]);
}

#[test]
fn admin_commands_come_back_as_they_went() {
    let admin = |change| SystemCommand::Admin { fence: Fence { token: 3, based_on: Some(Epoch(0)) }, change };
    let shards = vec![NewShard { start: Bytes::new(), nodes: vec![NodeId(1), NodeId(2)] }];
    let quorums = Quorums { write: 2, read: 1 };
    let forth = [StepKind::Begin, StepKind::ReadNew, StepKind::NewOnly, StepKind::Settle];
    for step in forth.into_iter().chain([StepKind::Back, StepKind::Resolve]) {
        there_and_back(SystemCommand::Step { shard: ShardId(1), based_on: Generation(2), step });
    }
    for (stage, begins_anew) in [(None, true), (Some(Stage::WriteBoth), false), (Some(Stage::NewOnly), false)] {
        let given_up = vec![Replica { node: NodeId(1), id: ReplicaId(11) }];
        let recovery = QuorumRecovery { layout: layout(stage), given_up, begins_anew, at_ms: 7 };
        there_and_back(SystemCommand::RecoverQuorum { shard: ShardId(1), based_on: Epoch(2), recovery });
    }
    for command in [
        admin(AdminChange::CreateQuorumTable {
            name: "t".into(),
            fragmentation: Fragmentation::Range,
            replication_factor: 3,
            quorums,
            resolve: Resolve::Siblings,
            shards: shards.clone(),
        }),
        admin(AdminChange::AlterQuorumTable {
            table: TableId(1),
            replication_factor: 5,
            quorums,
            resolve: Resolve::LastWriterWins,
        }),
        SystemCommand::Join(NewNode { volume: "v".into(), address: "a:1".into(), zone: String::new() }),
        SystemCommand::Start { node: NodeId(1), incarnation: Incarnation(2), address: "a:1".into(), zone: "z".into() },
        admin(AdminChange::CreateTable {
            name: "t".into(),
            fragmentation: Fragmentation::Hash,
            replication_factor: 3,
            shards,
        }),
        admin(AdminChange::AlterTable { table: TableId(1), replication_factor: 5 }),
        admin(AdminChange::DropTable { table: TableId(1) }),
        admin(AdminChange::SetTargets(vec![(ShardId(1), vec![NodeId(1)])])),
        admin(AdminChange::Drain(NodeId(1))),
        admin(AdminChange::Reactivate(NodeId(1))),
        admin(AdminChange::Remove(NodeId(1))),
        admin(AdminChange::SetLimits(MoveLimits::default())),
        SystemCommand::Record(descriptor()),
        SystemCommand::Assign {
            shard: ShardId(1),
            based_on: Epoch(2),
            replicas: vec![Replica { node: NodeId(1), id: ReplicaId::NEW }],
            target: Some(vec![NodeId(1)]),
        },
        SystemCommand::EnableLevel { level: FormatLevel(2), based_on: Epoch(3) },
        SystemCommand::JoinAt {
            node: NewNode { volume: "v".into(), address: "a:1".into(), zone: "z".into() },
            level: FormatLevel(2),
        },
    ] {
        there_and_back(command);
    }
}

#[test]
fn replies_and_refusals_of_the_system_shard_come_back_as_they_went() {
    for reply in [SystemReply::Done(Epoch(1)), SystemReply::Joined(NodeId(2)), SystemReply::Table(TableId(3))] {
        there_and_back(reply);
    }
    let (node, shard) = (NodeId(1), ShardId(2));
    for refusal in [
        SystemRefusal::Fenced { token: 1, highest: 2 },
        SystemRefusal::Stale { based_on: Epoch(1), changed: Epoch(2), what: "node 1".into() },
        SystemRefusal::UnknownNode(node),
        SystemRefusal::RemovedNode(node),
        SystemRefusal::DrainingNode(node),
        SystemRefusal::OldIncarnation { node, incarnation: Incarnation(1), highest: Incarnation(2) },
        SystemRefusal::UnknownTable(TableId(1)),
        SystemRefusal::UnknownShard(shard),
        SystemRefusal::TableExists("t".into()),
        SystemRefusal::TableName("T".into()),
        SystemRefusal::ReplicationFactor { wanted: 9, allowed: 7 },
        SystemRefusal::Shards { position: 1, allowed: 2 },
        SystemRefusal::Target { shard },
        SystemRefusal::NodeInUse { node, replicas: 3, example: shard },
        SystemRefusal::SystemTable,
        SystemRefusal::TargetOwner { shard },
        SystemRefusal::UnknownReplica { shard, node, replica: ReplicaId(4) },
        SystemRefusal::Bounds(shard),
        SystemRefusal::Limits,
        SystemRefusal::TokenTooHigh { token: 3, allowed: 2 },
        SystemRefusal::LevelTooLow { level: FormatLevel(2), enabled: FormatLevel(3) },
        SystemRefusal::NotEnabled { needed: FormatLevel(3), enabled: FormatLevel(2) },
        SystemRefusal::Quorums { write: 4, read: 0, replication_factor: 3 },
        SystemRefusal::Consistency(TableId(1)),
        SystemRefusal::QuorumShard(shard),
        SystemRefusal::OtherGeneration { shard, based_on: Generation(1), generation: Generation(2) },
        SystemRefusal::Step { shard, why: StepRefusal::Leader },
        SystemRefusal::Step { shard, why: StepRefusal::Stage },
        SystemRefusal::Step { shard, why: StepRefusal::Unchanged },
        SystemRefusal::Step { shard, why: StepRefusal::Unsound },
        SystemRefusal::Step { shard, why: StepRefusal::LastGeneration },
        SystemRefusal::Step { shard, why: StepRefusal::NothingLeft },
        SystemRefusal::NotDraining(node),
        SystemRefusal::Uncertified(node),
        SystemRefusal::TooLong { what: "the zone".into(), bytes: 301, allowed: 300 },
    ] {
        there_and_back(refusal);
    }
}

#[test]
fn certificates_and_status_come_back_as_they_went() {
    let shard = ShardId(2);
    there_and_back(Removal::Safe(Certificate {
        node: NodeId(1),
        incarnation: Incarnation(2),
        epoch: Epoch(3),
        shards: 4,
    }));
    there_and_back(Removal::NotYet(vec![
        NotYet::NotDraining(NodeId(1)),
        NotYet::OtherIncarnation { asked: Incarnation(1), latest: Incarnation(2) },
        NotYet::Holds { shard },
        NotYet::Copies { shard, in_sync: 1, wanted: 3 },
        NotYet::Changing { shard },
    ]));
    there_and_back(Removal::Unknown { shards: vec![shard] });
    let mut map = Map::default();
    map.merge(delta());
    let status = Status {
        map: Arc::new(map),
        nodes: vec![(report(), 5)],
        shards: vec![(shard_report(), 6)],
        copies: vec![(NodeId(2), quorum_copy())],
        steward: NodeId(1),
        lost: vec![(shard, ReplicaId(3))],
    };
    assert_eq!(status_from_wire(status_into_wire(status.clone())), Ok(status));
}

#[test]
fn what_is_missing_is_named() {
    assert_eq!(SystemCommand::from_wire(v1::SystemCommand::default()), Err(Malformed::Missing("command")));
    assert_eq!(ShardRecord::from_wire(v1::ShardRecord::default()), Err(Malformed::Missing("descriptor")));
    assert_eq!(NodeRecord::from_wire(v1::NodeRecord::default()), Err(Malformed::Missing("state")));
    assert_eq!(Role::from_wire(99), Err(Malformed::Unknown { field: "role", value: 99 }));
    assert_eq!(Condition::from_wire(v1::EncodedCondition::default()), Err(Malformed::Missing("expected")));
}
