//! How a quorum shard goes on where the system shard does not know what its copies hold, or where copies are gone for good.
//!
//! After a recovery of the system shard a record may lack steps that a majority of before has taken, or have one that was
//! never taken: an entry of the survivor's log that was not committed. What copies hold was committed, and they hold
//! nothing else before they hear of a sure record. So once every node has told what it has since it knows of the recovery,
//! the latest layout that any copy holds is the shard's, or the record's if it is later than all of those.
//!
//! A later one that nobody tells of has been held, if ever, by the copies of nodes that are gone. Old copies that it leaves
//! out tell of it all the same: before writes leave a set out, N - R + 1 of it hold a later layout, and so hold it still or
//! have ended. Where no copy of the layout is missing or has ended, nothing is lost, and the shard goes on by itself.
//! Otherwise a person says so; and so it is where a single node tells of a layout that ends other copies (`evidence`).
//!
//! A shard of which no copy was ever made has nothing to lose, and nothing to go on from either: it begins anew. So it does by
//! a person's word where some of its first copies may have been made, on nodes that are gone for good, and no other was.

use std::cmp::Ordering;

use super::evidence::{Told, is_displaced, is_word_of_one};
use super::{LOST_SILENCE_MS, RecoveryPlan, RecoveryRefusal, silent};
use crate::ids::{Generation, NodeId, ReplicaId, ShardId};
use crate::map::{NodeState, Replica, ShardRecord};
use crate::message::{CopyReport, QuorumReport};
use crate::planted::{Planted, is_planted};
use crate::quorum::layout::{Layout, Part, Stage};
use crate::steward::{RECORDS_MAX, View};
use crate::system::{QuorumRecovery, SystemCommand};

/// How a quorum shard goes on.
struct GoingOn<'a> {
    layout: Layout,
    /// Copies that are left, and what they have told.
    left: Vec<(Replica, Option<&'a QuorumReport>)>,
    /// Copies that were never made, and have promised nothing.
    unmade: Vec<Replica>,
    /// Copies that are gone for good, or that one node's word would end, and were not given up before.
    given_up: Vec<Replica>,
    /// True if that is more than one node's word, and does without a person's.
    is_certain: bool,
}

impl GoingOn<'_> {
    /// True if none of the first copies was made, but perhaps on nodes that are named as lost.
    fn begins_anew(&self, lost: &[NodeId]) -> bool {
        let is_first = self.layout.change.is_none() && self.layout.generation == Generation(1);
        let is_named = |copy: &Replica| lost.contains(&copy.node);
        is_first && self.left.is_empty() && !self.unmade.is_empty() && self.given_up.iter().all(is_named)
    }
}

/// The shards whose records are unsure, and of which nothing is lost: they go on as their copies hold them.
pub fn adoptions(view: &View<'_>) -> Vec<SystemCommand> {
    // The same for all shards: each is looked at only once all nodes have told.
    let mut nodes = view.map.nodes.values().filter(|node| node.state != NodeState::Removed);
    if nodes.any(|node| view.copy_since_recovery(ShardId::SYSTEM, node).is_err())
        && !is_planted(Planted::UnheardNotAwaited)
    {
        return Vec::new();
    }
    let unsure = view.map.live_shards().filter(|record| record.is_unsure());
    let whole = unsure.filter_map(|record| {
        let going_on = unsure_shard(view, record, &[]).ok()?;
        let begins_anew = going_on.begins_anew(&[]);
        let may = going_on.is_certain && going_on.given_up.is_empty() && (begins_anew || !going_on.left.is_empty());
        let (shard, based_on, layout) = (record.descriptor.shard, record.epoch, going_on.layout);
        let recovery = QuorumRecovery { layout, given_up: Vec::new(), begins_anew, at_ms: 0 };
        may.then_some(SystemCommand::RecoverQuorum { shard, based_on, recovery })
    });
    whole.take(RECORDS_MAX).collect()
}

/// True if a person is to be told of a quorum shard: it cannot go on by itself, or has copies on nodes that are named as lost.
pub(super) fn is_due(view: &View<'_>, record: &ShardRecord, lost: &[NodeId]) -> bool {
    let is_lost = |copy: &Replica| lost.contains(&copy.node) && !is_given_up(view, record.descriptor.shard, copy);
    let mut copies = record.descriptor.members.iter().map(|member| member.replica);
    record.quorum.is_some() && (record.is_unsure() || copies.any(|copy| is_lost(&copy)))
}

/// How a quorum shard would go on if these nodes are lost for ever.
pub(super) fn plan(view: &View<'_>, record: &ShardRecord, lost: &[NodeId]) -> Result<RecoveryPlan, RecoveryRefusal> {
    let shard = record.descriptor.shard;
    let GoingOn { layout, left, unmade, given_up, .. } = going_on(view, record, lost)?;
    let told = left.iter().find(|(_, told)| told.is_some()).or(left.first()).map(|(copy, _)| copy);
    // Where it begins anew there is only one that is yet to be made.
    let survivor = *told.or(unmade.first()).ok_or(RecoveryRefusal::NothingLeft { shard })?;
    let copies = left.into_iter().filter_map(|(copy, told)| Some((copy.node, copy_report(told?))));
    let (based_on, generation, copies) = (record.epoch, layout.generation, copies.collect());
    Ok(RecoveryPlan { shard, based_on, survivor, copies, given_up, generation })
}

/// How it goes on, as the system shard's command names it.
pub(super) fn decided(
    view: &View<'_>,
    record: &ShardRecord,
    lost: &[NodeId],
    at_ms: u64,
) -> Result<QuorumRecovery, RecoveryRefusal> {
    let going_on = going_on(view, record, lost)?;
    let begins_anew = going_on.begins_anew(lost);
    let GoingOn { layout, given_up, .. } = going_on;
    Ok(QuorumRecovery { layout, given_up, begins_anew, at_ms })
}

fn going_on<'a>(view: &View<'a>, record: &'a ShardRecord, lost: &[NodeId]) -> Result<GoingOn<'a>, RecoveryRefusal> {
    let shard = record.descriptor.shard;
    let going_on = if record.is_unsure() { unsure_shard(view, record, lost)? } else { sure_shard(view, record, lost)? };
    let begins_anew = record.is_unsure() && going_on.begins_anew(lost);
    if going_on.left.is_empty() && !begins_anew { Err(RecoveryRefusal::NothingLeft { shard }) } else { Ok(going_on) }
}

/// The record is what the copies hold: those on nodes that are named as lost are given up.
fn sure_shard<'a>(view: &View<'a>, record: &'a ShardRecord, lost: &[NodeId]) -> Result<GoingOn<'a>, RecoveryRefusal> {
    let shard = record.descriptor.shard;
    let layout = record.layout().ok_or(RecoveryRefusal::Unknown(shard))?;
    let told_lost = view.lost();
    let (mut left, mut given_up) = (Vec::new(), Vec::new());
    for copy in record.descriptor.members.iter().map(|member| member.replica) {
        let is_over = told_lost.contains(&(shard, copy.id));
        if lost.contains(&copy.node) {
            silent(view, copy.node)?;
            given_up.extend((!is_given_up(view, shard, &copy)).then_some(copy));
        } else if !is_over {
            left.push((copy, view.copy(record, copy.id)));
        }
    }
    let going_on = GoingOn { layout, left, unmade: Vec::new(), given_up, is_certain: true };
    if going_on.given_up.is_empty() { Err(RecoveryRefusal::Quorum { shard }) } else { Ok(going_on) }
}

/// What the copies hold is told by their nodes, all of which have to be heard, or named as lost.
fn unsure_shard<'a>(view: &View<'a>, record: &'a ShardRecord, lost: &[NodeId]) -> Result<GoingOn<'a>, RecoveryRefusal> {
    let told = told(view, record.descriptor.shard, lost)?;
    let layout = latest(record, &told)?;
    let is_certain = !is_word_of_one(record, &told, &layout);
    let mut going_on = gone_on_with(view, record, (layout, is_certain), &told, lost)?;
    let has_left_old = going_on.layout.change.as_ref().is_some_and(|change| change.stage == Stage::NewOnly);
    if has_left_old && going_on.left.is_empty() {
        // Nothing is left of the new copies: the old ones have all that there was before writes left them out.
        let old = gone_on_with(view, record, (going_on.layout.unchanged(), is_certain), &told, lost)?;
        let new = std::mem::take(&mut going_on.given_up).into_iter().filter(|copy| !old.given_up.contains(copy));
        going_on = GoingOn { given_up: new.chain(old.given_up.iter().copied()).collect(), ..old };
    }
    if !is_certain {
        let layout = &going_on.layout;
        let is_over = |(node, copy): &&(NodeId, &QuorumReport)| {
            layout.part(copy.replica) == Part::Over || is_displaced(layout, *node, copy.replica)
        };
        let over: Vec<Replica> =
            told.iter().filter(is_over).map(|(node, copy)| Replica { node: *node, id: copy.replica }).collect();
        going_on.given_up.extend(over);
    }
    Ok(going_on)
}

/// Which copies of a layout are left, and which are gone.
fn gone_on_with<'a>(
    view: &View<'a>,
    record: &'a ShardRecord,
    (layout, is_certain): (Layout, bool),
    told: &[(NodeId, &'a QuorumReport)],
    lost: &[NodeId],
) -> Result<GoingOn<'a>, RecoveryRefusal> {
    let shard = record.descriptor.shard;
    let (mut left, mut unmade, mut given_up) = (Vec::new(), Vec::new(), Vec::new());
    for id in layout.write_members() {
        let node = *layout.homes.get(&id).ok_or(RecoveryRefusal::Unknown(shard))?;
        let copy = Replica { node, id };
        if let Some((_, report)) = told.iter().find(|(of, report)| *of == node && report.replica == id) {
            left.push((copy, Some(*report)));
            continue;
        }
        let is_known = view.map.nodes.get(&node).is_some_and(|record| record.state != NodeState::Removed);
        match (lost.contains(&node), is_known) {
            (true, _) => silent(view, node)?,
            // It has joined by the word of the majority that was given up, and never comes back.
            (false, false) => return Err(RecoveryRefusal::Unseen { shard, node }),
            (false, true) if is_unmade(&layout, id) && !view.tells_lost(copy, shard) => {
                unmade.push(copy);
                continue;
            }
            (false, true) => {}
        }
        given_up.extend((!is_given_up(view, shard, &copy)).then_some(copy));
    }
    Ok(GoingOn { layout, left, unmade, given_up, is_certain })
}

/// Whatever the nodes have of a shard. All of them but the lost ones have told, since they know of the recovery.
fn told<'a>(
    view: &View<'a>,
    shard: ShardId,
    lost: &[NodeId],
) -> Result<Vec<(NodeId, &'a QuorumReport)>, RecoveryRefusal> {
    let mut told = Vec::new();
    for record in view.map.nodes.values().filter(|node| node.state != NodeState::Removed) {
        let node = record.id;
        if lost.contains(&node) {
            silent(view, node)?;
            continue;
        }
        match view.copy_since_recovery(shard, record) {
            Ok(Some(copy)) if copy.layout.is_none() && view.is_doubted_for(shard, node, LOST_SILENCE_MS) => {
                return Err(RecoveryRefusal::Disbelieved { shard, node });
            }
            Ok(copy) => told.extend(copy.map(|copy| (node, copy))),
            Err(_) if is_planted(Planted::UnheardNotAwaited) => {}
            Err(_) if view.heard(node).is_none() => return Err(RecoveryRefusal::Unseen { shard, node }),
            Err(_) => return Err(RecoveryRefusal::Untold { shard, node }),
        }
    }
    Ok(told)
}

/// The latest layout: of one number what a copy holds, since the record may have a step that was never committed.
fn latest(record: &ShardRecord, told: &Told<'_>) -> Result<Layout, RecoveryRefusal> {
    let shard = record.descriptor.shard;
    let mut latest = record.layout().ok_or(RecoveryRefusal::Unknown(shard))?;
    let mut is_held = false;
    for (node, copy) in told {
        let held = copy.layout.as_ref().ok_or(RecoveryRefusal::Untold { shard, node: *node })?;
        let is_later = match held.generation.cmp(&latest.generation) {
            Ordering::Less => false,
            Ordering::Equal if is_held && *held != latest => return Err(RecoveryRefusal::Unalike { shard }),
            Ordering::Equal => !is_planted(Planted::RecordBeforeHeld),
            Ordering::Greater => !is_planted(Planted::HeldLayoutIgnored),
        };
        if is_later {
            (latest, is_held) = (held.clone(), true);
        }
    }
    Ok(latest)
}

/// True of a copy that has promised nothing as long as it was not made: one of the first, or one that comes, before reads turn
/// to it. By then it had copied all.
fn is_unmade(layout: &Layout, copy: ReplicaId) -> bool {
    let copies = layout.change.as_ref().is_some_and(|change| change.stage == Stage::WriteBoth);
    (copies && layout.part(copy) == Part::Comes) || layout.generation == Generation(1)
}

fn is_given_up(view: &View<'_>, shard: ShardId, copy: &Replica) -> bool {
    view.map.recoveries.get(&shard).is_some_and(|recovery| recovery.given_up.contains(copy))
}

/// What people are shown of a copy: it has no log of its own that could be longer than another one's.
fn copy_report(copy: &QuorumReport) -> CopyReport {
    CopyReport {
        shard: copy.shard,
        replica: copy.replica,
        last: (0, 0),
        applied: 0,
        last_version: copy.floor,
        generation: copy.held,
        members: Vec::new(),
        is_blank: !copy.is_complete,
    }
}
