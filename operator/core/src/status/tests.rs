//! What is reported of databases at rest, on their way, and stuck.

use k8s_openapi::jiff::Timestamp;
use skerry_api::Victim;

use super::*;
use crate::environment::Environment;
use crate::observed::{Process, Seen, Slot, SlotVolume};
use crate::testing::{ahead, at_rest, put_quorum_table, resource};

const SPEC: &str = r#"{"zones": ["a", "b", "c"], "tables": [
    {"name": "aircraft", "fragmentation": {"type": "Hash"}}, {"name": "by-carrier", "fragmentation": {"type": "Hash"}}]}"#;

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

fn observed(database: Seen<Status>) -> Observed {
    let slot = |(id, zone): (u64, &str)| (format!("shop-{zone}-0"), slot_at(zone, id));
    let slots = (1..).zip(["a", "b", "c"]).map(slot).collect();
    let kept = DistributedDatabaseStatus { founded: true, ..DistributedDatabaseStatus::default() };
    Observed { slots: Seen::Known(slots), database, ..Observed::kept_by(kept, at(0)) }
}

fn slot_at(zone: &str, id: u64) -> Slot {
    let (zone, address) = (zone.to_owned(), format!("127.0.0.1:{id}"));
    Slot { zone, address, process: Process::STEADY, volume: SlotVolume::default(), held_up: None, host: None }
}

fn told(spec: &str, observed: &Observed, failure: Option<&str>) -> DistributedDatabaseStatus {
    let database = resource(spec);
    let decision = crate::decide(&database, &ahead(), observed);
    status(&database, observed, &decision, failed(failure), &at(1))
}

fn failed(failure: Option<&str>) -> Outcome<'_> {
    Outcome { failure, changing: None }
}

fn conditions_of(status: &DistributedDatabaseStatus) -> Vec<(&str, &str, &str)> {
    status.conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str())).collect()
}

#[test]
fn at_rest_everything_says_so() {
    let status = told(SPEC, &observed(Seen::Known(at_rest(&["a", "b", "c"], 4))), None);
    assert_eq!(
        conditions_of(&status),
        [
            ("Ready", "True", "Settled"),
            ("Available", "True", "EveryShardIsLed"),
            ("Reconciling", "False", "NothingToDo"),
            ("Stalled", "False", "GoingOn"),
            ("Rebalancing", "False", "InPlace"),
        ]
    );
    let shown = (status.nodes.as_deref(), status.survives.as_deref(), status.operation.as_deref());
    assert_eq!(shown, (Some("3/3"), Some("1 zone"), Some("Settled")));
    assert_eq!(status.counts.map(|c| (c.shards, c.settled_shards)), Some((4, 4)));
    assert_eq!((status.plan, status.blocked_by), (None, vec![]));
}

#[test]
fn node_that_is_heard_but_does_not_take_requests_yet_keeps_the_database_from_being_ready() {
    let mut seen = observed(Seen::Known(at_rest(&["a", "b", "c"], 4)));
    if let Seen::Known(slots) = &mut seen.slots {
        slots.get_mut("shop-b-0").unwrap().process.ready = false;
    }
    let status = told(SPEC, &seen, None);
    assert_eq!(conditions_of(&status)[0], ("Ready", "False", "NodesNotReady"));
    assert_eq!(condition(&status.conditions, "Ready").unwrap().message, "shop-b-0 is not ready");
    assert_eq!(status.operation.as_deref(), Some("NodesNotReady"));
}

#[test]
fn the_largest_volume_is_told() {
    let mut seen = observed(Seen::Known(at_rest(&["a", "b", "c"], 4)));
    if let Seen::Known(slots) = &mut seen.slots {
        for (slot, size) in slots.values_mut().zip(["9Gi", "10Gi", "1Ti"]) {
            slot.volume.size = Some(size.to_owned());
        }
    }
    assert_eq!(told(SPEC, &seen, None).volume_size.as_deref(), Some("1Ti"));
}

#[test]
fn unknown_is_never_ready_and_never_false() {
    let status = told(SPEC, &observed(Seen::Unknown("nobody answers".into())), None);
    assert_eq!(
        conditions_of(&status)[..3],
        [
            ("Ready", "False", "DatabaseUnreachable"),
            ("Available", "Unknown", "DatabaseUnreachable"),
            ("Reconciling", "True", "DatabaseUnreachable"),
        ]
    );
    assert_eq!((status.counts, status.survives), (None, None));
}

#[test]
fn refused_spec_is_stalled_with_the_reason() {
    let seen = observed(Seen::Known(at_rest(&["a", "b", "c"], 4)));
    let status = told(r#"{"replicas": 2}"#, &seen, None);
    assert_eq!(conditions_of(&status)[3], ("Stalled", "True", "Invalid"));
    assert_eq!(status.blocked_by[0].message, "replicationFactor wants 3 copies on 2 nodes; it must be between 1 and 2");
}

#[test]
fn what_a_person_has_paused_or_is_to_approve_is_not_stalled() {
    let seen = observed(Seen::Known(at_rest(&["a", "b", "c"], 4)));
    let with = |more: &str| told(&SPEC.replacen('{', &format!("{{{more}, "), 1), &seen, None);
    let status = with(r#""paused": true"#);
    assert_eq!(conditions_of(&status)[0], ("Ready", "False", "Paused"));
    assert_eq!(
        (conditions_of(&status)[3], stopped(&status.conditions)),
        (("Stalled", "False", "Paused"), Some("Paused"))
    );
    let status = with(r#""replicas": 4, "rebalance": {"approval": "Manual"}"#);
    assert_eq!(conditions_of(&status)[3], ("Stalled", "False", "ApprovalAwaited"));
    assert_eq!(stopped(&with(r#""paused": false"#).conditions), None);
}

#[test]
fn table_that_the_spec_does_not_name_is_kept_and_told() {
    let seen = observed(Seen::Known(at_rest(&["a", "b", "c"], 4)));
    let status = told(&SPEC.replace("by-carrier", "other"), &seen, None);
    assert_eq!(status.blocked_by[0].reason, "TableKept");
}

#[test]
fn time_of_a_condition_is_that_of_its_change() {
    let seen = observed(Seen::Known(at_rest(&["a", "b", "c"], 4)));
    let mut database = resource(SPEC);
    let decision = crate::decide(&database, &Environment::default(), &seen);
    database.status = Some(status(&database, &seen, &decision, failed(None), &at(1)));
    let later = status(&database, &seen, &decision, failed(Some("a write failed")), &at(9));
    let time = |type_| condition(&later.conditions, type_).unwrap().last_transition_time.clone();
    assert_eq!((time("Ready"), time("Available")), (at(9), at(1)));
}

#[test]
fn node_that_does_not_run_is_told_of_with_its_zone_and_why() {
    let mut seen = observed(Seen::Known(at_rest(&["a", "b", "c"], 4)));
    if let Seen::Known(slots) = &mut seen.slots {
        let held_up = Some("no host takes it: 0/3 nodes are available".to_owned());
        slots.insert("shop-x-0".into(), Slot { held_up, ..slot_at("x", 4) });
    }
    let status = told(&SPEC.replace(r#""c"]"#, r#""x"]"#), &seen, None);
    let why = r#"shop-x-0, in zone "x", does not run: no host takes it: 0/3 nodes are available"#;
    assert!(status.blocked_by.iter().any(|b| (b.reason.as_str(), b.message.as_str()) == ("NodeHeldUp", why)));
    assert!(condition(&status.conditions, "Ready").unwrap().message.ends_with(why), "{:?}", status.conditions);
}

#[test]
fn node_whose_disk_has_stalled_is_named() {
    let mut database = at_rest(&["a", "b", "c"], 4);
    let (report, _) = database.nodes.iter_mut().find(|(report, _)| report.node.0 == 2).unwrap();
    report.disk_stalled = true;
    let status = told(SPEC, &observed(Seen::Known(database)), None);
    let told: Vec<_> = status.blocked_by.iter().filter(|blocked| blocked.reason == "DiskStalled").collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].message.contains("n2") && told[0].message.contains("leads nothing"), "{}", told[0].message);
}

#[test]
fn node_whose_store_is_doubtful_is_named_with_the_way_out() {
    let mut database = at_rest(&["a", "b", "c"], 4);
    database.nodes.iter_mut().filter(|(report, _)| report.node.0 == 2).for_each(|(r, _)| r.store_doubtful = true);
    let status = told(SPEC, &observed(Seen::Known(database)), None);
    let told: Vec<_> = status.blocked_by.iter().filter(|blocked| blocked.reason == "StoreDoubtful").collect();
    assert_eq!(told.len(), 1);
    assert!(
        told[0].message.starts_with("n2 goes on") && told[0].message.contains("skerry.io/replace"),
        "{}",
        told[0].message
    );
}

#[test]
fn choice_of_who_leaves_is_told_once_it_is_written_down() {
    let mut seen = observed(Seen::Known(at_rest(&["a", "b", "c", "c"], 4)));
    if let Seen::Known(slots) = &mut seen.slots {
        slots.insert("shop-c-1".into(), slot_at("c", 4));
    }
    let chosen = vec![Victim { slot: "shop-c-1".into(), node: Some(4) }];
    assert_eq!(told(SPEC, &seen, None).victims, chosen);
    assert_eq!(told(SPEC, &seen, Some("failed to write")).victims, []);
}

/// The usual tables, and a Quorum table with more of its consistency.
fn with_cart(more: &str) -> String {
    let cart = format!(
        r#"{{"name": "cart", "fragmentation": {{"type": "Hash", "shards": 1}},
            "consistency": {{"type": "Quorum"{more}}}}}, "#
    );
    SPEC.replacen(r#"{"name": "aircraft""#, &(cart + r#"{"name": "aircraft""#), 1)
}

#[test]
fn reads_that_may_miss_writes_are_told_of_and_hold_nothing_up() {
    let mut database = at_rest(&["a", "b", "c"], 4);
    put_quorum_table(&mut database, "cart", &[&[1, 2, 3]]);
    let seen = observed(Seen::Known(database));
    let warned = |more: &str| {
        let status = told(&with_cart(more), &seen, None);
        let warning = status.blocked_by.into_iter().find(|blocked| blocked.reason == "ReadsMayMissWrites");
        warning.map(|warning| warning.message)
    };
    assert_eq!(warned(""), None);
    assert_eq!(warned(r#", "writeQuorum": 3, "readQuorum": 1"#), None);
    assert_eq!(
        warned(r#", "readQuorum": 1"#).as_deref(),
        Some(
            "table \"cart\": a write waits for 2 of 3 copies, and a read asks 1: a read may miss the latest write; reads \
             see every write if writeQuorum and readQuorum are together at least 4"
        )
    );
    // It is not there yet, and is told of all the same; and what is told of is as the spec says.
    let not_there =
        told(&with_cart(r#", "writeQuorum": 1"#), &observed(Seen::Known(at_rest(&["a", "b", "c"], 4))), None);
    assert!(not_there.blocked_by.iter().any(|blocked| blocked.reason == "ReadsMayMissWrites"));
    let mut seen = seen;
    if let Seen::Known(database) = &mut seen.database {
        let map = std::sync::Arc::make_mut(&mut database.map);
        let mut table = map.table_named("cart").unwrap().clone();
        let resolve = Resolve::LastWriterWins;
        table.consistency = Consistency::Quorum { write: 2, read: 1, resolve };
        map.put_table(table);
    }
    let status = told(&with_cart(r#", "readQuorum": 1"#), &seen, None);
    assert_eq!(conditions_of(&status)[0], ("Ready", "True", "Settled"), "{:?}", status.blocked_by);
}

#[test]
fn siblings_that_are_given_up_are_told_of_until_every_shard_goes_by_the_last_writer() {
    let mut database = at_rest(&["a", "b", "c"], 4);
    put_quorum_table(&mut database, "cart", &[&[1, 2, 3]]);
    let told = |database: &Status, more: &str| {
        let status = told(&with_cart(more), &observed(Seen::Known(database.clone())), None);
        status.blocked_by.into_iter().find(|blocked| blocked.reason == "SiblingsGivenUp").map(|entry| entry.message)
    };
    let last_writer = r#", "conflictResolution": "LastWriterWins""#;
    assert_eq!(told(&database, last_writer), None);
    let map = std::sync::Arc::make_mut(&mut database.map);
    let shard = map.shards.values().find(|shard| shard.quorum.is_some()).unwrap().clone();
    let table = map.table_named("cart").unwrap().clone();
    let quorum = shard.quorum.map(|quorum| skerry_core::map::QuorumRecord { resolve: Resolve::Siblings, ..quorum });
    map.put_shard(skerry_core::map::ShardRecord { quorum, ..shard.clone() });
    let message = told(&database, last_writer).expect("a shard keeps them yet");
    assert!(message.contains("\"cart\"") && message.contains("drops the others"), "{message}");
    let map = std::sync::Arc::make_mut(&mut database.map);
    map.put_shard(shard);
    let consistency = Consistency::Quorum { write: 2, read: 2, resolve: Resolve::Siblings };
    map.put_table(skerry_core::map::TableRecord { consistency, ..table });
    assert!(told(&database, last_writer).is_some());
    assert_eq!(told(&database, ""), None, "what the spec leaves out stays");
    assert_eq!(told(&database, r#", "conflictResolution": "Siblings""#), None);
}

#[test]
fn quorum_shard_is_available_as_long_as_w_and_r_of_its_copies_are() {
    let mut database = at_rest(&["a", "b", "c"], 4);
    put_quorum_table(&mut database, "cart", &[&[1, 2, 3]]);
    let whole = told(&with_cart(""), &observed(Seen::Known(database.clone())), None);
    assert_eq!(conditions_of(&whole)[..2], [("Ready", "True", "Settled"), ("Available", "True", "EveryShardIsLed")]);
    assert_eq!(whole.counts.as_ref().map(|c| (c.tables, c.shards, c.settled_shards)), Some((2, 5, 5)));
    assert_eq!(whole.survives.as_deref(), Some("1 zone"));
    // The leaders stay: all are on node 1.
    database.nodes.retain(|(report, _)| report.node.0 == 1);
    let alone = told(&with_cart(""), &observed(Seen::Known(database)), None);
    assert_eq!(conditions_of(&alone)[1], ("Available", "False", "ShardsWithoutQuorum"));
    let message = &condition(&alone.conditions, "Available").unwrap().message;
    assert_eq!(message, "1 shards of Quorum tables with fewer copies than reads or writes need");
}

#[test]
fn quorum_table_that_waits_for_a_release_is_reconciling_and_not_stalled() {
    let mut database = at_rest(&["a", "b", "c"], 4);
    // The latest start that the map has: what it runs is known.
    database.nodes.iter_mut().for_each(|(report, _)| report.incarnation.0 = 1);
    let status = told(&with_cart(""), &observed(Seen::Known(database)), None);
    let conditions = conditions_of(&status);
    assert_eq!(conditions[2..4], [("Reconciling", "True", "FormatLevelAwaited"), ("Stalled", "False", "GoingOn")]);
    let waits = &status.blocked_by[0];
    assert!(waits.message.contains("shop-a-0 (n1)") && waits.message.contains("later release"), "{}", waits.message);
}

/// What is held up for this reason, in words.
fn blocked_for(status: &DistributedDatabaseStatus, reason: &str) -> Vec<String> {
    status.blocked_by.iter().filter(|entry| entry.reason == reason).map(|entry| entry.message.clone()).collect()
}

fn with_slot(seen: &mut Observed, name: &str, change: impl FnOnce(&mut Slot)) {
    let Seen::Known(slots) = &mut seen.slots else { panic!("slots that are known") };
    change(slots.get_mut(name).unwrap());
}

/// The operator's own network, or its names, may be why: nobody was told.
#[test]
fn founding_that_waits_for_a_node_that_does_not_answer_says_why() {
    let mut seen = Observed { founded: false, ..observed(Seen::Unknown("failed to look up shop-a-0".into())) };
    if let Seen::Known(slots) = &mut seen.slots {
        slots.retain(|name, _| name == "shop-a-0");
    }
    let told = blocked_for(&told(SPEC, &seen, None), "Founding");
    assert_eq!(told, ["shop-a-0 is to found the database, and does not answer: failed to look up shop-a-0"]);
}

/// A quota, or a rule of admission, refuses the pod: there is none that could say why it does not run.
#[test]
fn slot_that_nobody_makes_a_pod_for_says_where_to_look() {
    let mut seen = observed(Seen::Known(at_rest(&["a", "b", "c"], 4)));
    let missing = |seconds: u64| Process {
        ready: false,
        running: crate::Running::Replaced,
        down: std::time::Duration::from_secs(seconds),
        ..Process::STEADY
    };
    let mut told_after = |process| {
        with_slot(&mut seen, "shop-b-0", |slot| slot.process = process);
        blocked_for(&told(SPEC, &seen, None), "NodeHeldUp")
    };
    assert_eq!(told_after(missing(59)), [""; 0]);
    let why = "shop-b-0, in zone \"b\", does not run: nobody makes its pod: see kubectl describe statefulset shop-b";
    assert_eq!(told_after(missing(60)), [why]);
    assert_eq!(told_after(Process { ending: true, ..missing(60) }), [""; 0], "there is a pod");
}

/// Somebody has taken the mark of its claim away, and its slot is used again.
#[test]
fn node_that_is_late_where_one_has_left_says_what_to_do_if_it_is_on_the_volume_of_that() {
    let mut database = at_rest(&["a", "b", "c", "c"], 4);
    let map = std::sync::Arc::make_mut(&mut database.map);
    let last = skerry_core::map::NodeRecord { state: NodeState::Removed, ..map.nodes.values().last().unwrap().clone() };
    map.put_node(last);
    let mut seen = observed(Seen::Known(database));
    if let Seen::Known(slots) = &mut seen.slots {
        let process = Process { ready: false, down: std::time::Duration::from_secs(60), ..Process::STEADY };
        slots.insert("shop-c-1".into(), Slot { process, ..slot_at("c", 4) });
    }
    let told = blocked_for(&told(&SPEC.replacen('{', r#"{"replicas": 4, "#, 1), &seen, None), "NodesLate");
    let what = "n4, which was there last, has left the database: if shop-c-1 is on its volume, it never joins; the \
                annotation skerry.io/replace=shop-c-1 gives it an empty one";
    assert!(told.len() == 1 && told[0].contains(what), "{told:?}");
}

/// It was ignored in silence.
#[test]
fn replacement_that_is_not_known_to_mean_the_node_that_is_there_is_told_of() {
    let told_with = |asked: &str, replacement: Replacement| {
        let mut seen = observed(Seen::Known(at_rest(&["a", "b", "c"], 4)));
        with_slot(&mut seen, "shop-b-0", |slot| slot.volume.id = Some("claim".to_owned()));
        seen.replacement = Some(replacement);
        let mut database = resource(SPEC);
        database.metadata.annotations = Some([(skerry_api::REPLACE.to_owned(), asked.to_owned())].into());
        let decision = crate::decide(&database, &Environment::default(), &seen);
        let steps = decision.as_ref().unwrap().plan.steps.clone();
        let status = status(&database, &seen, &decision, failed(None), &at(1));
        (steps, blocked_for(&status, "ReplacedBefore"))
    };
    let (slot, none) = ("shop-b-0".to_owned(), None::<i64>);
    let lost = Replacement { slot, node: none, volume: None, done_by: none };
    let came_later = Replacement { volume: Some("claim".to_owned()), ..lost.clone() };
    let why = "shop-b-0 is not replaced: skerry.io/replace was there before its node n2, or when the status was written \
               anew; take the annotation out, or set it to shop-b-0/n2 to replace that node";
    for noted in [lost, came_later.clone()] {
        assert_eq!(told_with("shop-b-0", noted), (vec![], vec![why.to_owned()]));
    }
    let done = Replacement { done_by: Some(2), ..came_later.clone() };
    assert!(told_with("shop-b-0", done).1[0].contains("and node n2 came"));
    let of_it = Replacement { node: Some(2), ..came_later };
    assert_eq!(told_with("shop-b-0", of_it).1, [""; 0], "it is under way");
}

/// It was told to be ready as soon as the claims had been asked for more.
#[test]
fn volume_that_is_smaller_than_the_spec_says_is_told_of_and_only_what_it_has_counts() {
    let size = r#"{"storage": {"size": "20Gi"}, "#;
    let told_with = |asked: &str, has: &str| {
        let mut seen = observed(Seen::Known(at_rest(&["a", "b", "c"], 4)));
        with_slot(&mut seen, "shop-b-0", |slot| {
            slot.volume.size = Some(asked.to_owned());
            slot.volume.capacity = Some(has.to_owned());
        });
        let status = told(&SPEC.replacen('{', size, 1), &seen, None);
        (conditions_of(&status)[0].2.to_owned(), status.volume_size.unwrap(), status.blocked_by.len())
    };
    assert_eq!(told_with("20Gi", "10Gi"), ("VolumesGrowing".to_owned(), "10Gi".to_owned(), 1));
    assert_eq!(told_with("20Gi", "20Gi"), ("Settled".to_owned(), "20Gi".to_owned(), 0));
    // Storage that gives more than was asked for does not bind the spec to that.
    assert_eq!(told_with("20Gi", "100Gi"), ("Settled".to_owned(), "20Gi".to_owned(), 0));
    // The claim asks for more than the spec says by now, and may yet get it.
    assert_eq!(told_with("10Ti", "20Gi"), ("Settled".to_owned(), "20Gi".to_owned(), 1));
}
