//! Volumes that have copies of Quorum tables: which are not given up, and which losses a person has to accept.

use std::time::Duration;

use skerry_core::level::FormatLevel;
use skerry_core::map::{QuorumChange, Quorums};
use skerry_core::message::QuorumReport;
use skerry_core::quorum::layout::Stage;

use super::quorum::cart;
use super::replace::{AFTER, ask_for, fall_silent};
use super::*;
use crate::observed::Process;
use crate::planted::{Planted, plant};
use crate::testing::ahead;

/// Four nodes, one a zone but for one, and a Quorum table with this W and R on three of them.
fn at_rest(write: u32, read: u32) -> World {
    let consistency = format!(r#", "writeQuorum": {write}, "readQuorum": {read}"#);
    let mut world = World::new(&spec(3, 3, 3, &cart(&consistency, "")));
    world.release = FormatLevel::QUORUM;
    world.settle();
    world
}

fn plan_of(world: &World, change: impl Fn(&mut Status)) -> Plan {
    let mut seen = world.observed();
    let Seen::Known(status) = &mut seen.database else { panic!("a database that answers") };
    change(status);
    decide(&world.resource, &ahead(), &seen).unwrap().plan
}

/// The first node was alone for an hour and took writes. The others are back.
#[test]
fn volume_is_not_given_up_that_alone_may_have_what_was_acknowledged() {
    let mut world = at_rest(1, 1);
    ask_for(&mut world, Some("shop-a-0"));
    let plan = world.plan();
    world.apply(&plan, usize::MAX);
    let replaced = Step::ReplaceVolume { slot: "shop-a-0".into(), silent: false };
    assert!(world.plan().steps.contains(&replaced), "{:?}", world.plan());
    let returned = |status: &mut Status| {
        for (node, copy) in &mut status.copies {
            if *node != NodeId(1) {
                copy.handed_over.clear();
            }
        }
    };
    let untold = |status: &mut Status| status.copies.clear();
    for plan in [plan_of(&world, returned), plan_of(&world, untold)] {
        assert!(!plan.steps.contains(&replaced), "{plan:?}");
        let held =
            |wait: &Wait| matches!(wait, Wait::ReplacementHeld { why, .. } if why.contains("has 0 other copies"));
        assert!(plan.waits.iter().any(held), "{plan:?}");
    }
}

/// The first node is silent for as long as it takes to be replaced, with these last words. Whose volume is replaced then, and
/// what is waited for.
fn silenced(world: &mut World, last_words: impl Fn(&mut Status)) -> (Option<String>, String) {
    fall_silent(world, "shop-a-0");
    let began = world.clock;
    let mut told = String::new();
    while world.clock - began < 2 * AFTER {
        let plan = plan_of(world, &last_words);
        for step in &plan.steps {
            if let Step::ReplaceVolume { slot, .. } = step {
                return (Some(slot.clone()), told);
            }
        }
        told = plan.waits.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        world.apply(&plan, usize::MAX);
        world.clock += 15;
    }
    (None, told)
}

fn silent_after(write: u32, read: u32) -> World {
    let mut world = at_rest(write, read);
    let spec = spec(4, 3, 3, &cart(&format!(r#", "writeQuorum": {write}, "readQuorum": {read}"#), ""));
    world.edit(&format!(r#"{}, "replaceSilentAfterSeconds": {AFTER}}}"#, &spec[..spec.len() - 1]));
    world.settle();
    world
}

/// What the copies of the first node have said last.
fn last_words(change: impl Fn(&mut QuorumReport)) -> impl Fn(&mut Status) {
    move |status| status.copies.iter_mut().filter(|(node, _)| *node == NodeId(1)).for_each(|(_, copy)| change(copy))
}

const NO_WORD: fn(&mut Status) = |status| status.copies.retain(|(node, _)| *node != NodeId(1));

/// It took writes by itself, and fell silent before the others had them. Those are even with one another.
fn silent_node_that_alone_may_have_writes_is_kept() {
    for (write, replaced) in [(1, false), (2, true)] {
        let mut world = silent_after(write, 2);
        let (slot, told) = silenced(&mut world, last_words(|copy| copy.hints = 3));
        assert_eq!(slot.is_some(), replaced, "W {write}: {told}");
        assert!(replaced || told.contains("may alone have writes of shard"), "{told}");
    }
}

#[test]
fn silent_node_that_may_alone_have_writes_waits_for_a_person() {
    silent_node_that_alone_may_have_writes_is_kept();
    // It had not compared, or nothing is known of it.
    let mut world = silent_after(1, 2);
    let (slot, told) = silenced(&mut world, last_words(|copy| copy.handed_over.truncate(1)));
    assert_eq!(slot, None, "{told}");
    let (slot, told) = silenced(&mut silent_after(1, 2), NO_WORD);
    assert!(slot.is_none() && told.contains("run skerry recover --lost n1"), "{told}");
    // All others have all that it had.
    assert_eq!(silenced(&mut silent_after(1, 2), |_| {}).0.as_deref(), Some("shop-a-0"));
    // It was writing.
    let (slot, told) = silenced(&mut silent_after(1, 2), last_words(|copy| copy.under_way = 1));
    assert!(slot.is_none() && told.contains("may alone have writes of shard"), "{told}");
    // A person accepts what may be lost.
    let mut world = silent_after(1, 2);
    accept(&mut world, &[1], 0);
    assert_eq!(silenced(&mut world, NO_WORD).0.as_deref(), Some("shop-a-0"));
}

/// A person accepts what may be lost with these nodes, in the start that is so many after theirs, or before.
fn accept(world: &mut World, nodes: &[u64], after: u64) {
    let map = world.map();
    let start = |node: &u64| map.nodes[&NodeId(*node)].incarnation.0 + after;
    let of_shard = |shard| nodes.iter().map(move |node| format!("{shard}/n{node}/i{}", start(node)));
    let losses: Vec<String> = map.live_shards().flat_map(|shard| of_shard(shard.descriptor.shard)).collect();
    let annotations = world.resource.metadata.annotations.get_or_insert_default();
    annotations.insert(skerry_api::ACCEPT_LOSS.to_owned(), losses.join(", "));
}

/// The annotation was left from another time: of another node, or of this one before it came back.
fn accepted_loss_of_another_time() {
    for (nodes, after) in [(&[2, 3, 4][..], 0), (&[1], 1)] {
        let mut world = silent_after(1, 2);
        accept(&mut world, nodes, after);
        let (slot, told) = silenced(&mut world, NO_WORD);
        assert!(slot.is_none() && told.contains("may alone have writes of shard"), "{nodes:?}: {told}");
    }
}

#[test]
fn accepted_loss_ends_with_the_copy_and_with_the_start_that_it_was_of() {
    accepted_loss_of_another_time();
    let mut world = silent_after(1, 2);
    let (_, told) = silenced(&mut world, NO_WORD);
    let (_, named) = told.split_once("set the annotation skerry.io/accept-loss to \"").expect("the way out is told");
    let named = named.split('"').next().unwrap().to_owned();
    world.resource.metadata.annotations = Some([(skerry_api::ACCEPT_LOSS.to_owned(), named)].into());
    assert_eq!(silenced(&mut world, NO_WORD).0.as_deref(), Some("shop-a-0"), "it is taken as it is told");
}

#[test]
fn accepted_loss_that_counts_for_ever_is_noticed() {
    plant(Some(Planted::LossAcceptedForEver));
    let caught = std::panic::catch_unwind(accepted_loss_of_another_time).is_err();
    plant(None);
    assert!(caught);
}

/// It is heard, and all others have all that there was when they compared. A person wants its volume replaced.
fn copy_that_writes_alone_is_kept() {
    for (write, replaced) in [(1, false), (2, true)] {
        let mut world = at_rest(write, 2);
        ask_for(&mut world, Some("shop-a-0"));
        let plan = world.plan();
        world.apply(&plan, usize::MAX);
        let plan = plan_of(&world, last_words(|copy| copy.under_way = 2));
        let replaces = Step::ReplaceVolume { slot: "shop-a-0".into(), silent: false };
        assert_eq!(plan.steps.contains(&replaces), replaced, "W {write}: {plan:?}");
        let told = plan.waits.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(replaced || told.contains("others do not have the last of those yet"), "{told}");
        accept(&mut world, &[1], 0);
        let plan = plan_of(&world, last_words(|copy| copy.under_way = 2));
        assert!(plan.steps.contains(&replaces), "it is accepted: {plan:?}");
    }
}

#[test]
fn volume_of_a_copy_is_not_given_up_with_what_it_has_just_acknowledged_alone() {
    copy_that_writes_alone_is_kept();
}

#[test]
fn writes_under_way_that_are_ignored_are_noticed() {
    plant(Some(Planted::WritesUnderWayIgnored));
    let caught = std::panic::catch_unwind(copy_that_writes_alone_is_kept).is_err();
    plant(None);
    assert!(caught);
}

/// Its node is heard: its disk answers no more, or its process has just started.
#[test]
fn volume_of_a_node_that_takes_no_part_is_not_given_up_with_what_it_alone_may_have() {
    let stalled: fn(&mut Status) = |status| status.nodes[0].0.disk_stalled = true;
    let started: fn(&mut Status) = |status| status.nodes[0].0.map_epoch = Epoch(0);
    for takes_no_part in [stalled, started] {
        let mut world = at_rest(1, 1);
        ask_for(&mut world, Some("shop-a-0"));
        let plan = world.plan();
        world.apply(&plan, usize::MAX);
        let replaced = Step::ReplaceVolume { slot: "shop-a-0".into(), silent: false };
        let of_first = last_words(|copy| copy.hints = 3);
        let plan = plan_of(&world, |status| {
            assert_eq!(status.nodes[0].0.node, NodeId(1));
            takes_no_part(status);
            of_first(status);
        });
        assert!(!plan.steps.contains(&replaced), "{plan:?}");
        let asks = |wait: &Wait| wait.to_string().contains("may alone have writes of shard");
        assert!(plan.waits.iter().any(asks), "{:?}", plan.waits);
        assert!(plan_of(&world, takes_no_part).steps.contains(&replaced), "it said that all others have all");
    }
}

/// Until reads turn, what was written before the change is owed by the old set alone, whatever W the new one has.
#[test]
fn change_that_is_under_way_hides_no_copy_that_may_alone_have_writes() {
    let of_first = last_words(|copy| copy.hints = 3);
    let (slot, told) = silenced(&mut silent_after(1, 2), |status| {
        of_first(status);
        let map = std::sync::Arc::make_mut(&mut status.map);
        for mut record in map.shards.clone().into_values() {
            let generation = record.descriptor.generation;
            let Some(quorum) = &mut record.quorum else { continue };
            let next = Quorums { write: 2, read: 2 };
            let (began, reads_since) = (generation, generation);
            quorum.change = Some(QuorumChange { next, stage: Stage::WriteBoth, began, reads_since });
            map.put_shard(record);
        }
    });
    assert!(slot.is_none() && told.contains("may alone have writes of shard"), "{told}");
}

#[test]
fn last_word_that_is_ignored_is_noticed() {
    plant(Some(Planted::LastWordIgnored));
    let caught = std::panic::catch_unwind(silent_node_that_alone_may_have_writes_is_kept).is_err();
    plant(None);
    assert!(caught);
}

#[test]
fn volumes_that_are_lost_with_as_many_copies_as_a_write_needs_wait_for_a_person() {
    let mut world = at_rest(2, 2);
    let gone = Process { ready: false, volume_lost: true, down: Duration::from_secs(3_600), ..Process::STEADY };
    let lost = |world: &World, lost: &'static [u64]| {
        plan_of(world, |status| status.nodes.retain(|(report, _)| !lost.contains(&report.node.0)))
    };
    let replaces = |plan: &Plan| plan.steps.iter().any(|step| matches!(step, Step::ReplaceVolume { .. }));
    *world.process("shop-b-0") = gone;
    assert!(replaces(&lost(&world, &[2])), "{:?}", lost(&world, &[2]));
    *world.process("shop-c-0") = gone;
    let plan = lost(&world, &[2, 3]);
    assert!(!replaces(&plan), "{plan:?}");
    let told = plan.waits.iter().map(ToString::to_string).find(|told| told.contains("shop-b-0 is lost"));
    assert!(told.as_ref().is_some_and(|told| told.contains("as many copies as a write needs")), "{plan:?}");
    accept(&mut world, &[2, 3], 0);
    assert!(replaces(&lost(&world, &[2, 3])), "{:?}", lost(&world, &[2, 3]));
}
