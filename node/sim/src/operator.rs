//! A simple operator: looks at the status, does the next thing that brings the database to what is wished, looks again.
//! Wishes change, and change back, while it works.

use std::collections::BTreeSet;

use bytes::Bytes;
use rand::Rng;
use skerry_core::ids::{NodeId, TableId, Token};
use skerry_core::key::hash_starts;
use skerry_core::level::FormatLevel;
use skerry_core::map::{Consistency, Fragmentation, Map, MoveLimits, NodeState, Quorums, ShardRecord};
use skerry_core::node::{AdminRefusal, AdminReply, AdminRequest, Answer, Input, Removal};
use skerry_core::placement::{Site, Wanted, place};
use skerry_core::quorum::shown::Resolve;
use skerry_core::system::{AdminChange, Fence, NewNode, NewShard, SystemCommand, SystemReply};

use crate::check::held;
use crate::hardship::{Hardship, QUORUM_RANGES, QUORUM_TABLE, Setting};
use crate::host::Host;
use crate::stress::{Moves, Style};
use crate::world::{Event, MILLISECOND, SECOND, Waker, World};

const TIMEOUT: u64 = 2 * SECOND;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Status,
    Change,
    Join,
    Certify(NodeId),
    Remove(NodeId),
    /// What a former operator, whose lease was taken over, asks for.
    Stale,
}

/// What is wished, and where the operator stands.
pub(crate) struct Operator {
    /// Nodes that the database should have, the drained not counted.
    pub(crate) nodes: usize,
    pub(crate) replication_factor: u32,
    /// Replication factor of one table that has another than the rest.
    other_factor: Option<u32>,
    /// A table that comes and goes.
    wants_extra: bool,
    limits: Option<MoveLimits>,
    /// Nodes that are to leave the database.
    pub(crate) leaving: BTreeSet<NodeId>,
    volumes: u64,
    asked: Option<(Token, u64, Asked)>,
    leader: Option<NodeId>,
    map: Option<std::sync::Arc<Map>>,
    /// Nothing was left to do at the last look.
    pub(crate) is_done: bool,
    /// Faults are about: now and then the steward hears nothing of what a certificate depends on.
    pub(crate) is_disturbed: bool,
    /// What is wished of quorum tables under stress.
    pub(crate) moves: Moves,
}

impl Operator {
    pub(crate) fn new(nodes: usize) -> Self {
        Self {
            nodes,
            replication_factor: u32::try_from(nodes.min(3)).unwrap_or(3),
            other_factor: None,
            wants_extra: false,
            limits: None,
            leaving: BTreeSet::new(),
            volumes: 1,
            asked: None,
            leader: None,
            map: None,
            is_done: false,
            is_disturbed: false,
            moves: Moves::default(),
        }
    }

    /// Another wish; now and then the last one is taken back.
    pub(crate) fn wish(&mut self, world: &mut World) {
        self.is_done = false;
        if world.setting.has(Hardship::Tables) && world.rng.random_bool(0.4) {
            return self.wish_of_tables(world);
        }
        let hosts: Vec<_> = world.hosts.values().filter(|h| !h.gone).map(|h| h.id).collect();
        match world.rng.random_range(0..6) {
            0 | 1 if hosts.len() < 6 => self.nodes += 1,
            2 if self.nodes > 3 => {
                let staying: Vec<_> = hosts.iter().filter(|h| !self.leaving.contains(h)).collect();
                if let Some(node) = staying.get(world.rng.random_range(0..staying.len().max(1))) {
                    self.leaving.insert(**node);
                    self.nodes -= 1;
                }
            }
            3 => {
                let before = self.leaving.len();
                // A node whose volume is lost cannot be taken back.
                self.leaving.retain(|node| world.hosts.get(node).is_some_and(|h| h.gone));
                self.nodes += before - self.leaving.len();
            }
            _ => {
                let most = u32::try_from(self.nodes.min(5)).unwrap_or(3);
                self.replication_factor = world.rng.random_range(world.setting.copies_min().min(most)..=most);
            }
        }
        self.replication_factor = self.replication_factor.min(u32::try_from(self.nodes).unwrap_or(1));
    }

    /// So many nodes, and as many copies of every shard, whatever was wished before. Those that came last leave.
    pub(crate) fn wish_for(&mut self, nodes: usize, copies: u32, world: &World) {
        let hosts = world.hosts.values().filter(|host| !host.gone).map(|host| host.id);
        let mut staying: Vec<NodeId> = hosts.filter(|host| !self.leaving.contains(host)).collect();
        self.leaving.extend(staying.drain(nodes.min(staying.len())..));
        (self.nodes, self.replication_factor, self.other_factor) = (nodes, copies, None);
        // All shards change at the same time.
        self.limits = Some(MoveLimits { moves_per_node: 64, ..MoveLimits::default() });
        self.is_done = false;
    }

    fn wish_of_tables(&mut self, world: &mut World) {
        match world.rng.random_range(0..4) {
            0 | 1 => self.wants_extra = !self.wants_extra,
            2 => {
                let most = u32::try_from(self.nodes.min(5)).unwrap_or(3);
                self.other_factor = world
                    .rng
                    .random_bool(0.7)
                    .then(|| world.rng.random_range(world.setting.copies_min().min(most)..=most));
            }
            _ => {
                let bytes_per_second = world.rng.random_range(64 << 10..4 << 20);
                let moves_per_node = world.rng.random_range(1..4);
                self.limits = Some(MoveLimits { moves_per_node, bytes_per_second });
            }
        }
    }

    /// Copies of each shard of a table.
    fn copies_of(&self, name: &str) -> u32 {
        let most = u32::try_from(self.nodes).unwrap_or(1);
        let other = self.other_factor.filter(|_| name == "hashes").map(|factor| factor.min(most));
        let is_quorum = [QUORUM_TABLE, QUORUM_RANGES].contains(&name);
        let stressed = self.moves.copies(most).filter(|_| is_quorum);
        other.or(stressed).unwrap_or(self.replication_factor)
    }

    pub(crate) fn wake(&mut self, world: &mut World) {
        for lost in std::mem::take(&mut world.lost_for_good) {
            self.nodes -= usize::from(self.leaving.insert(lost));
            self.replication_factor = self.replication_factor.min(u32::try_from(self.nodes).unwrap_or(1));
            self.is_done = false;
        }
        self.is_done &= !std::mem::take(&mut self.moves.is_new);
        if let Some((token, sent, asked)) = self.asked.clone() {
            match world.answers.remove(&token) {
                Some(Answer::Admin(result)) => {
                    self.asked = None;
                    self.answered(asked, result, world);
                }
                Some(Answer::Write(_) | Answer::Read(_)) => {}
                None if world.time > sent + TIMEOUT => {
                    self.asked = None;
                    self.leader = None;
                }
                None => {}
            }
        }
        if self.asked.is_none() {
            match self.map.take() {
                Some(map) => self.act(&map, world),
                None => self.ask(AdminRequest::Status, Asked::Status, world),
            }
        }
        let pause = world.rng.random_range(20 * MILLISECOND..120 * MILLISECOND);
        world.after(pause, Event::Wake(Waker::Operator));
    }

    fn ask(&mut self, request: AdminRequest, asked: Asked, world: &mut World) {
        let up = world.up();
        let anyone = up.get(world.rng.random_range(0..up.len().max(1))).copied();
        let Some(host) = self.leader.filter(|l| up.contains(l)).or(anyone) else { return };
        let token = world.token();
        world.request(host, || Input::Admin { token, request: Box::new(request.clone()) });
        self.asked = Some((token, world.time, asked));
    }

    fn change(&mut self, change: AdminChange, epoch: Option<skerry_core::ids::Epoch>, asked: Asked, world: &mut World) {
        let fence = Fence { token: 1, based_on: epoch };
        self.ask(AdminRequest::Command(SystemCommand::Admin { fence, change }), asked, world);
    }

    fn answered(&mut self, asked: Asked, result: Result<AdminReply, AdminRefusal>, world: &mut World) {
        match (asked, result) {
            (_, Err(AdminRefusal::NotLeader { leader })) => self.leader = leader,
            (Asked::Status, Ok(AdminReply::Status(status))) => {
                // Nodes whose answer to joining was lost.
                for id in status.map.nodes.keys() {
                    self.joined(*id, world);
                }
                // Nodes whose removal was carried out, and the answer to it lost.
                let removed = status.map.nodes.values().filter(|n| n.state == NodeState::Removed);
                removed.for_each(|node| self.removed(node.id, world));
                self.map = Some(status.map);
            }
            (Asked::Join, Ok(AdminReply::Command(SystemReply::Joined(id)))) => self.joined(id, world),
            (Asked::Certify(node), Ok(AdminReply::Removal(Removal::Safe(certificate)))) => {
                let all = held(&world.hosts, world.time);
                let leader = self.leader.and_then(|l| world.hosts.get(&l)).and_then(|h| h.node.as_ref());
                let newest = world.hosts.values().filter_map(|h| h.node.as_ref()).max_by_key(|n| n.map().epoch);
                if let Some(map) = leader.or(newest).map(|n| n.map().clone())
                    && map.epoch >= certificate.epoch
                {
                    world.checker.note(skerry_core::invariants::copies::check_certificate(node, &map, &all));
                }
                self.ask(AdminRequest::Command(certificate.removal(1)), Asked::Remove(node), world);
            }
            (Asked::Remove(node), Ok(_)) => self.removed(node, world),
            (Asked::Stale, Ok(_)) => world.checker.broken.push("a former operator was obeyed".to_owned()),
            (Asked::Stale, Err(_)) => {}
            (Asked::Status | Asked::Change | Asked::Join | Asked::Certify(_) | Asked::Remove(_), Ok(_) | Err(_)) => {}
        }
    }

    fn removed(&mut self, id: NodeId, world: &mut World) {
        self.leaving.remove(&id);
        if world.hosts.get(&id).is_some_and(|host| !host.gone) {
            world.crash(id);
            world.hosts.get_mut(&id).into_iter().for_each(|host| host.gone = true);
        }
    }

    fn joined(&mut self, id: NodeId, world: &mut World) {
        if !world.hosts.contains_key(&id) {
            self.volumes += 1;
            let seeds = world.hosts.values().map(Host::record).collect();
            let highest_level = world.newcomers_level();
            let mut host = Host::new(id, machine(id.0), seeds, (&world.setting, &mut world.rng));
            host.highest_level = highest_level;
            world.hosts.insert(id, host);
            world.start(id, BTreeSet::new());
        }
    }

    /// The next thing to do. Nothing left = done.
    fn act(&mut self, map: &Map, world: &mut World) {
        if map.table_named("ranges").is_some() && world.rng.random_range(0..50) == 0 {
            let fence = Fence { token: 0, based_on: None };
            let change = AdminChange::SetLimits(map.limits.0);
            return self.ask(AdminRequest::Command(SystemCommand::Admin { fence, change }), Asked::Stale, world);
        }
        let active: Vec<_> = map.nodes.values().filter(|n| n.state == NodeState::Active).collect();
        let staying: Vec<_> = active.iter().filter(|n| !self.leaving.contains(&n.id)).collect();
        let back = map.nodes.values().find(|n| n.state == NodeState::Draining && !self.leaving.contains(&n.id));
        if let Some(node) = back {
            return self.change(AdminChange::Reactivate(node.id), None, Asked::Change, world);
        }
        if staying.len() < self.nodes {
            let new = machine(self.volumes + 1);
            let join = SystemCommand::JoinAt { node: new, level: world.newcomers_level() };
            return self.ask(AdminRequest::Command(join), Asked::Join, world);
        }
        if let Some(limits) = self.limits.filter(|limits| *limits != map.limits.0) {
            return self.change(AdminChange::SetLimits(limits), None, Asked::Change, world);
        }
        let is_enough = staying.len() >= self.copies_of("hashes").max(self.replication_factor) as usize;
        if let Some(node) = active.iter().find(|n| self.leaving.contains(&n.id) && is_enough) {
            return self.change(AdminChange::Drain(node.id), None, Asked::Change, world);
        }
        let sites: Vec<_> = staying.iter().map(|n| Site { node: n.id, zone: n.zone.clone() }).collect();
        if self.tables(map, &sites, world) {
            return;
        }
        if let Some(shuffled) = self.moves.shuffled(map, &sites, &mut world.nemesis.rng) {
            return self.change(AdminChange::SetTargets(vec![shuffled]), Some(map.epoch), Asked::Change, world);
        }
        if self.targets(map, &sites, world) {
            return;
        }
        // What a table that was dropped had there is gone, though its shards' records say so for ever.
        let holds = |node| map.shards.values().any(|shard| map.is_live(shard) && shard.names(node));
        let empty = map.nodes.values().find(|n| n.state == NodeState::Draining && !holds(n.id));
        if let Some(node) = empty {
            if self.is_disturbed && world.rng.random_bool(0.5) {
                let hosts = world.up();
                self.leader.into_iter().for_each(|steward| world.network.deafen(steward, &hosts));
            }
            let request = AdminRequest::CertifyRemoval { node: node.id, incarnation: node.incarnation };
            return self.ask(request, Asked::Certify(node.id), world);
        }
        let is_drained = !map.nodes.values().any(|n| n.state == NodeState::Draining);
        self.is_done = is_drained && self.moves.is_done(world.time);
    }

    /// Makes the tables, and sets their replication factor.
    fn tables(&mut self, map: &Map, sites: &[Site], world: &mut World) -> bool {
        if let Some(extra) = map.table_named("extra").filter(|_| !self.wants_extra) {
            self.change(AdminChange::DropTable { table: extra.id }, None, Asked::Change, world);
            return true;
        }
        let shards = world.setting.shards;
        let extra = self.wants_extra.then_some(("extra", Fragmentation::Range));
        let quorum = [(QUORUM_TABLE, Fragmentation::Hash), (QUORUM_RANGES, Fragmentation::Range)];
        // Not before every node can have it.
        let is_due = |name: &str| map.level.0 >= FormatLevel::QUORUM && world.setting.resolve_of(name).is_some();
        let quorum = quorum.into_iter().filter(|(name, _)| is_due(name)).collect::<Vec<_>>();
        let tables = [("ranges", Fragmentation::Range), ("hashes", Fragmentation::Hash)];
        for (name, fragmentation) in tables.into_iter().chain(extra).chain(quorum) {
            let replication_factor = self.copies_of(name);
            let copies = replication_factor as usize;
            if let Some(table) = map.table_named(name) {
                let consistency = self.quorum(name, replication_factor, &world.setting);
                let (table, is_as_wanted) = (
                    table.id,
                    match consistency {
                        None => table.replication_factor == replication_factor,
                        Some((Quorums { write, read }, resolve)) => {
                            let consistency = Consistency::Quorum { write, read, resolve };
                            (table.replication_factor, table.consistency) == (replication_factor, consistency)
                        }
                    },
                );
                if !is_as_wanted {
                    let change = match consistency {
                        None => AdminChange::AlterTable { table, replication_factor },
                        Some((quorums, resolve)) => {
                            AdminChange::AlterQuorumTable { table, replication_factor, quorums, resolve }
                        }
                    };
                    self.change(change, None, Asked::Change, world);
                    return true;
                }
                continue;
            }
            let starts = match fragmentation {
                Fragmentation::Range => {
                    ["", "h", "p", "t"].map(|s| Bytes::from_static(s.as_bytes())).into_iter().take(shards).collect()
                }
                Fragmentation::Hash => hash_starts(shards),
            };
            let wanted: Vec<_> = (0..)
                .zip(&starts)
                .map(|(n, _)| Wanted { shard: skerry_core::ids::ShardId(n), copies, current: Vec::new() })
                .collect();
            let Ok(placed) = place(sites, &wanted) else { return true };
            let shards =
                starts.into_iter().zip(placed.into_values()).map(|(start, nodes)| NewShard { start, nodes }).collect();
            let (consistency, name) = (self.quorum(name, replication_factor, &world.setting), name.to_owned());
            let change = match consistency {
                None => AdminChange::CreateTable { name, fragmentation, replication_factor, shards },
                Some((quorums, resolve)) => {
                    AdminChange::CreateQuorumTable { name, fragmentation, replication_factor, quorums, resolve, shards }
                }
            };
            self.change(change, None, Asked::Change, world);
            return true;
        }
        false
    }

    /// What a quorum table's W and R, and its rule, are to be. `None` = the table is none.
    fn quorum(&self, name: &'static str, copies: u32, setting: &Setting) -> Option<(Quorums, Resolve)> {
        let usual = || setting.resolve_of(name).map(|resolve| (Style::Majorities, resolve));
        let stressed = setting.stressed(name).map(|table| self.moves.wanted(name, table));
        let (style, resolve) = stressed.or_else(usual)?;
        Some((style.of(copies), resolve))
    }

    fn targets(&mut self, map: &Map, sites: &[Site], world: &mut World) -> bool {
        let is_held = |s: &ShardRecord| s.quorum.is_some() && self.moves.holds(world.time);
        let live = map.live_shards().filter(|s| s.descriptor.table != TableId::SYSTEM && !is_held(s));
        let live: Vec<_> = live.collect();
        let name = |table: TableId| map.tables.get(&table).map_or("", |t| &t.name);
        let copies = |s: &ShardRecord| self.copies_of(name(s.descriptor.table)) as usize;
        let wanted: Vec<_> = live
            .iter()
            .map(|s| Wanted { shard: s.descriptor.shard, copies: copies(s), current: s.target.clone() })
            .collect();
        let Ok(placed) = place(sites, &wanted) else { return false };
        let same =
            |target: &[NodeId], placed: &[NodeId]| target.iter().collect::<BTreeSet<_>>() == placed.iter().collect();
        let changed: Vec<_> = live
            .iter()
            .filter_map(|s| Some((s, placed.get(&s.descriptor.shard)?)))
            .filter(|(s, placed)| !same(&s.target, placed))
            .map(|(s, placed)| (s.descriptor.shard, placed.clone()))
            .collect();
        if changed.is_empty() {
            return false;
        }
        self.change(AdminChange::SetTargets(changed), Some(map.epoch), Asked::Change, world);
        true
    }
}

/// What the node of a machine says of itself when it joins, by the machine's number.
pub(crate) fn machine(number: u64) -> NewNode {
    let zone = format!("zone-{}", number % 3);
    NewNode { volume: format!("v{number}"), address: format!("host-{number}:1"), zone }
}
