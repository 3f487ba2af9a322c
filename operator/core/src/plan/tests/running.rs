//! Founding, restarts and lost volumes, and what is done while nobody answers.

use std::time::Duration;

use super::*;
use crate::observed::{Process, Running, Slot};
use crate::planted::plant;

fn at_rest(replicas: u32) -> World {
    let mut world = World::new(&spec(replicas, 3, 3, HASH));
    world.settle();
    world
}

fn restarts(plan: &Plan) -> Vec<&str> {
    fn slot(step: &Step) -> &str {
        match step {
            Step::RestartNode { slot } => slot,
            other => panic!("{other:?}"),
        }
    }
    plan.steps.iter().map(slot).collect()
}

const OUTDATED: Process = Process { outdated: true, ..Process::STEADY };
const BROKEN: Process = Process { ready: false, running: Running::Failing, ..OUTDATED };

#[test]
fn nodes_are_restarted_one_at_a_time_the_stewards_last() {
    let mut world = at_rest(3);
    for slot in ["shop-a-0", "shop-b-0", "shop-c-0"] {
        *world.process(slot) = OUTDATED;
    }
    let mut order = Vec::new();
    for _ in 0..3 {
        let plan = world.plan();
        let [slot] = restarts(&plan)[..] else { panic!("{plan:?}") };
        order.push(slot.to_owned());
        world.apply(&plan, 1);
    }
    // Node 1, on shop-a-0, is the steward.
    assert_eq!(order, ["shop-b-0", "shop-c-0", "shop-a-0"]);
    assert!(world.plan().is_done());
}

#[test]
fn spec_that_does_not_run_stops_at_the_first_node_and_its_correction_is_taken_at_once() {
    let mut world = at_rest(3);
    *world.process("shop-a-0") = OUTDATED;
    *world.process("shop-b-0") = Process { ready: false, ..Process::STEADY };
    *world.process("shop-c-0") = OUTDATED;
    let plan = world.plan();
    assert_eq!(plan.steps, []);
    assert!(matches!(&plan.waits[..], [Wait::Restarting { why, .. }] if why == "shop-b-0 is not ready"), "{plan:?}");
    // It shows that it does not start: that is told, with the others that are left as they are.
    *world.process("shop-b-0") = Process { outdated: false, ..BROKEN };
    let plan = world.plan();
    assert_eq!(plan.steps, []);
    let [stopped @ Wait::RolloutStopped { slot, others, .. }] = &plan.waits[..] else { panic!("{plan:?}") };
    assert_eq!((slot.as_str(), others.len(), stopped.until()), ("shop-b-0", 2, Until::Corrected));
    // Another image: the pod that does not run is the first to get it.
    *world.process("shop-b-0") = BROKEN;
    assert_eq!(restarts(&world.plan()), ["shop-b-0"]);
}

fn restarts_while_silent(world: &World) -> Vec<String> {
    let mut seen = world.observed();
    seen.database = Seen::Unknown("nobody answers".into());
    let plan = decide(&world.resource, &Environment::default(), &seen).unwrap().plan;
    restarts(&plan).into_iter().map(str::to_owned).collect()
}

/// Two of three that were heard went down together.
#[test]
fn nodes_that_are_heard_are_left_alone_though_they_are_not_ready_and_older_than_the_spec() {
    let mut world = at_rest(3);
    for slot in ["shop-b-0", "shop-c-0"] {
        *world.process(slot) = Process { ready: false, ..OUTDATED };
    }
    assert_eq!(restarts(&world.plan()), [""; 0]);
    assert_eq!(restarts_while_silent(&world), [""; 0], "they may serve");
    // One that is not heard, and that nothing depends on, is another matter, once it alone is away.
    world.silent = Some("shop-b-0".into());
    assert_eq!(restarts(&world.plan()), [""; 0]);
    world.process("shop-c-0").ready = true;
    assert_eq!(restarts(&world.plan()), ["shop-b-0"]);
}

/// Regression test: the node waited for a person to correct it.
#[test]
fn a_node_that_runs_and_is_heard_and_never_gets_ready_takes_a_corrected_spec_by_itself() {
    let mut world = at_rest(3);
    let away = |down| Process { ready: false, down: Duration::from_secs(down), ..OUTDATED };
    for slot in ["shop-a-0", "shop-c-0"] {
        *world.process(slot) = OUTDATED;
    }
    *world.process("shop-b-0") = away(299);
    assert_eq!(restarts(&world.plan()), [""; 0], "it may be about to be ready");
    *world.process("shop-b-0") = away(300);
    assert_eq!(restarts(&world.plan()), ["shop-b-0"]);
    assert_eq!(restarts_while_silent(&world), [""; 0], "whether it is needed is not known");
    *world.process("shop-c-0") = away(300);
    assert_eq!(restarts(&world.plan()), [""; 0], "two that are away may be a majority");
    *world.process("shop-c-0") = OUTDATED;
    // Node 1, on shop-a-0, leads.
    (*world.process("shop-a-0"), *world.process("shop-b-0")) = (away(300), OUTDATED);
    assert_eq!(restarts(&world.plan()), [""; 0], "its shards do not go on without it");
}

/// Each of them waited for the others to be ready first.
#[test]
fn what_nobody_has_joined_in_takes_a_corrected_spec_though_several_run() {
    let mut world = at_rest(3);
    world.edit(&spec(6, 3, 3, HASH));
    let plan = world.plan();
    world.apply(&plan, usize::MAX);
    let new = ["shop-a-1", "shop-b-1", "shop-c-1"];
    for slot in new {
        *world.process(slot) = Process { ready: false, down: Duration::from_secs(60), ..OUTDATED };
    }
    assert_eq!(restarts_while_silent(&world), [""; 0], "one may have joined");
    for slot in new {
        let plan = world.plan();
        assert_eq!(restarts(&plan), [slot]);
        world.apply(&plan, usize::MAX);
    }
    assert_eq!(world.plan().waits, [Wait::Joining(new.map(str::to_owned).to_vec())]);
}

/// What leaves waits for the node that is to take its copies, and that node for the corrected spec.
#[test]
fn a_node_that_never_gets_ready_takes_a_corrected_spec_that_takes_another_away_too() {
    let mut world = World::new(&spec(4, 3, 1, HASH));
    world.settle();
    world.edit(&spec(3, 3, 1, HASH));
    for _ in 0..3 {
        let plan = world.plan();
        world.apply(&plan, usize::MAX);
    }
    for slot in ["shop-a-0", "shop-a-1", "shop-a-2", "shop-a-3"] {
        *world.process(slot) = OUTDATED;
    }
    let away = |down| Process { ready: false, down: Duration::from_secs(down), ..OUTDATED };
    *world.process("shop-a-2") = away(299);
    let plan = world.plan();
    assert!(plan.steps.is_empty() && matches!(plan.waits[..], [Wait::Emptying { .. }]), "{plan:?}");
    *world.process("shop-a-2") = away(300);
    assert_eq!(restarts(&world.plan()), ["shop-a-2"]);
    // Somebody else is away.
    world.silent = Some("shop-a-1".into());
    assert_eq!(restarts(&world.plan()), [""; 0]);
    world.silent = None;
    (*world.process("shop-a-0"), *world.process("shop-a-2")) = (away(300), OUTDATED);
    assert_eq!(restarts(&world.plan()), [""; 0], "its shards do not go on without it");
}

#[test]
fn what_cannot_start_is_corrected_one_at_a_time_though_nobody_answers() {
    let mut world = at_rest(3);
    *world.process("shop-a-0") = Process { running: Running::Unplaced, ..BROKEN };
    (*world.process("shop-b-0"), *world.process("shop-c-0")) = (BROKEN, BROKEN);
    assert_eq!(restarts_while_silent(&world), ["shop-b-0"], "what another image may mend comes first");
    let starting = |down| Process { ready: false, down: Duration::from_secs(down), ..Process::STEADY };
    for on_its_way in [Process { running: Running::Replaced, ..BROKEN }, starting(29)] {
        *world.process("shop-b-0") = on_its_way;
        assert_eq!(restarts_while_silent(&world), [""; 0], "{on_its_way:?}");
    }
    // It runs, but cannot serve before others do.
    *world.process("shop-b-0") = starting(30);
    assert_eq!(restarts_while_silent(&world), ["shop-c-0"]);
    *world.process("shop-b-0") = Process { outdated: false, ..BROKEN };
    assert_eq!(restarts_while_silent(&world), [""; 0], "what the spec says now does not start either");
}

/// New nodes cannot join before those that hold the data run again: each of them would be waited for in vain.
#[test]
fn what_holds_data_is_corrected_before_what_nobody_has_joined_in() {
    let mut world = at_rest(3);
    for slot in ["shop-a-0", "shop-b-0", "shop-c-0"] {
        *world.process(slot) = BROKEN;
    }
    let mut seen = world.observed();
    seen.database = Seen::Unknown("nobody answers".into());
    seen.victims = vec![
        skerry_api::Victim { slot: "shop-b-0".into(), node: None },
        skerry_api::Victim { slot: "shop-c-0".into(), node: Some(3) },
    ];
    let plan = decide(&world.resource, &Environment::default(), &seen).unwrap().plan;
    assert_eq!(restarts(&plan), ["shop-c-0"]);
}

#[test]
fn node_is_restarted_only_when_every_other_was_heard_of() {
    let mut world = at_rest(3);
    *world.process("shop-a-0") = OUTDATED;
    world.silent = Some("shop-c-0".into());
    let plan = world.plan();
    assert!(matches!(&plan.waits[..], [Wait::Restarting { why, .. }] if why == "1 nodes silent (n3)"), "{plan:?}");
}

#[test]
fn lost_volume_is_replaced_after_its_time_if_its_node_stays_silent() {
    let mut world = at_rest(3);
    let lost = |down| Process { ready: false, volume_lost: true, down: Duration::from_secs(down), ..Process::STEADY };
    *world.process("shop-b-0") = lost(599);
    world.silent = Some("shop-b-0".into());
    assert!(matches!(&world.plan().waits[..], [Wait::VolumeLost { slot, .. }] if slot == "shop-b-0"));
    *world.process("shop-b-0") = lost(600);
    assert_eq!(world.plan().steps[0], Step::ReplaceVolume { slot: "shop-b-0".into(), silent: false });
    // Heard of after all: the volume is there.
    world.silent = None;
    assert!(world.plan().is_done());
}

#[test]
fn only_a_node_that_is_alone_and_says_it_is_blank_is_told_to_found() {
    let mut world = World::new(&spec(3, 3, 3, HASH));
    let first = world.plan();
    world.apply(&first, 1);
    let mut seen = world.observed();
    (seen.database, seen.founded) = (Seen::Absent, false);
    let steps = |seen: &Observed| decide(&world.resource, &Environment::default(), seen).unwrap().plan.steps;
    assert_eq!(steps(&seen), []);
    seen.blank = Some("shop-a-0".into());
    assert_eq!(steps(&seen), [Step::Found { slot: "shop-a-0".into() }]);
    seen.database = Seen::Unknown("no answer".into());
    assert_eq!(steps(&seen), []);
}

/// The first slot of a database that nobody has founded yet, and what is seen of it.
fn before_founding() -> (World, Observed) {
    let mut world = World::new(&spec(3, 3, 3, HASH));
    let first = world.plan();
    world.apply(&first, 1);
    let mut seen = world.observed();
    (seen.database, seen.founded) = (Seen::Unknown("no answer".into()), false);
    (world, seen)
}

fn first_slot(seen: &mut Observed) -> &mut Slot {
    let Seen::Known(slots) = &mut seen.slots else { panic!("slots that are known") };
    slots.get_mut("shop-a-0").unwrap()
}

#[test]
fn slot_of_an_earlier_spec_makes_way_before_founding_if_it_certainly_founded_nothing() {
    let remove = [Step::RemoveSlot { slot: "shop-a-0".into() }];
    for corrected in [r#"{"zones": ["x"]}"#, r#"{"zones": ["a"], "storage": {"storageClassName": "other"}}"#] {
        let (mut world, mut seen) = before_founding();
        world.edit(corrected);
        let steps = |seen: &Observed| decide(&world.resource, &Environment::default(), seen).unwrap().plan.steps;
        assert_eq!(steps(&seen), [], "it has a volume, and may have founded the database on it");
        first_slot(&mut seen).volume.unmade = true;
        assert_eq!(steps(&seen), remove);
        first_slot(&mut seen).volume.unmade = false;
        (seen.database, seen.blank) = (Seen::Absent, Some("shop-a-0".into()));
        assert_eq!(steps(&seen), remove, "it says itself that it has no identity, and founds nothing for this spec");
    }
}

/// It waited for the founding for ever, and nobody said what to do.
#[test]
fn slot_of_an_earlier_spec_that_has_a_volume_and_cannot_run_is_stuck_and_says_what_to_do() {
    let (mut world, mut seen) = before_founding();
    world.edit(r#"{"zones": ["x"]}"#);
    let plan = |seen: &Observed| decide(&world.resource, &Environment::default(), seen).unwrap().plan;
    assert!(plan(&seen).waits.iter().all(|wait| wait.until() == Until::Soon), "it may say so in a moment");
    let unplaced = Process { ready: false, running: Running::Unplaced, ..Process::STEADY };
    first_slot(&mut seen).process = unplaced;
    let stuck = Wait::FounderUnwanted { slot: "shop-a-0".into() };
    assert_eq!((plan(&seen).steps, plan(&seen).waits[0].clone()), (vec![], stuck.clone()));
    assert_eq!(stuck.until(), Until::Corrected);
    assert!(
        stuck.to_string().contains("annotate the claim data-shop-a-0 with skerry.io/break-glass, delete it"),
        "{stuck}"
    );
    first_slot(&mut seen).volume.set_aside = true;
    assert!(plan(&seen).waits.iter().all(|wait| wait.until() == Until::Soon), "it makes way already");
}

/// Its volume was bound at once, in a zone without hosts: it stayed for ever, whatever the spec said by then.
#[test]
fn slot_that_was_not_told_to_found_makes_way_though_it_has_a_volume_and_nobody_answers() {
    let (mut world, mut seen) = before_founding();
    world.edit(r#"{"zones": ["x"]}"#);
    let volume = first_slot(&mut seen).volume.id.clone().unwrap();
    let founder = Founder { slot: "shop-a-0".to_owned(), volume };
    let steps = |told: Option<Founder>| {
        let founding = Some(Founding { told: told.into_iter().collect() });
        let seen = Observed { founding, ..seen.clone() };
        decide(&world.resource, &Environment::default(), &seen).unwrap().plan.steps
    };
    assert_eq!(steps(None), [Step::RemoveSlot { slot: "shop-a-0".into() }]);
    let other = Founder { volume: "another".to_owned(), ..founder.clone() };
    assert_eq!(steps(Some(other)), [Step::RemoveSlot { slot: "shop-a-0".into() }], "its volume is another");
    assert_eq!(steps(Some(founder)), [], "it may have founded the database");
}

#[test]
fn who_is_to_found_is_written_down_at_the_look_before() {
    let first = World::new(&spec(3, 3, 3, HASH)).plan();
    assert_eq!(first.notes.founding, Some(Founding::default()), "there is nobody yet who could have been told");
    let (world, mut seen) = before_founding();
    (seen.database, seen.blank, seen.founding) = (Seen::Absent, Some("shop-a-0".into()), first.notes.founding);
    let plan = |seen: &Observed| decide(&world.resource, &Environment::default(), seen).unwrap().plan;
    let found = [Step::Found { slot: "shop-a-0".into() }];
    let written = plan(&seen);
    assert_eq!((written.steps.len(), written.notes.founding.as_ref().map(|f| f.told.len())), (0, Some(1)));
    plant(Some(Planted::FounderNotWritten));
    assert_eq!(plan(&seen).steps, found, "the bug is there");
    plant(None);
    seen.founding = written.notes.founding;
    assert_eq!(plan(&seen).steps, found);
    // Of an earlier release's status nobody knows: it is told as before.
    assert_eq!(plan(&Observed { founding: None, ..seen }).steps, found);
}

/// The spec was edited, and edited back while the slot was on its way out: the node would found the database on a volume
/// that no node comes back on.
#[test]
fn slot_that_makes_way_founds_nothing_though_the_spec_says_it_again() {
    let (world, mut seen) = before_founding();
    first_slot(&mut seen).volume.set_aside = true;
    (seen.database, seen.blank) = (Seen::Absent, Some("shop-a-0".into()));
    let plan = decide(&world.resource, &Environment::default(), &seen).unwrap().plan;
    assert_eq!(plan.steps, [Step::RemoveSlot { slot: "shop-a-0".into() }]);
}

/// The order to found it came through after its slot had begun to make way.
#[test]
fn database_that_was_founded_in_a_slot_that_makes_way_is_none_as_long_as_it_has_no_table() {
    let steps =
        |world: &World, seen: &Observed| decide(&world.resource, &Environment::default(), seen).unwrap().plan.steps;
    let (mut world, _) = before_founding();
    let mut seen = Observed { founded: false, ..world.observed() };
    assert_eq!(steps(&world, &seen), [Step::Record(Record::Founded)]);
    first_slot(&mut seen).volume.set_aside = true;
    assert_eq!(steps(&world, &seen), [Step::RemoveSlot { slot: "shop-a-0".into() }]);
    world.settle();
    let mut seen = Observed { founded: false, ..world.observed() };
    let Seen::Known(slots) = &mut seen.slots else { panic!("slots that are known") };
    slots.values_mut().for_each(|slot| slot.volume.set_aside = true);
    assert_eq!(steps(&world, &seen), [Step::Record(Record::Founded)], "it has tables");
}

#[test]
fn founder_that_does_not_run_is_started_as_a_corrected_spec_says() {
    let (world, mut seen) = before_founding();
    first_slot(&mut seen).process = Process { ready: false, running: Running::Unplaced, ..Process::STEADY };
    let plan = |seen: &Observed| decide(&world.resource, &Environment::default(), seen).unwrap().plan;
    assert_eq!(
        (restarts(&plan(&seen)), plan(&seen).waits),
        (vec![], vec![Wait::Founding { slot: "shop-a-0".into(), why: Some("no answer".into()) }])
    );
    first_slot(&mut seen).process.outdated = true;
    assert_eq!(restarts(&plan(&seen)), ["shop-a-0"]);
}

#[test]
fn founding_is_written_down_before_anything_else() {
    let mut world = World::new(&spec(3, 3, 3, HASH));
    let first = world.plan();
    world.apply(&first, 1);
    let mut seen = world.observed();
    seen.founded = false;
    let plan = decide(&world.resource, &Environment::default(), &seen).unwrap().plan;
    assert_eq!(plan.steps, [Step::Record(Record::Founded)]);
}

#[test]
fn missing_slots_come_back_though_nobody_answers() {
    let world = at_rest(3);
    let mut seen = world.observed();
    seen.database = Seen::Unknown("nobody answers".into());
    if let Seen::Known(slots) = &mut seen.slots {
        slots.clear();
    }
    let plan = decide(&world.resource, &Environment::default(), &seen).unwrap().plan;
    assert_eq!((plan.steps.len(), plan.waits.len()), (3, 1), "{plan:?}");
}

#[test]
fn table_taken_out_is_dropped_only_if_the_spec_says_so() {
    let mut world = at_rest(3);
    world.edit(&spec(3, 3, 3, RANGE));
    world.settle();
    assert_eq!(world.copies_max(), 3);
    let (kept, with_both) = (spec(3, 3, 3, RANGE), world.targets().len());
    world.edit(&format!("{}, \"tableRemoval\": \"Drop\"}}", &kept[..kept.len() - 1]));
    world.settle();
    assert_eq!((with_both, world.targets().len()), (9, 3));
}

#[test]
fn node_whose_slot_was_taken_away_is_not_drained_but_gets_it_back() {
    let world = at_rest(3);
    let mut seen = world.observed();
    if let Seen::Known(slots) = &mut seen.slots {
        slots.remove("shop-b-0");
    }
    let plan = decide(&world.resource, &Environment::default(), &seen).unwrap().plan;
    assert_eq!(plan.steps, [Step::AddSlot { slot: "shop-b-0".into(), zone: "b".into() }]);
}

#[test]
fn nobody_is_told_to_leave_before_those_who_come_have_joined() {
    let mut world = at_rest(3);
    world.edit(&spec(3, 3, 2, HASH));
    let chosen = world.plan();
    world.apply(&chosen, usize::MAX);
    let plan = world.plan();
    assert_eq!(plan.steps, [Step::AddSlot { slot: "shop-a-1".into(), zone: "a".into() }]);
    world.apply(&plan, usize::MAX);
    let plan = world.plan();
    assert_eq!((plan.steps, plan.waits), (vec![], vec![Wait::Joining(vec!["shop-a-1".into()])]));
    world.join();
    let plan = world.plan();
    assert!(matches!(&plan.steps[..], [Step::Change(AdminChange::Drain(_))]), "{plan:?}");
}

/// New nodes, which cannot join before the others answer, were started one after the other before those, half a minute for each.
#[test]
fn who_is_away_for_longest_is_started_first_where_nobody_answers() {
    let mut world = World::new(&spec(3, 3, 0, HASH));
    world.settle();
    world.unreachable = true;
    for (slot, seconds) in [("shop-0", 20), ("shop-1", 300), ("shop-2", 40)] {
        let (running, down) = (Running::Failing, Duration::from_secs(seconds));
        *world.process(slot) = Process { ready: false, outdated: true, running, down, ..Process::STEADY };
    }
    assert_eq!(world.plan().steps, [Step::RestartNode { slot: "shop-1".into() }]);
}
