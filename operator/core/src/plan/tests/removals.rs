//! Tables that are taken out of a spec that drops such tables: none goes before its delay is over.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;
use skerry_api::DistributedDatabaseStatus;

use super::*;
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
        assert_eq!(plan.steps[0], Step::RecordRemovals(vec![]), "{between}");
        world.apply(&plan, 1);
        world.edit(&dropping(ONE, ""));
        world.clock += 59;
        assert_eq!([look(&mut world), look(&mut world)], [0, 0], "{between}");
        world.clock += 60;
        assert_eq!(look(&mut world), 1, "{between}");
    }
}

/// The first clock was wrong, and another table has the name by now.
#[test]
fn removal_that_was_written_down_in_the_future_or_of_another_table_counts_for_nothing() {
    let mut world = at_rest();
    world.edit(&dropping(ONE, ""));
    look(&mut world);
    let written = world.removals[0].clone();
    world.clock += 3_600;
    world.removals[0].table += 1;
    assert_eq!(look(&mut world), 0);
    assert_ne!(world.removals[0], written);
    world.clock -= 7_200;
    assert_eq!([look(&mut world), look(&mut world)], [0, 0]);
    assert_eq!(world.removals[0].since.0.as_second(), world.clock);
}

/// The operator was down meanwhile: nobody knows whether the table was put back, and taken out again.
#[test]
fn delay_begins_anew_after_a_spec_that_nobody_looked_at() {
    let mut world = at_rest();
    world.edit(&dropping(ONE, ""));
    look(&mut world);
    let generation = world.resource.metadata.generation;
    let status = |seen| DistributedDatabaseStatus { observed_generation: seen, ..Default::default() };
    for (missed, is_due) in [(1, true), (2, false)] {
        let mut later = world.observed();
        later.now = Time(later.now.0 + SignedDuration::from_secs(60));
        world.resource.status = Some(status(generation.map(|g| g - missed)));
        let plan = decide(&world.resource, &Environment::default(), &later).unwrap().plan;
        let drops = plan.steps.iter().any(|step| matches!(step, Step::Change(AdminChange::DropTable { .. })));
        assert_eq!((drops, plan.steps.len()), (is_due, 1), "{plan:?}");
        // The write fails, and the generation counts as looked at: nothing of the old time is left.
        let decision = decide(&world.resource, &Environment::default(), &later);
        let told = crate::status(&world.resource, &later, &decision, Some("conflict"), &later.now);
        assert_eq!(told.table_removals.len(), usize::from(is_due));
    }
}

#[test]
fn without_a_delay_a_table_is_written_down_first_all_the_same() {
    let mut world = at_rest();
    world.edit(&dropping(ONE, "").replace("60", "0"));
    assert_eq!([look(&mut world), look(&mut world)], [0, 1]);
}
