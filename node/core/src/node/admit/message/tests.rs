//! What a node, and the leader of a shard, can say, and what they cannot.

use super::*;
use crate::ids::{ClusterId, Epoch, Generation, ReplicaId};
use crate::map::{
    Descriptor, GENERATION_JUMP_MAX, Member, NodeRecord, NodeState, QuorumRecord, Quorums, REPLICAS_JUMP_MAX,
    RecoveryRecord, Replica, Role,
};
use crate::message::{CopiesReport, LedReport, Report};
use crate::quorum::copies::Copies;
use crate::quorum::message::{Body, Envelope};
use crate::quorum::shown::Resolve;

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
    let quorum = Some(QuorumRecord { current, change: None, resolve: Resolve::Siblings, is_unsure: false });
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
        under_way: 1,
        handed_over: vec![ReplicaId(7)],
        bytes: 2,
        layout: None,
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
    Report { node, led: LedReport::all(1, vec![shard]), quorum: CopiesReport::all(vec![copy_report()]) }
}

/// All that a steward asks of a message.
fn taken(map: &Map, from: NodeId, message: &PeerMessage) -> Result<(), Refused> {
    admit(map, (OWN, from), START, message)?;
    let PeerMessage::Report(mut report) = message.clone() else { return Ok(()) };
    disbelieve(map, from, true, &mut report).refused.map_or(Ok(()), Err)
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
    let wrong: [(&str, OfCopy); 9] = [
        ("handed_over", |c| c.handed_over = vec![ReplicaId(7); 2]),
        ("handed_over", |c| c.handed_over = (0..=64).map(ReplicaId).collect()),
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
        change(&mut report.quorum.changed[0]);
        let refused = disbelieve(&map(), LEADER, true, &mut report).refused;
        assert!(matches!(refused, Some(Refused::Shard { field: of, .. }) if of == field), "{field}: {refused:?}");
        assert_eq!((report.quorum.changed.len(), report.led.changed.len()), (0, 1), "the rest counts");
    }
    for change in [(|c| c.bytes = u64::MAX) as OfCopy, |c| c.hints = u64::MAX, |c| c.under_way = u64::MAX] {
        let mut report = report();
        change(&mut report.quorum.changed[0]);
        assert!(matches!(disbelieve(&map(), LEADER, true, &mut report).refused, Some(Refused::TooLarge { .. })));
    }
    assert!(matches!(check(|r| r.quorum.changed = vec![copy_report(); 5_000]), Err(Refused::TooLarge { .. })));
    assert!(matches!(check(|r| r.quorum.ended = vec![ShardId(5); 1 + (1 << 20)]), Err(Refused::TooLarge { .. })));
    // A copy that no record names is over: that is no lie, and what was said of it before does not hold.
    let over = QuorumReport { replica: ReplicaId(2), ..copy_report() };
    let mut report = Report { quorum: CopiesReport::all(vec![over]), ..report() };
    assert_eq!(disbelieve(&map(), LEADER, true, &mut report), Disbelieved { is_any: true, ..Disbelieved::default() });
    assert_eq!(report.quorum, CopiesReport { changed: vec![], ended: vec![ShardId(5)], is_all: true });
}

/// Reports of it would be asked for again and again, and never be another.
#[test]
fn what_is_left_of_a_table_that_nobody_knows_any_more_is_no_doubt_unless_the_sender_knows_more() {
    let told_to = |has_all: bool, map_epoch: u64| {
        let left_over = QuorumReport { shard: ShardId(77), ..copy_report() };
        let mut report = Report { quorum: CopiesReport::all(vec![copy_report(), left_over]), ..report() };
        report.node.map_epoch = Epoch(map_epoch);
        let disbelieved = disbelieve(&map(), LEADER, has_all, &mut report);
        assert_eq!((report.quorum.changed.len(), &report.quorum.ended[..]), (1, &[ShardId(77)][..]));
        (disbelieved.refused.is_some(), disbelieved.is_any, disbelieved.left_over)
    };
    let told = |map_epoch| told_to(true, map_epoch);
    assert_eq!(told(0), (true, true, 0), "it has just started, and nobody knows what its map had");
    assert_eq!(told_to(false, 3), (true, true, 0), "the map here may have some changes yet to apply");
    assert_eq!(told(3), (false, false, 1), "the map here has all that the sender's has");
    assert_eq!(told(4), (true, true, 0), "it may have been made since");
    assert_eq!(told((1 << 32) + 1), (true, true, 0), "of a recovery that is not known here");
}

/// A record is what its copies hold, or ahead of them, but for one that a recovery of the system shard has left unsure.
#[test]
fn a_copy_is_ahead_of_its_record_only_where_that_is_unsure_and_then_by_no_more_than_there_can_be() {
    let first = 1 << 32;
    let told = |is_unsure, held: u64, replica: u64, layout: fn(Layout) -> Option<Layout>| {
        let mut map = map();
        let record = map.shards[&ShardId(5)].clone();
        let quorum = record.quorum.map(|quorum| QuorumRecord { is_unsure, ..quorum });
        map.put_shard(ShardRecord { quorum, epoch: Epoch(first + 1), ..record });
        let (held, replica) = (Generation(held), ReplicaId(replica));
        let current = Copies { members: vec![replica, ReplicaId(7)], write: 1, read: 1 };
        let homes = [(replica, LEADER), (ReplicaId(7), OWN)].into();
        let layout = layout(Layout { homes, ..Layout::settled(held, current) });
        let copy = QuorumReport { held, replica, layout, copied: Vec::new(), ..copy_report() };
        let mut report = Report { quorum: CopiesReport::all(vec![copy]), ..report() };
        let refused = disbelieve(&map, LEADER, true, &mut report).refused;
        let field = refused.map(|refused| {
            let Refused::Shard { field, .. } = refused else { panic!("{refused}") };
            field
        });
        let taken = report.quorum.changed.pop();
        (field, taken.map(|copy| (copy.held.0, copy.layout.is_some())))
    };
    assert_eq!(told(false, 3, 6, |_| None), (None, Some((3, false))));
    assert_eq!(told(false, 3, 6, Some), (None, Some((3, false))), "of a sure record nobody needs to know");
    assert_eq!(told(false, 4, 6, |_| None), (Some("held"), None));
    assert_eq!(told(true, 4, 6, Some), (None, Some((4, true))));
    assert_eq!(told(true, 4, 2, Some), (None, Some((4, true))), "a copy that the record does not know");
    assert_eq!(told(true, 4, 6, |_| None), (None, Some((4, false))), "another one is on its way to its log");
    let unknown = Some((0, false));
    assert_eq!(told(true, first, 6, Some), (None, Some((first, true))), "of a recovery that is not known here");
    let highest = 3 + GENERATION_JUMP_MAX;
    assert_eq!(told(true, highest, 6, Some), (None, Some((highest, true))));
    assert_eq!(told(true, highest + 1, 6, Some), (Some("held"), unknown), "no recoveries are as many");
    assert_eq!(told(true, u64::MAX, 6, Some), (Some("held"), unknown));
    let wrong: [fn(Layout) -> Option<Layout>; 5] = [
        |layout| Some(Layout { generation: Generation(3), ..layout }),
        |layout| Some(Layout { homes: [(ReplicaId(6), LEADER)].into(), ..layout }),
        |layout| Some(Layout { homes: layout.homes.into_keys().map(|id| (id, OWN)).collect(), ..layout }),
        |layout| Some(Layout { current: Copies { write: 3, ..layout.current }, ..layout }),
        |layout| {
            let unknown = ReplicaId(99 + REPLICAS_JUMP_MAX);
            let homes = [(ReplicaId(6), LEADER), (unknown, OWN)].into();
            let members = vec![ReplicaId(6), unknown];
            Some(Layout { current: Copies { members, ..layout.current }, homes, ..layout })
        },
    ];
    for change in wrong {
        assert_eq!(told(true, 4, 6, change), (Some("layout"), unknown), "it has something, and nobody knows what");
    }
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
    let mut given_up = map();
    given_up.put_recovery(RecoveryRecord {
        shard: ShardId(5),
        from: member(2, 7).replica,
        to: ReplicaId(7),
        last: (0, 0),
        given_up: vec![member(1, 6).replica],
        at_ms: 0,
        generation: Generation(3),
        epoch: Epoch(4),
    });
    assert_eq!(taken(&given_up, LEADER, &envelope(5, 6, 7)), refused(5, 6, LEADER), "it was given up");
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
