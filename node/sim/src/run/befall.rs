//! One change that befalls every table on purpose, while clients go on: few seeds come to some of them by themselves.

use std::collections::BTreeSet;

use skerry_core::ids::NodeId;

use super::{LIVENESS, LOOK, Run};
use crate::cells::Change;
use crate::faults::is_expendable;
use crate::hardship::Hardships;
use crate::world::SECOND;

/// Nodes before a change: one more, with copies of all, is not too many yet.
const NODES_MIN: usize = 3;
const NODES_MAX: usize = 4;
/// For so long a zone is down.
const DOWN: u64 = 5 * LOOK;
/// For so long the disk of a node hangs that copies are to come to; after half of it they are to come to it no more.
const HANGS: u64 = 6 * SECOND;

impl Run {
    /// A run in which this befalls all tables.
    pub(super) fn befallen(seed: u64, change: Change) -> Self {
        let mut run = Self::new(seed, &Hardships::default());
        run.befalls = Some(change);
        // With W or R of one copy, nobody can do without a node.
        if change == Change::NodeLost {
            run.world.setting.stress.iter_mut().for_each(|stress| stress.keep_to_majorities());
        }
        run
    }

    /// Lets the change befall all tables, if the run is for one. To be called when all shards are at rest.
    pub(super) fn befall(&mut self) {
        let Some(change) = self.befalls else { return };
        self.world.mark(&format!("to all tables: {change}"));
        let nodes = self.operator.nodes.clamp(NODES_MIN, NODES_MAX);
        match change {
            Change::ScaleOut => {
                self.come_to(nodes, nodes);
                self.come_to(nodes + 1, nodes + 1);
            }
            Change::ScaleIn => {
                self.come_to(nodes + 1, nodes + 1);
                self.come_to(nodes, nodes);
            }
            Change::CopiesUp => {
                self.come_to(NODES_MAX, NODES_MAX - 1);
                self.come_to(NODES_MAX, NODES_MAX);
            }
            Change::CopiesDown => {
                self.come_to(NODES_MAX, NODES_MAX);
                self.come_to(NODES_MAX, NODES_MAX - 1);
            }
            Change::NodeLost => {
                self.come_to(NODES_MAX, NODES_MAX);
                self.lose_node();
            }
            Change::ZoneLost => {
                self.come_to(nodes, nodes);
                self.lose_zone();
            }
            Change::Reversed => {
                self.come_to(nodes, nodes);
                self.turn_back(nodes);
            }
        }
    }

    /// So many nodes, and so many copies of every shard.
    fn come_to(&mut self, nodes: usize, copies: usize) {
        if self.world.checker.is_broken() {
            return;
        }
        self.operator.wish_for(nodes, u32::try_from(copies).unwrap_or(3), &self.world);
        if !self.until(LIVENESS, Self::is_at_rest) {
            self.fail(&format!("did not come to rest with {nodes} nodes and {copies} copies"));
        }
    }

    /// One of the nodes is gone for good, and the operator hears of it.
    fn lose_node(&mut self) {
        let expendable = |run: &Self| run.world.up().into_iter().find(|host| is_expendable(*host, &run.world));
        self.until(LIVENESS, |run| expendable(run).is_some());
        let Some(lost) = expendable(self).filter(|_| !self.world.checker.is_broken()) else {
            return self.fail("all copies of all shards are needed, though nothing is wrong");
        };
        self.world.mark(&format!("{lost}: lost for good"));
        self.world.crash(lost);
        self.world.hosts.get_mut(&lost).into_iter().for_each(|host| host.gone = true);
        self.world.lost_for_good.push(lost);
        if !self.until(LIVENESS, Self::is_at_rest) {
            self.fail("did not come to rest after a node was lost for good");
        }
    }

    /// The nodes of one zone are down for a while.
    fn lose_zone(&mut self) {
        let zone = |host: &NodeId| self.world.hosts.get(host).map(|host| host.new.zone.clone());
        let up = self.world.up();
        let first = up.first().and_then(zone);
        let down: Vec<NodeId> = up.into_iter().filter(|host| zone(host) == first).collect();
        self.world.mark(&format!("{down:?}: a zone is down"));
        down.iter().for_each(|host| self.world.crash(*host));
        self.until(DOWN, |_| false);
        down.iter().for_each(|host| self.world.start(*host, BTreeSet::new()));
        if !self.until(LIVENESS, Self::is_at_rest) {
            self.fail("did not come to rest after a zone was down");
        }
    }

    /// Every shard is to have a copy on a new node, whose disk hangs: before any of them is there, none is to be there.
    fn turn_back(&mut self, nodes: usize) {
        if self.world.checker.is_broken() {
            return;
        }
        let before: BTreeSet<NodeId> = self.world.hosts.keys().copied().collect();
        self.operator.wish_for(nodes + 1, u32::try_from(nodes + 1).unwrap_or(4), &self.world);
        let newcomer = |run: &Self| run.world.hosts.keys().copied().find(|host| !before.contains(host));
        self.until(LIVENESS, |run| newcomer(run).is_some());
        let until = self.world.time + HANGS;
        let host = newcomer(self).and_then(|host| self.world.hosts.get_mut(&host));
        host.into_iter().for_each(|host| host.hangs_until = until);
        self.until(HANGS / 2, |_| false);
        self.come_to(nodes, nodes);
    }
}
