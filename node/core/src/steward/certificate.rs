//! The proof that a node can be removed: asks every shard's leader, and every copy of a quorum shard, and says "safe" only
//! if all of them did.
//!
//! ```text
//! start ── the map speaks against it ──► NotYet
//!   └─ ask them all ─► all clear, with enough copies ─► Safe
//!                   ├► one holds, or has too few ─────► NotYet
//!                   └► an answer is missing ──────────► Unknown
//! ```
//! The caller sees to it that its own leadership of the system shard is confirmed after the last answer came in.

use std::collections::BTreeMap;

use super::View;
use super::reports::is_active;
use crate::ids::{Epoch, Generation, Incarnation, NodeId, ShardId};
use crate::map::{Map, ShardRecord};
use crate::message::{CertifyAnswer, PeerMessage, QuorumReport};
use crate::node::{Certificate, NotYet, Removal};
use crate::planted::{Planted, is_planted};

/// How long leaders have to answer.
pub const CERTIFICATION_MS: u64 = 2_000;
/// Reasons named in one answer; the first ones are enough to see what is in the way.
pub const REASONS_MAX: usize = 100;
/// Copies of the system shard that a removal must leave in sync, where it has that many.
const SYSTEM_COPIES: usize = 3;

/// A question that waits for its answers.
#[derive(Debug, Clone)]
pub struct Certification {
    node: NodeId,
    incarnation: Incarnation,
    /// Of the node's record when the question was asked: were it reactivated and drained again while the answers come
    /// in, a copy might have landed on it after its shard's answer.
    epoch: Epoch,
    nonce: u64,
    deadline_ms: u64,
    shards: BTreeMap<ShardId, Standing>,
    /// Who leads each shard, as far as known: nobody else answers for it.
    leaders: BTreeMap<ShardId, NodeId>,
    /// Of each quorum shard the nodes of its copies, and what they have answered. `None` = nothing yet.
    copies: BTreeMap<ShardId, BTreeMap<NodeId, Option<CertifyAnswer>>>,
}

#[derive(Debug, Clone)]
enum Standing {
    /// No leader was known to ask.
    Unasked,
    /// The shard's leader is asked and has not answered yet.
    Asked,
    Answered(CertifyAnswer),
}

impl Certification {
    /// Begins to ask whether a node, in one incarnation, can go: gives the questions to send, or at once what the map
    /// has against it.
    pub fn start(
        view: &View<'_>,
        node: NodeId,
        incarnation: Incarnation,
        nonce: u64,
    ) -> Result<(Self, Vec<(NodeId, PeerMessage)>), Removal> {
        let epoch = check_map(view.map, node, incarnation)?;
        let mut shards = BTreeMap::new();
        let mut leaders = BTreeMap::new();
        let mut asks: BTreeMap<NodeId, Vec<ShardId>> = BTreeMap::new();
        let mut copies = BTreeMap::new();
        for record in asked(view.map) {
            let shard = record.descriptor.shard;
            if record.quorum.is_some() {
                let nodes = record.descriptor.members.iter().map(|member| member.replica.node);
                nodes.clone().for_each(|node| asks.entry(node).or_default().push(shard));
                copies.insert(shard, nodes.map(|node| (node, None)).collect());
                continue;
            }
            let leader = view.leader(shard).map(|(leader, _)| leader);
            shards.insert(shard, if leader.is_some() { Standing::Asked } else { Standing::Unasked });
            if let Some(leader) = leader {
                leaders.insert(shard, leader);
                asks.entry(leader).or_default().push(shard);
            }
        }
        let asks = asks.into_iter().map(|(to, shards)| (to, PeerMessage::CertifyAsk { nonce, node, shards })).collect();
        let deadline_ms = view.now_ms + CERTIFICATION_MS;
        Ok((Self { node, incarnation, epoch, nonce, deadline_ms, shards, leaders, copies }, asks))
    }

    /// The number that ties the leaders' answers to this question.
    pub fn nonce(&self) -> u64 {
        self.nonce
    }

    /// True if the node was asked for this shard. Whatever another says of it is no answer.
    pub fn is_asked(&self, node: NodeId, shard: ShardId) -> bool {
        let has_copy = || self.copies.get(&shard).is_some_and(|copies| copies.contains_key(&node));
        self.leaders.get(&shard) == Some(&node) || has_copy() || is_planted(Planted::AnybodyCertifies)
    }

    /// Takes in what a leader said, or the node of a quorum copy. The first answer of a leader counts.
    pub fn answer(&mut self, from: NodeId, shard: ShardId, answer: CertifyAnswer) {
        if let Some(told) = self.copies.get_mut(&shard).and_then(|copies| copies.get_mut(&from)) {
            *told = Some(answer);
        } else if let Some(standing) = self.shards.get_mut(&shard) {
            match standing {
                Standing::Unasked | Standing::Asked | Standing::Answered(CertifyAnswer::NotLeader) => {
                    *standing = Standing::Answered(answer);
                }
                Standing::Answered(CertifyAnswer::Clear { .. } | CertifyAnswer::Held { .. }) => {}
            }
        }
    }

    /// What came out, once every leader that was asked has answered or the time is up. `None` = wait. The map is the
    /// present one: what it has against the removal by now counts too.
    pub fn verdict(&self, map: &Map, now_ms: u64) -> Option<Removal> {
        let mut told = self.copies.values().flat_map(BTreeMap::values);
        let waiting =
            self.shards.values().any(|standing| matches!(standing, Standing::Asked)) || told.any(Option::is_none);
        if waiting && now_ms < self.deadline_ms {
            return None;
        }
        Some(self.decide(map).unwrap_or_else(|against| against))
    }

    fn decide(&self, map: &Map) -> Result<Removal, Removal> {
        check_map(map, self.node, self.incarnation)?;
        if map.nodes.get(&self.node).is_none_or(|record| record.epoch != self.epoch) {
            return Err(Removal::Unknown { shards: self.shards.keys().chain(self.copies.keys()).copied().collect() });
        }
        let (mut reasons, mut shards) = (Vec::new(), Vec::new());
        for record in asked(map) {
            let shard = record.descriptor.shard;
            if record.quorum.is_some() {
                match self.of_copies(map, record) {
                    Ok(true) => {}
                    Ok(false) if is_planted(Planted::MissingAnswerIsYes) => {}
                    Ok(false) => shards.push(shard),
                    Err(reason) => reasons.push(reason),
                }
                continue;
            }
            match self.shards.get(&shard) {
                Some(Standing::Answered(CertifyAnswer::Held { .. })) => reasons.push(NotYet::Holds { shard }),
                Some(Standing::Answered(CertifyAnswer::Clear { in_sync, generation }))
                    if *generation >= record.descriptor.generation =>
                {
                    let (in_sync, wanted) = (*in_sync, wanted_copies(map, record));
                    if in_sync < wanted && !is_planted(Planted::CopiesNotCounted) {
                        reasons.push(NotYet::Copies { shard, in_sync, wanted });
                    }
                }
                // No answer: not asked, or made since, or from a leader that knows less than the map.
                Some(Standing::Answered(CertifyAnswer::Clear { .. } | CertifyAnswer::NotLeader))
                | Some(Standing::Asked | Standing::Unasked)
                | None => {
                    if !is_planted(Planted::MissingAnswerIsYes) {
                        shards.push(shard);
                    }
                }
            }
        }
        if !reasons.is_empty() {
            reasons.truncate(REASONS_MAX);
            return Err(Removal::NotYet(reasons));
        }
        if !shards.is_empty() {
            return Err(Removal::Unknown { shards });
        }
        Ok(Removal::Safe(Certificate {
            node: self.node,
            incarnation: self.incarnation,
            epoch: map.epoch,
            shards: (self.shards.len() + self.copies.len()) as u64,
        }))
    }

    /// Whether a quorum shard can do without the node: only if it is settled, and all its copies say that they are
    /// complete, at the record's generation. One that holds another layout may know of copies that the record does not.
    /// `false` = an answer is missing.
    fn of_copies(&self, map: &Map, record: &ShardRecord) -> Result<bool, NotYet> {
        let shard = record.descriptor.shard;
        // A copy may hold a layout that names the node, where a recovery of the system shard has left the record unsure.
        if !record.assigned_reached() || record.is_unsure() {
            return Err(NotYet::Changing { shard });
        }
        let members = record.descriptor.members.iter();
        let told = |node: NodeId| self.copies.get(&shard).and_then(|copies| copies.get(&node)).and_then(Option::as_ref);
        let answers: Vec<_> = members.map(|member| told(member.replica.node)).collect();
        if answers.iter().any(|answer| matches!(answer, Some(CertifyAnswer::Held { .. }))) {
            return Err(NotYet::Holds { shard });
        }
        let is_known = |generation: &Generation| *generation == record.descriptor.generation;
        let clear = answers.iter().filter_map(|answer| match answer {
            Some(CertifyAnswer::Clear { in_sync, generation }) if is_known(generation) => Some(*in_sync),
            Some(CertifyAnswer::Clear { .. } | CertifyAnswer::Held { .. } | CertifyAnswer::NotLeader) | None => None,
        });
        let clear: Vec<u32> = clear.collect();
        let needed = if is_planted(Planted::OneCopyCertifies) { 1 } else { answers.len() };
        if clear.len() < needed {
            return Ok(false);
        }
        let in_sync = clear.iter().map(|own| (*own).min(1)).sum();
        let wanted = wanted_copies(map, record).max(u32::try_from(answers.len()).unwrap_or(u32::MAX));
        let are_enough = in_sync >= wanted || is_planted(Planted::OneCopyCertifies);
        if are_enough { Ok(true) } else { Err(NotYet::Copies { shard, in_sync, wanted }) }
    }
}

/// What a node answers for its copy of a quorum shard. `record` and `copy` are the shard's record as the node has it, and
/// what its copy has durably.
pub fn copy_answer(record: Option<&ShardRecord>, copy: Option<&QuorumReport>, node: NodeId) -> CertifyAnswer {
    let Some(copy) = copy else { return CertifyAnswer::NotLeader };
    let members = record.into_iter().flat_map(|record| &record.descriptor.members);
    match members.map(|member| member.replica).find(|replica| replica.node == node) {
        Some(replica) => CertifyAnswer::Held { replica: replica.id },
        None => CertifyAnswer::Clear { in_sync: u32::from(copy.is_complete), generation: copy.held },
    }
}

/// Every shard whose leader must agree: the system shard and all of tables that are not dropped.
fn asked(map: &Map) -> impl Iterator<Item = &ShardRecord> {
    map.shards.values().filter(|record| map.is_live(record))
}

/// What the map alone says against the removal; if nothing, the epoch of the node's record.
fn check_map(map: &Map, node: NodeId, incarnation: Incarnation) -> Result<Epoch, Removal> {
    let against = |reason| Err(Removal::NotYet(vec![reason]));
    let Some(record) = map.nodes.get(&node).filter(|record| !is_active(record)) else {
        return against(NotYet::NotDraining(node));
    };
    if record.incarnation != incarnation {
        return against(NotYet::OtherIncarnation { asked: incarnation, latest: record.incarnation });
    }
    let holding = asked(map).filter(|record| record.names(node)).take(REASONS_MAX);
    let reasons: Vec<NotYet> = holding.map(|record| NotYet::Holds { shard: record.descriptor.shard }).collect();
    if reasons.is_empty() { Ok(record.epoch) } else { Err(Removal::NotYet(reasons)) }
}

/// Copies that must be in sync elsewhere: the table's replication factor; of the system shard as many as it should
/// have by now, up to three.
fn wanted_copies(map: &Map, record: &ShardRecord) -> u32 {
    if record.descriptor.shard == ShardId::SYSTEM {
        let active = map.nodes.values().filter(|node| is_active(node)).count();
        let wanted = SYSTEM_COPIES.min(active).min(record.target.len()).max(1);
        return u32::try_from(wanted).unwrap_or(u32::MAX);
    }
    map.tables.get(&record.descriptor.table).map_or(u32::MAX, |table| table.replication_factor)
}
