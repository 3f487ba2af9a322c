//! What one node that is mistaken, a state of the database that seldom is, or two troubles at once must not do.

use bytes::Bytes;
use skerry_core::command::{Read, ReadConsistency};
use skerry_core::ids::{Epoch, Generation, Incarnation, NodeId, ReplicaId, ShardId, TableId};
use skerry_core::log::{EntryKind, LogEntry};
use skerry_core::map::{
    Descriptor, Fragmentation, MapDelta, Member, NodeRecord, NodeState, Replica, Role, ShardRecord,
};
use skerry_core::message::{PeerMessage, RaftEnvelope, RaftKind};
use skerry_core::node::{AdminReply, AdminRequest, Answer, Input, Recovered, Refusal, WantedRecovery};
use skerry_core::replica::state::ReplicaState;
use skerry_core::system::{AdminChange, NewShard, SystemReply};

use crate::harness::{Cluster, Memory, table_on};
use crate::recovery::{LONG, lose, recover_all};

pub(crate) const START: Incarnation = Incarnation(1);

pub(crate) fn nodes(count: u64) -> Cluster {
    let mut cluster = Cluster::start();
    for number in 2..=count {
        cluster.join(number);
    }
    cluster.settle();
    cluster.run(400);
    cluster
}

pub(crate) fn shards_on(cluster: &Cluster, node: NodeId) -> Vec<ShardId> {
    let all = cluster.hosts[&node].node.replicas().map(|view| view.shard);
    all.filter(|shard| *shard != ShardId::SYSTEM).collect()
}

pub(crate) fn map_from(cluster: &mut Cluster, from: NodeId, to: NodeId, delta: MapDelta) {
    cluster.input(to, Input::Peer { from, incarnation: START, messages: vec![PeerMessage::Map(delta)] });
}

/// A map of the future in which only the liar has copies.
fn forged(cluster: &Cluster, liar: NodeId, generations: u64) -> MapDelta {
    let mut delta = cluster.hosts[&NodeId(1)].node.map().since(Epoch(0));
    delta.epoch = Epoch(delta.epoch.0 + 1_000);
    let friends = delta.shards.last().expect("a shard").descriptor.members.clone();
    for record in &mut delta.shards {
        record.epoch = delta.epoch;
        if record.descriptor.shard == ShardId::SYSTEM {
            record.descriptor.members = friends.clone();
            continue;
        }
        record.descriptor.generation.0 += generations;
        record.descriptor.members.retain(|member| member.replica.node == liar);
        record.assigned.retain(|copy| copy.node == liar);
    }
    delta
}

/// Nodes that have just started know nobody whose word counts more than another's, and tell one another what they hear.
#[test]
fn what_one_node_says_does_not_become_the_word_of_two_by_being_passed_on() {
    let mut cluster = nodes(8);
    let own = [NodeId(6), NodeId(7), NodeId(8)];
    table_on(&mut cluster, &own);
    cluster.settle();
    let delta = forged(&cluster, own[2], 0);
    let started = &own[..2];
    for node in started {
        assert!(cluster.hosts[node].node.replica(ShardId::SYSTEM).is_none());
        let host = cluster.hosts.remove(node).unwrap();
        cluster.restart(host);
    }
    for node in started {
        assert_eq!(shards_on(&cluster, *node).len(), 3);
        map_from(&mut cluster, own[2], *node, delta.clone());
    }
    cluster.run(70);
    for node in started {
        assert_eq!(shards_on(&cluster, *node).len(), 3, "{node} has ended its copies on the word of one node");
    }
}

/// What is wrong with the map here must not be the reason to refuse the one that is right.
#[test]
fn a_map_that_one_node_has_made_up_gives_way_to_that_of_the_steward() {
    for generations in [0, 9] {
        let mut cluster = nodes(8);
        let own = [NodeId(6), NodeId(7), NodeId(8)];
        table_on(&mut cluster, &own);
        cluster.settle();
        let delta = forged(&cluster, own[2], generations);
        let made_up = delta.epoch;
        map_from(&mut cluster, own[2], own[0], delta.clone());
        assert_ne!(
            cluster.hosts[&own[0]].node.map().epoch,
            made_up,
            "only nodes with a copy of the system shard count"
        );
        let system = &cluster.hosts[&own[0]].node.map().shards[&ShardId::SYSTEM];
        let holder = system.descriptor.members[1].replica.node;
        map_from(&mut cluster, holder, own[0], delta);
        assert_eq!(cluster.hosts[&own[0]].node.map().epoch, made_up);
        cluster.run(600);
        let (here, there) = (cluster.hosts[&own[0]].node.map(), cluster.hosts[&NodeId(1)].node.map());
        assert_eq!(here, there, "{:?}", cluster.hosts[&own[0]].node.refusals());
    }
}

/// The same nodes had the majority of the system shard and that of a table, and both have moved on since the survivor
/// was last heard of.
#[test]
fn a_map_that_has_gone_back_with_the_system_shard_is_taken_by_nodes_that_know_later_members() {
    let mut cluster = nodes(4);
    let holders = cluster.hosts[&NodeId(1)].node.map().shards[&ShardId::SYSTEM].descriptor.members.clone();
    let holders: Vec<NodeId> = holders.iter().map(|member| member.replica.node).collect();
    let four = *[1, 2, 3, 4].map(NodeId).iter().find(|node| !holders.contains(node)).expect("a node without a copy");
    let (first, lost) = (holders[0], holders[1..].to_vec());
    table_on(&mut cluster, &[lost[0]]);
    cluster.settle();
    let shards = shards_on(&cluster, lost[0]);
    cluster.deaf = Some(first);
    cluster.run(100);
    let targets = shards.iter().map(|shard| (*shard, vec![lost[0], lost[1], four])).collect();
    cluster.change(AdminChange::SetTargets(targets));
    cluster.run(400);
    assert_eq!(shards_on(&cluster, four), shards);
    cluster.deaf = None;
    lost.iter().for_each(|node| drop(cluster.hosts.remove(node)));
    cluster.inbox.clear();
    cluster.run(LONG);
    let survivor = cluster.hosts[&first].node.replica(ShardId::SYSTEM).unwrap().view().replica;
    let wanted = WantedRecovery { shard: ShardId::SYSTEM, survivor, based_on: Epoch(0), lost: lost.clone() };
    let answer = cluster.ask(first, AdminRequest::RecoverSystem(wanted));
    assert!(matches!(answer, Ok(AdminReply::Command(SystemReply::Done(_)))), "{answer:?}");
    cluster.run(LONG);
    let (here, there) = (cluster.hosts[&four].node.map().epoch, cluster.hosts[&first].node.map().epoch);
    assert_eq!(here, there, "{:?}", cluster.hosts[&four].node.refusals());
    recover_all(&mut cluster, &lost);
    cluster.run(60);
    assert_eq!(shards_on(&cluster, four), shards);
    let views: Vec<_> = cluster.hosts[&four].node.replicas().collect();
    assert!(views.iter().all(|view| view.is_leader), "{views:#?}");
}

/// Shards of a table of which the steward knows the leader.
fn led(cluster: &mut Cluster, table: TableId) -> usize {
    cluster.status().shards.iter().filter(|(r, age_ms)| r.descriptor.table == table && *age_ms < 3_000).count()
}

fn is_heard(cluster: &mut Cluster, node: NodeId) -> bool {
    cluster.status().nodes.iter().any(|(report, age_ms)| report.node == node && *age_ms < 3_000)
}

/// The system shard goes on from a copy that has not heard of the last table.
#[test]
fn a_node_that_leads_a_shard_which_the_map_has_lost_is_still_heard() {
    let mut cluster = nodes(4);
    let holders = cluster.hosts[&NodeId(1)].node.map().shards[&ShardId::SYSTEM].descriptor.members.clone();
    let holders: Vec<NodeId> = holders.iter().map(|member| member.replica.node).collect();
    let four = *[1, 2, 3, 4].map(NodeId).iter().find(|node| !holders.contains(node)).expect("a node without a copy");
    let first = holders[0];
    let known = table_on(&mut cluster, &[four]);
    cluster.settle();
    // Meanwhile the others decide.
    cluster.deaf = Some(first);
    cluster.run(100);
    let shards = vec![NewShard { start: Bytes::new(), nodes: vec![four] }];
    let (name, fragmentation) = ("later".to_owned(), Fragmentation::Range);
    cluster.change(AdminChange::CreateTable { name, fragmentation, replication_factor: 1, shards });
    cluster.run(60);
    assert_eq!(shards_on(&cluster, four).len(), 4);
    cluster.deaf = None;
    let lost: Vec<NodeId> = holders[1..].to_vec();
    for node in &lost {
        cluster.hosts.remove(node);
    }
    cluster.inbox.clear();
    cluster.run(LONG);
    assert!(!cluster.hosts[&first].node.replica(ShardId::SYSTEM).unwrap().view().is_leader);
    let survivor = cluster.hosts[&first].node.replica(ShardId::SYSTEM).unwrap().view().replica;
    let wanted = WantedRecovery { shard: ShardId::SYSTEM, survivor, based_on: Epoch(0), lost };
    let answer = cluster.ask(first, AdminRequest::RecoverSystem(wanted));
    assert!(matches!(answer, Ok(AdminReply::Command(SystemReply::Done(_)))), "{answer:?}");
    cluster.run(LONG);
    assert_eq!(cluster.status().map.live_shards().count(), 3, "the later table is lost");
    let led = led(&mut cluster, known);
    assert_eq!(led, 3, "{:?}", cluster.hosts[&first].node.refusals());
    assert!(is_heard(&mut cluster, four));
}

/// `bytes` of a shard is what was ever put: it only rises.
#[test]
fn a_node_is_heard_however_much_was_ever_written() {
    let mut cluster = nodes(4);
    let steward = cluster.status().steward;
    let other = *cluster.hosts.keys().find(|node| **node != steward).unwrap();
    let table = table_on(&mut cluster, &[other]);
    cluster.settle();
    cluster.put(table, "a", "x");
    cluster.run(80);
    let mut host = cluster.hosts.remove(&other).unwrap();
    for stored in host.synced.values_mut() {
        if let Ok(state) = ReplicaState::decode(stored)
            && state.descriptor.table == table
        {
            let state = ReplicaState { bytes: 1 << 52, ..state };
            let skerry_core::engine::EngineWrite::Put(_, value) = state.write() else { unreachable!() };
            *stored = value;
        }
    }
    cluster.restart(host);
    cluster.run(200);
    assert!(is_heard(&mut cluster, other));
    assert_eq!(led(&mut cluster, table), 3, "{:?}", cluster.hosts[&steward].node.refusals());
    // And it can be moved.
    let shards: Vec<ShardId> = shards_on(&cluster, other);
    let targets = shards.into_iter().map(|shard| (shard, vec![steward])).collect();
    cluster.change(AdminChange::SetTargets(targets));
    cluster.settle();
}

/// What is left of a shard is a copy whose log ends with an entry of a later release.
#[test]
fn a_copy_that_cannot_read_its_log_does_not_end_its_node_when_it_is_to_go_on_alone() {
    let mut cluster = nodes(5);
    let own = [NodeId(3), NodeId(4), NodeId(5)];
    let table = table_on(&mut cluster, &own);
    cluster.settle();
    cluster.put(table, "a", "x");
    cluster.run(80);
    lose(&mut cluster, &own[1..]);
    let mut host = cluster.hosts.remove(&own[0]).unwrap();
    let shard = host.node.map().route(table, b"a").unwrap().descriptor.shard;
    let log = host.logs.get_mut(&shard).unwrap();
    let (index, term) = log.entries.last().map_or(log.start, |last| (last.index, last.term));
    let data = Bytes::from_static(&[1, 9, 0]);
    log.entries.push(LogEntry { index: index + 1, term, kind: EntryKind::Normal, data, context: Bytes::new() });
    cluster.restart(host);
    cluster.run(LONG);
    recover_all(&mut cluster, &own[1..]);
    cluster.run(60);
    assert_eq!(shards_on(&cluster, own[0]).len(), 3);
    assert!(is_heard(&mut cluster, own[0]));
}

fn member(node: u64, id: u64) -> Member {
    Member { replica: Replica { node: NodeId(node), id: ReplicaId(id) }, role: Role::Voter }
}

fn record(shard: u64, table: u32, epoch: u64, members: Vec<Member>) -> ShardRecord {
    let assigned = members.iter().map(|m| m.replica).collect();
    let target = members.iter().map(|m| m.replica.node).collect();
    let (shard, table, generation) = (ShardId(shard), TableId(table), Generation(5));
    let descriptor = Descriptor { shard, table, generation, members, ..Descriptor::default() };
    ShardRecord { descriptor, target, assigned, epoch: Epoch(epoch), quorum: None }
}

/// A large map comes in pieces: which ids were given by the epoch of one that is not the last is not known.
#[test]
fn a_node_that_lost_its_store_knows_only_from_a_whole_map_which_ids_it_may_have_spoken_under() {
    let node = |id: u64| NodeRecord {
        id: NodeId(id),
        incarnation: Incarnation(if id == 3 { 2 } else { 1 }),
        volume: format!("v{id}"),
        address: format!("host{id}:1"),
        zone: String::new(),
        state: NodeState::Active,
        epoch: Epoch(9),
    };
    let mut cluster = Cluster::start();
    let recovered = Recovered { is_store_new: true, ..Recovered::default() };
    cluster.open_start((NodeId(3), Incarnation(2)), Memory::default(), recovered, [1, 2, 3].map(node).to_vec());
    let cluster_id = cluster.hosts[&NodeId(3)].node.identity().cluster.clone();
    let system = record(0, 0, 10, vec![member(1, 1), member(2, 2)]);
    let piece = MapDelta {
        cluster: cluster_id.clone(),
        epoch: Epoch(10),
        nodes: [1, 2, 3].map(node).to_vec(),
        shards: vec![system],
        ..MapDelta::default()
    };
    let rest = MapDelta {
        cluster: cluster_id,
        since: Epoch(10),
        epoch: Epoch(20),
        replica_max: ReplicaId(40),
        shards: vec![record(4, 1, 20, vec![member(1, 30), member(2, 31), member(3, 32)])],
        ..MapDelta::default()
    };
    for delta in [piece, rest] {
        for from in [NodeId(1), NodeId(2)] {
            map_from(&mut cluster, from, NodeId(3), delta.clone());
        }
    }
    let heartbeat = RaftEnvelope::empty(ShardId(4), (ReplicaId(30), ReplicaId(32)), RaftKind::Heartbeat, 7);
    let messages = vec![PeerMessage::Raft(heartbeat)];
    cluster.input(NodeId(3), Input::Peer { from: NodeId(1), incarnation: START, messages });
    assert_eq!(shards_on(&cluster, NodeId(3)), [], "it speaks under an id that it may have spoken under");
}

/// They were a majority, and so far only one node has told them that the shard went on without them.
#[test]
fn copies_that_were_given_up_serve_nobody_while_their_end_is_being_confirmed() {
    let mut cluster = nodes(8);
    let own = [NodeId(6), NodeId(7), NodeId(8)];
    let table = table_on(&mut cluster, &own);
    cluster.settle();
    cluster.put(table, "a", "old");
    let away = lose(&mut cluster, &own[1..]);
    recover_all(&mut cluster, &own[1..]);
    cluster.run(60);
    cluster.put(table, "a", "new");
    cluster.run(20);
    cluster.hosts.retain(|node, _| *node == NodeId(1));
    away.into_iter().for_each(|host| cluster.restart(host));
    let mut is_map_known = false;
    for _ in 0..20 {
        cluster.run(4);
        for node in &own[1..] {
            let (token, key) = (cluster.token(), Bytes::from_static(b"a"));
            let consistency = ReadConsistency::Linearizable;
            cluster.input(*node, Input::Read { token, table, read: Read::Get { key }, consistency });
            cluster.run(2);
            let answer = cluster.answers.remove(&token);
            is_map_known |= matches!(answer, Some(Answer::Read(Err(Refusal::NotLeader { .. }))));
            assert!(!matches!(answer, Some(Answer::Read(Ok(_)))), "{node} answers {answer:?}");
        }
    }
    assert!(is_map_known);
    let shard = cluster.hosts[&own[1]].node.map().route(table, b"a").unwrap().descriptor.shard;
    let views = own[1..].iter().filter_map(|node| cluster.hosts[node].node.replica(shard)).map(|r| r.view());
    assert_eq!(views.filter(|view| view.is_leader).count(), 1, "nobody was led: this shows nothing");
}
