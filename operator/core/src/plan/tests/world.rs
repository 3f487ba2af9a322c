//! A world that does what a plan says: slots, nodes that join, and a real system state whose shards move as it is told.
//! It panics if it is asked for what would lose data.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use skerry_api::{
    DistributedDatabase, DistributedDatabaseSpec, DistributedDatabaseStatus, PendingRemoval, Replacement, SilentNode,
    Victim,
};
use skerry_core::ids::{ClusterId, NodeId, ReplicaId, ShardId};
use skerry_core::level::FormatLevel;
use skerry_core::map::{Map, Member, NodeRecord, NodeState, Replica, Role, ShardRecord, TableRecord};
use skerry_core::message::{NodeReport, ShardReport};
use skerry_core::node::Status;
use skerry_core::system::{AdminChange, Fence, NewNode, StepKind, SystemCommand, SystemState};

use super::ROUNDS_MAX;
use crate::decide::decide;
use crate::look_history::LookHistory;
use crate::observed::{ClaimTemplate, Observed, Process, Seen, Slot, SlotVolume};
use crate::plan::{Plan, Record, Step};
use crate::testing::{ahead, copies_in_step, resource};

/// A tenth of the time for which a table that was taken out stays.
const ROUND_SECONDS: i64 = 60;

#[derive(Clone)]
pub(super) struct World {
    pub(super) resource: DistributedDatabase,
    pub(super) victims: Vec<Victim>,
    pub(super) removals: Vec<PendingRemoval>,
    pub(super) silent_nodes: Vec<SilentNode>,
    pub(super) replacement: Option<Replacement>,
    /// The wall clock of who looks, in seconds since 1970.
    pub(super) clock: i64,
    /// What the wall clock is wrong by.
    pub(super) wall_error: i64,
    /// Looks that the present process of the operator remembers.
    pub(super) history: LookHistory,
    state: Option<SystemState>,
    slots: BTreeMap<String, Slot>,
    /// Name of each slot's volume.
    volumes: BTreeMap<String, String>,
    volumes_made: usize,
    /// The slot of a node that nobody has heard of lately.
    pub(super) silent: Option<String>,
    /// Others of the kind.
    pub(super) silent_too: BTreeSet<String>,
    /// True if the database does not answer.
    pub(super) unreachable: bool,
    /// The format level that the nodes' release has.
    pub(super) release: FormatLevel,
    /// The slot of a node that runs the release before.
    pub(super) older: Option<String>,
}

impl World {
    pub(super) fn new(spec: &str) -> Self {
        let mut resource = resource(spec);
        resource.metadata.generation = Some(1);
        let (slots, volumes) = (BTreeMap::new(), BTreeMap::new());
        let (victims, removals, state, silent) = (vec![], vec![], None, None);
        let history = LookHistory::default();
        let (clock, wall_error, volumes_made) = (0, 0, 0);
        let (silent_nodes, replacement) = (vec![], None);
        Self {
            resource,
            victims,
            removals,
            silent_nodes,
            replacement,
            clock,
            wall_error,
            history,
            state,
            slots,
            volumes,
            volumes_made,
            silent,
            silent_too: BTreeSet::new(),
            unreachable: false,
            release: FormatLevel::TOMBSTONES,
            older: None,
        }
    }

    pub(super) fn edit(&mut self, spec: &str) {
        self.edit_to(resource(spec));
    }

    pub(super) fn edit_to(&mut self, database: DistributedDatabase) {
        let spec: DistributedDatabaseSpec = database.spec;
        self.resource.spec = spec;
        self.resource.metadata.generation = self.resource.metadata.generation.map(|g| g + 1);
    }

    pub(super) fn slots(&self) -> &BTreeMap<String, Slot> {
        &self.slots
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &NodeRecord> {
        self.state.iter().flat_map(|s| s.map().nodes.values())
    }

    pub(super) fn map(&self) -> &Map {
        self.state.as_ref().expect("a database").map()
    }

    pub(super) fn targets(&self) -> Vec<Vec<NodeId>> {
        self.state.iter().flat_map(|s| s.map().live_shards()).map(|s| s.target.clone()).collect()
    }

    /// The most copies of a shard that there are to be now.
    pub(super) fn copies_max(&self) -> u32 {
        self.targets().iter().map(|t| u32::try_from(t.len()).unwrap()).max().unwrap_or(1)
    }

    pub(super) fn observed(&self) -> Observed {
        let database = self.state.as_ref().map_or(Seen::Absent, |state| Seen::Known(self.status(state)));
        let slots = Seen::Known(self.slots.clone());
        let database = match (database, &self.silent) {
            (Seen::Known(mut status), Some(slot)) => {
                let address = &self.slots[slot].address;
                let node = status.map.nodes.values().find(|n| n.address == *address).map(|n| n.id);
                status.nodes.retain(|(report, _)| Some(report.node) != node);
                Seen::Known(status)
            }
            (database, _) => database,
        };
        let database = match database {
            Seen::Known(mut status) => {
                let unheard = self.unheard();
                status.nodes.retain(|(report, _)| !unheard.contains(&report.node));
                Seen::Known(status)
            }
            database => database,
        };
        let database = if self.unreachable { Seen::Unknown("nobody answers".to_owned()) } else { database };
        let now = Time(Timestamp::from_second(self.clock + self.wall_error).unwrap());
        let status = DistributedDatabaseStatus {
            victims: self.victims.clone(),
            table_removals: self.removals.clone(),
            silent_nodes: self.silent_nodes.clone(),
            replacement: self.replacement.clone(),
            founded: self.state.is_some(),
            ..DistributedDatabaseStatus::default()
        };
        let mut seen = Observed { slots, database, ..Observed::kept_by(status, now) };
        self.history.clone().look(&self.resource, &mut seen, self.process_clock());
        seen
    }

    /// The first nodes that joined from the slots that are silent.
    pub(super) fn unheard(&self) -> BTreeSet<NodeId> {
        let slots = self.silent.iter().chain(&self.silent_too);
        let first = |slot: &String| {
            self.nodes().find(|n| self.slots.get(slot).is_some_and(|s| s.address == n.address)).map(|n| n.id)
        };
        slots.filter_map(first).collect()
    }

    /// The steward's part, where it does what it does: no shard changes while a node that it is bound for is not heard.
    pub(super) fn move_heard(&mut self) {
        let unheard = self.unheard();
        let Some(state) = &self.state else { return };
        let bound = |s: &ShardRecord| s.target.iter().any(|n| unheard.contains(n));
        let is_due = |s: &&ShardRecord| s.descriptor.shard != ShardId::SYSTEM && !s.is_settled() && !bound(s);
        let due: Vec<ShardRecord> = state.map().shards.values().filter(is_due).cloned().collect();
        for record in due {
            let target = record.target.clone();
            bring(self.state.as_mut().unwrap(), &record, &target, None);
        }
    }

    pub(super) fn volume(&mut self, slot: &str) -> &mut SlotVolume {
        &mut self.slots.get_mut(slot).expect("a slot").volume
    }

    fn process_clock(&self) -> Duration {
        Duration::from_secs(u64::try_from(self.clock).unwrap())
    }

    pub(super) fn plan(&self) -> Plan {
        decide(&self.resource, &ahead(), &self.observed()).unwrap().plan
    }

    /// Carries out the first steps of a plan.
    pub(super) fn apply(&mut self, plan: &Plan, steps: usize) {
        let (mut seen, at) = (self.observed(), self.process_clock());
        self.history.look(&self.resource, &mut seen, at);
        // What the status is to say, whatever becomes of the steps.
        (self.silent_nodes, self.replacement) = (plan.notes.silent.clone(), plan.notes.replacement.clone());
        let epoch = plan.based_on.epoch;
        for step in plan.steps.iter().take(steps) {
            match step {
                Step::Record(Record::Victims(victims)) => self.victims.clone_from(victims),
                Step::Record(Record::Removals(removals)) => self.removals.clone_from(removals),
                Step::AddSlot { slot, zone } => self.add_slot(slot, zone),
                Step::Change(change) => self.admin(Fence { token: 1, based_on: epoch }, change.clone()),
                Step::RemoveNode { node, .. } => {
                    let record = &self.state.as_ref().unwrap().map().nodes[node];
                    assert_eq!(record.state, NodeState::Draining, "{node} is removed undrained");
                    let certified_at = Some(self.state.as_ref().unwrap().map().epoch);
                    self.admin(Fence { token: 1, based_on: certified_at }, AdminChange::Remove(*node));
                }
                Step::Found { .. } | Step::Record(Record::Founded) => panic!("{step:?} of what has founded itself"),
                Step::RestartNode { slot } => *self.process(slot) = Process::STEADY,
                Step::ReplaceVolume { slot, .. } => {
                    self.lose_volume(slot);
                    *self.process(slot) = Process::STEADY;
                }
                Step::RemoveSlot { slot } => {
                    let volume = &self.volumes[slot];
                    let needed = self.nodes().any(|n| n.volume == *volume && n.state != NodeState::Removed);
                    assert!(!needed, "{slot} still belongs to the database");
                    self.slots.remove(slot).expect("a slot that is there");
                    self.volumes.remove(slot);
                }
            }
        }
    }

    /// What a steward says of whom nobody has lost sight.
    fn status(&self, state: &SystemState) -> Status {
        let map = state.map();
        let is_older = |node: &NodeRecord| {
            let slot = self.older.as_ref().and_then(|slot| self.slots.get(slot));
            slot.is_some_and(|slot| slot.address == node.address)
        };
        let report = |node: &NodeRecord| NodeReport {
            node: node.id,
            incarnation: node.incarnation,
            map_epoch: map.epoch,
            level: if is_older(node) { FormatLevel::TOMBSTONES } else { self.release },
            ..NodeReport::default()
        };
        let heard = map.nodes.values().map(|node| (report(node), 100)).collect();
        let led = map.shards.values().filter(|shard| shard.quorum.is_none());
        let shards = led.map(|shard| (shard_report(shard), 100)).collect();
        let copies = copies_in_step(map);
        Status { map: Arc::new(map.clone()), nodes: heard, shards, copies, steward: NodeId(1), lost: vec![] }
    }

    /// The steward enables quorum tables once every node can have them.
    fn enable(&mut self) {
        let Some(state) = self.state.as_mut().filter(|_| self.older.is_none()) else { return };
        if self.release >= FormatLevel::QUORUM {
            let (level, based_on) = (self.release, state.map().epoch);
            state.apply(&SystemCommand::EnableLevel { level, based_on }).unwrap();
        }
    }

    pub(super) fn table(&self, name: &str) -> Option<&TableRecord> {
        self.state.as_ref()?.map().table_named(name)
    }

    /// Plans and does it all, then lets nodes join and shards move.
    pub(super) fn round(&mut self) {
        let plan = self.plan();
        self.apply(&plan, usize::MAX);
        self.join();
        self.move_shards(usize::MAX);
    }

    pub(super) fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            self.round();
            self.clock += ROUND_SECONDS;
            if self.plan().is_done() {
                let validated = crate::validate(&self.resource, &ahead()).unwrap();
                let there = crate::zone_counts(self.slots.values().map(|slot| slot.zone.as_str()));
                let wanted = crate::desired_slots(&validated, &there);
                assert!(self.slots.keys().eq(wanted.keys()), "{:?} {wanted:?}", self.slots.keys());
                return;
            }
        }
        panic!("not settled: {:?}", self.plan());
    }

    /// The same, where something may stay to be told.
    pub(super) fn settle_but_for_waits(&mut self) {
        for _ in 0..ROUNDS_MAX {
            self.round();
            self.clock += ROUND_SECONDS;
        }
        assert_eq!(self.plan().steps, []);
    }

    /// Every slot whose volume is not a node's yet joins.
    pub(super) fn join(&mut self) {
        for (name, slot) in &self.slots {
            let new = new_node(slot, &self.volumes[name]);
            let state = self.state.get_or_insert_with(|| SystemState::bootstrap(ClusterId("c".into()), &new));
            if !state.map().nodes.values().any(|n| n.volume == new.volume) {
                // It says of its level what the database demands.
                state.apply(&SystemCommand::JoinAt { node: new, level: self.release }).unwrap();
            }
        }
        self.enable();
    }

    /// The steward's part, for the first few shards that are not where they belong.
    pub(super) fn move_shards(&mut self, shards: usize) {
        let Some(state) = &mut self.state else { return };
        let active = |n: &&NodeRecord| n.state == NodeState::Active;
        let seats: Vec<NodeId> = state.map().nodes.values().filter(active).map(|n| n.id).take(3).collect();
        if seats.is_empty() {
            return;
        }
        let takes = |node: &NodeId| state.map().nodes[node].state == NodeState::Active;
        let is_due = |s: &&ShardRecord| match s.descriptor.shard {
            ShardId::SYSTEM => s.target != seats,
            // No new copy goes where none is to be; the next plan has another target.
            _ => !s.is_settled() && s.target.iter().all(|n| takes(n) || s.assigned.iter().any(|r| r.node == *n)),
        };
        let due: Vec<ShardRecord> = state.map().shards.values().filter(is_due).take(shards).cloned().collect();
        for record in due {
            let is_system = record.descriptor.shard == ShardId::SYSTEM;
            let nodes = if is_system { &seats } else { &record.target };
            bring(state, &record, nodes, is_system.then(|| seats.clone()));
        }
    }

    pub(super) fn process(&mut self, slot: &str) -> &mut Process {
        &mut self.slots.get_mut(slot).expect("a slot").process
    }

    pub(super) fn lose_volume(&mut self, slot: &str) {
        self.volumes_made += 1;
        let volume = format!("v{}", self.volumes_made);
        self.slots.get_mut(slot).expect("a slot").volume.id = Some(volume.clone());
        self.volumes.insert(slot.to_owned(), volume);
    }

    pub(super) fn lose_nth_volume(&mut self, index: usize) {
        // A database whose first node is lost before there is another is lost.
        let several = self.nodes().filter(|n| n.state == NodeState::Active).count() > 1;
        if let Some(slot) = self.slots.keys().nth(index).cloned().filter(|_| several) {
            self.lose_volume(&slot);
        }
    }

    fn add_slot(&mut self, name: &str, zone: &str) {
        let (zone, address) = (zone.to_owned(), format!("{name}:7000"));
        let storage = &self.resource.spec.storage;
        let asked =
            ClaimTemplate { size: Some(storage.size.clone()), class: storage.storage_class_name.clone(), labels: None };
        let volume = SlotVolume { asked, ..SlotVolume::default() };
        let slot = Slot { zone, address, process: Process::STEADY, volume, held_up: None, host: None };
        assert!(self.slots.insert(name.to_owned(), slot).is_none(), "{name} is there already");
        self.lose_volume(name);
        if self.state.is_none() {
            self.join();
        }
    }

    fn admin(&mut self, fence: Fence, change: AdminChange) {
        let told = format!("{change:?}");
        let applied = self.state.as_mut().unwrap().apply(&SystemCommand::Admin { fence, change });
        assert!(applied.is_ok(), "{told}: {applied:?}");
    }
}

fn new_node(slot: &Slot, volume: &str) -> NewNode {
    NewNode { volume: volume.to_owned(), address: slot.address.clone(), zone: slot.zone.clone() }
}

/// A shard gets its copies on these nodes, all at once.
fn bring(state: &mut SystemState, record: &ShardRecord, nodes: &[NodeId], target: Option<Vec<NodeId>>) {
    let kept = |node: &NodeId| record.assigned.iter().find(|r| r.node == *node).map_or(ReplicaId(0), |r| r.id);
    let replicas: Vec<Replica> = nodes.iter().map(|node| Replica { node: *node, id: kept(node) }).collect();
    let (shard, based_on) = (record.descriptor.shard, record.epoch);
    state.apply(&SystemCommand::Assign { shard, based_on, replicas, target }).unwrap();
    if record.quorum.is_some() {
        for step in [StepKind::Begin, StepKind::ReadNew, StepKind::NewOnly, StepKind::Settle] {
            let based_on = state.map().shards[&shard].descriptor.generation;
            state.apply(&SystemCommand::Step { shard, based_on, step }).unwrap();
        }
        return;
    }
    let mut descriptor = record.descriptor.clone();
    let assigned = &state.map().shards[&shard].assigned;
    descriptor.members = assigned.iter().map(|r| Member { replica: *r, role: Role::Voter }).collect();
    descriptor.members.sort_by_key(|m| m.replica.id);
    descriptor.generation.0 += 1;
    state.apply(&SystemCommand::Record(descriptor)).unwrap();
}

fn shard_report(shard: &ShardRecord) -> ShardReport {
    ShardReport {
        descriptor: shard.descriptor.clone(),
        leader: shard.descriptor.members[0].replica.id,
        term: 1,
        in_sync: shard.descriptor.members.iter().map(|m| m.replica.id).collect(),
        bytes: 1 << 20,
        moving: (0, 0),
    }
}
