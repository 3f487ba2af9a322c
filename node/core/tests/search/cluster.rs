//! A few nodes with one shard, in rounds of one tick: in each round every node counts its tick, then whatever is under
//! way arrives, in the order in which it was sent. What goes otherwise is the scheduler's choice.
//!
//! There is no system shard: the nodes are told the map as by a node that is not here. So nothing happens but what the
//! shard's own copies do.

use std::collections::{BTreeMap, VecDeque};

use skerry_core::history::History;
use skerry_core::ids::{ClusterId, Epoch, Incarnation, NodeId, ReplicaId, ShardId, TableId, Token};
use skerry_core::map::{
    Consistency, Descriptor, Fragmentation, Map, MapDelta, Member, NodeRecord, NodeState, Replica as Copy, Role,
    ShardRecord, TableRecord,
};
use skerry_core::message::PeerMessage;
use skerry_core::node::{Answer, Effects, Identity, Input, Node, NodeConfig, Recovered};
use skerry_core::replica::ReplicaView;
use skerry_core::testing::MemoryEngine;
use skerry_core::time::{Now, TICK_MS};

use crate::choices::Choices;
use crate::clients::Asked;
use crate::disks::Log;
use crate::flights::{Flight, Meant};
use crate::rules::Rules;

pub(crate) const SHARD: ShardId = ShardId(1);
pub(crate) const TABLE: TableId = TableId(1);
/// Who tells the map, and holds the system shard. It is never there.
const STEWARD: NodeId = NodeId(9);

/// A machine with one node, its store and its log.
pub(crate) struct Host {
    pub(crate) store: MemoryEngine,
    pub(crate) log: Log,
    incarnation: u64,
    /// `None` = its process does not run.
    pub(crate) node: Option<Node>,
    pub(crate) paused_until: u64,
    /// In which round its process starts again.
    pub(crate) starts_at: u64,
    /// In which round its first tick comes: one period after its start, or later if it has much to take in before.
    ticks_from: u64,
    /// Rounds by which the first tick of its next start is late.
    pub(crate) late_first_tick: u64,
    pub(crate) slow_log_until: u64,
    pub(crate) slow_sync_until: u64,
    log_due: VecDeque<u64>,
    sync_due: Option<(u64, u64)>,
    /// True if its copy has had records since the process started.
    was_whole: bool,
    /// Its copy as of its last input.
    pub(crate) view: Option<ReplicaView>,
}

/// The nodes, what is under way between them, and what is known of it all.
pub(crate) struct Cluster {
    pub(crate) hosts: BTreeMap<NodeId, Host>,
    pub(crate) map: Map,
    seed: u64,
    pub(crate) round: u64,
    /// Counts inputs: the clock of histories.
    pub(crate) steps: u64,
    flights: BTreeMap<(u64, u64), Flight>,
    sent: u64,
    /// What matches is held back until it is released.
    pub(crate) hold: Option<Meant>,
    pub(crate) held: Vec<Flight>,
    /// Messages of a kind that are late on a link in this whole run, by how many rounds.
    pub(crate) slow: BTreeMap<(NodeId, NodeId, u8), u64>,
    /// Links that carry nothing before some round.
    pub(crate) cuts: BTreeMap<(NodeId, NodeId), u64>,
    pub(crate) choices: Choices,
    pub(crate) rules: Rules,
    pub(crate) history: History,
    pub(crate) asked: BTreeMap<Token, Asked>,
    pub(crate) tokens: u64,
    /// In which round of its story a second leader was first seen.
    pub(crate) followed_in: Option<u64>,
    /// What was done in the run, in words for people.
    pub(crate) story: Vec<String>,
}

/// The copy that a node has from the beginning.
pub(crate) fn copy(node: u64) -> Copy {
    Copy { node: NodeId(node), id: ReplicaId(node) }
}

fn first_map(nodes: u64, members: u64) -> Map {
    let mut map = Map::default();
    map.cluster = ClusterId("c".into());
    for id in (1..=nodes).map(NodeId).chain([STEWARD]) {
        let (volume, address, zone) = (format!("v{id}"), format!("{id}:1"), String::new());
        let (incarnation, state, epoch) = (Incarnation(0), NodeState::Active, Epoch(1));
        map.put_node(NodeRecord { id, incarnation, volume, address, zone, state, epoch });
    }
    let of = |members: Vec<Copy>, shard, table| ShardRecord {
        target: members.iter().map(|c| c.node).collect(),
        descriptor: Descriptor {
            shard,
            table,
            generation: skerry_core::ids::Generation(1),
            members: members.iter().map(|c| Member { replica: *c, role: Role::Voter }).collect(),
            ..Descriptor::default()
        },
        assigned: members,
        epoch: Epoch(1),
        quorum: None,
    };
    map.put_shard(of(vec![Copy { node: STEWARD, id: ReplicaId(100) }], ShardId::SYSTEM, TableId::SYSTEM));
    map.put_shard(of((1..=members).map(copy).collect(), SHARD, TABLE));
    map.put_table(TableRecord {
        id: TABLE,
        name: "t".into(),
        fragmentation: Fragmentation::Range,
        consistency: Consistency::Leader,
        replication_factor: u32::try_from(members).unwrap(),
        dropped: false,
        epoch: Epoch(1),
    });
    map
}

impl Cluster {
    /// `nodes` nodes, of which the first `members` have a copy of the shard each. `seed` feeds election time-outs.
    pub(crate) fn new(nodes: u64, members: u64, seed: u64, choices: Choices) -> Self {
        let mut cluster = Self {
            hosts: BTreeMap::new(),
            map: first_map(nodes, members),
            seed,
            round: 0,
            steps: 0,
            flights: BTreeMap::new(),
            sent: 0,
            hold: None,
            held: Vec::new(),
            slow: BTreeMap::new(),
            cuts: BTreeMap::new(),
            choices,
            rules: Rules::default(),
            history: History::default(),
            asked: BTreeMap::new(),
            tokens: 0,
            followed_in: None,
            story: Vec::new(),
        };
        for id in (1..=nodes).map(NodeId) {
            let host = Host {
                store: MemoryEngine::default(),
                log: Log::default(),
                incarnation: 0,
                node: None,
                paused_until: 0,
                starts_at: 0,
                ticks_from: 0,
                late_first_tick: 0,
                slow_log_until: 0,
                slow_sync_until: 0,
                log_due: VecDeque::new(),
                sync_due: None,
                was_whole: false,
                view: None,
            };
            cluster.hosts.insert(id, host);
            cluster.start(id);
        }
        cluster
    }

    pub(crate) fn now(&self) -> Now {
        Now { monotonic_ms: 1_000 + self.round * TICK_MS, wall_ms: 1_000_000 + self.round * TICK_MS }
    }

    /// Starts the process of a node.
    pub(crate) fn start(&mut self, id: NodeId) {
        let now = self.now();
        let host = self.hosts.get_mut(&id).unwrap();
        host.incarnation += 1;
        host.ticks_from = self.round + 1 + std::mem::take(&mut host.late_first_tick);
        host.was_whole = false;
        let identity = Identity {
            cluster: ClusterId("c".into()),
            node: id,
            incarnation: Incarnation(host.incarnation),
            address: format!("{id}:1"),
            zone: String::new(),
        };
        let config = NodeConfig {
            seed: self.seed,
            log_keep_bytes: 150,
            sync_ticks: 4,
            quiet_ticks: 12,
            ..NodeConfig::default()
        };
        let recovered = Recovered { logs: host.log.recover(), ..Recovered::default() };
        host.node = Some(Node::open(identity, config, recovered, &host.store, now).unwrap());
        self.tell_map(id);
    }

    /// The process ends; what was not synced is lost, or kept.
    pub(crate) fn crash(&mut self, id: NodeId, loses: bool, back_after: u64) {
        let host = self.hosts.get_mut(&id).unwrap();
        host.node = None;
        host.view = None;
        host.starts_at = self.round.saturating_add(back_after);
        if loses {
            host.store.crash(0);
            host.log.lose_unsynced();
        } else {
            host.store.finish_sync(u64::MAX);
            host.log.make_durable(u64::MAX);
        }
        host.log_due.clear();
        host.sync_due = None;
        self.rules.restarted(id);
    }

    /// Brings the newest map to a node.
    pub(crate) fn tell_map(&mut self, id: NodeId) {
        let delta: MapDelta = self.map.since(Epoch(0));
        self.say_as_steward(id, PeerMessage::Map(delta));
    }

    /// Brings a newer map to a node.
    fn tell_news(&mut self, id: NodeId) {
        let known = self.hosts[&id].node.as_ref().map_or(Epoch(0), |node| node.map().epoch);
        if known < self.map.epoch {
            self.tell_map(id);
        }
    }

    /// A message of the node that is not here.
    pub(crate) fn say_as_steward(&mut self, id: NodeId, message: PeerMessage) {
        self.input(id, Input::Peer { from: STEWARD, incarnation: Incarnation(1), messages: vec![message] });
    }

    /// True if the node's process runs and is not paused.
    pub(crate) fn is_running(&self, id: NodeId) -> bool {
        self.hosts.get(&id).is_some_and(|h| h.node.is_some() && h.paused_until <= self.round)
    }

    pub(crate) fn ids(&self) -> Vec<NodeId> {
        self.hosts.keys().copied().collect()
    }

    /// The running copy that leads in the highest term.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let views = self.hosts.values().filter_map(|h| h.view.as_ref()).filter(|v| v.is_leader);
        views.max_by_key(|v| v.term).map(|v| v.node)
    }

    pub(crate) fn view(&self, id: NodeId) -> &ReplicaView {
        self.hosts[&id].view.as_ref().unwrap()
    }

    /// Advances the cluster by one round: each running node gets a tick, and messages that are due arrive.
    pub(crate) fn round(&mut self) {
        self.round += 1;
        for id in self.ids() {
            let host = &self.hosts[&id];
            if host.node.is_none() && host.starts_at <= self.round {
                self.start(id);
            }
            self.finish_disks(id);
            if self.is_running(id) && self.hosts[&id].ticks_from <= self.round {
                self.input(id, Input::Tick);
                self.tell_news(id);
            }
        }
        self.deliver();
        self.rules.look(&self.hosts, self.round);
    }

    pub(crate) fn rounds(&mut self, rounds: u64) {
        for _ in 0..rounds {
            self.round();
        }
    }

    /// Lets everything arrive that is due.
    pub(crate) fn deliver(&mut self) {
        // A bound on what nodes could say to one another without end.
        for _ in 0..10_000 {
            let Some(next) = self.flights.first_entry().filter(|f| f.key().0 <= self.round) else { return };
            let ((_, order), flight) = next.remove_entry();
            let paused_until = self.hosts.get(&flight.to).map_or(0, |h| h.paused_until);
            if paused_until > self.round {
                self.flights.insert((paused_until, order), flight);
                continue;
            }
            let Flight { from, to, incarnation, message } = flight;
            self.input(to, Input::Peer { from, incarnation, messages: vec![message] });
        }
        panic!("messages without end");
    }

    /// What slow disks have finished by now.
    fn finish_disks(&mut self, id: NodeId) {
        let (round, is_running) = (self.round, self.is_running(id));
        let Some(host) = self.hosts.get_mut(&id).filter(|_| is_running) else { return };
        let finished = if host.slow_log_until <= round { host.log_due.drain(..).next_back() } else { None };
        if let Some(sequence) = finished {
            host.log.make_durable(sequence);
            self.input(id, Input::LogDurable { sequence });
        }
        let Some(host) = self.hosts.get_mut(&id) else { return };
        if host.slow_sync_until <= round
            && let Some((mark, written)) = host.sync_due.take()
        {
            host.store.finish_sync(written);
            self.input(id, Input::EngineDurable { mark });
        }
    }

    /// An input, and all that follows from it at once.
    pub(crate) fn input(&mut self, id: NodeId, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let now = self.now();
            let Some(host) = self.hosts.get_mut(&id) else { return };
            let Some(node) = host.node.as_mut() else { return };
            node.handle(input, &host.store, now).unwrap();
            let effects = node.ready(&host.store, now).unwrap();
            self.steps += 1;
            self.carry_out(id, effects, &mut inputs);
            let host = self.hosts.get_mut(&id).unwrap();
            host.view = host.node.as_ref().and_then(|node| node.replica(SHARD)).map(|replica| replica.view());
            self.rules.step(id, &self.hosts, now);
        }
    }

    fn carry_out(&mut self, id: NodeId, effects: Effects, inputs: &mut VecDeque<Input>) {
        let round = self.round;
        let host = self.hosts.get_mut(&id).unwrap();
        effects.cuts.iter().for_each(|cut| host.log.cut(cut));
        if let Some(batch) = effects.log {
            let sequence = batch.sequence;
            host.log.append(batch);
            if host.slow_log_until > round {
                host.log_due.push_back(sequence);
            } else {
                host.log.make_durable(sequence);
                inputs.push_back(Input::LogDurable { sequence });
            }
        }
        if let Some(mark) = effects.sync {
            let written = host.store.written();
            if host.slow_sync_until > round {
                host.sync_due = Some((mark, written));
            } else {
                host.store.finish_sync(written);
                inputs.push_back(Input::EngineDurable { mark });
            }
        }
        let incarnation = Incarnation(host.incarnation);
        let replica = host.node.as_ref().and_then(|node| node.replica(SHARD));
        host.was_whole |= replica.is_some_and(|replica| !replica.view().is_blank);
        let was_whole = host.was_whole;
        for (to, message) in effects.send {
            self.rules.acknowledges(id, was_whole, &message);
            self.send(Flight { from: id, to, incarnation, message });
        }
        for (token, answer) in effects.answers {
            self.answered(token, answer);
        }
    }

    fn answered(&mut self, token: Token, answer: Answer) {
        let at = self.steps;
        if let Some(asked) = self.asked.remove(&token) {
            asked.answered(answer, at, &mut self.history);
        }
    }

    fn send(&mut self, flight: Flight) {
        if !flight.is_between_copies() || !self.hosts.contains_key(&flight.to) {
            return;
        }
        if self.hold.as_ref().is_some_and(|hold| hold(&flight)) {
            self.held.push(flight);
            return;
        }
        let now = self.round;
        let is_cut = self.cuts.get(&(flight.from, flight.to)).is_some_and(|until| *until > now);
        let chosen = self.choices.choose(flight.place(), 7);
        if is_cut {
            return;
        }
        if chosen != 0 {
            let fate = ["", "1 later", "4 later", "9 later", "18 later", "lost", "now and 9 later"][chosen];
            let what = flight.kind().map_or_else(|| "snapshot or beat".to_owned(), |kind| format!("{kind:?}"));
            self.story.push(format!("{now:>4}  {what} {} to {}: {fate}", flight.from, flight.to));
        }
        let dues: &[u64] = match chosen {
            0 => &[0],
            1 => &[1],
            2 => &[4],
            3 => &[9],
            4 => &[18],
            5 => &[],
            _ => &[0, 9],
        };
        let slow = || flight.kind().and_then(|kind| self.slow.get(&(flight.from, flight.to, kind as u8)));
        let late = if self.choices.is_over { 0 } else { slow().copied().unwrap_or(0) };
        for due in dues {
            self.fly(now + due + late, flight.clone());
        }
    }

    fn fly(&mut self, due: u64, flight: Flight) {
        self.sent += 1;
        self.flights.insert((due, self.sent), flight);
    }

    /// Lets go of what was held back, as far as it matches, before anything else that is due.
    pub(crate) fn release(&mut self, is_meant: impl Fn(&Flight) -> bool) {
        for flight in self.held.extract_if(.., |f| is_meant(f)).collect::<Vec<_>>() {
            self.fly(self.round, flight);
        }
        self.deliver();
    }

    /// The shard is to have these copies.
    pub(crate) fn assign(&mut self, assigned: Vec<Copy>) {
        let mut record = self.map.shards[&SHARD].clone();
        record.target = assigned.iter().map(|c| c.node).collect();
        record.assigned = assigned;
        self.put(record);
    }

    /// Notes in the map what the shard has become, once a majority of its members knows.
    pub(crate) fn record_members(&mut self) {
        let Some(leader) = self.leader() else { return };
        let descriptor = self.view(leader).descriptor.clone();
        let mut record = self.map.shards[&SHARD].clone();
        let knows = |m: &Member| {
            let view = self.hosts.get(&m.replica.node).and_then(|h| h.view.as_ref());
            view.is_some_and(|v| v.descriptor == descriptor)
        };
        let known_by = descriptor.members.iter().filter(|m| knows(m)).count();
        if descriptor.generation > record.descriptor.generation && known_by * 2 > descriptor.members.len() {
            record.descriptor = descriptor;
            self.put(record);
        }
    }

    fn put(&mut self, mut record: ShardRecord) {
        record.epoch = Epoch(self.map.epoch.0 + 1);
        self.map.put_shard(record);
    }
}
