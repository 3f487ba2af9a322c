//! The cluster: node cores, a network that loses what it is told to, and disks in memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use skerry_core::command::{Command, Mutation, Outcome, Read, ReadConsistency, ReadResult, RequestId};
use skerry_core::ids::{ClusterId, Incarnation, NodeId, ShardId, TableId, Token};
use skerry_core::level::FormatLevel;
use skerry_core::log::{LogWrite, RecoveredLog};
use skerry_core::map::{Fragmentation, NodeRecord};
use skerry_core::message::PeerMessage;
use skerry_core::node::{
    AdminRefusal, AdminReply, AdminRequest, Answer, Identity, Input, LogBatch, Node, NodeConfig, Recovered, Refusal,
    Status, bootstrap,
};
use skerry_core::system::{AdminChange, Fence, NewNode, NewShard, SystemCommand, SystemRefusal, SystemReply};
pub(crate) use skerry_core::testing::MemoryEngine as Memory;
use skerry_core::time::{Now, TICK_MS, Version};

pub(crate) struct Host {
    pub(crate) node: Node,
    pub(crate) engine: Memory,
    /// What a crash leaves of the store.
    pub(crate) synced: BTreeMap<Bytes, Bytes>,
    pub(crate) logs: BTreeMap<ShardId, RecoveredLog>,
}

/// What a new process would find in the log.
fn fold(logs: &mut BTreeMap<ShardId, RecoveredLog>, write: LogWrite) {
    let empty = RecoveredLog { replica: write.replica, ..RecoveredLog::default() };
    let log = logs.entry(write.shard).or_insert_with(|| empty.clone());
    if write.replica < log.replica {
        return;
    }
    if write.destroyed {
        logs.remove(&write.shard);
        return;
    }
    if write.replica > log.replica {
        *log = empty;
    }
    if let Some(start) = write.reset {
        (log.start, log.entries) = (start, Vec::new());
    }
    for entry in write.entries {
        log.entries.retain(|e| e.index < entry.index);
        log.entries.push(entry);
    }
    log.hard_state = write.hard_state.unwrap_or(log.hard_state);
}

#[derive(Default)]
pub(crate) struct Cluster {
    pub(crate) hosts: BTreeMap<NodeId, Host>,
    pub(crate) inbox: VecDeque<(NodeId, NodeId, Vec<PeerMessage>)>,
    pub(crate) answers: BTreeMap<Token, Answer>,
    /// Whoever asked once is answered once.
    pub(crate) answered: BTreeSet<Token>,
    pub(crate) now: Now,
    pub(crate) tokens: u64,
    pub(crate) requests: u64,
    /// The copies of this shard do not hear one another.
    pub(crate) silenced: Option<ShardId>,
    /// Pieces of snapshots do not arrive.
    pub(crate) loses_chunks: bool,
    /// So many pieces of snapshots arrive yet. `None` = all.
    pub(crate) chunks_left: Option<usize>,
    /// Every snapshot that was offered: by which node, and its id.
    pub(crate) offers: BTreeSet<(NodeId, ShardId, u64)>,
    /// Reports to the steward do not arrive.
    pub(crate) loses_reports: bool,
    /// The same of these nodes alone.
    pub(crate) unreported: BTreeSet<NodeId>,
    /// Shards that reports to the steward had something to say of.
    pub(crate) shards_told: usize,
    /// This node hears nothing from others, and is heard by them.
    pub(crate) deaf: Option<NodeId>,
    /// Of this node's copies, those that have records are not heard.
    pub(crate) hushed: Option<NodeId>,
    /// Request ids that a shard remembers. `None` = as many as in production.
    pub(crate) requests_max: Option<usize>,
    /// Bytes of its logs, and of pre-images, that a node keeps in memory. `None` = as many as in production.
    pub(crate) memory: Option<(usize, usize)>,
    /// The highest format levels of nodes of an earlier release. All others have the newest.
    pub(crate) highest_levels: BTreeMap<NodeId, FormatLevel>,
    /// By how many milliseconds nodes' wall clocks are ahead.
    pub(crate) ahead_ms: BTreeMap<NodeId, u64>,
    /// No sync of this node's store ends; and the one under way there.
    pub(crate) unsynced: Option<NodeId>,
    pub(crate) unsynced_mark: Option<u64>,
    /// Nothing that is written to these nodes' logs becomes durable.
    pub(crate) hung: BTreeSet<NodeId>,
    /// Log batches of these nodes that wait to become durable.
    pub(crate) unlogged: BTreeMap<NodeId, Vec<LogBatch>>,
}

pub(crate) fn new_node(number: u64) -> NewNode {
    NewNode { volume: format!("v{number}"), address: format!("host{number}:1"), zone: format!("zone-{}", number % 3) }
}

impl Cluster {
    pub(crate) fn start() -> Self {
        Self::start_with(None)
    }

    /// A cluster whose shards remember so many request ids.
    pub(crate) fn start_with(requests_max: Option<usize>) -> Self {
        Self { requests_max, ..Self::default() }.begin()
    }

    pub(crate) fn begin(mut self) -> Self {
        self.now = Now { monotonic_ms: 1_000, wall_ms: 1_000_000 };
        let mut cluster = self;
        let engine = Memory::default();
        bootstrap(ClusterId("c".into()), &new_node(1), &engine).unwrap();
        cluster.open(NodeId(1), engine, Vec::new());
        cluster.run(40);
        cluster
    }

    pub(crate) fn open(&mut self, id: NodeId, engine: Memory, seeds: Vec<NodeRecord>) {
        self.open_start((id, Incarnation(1)), engine, Recovered::default(), seeds);
    }

    /// A start of a node, on what is left of its volume.
    pub(crate) fn open_start(
        &mut self,
        (id, incarnation): (NodeId, Incarnation),
        engine: Memory,
        recovered: Recovered,
        seeds: Vec<NodeRecord>,
    ) {
        let new = new_node(id.0);
        let cluster = ClusterId("c".into());
        let identity = Identity { cluster, node: id, incarnation, address: new.address, zone: new.zone };
        let mut config = NodeConfig { seed: 7, seeds, log_keep_bytes: 10_000, ..NodeConfig::default() };
        config.highest_level = self.highest_level(id);
        config.requests_max = self.requests_max.unwrap_or(config.requests_max);
        if let Some((log, preimages)) = self.memory {
            // Many more than the node may keep in all.
            (config.log_keep_bytes, config.snapshot_piece_bytes) = (100_000, 2_000);
            (config.log_memory_bytes_max, config.preimage_bytes_max) = (log, preimages);
        }
        let (synced, logs) = (engine.records(), recovered.logs.clone());
        let node = Node::open(identity, config, recovered, &engine, self.now).unwrap();
        self.hosts.insert(id, Host { node, engine, synced, logs });
    }

    pub(crate) fn highest_level(&self, id: NodeId) -> FormatLevel {
        self.highest_levels.get(&id).copied().unwrap_or(FormatLevel::NEWEST)
    }

    /// A process starts on a volume whose process crashed: what the store had not synced is gone.
    pub(crate) fn restart(&mut self, host: Host) {
        let incarnation = host.node.identity().incarnation;
        self.start_as(host, incarnation);
    }

    /// The same, as a start that others tell from the one before.
    pub(crate) fn start_anew(&mut self, host: Host) {
        let incarnation = Incarnation(host.node.identity().incarnation.0 + 1);
        self.start_as(host, incarnation);
    }

    fn start_as(&mut self, host: Host, incarnation: Incarnation) {
        let id = host.node.identity().node;
        let seeds = host.node.map().nodes.values().cloned().collect();
        let recovered = Recovered { logs: host.logs, ..Recovered::default() };
        self.open_start((id, incarnation), Memory::holding(host.synced), recovered, seeds);
    }

    pub(crate) fn input(&mut self, to: NodeId, input: Input) {
        let ahead_ms = self.ahead_ms.get(&to).copied().unwrap_or(0);
        let now = Now { wall_ms: self.now.wall_ms.saturating_add(ahead_ms), ..self.now };
        let host = self.hosts.get_mut(&to).unwrap();
        host.node.handle(input, &host.engine, now).unwrap();
        let effects = host.node.ready(&host.engine, now).unwrap();
        for (token, answer) in effects.answers {
            assert!(self.answered.insert(token), "{token:?} is answered again: {answer:?}");
            self.answers.insert(token, answer);
        }
        let node = &host.node;
        let is_hushed =
            |shard| self.hushed == Some(to) && node.replica(shard).is_some_and(|replica| !replica.view().is_blank);
        for (peer, message) in effects.send {
            let is_lost = match &message {
                PeerMessage::Raft(m) => Some(m.shard) == self.silenced || is_hushed(m.shard),
                PeerMessage::SnapshotAck(ack) => is_hushed(ack.shard),
                PeerMessage::SnapshotOffer(offer) => {
                    self.offers.insert((to, offer.descriptor.shard, offer.id));
                    false
                }
                PeerMessage::SnapshotChunk(_) => {
                    let is_last = self.chunks_left == Some(0);
                    self.chunks_left = self.chunks_left.map(|left| left.saturating_sub(1));
                    self.loses_chunks || is_last
                }
                PeerMessage::Report(report) => {
                    self.shards_told += report.led.changed.len() + report.led.resigned.len();
                    self.loses_reports || self.unreported.contains(&to)
                }
                _ => false,
            };
            if !is_lost && self.deaf != Some(peer) {
                self.inbox.push_back((to, peer, vec![message]));
            }
        }
        if let Some(batch) = effects.log {
            self.unlogged.entry(to).or_default().push(batch);
            if !self.hung.contains(&to) {
                self.mend_disk(to);
            }
        }
        if let Some(mark) = effects.sync.filter(|_| self.unsynced == Some(to)) {
            self.unsynced_mark = Some(mark);
        } else if let Some(mark) = effects.sync {
            let host = self.hosts.get_mut(&to).unwrap();
            host.synced = host.engine.records();
            self.input(to, Input::EngineDurable { mark });
        }
    }

    /// Lets the node's disk write again, and what waits for it become durable.
    pub(crate) fn mend_disk(&mut self, node: NodeId) {
        self.hung.remove(&node);
        for batch in self.unlogged.remove(&node).unwrap_or_default() {
            let host = self.hosts.get_mut(&node).unwrap();
            batch.writes.into_iter().for_each(|write| fold(&mut host.logs, write));
            self.input(node, Input::LogDurable { sequence: batch.sequence });
        }
    }

    pub(crate) fn run(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.now.monotonic_ms += TICK_MS;
            self.now.wall_ms += TICK_MS;
            for id in self.hosts.keys().copied().collect::<Vec<_>>() {
                self.input(id, Input::Tick);
            }
            for _ in 0..100_000 {
                let Some((from, to, messages)) = self.inbox.pop_front() else { break };
                let sender = self.hosts.get(&from).map_or(Incarnation(1), |host| host.node.identity().incarnation);
                if self.hosts.contains_key(&to) {
                    self.input(to, Input::Peer { from, incarnation: sender, messages });
                }
            }
        }
    }

    pub(crate) fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    /// Asks one node and returns its answer.
    pub(crate) fn ask(&mut self, node: NodeId, request: AdminRequest) -> Result<AdminReply, AdminRefusal> {
        let token = self.token();
        self.input(node, Input::Admin { token, request: Box::new(request) });
        for _ in 0..40 {
            if let Some(Answer::Admin(answer)) = self.answers.remove(&token) {
                return answer;
            }
            self.run(1);
        }
        panic!("{node} did not answer");
    }

    pub(crate) fn admin(&mut self, request: AdminRequest) -> AdminReply {
        for _ in 0..100 {
            for id in self.hosts.keys().copied().collect::<Vec<_>>() {
                let token = self.token();
                self.input(id, Input::Admin { token, request: Box::new(request.clone()) });
                self.run(4);
                if let Some(Answer::Admin(Ok(reply))) = self.answers.remove(&token) {
                    return reply;
                }
            }
            self.run(10);
        }
        panic!("no answer to {request:?}");
    }

    /// Asks until the system shard's leader refuses it.
    pub(crate) fn refused(&mut self, request: AdminRequest) -> SystemRefusal {
        for _ in 0..100 {
            for id in self.hosts.keys().copied().collect::<Vec<_>>() {
                let token = self.token();
                self.input(id, Input::Admin { token, request: Box::new(request.clone()) });
                self.run(4);
                match self.answers.remove(&token) {
                    Some(Answer::Admin(Err(AdminRefusal::Refused(refusal)))) => return refusal,
                    Some(Answer::Admin(Ok(reply))) => panic!("taken: {reply:?}"),
                    _ => {}
                }
            }
            self.run(10);
        }
        panic!("no answer to {request:?}");
    }

    pub(crate) fn change(&mut self, change: AdminChange) -> SystemReply {
        let fence = Fence { token: 1, based_on: None };
        match self.admin(AdminRequest::Command(SystemCommand::Admin { fence, change })) {
            AdminReply::Command(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    /// Sets a target without waiting for what becomes of it.
    pub(crate) fn target_next(&mut self, shard: ShardId, nodes: Vec<NodeId>) {
        let change = AdminChange::SetTargets(vec![(shard, nodes)]);
        let command = SystemCommand::Admin { fence: Fence { token: 1, based_on: None }, change };
        let leads = |h: &Host| h.node.replica(ShardId::SYSTEM).is_some_and(|r| r.view().is_leader);
        let steward = self.hosts.iter().find(|(_, h)| leads(h)).map(|(id, _)| *id).unwrap();
        let token = self.token();
        self.input(steward, Input::Admin { token, request: Box::new(AdminRequest::Command(command)) });
    }

    pub(crate) fn join(&mut self, number: u64) -> NodeId {
        let join = SystemCommand::JoinAt { node: new_node(number), level: self.highest_level(NodeId(number)) };
        let reply = self.admin(AdminRequest::Command(join));
        let AdminReply::Command(SystemReply::Joined(id)) = reply else { panic!("{reply:?}") };
        let seeds = self.hosts[&NodeId(1)].node.map().nodes.values().cloned().collect();
        self.open(id, Memory::default(), seeds);
        self.run(60);
        id
    }

    pub(crate) fn status(&mut self) -> Status {
        match self.admin(AdminRequest::Status) {
            AdminReply::Status(status) => *status,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn write(&mut self, table: TableId, command: &Command) -> Outcome {
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

    /// The first answer of the node that leads the key's shard.
    pub(crate) fn try_write(&mut self, table: TableId, command: &Command) -> Result<Outcome, Refusal> {
        for _ in 0..100 {
            let leader = self.leader_of(table, command.mutations[0].key());
            let token = self.token();
            if let Some(leader) = leader {
                self.input(leader, Input::Write { token, table, command: command.clone() });
            }
            self.run(4);
            match self.answers.remove(&token) {
                Some(Answer::Write(Err(Refusal::NotLeader { .. }))) | None => {}
                Some(Answer::Write(answer)) => return answer,
                Some(other) => panic!("{other:?}"),
            }
        }
        panic!("no answer to {command:?}");
    }

    /// The node that leads the shard of a key, if one does.
    pub(crate) fn leader_of(&self, table: TableId, key: &[u8]) -> Option<NodeId> {
        let newest = self.hosts.values().map(|host| host.node.map()).max_by_key(|map| map.epoch)?;
        let shard = newest.route(table, key)?.descriptor.shard;
        let leads = |host: &&Host| host.node.replica(shard).is_some_and(|replica| replica.view().is_leader);
        let leaders = self.hosts.values().filter(leads);
        leaders.max_by_key(|host| host.node.replica(shard).map(|r| r.view().term)).map(|h| h.node.identity().node)
    }

    /// The refusal of an admin command, by whoever leads the system shard.
    pub(crate) fn refusal(&mut self, command: &SystemCommand) -> SystemRefusal {
        self.refused(AdminRequest::Command(command.clone()))
    }

    pub(crate) fn put(&mut self, table: TableId, key: &str, value: &str) -> Outcome {
        let command = self.put_command(key, value);
        self.write(table, &command)
    }

    /// Asks one node, and does not wait.
    pub(crate) fn put_at(&mut self, node: NodeId, table: TableId, key: &str, value: &str) {
        let (token, command) = (self.token(), self.put_command(key, value));
        self.input(node, Input::Write { token, table, command });
    }

    fn put_command(&mut self, key: &str, value: &str) -> Command {
        self.requests += 1;
        let request = RequestId { issued: Version::at_ms(self.now.wall_ms), client: 1, sequence: self.requests };
        let put = Mutation::Put {
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Bytes::copy_from_slice(value.as_bytes()),
            expires_ms: None,
        };
        Command { request: Some(request), conditions: vec![], mutations: vec![put] }
    }

    pub(crate) fn get(&mut self, table: TableId, key: &str) -> Option<Bytes> {
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

    pub(crate) fn settle(&mut self) {
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

pub(crate) fn table_on(cluster: &mut Cluster, nodes: &[NodeId]) -> TableId {
    table_as(cluster, Fragmentation::Range, nodes)
}

pub(crate) fn table_as(cluster: &mut Cluster, fragmentation: Fragmentation, nodes: &[NodeId]) -> TableId {
    let starts: &[&str] = if fragmentation == Fragmentation::Hash { &[""] } else { &["", "h", "q"] };
    let shard = |start: &&str| NewShard { start: Bytes::copy_from_slice(start.as_bytes()), nodes: nodes.to_vec() };
    let shards = starts.iter().map(shard).collect();
    let replication_factor = u32::try_from(nodes.len()).unwrap();
    let change = AdminChange::CreateTable { name: "t".into(), fragmentation, replication_factor, shards };
    let SystemReply::Table(table) = cluster.change(change) else { panic!("no table") };
    cluster.run(60);
    table
}

/// Three nodes, and a table of three shards with a copy on each.
pub(crate) fn three_nodes() -> (Cluster, [NodeId; 3], TableId) {
    three_nodes_of(Cluster::start_with(None))
}

/// The same, with so many bytes of memory for logs and for pre-images on each node.
pub(crate) fn three_nodes_within(log: usize, preimages: usize) -> (Cluster, [NodeId; 3], TableId) {
    three_nodes_of(Cluster { memory: Some((log, preimages)), ..Cluster::default() }.begin())
}

/// Three nodes of a cluster that has begun, and the table.
pub(crate) fn three_nodes_of(mut cluster: Cluster) -> (Cluster, [NodeId; 3], TableId) {
    let nodes = [NodeId(1), cluster.join(2), cluster.join(3)];
    let table = table_on(&mut cluster, &nodes);
    (cluster, nodes, table)
}

/// Four nodes that may have quorum tables: those with a copy of the system shard, and the one without.
pub(crate) fn four_nodes_for_quorum_tables() -> (Cluster, [NodeId; 3], NodeId) {
    let highest_levels = (1..=4).map(|number| (NodeId(number), FormatLevel::QUORUM)).collect();
    let mut cluster = Cluster { highest_levels, ..Cluster::default() }.begin();
    for number in 2..=4 {
        cluster.join(number);
    }
    cluster.settle();
    cluster.run(400);
    let members = cluster.hosts[&NodeId(1)].node.map().shards[&ShardId::SYSTEM].descriptor.members.clone();
    let holders: Vec<NodeId> = members.iter().map(|member| member.replica.node).collect();
    let fourth = *[1, 2, 3, 4].map(NodeId).iter().find(|node| !holders.contains(node)).unwrap();
    (cluster, holders.try_into().unwrap(), fourth)
}
