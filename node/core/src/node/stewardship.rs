//! What this node does where it leads the system shard, and what it tells the node that does: runs the steward's
//! rounds, takes admin requests, gives certificates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::{Engine, EngineError};
use crate::ids::{Epoch, NodeId, ShardId, Token};
use crate::map::{NodeState, ShardRecord};
use crate::message::{CertifyAnswer, PeerMessage};
use crate::node::{AdminRefusal, AdminReply, AdminRequest, Answer, Certificate, Node, Removal, Status};
use crate::planted::{Planted, is_planted};
use crate::replica::{Reader, Replica};
use crate::steward::{self, Certification, Reports, View};
use crate::system::{AdminChange, SystemCommand, SystemRefusal, check_lengths};
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
#[derive(Debug, Default)]
pub(super) struct Stewardship {
    /// The term in which this node leads the system shard. 0 = it does not.
    pub(super) term: u64,
    pub(super) reports: Reports,
    /// Nodes of whose word on their shards something was not believed: they are asked again, the map may know by then.
    pub(super) doubted: BTreeSet<NodeId>,
    /// Of the map on which the last round found nothing to do, now or later.
    settled: Option<Epoch>,
    certifications: Vec<(Token, Certification)>,
    nonces: u64,
    issued: Issued,
}

impl Stewardship {
    pub(super) fn certify_answered(&mut self, from: NodeId, nonce: u64, shard: ShardId, answer: CertifyAnswer) {
        let asked = |c: &Certification| c.nonce() == nonce && c.is_asked(from, shard);
        if let Some((_, certification)) = self.certifications.iter_mut().find(|(_, c)| asked(c)) {
            certification.answer(shard, answer);
        }
    }
}

impl Node {
    fn system_leader(&mut self) -> Option<&mut Replica> {
        self.replicas.get_mut(&ShardId::SYSTEM).filter(|r| r.is_leader())
    }

    fn known_system_leader(&self) -> Option<NodeId> {
        let own = self.replicas.get(&ShardId::SYSTEM).filter(|r| !r.is_blank()).and_then(Replica::leader_node);
        let members = || self.map.shards.get(&ShardId::SYSTEM).and_then(|s| s.descriptor.members.first());
        own.or_else(|| members().map(|m| m.replica.node)).filter(|n| *n != self.identity.node)
    }

    pub(super) fn steward(&mut self, now: Now) {
        let term = self.system_leader().map_or(0, |r| r.term());
        if term != self.stewardship.term {
            self.take_over(term, now);
        }
        if term == 0 || !self.ticks.is_multiple_of(ROUND_TICKS) {
            return;
        }
        if self.ticks.is_multiple_of(SETTLED_ROUND_TICKS) {
            let doubted = std::mem::take(&mut self.stewardship.doubted);
            self.send.extend(doubted.into_iter().map(|node| (node, PeerMessage::ReportWant)));
        }
        self.settle_certifications(now);
        let map = Arc::clone(&self.map);
        let view = View { map: &map, reports: &self.stewardship.reports, now_ms: now.monotonic_ms };
        let mut commands = starts(&view);
        if self.stewardship.settled != Some(map.epoch) || self.ticks.is_multiple_of(SETTLED_ROUND_TICKS) {
            commands.extend(steward::round(&view));
            let mut live = map.shards.values().filter(|record| map.is_live(record));
            let is_settled = commands.is_empty() && live.all(ShardRecord::is_settled);
            self.stewardship.settled = is_settled.then_some(map.epoch);
        }
        let transfers = if self.ticks.is_multiple_of(LEADERS_TICKS) { steward::leaders(&view) } else { Vec::new() };
        if let Some(system) = self.system_leader().filter(|r| !r.has_system_commands()) {
            for command in commands {
                system.system_command(command, None);
            }
            self.dirty.insert(ShardId::SYSTEM);
        }
        for (node, message) in transfers {
            self.hand_over(node, message);
        }
    }

    fn hand_over(&mut self, node: NodeId, message: PeerMessage) {
        if node != self.identity.node {
            self.send.push((node, message));
        } else if let PeerMessage::TransferLeader { shard, to } = message
            && let Some(replica) = self.awake(shard)
        {
            replica.transfer(to);
            self.dirty.insert(shard);
        }
    }

    /// This node began or ceased to lead the system shard. A new steward has heard nothing yet.
    fn take_over(&mut self, term: u64, now: Now) {
        let leader = self.known_system_leader();
        for (token, _) in std::mem::take(&mut self.stewardship.certifications) {
            self.answers.push((token, Answer::Admin(Err(AdminRefusal::NotLeader { leader }))));
        }
        self.stewardship.term = term;
        self.stewardship.reports = Reports::new(now.monotonic_ms);
        self.stewardship.issued = Issued::default();
        self.stewardship.settled = None;
        self.told.tell_all();
    }

    pub(super) fn admin(
        &mut self,
        token: Token,
        request: AdminRequest,
        engine: &dyn Engine,
        now: Now,
    ) -> Result<(), EngineError> {
        match request {
            AdminRequest::SystemCopy => self.tell_system_copy(token),
            AdminRequest::RecoverSystem(wanted) => self.recover_system(token, &wanted, engine, now)?,
            AdminRequest::Command(_)
            | AdminRequest::CertifyRemoval { .. }
            | AdminRequest::Status
            | AdminRequest::PlanRecoveries { .. }
            | AdminRequest::Recover(_) => self.admin_of_leader(token, request, now),
        }
        Ok(())
    }

    fn admin_of_leader(&mut self, token: Token, request: AdminRequest, now: Now) {
        let leader = self.known_system_leader();
        let refused = self.refuse_command(&request, now);
        let Some(system) = self.system_leader() else {
            self.answers.push((token, Answer::Admin(Err(AdminRefusal::NotLeader { leader }))));
            return;
        };
        if let Err(refusal) = refused {
            self.answers.push((token, Answer::Admin(Err(AdminRefusal::Refused(refusal)))));
            return;
        }
        match request {
            AdminRequest::Command(command) => {
                if let Some(refusal) = system.refuse_token(&command, now) {
                    self.answers.push((token, Answer::Admin(Err(refusal.into()))));
                } else if !system.system_command(command, Some(token)) {
                    self.answers.push((token, Answer::Admin(Err(AdminRefusal::NotLeader { leader: None }))));
                }
            }
            AdminRequest::Status => {
                // Leads, as was just seen.
                let _ = system.confirm(Reader::Status { token }, now);
            }
            AdminRequest::CertifyRemoval { node, incarnation } => self.certify(token, node, incarnation, now),
            AdminRequest::PlanRecoveries { lost } => self.plan_recoveries(token, &lost, now),
            AdminRequest::Recover(wanted) => self.recover(token, &wanted, now),
            AdminRequest::SystemCopy | AdminRequest::RecoverSystem(_) => {}
        }
        self.dirty.insert(ShardId::SYSTEM);
    }

    /// What is refused before it is in the log, since only the leader can judge it, or since it has no place there.
    fn refuse_command(&self, request: &AdminRequest, now: Now) -> Result<(), SystemRefusal> {
        let AdminRequest::Command(command) = request else { return Ok(()) };
        check_lengths(command)?;
        let SystemCommand::Admin { fence, change: AdminChange::Remove(node) } = command else { return Ok(()) };
        // It may be repeated, since the answer may have been lost.
        let is_removed = self.map.nodes.get(node).is_some_and(|n| n.state == NodeState::Removed);
        let is_certified = fence.based_on.is_some_and(|at| self.stewardship.issued.has(*node, at, now));
        let may = is_removed || is_certified || is_planted(Planted::RemovedUncertified);
        if may { Ok(()) } else { Err(SystemRefusal::Uncertified(*node)) }
    }

    fn certify(&mut self, token: Token, node: NodeId, incarnation: crate::ids::Incarnation, now: Now) {
        self.stewardship.nonces += 1;
        // Distinct over nodes and terms, so that no late answer is taken for another question's.
        let nonce = (self.stewardship.term << 40) ^ (self.identity.node.0 << 24) ^ self.stewardship.nonces;
        let map = Arc::clone(&self.map);
        let view = View { map: &map, reports: &self.stewardship.reports, now_ms: now.monotonic_ms };
        match Certification::start(&view, node, incarnation, nonce) {
            Err(removal) => self.answer_removal(token, removal),
            Ok((certification, asks)) => {
                self.stewardship.certifications.push((token, certification));
                for (to, ask) in asks {
                    if to != self.identity.node {
                        self.send.push((to, ask));
                    } else if let PeerMessage::CertifyAsk { nonce, node, shards } = ask {
                        self.certify_asked(to, nonce, node, &shards, now);
                    }
                }
            }
        }
    }

    /// "Safe" only goes out after this node's own leadership was confirmed once more; anything else at once.
    fn settle_certifications(&mut self, now: Now) {
        let map = Arc::clone(&self.map);
        let mut settled = Vec::new();
        for (token, certification) in &self.stewardship.certifications {
            match certification.verdict(&map, now.monotonic_ms) {
                None => {}
                Some(Removal::Safe(_)) => settled.push((*token, certification.nonce(), None)),
                Some(removal) => settled.push((*token, certification.nonce(), Some(removal))),
            }
        }
        for (token, nonce, removal) in settled {
            match removal {
                None => {
                    if let Some(system) = self.system_leader() {
                        let _ = system.confirm(Reader::Steward { nonce }, now);
                        self.dirty.insert(ShardId::SYSTEM);
                    }
                }
                Some(removal) => {
                    self.stewardship.certifications.retain(|(_, c)| c.nonce() != nonce);
                    self.answer_removal(token, removal);
                }
            }
        }
    }

    pub(super) fn stewardship_confirmed(&mut self, nonce: u64, now: Now) {
        self.learn_own_map();
        let position = self.stewardship.certifications.iter().position(|(_, c)| c.nonce() == nonce);
        let Some(position) = position else { return };
        let (token, certification) = self.stewardship.certifications.remove(position);
        match certification.verdict(&self.map, now.monotonic_ms) {
            Some(removal) => {
                if let Removal::Safe(certificate) = &removal {
                    self.stewardship.issued.note(certificate, now);
                }
                self.answer_removal(token, removal);
            }
            None => self.stewardship.certifications.push((token, certification)),
        }
    }

    fn answer_removal(&mut self, token: Token, removal: Removal) {
        self.answers.push((token, Answer::Admin(Ok(AdminReply::Removal(removal)))));
    }

    pub(super) fn status(&mut self, now: Now) -> Status {
        self.learn_own_map();
        let map = Arc::clone(&self.map);
        let view = View { map: &map, reports: &self.stewardship.reports, now_ms: now.monotonic_ms };
        Status {
            nodes: view.reports.nodes(now.monotonic_ms).map(|(r, age)| (r.clone(), age)).collect(),
            shards: view.reports.shards(now.monotonic_ms).map(|(r, age)| (r.clone(), age)).collect(),
            steward: self.identity.node,
            lost: view.lost().into_iter().collect(),
            map,
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
