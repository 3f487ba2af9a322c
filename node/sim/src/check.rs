//! Holds every rule against the cluster while it runs.

use std::collections::BTreeMap;

use skerry_core::history::History;
use skerry_core::ids::{NodeId, ReplicaId, ShardId};
use skerry_core::invariants::bounds::Bounds;
use skerry_core::invariants::committed::Committed;
use skerry_core::invariants::copies::Promoted;
use skerry_core::invariants::identity::Identity;
use skerry_core::invariants::in_step::InStep;
use skerry_core::invariants::leaders::Leaders;
use skerry_core::invariants::leases::Leases;
use skerry_core::invariants::{Broken, progress};
use skerry_core::log::LogCut;
use skerry_core::replica::ReplicaView;

use crate::host::Host;

/// The rules, what they remember, and the first one that broke.
#[derive(Default)]
pub(crate) struct Checker {
    leaders: Leaders,
    leases: Leases,
    committed: Committed,
    identity: Identity,
    promoted: Promoted,
    bounds: Bounds,
    in_step: InStep,
    pub(crate) history: History,
    pub(crate) broken: Vec<String>,
}

impl Checker {
    pub(crate) fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    pub(crate) fn note(&mut self, result: Result<(), Broken>) {
        if let Err(broken) = result {
            self.broken.push(broken.to_string());
        }
    }

    pub(crate) fn restarted(&mut self, node: NodeId) {
        self.bounds.restarted(node);
        self.in_step.restarted(node);
    }

    /// The log forgets only what the store could recover after a crash now.
    pub(crate) fn cut(&mut self, host: &Host, cut: &LogCut) {
        if host.engine.durably_applied(cut.shard, cut.replica).is_none_or(|applied| applied < cut.start.0) {
            let seen = format!("shard {} on {} cut at {}", cut.shard, host.id, cut.start.0);
            self.note(Err(Broken { rule: "the log is never cut below what a sync of the store covers", seen }));
        }
    }

    /// Looks at one host: cheap rules on every tick.
    pub(crate) fn look(&mut self, id: NodeId, hosts: &BTreeMap<NodeId, Host>, time: u64) {
        let Some((host, node)) = hosts.get(&id).and_then(|host| Some((host, host.node.as_ref()?))) else { return };
        let map = self.bounds.check(host.id, node.map());
        self.note(map);
        for view in node.replicas() {
            let results = [self.leaders.check(&view), progress::check(&view), self.identity.check(&view)];
            results.into_iter().for_each(|r| self.note(r));
            let lease = self.leases.check(&view, |shard| leases(hosts, shard, time));
            self.note(lease);
            self.promoted.note(&view);
        }
    }

    /// Looks at all hosts together, and into logs and records.
    pub(crate) fn look_deep(&mut self, hosts: &BTreeMap<NodeId, Host>, time: u64) {
        let all = views(hosts);
        let running = hosts.values().filter(|h| h.is_up() && h.paused_until <= time).map(|h| h.id).collect();
        let in_step = self.in_step.check(time / 1_000, &all, &running);
        self.note(in_step);
        for host in hosts.values() {
            let Some(node) = &host.node else { continue };
            for view in node.replicas().filter(|v| !v.is_blank) {
                if view.is_leader {
                    self.note(self.promoted.check(&view, &all));
                }
                let Some(replica) = node.replica(view.shard) else { continue };
                let entries = self.committed.check_entries(&view, &replica.entries());
                self.note(entries);
                let hash = replica.state_hash(&host.engine).expect("a store in memory never fails");
                let state = self.committed.check_state(&view, hash);
                self.note(state);
            }
        }
    }

    /// What clients saw.
    pub(crate) fn check_history(&mut self) {
        let violations = self.history.check();
        self.broken.extend(violations.iter().take(5).map(ToString::to_string));
    }
}

/// The nodes that hold a lease on a shard, and in which term.
fn leases(hosts: &BTreeMap<NodeId, Host>, shard: ShardId, time: u64) -> impl Iterator<Item = (NodeId, u64)> {
    hosts.values().filter_map(move |host| {
        let replica = host.node.as_ref()?.replica(shard)?;
        host.holds_lease(shard, time).then(|| (host.id, replica.view().term))
    })
}

/// Every replica that is in some process now.
pub(crate) fn views(hosts: &BTreeMap<NodeId, Host>) -> BTreeMap<ReplicaId, ReplicaView> {
    let up = hosts.values().filter_map(|h| h.node.as_ref());
    up.flat_map(|node| node.replicas()).map(|view| (view.replica, view)).collect()
}
