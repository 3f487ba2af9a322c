//! Quorum tables: what they wait for, and what of them is changed.

use skerry_core::level::FormatLevel;
use skerry_core::map::{Consistency, Quorums};
use skerry_core::quorum::shown::Resolve;

use super::*;
use crate::observed::Process;
use crate::planted::plant;
use crate::testing::ahead;

/// A Quorum table, with more of its consistency and of itself.
pub(super) fn cart(consistency: &str, more: &str) -> String {
    format!(
        r#"{{"name": "cart", "fragmentation": {{"type": "Hash", "shards": 4}},
            "consistency": {{"type": "Quorum"{consistency}}}{more}}}"#
    )
}

/// A settled database of so many nodes of a release that has Quorum tables, with these tables.
fn settled(replicas: u32, tables: &str) -> World {
    let mut world = World::new(&spec(replicas, 3, 3, tables));
    world.release = FormatLevel::QUORUM;
    world.settle();
    world
}

fn quorum(write: u32, read: u32, resolve: Resolve) -> Consistency {
    Consistency::Quorum { write, read, resolve }
}

#[test]
fn quorum_table_waits_for_the_last_node_of_an_older_release_and_holds_nothing_up() {
    let mut world = World::new(&spec(3, 3, 3, ""));
    world.settle();
    world.edit(&spec(3, 3, 3, &format!("{}, {HASH}", cart("", ""))));
    let plan = world.plan();
    assert!(matches!(&plan.steps[..], [Step::Change(AdminChange::CreateTable { .. })]), "{plan:?}");
    world.settle_but_for_waits();
    assert!(world.table("sales").is_some() && world.table("cart").is_none());
    let plan = world.plan();
    assert!(plan.is_waiting_for_long(), "{plan:?}");
    let [wait] = &plan.waits[..] else { panic!("{plan:?}") };
    assert_eq!(
        wait.to_string(),
        "table cart to be made: Quorum tables need format level 3, and the database has 1; shop-a-0 (n1), shop-b-0 (n2), \
         shop-c-0 (n3) to run a later release: see spec.image"
    );
    assert_eq!((wait.reason(), wait.until()), ("FormatLevelAwaited", Until::Later));

    // Nodes get their new release meanwhile.
    world.process("shop-a-0").outdated = true;
    // The steward, which is on the first, comes last.
    world.process("shop-c-0").outdated = true;
    assert_eq!(world.plan().steps, [Step::RestartNode { slot: "shop-c-0".into() }]);
    *world.process("shop-c-0") = Process::STEADY;
    assert_eq!(world.plan().steps, [Step::RestartNode { slot: "shop-a-0".into() }]);
    *world.process("shop-a-0") = Process::STEADY;
    (world.release, world.older) = (FormatLevel::QUORUM, Some("shop-b-0".to_owned()));
    world.settle_but_for_waits();
    let told = world.plan().waits[0].to_string();
    assert!(told.ends_with("; shop-b-0 (n2) to run a later release: see spec.image"), "{told}");
    let mut seen = world.observed();
    let Seen::Known(status) = &mut seen.database else { panic!("a database that is known") };
    status.nodes.retain(|(report, _)| report.node != NodeId(2));
    let plan = decide(&world.resource, &ahead(), &seen).unwrap().plan;
    let told = plan.waits.iter().map(ToString::to_string).find(|told| told.contains("cart")).unwrap();
    assert!(told.ends_with("; shop-b-0 (n2) to say what release they run"), "{told}");

    world.older = None;
    world.settle();
    assert_eq!(world.table("cart").unwrap().consistency, quorum(2, 2, Resolve::LastWriterWins));
}

/// It is the release of this operator that the resource is held against, not that of the nodes.
#[test]
fn database_goes_on_where_it_may_have_no_quorum_table_yet() {
    let mut world = World::new(&spec(3, 3, 3, &cart("", "")));
    world.settle_but_for_waits();
    world.edit(&spec(4, 3, 3, &cart("", "")));
    world.settle_but_for_waits();
    assert_eq!((world.slots().len(), world.nodes().count()), (4, 4));
    world.edit(&spec(3, 3, 3, &cart("", "")));
    world.settle_but_for_waits();
    assert_eq!(world.slots().len(), 3);
    assert_eq!(world.plan().waits.len(), 1, "{:?}", world.plan());
}

#[test]
fn w_r_and_the_rule_are_altered_where_they_are_edited_and_nothing_moves() {
    let mut world = settled(3, &cart("", ""));
    let targets = world.targets();
    let edited = cart(r#", "writeQuorum": 3, "readQuorum": 1, "conflictResolution": "Siblings""#, "");
    world.edit(&spec(3, 3, 3, &edited));
    let table = world.table("cart").unwrap().id;
    let (quorums, resolve) = (Quorums { write: 3, read: 1 }, Resolve::Siblings);
    let alter = AdminChange::AlterQuorumTable { table, replication_factor: 3, quorums, resolve };
    assert_eq!(world.plan().steps, [Step::Change(alter)]);
    world.settle();
    assert_eq!((world.table("cart").unwrap().consistency, world.targets()), (quorum(3, 1, resolve), targets));
}

/// What became siblings is lost with the next write where the last writer wins.
#[test]
fn siblings_are_given_up_only_where_the_spec_says_so() {
    let siblings = r#", "conflictResolution": "Siblings""#;
    let mut world = settled(3, &cart(siblings, ""));
    world.edit(&spec(3, 3, 3, &cart("", "")));
    assert_eq!(world.plan().steps, []);
    world.edit(&spec(3, 3, 3, &cart(r#", "readQuorum": 1"#, "")));
    world.settle();
    assert_eq!(world.table("cart").unwrap().consistency, quorum(2, 1, Resolve::Siblings));
    world.edit(&spec(3, 3, 3, &cart(r#", "conflictResolution": "LastWriterWins""#, "")));
    world.settle();
    assert_eq!(world.table("cart").unwrap().consistency, quorum(2, 2, Resolve::LastWriterWins));
}

#[test]
fn w_and_r_that_nobody_has_given_follow_the_number_of_copies() {
    let mut world = settled(5, &cart(r#", "readQuorum": 1"#, ""));
    for (copies, write) in [(5, 3), (1, 1), (4, 3), (2, 2), (3, 2)] {
        let more = format!(r#", "replicationFactor": {copies}"#);
        world.edit(&spec(5, 3, 3, &cart(r#", "readQuorum": 1"#, &more)));
        let plan = world.plan();
        let is_one = |step: &Step| matches!(step, Step::Change(AdminChange::AlterQuorumTable { .. }));
        assert!(plan.steps.len() == 1 && is_one(&plan.steps[0]), "{copies}: {plan:?}");
        world.settle();
        let table = world.table("cart").unwrap();
        assert_eq!(table.replication_factor, copies);
        assert_eq!(table.consistency, quorum(write, 1, Resolve::LastWriterWins), "{copies} copies");
        let of_cart = world.targets().into_iter().filter(|target| target.len() == copies as usize);
        assert!(of_cart.count() >= 4, "{:?}", world.targets());
    }
}

/// The schema refuses such an edit; a table that was taken out and put back comes through.
#[test]
fn table_of_the_other_kind_stays_as_it_is_and_the_way_is_told() {
    let mut world = settled(5, &format!("{}, {HASH}", cart("", "")));
    let (tables, targets) = (["cart", "sales"].map(|t| world.table(t).cloned()), world.targets());
    let led = r#"{"name": "cart", "fragmentation": {"type": "Hash", "shards": 4}, "replicationFactor": 2}"#;
    let other =
        cart("", r#", "replicationFactor": 5"#).replace("cart", "sales").replace(r#""shards": 4"#, r#""shards": 6"#);
    world.edit(&spec(5, 3, 3, &format!("{led}, {other}")));
    world.settle_but_for_waits();
    assert_eq!((["cart", "sales"].map(|t| world.table(t).cloned()), world.targets()), (tables, targets));
    let told: Vec<String> = world.plan().waits.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "table \"cart\" is a Quorum table and stays one: name another table, and copy the records into it",
            "table \"sales\" is a Leader table and stays one: name another table, and copy the records into it",
        ]
    );
    assert!(world.plan().waits.iter().all(|wait| wait.until() == Until::Corrected));
}

#[test]
fn nodes_come_go_and_restart_under_a_quorum_table() {
    let mut world = settled(3, &format!("{}, {HASH}", cart("", "")));
    for replicas in [5, 3] {
        world.edit(&spec(replicas, 3, 3, &format!("{}, {HASH}", cart("", ""))));
        world.settle();
        assert_eq!(world.slots().len(), replicas as usize);
    }
    world.process("shop-b-0").outdated = true;
    assert_eq!(world.plan().steps, [Step::RestartNode { slot: "shop-b-0".into() }]);
    // With one away, nobody else is.
    world.silent = Some("shop-c-0".to_owned());
    world.process("shop-c-0").ready = false;
    assert_eq!(world.plan().steps, []);
}

#[test]
fn new_quorum_table_waits_for_moves_that_a_person_has_approved_as_any_other_does() {
    let mut world = settled(3, HASH);
    let edited = spec(4, 3, 3, &format!("{HASH}, {}", cart("", "")));
    world.edit(&edited.replacen('{', r#"{"rebalance": {"approval": "Manual"}, "#, 1));
    let id = world.plan().approval.expect("moves to approve");
    world.resource.metadata.annotations = Some([(skerry_api::APPROVED_PLAN.to_owned(), id)].into());
    let plan = world.plan();
    world.apply(&plan, usize::MAX);
    world.join();
    let plan = world.plan();
    assert!(matches!(&plan.steps[..], [Step::Change(AdminChange::SetTargets(_))]), "{plan:?}");
    world.settle();
    assert!(world.table("cart").is_some());
}

#[test]
fn quorum_table_that_is_asked_for_too_early_is_noticed() {
    let mut world = World::new(&spec(3, 3, 3, ""));
    world.settle();
    world.edit(&spec(3, 3, 3, &cart("", "")));
    assert_eq!(world.plan().steps, []);
    plant(Some(Planted::QuorumTableTooEarly));
    let steps = world.plan().steps;
    plant(None);
    assert!(matches!(&steps[..], [Step::Change(AdminChange::CreateQuorumTable { .. })]), "{steps:?}");
}
