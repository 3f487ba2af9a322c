//! Whether a shard without a leader can ever have one again, and from which copy it could go on if a person gives the
//! others up. One to which nothing was ever written may need no person (`never_begun`).
//!
//! What is not known never counts as lost: every voter must be heard of, and say that it has no leader, or be named as
//! lost by the person and be silent. Compare etcd's `--force-new-cluster`, TiKV's online unsafe recovery and
//! CockroachDB's loss-of-quorum recovery.

mod ahead;
mod evidence;
mod never_begun;
mod quorum;

use std::collections::{BTreeMap, BTreeSet};

pub use never_begun::never_begun;
pub use quorum::adoptions;

use super::{View, claims};
use crate::ids::{Epoch, Generation, NodeId, ReplicaId, ShardId};
use crate::map::{Member, Replica, Role, ShardRecord, home_of};
use crate::message::CopyReport;
use crate::planted::{Planted, is_planted};
use crate::system::{Recovery, SystemCommand};

/// A node that was heard of within this time is not lost, whatever a person says.
pub const LOST_SILENCE_MS: u64 = 10_000;
/// Shards in one answer; more are told once these are recovered.
pub const RECOVERIES_MAX: usize = 256;

/// How a shard would go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryPlan {
    /// Shard that would be recovered.
    pub shard: ShardId,
    /// Epoch of the shard's record that the plan was made on.
    pub based_on: Epoch,
    /// The copy to go on from: of those left, the one with the most up-to-date log, ordered by the recoveries in its
    /// generation, then the term of its last entry, then the index of its last entry.
    pub survivor: Replica,
    /// All that are left, and where; the survivor is one of them.
    pub copies: Vec<(NodeId, CopyReport)>,
    /// Members that are given up: all but the survivor.
    pub given_up: Vec<Replica>,
    /// The highest generation that is known.
    pub generation: Generation,
}

/// Why a shard must not be recovered. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryRefusal {
    /// There is no such shard, or its table is dropped.
    #[error("shard {0} is unknown")]
    Unknown(ShardId),
    /// The shard has a leader: there is nothing to recover.
    #[error("shard {shard} has a leader, on node {node}")]
    Led {
        /// Shard that was to be recovered.
        shard: ShardId,
        /// Node that the shard's leader is on.
        node: NodeId,
    },
    /// A node that may come back with its copy.
    #[error(
        "node {node} has copy {replica} of shard {shard} and is not heard of: name it as lost if it is gone for good"
    )]
    Unheard {
        /// Shard that was to be recovered.
        shard: ShardId,
        /// Node that is not heard of.
        node: NodeId,
        /// The shard's replica on that node.
        replica: ReplicaId,
    },
    /// A node that is named as lost and speaks.
    #[error("node {node} is named as lost, but may have been heard of within the last {} s", LOST_SILENCE_MS / 1_000)]
    Alive {
        /// Node that was named as lost.
        node: NodeId,
    },
    /// A node that is heard of, and whose copy may follow a leader.
    #[error("node {node} has not said that its copy {replica} of shard {shard} is without a leader; ask again soon")]
    Unclear {
        /// Shard that was to be recovered.
        shard: ShardId,
        /// Node that has not reported on its replica.
        node: NodeId,
        /// The shard's replica on that node.
        replica: ReplicaId,
    },
    /// The copies that are left can elect a leader by themselves.
    #[error("shard {shard} has a majority of its copies: they elect a leader by themselves")]
    Majority {
        /// Shard that was to be recovered.
        shard: ShardId,
    },
    /// The shard's copies follow no leader: whatever is left of them goes on as it is, and only those on nodes that are named
    /// as lost can be given up.
    #[error("the copies of shard {shard} agree by quorums, and none that is left is on a node that is named as lost")]
    Quorum {
        /// Shard that was to be recovered.
        shard: ShardId,
    },
    /// A node that may have a copy of the shard which is ahead of what the system shard knows since it was recovered.
    #[error(
        "node {node} may hold later copies of shard {shard} than the system shard knows, and is not heard of: name it as \
         lost if it is gone for good"
    )]
    Unseen {
        /// Shard that was to be recovered.
        shard: ShardId,
        /// Node that is not heard of.
        node: NodeId,
    },
    /// A node that is heard of, and has not told yet what it has of the shard.
    #[error("node {node} has not said yet what it holds of shard {shard}; ask again soon")]
    Untold {
        /// Shard that was to be recovered.
        shard: ShardId,
        /// Node that has not told.
        node: NodeId,
    },
    /// A node that is heard of, and says again and again of its copy of a quorum shard what cannot be so.
    #[error(
        "what node {node} says of its copy of shard {shard} cannot be so, and it says nothing else: restart it; if that does \
         not help, stop it for good and name it as lost"
    )]
    Disbelieved {
        /// Shard that was to be recovered.
        shard: ShardId,
        /// Node that is not believed.
        node: NodeId,
    },
    /// Two copies of a quorum shard hold different layouts of one number: the system shard was recovered on two nodes at
    /// once, or one of them lies.
    #[error(
        "copies of shard {shard} hold different layouts of the same generation: stop the nodes that are not to count"
    )]
    Unalike {
        /// Shard that was to be recovered.
        shard: ShardId,
    },
    /// There is nothing to go on from.
    #[error("no copy of shard {shard} is left")]
    NothingLeft {
        /// Shard that was to be recovered.
        shard: ShardId,
    },
    /// Another copy is the one to go on from.
    #[error("the copy to go on from is {best} of shard {shard}, not {asked}: look at the plan again")]
    OtherSurvivor {
        /// Shard that was to be recovered.
        shard: ShardId,
        /// Replica that the request named as the survivor.
        asked: ReplicaId,
        /// Replica that the shard must go on from: of those left, the one with the most up-to-date log.
        best: ReplicaId,
    },
}

impl RecoveryPlan {
    /// The recovery as the system shard's command names it; `at_ms` is the time, in milliseconds since 1970.
    pub fn recovery(&self, at_ms: u64) -> Recovery {
        let survivor = self.copies.iter().find(|(_, copy)| copy.replica == self.survivor.id);
        let last = survivor.map_or((0, 0), |(_, copy)| copy.last);
        let given_up = self.given_up.clone();
        Recovery { from: self.survivor, last, generation: self.generation, given_up, at_ms }
    }
}

/// What is to be said of every data shard without a leader, and of quorum shards that wait for a word, as far as it is known;
/// at most [`RECOVERIES_MAX`]. Those that can be recovered come first, so that none is hidden by others that cannot.
pub fn recoveries(view: &View<'_>, lost: &[NodeId]) -> Vec<(ShardId, Result<RecoveryPlan, RecoveryRefusal>)> {
    let is_stuck = |record: &&ShardRecord| match record.quorum {
        None => {
            let leader = view.leader(record.descriptor.shard);
            leader.is_none_or(|(_, report)| claims::is_word_of_one(view, record, report))
        }
        Some(_) => quorum::is_due(view, record, lost),
    };
    let stuck = view.map.live_shards().filter(is_stuck).map(|record| record.descriptor.shard);
    let all = stuck.map(|shard| (shard, recovery(view, shard, lost)));
    let (able, unable): (Vec<_>, Vec<_>) = all.partition(|(_, plan)| plan.is_ok());
    able.into_iter().chain(unable).take(RECOVERIES_MAX).collect()
}

/// The command that has a data shard go on as it was planned; `at_ms` is the time, in milliseconds since 1970.
///
/// # Errors
///
/// The same as those of [`recovery`]: the shard needs no recovery, or cannot be recovered as planned.
pub fn decided(
    view: &View<'_>,
    plan: &RecoveryPlan,
    lost: &[NodeId],
    at_ms: u64,
) -> Result<SystemCommand, RecoveryRefusal> {
    let (shard, based_on) = (plan.shard, plan.based_on);
    let Some(record) = view.map.shards.get(&shard).filter(|record| record.quorum.is_some()) else {
        return Ok(SystemCommand::Recover { shard, based_on, recovery: plan.recovery(at_ms) });
    };
    let recovery = quorum::decided(view, record, lost, at_ms)?;
    Ok(SystemCommand::RecoverQuorum { shard, based_on, recovery })
}

/// How a data shard would go on if the nodes named are lost for ever.
///
/// # Errors
/// If it has a leader, also one that the map does not name, could have one, or that is not known for certain.
pub fn recovery(view: &View<'_>, shard: ShardId, lost: &[NodeId]) -> Result<RecoveryPlan, RecoveryRefusal> {
    let live = view.map.live_shards().find(|record| record.descriptor.shard == shard);
    let record = live.ok_or(RecoveryRefusal::Unknown(shard))?;
    if record.quorum.is_some() {
        return quorum::plan(view, record, lost);
    }
    let believed = view.leader(shard).filter(|(_, report)| !claims::is_word_of_one(view, record, report));
    if let Some((node, _)) = believed {
        return Err(RecoveryRefusal::Led { shard, node });
    }
    let ahead = ahead::ahead(view, shard, lost)?;
    let leaderless = view.copies_told(shard, |report| &report.leaderless);
    let copies: Vec<(NodeId, CopyReport)> = leaderless.map(|(node, copy)| (node, copy.clone())).collect();
    if let Some((node, report)) = claims::claimant(view, record) {
        let only = ahead::only_copy(view, record, (node, report), &ahead, lost);
        let only = only.ok_or(RecoveryRefusal::Led { shard, node })?;
        return Ok(going_on_from(record, node, only, &copies));
    }
    let is_there = |copy: Replica| ahead.iter().any(|(node, told)| (*node, told.replica) == (copy.node, copy.id));
    let is_unnamed = |copy: Replica| view.map.may_be_behind() && home_of(record, copy.id).is_none();
    let witness = |replica: Replica| match view.heard(replica.node) {
        None if view.silent_ms(replica.node) < LOST_SILENCE_MS => Witness::Unclear,
        None => Witness::Silent,
        Some(report) if report.lost.contains(&(shard, replica.id)) => Witness::Lost,
        Some(report) => {
            let copy = report.leaderless.iter().find(|copy| copy.shard == shard && copy.replica == replica.id);
            match copy {
                Some(copy) => Witness::Leaderless(copy.clone()),
                // Its node would tell of it, since its map does not name it.
                None if is_unnamed(replica) && !is_there(replica) => Witness::Lost,
                None => Witness::Unclear,
            }
        }
    };
    let known: Vec<(NodeId, CopyReport)> = copies.iter().chain(&ahead).cloned().collect();
    let (generation, members) = newest(record, &known);
    check(shard, &members, lost, witness)?;
    // A copy from before the last recovery only if nothing is left of what went on from it.
    let order = |copy: &CopyReport| (copy.generation.recoveries(), copy.last.1, copy.last.0);
    let best = copies.iter().filter(|(_, copy)| !copy.is_blank).max_by_key(|(node, copy)| (order(copy), !node.0));
    let (node, best) = best.ok_or(RecoveryRefusal::NothingLeft { shard })?;
    let survivor = Replica { node: *node, id: best.replica };
    let others = copies.iter().map(|(node, copy)| Replica { node: *node, id: copy.replica });
    let known: BTreeSet<Replica> = members.iter().map(|m| m.replica).chain(others).collect();
    let given_up = known.into_iter().filter(|replica| *replica != survivor).collect();
    Ok(RecoveryPlan { shard, based_on: record.epoch, survivor, generation, given_up, copies })
}

/// The shard goes on from the only copy that it has, which the map does not name.
fn going_on_from(
    record: &ShardRecord,
    node: NodeId,
    only: CopyReport,
    leaderless: &[(NodeId, CopyReport)],
) -> RecoveryPlan {
    let survivor = Replica { node, id: only.replica };
    let members = record.descriptor.members.iter().chain(&only.members).map(|m| m.replica);
    let others = leaderless.iter().map(|(node, copy)| Replica { node: *node, id: copy.replica });
    let known: BTreeSet<Replica> = members.chain(record.assigned.iter().copied()).chain(others).collect();
    let given_up = known.into_iter().filter(|replica| *replica != survivor).collect();
    let (shard, based_on, generation) = (record.descriptor.shard, record.epoch, only.generation);
    RecoveryPlan { shard, based_on, survivor, generation, given_up, copies: vec![(node, only)] }
}

/// Refuses to take a node for lost that may live.
fn silent(view: &View<'_>, node: NodeId) -> Result<(), RecoveryRefusal> {
    let is_silent = view.heard(node).is_none() && view.silent_ms(node) >= LOST_SILENCE_MS;
    if is_silent { Ok(()) } else { Err(RecoveryRefusal::Alive { node }) }
}

/// The newest members that anybody knows of.
fn newest(record: &ShardRecord, copies: &[(NodeId, CopyReport)]) -> (Generation, Vec<Member>) {
    let known = (record.descriptor.generation, &record.descriptor.members);
    let told = copies.iter().map(|(_, copy)| (copy.generation, &copy.members));
    let newest = told.fold(known, |best, other| if other.0 > best.0 { other } else { best });
    (newest.0, newest.1.clone())
}

/// What is known of a voter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Witness {
    /// Its node has been silent for at least [`LOST_SILENCE_MS`].
    Silent,
    /// Its node says that the copy will never speak again.
    Lost,
    /// It says itself that it has no leader.
    Leaderless(CopyReport),
    /// The copy may follow a leader or come back: nothing is known for certain.
    Unclear,
}

/// Refuses unless every voter is lost or says that it has no leader, and those that are left can elect none of them.
fn check(
    shard: ShardId,
    members: &[Member],
    lost: &[NodeId],
    witness: impl Fn(Replica) -> Witness,
) -> Result<(), RecoveryRefusal> {
    let mut left: BTreeMap<ReplicaId, CopyReport> = BTreeMap::new();
    for Replica { node, id } in members.iter().filter(|m| m.role != Role::Learner).map(|m| m.replica) {
        let (is_named, replica) = (lost.contains(&node), id);
        match witness(Replica { node, id }) {
            Witness::Silent if is_named || is_planted(Planted::UnheardIsLost) => {}
            Witness::Silent => return Err(RecoveryRefusal::Unheard { shard, node, replica }),
            Witness::Unclear | Witness::Leaderless(_) | Witness::Lost if is_named => {
                return Err(RecoveryRefusal::Alive { node });
            }
            Witness::Lost => {}
            Witness::Leaderless(copy) => drop(left.insert(id, copy)),
            Witness::Unclear => return Err(RecoveryRefusal::Unclear { shard, node, replica }),
        }
    }
    let is_elected = |candidate: &CopyReport| {
        let halves = [[Role::Voter, Role::Incoming], [Role::Voter, Role::Outgoing]];
        halves.iter().all(|roles| is_elected_by(candidate, members.iter().filter(|m| roles.contains(&m.role)), &left))
    };
    // Without records it votes, and waits for a leader to send them: it never stands.
    let may_stand = |copy: &&CopyReport| !copy.is_blank || is_planted(Planted::BlankMayStand);
    let can_elect = left.values().filter(may_stand).any(is_elected);
    if can_elect { Err(RecoveryRefusal::Majority { shard }) } else { Ok(()) }
}

/// True if a majority of these voters is left, and has no later log than the candidate: they would vote for it.
fn is_elected_by<'a>(
    candidate: &CopyReport,
    voters: impl Iterator<Item = &'a Member>,
    left: &BTreeMap<ReplicaId, CopyReport>,
) -> bool {
    let log = |copy: &CopyReport| (copy.last.1, copy.last.0);
    let (mut all, mut for_it) = (0, 0);
    for voter in voters {
        all += 1;
        for_it += usize::from(left.get(&voter.replica.id).is_some_and(|voter| log(voter) <= log(candidate)));
    }
    2 * for_it > all
}

/// The same for the system shard, by a node that holds a copy and hears of the others itself: there is no steward.
/// Of copies with the same log only the one on the lowest node may go on, so that two nodes that hear one another never
/// both do.
///
/// # Errors
/// As [`recovery`].
pub fn alone(
    here: NodeId,
    own: &CopyReport,
    lost: &[NodeId],
    witness: impl Fn(Replica) -> Witness,
) -> Result<Recovery, RecoveryRefusal> {
    let shard = own.shard;
    if own.is_blank {
        return Err(RecoveryRefusal::NothingLeft { shard });
    }
    let is_here = |replica: &Replica| replica.node == here && replica.id == own.replica;
    let of_member =
        |replica: Replica| if is_here(&replica) { Witness::Leaderless(own.clone()) } else { witness(replica) };
    check(shard, &own.members, lost, of_member)?;
    let order = |node: NodeId, copy: &CopyReport| (copy.generation.recoveries(), copy.last.1, copy.last.0, !node.0);
    let others: Vec<Replica> = own.members.iter().map(|m| m.replica).filter(|replica| !is_here(replica)).collect();
    for replica in &others {
        if let Witness::Leaderless(copy) = witness(*replica)
            && !copy.is_blank
            && order(replica.node, &copy) > order(here, own)
        {
            return Err(RecoveryRefusal::OtherSurvivor { shard, asked: own.replica, best: replica.id });
        }
    }
    let from = Replica { node: here, id: own.replica };
    Ok(Recovery { from, last: own.last, generation: own.generation, given_up: others, at_ms: 0 })
}
