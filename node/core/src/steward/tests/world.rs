//! A database in miniature: the system shard's state, and for each shard the leader that changes its members step by
//! step as real ones do: learners, joint configuration, leave it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::ids::{ClusterId, Generation, Incarnation, NodeId, ReplicaId, ShardId};
use crate::level::FormatLevel;
use crate::map::{Descriptor, Fragmentation, Map, Member, Replica, Role};
use crate::message::{LedReport, NodeReport, Report, ShardReport};
use crate::steward::{Reports, View, round};
use crate::system::{AdminChange, Fence, NewNode, NewShard, SystemCommand, SystemRefusal, SystemReply, SystemState};

pub(super) struct World {
    pub(super) state: SystemState,
    pub(super) reports: Reports,
    pub(super) now_ms: u64,
    /// What each shard's members are in truth; the map follows.
    pub(super) shards: BTreeMap<ShardId, Descriptor>,
    pub(super) leaders: BTreeMap<ShardId, ReplicaId>,
    terms: BTreeMap<ShardId, u64>,
    /// Copies that were destroyed, or lost what they had: they never speak again.
    pub(super) gone: BTreeSet<ReplicaId>,
    /// Nodes that are not heard of.
    pub(super) silent: BTreeSet<NodeId>,
    pub(super) full: BTreeSet<NodeId>,
    /// The format level of the nodes' programs, but for those that are of the first.
    pub(super) level: FormatLevel,
    pub(super) older: BTreeSet<NodeId>,
}

impl World {
    /// A database whose nodes, from 1 up, are in these zones.
    pub(super) fn new(zones: &[&str]) -> Self {
        let volume =
            |n: usize| NewNode { volume: format!("v{n}"), address: format!("host-{n}:1"), zone: zones[n].into() };
        let mut state = SystemState::bootstrap(ClusterId("test".into()), &volume(0));
        for n in 1..zones.len() {
            state.apply(&SystemCommand::Join(volume(n))).unwrap();
        }
        let mut world = Self {
            state,
            reports: Reports::new(0),
            now_ms: 0,
            shards: BTreeMap::new(),
            leaders: BTreeMap::new(),
            terms: BTreeMap::new(),
            gone: BTreeSet::new(),
            silent: BTreeSet::new(),
            full: BTreeSet::new(),
            level: FormatLevel::FIRST,
            older: BTreeSet::new(),
        };
        world.found_shards();
        world
    }

    /// A table with one shard for each list of nodes.
    pub(super) fn table(&mut self, placement: &[Vec<u64>]) {
        let start = |i: usize| if i == 0 { Bytes::new() } else { Bytes::from(format!("{i:06}")) };
        let shard = |(i, on): (usize, &Vec<u64>)| NewShard { start: start(i), nodes: nodes(on) };
        let copies = placement.iter().map(Vec::len).min().unwrap();
        let reply = self.admin(AdminChange::CreateTable {
            name: format!("table-{}", self.state.map().tables.len()),
            fragmentation: Fragmentation::Range,
            replication_factor: u32::try_from(copies).unwrap(),
            shards: placement.iter().enumerate().map(shard).collect(),
        });
        assert!(matches!(reply, Ok(SystemReply::Table(_))), "{reply:?}");
        self.found_shards();
    }

    pub(super) fn admin(&mut self, change: AdminChange) -> Result<SystemReply, SystemRefusal> {
        self.state.apply(&SystemCommand::Admin { fence: Fence { token: 1, based_on: None }, change })
    }

    pub(super) fn target(&mut self, shard: u64, on: &[u64]) {
        self.admin(AdminChange::SetTargets(vec![(ShardId(shard), nodes(on))])).unwrap();
    }

    pub(super) fn map(&self) -> &Map {
        self.state.map()
    }

    pub(super) fn view(&self) -> View<'_> {
        View { map: self.state.map(), reports: &self.reports, now_ms: self.now_ms }
    }

    /// Half a second passes, and every node that is not silent reports.
    pub(super) fn report(&mut self) {
        self.now_ms += 500;
        for node in self.state.map().nodes.keys().filter(|node| !self.silent.contains(node)) {
            assert!(self.reports.insert(self.report_of(*node), self.now_ms));
        }
    }

    pub(super) fn report_of(&self, node: NodeId) -> Report {
        let map = self.state.map();
        let named = map.shards.values().flat_map(|s| s.assigned.iter().map(|r| (s.descriptor.shard, *r)));
        let lost = named.filter(|(_, r)| r.node == node && self.gone.contains(&r.id)).map(|(s, r)| (s, r.id)).collect();
        let led = self.leaders.iter().filter_map(|(shard, id)| self.led(node, *shard, *id)).collect();
        let (incarnation, disk_full) = (map.nodes[&node].incarnation, self.full.contains(&node));
        let level = if self.older.contains(&node) { FormatLevel::FIRST } else { self.level };
        let node = NodeReport { node, incarnation, level, disk_full, lost, ..NodeReport::default() };
        Report { node, led: LedReport::all(1, led) }
    }

    fn led(&self, node: NodeId, shard: ShardId, leader: ReplicaId) -> Option<ShardReport> {
        let descriptor = self.shards[&shard].clone();
        let in_sync = descriptor.members.iter().map(|m| m.replica);
        let in_sync = in_sync.filter(|r| !self.gone.contains(&r.id) && !self.silent.contains(&r.node)).map(|r| r.id);
        (descriptor.node_of(leader) == Some(node)).then(|| ShardReport {
            leader,
            term: self.terms[&shard],
            in_sync: in_sync.collect(),
            bytes: 1,
            moving: (0, 0),
            descriptor: descriptor.clone(),
        })
    }

    /// One round of the steward, carried out. It never proposes what is refused.
    pub(super) fn steward(&mut self) -> Vec<SystemCommand> {
        self.report();
        let commands = round(&self.view());
        for command in &commands {
            let reply = self.state.apply(command);
            assert!(reply.is_ok(), "{command:?} was refused: {reply:?}");
        }
        commands
    }

    /// Another replica becomes a shard's leader.
    pub(super) fn elect(&mut self, shard: ShardId, leader: ReplicaId) {
        self.leaders.insert(shard, leader);
        *self.terms.entry(shard).or_default() += 1;
    }

    /// Every shard's leader takes one step towards the assigned copies.
    pub(super) fn lead(&mut self) {
        let map = self.state.map().clone();
        for (shard, descriptor) in &mut self.shards {
            let assigned = &map.shards[shard].assigned;
            let before: BTreeSet<ReplicaId> = descriptor.members.iter().map(|m| m.replica.id).collect();
            step(descriptor, assigned, &self.gone, &self.silent);
            let after: BTreeSet<ReplicaId> = descriptor.members.iter().map(|m| m.replica.id).collect();
            self.gone.extend(before.difference(&after));
            if !after.contains(&self.leaders[shard]) {
                let transfer_target = descriptor.members.iter().find(|m| m.role == Role::Voter).unwrap();
                self.leaders.insert(*shard, transfer_target.replica.id);
                *self.terms.entry(*shard).or_default() += 1;
            }
        }
    }

    /// Rounds until nothing is left to decide; panics if they are more than the bound.
    pub(super) fn settle(&mut self, rounds_max: usize) -> usize {
        for rounds in 0..rounds_max {
            let commands = self.steward();
            if commands.is_empty() && self.map().shards.values().all(|s| s.assigned_reached()) {
                return rounds;
            }
            self.lead();
        }
        let left: Vec<_> = self.map().shards.values().filter(|s| !s.is_settled()).collect();
        panic!("not settled after {rounds_max} rounds: {left:#?}");
    }

    fn found_shards(&mut self) {
        for (shard, record) in &self.state.map().shards {
            self.shards.entry(*shard).or_insert_with(|| record.descriptor.clone());
            self.leaders.entry(*shard).or_insert(record.assigned[0].id);
            self.terms.entry(*shard).or_insert(1);
        }
    }
}

/// One change of members. A copy that is gone cannot be added, and a silent or gone one does not catch up.
fn step(descriptor: &mut Descriptor, assigned: &[Replica], gone: &BTreeSet<ReplicaId>, silent: &BTreeSet<NodeId>) {
    let wanted = |r: &Replica| assigned.contains(r);
    let members = &descriptor.members;
    let next: Vec<Member> = if descriptor.is_joint() {
        let staying = members.iter().filter(|m| m.role != Role::Outgoing);
        staying.map(|m| Member { role: if m.role == Role::Incoming { Role::Voter } else { m.role }, ..*m }).collect()
    } else {
        let kept = members.iter().filter(|m| m.role == Role::Voter || wanted(&m.replica)).copied();
        let known = |r: &Replica| members.iter().any(|m| m.replica == *r);
        let added = assigned.iter().filter(|r| !known(r) && !gone.contains(&r.id));
        let learners = kept.chain(added.map(|&replica| Member { replica, role: Role::Learner }));
        let learners: Vec<Member> = learners.collect();
        let ready = |m: &Member| !gone.contains(&m.replica.id) && !silent.contains(&m.replica.node);
        let complete = assigned.iter().all(known) && learners.iter().all(|m| m.role == Role::Voter || ready(m));
        if learners != *members || !complete {
            learners
        } else {
            let role = |m: &Member| match (m.role, wanted(&m.replica)) {
                (Role::Voter, true) => Role::Voter,
                (Role::Voter, false) => Role::Outgoing,
                (Role::Learner | Role::Incoming | Role::Outgoing, _) => Role::Incoming,
            };
            members.iter().map(|m| Member { role: role(m), ..*m }).collect()
        }
    };
    if next != *members {
        descriptor.members = next;
        descriptor.members.sort_unstable_by_key(|m| m.replica.id);
        descriptor.generation = Generation(descriptor.generation.0 + 1);
    }
}

pub(super) fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().map(|&n| NodeId(n)).collect()
}

pub(super) fn restart(world: &mut World, node: u64, incarnation: u64) {
    let record = world.map().nodes[&NodeId(node)].clone();
    let (address, zone) = (record.address, record.zone);
    let incarnation = Incarnation(incarnation);
    world.state.apply(&SystemCommand::Start { node: NodeId(node), incarnation, address, zone }).unwrap();
}
