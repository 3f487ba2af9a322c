//! The search itself. Each scenario is a short story: who is paused, cut off or moved, and when. A schedule is the story
//! with a few things that go otherwise: messages that are late, lost or repeated, processes that die or stand still,
//! disks that are slow. Many schedules are drawn, around the places that matter; then all is well again, and the shard
//! must be led, take writes, and end up the same on all copies.
//!
//! Compare delay-bounded scheduling (Emmi, Qadeer, Rakamarić, POPL 2011) and PCT (Burckhardt et al., ASPLOS 2010): few
//! unusual decisions are enough for most faults, if they fall on the right places.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use skerry_core::ids::NodeId;
use skerry_core::message::PeerMessage;
use skerry_core::planted::{Planted, plant};

use crate::choices::{Choices, Place, Random, Rates};
use crate::cluster::{Cluster, copy};

/// Rounds within which a shard whose nodes are well must serve again: an election with a few rivals, and the ten seconds
/// after which a stalled snapshot is begun anew.
const SERVES_WITHIN: u64 = 400;
/// Unusual decisions of one schedule, at most.
const BUDGET: usize = 14;
const KEYS: [&str; 2] = ["a", "b"];

/// A story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// The leader stands still for a second.
    Election,
    /// A follower falls behind what the logs have.
    Snapshot,
    /// Leadership is handed over, more than once.
    HandOver,
    /// A copy is replaced by one on another node, and another way round.
    Members,
    /// Followers start anew.
    Restart,
}

impl Scenario {
    pub(crate) const ALL: [Self; 5] = [Self::Election, Self::Snapshot, Self::HandOver, Self::Members, Self::Restart];

    /// Rounds of the story.
    fn rounds(self) -> u64 {
        match self {
            Self::Election | Self::HandOver | Self::Restart => 70,
            Self::Snapshot | Self::Members => 120,
        }
    }

    /// How often something goes otherwise.
    fn rates(self, seed: u64) -> Rates {
        let mut random = Random::new(seed ^ 0x5EED);
        let mut of = |rates: [u64; 4]| rates[random.below(4)];
        let votes = of([0, 100, 250, 500]);
        let others = of([0, 2, 10, 40]);
        let nodes = of([0, 4, 10, 20]);
        let snapshots = match self {
            Self::Snapshot | Self::Members => of([0, 20, 100, 250]),
            Self::Election | Self::HandOver | Self::Restart => 0,
        };
        BTreeMap::from([
            (Place::Vote, votes),
            (Place::Other, others),
            (Place::Node, nodes),
            (Place::Snapshot, snapshots),
        ])
    }

    /// What happens in a round, whatever else does.
    fn act(self, round: u64, cluster: &mut Cluster, nodes: [NodeId; 3]) {
        let [leader, second, third] = nodes;
        match (self, round) {
            (Self::Election, 5 | 45) => cluster.pause(cluster.leader().unwrap_or(leader), 22),
            (Self::Snapshot, 0) => cluster.cut_off(third, 25),
            (Self::Snapshot, 60) => cluster.cut_off(second, 14),
            (Self::HandOver, 4 | 9 | 30 | 50) => {
                cluster.hand_over(if round.is_multiple_of(2) { second } else { third })
            }
            (Self::Members, 4) => cluster.assign(vec![copy(1), copy(2), copy(4)]),
            (Self::Members, 60) => cluster.assign(vec![copy(2), copy(4), copy(5)]),
            (Self::Restart, 6 | 12 | 30) => cluster.crash_if_up(second, 1),
            (Self::Restart, 14 | 34) => cluster.crash_if_up(third, 2),
            _ => {}
        }
    }

    /// Runs one schedule.
    fn run(self, choices: Choices, keeps_dead: bool) -> Cluster {
        let nodes = if self == Self::Members { 5 } else { 3 };
        let mut cluster = Cluster::new(nodes, 3, choices);
        cluster.choices.is_over = true;
        cluster.rounds(24);
        cluster.choices.is_over = false;
        let leader = cluster.leader().unwrap_or(NodeId(1));
        let others: Vec<_> = (1..=3).map(NodeId).filter(|id| *id != leader).collect();
        for round in 0..self.rounds() {
            self.act(round, &mut cluster, [leader, others[0], others[1]]);
            cluster.trouble();
            cluster.round();
            cluster.load(round, self);
            if self == Self::Members {
                cluster.record_members();
            }
            if cluster.rules.broken.is_some() {
                return cluster;
            }
        }
        let dead = (keeps_dead && self != Self::Members).then_some(others[1]);
        cluster.come_to_rest(dead);
        cluster
    }
}

impl Cluster {
    fn pause(&mut self, id: NodeId, rounds: u64) {
        let until = self.round + rounds;
        self.hosts.get_mut(&id).unwrap().paused_until = until;
    }

    /// Nothing comes from this node or to it.
    fn cut_off(&mut self, id: NodeId, rounds: u64) {
        for other in self.ids().into_iter().filter(|other| *other != id) {
            self.cuts.insert((id, other), self.round + rounds);
            self.cuts.insert((other, id), self.round + rounds);
        }
    }

    fn crash_if_up(&mut self, id: NodeId, back_after: u64) {
        if self.hosts[&id].node.is_some() {
            self.crash(id, true, back_after);
        }
    }

    fn hand_over(&mut self, to: NodeId) {
        let Some(leader) = self.leader() else { return };
        let members = &self.view(leader).descriptor.members;
        let Some(to) = members.iter().map(|m| m.replica).find(|r| r.node == to) else { return };
        self.from_steward(leader, PeerMessage::TransferLeader { shard: crate::cluster::SHARD, to: to.id });
    }

    /// What goes otherwise with the nodes in this round.
    fn trouble(&mut self) {
        for id in self.ids() {
            let chosen = self.choices.choose(Place::Node, 13);
            if chosen == 0 || self.hosts[&id].node.is_none() {
                continue;
            }
            let next = self.ids().into_iter().find(|other| *other > id).unwrap_or(NodeId(1));
            let round = self.round;
            let what = match chosen {
                1 | 2 => {
                    self.pause(id, [4, 16][chosen - 1]);
                    "stands still"
                }
                3 | 4 => {
                    self.crash(id, true, [1, 12][chosen - 3]);
                    "dies and loses what was not synced"
                }
                5 => {
                    self.crash(id, false, 1);
                    "dies and loses nothing"
                }
                6 | 7 => {
                    self.hosts.get_mut(&id).unwrap().slow_log_until = round + [4, 16][chosen - 6];
                    "has a slow log"
                }
                8 => {
                    self.hosts.get_mut(&id).unwrap().slow_sync_until = round + 16;
                    "has a slow store"
                }
                9 | 10 => {
                    self.cuts.insert((id, next), round + [6, 20][chosen - 9]);
                    "is not heard by the next"
                }
                11 => {
                    self.cut_off(id, 16);
                    "is cut off"
                }
                _ => {
                    self.hand_over(id);
                    "is to take over"
                }
            };
            self.story.push(format!("{round:>4}  {id} {what}"));
        }
    }

    /// What clients do in a round.
    fn load(&mut self, round: u64, scenario: Scenario) {
        let is_heavy = matches!(scenario, Scenario::Snapshot | Scenario::Members) && round < 50;
        for id in self.ids() {
            if !self.is_running(id) {
                continue;
            }
            if is_heavy || round % 3 == id.0 % 3 {
                self.write(id, KEYS[usize::try_from(round % 2).unwrap_or(0)]);
            }
            self.read(id, KEYS[usize::try_from((round + id.0) % 2).unwrap_or(0)]);
        }
        self.deliver();
    }

    /// All is well again, but for a node that stays dead: the shard serves, and all copies end up the same.
    fn come_to_rest(&mut self, dead: Option<NodeId>) {
        self.choices.is_over = true;
        self.cuts.clear();
        for (id, host) in &mut self.hosts {
            host.slow_log_until = 0;
            host.slow_sync_until = 0;
            host.paused_until = 0;
            host.starts_at = if dead == Some(*id) { u64::MAX } else { 0 };
        }
        if let Some(dead) = dead.filter(|id| self.hosts[id].node.is_some()) {
            self.crash(dead, false, u64::MAX);
        }
        let before = self.acknowledged();
        for _ in 0..SERVES_WITHIN {
            self.round();
            self.record_members();
            if self.rules.broken.is_some() {
                return;
            }
            if let Some(leader) = self.leader().filter(|_| self.round.is_multiple_of(3)) {
                self.write(leader, KEYS[0]);
                self.deliver();
            }
            if self.acknowledged() > before && self.is_alike() {
                return self.read_all();
            }
        }
        let views: Vec<_> = self
            .hosts
            .values()
            .filter_map(|h| h.view.as_ref())
            .map(|v| (v.node, v.term, v.is_leader, v.is_blank, v.applied, v.committed, v.last, &v.descriptor.members))
            .collect();
        self.rules.broken.get_or_insert(format!("the shard does not serve though its nodes are well: {views:?}"));
    }

    /// True if every copy that its shard has, and that is up, has applied all there is.
    fn is_alike(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let leader = self.view(leader);
        leader.descriptor.members.iter().all(|m| {
            let view = self.hosts[&m.replica.node].view.as_ref();
            let is_up = self.hosts[&m.replica.node].node.is_some();
            !is_up || view.is_some_and(|v| v.applied == leader.applied && !v.is_blank && v.applied.0 == leader.last)
        })
    }

    fn read_all(&mut self) {
        let Some(leader) = self.leader() else { return };
        for key in KEYS {
            let before = self.reads();
            self.read(leader, key);
            self.rounds(3);
            if self.reads() == before {
                self.rules.broken.get_or_insert("a read at rest was not answered".to_owned());
            }
        }
        self.give_up_waiting();
        if let Some(violation) = self.history.check().first() {
            self.rules.broken.get_or_insert(violation.to_string());
        }
    }
}

/// What a schedule that broke something looks like.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) scenario: Scenario,
    pub(crate) seed: u64,
    pub(crate) broken: String,
    pub(crate) story: Vec<String>,
}

fn caught(run: impl FnOnce() -> Cluster) -> (Option<String>, Vec<String>, BTreeMap<usize, usize>) {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(cluster) => (cluster.rules.broken, cluster.story, cluster.choices.taken),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            (Some(format!("panic: {}", text.unwrap_or_default())), Vec::new(), BTreeMap::new())
        }
    }
}

/// Runs the schedule of one seed, with a bug planted or none.
pub(crate) fn run(scenario: Scenario, seed: u64, bug: Option<Planted>) -> Option<Found> {
    plant(bug);
    let keeps_dead = seed.is_multiple_of(3);
    let choices = Choices::drawn(seed, scenario.rates(seed), BUDGET);
    let (broken, story, _) = caught(|| scenario.run(choices, keeps_dead));
    plant(None);
    broken.map(|broken| Found { scenario, seed, broken, story })
}
