//! What a node, and the leader of a shard, can say, and what they cannot.

use super::*;
use crate::ids::{ClusterId, Epoch, Generation, ReplicaId};
use crate::map::{Descriptor, Member, NodeRecord, NodeState, QuorumRecord, Quorums, Replica, Role};
use crate::message::{LedReport, Report};
use crate::quorum::message::{Body, Envelope};
use crate::time::Version;

/// What is made of a sound one.
type Change = fn(&mut ShardReport);

const LEADER: NodeId = NodeId(1);
const OWN: NodeId = NodeId(2);
const START: Incarnation = Incarnation(5);

fn member(node: u64, id: u64) -> Member {
    Member { replica: Replica { node: NodeId(node), id: ReplicaId(id) }, role: Role::Voter }
}

fn record(shard: u64, members: Vec<Member>) -> ShardRecord {
    let assigned = members.iter().map(|member| member.replica).collect();
    let descriptor = Descriptor { shard: ShardId(shard), generation: Generation(3), members, ..Descriptor::default() };
    ShardRecord { descriptor, target: Vec::new(), assigned, epoch: Epoch(3), quorum: None }
}

/// Nodes 1 to 3; the system shard on 1 and 2, shard 4 on all.
fn map() -> Map {
    let node = |id| NodeRecord {
        id: NodeId(id),
        incarnation: START,
        volume: String::new(),
        address: String::new(),
        zone: String::new(),
        state: NodeState::Active,
        epoch: Epoch(1),
    };
    let mut map = Map::of_nodes(ClusterId("c".into()), (1..=3).map(node).collect());
    map.put_shard(record(0, vec![member(1, 1), member(2, 2)]));
    map.put_shard(record(4, vec![member(1, 3), member(2, 4), member(3, 5)]));
    let current = Quorums { write: 1, read: 1 };
    let quorum = Some(QuorumRecord { current, change: None });
    map.put_shard(ShardRecord { quorum, ..record(5, vec![member(1, 6), member(2, 7)]) });
    map
}

/// Of the copy of the quorum shard on the first node.
fn copy_report() -> QuorumReport {
    QuorumReport {
        shard: ShardId(5),
        replica: ReplicaId(6),
        held: Generation(3),
        copied: vec![(ReplicaId(7), Generation(2))],
        is_complete: true,
        floor: Version(9),
        hints: 1,
        bytes: 2,
    }
}

fn envelope(shard: u64, from: u64, to: u64) -> PeerMessage {
    let (shard, from, to) = (ShardId(shard), ReplicaId(from), ReplicaId(to));
    PeerMessage::Quorum(Envelope { shard, from, to, generation: Generation(3), body: Body::BoundsWanted })
}

fn report() -> Report {
    let shard = ShardReport {
        descriptor: record(4, vec![member(1, 3), member(2, 4), member(3, 5)]).descriptor,
        leader: ReplicaId(3),
        term: 2,
        in_sync: vec![ReplicaId(3), ReplicaId(4)],
        bytes: 10,
        moving: (0, 0),
    };
    let node = NodeReport { node: LEADER, incarnation: START, ..NodeReport::default() };
    Report { node, led: LedReport::all(1, vec![shard]), quorum: vec![copy_report()] }
}

/// All that a steward asks of a message.
fn taken(map: &Map, from: NodeId, message: &PeerMessage) -> Result<(), Refused> {
    admit(map, (OWN, from), START, message)?;
    let PeerMessage::Report(mut report) = message.clone() else { return Ok(()) };
    disbelieve(map, from, &mut report).map_or(Ok(()), Err)
}

fn check(change: fn(&mut Report)) -> Result<(), Refused> {
    let mut report = report();
    change(&mut report);
    taken(&map(), LEADER, &PeerMessage::Report(report))
}

#[test]
fn a_sender_is_a_node_of_the_map_in_a_start_that_can_be() {
    assert_eq!(admit_sender(&map(), (OWN, LEADER), START), Ok(()));
    assert_eq!(admit_sender(&map(), (OWN, LEADER), Incarnation(5 + INCARNATION_JUMP_MAX)), Ok(()));
    for start in [6 + INCARNATION_JUMP_MAX, u64::MAX] {
        let refused = admit_sender(&map(), (OWN, LEADER), Incarnation(start));
        assert!(matches!(refused, Err(Refused::Incarnation { .. })), "{start}");
    }
    assert_eq!(admit_sender(&map(), (OWN, NodeId(9)), START), Err(Refused::UnknownNode(NodeId(9))));
    assert_eq!(admit_sender(&Map::default(), (OWN, NodeId(9)), START), Ok(()));
    assert_eq!(admit_sender(&map(), (OWN, OWN), START), Err(Refused::OwnName(OWN)));
}

#[test]
fn a_report_is_of_the_node_that_sends_it_and_of_shards_that_it_can_lead() {
    assert_eq!(check(|_| {}), Ok(()));
    for change in [(|r| r.node.node = NodeId(2)) as fn(&mut Report), |r| r.node.incarnation = Incarnation(u64::MAX)] {
        assert!(matches!(check(change), Err(Refused::Reporter { .. })));
    }
    let wrong: [(&str, Change); 9] = [
        ("id", |s| s.descriptor.shard = ShardId(77)),
        ("bounds", |s| s.descriptor.end = Some(bytes::Bytes::new())),
        ("generation", |s| s.descriptor.generation = Generation(u64::MAX)),
        ("members", |s| s.descriptor.members[1] = member(9, 4)),
        ("members", |s| s.descriptor.members.push(member(1, 400))),
        ("leader", |s| s.leader = ReplicaId(4)),
        ("leader", |s| s.leader = ReplicaId(99)),
        ("term", |s| s.term = u64::MAX),
        ("in_sync", |s| s.in_sync.push(ReplicaId(99))),
    ];
    for (field, change) in wrong {
        let mut report = report();
        change(&mut report.led.changed[0]);
        let refused = taken(&map(), LEADER, &PeerMessage::Report(report));
        assert_eq!(refused, Err(Refused::Shard { shard: refused_shard(&refused), field }), "{field}");
    }
    for change in [
        (|r| r.node.disk_bytes = u64::MAX) as fn(&mut Report),
        |r| r.led.changed[0].bytes = u64::MAX,
        |r| r.led.changed[0].moving = (0, u64::MAX),
        |r| r.node.replicas = u64::MAX,
        |r| r.node.map_epoch = Epoch(u64::MAX),
        |r| r.node.zone = "z".repeat(600),
        |r| r.node.lost = vec![(ShardId(4), ReplicaId(3)); 1 + (1 << 20)],
    ] {
        assert!(matches!(check(change), Err(Refused::TooLarge { .. })));
    }
}

fn refused_shard(refused: &Result<(), Refused>) -> ShardId {
    match refused {
        Err(Refused::Shard { shard, .. }) => *shard,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_report_tells_of_quorum_copies_is_of_copies_on_its_node() {
    type OfCopy = fn(&mut QuorumReport);
    let wrong: [(&str, OfCopy); 8] = [
        ("id", |c| c.shard = ShardId(77)),
        ("replica", |c| c.shard = ShardId(4)),
        ("replica", |c| c.replica = ReplicaId(7)),
        ("replica", |c| c.replica = ReplicaId(70)),
        ("held", |c| c.held = Generation(u64::MAX)),
        ("copied", |c| c.copied[0].1 = Generation(4)),
        ("copied", |c| c.copied = vec![(ReplicaId(7), Generation(2)); 2]),
        ("copied", |c| c.copied = (0..=64).map(|id| (ReplicaId(id), Generation(1))).collect()),
    ];
    for (field, change) in wrong {
        let mut report = report();
        change(&mut report.quorum[0]);
        let refused = disbelieve(&map(), LEADER, &mut report);
        assert!(matches!(refused, Some(Refused::Shard { field: of, .. }) if of == field), "{field}: {refused:?}");
        assert_eq!((report.quorum.len(), report.led.changed.len()), (0, 1), "the rest counts");
    }
    for change in [(|c| c.bytes = u64::MAX) as OfCopy, |c| c.hints = u64::MAX] {
        let mut report = report();
        change(&mut report.quorum[0]);
        assert!(matches!(disbelieve(&map(), LEADER, &mut report), Some(Refused::TooLarge { .. })));
    }
    assert!(matches!(check(|r| r.quorum = vec![copy_report(); 5_000]), Err(Refused::TooLarge { .. })));
    let told = |held, replica| {
        let (held, replica) = (Generation(held), ReplicaId(replica));
        let copy = QuorumReport { held, replica, copied: Vec::new(), ..copy_report() };
        let mut report = Report { quorum: vec![copy], ..report() };
        assert_eq!(disbelieve(&map(), LEADER, &mut report), None);
        report.quorum.len()
    };
    assert_eq!(told(3, 6), 1);
    assert_eq!(told(4, 6), 1, "it may know more than a system shard that went on from an older copy");
    assert_eq!((told(3, 2), told(4, 2)), (0, 1), "a copy that no record names is over, unless it knows more");
}

#[test]
fn a_quorum_shard_has_no_leader_that_reports() {
    let led = check(|r| {
        r.led.changed[0].descriptor = record(5, vec![member(1, 6), member(2, 7)]).descriptor;
        (r.led.changed[0].leader, r.led.changed[0].in_sync) = (ReplicaId(6), Vec::new());
    });
    assert_eq!(led, Err(Refused::Shard { shard: ShardId(5), field: "leader" }));
}

#[test]
fn quorum_copies_speak_for_themselves_and_to_those_that_are_here() {
    assert_eq!(taken(&map(), LEADER, &envelope(5, 6, 7)), Ok(()));
    let refused = |shard, replica, node| {
        let (shard, replica) = (ShardId(shard), ReplicaId(replica));
        Err(Refused::Copy { shard, replica, node })
    };
    assert_eq!(taken(&map(), LEADER, &envelope(5, 7, 7)), refused(5, 7, LEADER), "it is on another node");
    assert_eq!(taken(&map(), LEADER, &envelope(5, 8, 7)), refused(5, 8, LEADER), "nobody knows it");
    assert_eq!(taken(&map(), LEADER, &envelope(5, 6, 6)), refused(5, 6, OWN), "the receiver is not here");
    assert_eq!(taken(&map(), LEADER, &envelope(4, 3, 4)), refused(4, 3, LEADER), "its copies follow a leader");
    assert_eq!(taken(&map(), LEADER, &envelope(9, 6, 7)), refused(9, 6, LEADER));
}

#[test]
fn only_a_node_with_a_copy_of_the_system_shard_speaks_as_the_steward() {
    let ask = |shards: usize| PeerMessage::CertifyAsk { nonce: 1, node: NodeId(3), shards: vec![ShardId(4); shards] };
    let transfer = || PeerMessage::TransferLeader { shard: ShardId(4), to: ReplicaId(3) };
    for message in [ask(2), transfer(), PeerMessage::ReportWant] {
        assert_eq!(taken(&map(), NodeId(2), &message), Ok(()));
        assert_eq!(taken(&map(), NodeId(3), &message), Err(Refused::NoSteward(NodeId(3))));
        assert_eq!(taken(&Map::default(), NodeId(3), &transfer()), Ok(()));
    }
    assert!(matches!(taken(&map(), NodeId(2), &ask(4)), Err(Refused::TooLarge { .. })));
}

#[cfg(feature = "planted")]
#[test]
fn every_check_that_is_switched_off_lets_something_through() {
    use crate::planted::plant;

    let mut pinned = report();
    pinned.node.incarnation = Incarnation(u64::MAX);
    let mut foreign = report();
    foreign.led.changed[0].leader = ReplicaId(4);
    let transfer = PeerMessage::TransferLeader { shard: ShardId(4), to: ReplicaId(3) };
    let through = [
        (Planted::IncarnationUnchecked, LEADER, PeerMessage::Report(pinned)),
        (Planted::ReportUnchecked, LEADER, PeerMessage::Report(foreign)),
        (Planted::StewardUnchecked, NodeId(3), transfer),
        (Planted::QuorumCopyUnchecked, NodeId(3), envelope(5, 6, 7)),
    ];
    for (bug, from, message) in through {
        assert!(taken(&map(), from, &message).is_err(), "{bug:?}");
        plant(Some(bug));
        assert_eq!(taken(&map(), from, &message), Ok(()), "{bug:?}");
        plant(None);
    }
}
