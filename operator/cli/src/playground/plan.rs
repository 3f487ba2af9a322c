//! What to do next so that the playground becomes what its YAML says: a pure function of both. Doing all of it, looking
//! again and planning again comes to rest with nothing to do.

use std::collections::{BTreeMap, BTreeSet};

use skerry_core::ids::{NodeId, ShardId};
use skerry_core::map::{NodeRecord, NodeState, ShardRecord};
use skerry_core::node::Status;
use skerry_core::placement::{Site, Wanted, place};
use skerry_core::system::{AdminChange, NewShard};

use super::database::Database;
use super::folder::Slot;

/// What was seen.
#[derive(Debug, Clone)]
pub(crate) struct Observed<'a> {
    /// By name.
    pub(crate) slots: &'a BTreeMap<String, Slot>,
    /// `None` = unknown: nobody answers.
    pub(crate) status: Option<&'a Status>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Add a slot and start its node.
    AddSlot { slot: String, zone: String },
    /// Change the system shard.
    Change(AdminChange),
    /// Ask for a certificate, and with it remove the node from the database.
    RemoveNode { node: NodeId },
    /// Stop the node of a slot and forget the slot; its volume stays.
    RemoveSlot { slot: String },
    /// Nothing can be done before this.
    Wait(String),
}

/// Slots that should be: spread over the zones in turn.
pub(crate) fn desired_slots(database: &Database) -> BTreeMap<String, String> {
    let zones = database.zones.len();
    let slot = |i: usize| match zones {
        0 => (format!("{}-{i}", database.name), String::new()),
        _ => {
            let zone = &database.zones[i % zones];
            (format!("{}-{zone}-{}", database.name, i / zones), zone.clone())
        }
    };
    (0..database.replicas as usize).map(slot).collect()
}

/// Plans; empty = the playground is as the YAML says.
pub(crate) fn plan(database: &Database, observed: &Observed<'_>) -> Vec<Step> {
    if database.paused {
        return vec![Step::Wait("paused by the YAML".to_owned())];
    }
    let desired = desired_slots(database);
    let add = |(slot, zone): (&String, &String)| Step::AddSlot { slot: slot.clone(), zone: zone.clone() };
    // The first node makes the database; the others join when it is there.
    if observed.slots.is_empty() {
        return desired.iter().take(1).map(add).collect();
    }
    let Some(status) = observed.status else {
        return vec![Step::Wait("the database does not answer".to_owned())];
    };
    let missing = desired.iter().filter(|(slot, _)| !observed.slots.contains_key(*slot));
    let mut steps: Vec<Step> = missing.map(add).collect();
    let seats = Seats::new(&desired, observed.slots, status);
    steps.extend(seats.states());
    if !seats.waiting.is_empty() {
        steps.push(Step::Wait(format!("{} to join", seats.waiting.join(", "))));
        return steps;
    }
    if steps.is_empty() {
        steps.extend(limits(database, status));
        steps.extend(tables(database, status, &seats));
    }
    if steps.is_empty() {
        steps.extend(targets(database, status, &seats));
    }
    if steps.is_empty() {
        steps.extend(seats.removals(status));
    }
    steps
}

/// Which node sits in which slot.
struct Seats<'a> {
    keep: Vec<&'a NodeRecord>,
    go: Vec<(&'a str, Option<&'a NodeRecord>)>,
    waiting: Vec<&'a str>,
}

impl<'a> Seats<'a> {
    fn new(desired: &BTreeMap<String, String>, slots: &'a BTreeMap<String, Slot>, status: &'a Status) -> Self {
        let mut seats = Self { keep: vec![], go: vec![], waiting: vec![] };
        for (name, slot) in slots {
            let address = slot.address();
            let sits = |n: &&NodeRecord| n.address == address && n.state != NodeState::Removed;
            let node = status.map.nodes.values().rev().find(sits);
            match (desired.contains_key(name), node) {
                (true, Some(node)) => seats.keep.push(node),
                (true, None) => seats.waiting.push(name),
                (false, node) => seats.go.push((name, node)),
            }
        }
        seats
    }

    /// Drains what is to go, and takes drains back.
    fn states(&self) -> Vec<Step> {
        let back = self.keep.iter().filter(|n| n.state == NodeState::Draining);
        let going = self.go.iter().filter_map(|(_, n)| *n).filter(|n| n.state == NodeState::Active);
        back.map(|n| Step::Change(AdminChange::Reactivate(n.id)))
            .chain(going.map(|n| Step::Change(AdminChange::Drain(n.id))))
            .collect()
    }

    fn sites(&self) -> Vec<Site> {
        self.keep.iter().map(|n| Site { node: n.id, zone: n.zone.clone() }).collect()
    }

    /// Nodes that hold nothing any more.
    fn removals(&self, status: &Status) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut held = 0;
        for (slot, node) in &self.go {
            match node {
                Some(node) if status.map.shards.values().any(|s| s.names(node.id)) => held += 1,
                Some(node) => steps.push(Step::RemoveNode { node: node.id }),
                None => steps.push(Step::RemoveSlot { slot: (*slot).to_owned() }),
            }
        }
        if steps.is_empty() && held > 0 {
            steps.push(Step::Wait(format!("{held} nodes to be emptied")));
        }
        steps
    }
}

fn limits(database: &Database, status: &Status) -> Option<Step> {
    (status.map.limits.0 != database.limits).then_some(Step::Change(AdminChange::SetLimits(database.limits)))
}

fn tables(database: &Database, status: &Status, seats: &Seats<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    for table in &database.tables {
        match status.map.table_named(&table.name) {
            Some(there) if there.replication_factor != table.replication_factor => {
                let replication_factor = table.replication_factor;
                steps.push(Step::Change(AdminChange::AlterTable { table: there.id, replication_factor }));
            }
            Some(_) => {}
            None => {
                let copies = table.replication_factor as usize;
                // New shards have numbers of their own only for this placement, past all that are there.
                let new = |i| Wanted { shard: ShardId(u64::MAX - i as u64), copies, current: vec![] };
                let present: Vec<Wanted> = status.map.live_shards().map(|s| standing(s, s.target.len())).collect();
                let wanted: Vec<Wanted> = present.into_iter().chain((0..table.starts.len()).map(new)).collect();
                match place(&seats.sites(), &wanted) {
                    Ok(placed) => {
                        let shard = |(i, start): (usize, &bytes::Bytes)| NewShard {
                            start: start.clone(),
                            nodes: placed.get(&new(i).shard).cloned().unwrap_or_default(),
                        };
                        steps.push(Step::Change(AdminChange::CreateTable {
                            name: table.name.clone(),
                            fragmentation: table.fragmentation,
                            replication_factor: table.replication_factor,
                            shards: table.starts.iter().enumerate().map(shard).collect(),
                        }));
                        // The next table is placed when this one's shards are known.
                        return steps;
                    }
                    Err(error) => steps.push(Step::Wait(error.to_string())),
                }
            }
        }
    }
    steps
}

fn targets(database: &Database, status: &Status, seats: &Seats<'_>) -> Vec<Step> {
    let factors: BTreeMap<_, _> = database
        .tables
        .iter()
        .filter_map(|t| Some((status.map.table_named(&t.name)?.id, t.replication_factor as usize)))
        .collect();
    let copies = |s: &ShardRecord| factors.get(&s.descriptor.table).copied().unwrap_or(s.target.len());
    let wanted: Vec<Wanted> = status.map.live_shards().map(|s| standing(s, copies(s))).collect();
    let placed = match place(&seats.sites(), &wanted) {
        Ok(placed) => placed,
        Err(error) => return vec![Step::Wait(error.to_string())],
    };
    let changed = |(shard, nodes): (&ShardId, &Vec<NodeId>)| {
        let record = status.map.shards.get(shard)?;
        let set = |nodes: &[NodeId]| nodes.iter().copied().collect::<BTreeSet<_>>();
        (set(&record.target) != set(nodes)).then(|| (*shard, nodes.clone()))
    };
    let targets: Vec<_> = placed.iter().filter_map(changed).collect();
    if targets.is_empty() { vec![] } else { vec![Step::Change(AdminChange::SetTargets(targets))] }
}

fn standing(shard: &ShardRecord, copies: usize) -> Wanted {
    Wanted { shard: shard.descriptor.shard, copies, current: shard.target.clone() }
}
