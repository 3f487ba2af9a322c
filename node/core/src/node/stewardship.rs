//! What a node remembers as steward: the reports of the others, the removals that are asked about, and the certificates
//! that it gave. Empty on a node that does not lead the system shard.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{Epoch, Incarnation, NodeId, ShardId, Token};
use crate::level::FormatLevel;
use crate::map::{Map, NodeState, ShardRecord};
use crate::message::{CertifyAnswer, PeerMessage, Report, ShardReport};
use crate::node::{Certificate, Removal, Status};
use crate::planted::{Planted, is_planted};
use crate::steward::{self, Certification, Reports, View};
use crate::system::SystemCommand;
use crate::time::Now;

/// Ticks between two rounds of the steward.
const ROUND_TICKS: u64 = 2;
/// The same while all shards are as they are to be: then a round looks at each of them and decides nothing.
const SETTLED_ROUND_TICKS: u64 = 10;
/// Ticks between two rounds of spreading leaders: time for the last hand-overs to show in the reports.
const LEADERS_TICKS: u64 = 30;

/// A certificate speaks of the present: whoever asked for it removes the node soon, or asks again.
const CERTIFICATE_MS: u64 = 30_000;

/// The certificates that this steward gave, one a node: its removal is refused without. A new steward gave none.
#[derive(Debug, Default)]
struct Issued(BTreeMap<NodeId, (Epoch, u64)>);

impl Issued {
    fn note(&mut self, certificate: &Certificate, now: Now) {
        self.0.insert(certificate.node, (certificate.epoch, now.monotonic_ms));
    }

    fn has(&self, node: NodeId, epoch: Epoch, now: Now) -> bool {
        let fits =
            |&(given, at_ms): &(Epoch, u64)| given == epoch && now.monotonic_ms.saturating_sub(at_ms) <= CERTIFICATE_MS;
        self.0.get(&node).is_some_and(fits)
    }
}

/// A steward's memory. Empty on a node that does not lead the system shard.
#[derive(Debug)]
pub(super) struct Stewardship {
    own: NodeId,
    /// The term in which this node leads the system shard. 0 = it does not.
    term: u64,
    reports: Reports,
    /// Nodes of whose word on their shards something was not believed: they are asked again, the map may know by then.
    doubted: BTreeMap<NodeId, Doubt>,
    /// Epoch of the map on which the last round found nothing to do, now or later.
    settled: Option<Epoch>,
    certifications: Vec<(Token, Certification)>,
    nonces: u64,
    issued: Issued,
    /// The highest format level that it has proposed to enable in this term.
    enabling: FormatLevel,
}

/// How often the time is doubled until a node that is not believed is asked again: what it tells is all of its shards.
const DOUBLED_MAX: u32 = 6;

/// A node that is not believed in all.
#[derive(Debug, Clone, Copy, Default)]
struct Doubt {
    is_due: bool,
    /// How often it was asked, one time after the other.
    asked: u32,
    /// The tick before which it is not asked again.
    not_before: u64,
}

/// What became of a question whether a node may be removed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The question has its final answer, for the request with this token.
    Answer(Token, Removal),
    /// It may, if this node's leadership is confirmed once more: the question's number.
    Confirm(u64),
}

impl Stewardship {
    /// Of a node that does not lead the system shard.
    pub(super) fn new(own: NodeId) -> Self {
        Self {
            own,
            term: 0,
            reports: Reports::default(),
            doubted: BTreeMap::new(),
            settled: None,
            certifications: Vec::new(),
            nonces: 0,
            issued: Issued::default(),
            enabling: FormatLevel::FIRST,
        }
    }

    /// True while this node leads the system shard.
    pub(super) fn is_held(&self) -> bool {
        self.term != 0
    }

    /// This node leads the system shard in this term; 0 = not any more. `None` = that is known. Else whoever has asked for
    /// a certificate gets none. A new steward has heard nothing yet.
    pub(super) fn leads_in(&mut self, term: u64, now: Now) -> Option<Vec<Token>> {
        if term == self.term {
            return None;
        }
        self.term = term;
        self.reports = Reports::new(now.monotonic_ms);
        self.doubted.clear();
        self.issued = Issued::default();
        self.enabling = FormatLevel::FIRST;
        self.settled = None;
        Some(std::mem::take(&mut self.certifications).into_iter().map(|(token, _)| token).collect())
    }

    /// A node reports. False if the report builds on another that was not heard.
    pub(super) fn heard(&mut self, report: Report, now: Now) -> bool {
        self.reports.insert(report, now.monotonic_ms)
    }

    /// A node says that it leads shards with copies that the map does not name.
    pub(super) fn claimed(&mut self, from: NodeId, claims: Vec<ShardReport>, map: &Map, now: Now) {
        self.reports.claimed(from, claims, map, now.monotonic_ms);
    }

    /// Something of a node's report was not believed.
    pub(super) fn doubt(&mut self, node: NodeId) {
        self.doubted.entry(node).or_default().is_due = true;
    }

    /// All that a node has told of all its shards was believed.
    pub(super) fn believe(&mut self, node: NodeId) {
        self.doubted.remove(&node);
    }

    /// What a node says of its copies of these shards cannot be so.
    pub(super) fn doubt_copies(&mut self, node: NodeId, shards: &[ShardId], now: Now) {
        self.reports.doubt_copies(node, shards, now.monotonic_ms);
    }

    /// All that was heard so far, and the map.
    pub(super) fn view<'a>(&'a self, map: &'a Map, now: Now) -> View<'a> {
        View { map, reports: &self.reports, now_ms: now.monotonic_ms }
    }

    /// True in the ticks in which there is a round.
    pub(super) fn is_round(&self, ticks: u64) -> bool {
        self.is_held() && ticks.is_multiple_of(ROUND_TICKS)
    }

    /// Those that are to report anew, now and then.
    pub(super) fn take_doubted(&mut self, ticks: u64) -> BTreeSet<NodeId> {
        if !ticks.is_multiple_of(SETTLED_ROUND_TICKS) {
            return BTreeSet::new();
        }
        let due = self.doubted.iter_mut().filter(|(_, doubt)| doubt.is_due && ticks >= doubt.not_before);
        due.map(|(node, doubt)| {
            let wait = SETTLED_ROUND_TICKS << doubt.asked.min(DOUBLED_MAX);
            *doubt =
                Doubt { is_due: false, asked: doubt.asked.saturating_add(1), not_before: ticks.saturating_add(wait) };
            *node
        })
        .collect()
    }

    /// What the system shard is asked for in this round.
    pub(super) fn round(&mut self, map: &Map, ticks: u64, now: Now) -> Vec<SystemCommand> {
        let view = self.view(map, now);
        let mut commands = starts(&view);
        if self.settled != Some(map.epoch) || ticks.is_multiple_of(SETTLED_ROUND_TICKS) {
            commands.extend(steward::round(&view));
            let mut live = map.shards.values().filter(|record| map.is_live(record));
            let is_settled = commands.is_empty() && live.all(ShardRecord::is_settled);
            self.settled = is_settled.then_some(map.epoch);
        }
        commands
    }

    /// Commands go into the log: those that come after them may find the level enabled that they ask for.
    pub(super) fn proposes(&mut self, commands: &[SystemCommand]) {
        let highest = commands.iter().map(SystemCommand::level).max().unwrap_or_default();
        self.enabling = self.enabling.max(highest);
    }

    /// The highest format level that it has proposed to enable.
    pub(super) fn enabling(&self) -> FormatLevel {
        self.enabling
    }

    /// Leaderships that are to go to other nodes, now and then: to whom each is to be said.
    pub(super) fn transfers(&self, map: &Map, ticks: u64, now: Now) -> Vec<(NodeId, PeerMessage)> {
        if ticks.is_multiple_of(LEADERS_TICKS) { steward::leaders(&self.view(map, now)) } else { Vec::new() }
    }

    /// True if a certificate was given for a node at this epoch, not long ago.
    pub(super) fn has_issued(&self, node: NodeId, epoch: Epoch, now: Now) -> bool {
        self.issued.has(node, epoch, now)
    }

    /// Somebody asks whether a node may be removed: whom this node has to ask for it.
    ///
    /// # Errors
    ///
    /// What is so without asking.
    pub(super) fn certify(
        &mut self,
        token: Token,
        (node, incarnation): (NodeId, Incarnation),
        map: &Map,
        now: Now,
    ) -> Result<Vec<(NodeId, PeerMessage)>, Removal> {
        self.nonces += 1;
        // Distinct over nodes and terms, so that no late answer is taken for another question's.
        let nonce = (self.term << 40) ^ (self.own.0 << 24) ^ self.nonces;
        let (certification, asks) = Certification::start(&self.view(map, now), node, incarnation, nonce)?;
        self.certifications.push((token, certification));
        Ok(asks)
    }

    /// Takes in the answer of a shard's leader to this steward's question.
    pub(super) fn certify_answered(&mut self, from: NodeId, nonce: u64, shard: ShardId, answer: CertifyAnswer) {
        let is_of_it = |c: &Certification| c.nonce() == nonce || is_planted(Planted::OtherQuestionAnswered);
        let asked = |c: &Certification| is_of_it(c) && c.is_asked(from, shard);
        if let Some((_, certification)) = self.certifications.iter_mut().find(|(_, c)| asked(c)) {
            certification.answer(from, shard, answer);
        }
    }

    /// The questions that can be answered. "Safe" only goes out after this node's own leadership was confirmed once more;
    /// anything else at once.
    pub(super) fn verdicts(&mut self, map: &Map, now: Now) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        let (issued, is_confirmed) = (&mut self.issued, is_planted(Planted::SafeUnconfirmed));
        self.certifications.retain(|(token, certification)| {
            let verdict = certification.verdict(map, now.monotonic_ms);
            let stays = verdict.as_ref().is_none_or(|removal| matches!(removal, Removal::Safe(_)) && !is_confirmed);
            verdicts.extend(verdict.map(|removal| match &removal {
                Removal::Safe(certificate) if is_confirmed => {
                    issued.note(certificate, now);
                    Verdict::Answer(*token, removal)
                }
                Removal::Safe(_) => Verdict::Confirm(certification.nonce()),
                Removal::NotYet(_) | Removal::Unknown { .. } => Verdict::Answer(*token, removal),
            }));
            stays
        });
        verdicts
    }

    /// This node's leadership was confirmed for the sake of a question: its answer, which is noted if it is a certificate.
    pub(super) fn confirmed(&mut self, nonce: u64, map: &Map, now: Now) -> Option<(Token, Removal)> {
        let position = self.certifications.iter().position(|(_, c)| c.nonce() == nonce)?;
        let (token, certification) = self.certifications.remove(position);
        let Some(removal) = certification.verdict(map, now.monotonic_ms) else {
            self.certifications.push((token, certification));
            return None;
        };
        if let Removal::Safe(certificate) = &removal {
            self.issued.note(certificate, now);
        }
        Some((token, removal))
    }

    /// The map and the latest reports.
    pub(super) fn status(&self, map: &std::sync::Arc<Map>, now: Now) -> Status {
        let view = self.view(map, now);
        Status {
            nodes: view.reports.nodes(now.monotonic_ms).map(|(r, age)| (r.clone(), age)).collect(),
            shards: view.reports.shards(now.monotonic_ms).map(|(r, age)| (r.clone(), age)).collect(),
            copies: view.reports.copies().map(|(node, copy)| (node, copy.without_sources())).collect(),
            steward: self.own,
            lost: view.lost().into_iter().collect(),
            map: std::sync::Arc::clone(map),
        }
    }
}

/// Nodes that say another address, zone or start than the registry has.
fn starts(view: &View<'_>) -> Vec<SystemCommand> {
    let heard =
        view.map.nodes.values().filter(|n| n.state != NodeState::Removed).filter_map(|n| Some((n, view.heard(n.id)?)));
    let changed = heard.filter(|(n, r)| n.incarnation < r.incarnation || n.address != r.address || n.zone != r.zone);
    changed
        .map(|(n, r)| SystemCommand::Start {
            node: n.id,
            incarnation: r.incarnation,
            address: r.address.clone(),
            zone: r.zone.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
