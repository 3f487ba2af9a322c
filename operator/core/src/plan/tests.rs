//! Plans in single states, and from any state to the wanted one.

mod late;
mod quorum;
mod quorum_full;
mod quorum_lost;
mod removals;
mod replace;
mod replace_bound;
mod replace_coming;
mod replace_once;
mod replace_stuck;
mod rollout;
mod running;
mod world;

use proptest::prelude::*;
use skerry_core::map::NodeState;

use super::*;
use crate::decide::decide;
use crate::environment::Environment;
use crate::observed::SlotVolume;
use crate::testing::{self, resource};
use world::World;

/// Rounds within which any spec is reached, with moves and joins as quick as they get.
const ROUNDS_MAX: usize = 40;

fn spec(replicas: u32, factor: u32, zones: usize, tables: &str) -> String {
    let zones = ["a", "b", "c"].map(|z| format!("{z:?}"))[..zones].join(", ");
    format!(r#"{{"replicas": {replicas}, "replicationFactor": {factor}, "zones": [{zones}], "tables": [{tables}]}}"#)
}

const HASH: &str = r#"{"name": "sales", "fragmentation": {"type": "Hash", "shards": 6}}"#;
const RANGE: &str = r#"{"name": "customers", "fragmentation": {"type": "Range", "splitPoints": ["d", "m"]}}"#;

#[test]
fn first_node_founds_and_the_others_follow() {
    let mut world = World::new(&spec(3, 3, 3, HASH));
    let first = world.plan();
    assert_eq!(first.steps, [Step::AddSlot { slot: "shop-a-0".into(), zone: "a".into() }]);
    world.apply(&first, usize::MAX);
    let joining = world.plan();
    assert_eq!(joining.steps.len(), 2, "{joining:?}");
    world.settle();
    assert_eq!(world.slots().len(), 3);
}

#[test]
fn unknown_is_waited_for_and_nothing_is_done() {
    let mut world = World::new(&spec(5, 3, 3, HASH));
    world.settle();
    world.edit(&spec(3, 3, 3, HASH));
    let mut seen = world.observed();
    seen.database = Seen::Unknown("nobody answers".into());
    let plan = decide(&world.resource, &Environment::default(), &seen).unwrap().plan;
    assert_eq!((plan.steps, plan.waits), (vec![], vec![Wait::Unreachable("nobody answers".into())]));
    let mut seen = world.observed();
    seen.slots = Seen::Unknown("no answer".into());
    let plan = decide(&world.resource, &Environment::default(), &seen).unwrap().plan;
    assert_eq!((plan.steps, plan.waits), (vec![], vec![Wait::SlotsUnknown("no answer".into())]));
}

#[test]
fn who_leaves_is_written_down_before_anything_is_done_to_them() {
    let mut world = World::new(&spec(5, 3, 3, HASH));
    world.settle();
    world.edit(&spec(3, 3, 3, HASH));
    let [Step::Record(Record::Victims(victims))] = &world.plan().steps[..] else { panic!("{:?}", world.plan()) };
    assert_eq!(victims.iter().map(|v| v.slot.as_str()).collect::<Vec<_>>(), ["shop-a-1", "shop-b-1"]);
    let chosen = world.plan();
    world.apply(&chosen, usize::MAX);
    let drains = world.plan().steps;
    assert!(drains.iter().all(|s| matches!(s, Step::Change(AdminChange::Drain(_)))) && drains.len() == 2, "{drains:?}");
}

#[test]
fn drain_that_is_taken_back_moves_nothing_more_than_it_must() {
    let mut world = World::new(&spec(4, 3, 0, HASH));
    world.settle();
    let targets = world.targets();
    world.edit(&spec(3, 3, 0, HASH));
    for _ in 0..3 {
        let plan = world.plan();
        world.apply(&plan, usize::MAX);
    }
    assert_ne!(world.targets(), targets, "the drain has begun");
    world.edit(&spec(4, 3, 0, HASH));
    let plan = world.plan();
    assert_eq!(plan.steps[0], Step::Change(AdminChange::Reactivate(NodeId(4))));
    world.settle();
    assert_eq!(world.slots().len(), 4);
    assert!(world.victims.is_empty());
}

/// Nobody remembered that it was to leave: its slot waited for ever for the node on it to join.
#[test]
fn node_whose_removal_is_carried_out_late_comes_down_though_it_was_to_stay_again() {
    let mut world = World::new(&spec(4, 3, 0, HASH));
    world.settle();
    world.edit(&spec(3, 3, 0, HASH));
    while !world.plan().steps.iter().any(|s| matches!(s, Step::RemoveNode { .. })) {
        world.round();
    }
    let late = world.plan();
    world.edit(&spec(4, 3, 0, HASH));
    let mut plan = world.plan();
    plan.steps.retain(|step| matches!(step, Step::Record(Record::Victims(_))));
    world.apply(&plan, usize::MAX);
    world.apply(&late, usize::MAX);
    world.settle();
    assert_eq!(world.slots().len(), 4);
}

#[test]
fn node_that_has_left_comes_down_before_its_slot_is_used_again() {
    let mut world = World::new(&spec(4, 3, 0, HASH));
    world.settle();
    world.edit(&spec(3, 3, 0, HASH));
    while !world.plan().steps.iter().any(|s| matches!(s, Step::RemoveSlot { .. })) {
        world.round();
    }
    // Out of the database, its slot still there, and wanted again.
    world.edit(&spec(4, 3, 0, HASH));
    let plan = world.plan();
    assert_eq!(plan.steps[0], Step::RemoveSlot { slot: "shop-3".into() });
    world.settle();
    assert_eq!(world.slots().len(), 4);
}

#[test]
fn slot_that_comes_down_later_holds_up_nobody_else() {
    let mut world = World::new(&spec(5, 3, 0, HASH));
    world.settle();
    world.edit(&spec(3, 3, 0, HASH));
    let both = |plan: &Plan| plan.steps.iter().filter(|s| matches!(s, Step::RemoveNode { .. })).count() == 2;
    while !both(&world.plan()) {
        world.round();
    }
    // The first has left; its slot is not the last of its zone, and waits for the other.
    let plan = world.plan();
    world.apply(&plan, 1);
    let plan = world.plan();
    let [Step::RemoveSlot { slot }, Step::RemoveNode { .. }] = &plan.steps[..] else { panic!("{plan:?}") };
    assert_eq!(slot, "shop-3");
}

/// Nodes 1 to 3 in three slots. The volume of node 3 was replaced, and node 4 came into its slot, and has left.
fn third_slot_left(set_aside: bool, victims: Vec<skerry_api::Victim>) -> Plan {
    let mut nodes: Vec<_> = (1..=4).map(|id| testing::node(id, "", NodeState::Active)).collect();
    (nodes[2].state, nodes[3].state) = (NodeState::Draining, NodeState::Removed);
    nodes[3].address = nodes[2].address.clone();
    let slot = |i: usize| {
        let (address, process) = (nodes[i].address.clone(), crate::observed::Process::STEADY);
        let volume = SlotVolume { set_aside: set_aside && i == 2, ..SlotVolume::default() };
        (format!("shop-{i}"), Slot { zone: String::new(), address, process, volume, held_up: None, host: None })
    };
    let slots = Seen::Known((0..3).map(slot).collect());
    let database = Seen::Known(testing::status(nodes, vec![]));
    let observed = Observed { slots, database, victims, founded: true, ..World::new("{}").observed() };
    decide(&resource(r#"{"replicationFactor": 2}"#), &Environment::default(), &observed).unwrap().plan
}

#[test]
fn slot_whose_last_node_has_left_is_not_an_older_nodes_again() {
    let plan = third_slot_left(false, vec![skerry_api::Victim { slot: "shop-2".into(), node: Some(4) }]);
    assert_eq!(plan.steps[0], Step::RemoveSlot { slot: "shop-2".into() });
    assert!(!plan.steps.contains(&Step::Change(AdminChange::Reactivate(NodeId(3)))), "{plan:?}");
}

/// The new volume was taken for the old one, and given up with the node that had just joined on it.
#[test]
fn old_volume_of_a_slot_that_is_wanted_is_given_up_once_and_the_new_one_never() {
    let removed = Step::RemoveSlot { slot: "shop-2".into() };
    let listed = || vec![skerry_api::Victim { slot: "shop-2".into(), node: Some(4) }];
    // Not marked yet; then marked, and forgotten as a victim first; then given up by its mark; then there is a new one.
    assert!(third_slot_left(false, listed()).steps.contains(&removed));
    assert_eq!(third_slot_left(true, listed()).steps, [Step::Record(Record::Victims(vec![]))]);
    assert!(third_slot_left(true, vec![]).steps.contains(&removed));
    assert!(!third_slot_left(false, vec![]).steps.contains(&removed));
}

#[test]
fn replaced_volume_makes_the_old_node_leave() {
    let mut world = World::new(&spec(4, 3, 0, HASH));
    world.settle();
    world.lose_volume("shop-2");
    world.settle();
    let active = world.nodes().filter(|n| n.state == NodeState::Active).count();
    assert_eq!((world.slots().len(), active), (4, 4));
}

#[test]
fn manual_approval_holds_data_and_nodes_back() {
    let mut world = World::new(&spec(3, 3, 3, HASH));
    world.settle();
    let manual = r#", "rebalance": {"approval": "Manual"}}"#;
    let more = spec(4, 3, 3, HASH);
    world.edit(&format!("{}{manual}", &more[..more.len() - 1]));
    let plan = world.plan();
    let [Wait::Approval { plan: id, moves, .. }] = &plan.waits[..] else { panic!("{plan:?}") };
    assert_eq!((plan.steps.len(), moves.replicas, moves.lower_bound), (0, moves.lower_bound, moves.replicas));
    let told = format!("to approve: kubectl annotate ddb/shop skerry.io/approved-plan={id} --overwrite");
    assert!(plan.waits[0].to_string().ends_with(&told), "{}", plan.waits[0]);
    let approve = |world: &mut World, id: &str| {
        world.resource.metadata.annotations = Some([(skerry_api::APPROVED_PLAN.to_owned(), id.to_owned())].into());
    };
    // The generation alone was enough, whatever would move by then.
    approve(&mut world, "2");
    assert!(matches!(world.plan().waits[..], [Wait::Approval { .. }]));
    approve(&mut world, id);
    world.settle();
    assert_eq!(world.slots().len(), 4);
}

/// A node was lost after a person had looked: what would move by then had not been looked at.
#[test]
fn plan_that_has_changed_since_it_was_approved_asks_again() {
    let mut world = World::new(&spec(4, 3, 0, HASH));
    world.settle();
    let (manual, more) = (r#", "rebalance": {"approval": "Manual"}}"#, spec(5, 3, 0, HASH));
    world.edit(&format!("{}{manual}", &more[..more.len() - 1]));
    let asked = |world: &World| match &world.plan().waits[..] {
        [Wait::Approval { plan, .. }] => Some(plan.clone()),
        _ => None,
    };
    let first = asked(&world).unwrap();
    assert_eq!(asked(&world).as_ref(), Some(&first), "the same as long as nothing changes");
    world.resource.metadata.annotations = Some([(skerry_api::APPROVED_PLAN.to_owned(), first.clone())].into());
    assert_eq!(asked(&world), None);
    world.lose_volume("shop-2");
    world.join();
    let other = asked(&world).unwrap();
    assert_ne!(other, first);
}

/// A lost volume was replaced: its copies waited for somebody's approval, with one copy fewer meanwhile.
#[test]
fn approval_holds_no_repair_back() {
    let mut world = World::new(&spec(3, 3, 3, HASH));
    world.settle();
    let (manual, more) = (r#", "rebalance": {"approval": "Manual"}}"#, spec(4, 3, 3, HASH));
    world.edit(&format!("{}{manual}", &more[..more.len() - 1]));
    let lost = world.nodes().find(|n| n.zone == "b").unwrap().id;
    world.lose_volume("shop-b-0");
    world.join();
    for _ in 0..10 {
        let plan = world.plan();
        assert!(matches!(&plan.waits[0], Wait::Approval { .. }), "{plan:?}");
        world.apply(&plan, usize::MAX);
        world.move_shards(usize::MAX);
    }
    assert!(world.targets().iter().all(|nodes| nodes.len() == 3 && !nodes.contains(&lost)));
    assert_eq!(world.nodes().find(|n| n.id == lost).unwrap().state, NodeState::Removed);
    assert_eq!((world.slots().len(), world.plan().steps), (3, vec![]));
}

#[test]
fn paused_database_is_left_alone() {
    let mut world = World::new(&spec(3, 3, 3, HASH));
    world.settle();
    world.edit(r#"{"replicas": 5, "paused": true}"#);
    assert_eq!((world.plan().steps, world.plan().waits), (vec![], vec![Wait::Paused]));
}

#[test]
fn other_fragmentation_is_told_and_the_rest_goes_on() {
    let mut world = World::new(&spec(3, 3, 3, HASH));
    world.settle();
    let other = r#"{"name": "sales", "fragmentation": {"type": "Range"}}"#;
    world.edit(&spec(4, 3, 3, &format!("{other}, {RANGE}")));
    for _ in 0..ROUNDS_MAX {
        world.round();
    }
    assert_eq!(world.plan().waits, [Wait::OtherFragmentation { table: "sales".into() }]);
    assert_eq!((world.plan().steps, world.slots().len()), (vec![], 4));
}

#[test]
fn shards_that_the_spec_says_otherwise_are_told_and_stay() {
    let hash = |shards: &str| format!(r#"{{"name": "h", "fragmentation": {{"type": "Hash"{shards}}}}}"#);
    let range = |points: &str| format!(r#"{{"name": "r", "fragmentation": {{"type": "Range"{points}}}}}"#);
    let both = |shards, points| spec(3, 3, 3, &format!("{}, {}", hash(shards), range(points)));
    let mut world = World::new(&both(r#", "shards": 4"#, r#", "splitPoints": ["D", "M"]"#));
    world.settle();
    let told = |world: &mut World, spec: &str| {
        world.edit(spec);
        world.plan().waits
    };
    let other = |table: &str| Wait::OtherFragmentation { table: table.into() };
    assert_eq!(told(&mut world, &both(r#", "shards": 5"#, r#", "splitPoints": ["D", "M"]"#)), [other("h")]);
    assert_eq!(told(&mut world, &both(r#", "shards": 4"#, r#", "splitPoints": ["D", "N"]"#)), [other("r")]);
    assert_eq!(told(&mut world, &both("", "")), [], "the spec leaves it open");
}

#[test]
fn kept_table_that_no_longer_fits_is_told_before_anything_is_drained() {
    let mut world = World::new(&spec(5, 5, 0, HASH));
    world.settle();
    world.edit(&spec(3, 3, 0, RANGE));
    world.round();
    let plan = world.plan();
    assert!(matches!(&plan.waits[..], [Wait::NoPlacement(why)] if why.contains("wants 5 copies")), "{plan:?}");
    assert!(world.nodes().all(|n| n.state == NodeState::Active));
}

#[derive(Debug, Clone)]
enum Event {
    Edit(String),
    /// Carry out so many steps of a plan, then die.
    Act(usize),
    Join,
    Move(usize),
    LoseVolume(usize),
}

fn specs() -> impl Strategy<Value = String> {
    (1..8_u32, 1..6_u32, 0..4_usize, 0..5_usize).prop_map(|(replicas, factor, zones, tables)| {
        let (cart, weak) = (quorum::cart("", ""), quorum::cart(r#", "writeQuorum": 1, "readQuorum": 1"#, ""));
        let with = |more: &str| format!("{HASH}, {more}");
        let tables = ["", HASH, &with(RANGE), &with(&cart), &with(&weak)][tables].to_owned();
        spec(replicas, factor.min(replicas), zones.min(replicas as usize), &tables)
    })
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => specs().prop_map(Event::Edit),
        6 => (0..4_usize).prop_map(Event::Act),
        3 => Just(Event::Join),
        3 => (1..6_usize).prop_map(Event::Move),
        1 => (0..8_usize).prop_map(Event::LoseVolume),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever was begun, turned back or broken off, the newest spec is reached, and then there is nothing to do. The
    /// world refuses to remove what is still needed, and panics if it is asked to.
    #[test]
    fn newest_spec_is_reached_from_any_state(first in specs(), events in prop::collection::vec(events(), 0..60), last in specs()) {
        let mut world = World::new(&first);
        world.release = skerry_core::level::FormatLevel::QUORUM;
        for event in events {
            match event {
                Event::Edit(spec) => world.edit(&spec),
                Event::Act(steps) => {
                    let plan = world.plan();
                    prop_assert_eq!(&plan, &world.plan());
                    world.apply(&plan, steps);
                }
                Event::Join => world.join(),
                Event::Move(shards) => world.move_shards(shards),
                Event::LoseVolume(index) => world.lose_nth_volume(index),
            }
        }
        // Tables stay that the last spec may not name, with as many copies as they had; they must fit.
        let copies = world.copies_max();
        let mut database = resource(&last);
        database.spec.replicas = database.spec.replicas.max(copies);
        world.edit_to(database);
        world.settle();
        prop_assert!(world.victims.is_empty());
        prop_assert!(world.nodes().all(|n| n.state != NodeState::Draining));
    }
}
