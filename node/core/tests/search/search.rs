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
use skerry_core::message::{PeerMessage, RaftKind};
use skerry_core::planted::{Planted, plant};

use crate::choices::{Choices, Place, Random, Rates};
use crate::cluster::{Cluster, copy};

/// Rounds within which a shard whose nodes are well must serve again: an election with a few rivals, and the ten seconds
/// after which a stalled snapshot is begun anew.
const SERVES_WITHIN: u64 = 400;
/// Unusual decisions of one schedule, at most.
const BUDGET: usize = 14;
const KEYS: [&str; 2] = ["a", "b"];

/// A scenario of the search: who is paused, cut off or moved, and when.
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
    /// The processes of followers start anew.
    Restart,
}

impl Scenario {
    pub(crate) const ALL: [Self; 5] = [Self::Election, Self::Snapshot, Self::HandOver, Self::Members, Self::Restart];

    /// Number of rounds in a run of this scenario.
    fn rounds(self) -> u64 {
        match self {
            Self::Election | Self::HandOver | Self::Restart => 70,
            Self::Snapshot | Self::Members => 120,
        }
    }

    /// How often something goes otherwise, for this seed.
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
    fn act(self, round: u64, cluster: &mut Cluster, nodes: [NodeId; 3], variant: u64) {
        let [leader, second, third] = nodes;
        let deaf_to_leader = nodes[usize::try_from(variant % 3).unwrap_or(0)];
        match (self, round) {
            // Whom the leader does not hear when it goes on, and who does not hear it.
            (Self::Election, 4) if !variant.is_multiple_of(3) => cluster.part(leader, deaf_to_leader, 60),
            (Self::Election, 5 | 45) => cluster.pause(cluster.leader().unwrap_or(leader), 22),
            // Whoever leads next has entries that the leader's log has cut, and the copy without records votes for it.
            (Self::Snapshot, 0) if variant > 2 => {
                cluster.cut_off(third, 25);
                cluster.hosts.get_mut(&second).unwrap().slow_sync_until = cluster.round + 60;
                cluster.hold = Some(Box::new(|f| matches!(f.message, PeerMessage::SnapshotChunk(_))));
                cluster.slow.insert((third, second, RaftKind::AppendResponse as u8), variant % 3);
            }
            (Self::Snapshot, 34) if variant > 2 => cluster.crash_if_up(leader, 70),
            (Self::Snapshot, 35..70) if variant > 2 && cluster.leader() == Some(second) => {
                // It starts anew when its first answers are still under way.
                let since = *cluster.followed_in.get_or_insert(round);
                if round == since + variant / 3 - 1 {
                    cluster.crash_if_up(third, 0);
                    cluster.hosts.get_mut(&third).unwrap().late_first_tick = 5;
                }
            }
            (Self::Snapshot, 70) => {
                cluster.hold = None;
                cluster.held.clear();
            }
            (Self::Snapshot, 0) => cluster.cut_off(third, 25),
            (Self::Snapshot, 60) => cluster.cut_off(second, 14),
            (Self::HandOver, 4 | 9 | 30 | 50) => {
                cluster.hand_over(if round.is_multiple_of(2) { second } else { third })
            }
            (Self::Members, 4) => cluster.assign(vec![copy(1), copy(2), copy(4)]),
            (Self::Members, 3) if variant > 4 => {
                cluster.hosts.get_mut(&NodeId(4)).unwrap().slow_sync_until = cluster.round + 25;
            }
            (Self::Members, 8..30) if variant > 4 && round == 4 * variant - 8 => cluster.crash_if_up(NodeId(4), 1),
            (Self::Members, 60) => cluster.assign(vec![copy(2), copy(4), copy(5)]),
            // A rival stands about one election time-out after the leader was cut off from it.
            (Self::Restart, 4) => cluster.part(leader, second, 40),
            (Self::Restart, 18..28) if round == 18 + variant => cluster.crash_if_up(third, 1),
            (Self::Restart, 44) => cluster.crash_if_up(second, 2),
            _ => {}
        }
    }

    /// Runs one schedule of the scenario.
    fn run(self, choices: Choices, seed: u64) -> Cluster {
        let (keeps_dead, variant) = (seed.is_multiple_of(3), seed / 3 % 9);
        let nodes = if self == Self::Members { 5 } else { 3 };
        let mut cluster = Cluster::new(nodes, 3, seed, choices);
        cluster.choices.is_over = true;
        cluster.rounds(24);
        cluster.choices.is_over = false;
        let leader = cluster.leader().unwrap_or(NodeId(1));
        let others: Vec<_> = (1..=3).map(NodeId).filter(|id| *id != leader).collect();
        let unheard = [leader, others[0], others[1]][usize::try_from(variant % 3).unwrap_or(0)];
        cluster.slow_link(seed, if self == Self::Election { Some(unheard) } else { None });
        for round in 0..self.rounds() {
            self.act(round, &mut cluster, [leader, others[0], others[1]], variant);
            cluster.trouble();
            cluster.round();
            cluster.load(round, self, seed);
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

    /// In half of all runs the messages of elections are late on one link, by kind: requests overtake answers, answers
    /// requests.
    fn slow_link(&mut self, seed: u64, unheard: Option<NodeId>) {
        let mut random = Random::new(seed ^ 0x510);
        if random.below(2) == 0 {
            return;
        }
        let members: Vec<_> = self.ids().into_iter().take(3).collect();
        // Mostly it is on the way from whom the leader does not hear: what matters to the leader comes round by the third.
        let drawn = random.below(3);
        let unheard = unheard.filter(|_| random.below(4) > 0).and_then(|id| members.iter().position(|m| *m == id));
        let from = unheard.unwrap_or(drawn);
        let (from, to) = (members[from], members[(from + 1 + random.below(2)) % 3]);
        let kinds = [
            RaftKind::RequestVote,
            RaftKind::RequestVoteResponse,
            RaftKind::RequestPreVote,
            RaftKind::RequestPreVoteResponse,
            RaftKind::TimeoutNow,
        ];
        for kind in kinds {
            let late = [0, 0, 0, 2, 4, 9, 9, 18][random.below(8)];
            self.slow.insert((from, to, kind as u8), late);
            if late > 0 {
                self.story.push(format!("      {kind:?} {from} to {to}: always {late} late"));
            }
        }
    }

    /// These two do not hear each other.
    fn part(&mut self, one: NodeId, other: NodeId, rounds: u64) {
        self.cuts.insert((one, other), self.round + rounds);
        self.cuts.insert((other, one), self.round + rounds);
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
        self.say_as_steward(leader, PeerMessage::TransferLeader { shard: crate::cluster::SHARD, to: to.id });
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
    fn load(&mut self, round: u64, scenario: Scenario, seed: u64) {
        // Nobody who was cut off could be elected if there were always something that it missed.
        let is_still = matches!(scenario, Scenario::Election | Scenario::Restart) && !seed.is_multiple_of(4);
        let is_still = is_still && (3..44).contains(&round);
        let is_heavy = matches!(scenario, Scenario::Snapshot | Scenario::Members) && round < 50;
        for id in self.ids() {
            if !self.is_running(id) {
                continue;
            }
            if is_heavy || (!is_still && round % 3 == id.0 % 3) {
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
        for key in KEYS {
            let before = self.reads();
            for _ in 0..SERVES_WITHIN {
                if let Some(leader) = self.leader() {
                    self.read(leader, key);
                }
                self.round();
                if self.reads() > before {
                    break;
                }
            }
            if self.reads() == before {
                self.rules.broken.get_or_insert("a read at rest was not answered".to_owned());
            }
        }
        self.give_up_waiting();
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

/// What broke in a run, a panic included; what was done in it.
pub(crate) fn caught(run: impl FnOnce() -> Cluster) -> (Option<String>, Vec<String>) {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(cluster) => {
            let violation = || cluster.history.check().first().map(ToString::to_string);
            (cluster.rules.broken.or_else(violation), cluster.story)
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            (Some(format!("panic: {}", text.unwrap_or_default())), Vec::new())
        }
    }
}

/// Runs the schedule of one seed, with a bug planted or none.
pub(crate) fn run(scenario: Scenario, seed: u64, bug: Option<Planted>) -> Option<Found> {
    plant(bug);
    let choices = Choices::drawn(seed, scenario.rates(seed), BUDGET);
    let (broken, story) = caught(|| scenario.run(choices, seed));
    plant(None);
    broken.map(|broken| Found { scenario, seed, broken, story })
}

/// Runs every schedule of a scenario in which one message of an election or a snapshot goes otherwise, and nothing else
/// does. How many there are, and what broke.
pub(crate) fn run_each(scenario: Scenario) -> (u64, Vec<Found>) {
    let usual = scenario.run(Choices::given(BTreeMap::new()), 0);
    let places = usual.choices.asked.iter().enumerate();
    let chosen = places.filter(|(_, (place, _))| matches!(place, Place::Vote | Place::Snapshot));
    let mut schedules = 0;
    let mut found = Vec::new();
    for (number, (_, options)) in chosen {
        for option in 1..*options {
            schedules += 1;
            let choices = Choices::given(BTreeMap::from([(number, option)]));
            let (broken, story) = caught(|| scenario.run(choices, 0));
            found.extend(broken.map(|broken| Found { scenario, seed: 0, broken, story }));
        }
    }
    (schedules, found)
}
