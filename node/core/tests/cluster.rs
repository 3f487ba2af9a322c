//! A cluster of node cores with a perfect network and disk, as the smallest proof that the parts fit. Faults are the
//! simulator's business.
#![expect(clippy::unwrap_used, reason = "a test harness")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::{Bound, ControlFlow};
use std::sync::Mutex;

use bytes::Bytes;
use skerry_core::command::{
    Command, Condition, Expected, Mutation, Outcome, Read, ReadConsistency, ReadResult, RequestId,
};
use skerry_core::engine::{Engine, EngineError, EngineWrite};
use skerry_core::ids::{ClusterId, Incarnation, NodeId, ShardId, TableId, Token};
use skerry_core::map::{Descriptor, Fragmentation};
use skerry_core::message::PeerMessage;
use skerry_core::node::{
    AdminReply, AdminRequest, Answer, Identity, Input, Node, NodeConfig, Recovered, Removal, Status, TICK_MS, bootstrap,
};
use skerry_core::replica::ReplicaView;
use skerry_core::system::{AdminChange, Fence, NewNode, NewShard, SystemCommand, SystemReply};
use skerry_core::time::{Now, Version};

#[derive(Default)]
struct Memory(Mutex<BTreeMap<Bytes, Bytes>>);

impl Engine for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.0.lock().unwrap().get(key).cloned())
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        let map = self.0.lock().unwrap();
        for (key, value) in map.range::<[u8], _>((Bound::Included(start), Bound::Excluded(end))) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, batch: Vec<EngineWrite>) -> Result<(), EngineError> {
        let mut map = self.0.lock().unwrap();
        for write in batch {
            match write {
                EngineWrite::Put(key, value) => drop(map.insert(key, value)),
                EngineWrite::Delete(key) => drop(map.remove(&key)),
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        Ok(0)
    }
}

struct Host {
    node: Node,
    engine: Memory,
}

#[derive(Default)]
struct Cluster {
    hosts: BTreeMap<NodeId, Host>,
    inbox: VecDeque<(NodeId, NodeId, Vec<PeerMessage>)>,
    answers: BTreeMap<Token, Answer>,
    now: Now,
    tokens: u64,
    requests: u64,
    /// The copies of this shard do not hear one another.
    silenced: Option<ShardId>,
    /// Pieces of snapshots do not arrive.
    loses_chunks: bool,
    /// This node hears nothing from others, and is heard by them.
    deaf: Option<NodeId>,
}

fn new_node(number: u64) -> NewNode {
    NewNode { volume: format!("v{number}"), address: format!("host{number}:1"), zone: format!("zone-{}", number % 3) }
}

impl Cluster {
    fn start() -> Self {
        let mut cluster = Self { now: Now { monotonic_ms: 1_000, wall_ms: 1_000_000 }, ..Self::default() };
        let engine = Memory::default();
        bootstrap(ClusterId("c".into()), &new_node(1), &engine).unwrap();
        cluster.open(NodeId(1), engine, Vec::new());
        cluster.run(40);
        cluster
    }

    fn open(&mut self, id: NodeId, engine: Memory, seeds: Vec<skerry_core::map::NodeRecord>) {
        let new = new_node(id.0);
        let identity = Identity {
            cluster: ClusterId("c".into()),
            node: id,
            incarnation: Incarnation(1),
            address: new.address,
            zone: new.zone,
        };
        let config = NodeConfig { seed: 7, seeds, log_keep_bytes: 10_000, ..NodeConfig::default() };
        let node = Node::open(identity, config, Recovered::default(), &engine, self.now).unwrap();
        self.hosts.insert(id, Host { node, engine });
    }

    fn input(&mut self, to: NodeId, input: Input) {
        let now = self.now;
        let host = self.hosts.get_mut(&to).unwrap();
        host.node.handle(input, &host.engine, now).unwrap();
        let effects = host.node.ready(&host.engine, now).unwrap();
        self.answers.extend(effects.answers);
        for (peer, message) in effects.send {
            let is_lost = match &message {
                PeerMessage::Raft(m) => Some(m.shard) == self.silenced,
                PeerMessage::SnapshotChunk(_) => self.loses_chunks,
                _ => false,
            };
            if !is_lost && self.deaf != Some(peer) {
                self.inbox.push_back((to, peer, vec![message]));
            }
        }
        if let Some(batch) = effects.log {
            self.input(to, Input::LogDurable { sequence: batch.sequence });
        }
        if let Some(mark) = effects.sync {
            self.input(to, Input::EngineDurable { mark });
        }
    }

    fn run(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.now.monotonic_ms += TICK_MS;
            self.now.wall_ms += TICK_MS;
            for id in self.hosts.keys().copied().collect::<Vec<_>>() {
                self.input(id, Input::Tick);
            }
            for _ in 0..100_000 {
                let Some((from, to, messages)) = self.inbox.pop_front() else { break };
                if self.hosts.contains_key(&to) {
                    self.input(to, Input::Peer { from, incarnation: Incarnation(1), messages });
                }
            }
        }
    }

    fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    fn admin(&mut self, request: AdminRequest) -> AdminReply {
        for _ in 0..100 {
            for id in self.hosts.keys().copied().collect::<Vec<_>>() {
                let token = self.token();
                self.input(id, Input::Admin { token, request: request.clone() });
                self.run(4);
                if let Some(Answer::Admin(Ok(reply))) = self.answers.remove(&token) {
                    return reply;
                }
            }
            self.run(10);
        }
        panic!("no answer to {request:?}");
    }

    fn change(&mut self, change: AdminChange) -> SystemReply {
        let fence = Fence { token: 1, based_on: None };
        match self.admin(AdminRequest::Command(SystemCommand::Admin { fence, change })) {
            AdminReply::Command(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    fn join(&mut self, number: u64) -> NodeId {
        let reply = self.admin(AdminRequest::Command(SystemCommand::Join(new_node(number))));
        let AdminReply::Command(SystemReply::Joined(id)) = reply else { panic!("{reply:?}") };
        let seeds = self.hosts[&NodeId(1)].node.map().nodes.values().cloned().collect();
        self.open(id, Memory::default(), seeds);
        self.run(60);
        id
    }

    fn status(&mut self) -> Status {
        match self.admin(AdminRequest::Status) {
            AdminReply::Status(status) => *status,
            other => panic!("{other:?}"),
        }
    }

    fn write(&mut self, table: TableId, command: &Command) -> Outcome {
        for _ in 0..100 {
            for id in self.hosts.keys().copied().collect::<Vec<_>>() {
                let token = self.token();
                self.input(id, Input::Write { token, table, command: command.clone() });
                for _ in 0..4 {
                    self.run(1);
                    match self.answers.remove(&token) {
                        Some(Answer::Write(Ok(outcome))) => return outcome,
                        Some(_) => break,
                        None => {}
                    }
                }
            }
        }
        panic!("no answer to {command:?}");
    }

    fn put(&mut self, table: TableId, key: &str, value: &str) -> Outcome {
        self.requests += 1;
        let request = RequestId { issued: Version::at_ms(self.now.wall_ms), client: 1, sequence: self.requests };
        let put = Mutation::Put {
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Bytes::copy_from_slice(value.as_bytes()),
            expires_ms: None,
        };
        self.write(table, &Command { request: Some(request), conditions: vec![], mutations: vec![put] })
    }

    fn get(&mut self, table: TableId, key: &str) -> Option<Bytes> {
        for _ in 0..100 {
            for id in self.hosts.keys().copied().collect::<Vec<_>>() {
                let token = self.token();
                let read = Read::Get { key: Bytes::copy_from_slice(key.as_bytes()) };
                self.input(id, Input::Read { token, table, read, consistency: ReadConsistency::Linearizable });
                self.run(2);
                if let Some(Answer::Read(Ok(ReadResult::Value(record)))) = self.answers.remove(&token) {
                    return record.map(|r| r.value);
                }
            }
        }
        panic!("no answer to get {key}");
    }

    fn settle(&mut self) {
        for _ in 0..200 {
            self.run(10);
            let map = self.hosts[&NodeId(1)].node.map().clone();
            if map.live_shards().all(|s| s.is_settled()) {
                return;
            }
        }
        let map = self.hosts[&NodeId(1)].node.map().clone();
        panic!("not settled: {:#?}", map.live_shards().filter(|s| !s.is_settled()).collect::<Vec<_>>());
    }
}

/// Copies of other shards than the system's: all, and those that are quiescent.
fn quiescent(cluster: &Cluster) -> (usize, usize) {
    let views = || cluster.hosts.values().flat_map(|h| h.node.replicas()).filter(|v| v.shard != ShardId::SYSTEM);
    (views().count(), views().filter(|v| v.is_quiescent).count())
}

fn table_on(cluster: &mut Cluster, nodes: &[NodeId]) -> TableId {
    let shards = ["", "h", "q"]
        .iter()
        .map(|s| NewShard { start: Bytes::copy_from_slice(s.as_bytes()), nodes: nodes.to_vec() })
        .collect();
    let replication_factor = u32::try_from(nodes.len()).unwrap();
    let change =
        AdminChange::CreateTable { name: "t".into(), fragmentation: Fragmentation::Range, replication_factor, shards };
    let SystemReply::Table(table) = cluster.change(change) else { panic!("no table") };
    cluster.run(60);
    table
}

/// Three nodes, and a table of three shards with a copy on each.
fn three_nodes() -> (Cluster, [NodeId; 3], TableId) {
    let mut cluster = Cluster::start();
    let nodes = [NodeId(1), cluster.join(2), cluster.join(3)];
    let table = table_on(&mut cluster, &nodes);
    (cluster, nodes, table)
}

#[test]
fn three_nodes_serve_a_table_and_conditions_hold() {
    let (mut cluster, _, table) = three_nodes();
    for number in 0..50 {
        let key = format!("{}{number}", if number % 2 == 0 { "a" } else { "s" });
        assert!(matches!(cluster.put(table, &key, "x"), Outcome::Applied(_)));
    }
    assert_eq!(cluster.get(table, "a0"), Some(Bytes::from_static(b"x")));
    assert_eq!(cluster.get(table, "nothing"), None);
    let key = Bytes::from_static(b"a0");
    let command = Command {
        request: None,
        conditions: vec![Condition { key: key.clone(), expected: Expected::Absent }],
        mutations: vec![Mutation::Delete { key }],
    };
    assert!(matches!(cluster.write(table, &command), Outcome::ConditionFailed { condition: 0, actual: Some(_) }));
    let status = cluster.status();
    assert_eq!(status.shards.iter().filter(|(s, _)| s.descriptor.table == table && s.in_step.len() == 3).count(), 3);
}

#[test]
fn copies_of_a_database_at_rest_are_in_step_at_every_look() {
    let (mut cluster, _, _) = three_nodes();
    cluster.settle();
    cluster.run(100);
    for look in 0..100 {
        cluster.run(look % 3);
        let status = cluster.status();
        for (shard, _) in &status.shards {
            assert_eq!(shard.in_step.len(), 3, "look {look}, shard {}", shard.descriptor.shard);
        }
    }
}

#[test]
fn shards_with_nothing_to_do_go_quiescent_and_answer_at_once() {
    let (mut cluster, _, table) = three_nodes();
    cluster.settle();
    cluster.run(200);
    assert_eq!(quiescent(&cluster), (9, 9));
    let terms = |cluster: &Cluster| cluster.hosts[&NodeId(1)].node.replicas().map(|v| v.term).collect::<Vec<_>>();
    let before = terms(&cluster);
    assert!(matches!(cluster.put(table, "a", "x"), Outcome::Applied(_)));
    // Its first act: the shard is awake, and its followers as soon as they hear of it.
    assert_eq!(quiescent(&cluster), (9, 6));
    assert_eq!(cluster.get(table, "z"), None);
    cluster.run(200);
    assert_eq!(quiescent(&cluster), (9, 9));
    assert_eq!(terms(&cluster), before);
}

#[test]
fn quiescent_shards_of_a_dead_node_are_led_anew_as_soon_as_busy_ones() {
    let (mut cluster, nodes, _) = three_nodes();
    cluster.settle();
    cluster.run(200);
    let leading = |cluster: &Cluster, node: &NodeId| {
        let led = |v: &ReplicaView| v.is_leader && v.shard != ShardId::SYSTEM;
        cluster.hosts[node].node.replicas().filter(led).count()
    };
    let dead = *nodes.iter().max_by_key(|node| leading(&cluster, node)).unwrap();
    assert!(leading(&cluster, &dead) > 0);
    cluster.hosts.remove(&dead);
    // Silence is noticed after 14 ticks, who stands first is drawn from nine, and then there is an election.
    cluster.run(28);
    let others = nodes.iter().filter(|node| **node != dead);
    assert_eq!(others.map(|node| leading(&cluster, node)).sum::<usize>(), 3);
}

/// The leader of a shard died while another voter was getting a snapshot: the third could never be elected.
#[test]
fn a_voter_that_waits_for_its_records_votes_all_the_same() {
    let (mut cluster, nodes, table) = three_nodes();
    cluster.settle();
    let shard = cluster.hosts[&NodeId(1)].node.map().route(table, b"a").unwrap().descriptor.shard;
    let view = |cluster: &Cluster, node: &NodeId| cluster.hosts[node].node.replica(shard).unwrap().view();
    let leader = *nodes.iter().find(|node| view(&cluster, node).is_leader).unwrap();
    let mut followers = nodes.iter().copied().filter(|node| *node != leader);
    let (late, third) = (followers.next().unwrap(), followers.next().unwrap());
    let away = cluster.hosts.remove(&late).unwrap();
    for number in 0..200 {
        cluster.put(table, &format!("a{number}"), &"x".repeat(1_000));
    }
    cluster.run(60);
    cluster.loses_chunks = true;
    cluster.hosts.insert(late, away);
    for _ in 0..200 {
        cluster.run(1);
        if view(&cluster, &late).is_blank {
            break;
        }
    }
    assert!(view(&cluster, &late).is_blank);
    cluster.hosts.remove(&leader);
    cluster.run(100);
    assert!(view(&cluster, &third).is_leader && view(&cluster, &late).is_blank);
}

/// It counted as in step for half a second after every time that it asked for votes.
#[test]
fn a_copy_that_does_not_hear_its_leader_is_not_in_step() {
    let (mut cluster, nodes, _) = three_nodes();
    cluster.settle();
    cluster.run(200);
    let leads = |v: &ReplicaView| v.is_leader && v.shard != ShardId::SYSTEM;
    let led = |cluster: &Cluster, node: NodeId| cluster.hosts[&node].node.replicas().filter(leads).count();
    let deaf = *nodes.iter().min_by_key(|node| led(&cluster, **node)).unwrap();
    cluster.deaf = Some(deaf);
    cluster.run(60);
    for _ in 0..200 {
        cluster.run(1);
        let others = cluster.hosts.iter().filter(|(node, _)| **node != deaf);
        for view in others.flat_map(|(_, host)| host.node.replicas()).filter(leads) {
            let of = view.descriptor.members.iter().find(|m| m.replica.node == deaf).unwrap();
            assert!(!view.in_step.contains(&of.replica.id), "shard {}", view.shard);
        }
    }
}

#[test]
fn map_has_new_members_only_once_a_majority_of_them_knows() {
    let (mut cluster, nodes, _) = three_nodes();
    let four = cluster.join(4);
    let shard = ShardId(1);
    cluster.change(AdminChange::SetTargets(vec![(shard, vec![nodes[1], nodes[2], four])]));
    let is_moved = |d: &Descriptor| {
        !d.is_joint()
            && d.members.iter().map(|m| m.replica.node).collect::<BTreeSet<_>>()
                == BTreeSet::from([nodes[1], nodes[2], four])
    };
    let moved = |cluster: &Cluster| {
        let replicas = cluster.hosts.values().filter_map(|h| h.node.replica(shard));
        replicas.map(|r| r.view()).any(|v| v.is_leader && is_moved(&v.descriptor))
    };
    for _ in 0..1_000 {
        if moved(&cluster) {
            break;
        }
        cluster.run(1);
    }
    assert!(moved(&cluster));
    cluster.silenced = Some(shard);
    cluster.run(40);
    assert!(!is_moved(&cluster.hosts[&NodeId(1)].node.map().shards[&shard].descriptor));
    cluster.silenced = None;
    cluster.settle();
    assert!(is_moved(&cluster.hosts[&NodeId(1)].node.map().shards[&shard].descriptor));
}

#[test]
fn a_retried_request_takes_effect_once() {
    let mut cluster = Cluster::start();
    let table = table_on(&mut cluster, &[NodeId(1)]);
    let request = Some(RequestId { issued: Version::at_ms(cluster.now.wall_ms), client: 9, sequence: 1 });
    let put = Mutation::Put { key: Bytes::from_static(b"k"), value: Bytes::from_static(b"once"), expires_ms: None };
    let command = Command { request, conditions: vec![], mutations: vec![put] };
    let first = cluster.write(table, &command);
    cluster.put(table, "k", "later");
    assert_eq!(cluster.write(table, &command), first);
    assert_eq!(cluster.get(table, "k"), Some(Bytes::from_static(b"later")));
}

#[test]
fn shards_move_to_new_nodes_and_the_old_ones_are_certified() {
    let (mut cluster, nodes, table) = three_nodes();
    for number in 0..40 {
        cluster.put(table, &format!("{}{number}", ['a', 'j', 's'][number % 3]), "x");
    }
    let (four, five) = (cluster.join(4), cluster.join(5));
    let shards: Vec<ShardId> = cluster.hosts[&NodeId(1)]
        .node
        .map()
        .live_shards()
        .filter(|s| s.descriptor.table == table)
        .map(|s| s.descriptor.shard)
        .collect();
    let targets = shards.iter().map(|s| (*s, vec![nodes[0], four, five])).collect();
    cluster.change(AdminChange::SetTargets(targets));
    cluster.settle();
    assert_eq!(cluster.get(table, "j1"), Some(Bytes::from_static(b"x")));
    cluster.change(AdminChange::Drain(nodes[2]));
    cluster.run(200);
    let request = AdminRequest::CertifyRemoval { node: nodes[2], incarnation: Incarnation(1) };
    let removal = cluster.admin(request);
    assert!(matches!(removal, AdminReply::Removal(Removal::Safe(_))), "{removal:?}");
    for number in 0..40 {
        let key = format!("{}{number}", ['a', 'j', 's'][number % 3]);
        assert_eq!(cluster.get(table, &key), Some(Bytes::from_static(b"x")), "{key}");
    }
}
