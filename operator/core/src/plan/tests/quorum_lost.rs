//! Volumes that have copies of Quorum tables: which are not given up, and which losses a person has to accept.

use std::time::Duration;

use skerry_core::level::FormatLevel;

use super::quorum::cart;
use super::replace::ask_for;
use super::*;
use crate::observed::Process;
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
                copy.in_step_with.clear();
            }
        }
    };
    let untold = |status: &mut Status| status.copies.clear();
    for plan in [plan_of(&world, returned), plan_of(&world, untold)] {
        assert!(!plan.steps.contains(&replaced), "{plan:?}");
        let held = |wait: &Wait| matches!(wait, Wait::ReplacementHeld { why, .. } if why.contains("too few copies"));
        assert!(plan.waits.iter().any(held), "{plan:?}");
    }
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
    let shards: Vec<String> = world.map().live_shards().map(|shard| shard.descriptor.shard.to_string()).collect();
    let accepted = [(skerry_api::ACCEPT_LOSS.to_owned(), shards.join(","))].into();
    world.resource.metadata.annotations = Some(accepted);
    assert!(replaces(&lost(&world, &[2, 3])), "{:?}", lost(&world, &[2, 3]));
}
