//! Claims about reports: they come when there is news and now and then, and tell only what the steward does not have.

use super::*;
use crate::ids::{Generation, ReplicaId};
use crate::map::Descriptor;
use crate::time::Version;

fn shard(id: u64, term: u64) -> (ShardId, ShardReport) {
    let descriptor = Descriptor { shard: ShardId(id), ..Descriptor::default() };
    let leader = ReplicaId(1);
    (ShardId(id), ShardReport { descriptor, leader, term, in_sync: Vec::new(), bytes: 0, moving: (0, 0) })
}

/// (version, what it builds on, changed shards, shards that are led no more) of the next report.
fn told(told: &mut Told, led: &[(u64, u64)]) -> (u64, u64, Vec<u64>, Vec<u64>) {
    let (report, _) = told.report(&led.iter().map(|(id, term)| shard(*id, *term)).collect(), &BTreeMap::new());
    let changed = report.changed.iter().map(|report| report.descriptor.shard.0).collect();
    (report.version, report.since, changed, report.resigned.iter().map(|shard| shard.0).collect())
}

#[test]
fn a_report_is_due_at_its_time_and_at_once_when_there_is_news() {
    let mut news = Told::default();
    assert!(news.is_due(REPORT_TICKS + 1));
    told(&mut news, &[(1, 1)]);
    assert!(!news.is_due(REPORT_TICKS + 1));
    assert!(news.is_due(2 * REPORT_TICKS));
    news.tell_soon();
    assert!(news.is_due(REPORT_TICKS + 1));
    told(&mut news, &[(1, 1)]);
    news.tell_all();
    assert!(news.is_due(REPORT_TICKS + 1));
}

#[test]
fn a_report_tells_what_has_changed_since_the_one_before() {
    let mut news = Told::default();
    assert_eq!(told(&mut news, &[(1, 1), (2, 1)]), (1, 0, vec![1, 2], vec![]));
    assert_eq!(told(&mut news, &[(1, 1), (2, 1)]), (1, 1, vec![], vec![]));
    assert_eq!(told(&mut news, &[(1, 1), (2, 2)]), (2, 1, vec![2], vec![]));
    assert_eq!(told(&mut news, &[(2, 2)]), (3, 2, vec![], vec![1]));
    assert_eq!(told(&mut news, &[(1, 1), (2, 2)]), (4, 3, vec![1], vec![]));
}

#[test]
fn whoever_has_missed_something_is_told_all() {
    let mut news = Told::default();
    told(&mut news, &[(1, 1), (2, 1)]);
    news.tell_all();
    assert_eq!(told(&mut news, &[(1, 1)]), (2, 0, vec![1], vec![]));
    assert_eq!(told(&mut news, &[(1, 1)]), (2, 2, vec![], vec![]));
}

fn copies(held: &[(u64, u64)]) -> BTreeMap<ShardId, QuorumReport> {
    let copy = |(shard, held): &(u64, u64)| QuorumReport {
        shard: ShardId(*shard),
        replica: ReplicaId(*shard),
        held: Generation(*held),
        copied: Vec::new(),
        is_complete: true,
        floor: Version(0),
        hints: 0,
        under_way: 0,
        handed_over: Vec::new(),
        bytes: 0,
        layout: None,
    };
    held.iter().map(|told| (ShardId(told.0), copy(told))).collect()
}

/// (version, what it builds on, shards whose copies are made or changed, ended ones, whether that is all).
fn told_copies(told: &mut Told, held: &[(u64, u64)]) -> (u64, u64, Vec<u64>, Vec<u64>, bool) {
    let (led, copies) = told.report(&BTreeMap::new(), &copies(held));
    let changed = copies.changed.iter().map(|copy| copy.shard.0).collect();
    let ended = copies.ended.iter().map(|shard| shard.0).collect();
    (led.version, led.since, changed, ended, copies.is_all)
}

#[test]
fn of_quorum_copies_a_report_tells_what_has_changed_and_what_has_ended() {
    let mut news = Told::default();
    assert_eq!(told_copies(&mut news, &[(1, 1), (2, 1)]), (1, 0, vec![1, 2], vec![], true));
    assert_eq!(told_copies(&mut news, &[(1, 1), (2, 1)]), (1, 1, vec![], vec![], true));
    assert_eq!(told_copies(&mut news, &[(1, 2), (2, 1)]), (2, 1, vec![1], vec![], true));
    assert_eq!(told_copies(&mut news, &[(2, 1)]), (3, 2, vec![], vec![1], true));
    news.tell_all();
    assert_eq!(told_copies(&mut news, &[(2, 1)]), (4, 0, vec![2], vec![], true));
}

#[test]
fn quorum_copies_that_do_not_fit_into_one_report_follow_at_once_and_only_then_are_they_all() {
    let many: Vec<(u64, u64)> = (1..=QUORUM_COPIES_MAX as u64 + 1).map(|shard| (shard, 1)).collect();
    let mut news = Told::default();
    let (version, since, changed, _, is_all) = told_copies(&mut news, &many);
    assert_eq!((version, since, changed.len(), is_all), (1, 0, QUORUM_COPIES_MAX, false));
    assert!(news.is_due(REPORT_TICKS + 1));
    assert_eq!(told_copies(&mut news, &many), (2, 1, vec![QUORUM_COPIES_MAX as u64 + 1], vec![], true));
    assert!(!news.is_due(REPORT_TICKS + 1));
}

#[test]
fn whatever_changes_all_the_time_every_copy_is_told_of_in_its_turn() {
    let count = QUORUM_COPIES_MAX as u64 + 10;
    let all = |held: u64| (1..=count).map(|shard| (shard, held)).collect::<Vec<_>>();
    let mut news = Told::default();
    let mut told: std::collections::BTreeSet<u64> = told_copies(&mut news, &all(1)).2.into_iter().collect();
    assert_eq!(told.len(), QUORUM_COPIES_MAX);
    let next = told_copies(&mut news, &all(2)).2;
    assert_eq!(next[..2], [QUORUM_COPIES_MAX as u64 + 1, QUORUM_COPIES_MAX as u64 + 2]);
    told.extend(next);
    assert_eq!(told.len() as u64, count);
}

/// The system shard was recovered, and nothing goes on before every node has told all.
#[test]
fn whatever_clients_write_all_the_time_a_node_comes_to_have_told_all() {
    let count = 3 * QUORUM_COPIES_MAX as u64;
    let all: Vec<(u64, u64)> = (1..=count).map(|shard| (shard, 1)).collect();
    let mut news = Told::default();
    let mut told = |bytes: u64, changed: Option<u64>| {
        let mut copies = copies(&all);
        copies.values_mut().for_each(|copy| copy.bytes = bytes);
        changed.and_then(|shard| copies.get_mut(&ShardId(shard))).into_iter().for_each(|copy| copy.held.0 = 2);
        news.report(&BTreeMap::new(), &copies).1
    };
    let is_all: Vec<bool> = (0..5).map(|tick| told(tick, None).is_all).collect();
    assert_eq!(is_all, [false, false, true, true, true]);
    // What one holds is told at once, and the counts in their turn.
    let report = told(6, Some(7));
    assert!(report.is_all && report.changed.iter().any(|copy| copy.held == Generation(2)));
    let mut seen: std::collections::BTreeSet<ShardId> = report.changed.iter().map(|copy| copy.shard).collect();
    (7..10).for_each(|tick| seen.extend(told(tick, Some(7)).changed.iter().map(|copy| copy.shard)));
    assert_eq!(seen.len() as u64, count);
}

#[test]
fn a_node_that_leads_nothing_says_so_once() {
    let mut news = Told::default();
    assert_eq!(told(&mut news, &[]), (1, 0, vec![], vec![]));
    assert_eq!(told(&mut news, &[]), (1, 1, vec![], vec![]));
}

#[test]
fn what_does_not_fit_into_one_report_follows_at_once_and_builds_on_it() {
    let many: Vec<(u64, u64)> = (1..=LED_SHARDS_MAX as u64 + 1).map(|id| (id, 1)).collect();
    let mut news = Told::default();
    let (version, since, changed, _) = told(&mut news, &many);
    assert_eq!((version, since, changed.len()), (1, 0, LED_SHARDS_MAX));
    assert!(news.is_due(REPORT_TICKS + 1));
    assert_eq!(told(&mut news, &many), (2, 1, vec![LED_SHARDS_MAX as u64 + 1], vec![]));
    assert!(!news.is_due(REPORT_TICKS + 1));
}
