//! The node registry: joining, starting, draining and removing nodes.

use super::state::{SystemState, fresh};
use super::{NewNode, SystemRefusal, SystemReply};
use crate::ids::{Epoch, Incarnation, NodeId, ShardId};
use crate::map::{NodeRecord, NodeState};
use crate::planted::{Planted, is_planted};

impl SystemState {
    /// Gives a new volume a node id, and a known one its own again.
    pub(super) fn join(&mut self, node: &NewNode) -> Result<SystemReply, SystemRefusal> {
        if let Some(known) = self.map.nodes.values().find(|r| r.volume == node.volume) {
            return match known.state {
                NodeState::Removed => Err(SystemRefusal::RemovedNode(known.id)),
                NodeState::Active | NodeState::Draining => Ok(SystemReply::Joined(known.id)),
            };
        }
        let id = self.next.node;
        self.next.node = NodeId(id.0 + 1);
        self.put_node(NodeRecord {
            id,
            incarnation: Incarnation(0),
            volume: node.volume.clone(),
            address: node.address.clone(),
            zone: node.zone.clone(),
            state: NodeState::Active,
            epoch: self.next_epoch(),
        });
        Ok(SystemReply::Joined(id))
    }

    /// Notes the latest start of a node: its incarnation, address and zone.
    pub(super) fn start(
        &mut self,
        node: NodeId,
        incarnation: Incarnation,
        address: &str,
        zone: &str,
    ) -> Result<SystemReply, SystemRefusal> {
        let known = self.present(node)?;
        if incarnation < known.incarnation {
            return Err(SystemRefusal::OldIncarnation { node, incarnation, highest: known.incarnation });
        }
        let started = NodeRecord { incarnation, address: address.into(), zone: zone.into(), ..known.clone() };
        self.change_node(started)
    }

    /// Drains an active node, or takes its drain back.
    pub(super) fn set_node_state(
        &mut self,
        based_on: Option<Epoch>,
        node: NodeId,
        state: NodeState,
    ) -> Result<SystemReply, SystemRefusal> {
        let known = self.present(node)?;
        if known.state != state {
            self.fresh_node(based_on, node)?;
        }
        let wanted = NodeRecord { state, ..known.clone() };
        self.change_node(wanted)
    }

    /// Removes a node for good, if it drains, is as it was when its certificate was given, and no shard's record names
    /// it. Its record's epoch stands for its start too: had it started anew since, the epoch would be later.
    pub(super) fn remove(&mut self, certified_at: Option<Epoch>, node: NodeId) -> Result<SystemReply, SystemRefusal> {
        let known = self.map.nodes.get(&node).ok_or(SystemRefusal::UnknownNode(node))?;
        let removed = NodeRecord { state: NodeState::Removed, ..known.clone() };
        if known.state != NodeState::Removed {
            if known.state != NodeState::Draining && !is_planted(Planted::RemovedUndrained) {
                return Err(SystemRefusal::NotDraining(node));
            }
            let certified_at = certified_at.ok_or(SystemRefusal::Uncertified(node))?;
            if !is_planted(Planted::OldCertificateTaken) {
                fresh(Some(certified_at), known.epoch, || format!("node {node}"))?;
            }
            let mut holding = self.map.shards.values().filter(|s| self.map.is_live(s) && s.names(node));
            if let Some(first) = holding.next() {
                let (replicas, example) = (1 + holding.count(), first.descriptor.shard);
                return Err(SystemRefusal::NodeInUse { node, replicas, example });
            }
        }
        self.change_node(removed)
    }

    /// A node that is known and not removed.
    pub(super) fn present(&self, node: NodeId) -> Result<&NodeRecord, SystemRefusal> {
        let record = self.map.nodes.get(&node).ok_or(SystemRefusal::UnknownNode(node))?;
        if record.state == NodeState::Removed { Err(SystemRefusal::RemovedNode(node)) } else { Ok(record) }
    }

    /// Refuses a node that nothing new may be placed on.
    pub(super) fn placeable(&self, node: NodeId) -> Result<(), SystemRefusal> {
        match self.present(node)?.state {
            NodeState::Draining => Err(SystemRefusal::DrainingNode(node)),
            NodeState::Active | NodeState::Removed => Ok(()),
        }
    }

    /// Refuses a target that is empty, too large or names a node twice.
    pub(super) fn distinct(shard: ShardId, nodes: &[NodeId]) -> Result<(), SystemRefusal> {
        let twice = nodes.iter().enumerate().any(|(i, n)| nodes[..i].contains(n));
        let count = nodes.len();
        if count == 0 || count > crate::limits::REPLICATION_FACTOR_MAX || twice {
            Err(SystemRefusal::Target { shard })
        } else {
            Ok(())
        }
    }

    fn fresh_node(&self, based_on: Option<Epoch>, node: NodeId) -> Result<(), SystemRefusal> {
        let changed = self.standing.get(&node).copied().unwrap_or_default();
        fresh(based_on, changed, || format!("node {node}"))
    }

    fn change_node(&mut self, record: NodeRecord) -> Result<SystemReply, SystemRefusal> {
        if self.map.nodes.get(&record.id) != Some(&record) {
            let epoch = self.next_epoch();
            self.put_node(NodeRecord { epoch, ..record });
        }
        Ok(self.done())
    }
}
