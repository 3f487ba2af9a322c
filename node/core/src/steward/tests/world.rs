//! A database in miniature: the system shard's state, and for each shard the leader that changes its members step by
//! step as real ones do: learners, joint configuration, leave it. The copies of quorum shards hold the record's layout and
//! copy from one another.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::ids::{ClusterId, Generation, Incarnation, NodeId, ReplicaId, ShardId, TableId};
use crate::level::FormatLevel;
use crate::map::{Descriptor, Fragmentation, Map, Member, Quorums, Replica, Role, ShardRecord, home_of};
use crate::message::{CopiesReport, LedReport, NodeReport, QuorumReport, Report, ShardReport};
use crate::node::admit::message::disbelieve;
use crate::quorum::copies::Known;
use crate::quorum::layout::Part;
use crate::quorum::shown::Resolve;
use crate::steward::{Reports, View, round};
use crate::system::{AdminChange, Fence, NewNode, NewShard, SystemCommand, SystemRefusal, SystemReply, SystemState};
use crate::time::Version;

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
    /// Nodes whose disks answer no more.
    pub(super) hung: BTreeSet<NodeId>,
    /// What the copies of quorum shards have durably, their layouts with it.
    pub(super) copies: BTreeMap<ReplicaId, QuorumReport>,
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
            hung: BTreeSet::new(),
            copies: BTreeMap::new(),
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

    /// The same of a quorum table, with this W and R.
    pub(super) fn quorum_table(&mut self, placement: &[Vec<u64>], (write, read): (u32, u32)) -> TableId {
        self.level = FormatLevel::QUORUM;
        let (level, based_on) = (self.level, self.map().epoch);
        self.state.apply(&SystemCommand::EnableLevel { level, based_on }).unwrap();
        let start = |i: usize| if i == 0 { Bytes::new() } else { Bytes::from(format!("{i:06}")) };
        let shard = |(i, on): (usize, &Vec<u64>)| NewShard { start: start(i), nodes: nodes(on) };
        let copies = placement.iter().map(Vec::len).min().unwrap();
        let reply = self.admin(AdminChange::CreateQuorumTable {
            name: format!("table-{}", self.state.map().tables.len()),
            fragmentation: Fragmentation::Hash,
            replication_factor: u32::try_from(copies).unwrap(),
            quorums: Quorums { write, read },
            resolve: Resolve::Siblings,
            shards: placement.iter().enumerate().map(shard).collect(),
        });
        let Ok(SystemReply::Table(table)) = reply else { panic!("{reply:?}") };
        self.converge();
        table
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

    /// Half a second passes, and every node that is not silent reports. What it says of quorum copies is judged as by a
    /// node that is the steward.
    pub(super) fn report(&mut self) {
        self.now_ms += 500;
        for node in self.state.map().nodes.keys().filter(|node| !self.silent.contains(node)) {
            let mut report = self.report_of(*node);
            let mut judged = Report { led: LedReport::default(), ..report.clone() };
            let disbelieved = disbelieve(self.state.map(), *node, true, &mut judged);
            report.quorum = judged.quorum;
            self.reports.doubt_copies(*node, &disbelieved.unknown, self.now_ms);
            assert!(self.reports.insert(report, self.now_ms));
        }
    }

    pub(super) fn report_of(&self, node: NodeId) -> Report {
        let map = self.state.map();
        let named = map.shards.values().flat_map(|s| {
            let members = s.descriptor.members.iter().map(|m| m.replica).filter(|_| s.quorum.is_some());
            s.assigned.iter().copied().chain(members).map(|r| (s.descriptor.shard, r))
        });
        let lost: BTreeSet<_> = named.filter(|(_, r)| r.node == node && self.gone.contains(&r.id)).collect();
        let lost = lost.into_iter().map(|(s, r)| (s, r.id)).collect();
        let led = self.leaders.iter().filter_map(|(shard, id)| self.led(node, *shard, *id)).collect();
        let (incarnation, disk_full) = (map.nodes[&node].incarnation, self.full.contains(&node));
        let level = if self.older.contains(&node) { FormatLevel::FIRST } else { self.level };
        let home =
            |copy: &QuorumReport| copy.layout.as_ref().and_then(|layout| layout.homes.get(&copy.replica).copied());
        let told = |copy: &QuorumReport| {
            let layout = copy.layout.clone().filter(|_| map.shards[&copy.shard].is_unsure());
            QuorumReport { layout, ..copy.clone() }
        };
        let quorum = self.copies.values().filter(|copy| home(copy) == Some(node)).map(told).collect();
        let map_epoch = map.epoch;
        let disk_stalled = self.hung.contains(&node);
        let node =
            NodeReport { node, incarnation, level, disk_full, disk_stalled, lost, map_epoch, ..NodeReport::default() };
        Report { node, led: LedReport::all(1, led), quorum: CopiesReport::all(quorum) }
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

    /// One round of the steward, carried out. It never proposes what is refused, nor a step that is not due.
    pub(super) fn steward(&mut self) -> Vec<SystemCommand> {
        self.report();
        let commands = round(&self.view());
        for command in &commands {
            self.check_step(command);
            let reply = self.state.apply(command);
            assert!(reply.is_ok(), "{command:?} was refused: {reply:?}");
        }
        commands
    }

    /// By what is durable in truth, whatever has been reported of it.
    fn check_step(&self, command: &SystemCommand) {
        let SystemCommand::Step { shard, step, .. } = command else { return };
        let record = &self.map().shards[shard];
        let (table, layout) = (&self.map().tables[&record.descriptor.table], record.layout().unwrap());
        let step = step.to(record.wanted(table).unwrap(), table.resolve().unwrap());
        let after = layout.after(&step, &Truth(self));
        assert!(after.is_ok() && !record.is_unsure(), "{command:?} is not due at {layout:?}: {after:?}");
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
        self.converge();
    }

    /// Every copy of a quorum shard that can takes over the record's layout, and copies from the old ones that can, unless its
    /// disk is full. One that no layout names is over; and one that is there from the first or comes is made, while any other
    /// that is missing is lost.
    pub(super) fn converge(&mut self) {
        let map = self.state.map().clone();
        let held = |copies: &BTreeMap<ReplicaId, QuorumReport>, id| copies.get(&id).map_or(0, |c| c.held.0);
        for record in map.live_shards().filter(|record| !record.is_unsure()) {
            let Some(layout) = record.layout() else { continue };
            let (gone, silent) = (self.gone.clone(), self.silent.clone());
            let can = |id: &ReplicaId| {
                let node = record.descriptor.node_of(*id);
                !gone.contains(id) && node.is_some_and(|node| !silent.contains(&node))
            };
            let members: Vec<ReplicaId> = record.descriptor.members.iter().map(|m| m.replica.id).filter(can).collect();
            let before = self.copies.clone();
            for id in members {
                let may_be_made = layout.generation == Generation(1) || layout.part(id) == Part::Comes;
                if !before.contains_key(&id) && !may_be_made {
                    self.gone.insert(id);
                    continue;
                }
                let known = before.get(&id).cloned().unwrap_or_else(|| new_copy(record, id));
                let mut copied: BTreeMap<ReplicaId, Generation> = known.copied.iter().copied().collect();
                let is_full = record.descriptor.node_of(id).is_some_and(|node| self.full.contains(&node));
                if let Some(change) = &layout.change
                    && known.held >= change.began
                    && !is_full
                {
                    let sources = layout.current.members.iter().filter(|from| **from != id && can(from));
                    let sources = sources.filter(|from| held(&before, **from) >= change.began.0);
                    copied.extend(sources.map(|from| (*from, layout.generation)));
                }
                let is_complete = layout.change.is_none() || known.is_complete;
                let copied = copied.into_iter().collect();
                let (held, layout) = (layout.generation, Some(layout.clone()));
                let copy = QuorumReport { held, copied, is_complete, layout, ..known };
                self.copies.insert(id, copy);
            }
        }
        let is_named = |copy: &QuorumReport| {
            let record = &map.shards[&copy.shard];
            record.is_unsure() || home_of(record, copy.replica).is_some()
        };
        let over = self.copies.extract_if(.., |id, copy| self.gone.contains(id) || !is_named(copy));
        let over: Vec<ReplicaId> = over.map(|(id, _)| id).collect();
        self.gone.extend(over);
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
        for (shard, record) in self.state.map().shards.iter().filter(|(_, record)| record.quorum.is_none()) {
            self.shards.entry(*shard).or_insert_with(|| record.descriptor.clone());
            self.leaders.entry(*shard).or_insert(record.assigned[0].id);
            self.terms.entry(*shard).or_insert(1);
        }
    }
}

/// What the copies of quorum shards have durably.
struct Truth<'a>(&'a World);

impl Known for Truth<'_> {
    fn held(&self, copy: ReplicaId) -> Generation {
        self.0.copies.get(&copy).map_or(Generation(0), |copy| copy.held)
    }

    fn is_lost(&self, copy: ReplicaId) -> bool {
        self.0.gone.contains(&copy)
    }

    fn has_copied(&self, by: ReplicaId, from: ReplicaId, since: Generation) -> bool {
        self.0.copies.get(&by).is_some_and(|copy| copy.copied.iter().any(|(id, at)| *id == from && *at >= since))
    }
}

/// A copy as it is made: one of the first has all there is.
fn new_copy(record: &ShardRecord, replica: ReplicaId) -> QuorumReport {
    QuorumReport {
        shard: record.descriptor.shard,
        replica,
        held: Generation(0),
        copied: Vec::new(),
        is_complete: record.descriptor.generation == Generation(1),
        floor: Version(0),
        hints: 0,
        under_way: 0,
        handed_over: Vec::new(),
        bytes: 1,
        layout: None,
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
