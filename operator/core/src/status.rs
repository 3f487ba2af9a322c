//! What is reported: conditions as Kubernetes' readers expect them, counts, what moves, who leaves, and what holds it up.

mod conditions;
mod moves;

pub use conditions::{condition, stopped};

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use skerry_api::{Blocked, Counts, DistributedDatabase, DistributedDatabaseStatus, PlanStatus, Replacement};
use skerry_core::ids::ShardId;
use skerry_core::map::{Consistency, NodeState};
use skerry_core::message::NodeReport;
use skerry_core::node::Status;
use skerry_core::quorum::shown::Resolve;

use crate::decide::Decision;
use crate::desired::DesiredTable;
use crate::eviction::newest_at;
use crate::health::{is_heard, shards_now};
use crate::hosts;
use crate::observed::{Observed, Slot};
use crate::plan::{Plan, Record, Step, removals};
use crate::tolerance::Tolerance;
use crate::validate::{Invalid, ReplaceRequest, generation};
use conditions::{Facts, conditions};

/// Entries of a list in the status; more would not be read.
const BLOCKED_MAX: usize = 16;
/// Longest text that the schema allows for a message, in characters.
const MESSAGE_CHARS_MAX: usize = 1_024;
const OPERATION_CHARS_MAX: usize = 128;

/// What became of a round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// The failure that ended the steps early. `None` = nothing has failed.
    pub failure: Option<&'a str>,
    /// What is about to change though no step of the plan says so. `None` = nothing.
    pub changing: Option<&'a str>,
}

/// The status after a round: what was decided on what was seen, and what became of it.
pub fn status(
    database: &DistributedDatabase,
    observed: &Observed,
    decision: &Result<Decision, Invalid>,
    outcome: Outcome<'_>,
    now: &Time,
) -> DistributedDatabaseStatus {
    let failure = outcome.failure;
    let known = observed.database.known();
    let plan = decision.as_ref().ok().map(|d| &d.plan);
    let facts = Facts::new(decision, observed, outcome);
    let old = database.status.clone().unwrap_or_default();
    let members = known.map(members).unwrap_or_default();
    DistributedDatabaseStatus {
        observed_generation: Some(generation(database)),
        conditions: conditions(&facts, &old.conditions, generation(database), now),
        replicas: members.0,
        ready_replicas: members.1,
        nodes: known.map(|_| format!("{}/{}", members.1, database.spec.replicas)),
        // The shell knows its labels.
        selector: old.selector,
        counts: known.map(counts),
        plan: plan.and_then(plan_status),
        moves: moves::moves(known, old.moves.as_ref(), now),
        // Whoever makes the database chooses these, once.
        cluster_id: old.cluster_id,
        image: old.image,
        volume_size: observed.slots.known().map_or(old.volume_size, largest_volume),
        founded: observed.founded
            || failure.is_none() && plan.is_some_and(|p| p.steps.contains(&Step::Record(Record::Founded))),
        victims: recorded(observed, plan, failure),
        table_removals: pending_removals(observed, plan, failure),
        silent_nodes: plan.map_or_else(|| observed.silent.clone(), |p| p.notes.silent.clone()),
        replacement: plan.map_or_else(|| observed.replacement.clone(), |p| p.notes.replacement.clone()),
        founding: plan.map_or_else(|| observed.founding.clone(), |p| p.notes.founding.clone()),
        survives: known.map(|s| Tolerance::of(s).column()),
        operation: Some(short(facts.operation(), OPERATION_CHARS_MAX)),
        blocked_by: blocked(decision, observed, failure),
    }
}

/// What the largest volume is, or was asked to be where that is less.
fn largest_volume(slots: &BTreeMap<String, Slot>) -> Option<String> {
    let sizes = slots.values().filter_map(|slot| slot.volume.made().cloned());
    sizes.filter_map(|size| Some((skerry_api::bytes(&size).ok()?, size))).max().map(|(_, size)| size)
}

/// Members, and those of them that have been heard of lately.
fn members(status: &Status) -> (u32, u32) {
    let members: Vec<_> = status.map.nodes.values().filter(|n| n.state != NodeState::Removed).collect();
    let heard = members.iter().filter(|n| is_heard(status, n.id)).count();
    (count(members.len()), count(heard))
}

fn counts(status: &Status) -> Counts {
    let tables = status.map.tables.values().filter(|t| !t.dropped).count();
    let shards: Vec<_> = shards_now(status).into_iter().filter(|s| s.descriptor.shard != ShardId::SYSTEM).collect();
    Counts {
        // But for the system table.
        tables: count(tables.saturating_sub(1)),
        shards: count(shards.len()),
        settled_shards: count(shards.iter().filter(|s| s.is_at_rest()).count()),
        lost_copies: count(status.lost.len()),
    }
}

fn plan_status(plan: &Plan) -> Option<PlanStatus> {
    let moves = plan.moves.as_ref().filter(|m| m.replicas > 0)?;
    Some(PlanStatus {
        id: plan.approval.clone(),
        generation: plan.based_on.generation,
        epoch: plan.based_on.epoch.and_then(|e| i64::try_from(e.0).ok()).unwrap_or(0),
        shards: count(moves.shards),
        replicas: count(moves.replicas),
        bytes: i64::try_from(moves.bytes).unwrap_or(i64::MAX),
        lower_bound: count(moves.lower_bound),
    })
}

/// The new choice of who leaves once it is written down, else the old one.
fn recorded(observed: &Observed, plan: Option<&Plan>, failure: Option<&str>) -> Vec<skerry_api::Victim> {
    let mut steps = plan.filter(|_| failure.is_none()).into_iter().flat_map(|plan| &plan.steps);
    let chosen =
        steps.find_map(|step| if let Step::Record(Record::Victims(victims)) = step { Some(victims) } else { None });
    chosen.unwrap_or(&observed.victims).clone()
}

/// The tables that are to go once that is written down. If that failed, those that were and still are: one that was put
/// back, or whose delay begins anew, must not be found as it was when this generation counts as looked at.
fn pending_removals(
    observed: &Observed,
    plan: Option<&Plan>,
    failure: Option<&str>,
) -> Vec<skerry_api::PendingRemoval> {
    let Some(plan) = plan else { return Vec::new() };
    let mut steps = plan.steps.iter();
    let chosen =
        steps.find_map(|step| if let Step::Record(Record::Removals(pending)) = step { Some(pending) } else { None });
    match (chosen, failure) {
        (Some(pending), None) => pending.clone(),
        (Some(pending), Some(_)) => observed.removals.iter().filter(|r| pending.contains(r)).cloned().collect(),
        (None, _) => observed.removals.clone(),
    }
}

fn blocked(decision: &Result<Decision, Invalid>, observed: &Observed, failure: Option<&str>) -> Vec<Blocked> {
    let entry = |reason: &str, message: String| Blocked {
        reason: reason.to_owned(),
        message: short(message, MESSAGE_CHARS_MAX),
    };
    let mut blocked: Vec<Blocked> = match decision {
        Ok(decision) => decision.plan.waits.iter().map(|w| entry(w.reason(), w.to_string())).collect(),
        Err(invalid) => invalid.0.iter().map(|r| entry("Invalid", r.to_string())).collect(),
    };
    blocked.extend(failure.map(|f| entry("StepFailed", f.to_owned())));
    blocked.extend(held_up(observed).map(|why| entry("NodeHeldUp", why)));
    let replaced = decision.as_ref().ok().and_then(|decision| replaced_before(decision, observed));
    blocked.extend(replaced.map(|told| entry("ReplacedBefore", told)));
    if let (Ok(decision), Some(status)) = (decision, observed.database.known()) {
        let kept = kept_tables(decision, status).into_iter();
        blocked.extend(stalled(observed, status).map(|why| entry("DiskStalled", why)));
        blocked.extend(doubtful(observed, status).map(|why| entry("StoreDoubtful", why)));
        blocked.extend(shared_hosts(observed, status).into_iter().map(|why| entry("HostShared", why)));
        blocked.extend(kept.map(|name| entry("TableKept", format!("table {name:?} is not in the spec, and is kept"))));
    }
    if let Ok(decision) = decision {
        blocked.extend(ask_for_more(decision, observed).map(|why| entry("VolumeAsksForMore", why)));
        let weak = decision.desired.tables.iter().filter_map(may_miss);
        blocked.extend(weak.map(|why| entry("ReadsMayMissWrites", why)));
    }
    if let (Ok(decision), Some(status)) = (decision, observed.database.known()) {
        let given_up = decision.desired.tables.iter().filter(|table| gives_siblings_up(table, status));
        blocked.extend(given_up.map(|table| entry("SiblingsGivenUp", siblings_given_up(&table.name))));
    }
    blocked.truncate(BLOCKED_MAX);
    blocked
}

/// Nodes that do not run, and why: no host is in their zone, say.
fn held_up(observed: &Observed) -> impl Iterator<Item = String> {
    let slots = observed.slots.known().into_iter().flatten();
    slots.filter_map(|(name, slot)| {
        let why = slot.why_not(name)?;
        let zone = if slot.zone.is_empty() { String::new() } else { format!(", in zone {:?},", slot.zone) };
        Some(format!("{name}{zone} does not run: {why}"))
    })
}

/// Volumes that are as large as the spec says, and whose claims still ask for more: that was typed, and could not be had.
fn ask_for_more(decision: &Decision, observed: &Observed) -> impl Iterator<Item = String> {
    let wanted = decision.desired.claims.size.clone().unwrap_or_default();
    observed.slots.known().into_iter().flatten().filter_map(move |(name, slot)| {
        let volume = &slot.volume;
        let (asked, has) = (volume.size.as_ref()?, volume.capacity.as_ref()?);
        let is_enough = !volume.is_below(&wanted) && volume.asks_for_more_than(&wanted);
        is_enough.then(|| {
            format!(
                "{name} has {has}, as the spec says, and its claim asks for {asked}, which it may yet get: Kubernetes takes a \
                 claim down to no less than a little above what is there; a spec.storage.size above {has} does so"
            )
        })
    })
}

/// What a person asks to be replaced, and was replaced as they asked: it is not done again, and this says so.
fn replaced_before(decision: &Decision, observed: &Observed) -> Option<String> {
    let (request, done) = (decision.validated.replace.as_ref()?, decision.plan.notes.replacement.as_ref()?);
    if done.slot != request.slot {
        return None;
    }
    let Some(came) = done.done_by else { return asked_before(done, request, observed) };
    let (slot, which) = (&done.slot, skerry_api::REPLACE);
    Some(format!(
        "{slot} was replaced as {which} says, and node n{came} came: it is not done again; take the annotation out, or set it \
         to {slot}/n{came} to replace that node too"
    ))
}

/// What a person asks to be replaced, and does not mean the node that is there as far as is known: it came after that was
/// asked for, or the status is lost that says whether it was done.
fn asked_before(asked: &Replacement, request: &ReplaceRequest, observed: &Observed) -> Option<String> {
    let slot = observed.slots.known()?.get(&asked.slot)?;
    let node = newest_at(observed.database.known()?, &slot.address).filter(|node| node.state != NodeState::Removed)?;
    let is_another = i64::try_from(node.id.0).ok() != asked.node && slot.volume.id == asked.volume;
    // Of a slot that had neither node nor volume, or of which that is not known any more.
    let is_nobody = asked.node.is_none() && asked.volume.is_none();
    let (name, which, there) = (&asked.slot, skerry_api::REPLACE, node.id);
    (request.node.is_none() && (is_another || is_nobody)).then(|| {
        format!(
            "{name} is not replaced: {which} was there before its node {there}, or when the status was written anew; take the \
             annotation out, or set it to {name}/{there} to replace that node"
        )
    })
}

/// The node with its slot, as people know it.
fn named(observed: &Observed, report: &NodeReport) -> String {
    let mut slots = observed.slots.known().into_iter().flatten();
    let slot = slots.find(|(_, slot)| slot.address == report.address);
    slot.map_or_else(|| report.node.to_string(), |(name, _)| format!("{name} ({})", report.node))
}

/// Nodes that are heard of and whose disks do not answer.
fn stalled(observed: &Observed, status: &Status) -> impl Iterator<Item = String> {
    let stalled = status.nodes.iter().filter(|(report, _)| report.disk_stalled && is_heard(status, report.node));
    stalled.map(|(report, _)| {
        let name = named(observed, report);
        format!("{name} leads nothing: its disk has not made a write durable for too long")
    })
}

/// Nodes whose stores may lack something that nobody notices, and are still in use.
fn doubtful(observed: &Observed, status: &Status) -> impl Iterator<Item = String> {
    let doubtful = status.nodes.iter().filter(|(report, _)| report.store_doubtful && is_heard(status, report.node));
    doubtful.map(|(report, _)| {
        let (name, which) = (named(observed, report), skerry_api::REPLACE);
        format!(
            "{name} goes on, but its machine stopped while its sled store was open: a disk that reorders unsynced writes may \
             have lost some of it unnoticed; to be certain, replace such nodes by {which}, one at a time"
        )
    })
}

/// Hosts whose loss would take more than one copy of a shard.
fn shared_hosts(observed: &Observed, status: &Status) -> Vec<String> {
    observed.slots.known().map(|slots| hosts::shared(slots, status)).unwrap_or_default()
}

/// Why a read of a Quorum table may not see what was written before it. `None` = it sees that.
fn may_miss(table: &DesiredTable) -> Option<String> {
    let (name, copies) = (&table.name, table.replication_factor);
    match table.consistency {
        Consistency::Leader => None,
        Consistency::Quorum { write, read, .. } => (write.saturating_add(read) <= copies).then(|| {
            format!(
                "table {name:?}: a write waits for {write} of {copies} copies, and a read asks {read}: a read may miss the \
                 latest write; reads see every write if writeQuorum and readQuorum are together at least {}",
                copies.saturating_add(1)
            )
        }),
    }
}

/// True while a table that has kept siblings, or a shard of it, is yet to become one where the last writer wins.
fn gives_siblings_up(table: &DesiredTable, status: &Status) -> bool {
    let Some(there) = status.map.table_named(&table.name) else { return false };
    let keeps = |resolve: Resolve| resolve == Resolve::Siblings;
    let is_so = match there.consistency {
        Consistency::Leader => return false,
        Consistency::Quorum { resolve, .. } => keeps(resolve),
    };
    let mut shards = status.map.shards_of(there.id);
    let wants_last_writer = match table.consistency_after(there.consistency) {
        Consistency::Leader => false,
        Consistency::Quorum { resolve, .. } => !keeps(resolve),
    };
    wants_last_writer && (is_so || shards.any(|shard| shard.quorum.is_some_and(|quorum| keeps(quorum.resolve))))
}

/// What an edit from `Siblings` to `LastWriterWins` does.
fn siblings_given_up(table: &str) -> String {
    format!(
        "table {table:?}: conflictResolution goes from Siblings to LastWriterWins: of a key with several values only the latest \
         is shown from now on, and the next write of the key drops the others; with Siblings again those that were not \
         dropped are shown"
    )
}

/// Tables that the spec does not name, and that stay.
fn kept_tables(decision: &Decision, status: &Status) -> Vec<String> {
    if decision.desired.drops_tables_after.is_some() {
        return Vec::new();
    }
    removals::missing(&decision.desired, status).map(|table| table.name.clone()).collect()
}

fn short(text: String, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some(_) => text.chars().take(chars_max - 1).chain(['…']).collect(),
        None => text,
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
