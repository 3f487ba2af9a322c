//! What this node does where it leads the system shard, and what it tells the node that does: runs the steward's
//! rounds, takes admin requests, gives certificates.

use crate::duty::Duty;
use crate::engine::{Engine, EngineError};
use crate::ids::{Incarnation, NodeId, ShardId, Token};
use crate::level::FormatLevel;
use crate::map::NodeState;
use crate::message::PeerMessage;
use crate::node::stewardship::Verdict;
use crate::node::{AdminRefusal, AdminReply, AdminRequest, Node, Status};
use crate::planted::{Planted, is_planted};
use crate::replica::Replica;
use crate::system::{AdminChange, SystemCommand, SystemRefusal, check_lengths};
use crate::time::Now;

impl Node {
    fn known_system_leader(&self) -> Option<NodeId> {
        let own = self.replicas.system().and_then(Replica::leader_node);
        let members = || self.map.system().and_then(|s| s.descriptor.members.first());
        own.or_else(|| members().map(|m| m.replica.node)).filter(|n| *n != self.identity.node)
    }

    /// A period has passed for the steward, if this node is it.
    pub(super) fn steward(&mut self, now: Now) {
        let term = self.replicas.system_leader().map_or(0, |r| r.term());
        self.take_over(term, now);
        if !self.stewardship.is_round(self.ticks) {
            return;
        }
        let doubted = self.stewardship.take_doubted(self.ticks);
        self.outbox.send_all(doubted.into_iter().map(|node| (node, PeerMessage::ReportWant)));
        self.settle_certifications(now);
        let commands = self.stewardship.round(self.map.known(), self.ticks, now);
        let transfers = self.stewardship.transfers(self.map.known(), self.ticks, now);
        // Not on a map without what is under way, of this steward or of those before it: each would fill the same budget.
        let is_known = |system: &&mut Replica| !system.has_system_commands() && system.has_applied_in_term();
        if let Some(system) = self.replicas.system_leader().filter(is_known) {
            self.stewardship.proposes(&commands);
            for command in commands {
                system.system_command(command, None);
            }
            self.replicas.touch(ShardId::SYSTEM);
        }
        for (node, message) in transfers {
            self.hand_over(node, message);
        }
    }

    fn hand_over(&mut self, node: NodeId, message: PeerMessage) {
        if node != self.identity.node {
            self.outbox.send(node, message);
        } else if let PeerMessage::TransferLeader { shard, to } = message
            && let Some(replica) = self.replicas.awake(shard, self.others.liveness())
        {
            replica.transfer(to);
            self.replicas.touch(shard);
        }
    }

    /// This node began or ceased to lead the system shard, unless it is as it was.
    fn take_over(&mut self, term: u64, now: Now) {
        let Some(unanswered) = self.stewardship.leads_in(term, now) else { return };
        let leader = self.known_system_leader();
        for token in unanswered {
            self.outbox.answer_admin(token, Err(AdminRefusal::NotLeader { leader }));
        }
        self.told.tell_all();
    }

    /// Somebody asks for what is no client's business.
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
        let request = self.readable_to_all(request);
        let refused = self.refuse_command(&request, now);
        let Some(system) = self.replicas.system_leader() else {
            return self.outbox.answer_admin(token, Err(AdminRefusal::NotLeader { leader }));
        };
        if let Err(refusal) = refused {
            return self.outbox.answer_admin(token, Err(AdminRefusal::Refused(refusal)));
        }
        match request {
            AdminRequest::Command(command) => {
                if let Some(refusal) = system.refuse_token(&command, now) {
                    self.outbox.answer_admin(token, Err(refusal.into()));
                } else if !system.system_command(command, Some(token)) {
                    self.outbox.answer_admin(token, Err(AdminRefusal::NotLeader { leader: None }));
                }
            }
            AdminRequest::Status => {
                // Leads, as was just seen.
                system.confirm(Duty::Status { token }, now);
            }
            AdminRequest::CertifyRemoval { node, incarnation } => self.certify(token, (node, incarnation), now),
            AdminRequest::PlanRecoveries { lost, only } => self.plan_recoveries(token, (&lost, only), now),
            AdminRequest::Recover(wanted) => self.recover(token, &wanted, now),
            AdminRequest::SystemCopy | AdminRequest::RecoverSystem(_) => {}
        }
        self.replicas.touch(ShardId::SYSTEM);
    }

    /// While the first level is enabled some node may not read at which level another joins, and none can be too low for it.
    fn readable_to_all(&self, request: AdminRequest) -> AdminRequest {
        let enabled = self.map.levels().enabled().max(self.map.known().level.0).max(self.stewardship.enabling());
        if let AdminRequest::Command(SystemCommand::JoinAt { node, .. }) = &request
            && enabled == FormatLevel::FIRST
        {
            return AdminRequest::Command(SystemCommand::Join(node.clone()));
        }
        request
    }

    /// What is refused before it is in the log, since only the leader can judge it, or since it has no place there.
    fn refuse_command(&self, request: &AdminRequest, now: Now) -> Result<(), SystemRefusal> {
        let AdminRequest::Command(command) = request else { return Ok(()) };
        check_lengths(command)?;
        let (needed, enabled) = (command.enabled_by(), self.map.known().level.0);
        if needed > enabled && !is_planted(Planted::LevelNotAwaited) {
            return Err(SystemRefusal::NotEnabled { needed, enabled });
        }
        let SystemCommand::Admin { fence, change: AdminChange::Remove(node) } = command else { return Ok(()) };
        // It may be repeated, since the answer may have been lost.
        let is_removed = self.map.known().nodes.get(node).is_some_and(|n| n.state == NodeState::Removed);
        let is_certified = fence.based_on.is_some_and(|at| self.stewardship.has_issued(*node, at, now));
        let may = is_removed || is_certified || is_planted(Planted::RemovedUncertified);
        if may { Ok(()) } else { Err(SystemRefusal::Uncertified(*node)) }
    }

    fn certify(&mut self, token: Token, node: (NodeId, Incarnation), now: Now) {
        let asks = match self.stewardship.certify(token, node, self.map.known(), now) {
            Ok(asks) => asks,
            Err(removal) => return self.outbox.answer_admin(token, Ok(AdminReply::Removal(removal))),
        };
        for (to, ask) in asks {
            if to != self.identity.node {
                self.outbox.send(to, ask);
            } else if let PeerMessage::CertifyAsk { nonce, node, shards } = ask {
                self.certify_asked((to, nonce), node, &shards, now);
            }
        }
    }

    fn settle_certifications(&mut self, now: Now) {
        for verdict in self.stewardship.verdicts(self.map.known(), now) {
            match verdict {
                Verdict::Answer(token, removal) => {
                    self.outbox.answer_admin(token, Ok(AdminReply::Removal(removal)));
                }
                Verdict::Confirm(nonce) => {
                    if let Some(system) = self.replicas.system_leader() {
                        system.confirm(Duty::Steward { nonce }, now);
                        self.replicas.touch(ShardId::SYSTEM);
                    }
                }
            }
        }
    }

    /// This node's leadership of the system shard was confirmed for a certificate.
    pub(super) fn stewardship_confirmed(&mut self, nonce: u64, now: Now) {
        self.learn_own_map();
        if let Some((token, removal)) = self.stewardship.confirmed(nonce, self.map.known(), now) {
            self.outbox.answer_admin(token, Ok(AdminReply::Removal(removal)));
        }
    }

    /// The map and the latest reports.
    pub(super) fn status(&mut self, now: Now) -> Status {
        self.learn_own_map();
        self.stewardship.status(self.map.known(), now)
    }
}
