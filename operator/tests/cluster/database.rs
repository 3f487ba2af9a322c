//! A database without disks and network: a real system state, processes that join it, and a steward that does as it is
//! told. Its certificates are honest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skerry_core::ids::{ClusterId, Incarnation, NodeId, ReplicaId, ShardId};
use skerry_core::level::FormatLevel;
use skerry_core::map::{Member, NodeRecord, NodeState, Replica, Role, ShardRecord};
use skerry_core::message::{NodeReport, ShardReport};
use skerry_core::node::{Certificate, NotYet, Removal, Status};
use skerry_core::system::{NewNode, StepKind, SystemCommand, SystemState};

/// Age of every report, in milliseconds.
const AGE_MS: u64 = 100;
/// Number of copies of the system shard.
const SYSTEM_COPIES: usize = 3;

/// A running process of a node.
#[derive(Debug, Clone)]
pub struct Process {
    /// Of the pod that it runs in: another pod is another start.
    pub pod: String,
    pub volume: String,
    pub zone: String,
    /// The database that it was started for.
    pub cluster: String,
    /// True if the map has this start of the node.
    pub registered: bool,
}

/// One database, with all its processes.
#[derive(Debug, Clone, Default)]
pub struct Database {
    pub state: Option<SystemState>,
    /// The database's processes, by the address of their node.
    pub processes: BTreeMap<String, Process>,
    /// It does not answer the operator.
    pub silent: bool,
    /// How often the database was founded.
    pub founded: usize,
}

impl Database {
    /// The state, if the system shard has a leader and the operator reaches it.
    pub fn answering(&self) -> Option<&SystemState> {
        let state = self.state.as_ref().filter(|_| !self.silent)?;
        let system = &state.map().shards[&ShardId::SYSTEM];
        self.is_led(system).then_some(state)
    }

    pub fn nodes(&self) -> impl Iterator<Item = &NodeRecord> {
        self.state.iter().flat_map(|state| state.map().nodes.values())
    }

    /// The node that a volume belongs to. `None` = it belongs to none.
    pub fn node_on(&self, volume: &str) -> Option<&NodeRecord> {
        self.nodes().find(|node| node.volume == volume)
    }

    /// The processes of this name, and no others, run from now on.
    pub fn run(&mut self, wanted: BTreeMap<String, Process>) {
        let same = |address: &String, process: &Process| wanted.get(address).is_some_and(|new| new.pod == process.pod);
        self.processes.retain(|address, process| same(address, process));
        for (address, process) in wanted {
            self.processes.entry(address).or_insert(process);
        }
    }

    /// Makes the database on the node at this address.
    pub fn found(&mut self, address: &str) -> Result<(), String> {
        let process = self.processes.get_mut(address).ok_or("nobody is there")?;
        let first = NewNode { volume: process.volume.clone(), address: address.to_owned(), zone: process.zone.clone() };
        self.founded += 1;
        process.registered = true;
        self.state = Some(SystemState::bootstrap(ClusterId(process.cluster.clone()), &first));
        Ok(())
    }

    /// Processes that have just started join, or tell of their start.
    pub fn join(&mut self) {
        if self.state.is_none() {
            return;
        }
        let silent = std::mem::take(&mut self.silent);
        // Those that were there before need no leader to come back, and give one back.
        let new: Vec<String> = self.processes.iter().filter(|(_, p)| !p.registered).map(|(a, _)| a.clone()).collect();
        for address in &new {
            let known = self.node_on(&self.processes[address].volume).map(|n| (n.id, n.state, n.incarnation));
            if let Some((id, _, before)) = known.filter(|(_, state, _)| *state != NodeState::Removed) {
                let process = self.processes.get_mut(address).unwrap();
                process.registered = true;
                let (zone, incarnation) = (process.zone.clone(), Incarnation(before.0 + 1));
                let start = SystemCommand::Start { node: id, incarnation, address: address.clone(), zone };
                self.state.as_mut().unwrap().apply(&start).unwrap();
            }
        }
        for address in &new {
            let process = &self.processes[address];
            let ours = self.answering().is_some_and(|state| state.map().cluster.0 == process.cluster);
            if ours && self.node_on(&process.volume).is_none() {
                let (volume, zone) = (process.volume.clone(), process.zone.clone());
                let new = NewNode { volume, address: address.clone(), zone };
                let join = SystemCommand::JoinAt { node: new, level: FormatLevel::NEWEST };
                self.state.as_mut().unwrap().apply(&join).unwrap();
                self.processes.get_mut(address).unwrap().registered = true;
            }
        }
        // All are of one release.
        if let Some(map) = self.answering().map(SystemState::map) {
            let enable = SystemCommand::EnableLevel { level: FormatLevel::NEWEST, based_on: map.epoch };
            self.state.as_mut().unwrap().apply(&enable).unwrap();
        }
        self.silent = silent;
    }

    /// The node serves at its address.
    pub fn is_up(&self, node: &NodeRecord) -> bool {
        let process = self.processes.get(&node.address);
        process.is_some_and(|p| p.volume == node.volume && p.registered) && node.state != NodeState::Removed
    }

    fn up(&self) -> BTreeSet<NodeId> {
        self.nodes().filter(|node| self.is_up(node)).map(|node| node.id).collect()
    }

    pub fn in_sync(&self, shard: &ShardRecord) -> Vec<Replica> {
        let Some(state) = &self.state else { return vec![] };
        let is_up = |r: &Replica| self.is_up(&state.map().nodes[&r.node]);
        shard.descriptor.members.iter().map(|m| m.replica).filter(is_up).collect()
    }

    /// A majority of its copies is up; that is W and R of a Quorum shard's, too.
    pub fn is_led(&self, shard: &ShardRecord) -> bool {
        2 * self.in_sync(shard).len() > shard.descriptor.members.len()
    }

    /// The steward's status of the database. `None` = nobody answers.
    pub fn status(&self) -> Option<Status> {
        let map = self.answering()?.map();
        let heard = |node: &NodeRecord| NodeReport {
            node: node.id,
            incarnation: node.incarnation,
            map_epoch: map.epoch,
            level: FormatLevel::NEWEST,
            ..NodeReport::default()
        };
        let heard = self.nodes().filter(|node| self.is_up(node)).map(|node| (heard(node), AGE_MS)).collect();
        let report = |shard: &ShardRecord| ShardReport {
            descriptor: shard.descriptor.clone(),
            leader: self.in_sync(shard)[0].id,
            term: 1,
            in_sync: self.in_sync(shard).iter().map(|r| r.id).collect(),
            bytes: 1 << 20,
            moving: (0, 0),
        };
        let led = map.shards.values().filter(|shard| shard.quorum.is_none() && self.is_led(shard));
        let steward = self.in_sync(&map.shards[&ShardId::SYSTEM])[0].node;
        let shards = led.map(|shard| (report(shard), AGE_MS)).collect();
        // No release has Quorum tables yet.
        Some(Status { map: Arc::new(map.clone()), nodes: heard, shards, copies: vec![], steward, lost: vec![] })
    }

    /// The steward's answer to the question whether a node may be removed now.
    pub fn certify(&self, node: NodeId, start: Incarnation) -> Removal {
        let Some(state) = self.answering() else { return Removal::Unknown { shards: vec![ShardId::SYSTEM] } };
        let map = state.map();
        let Some(record) = map.nodes.get(&node).filter(|n| n.state != NodeState::Active) else {
            return Removal::NotYet(vec![NotYet::NotDraining(node)]);
        };
        if record.incarnation != start {
            let (asked, latest) = (start, record.incarnation);
            return Removal::NotYet(vec![NotYet::OtherIncarnation { asked, latest }]);
        }
        let asked = || map.shards.values().filter(|shard| map.is_live(shard));
        let silent: Vec<ShardId> = asked().filter(|s| !self.is_led(s)).map(|s| s.descriptor.shard).collect();
        let against: Vec<NotYet> = asked().filter_map(|shard| self.against(shard, node)).collect();
        match (against.is_empty(), silent.is_empty()) {
            (false, _) => Removal::NotYet(against),
            (true, false) => Removal::Unknown { shards: silent },
            (true, true) => {
                let shards = asked().count() as u64;
                Removal::Safe(Certificate { node, incarnation: start, epoch: map.epoch, shards })
            }
        }
    }

    fn against(&self, record: &ShardRecord, node: NodeId) -> Option<NotYet> {
        let map = self.state.as_ref()?.map();
        let shard = record.descriptor.shard;
        if record.names(node) {
            return Some(NotYet::Holds { shard });
        }
        let in_sync = u32::try_from(self.in_sync(record).len()).unwrap();
        let wanted = match shard {
            ShardId::SYSTEM => u32::try_from(record.target.len()).unwrap(),
            _ => map.tables[&record.descriptor.table].replication_factor,
        };
        (in_sync < wanted).then_some(NotYet::Copies { shard, in_sync, wanted })
    }

    /// The steward's part, for the first few shards that are not where they belong: first new copies are chosen, and the
    /// next time they are there.
    pub fn move_shards(&mut self, shards: usize) {
        let Some(state) = &self.state else { return };
        let seats = self.seats();
        let up = self.up();
        let can_go_on = |shard: &ShardRecord| {
            let nodes = if shard.descriptor.shard == ShardId::SYSTEM { &seats } else { &shard.target };
            let takes = |node: &NodeId| {
                let is_there = shard.assigned.iter().any(|r| r.node == *node);
                up.contains(node) && (is_there || state.map().nodes[node].state == NodeState::Active)
            };
            let is_due = !shard.is_settled() || shard.target != *nodes;
            is_due && self.is_led(shard) && nodes.iter().all(takes)
        };
        let due: Vec<ShardRecord> =
            state.map().shards.values().filter(|s| can_go_on(s)).take(shards).cloned().collect();
        let state = self.state.as_mut().unwrap();
        due.iter().for_each(|record| bring(state, record, &seats));
    }

    /// Where the system shard is to be: where it is, as long as those nodes stay.
    fn seats(&self) -> Vec<NodeId> {
        let Some(state) = &self.state else { return vec![] };
        let target = &state.map().shards[&ShardId::SYSTEM].target;
        let active = |node: &NodeId| state.map().nodes[node].state == NodeState::Active;
        let up = self.up();
        let kept = target.iter().copied().filter(active);
        let others = up.iter().copied().filter(|node| active(node) && !target.contains(node));
        kept.chain(others).take(SYSTEM_COPIES).collect()
    }
}

fn bring(state: &mut SystemState, record: &ShardRecord, seats: &[NodeId]) {
    let shard = record.descriptor.shard;
    let is_system = shard == ShardId::SYSTEM;
    let target = if is_system { seats } else { &record.target };
    let on_target = record.on_target() && record.target == target;
    if on_target && record.quorum.is_some() {
        for step in [StepKind::Begin, StepKind::ReadNew, StepKind::NewOnly, StepKind::Settle] {
            let based_on = state.map().shards[&shard].descriptor.generation;
            state.apply(&SystemCommand::Step { shard, based_on, step }).unwrap();
        }
        return;
    }
    if on_target {
        let mut descriptor = record.descriptor.clone();
        descriptor.members = record.assigned.iter().map(|r| Member { replica: *r, role: Role::Voter }).collect();
        descriptor.members.sort_by_key(|m| m.replica.id);
        descriptor.generation.0 += 1;
        state.apply(&SystemCommand::Record(descriptor)).unwrap();
        return;
    }
    let there = || record.assigned.iter().copied().chain(record.descriptor.members.iter().map(|m| m.replica));
    let copy =
        |node: &NodeId| Replica { node: *node, id: there().find(|r| r.node == *node).map_or(ReplicaId::NEW, |r| r.id) };
    let assign = SystemCommand::Assign {
        shard,
        based_on: record.epoch,
        replicas: target.iter().map(copy).collect(),
        target: is_system.then(|| seats.to_vec()),
    };
    state.apply(&assign).unwrap();
}
