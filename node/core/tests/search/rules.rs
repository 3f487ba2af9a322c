//! What must hold after every step, and what must hold at the end of every round.

use std::collections::BTreeMap;

use skerry_core::ids::NodeId;
use skerry_core::invariants::Broken;
use skerry_core::invariants::agreement;
use skerry_core::invariants::committed::Committed;
use skerry_core::invariants::identity::Identity;
use skerry_core::invariants::leaders::Leaders;
use skerry_core::log::LogEntry;
use skerry_core::map::Role;
use skerry_core::message::{PeerMessage, RaftKind};
use skerry_core::replica::ReplicaView;
use skerry_core::time::Now;

use crate::cluster::{Host, SHARD};
use crate::disks::durable_state;

/// The rules and what they remember.
#[derive(Default)]
pub(crate) struct Rules {
    leaders: Leaders,
    committed: Committed,
    identity: Identity,
    /// What each copy was looked at last with: nothing new, nothing to look at.
    seen: BTreeMap<NodeId, (u64, u64, u64, u64)>,
    pub(crate) broken: Option<String>,
}

impl Rules {
    fn note(&mut self, result: Result<(), Broken>) {
        if let (Err(broken), None) = (result, &self.broken) {
            self.broken = Some(broken.to_string());
        }
    }

    fn fail(&mut self, seen: String) {
        self.broken.get_or_insert(seen);
    }

    pub(crate) fn restarted(&mut self, id: NodeId) {
        self.seen.remove(&id);
    }

    /// After every input of a node.
    pub(crate) fn step(&mut self, id: NodeId, hosts: &BTreeMap<NodeId, Host>, now: Now) {
        let Some(view) = hosts.get(&id).and_then(|h| h.view.as_ref()) else { return };
        let replica = hosts.get(&id).and_then(|h| h.node.as_ref()?.replica(SHARD));
        if let Some(now) = replica.map(|replica| replica.summary()) {
            let results = [self.leaders.check(&now), agreement::check(&now)];
            results.into_iter().for_each(|result| self.note(result));
        }
        let identity = self.identity.check(view);
        self.note(identity);
        if view.is_blank && view.is_leader {
            self.fail(format!("{id} leads without records"));
        }
        let holds = |host: &&Host| {
            let replica = host.node.as_ref().and_then(|node| node.replica(SHARD));
            replica.is_some_and(|replica| replica.holds_lease(now))
        };
        let holders: Vec<&ReplicaView> = hosts.values().filter(holds).filter_map(|h| h.view.as_ref()).collect();
        let views = || hosts.values().filter_map(|h| h.view.as_ref());
        for holder in &holders {
            if let Some(other) = views().find(|v| v.is_leader && v.term > holder.term) {
                let (old, new) = (holder.node, other.node);
                self.fail(format!("{new} was elected in {} while {old} holds a lease in {}", other.term, holder.term));
            }
        }
        if holders.len() > 1 {
            self.fail("two nodes hold a lease".to_owned());
        }
    }

    /// Before a message leaves: a copy that has had no records since its process started acknowledges no entries.
    pub(crate) fn acknowledges(&mut self, id: NodeId, was_whole: bool, message: &PeerMessage) {
        if let PeerMessage::Raft(envelope) = message
            && envelope.kind == RaftKind::AppendResponse
            && !envelope.reject
            && envelope.index > 0
            && !was_whole
        {
            self.fail(format!("{id} acknowledges {} without records", envelope.index));
        }
    }

    /// At the end of a round.
    pub(crate) fn look(&mut self, hosts: &BTreeMap<NodeId, Host>, round: u64) {
        for (id, host) in hosts {
            let Some(replica) = host.node.as_ref().and_then(|n| n.replica(SHARD)) else { continue };
            let view = replica.view();
            let is_prompt = host.slow_log_until < round && host.slow_sync_until < round && host.paused_until <= round;
            if is_prompt && !view.is_blank && view.applied.0 < view.committed {
                self.fail(format!("{id} stands at {} in its store and at {} in raft", view.applied.0, view.committed));
            }
            let place = (view.applied.0, view.last, view.term, view.committed);
            if view.is_blank || self.seen.insert(*id, place) == Some(place) {
                continue;
            }
            let entries = self.committed.check_entries(&replica.summary(), &replica.entries());
            self.note(entries);
            let hash = replica.state_hash(&host.store).unwrap();
            let state = self.committed.check_state(&replica.summary(), hash);
            self.note(state);
        }
        self.look_at_quorum(hosts);
    }

    /// What a leader has committed is durable at a majority, in both configurations of a joint one.
    fn look_at_quorum(&mut self, hosts: &BTreeMap<NodeId, Host>) {
        let leaders = hosts.values().filter_map(|h| h.view.as_ref()).filter(|v| v.is_leader);
        let Some(leader) = leaders.max_by_key(|v| v.term) else { return };
        let replica = hosts[&leader.node].node.as_ref().and_then(|node| node.replica(SHARD));
        let entries = replica.map(|replica| replica.entries()).unwrap_or_default();
        let Some(&(_, term, _)) = entries.iter().find(|(index, ..)| *index == leader.committed) else { return };
        let has = |id: NodeId| {
            let Some(host) = hosts.get(&id) else { return false };
            let state = durable_state(&host.store, SHARD);
            let in_log = host.log.of(SHARD).is_some_and(|log| {
                let is_it = |e: &LogEntry| (e.index, e.term) == (leader.committed, term);
                log.start == (leader.committed, term) || log.entries.iter().any(is_it)
            });
            in_log || state.is_some_and(|s| !s.blank && s.applied.0 >= leader.committed)
        };
        let members = &leader.descriptor.members;
        let count = |is: fn(Role) -> bool| {
            let voters: Vec<_> = members.iter().filter(|m| is(m.role)).collect();
            let durable = voters.iter().filter(|m| has(m.replica.node)).count();
            durable * 2 > voters.len() || voters.is_empty()
        };
        if !count(|r| matches!(r, Role::Voter | Role::Incoming))
            || !count(|r| matches!(r, Role::Voter | Role::Outgoing))
        {
            self.fail(format!("{} is committed by {} and not durable at a majority", leader.committed, leader.node));
        }
    }
}
