//! The proof that a node can be removed: asks every shard's leader, and says "safe" only if all of them did.
//!
//! ```text
//! start ── the map speaks against it ──► NotYet
//!   └─ ask every leader ─► all clear, with enough copies ─► Safe
//!                       ├► one holds, or has too few ─────► NotYet
//!                       └► an answer is missing ──────────► Unknown
//! ```
//! The caller sees to it that its own leadership of the system shard is confirmed after the last answer came in.

use std::collections::BTreeMap;

use super::View;
use super::reports::is_active;
use crate::ids::{Epoch, Incarnation, NodeId, ShardId};
use crate::map::{Map, ShardRecord};
use crate::message::{CertifyAnswer, PeerMessage};
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
        for record in asked(view.map) {
            let shard = record.descriptor.shard;
            let leader = view.leader(shard).map(|(leader, _)| leader);
            shards.insert(shard, if leader.is_some() { Standing::Asked } else { Standing::Unasked });
            if let Some(leader) = leader {
                leaders.insert(shard, leader);
                asks.entry(leader).or_default().push(shard);
            }
        }
        let asks = asks.into_iter().map(|(to, shards)| (to, PeerMessage::CertifyAsk { nonce, node, shards })).collect();
        let deadline_ms = view.now_ms + CERTIFICATION_MS;
        Ok((Self { node, incarnation, epoch, nonce, deadline_ms, shards, leaders }, asks))
    }

    /// The number that ties the leaders' answers to this question.
    pub fn nonce(&self) -> u64 {
        self.nonce
    }

    /// True if the node was asked for this shard. Whatever another says of it is no answer.
    pub fn is_asked(&self, node: NodeId, shard: ShardId) -> bool {
        self.leaders.get(&shard) == Some(&node) || is_planted(Planted::AnybodyCertifies)
    }

    /// Takes in what a leader said. The first answer of a leader counts.
    pub fn answer(&mut self, shard: ShardId, answer: CertifyAnswer) {
        if let Some(standing) = self.shards.get_mut(&shard) {
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
        let waiting = self.shards.values().any(|standing| matches!(standing, Standing::Asked));
        if waiting && now_ms < self.deadline_ms {
            return None;
        }
        Some(self.decide(map).unwrap_or_else(|against| against))
    }

    fn decide(&self, map: &Map) -> Result<Removal, Removal> {
        check_map(map, self.node, self.incarnation)?;
        if map.nodes.get(&self.node).is_none_or(|record| record.epoch != self.epoch) {
            return Err(Removal::Unknown { shards: self.shards.keys().copied().collect() });
        }
        let (mut reasons, mut shards) = (Vec::new(), Vec::new());
        for record in asked(map) {
            let shard = record.descriptor.shard;
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
            shards: self.shards.len() as u64,
        }))
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
