//! Tables that are taken out of a spec that drops such tables: none goes before its delay is over.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;
use skerry_api::DistributedDatabaseStatus;

use super::*;
use crate::look_history::LookHistory;
use crate::observed::Seen;

const BOTH: &str =
    r#""tables": [{"name": "t", "fragmentation": {"type": "Hash"}}, {"name": "u", "fragmentation": {"type": "Hash"}}]"#;
const ONE: &str = r#""tables": [{"name": "t", "fragmentation": {"type": "Hash"}}]"#;

fn dropping(tables: &str, more: &str) -> String {
    format!(r#"{{"zones": ["a", "b", "c"], "tableRemoval": "Drop", "tableRemovalDelaySeconds": 60, {tables}{more}}}"#)
}

fn at_rest() -> World {
    let mut world = World::new(&dropping(BOTH, ""));
    world.settle();
    world
}

/// One look, and what it drops.
fn look(world: &mut World) -> usize {
    let plan = world.plan();
    world.apply(&plan, usize::MAX);
    plan.steps.iter().filter(|step| matches!(step, Step::Change(AdminChange::DropTable { .. }))).count()
}

#[test]
fn table_taken_out_goes_only_when_its_delay_is_over() {
    let mut world = at_rest();
    world.edit(&dropping(ONE, ""));
    let looks = [look(&mut world), look(&mut world)];
    assert_eq!((looks, world.removals.len()), ([0, 0], 1));
    let plan = world.plan();
    assert!(matches!(&plan.waits[..], [Wait::TableToGo { table, .. }] if table == "u"), "{plan:?}");
    assert!(plan.is_waiting_for_long());
    world.clock += 59;
    assert_eq!(look(&mut world), 0);
    world.clock += 1;
    assert_eq!(look(&mut world), 1);
    world.settle();
    assert!(world.removals.is_empty());
}

#[test]
fn table_put_back_stays_and_its_delay_begins_anew_when_it_is_taken_out_again() {
    let again = [
        // Put back, and seen so; taken for paused, which stops the clock; put back while nobody answers.
        (dropping(BOTH, ""), false),
        (dropping(ONE, r#", "paused": true"#), false),
        (dropping(BOTH, ""), true),
        (dropping(ONE, "").replace("Drop", "Retain"), false),
    ];
    for (between, is_silent) in again {
        let mut world = at_rest();
        world.edit(&dropping(ONE, ""));
        look(&mut world);
        world.clock += 59;
        world.edit(&between);
        let mut seen = world.observed();
        if is_silent {
            seen.database = Seen::Unknown("nobody answers".into());
        }
        let plan = decide(&world.resource, &Environment::default(), &seen).unwrap().plan;
        assert_eq!(plan.steps[0], Step::Record(Record::Removals(vec![])), "{between}");
        world.apply(&plan, 1);
        world.edit(&dropping(ONE, ""));
        world.clock += 59;
        assert_eq!([look(&mut world), look(&mut world)], [0, 0], "{between}");
        world.clock += 60;
        assert_eq!(look(&mut world), 1, "{between}");
    }
}

/// Another table has the name by now.
#[test]
fn removal_that_was_written_down_of_another_table_counts_for_nothing() {
    let mut world = taken_out_for(59);
    let written = world.removals[0].clone();
    world.removals[0].table += 1;
    assert_eq!(look(&mut world), 0);
    assert_ne!(world.removals[0], written);
    world.clock += 59;
    assert_eq!(look(&mut world), 0);
}

/// So many seconds ago, as the process that looks has seen.
fn taken_out_for(seconds: i64) -> World {
    let mut world = at_rest();
    world.edit(&dropping(ONE, ""));
    look(&mut world);
    look(&mut world);
    world.clock += seconds;
    assert_eq!(look(&mut world), 0);
    world
}

/// Goes on for so long with a look at every second, in which nothing may be dropped; then the table goes.
fn dropped_after(world: &mut World, seconds: i64) {
    for second in 0..seconds {
        assert_eq!(look(world), 0, "after {second} s of {seconds}");
        world.clock += 1;
    }
    assert_eq!([look(world), look(world)].iter().sum::<usize>(), 1);
}

/// Regression test: the table was dropped at once.
#[test]
fn a_wall_clock_that_jumps_drops_nothing_early_and_what_is_announced_is_put_right() {
    for jump in [3_600, -3_600] {
        let mut world = taken_out_for(20);
        world.wall_error = jump;
        let since = |world: &World| world.removals[0].since.0.as_second();
        look(&mut world);
        assert_eq!(since(&world), world.clock + jump - 20, "so it is announced for the same moment");
        dropped_after(&mut world, 40);
    }
}

/// The cluster's own store was restored, or somebody has written it: the table was dropped at the first look.
#[test]
fn a_status_that_says_that_the_delay_is_over_is_not_believed() {
    let mut world = taken_out_for(0);
    let long_ago = Time(world.removals[0].since.0 - SignedDuration::from_hours(1));
    world.removals[0].since = long_ago;
    dropped_after(&mut world, 60);
}

#[test]
fn delay_begins_anew_with_every_process_that_begins_to_look() {
    let mut world = taken_out_for(59);
    world.history = LookHistory::default();
    dropped_after(&mut world, 60);
}

/// While nobody looked, nobody may have been able to put it back.
#[test]
fn time_in_which_nobody_looked_does_not_count() {
    let mut world = taken_out_for(20);
    world.clock += 3_600;
    dropped_after(&mut world, 40);
}

/// A shorter one was over before it was announced.
#[test]
fn delay_that_is_edited_begins_anew() {
    for (edited, seconds) in [("30", 30), ("90", 90), ("0", 0)] {
        let mut world = taken_out_for(45);
        world.edit(&dropping(ONE, "").replace("60", edited));
        assert_eq!(look(&mut world), 0, "{edited}");
        dropped_after(&mut world, seconds);
    }
}

/// It counted on from before, once the objects could be listed again.
#[test]
fn table_that_is_put_back_while_nothing_else_is_known_stays() {
    let mut world = taken_out_for(59);
    world.edit(&dropping(BOTH, ""));
    let mut seen = world.observed();
    seen.slots = Seen::Unknown("no answer".into());
    let plan = decide(&world.resource, &Environment::default(), &seen).unwrap().plan;
    assert_eq!(plan.steps, [Step::Record(Record::Removals(vec![]))]);
}

/// The playground's YAML was put back, with a fault elsewhere: what it had said before went on.
#[test]
fn no_table_goes_while_there_is_a_newer_spec_that_cannot_be_read() {
    let mut world = taken_out_for(59);
    world.clock += 1;
    let mut seen = world.observed();
    seen.spec_unread = true;
    let plan = decide(&world.resource, &Environment::default(), &seen).unwrap().plan;
    assert_eq!(plan.steps, [Step::Record(Record::Removals(vec![]))]);
}

#[test]
fn invalid_spec_that_is_corrected_begins_the_delay_anew() {
    let mut world = taken_out_for(59);
    world.history.met_invalid_spec();
    dropped_after(&mut world, 60);
}

#[test]
fn table_that_is_to_go_is_announced_whatever_else_holds_the_plan_up() {
    let world = taken_out_for(20);
    let mut seen = world.observed();
    seen.database = Seen::Unknown("nobody answers".into());
    let plan = decide(&world.resource, &Environment::default(), &seen).unwrap().plan;
    assert!(matches!(&plan.waits[..], [Wait::Unreachable(_), Wait::TableToGo { .. }]), "{plan:?}");
}

/// The operator was down meanwhile: nobody knows whether the table was put back, and taken out again.
#[test]
fn delay_begins_anew_after_a_spec_that_nobody_looked_at() {
    let mut world = taken_out_for(0);
    world.clock += 60;
    let generation = world.resource.metadata.generation;
    let status = |seen| DistributedDatabaseStatus { observed_generation: seen, ..Default::default() };
    for (missed, is_due) in [(1, true), (2, false)] {
        let later = world.observed();
        world.resource.status = Some(status(generation.map(|g| g - missed)));
        let plan = decide(&world.resource, &Environment::default(), &later).unwrap().plan;
        let drops = plan.steps.iter().any(|step| matches!(step, Step::Change(AdminChange::DropTable { .. })));
        assert_eq!((drops, plan.steps.len()), (is_due, 1), "{plan:?}");
        // The write fails, and the generation counts as looked at: nothing of the old time is left.
        let decision = decide(&world.resource, &Environment::default(), &later);
        let conflict = crate::Outcome { failure: Some("conflict"), changing: None };
        let told = crate::status(&world.resource, &later, &decision, conflict, &later.now);
        assert_eq!(told.table_removals.len(), usize::from(is_due));
    }
}

#[test]
fn without_a_delay_a_table_is_written_down_first_all_the_same() {
    let mut world = at_rest();
    world.edit(&dropping(ONE, "").replace("60", "0"));
    assert_eq!([look(&mut world), look(&mut world)], [0, 1]);
}
