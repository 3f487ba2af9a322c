//! After a recovery of the system shard a leader that the map does not name is noted once a copy on another node names it, and
//! no shard goes on from an old copy while later ones may be there.

use std::collections::{BTreeMap, BTreeSet};

use super::world::World;
use crate::ids::{Epoch, Generation, NodeId, ReplicaId, ShardId};
use crate::level::FormatLevel;
use crate::map::{Descriptor, Member, Replica, Role};
use crate::message::{CopyReport, LEADERLESS_MAX, LedReport, Report, ShardReport};
use crate::node::admit::message::disbelieve;
use crate::planted::{Planted, plant};
use crate::steward::{FRESH_MS, LOST_SILENCE_MS, RecoveryRefusal, record, recoveries, recovery};
use crate::system::{Recovery, SystemCommand};
use crate::time::Version;

const SHARD: ShardId = ShardId(1);
/// Copies that were given by the majority that is lost.
const UNNAMED: [Replica; 2] =
    [Replica { node: NodeId(4), id: ReplicaId(70) }, Replica { node: NodeId(5), id: ReplicaId(71) }];

/// A table of one shard on nodes 1 to 3 of five, in a database whose system shard was recovered. The shard has moved to others
/// in steps that the map knows nothing of.
struct Moved {
    world: World,
    descriptor: Descriptor,
    /// What nodes tell of their copies.
    ahead: BTreeMap<NodeId, Vec<CopyReport>>,
    leaderless: BTreeMap<NodeId, Vec<CopyReport>>,
    lost: BTreeMap<NodeId, ReplicaId>,
    /// Nodes that know nothing of the recovery yet.
    older: BTreeSet<NodeId>,
}

impl Moved {
    /// Onto these copies, on which it is led no more than told.
    fn to(copies: &[Replica]) -> Self {
        let mut world = World::new(&["a", "b", "c", "d", "e"]);
        world.table(&[vec![1, 2, 3]]);
        let from = world.map().shards[&ShardId::SYSTEM].assigned[0];
        let recovery = Recovery { from, last: (1, 1), generation: Generation(1), given_up: Vec::new(), at_ms: 0 };
        world.state.recover_itself(&recovery, FormatLevel::FIRST);
        world.now_ms = LOST_SILENCE_MS + 1;
        world.leaders.remove(&SHARD);
        let members = copies.iter().map(|&replica| Member { replica, role: Role::Voter }).collect();
        let descriptor =
            Descriptor { generation: Generation(7), members, ..world.map().shards[&SHARD].descriptor.clone() };
        let (ahead, leaderless, lost, older) = Default::default();
        let mut moved = Self { world, descriptor, ahead, leaderless, lost, older };
        moved.told();
        moved
    }

    fn named(&self) -> Vec<Replica> {
        self.world.map().shards[&SHARD].assigned.clone()
    }

    /// What a copy tells of the shard as it is in truth.
    fn copy(&self, replica: Replica) -> CopyReport {
        CopyReport {
            shard: SHARD,
            replica: replica.id,
            last: (90, 3),
            applied: 90,
            last_version: Version(90),
            generation: self.descriptor.generation,
            members: self.descriptor.members.clone(),
            is_blank: false,
        }
    }

    fn tells_ahead(&mut self, copies: &[Replica]) {
        for copy in copies {
            let told = self.copy(*copy);
            self.ahead.entry(copy.node).or_default().push(told);
        }
        self.told();
    }

    /// Half a second passes, and every node that is not silent reports.
    fn told(&mut self) {
        self.world.now_ms += 500;
        let nodes: Vec<NodeId> = self.world.map().nodes.keys().copied().collect();
        for node in nodes.into_iter().filter(|node| !self.world.silent.contains(node)) {
            let mut report = self.world.report_of(node);
            report.node.ahead = self.ahead.get(&node).cloned().unwrap_or_default();
            report.node.leaderless = self.leaderless.get(&node).cloned().unwrap_or_default();
            report.node.lost = self.lost.get(&node).map(|id| (SHARD, *id)).into_iter().collect();
            if self.older.contains(&node) {
                report.node.map_epoch = Epoch(1);
            }
            assert!(self.world.reports.insert(report, self.world.now_ms));
        }
    }

    /// A node tells the steward that it leads; true if that is believed.
    fn leads(&mut self, leader: Replica) -> bool {
        let descriptor = self.descriptor.clone();
        let in_sync = descriptor.members.iter().map(|m| m.replica.id).collect();
        let report = ShardReport { descriptor, leader: leader.id, term: 3, in_sync, bytes: 1, moving: (0, 0) };
        let mut report = Report { led: LedReport::all(1, vec![report]), ..self.world.report_of(leader.node) };
        let disbelieved = disbelieve(self.world.state.map(), leader.node, true, &mut report);
        let is_claim = !disbelieved.claims.is_empty();
        assert_eq!(disbelieved.is_any, is_claim, "it is asked again");
        self.world.reports.claimed(leader.node, disbelieved.claims, self.world.state.map(), self.world.now_ms);
        let is_believed = !report.led.changed.is_empty();
        assert_ne!(is_claim, is_believed);
        report.node.ahead = self.ahead.get(&leader.node).cloned().unwrap_or_default();
        if is_believed {
            assert!(self.world.reports.insert(report, self.world.now_ms));
        }
        is_believed
    }

    fn recorded(&self) -> Vec<SystemCommand> {
        record(&self.world.view())
    }

    fn plan(&self, lost: &[u64]) -> Result<Replica, RecoveryRefusal> {
        let lost: Vec<NodeId> = lost.iter().map(|node| NodeId(*node)).collect();
        recovery(&self.world.view(), SHARD, &lost).map(|plan| plan.survivor)
    }
}

fn one_word_is_not_enough() {
    let mut moved = Moved::to(&UNNAMED);
    assert!(!moved.leads(UNNAMED[0]));
    moved.tells_ahead(&UNNAMED[..1]);
    assert_eq!(moved.recorded(), vec![], "copies on nodes 1 to 3 would be ended");
}

#[test]
fn a_leader_that_a_copy_on_another_node_names_is_noted() {
    one_word_is_not_enough();
    let mut moved = Moved::to(&UNNAMED);
    moved.leads(UNNAMED[0]);
    moved.tells_ahead(&UNNAMED);
    let noted = SystemCommand::Record(moved.descriptor.clone());
    assert_eq!(moved.recorded(), vec![noted.clone()]);
    moved.world.state.apply(&noted).unwrap();
    assert!(moved.leads(UNNAMED[0]), "the map names it now");
    assert_eq!(moved.recorded(), vec![]);
}

#[test]
fn a_copy_that_the_map_names_speaks_for_a_leader_and_a_learner_is_none() {
    let mut moved = Moved::to(&[]);
    let named = moved.named()[1];
    let member = |replica, role| Member { replica, role };
    moved.descriptor.members = vec![member(named, Role::Voter), member(UNNAMED[0], Role::Voter)];
    moved.leads(UNNAMED[0]);
    moved.tells_ahead(&[named]);
    assert_eq!(moved.recorded(), vec![SystemCommand::Record(moved.descriptor.clone())]);
    moved.ahead.get_mut(&named.node).unwrap()[0].members[1].role = Role::Learner;
    moved.told();
    moved.leads(UNNAMED[0]);
    assert_eq!(moved.recorded(), vec![]);
    moved.world.silent.insert(named.node);
    moved.ahead.get_mut(&named.node).unwrap()[0].members[1].role = Role::Voter;
    moved.world.now_ms += FRESH_MS + 1;
    moved.told();
    moved.leads(UNNAMED[0]);
    assert_eq!(moved.recorded(), vec![], "it is not heard any more");
}

/// The record is of before the copy left the shard, as far as anybody knows.
fn one_word_is_not_enough_for_a_copy_of_an_old_record() {
    let mut moved = Moved::to(&[]);
    let named = moved.named()[0];
    let member = |replica| Member { replica, role: Role::Voter };
    moved.descriptor.members = vec![member(named), member(UNNAMED[0])];
    moved.tells_ahead(&[named]);
    assert!(moved.leads(named), "the map names it");
    assert_eq!(moved.recorded(), vec![], "copies on nodes 2 and 3 would be ended");
    // Nor for the only voter, while the others may be there.
    moved.descriptor.members.pop();
    moved.leads(named);
    assert_eq!(moved.recorded(), vec![]);
}

#[test]
fn a_leader_that_an_old_record_names_is_noted_once_another_copy_names_it_or_no_other_is_left() {
    one_word_is_not_enough_for_a_copy_of_an_old_record();
    let mut moved = Moved::to(&[]);
    let [named, second, third] = moved.named()[..] else { panic!("three copies") };
    let member = |replica| Member { replica, role: Role::Voter };
    moved.descriptor.members = vec![member(named), member(UNNAMED[0])];
    moved.tells_ahead(&[named, UNNAMED[0]]);
    moved.leads(named);
    let noted = SystemCommand::Record(moved.descriptor.clone());
    assert_eq!(moved.recorded(), vec![noted.clone()]);
    // From then on the record is none of before the recovery.
    moved.world.state.apply(&noted).unwrap();
    moved.ahead.clear();
    moved.told();
    moved.descriptor.generation = Generation(8);
    moved.descriptor.members.pop();
    moved.leads(named);
    assert_eq!(moved.recorded(), vec![SystemCommand::Record(moved.descriptor.clone())]);

    let mut moved = Moved::to(&[named]);
    moved.tells_ahead(&[named]);
    moved.lost = BTreeMap::from([(second.node, second.id)]);
    moved.told();
    moved.leads(named);
    let led = RecoveryRefusal::Led { shard: SHARD, node: NodeId(1) };
    assert_eq!((moved.recorded(), moved.plan(&[])), (vec![], Err(led)));
    // Nobody but a person ever ends that, so a person is told of the shard, whomever he names as lost.
    let listed = recoveries(&moved.world.view(), &[]);
    assert!(listed.iter().any(|(shard, _)| *shard == SHARD), "{listed:?}");
    // A person gives up the one of which nobody knows.
    moved.world.silent.insert(third.node);
    moved.world.now_ms += LOST_SILENCE_MS + 1;
    moved.told();
    moved.leads(named);
    assert_eq!(moved.plan(&[3]), Ok(named));
    moved.world.silent.clear();
    moved.lost.insert(third.node, third.id);
    moved.told();
    moved.leads(named);
    assert_eq!(moved.recorded(), vec![SystemCommand::Record(moved.descriptor.clone())]);
}

fn no_old_copy_goes_on_while_a_node_may_have_a_later_one() {
    let mut moved = Moved::to(&UNNAMED);
    let named = moved.named();
    let members = named.iter().map(|&replica| Member { replica, role: Role::Voter }).collect();
    let old = CopyReport { generation: Generation(1), last: (40, 2), members, ..moved.copy(named[0]) };
    moved.leaderless.insert(NodeId(1), vec![old]);
    moved.lost = BTreeMap::from([(NodeId(2), named[1].id), (NodeId(3), named[2].id)]);
    moved.told();
    assert_eq!(moved.plan(&[]), Ok(named[0]), "nothing else is left");

    moved.world.silent = BTreeSet::from([NodeId(4)]);
    moved.world.now_ms += LOST_SILENCE_MS + 1;
    moved.told();
    assert_eq!(moved.plan(&[]), Err(RecoveryRefusal::Unseen { shard: SHARD, node: NodeId(4) }));
    assert_eq!(moved.plan(&[4]), Ok(named[0]));
    moved.world.silent.clear();
    moved.told();
    assert_eq!(moved.plan(&[4]), Err(RecoveryRefusal::Alive { node: NodeId(4) }));

    moved.older.insert(NodeId(4));
    moved.told();
    assert_eq!(moved.plan(&[]), Err(RecoveryRefusal::Untold { shard: SHARD, node: NodeId(4) }), "it has just started");
    moved.older.clear();
    let earlier = CopyReport { shard: ShardId(0), ..moved.copy(UNNAMED[0]) };
    moved.ahead.insert(NodeId(4), vec![earlier; LEADERLESS_MAX]);
    moved.told();
    assert_eq!(moved.plan(&[]), Err(RecoveryRefusal::Untold { shard: SHARD, node: NodeId(4) }), "no room to tell");

    // It follows a leader that nobody knows of.
    moved.ahead.clear();
    moved.tells_ahead(&UNNAMED[..1]);
    let unclear = RecoveryRefusal::Unclear { shard: SHARD, node: NodeId(4), replica: UNNAMED[0].id };
    assert_eq!(moved.plan(&[]), Err(unclear));
    // It has none any more, and of its two members the other is gone.
    let without_leader = moved.copy(UNNAMED[0]);
    moved.leaderless.insert(NodeId(4), vec![without_leader]);
    moved.told();
    assert_eq!(moved.plan(&[]), Ok(UNNAMED[0]), "the later of both");
}

#[test]
fn a_shard_goes_on_from_an_old_copy_only_once_no_node_can_have_a_later_one() {
    no_old_copy_goes_on_while_a_node_may_have_a_later_one();
}

/// Else a person who is told that the shard has no leader gives up what it leads.
#[test]
fn no_shard_goes_on_from_another_copy_while_a_node_says_that_it_leads_it() {
    let mut moved = Moved::to(&UNNAMED);
    moved.leads(UNNAMED[0]);
    assert_eq!(moved.plan(&[]), Err(RecoveryRefusal::Led { shard: SHARD, node: NodeId(4) }));
    moved.world.now_ms += FRESH_MS + 1;
    moved.told();
    assert_ne!(moved.plan(&[]), Err(RecoveryRefusal::Led { shard: SHARD, node: NodeId(4) }), "said no more");
}

/// Nobody else speaks of it, so a person is asked, and only once nothing is left of the others.
#[test]
fn a_person_has_a_shard_go_on_from_its_only_copy_that_the_map_does_not_name() {
    let mut moved = Moved::to(&UNNAMED[..1]);
    let (led, only) = (RecoveryRefusal::Led { shard: SHARD, node: NodeId(4) }, UNNAMED[0]);
    moved.descriptor.members.push(Member { replica: UNNAMED[1], role: Role::Learner });
    moved.tells_ahead(&[only]);
    moved.leads(only);
    assert_eq!((moved.recorded(), moved.plan(&[])), (vec![], Err(led.clone())), "nodes 1 to 3 may have theirs");
    moved.lost = moved.named().iter().map(|copy| (copy.node, copy.id)).collect();
    moved.told();
    moved.leads(only);
    assert_eq!((moved.recorded(), moved.plan(&[])), (vec![], Ok(only)));
    assert_eq!(moved.plan(&[4]), Err(RecoveryRefusal::Alive { node: NodeId(4) }));
    let plan = recovery(&moved.world.view(), SHARD, &[]).unwrap();
    let given_up: BTreeSet<Replica> = moved.named().into_iter().chain([UNNAMED[1]]).collect();
    assert_eq!(plan.given_up.into_iter().collect::<BTreeSet<_>>(), given_up);
    assert_eq!((plan.generation, plan.copies[0].1.last), (Generation(7), (90, 3)));
    // The learner speaks for it as well.
    moved.tells_ahead(&UNNAMED[1..]);
    moved.leads(only);
    assert_eq!(moved.recorded(), vec![SystemCommand::Record(moved.descriptor.clone())]);
}

#[test]
fn a_leader_that_the_map_does_not_name_is_none_unless_the_system_shard_was_recovered() {
    let mut world = World::new(&["a", "b", "c", "d", "e"]);
    world.table(&[vec![1, 2, 3]]);
    let members = UNNAMED.iter().map(|&replica| Member { replica, role: Role::Voter }).collect();
    let known = world.map().shards[&SHARD].descriptor.clone();
    let descriptor = Descriptor { generation: Generation(7), members, ..known };
    let report =
        ShardReport { descriptor, leader: UNNAMED[0].id, term: 3, in_sync: Vec::new(), bytes: 1, moving: (0, 0) };
    let mut report = Report { led: LedReport::all(1, vec![report]), ..world.report_of(NodeId(4)) };
    let disbelieved = disbelieve(world.state.map(), NodeId(4), true, &mut report);
    assert!(disbelieved.refused.is_some() && disbelieved.claims.is_empty());
}

#[test]
fn bugs_of_leaders_that_the_map_does_not_name_are_noticed() {
    let bugs: [(Planted, fn()); 3] = [
        (Planted::ClaimBelieved, one_word_is_not_enough),
        (Planted::OldMemberBelieved, one_word_is_not_enough_for_a_copy_of_an_old_record),
        (Planted::AheadNotAwaited, no_old_copy_goes_on_while_a_node_may_have_a_later_one),
    ];
    for (bug, test) in bugs {
        plant(Some(bug));
        assert!(std::panic::catch_unwind(test).is_err(), "{bug:?}");
        plant(None);
    }
}
