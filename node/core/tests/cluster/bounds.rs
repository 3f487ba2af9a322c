//! What one client, one disk, one clock or one admin must not do to all others.

use bytes::Bytes;
use skerry_core::command::{Command, Mutation, Outcome, Read, ReadConsistency, ReadResult, RequestId};
use skerry_core::ids::{Epoch, Incarnation, NodeId, ShardId, TableId, Token};
use skerry_core::map::NodeState;
use skerry_core::node::{AdminReply, AdminRequest, Answer, Input, Refusal, Removal};
use skerry_core::system::{AdminChange, Fence, SystemCommand, SystemRefusal};
use skerry_core::time::Version;

use crate::harness::{Cluster, three_nodes, three_nodes_of};

const YEAR: u64 = 31_536_000_000;

fn put(key: &str, issued: Option<Version>, sequence: u64) -> Command {
    let request = issued.map(|issued| RequestId { issued, client: 9, sequence });
    let key = Bytes::copy_from_slice(key.as_bytes());
    let put = Mutation::Put { key, value: Bytes::from_static(b"x"), expires_ms: None };
    Command { request, conditions: vec![], mutations: vec![put] }
}

fn delete(key: &str) -> Command {
    let mutations = vec![Mutation::Delete { key: Bytes::copy_from_slice(key.as_bytes()) }];
    Command { request: None, conditions: vec![], mutations }
}

/// More requests from the end of time than a shard remembers, then one from now. True if that is carried out.
fn writes_go_on_after_requests_from_the_future() -> bool {
    let (mut cluster, _, table) = three_nodes_of(Cluster::start_with(Some(8)));
    for sequence in 0..20 {
        match cluster.try_write(table, &put("a", Some(Version(u64::MAX)), sequence)) {
            Err(Refusal::RequestTooNew { allowed, .. }) => {
                let wall_ms = cluster.now.wall_ms;
                assert!((wall_ms..wall_ms + 2_000).contains(&allowed.wall_ms()), "{allowed}");
            }
            Ok(_) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    let stamp = cluster.hosts[&NodeId(1)].node.stamp(cluster.now);
    assert!(stamp.wall_ms() <= cluster.now.wall_ms + 1_000, "{stamp}");
    let now = Version::at_ms(cluster.now.wall_ms);
    let outcomes = ["a", "z"].map(|key| cluster.try_write(table, &put(key, Some(now), 100)));
    outcomes.iter().all(|outcome| matches!(outcome, Ok(Outcome::Applied(_))))
}

#[test]
fn one_client_from_the_future_does_not_end_the_writes_of_others() {
    assert!(writes_go_on_after_requests_from_the_future());
}

#[test]
fn what_the_refusal_of_a_request_allows_is_taken() {
    let (mut cluster, _, table) = three_nodes_of(Cluster::start_with(Some(8)));
    let Err(Refusal::RequestTooNew { allowed, .. }) = cluster.try_write(table, &put("a", Some(Version(u64::MAX)), 1))
    else {
        panic!("taken")
    };
    let mut floor = Version(0);
    // More than are remembered, all at the very edge: even then the next one finds a time that is taken.
    for sequence in 2..60 {
        match cluster.try_write(table, &put("a", Some(allowed.max(Version(floor.0 + 1))), sequence)) {
            Ok(Outcome::Applied(_)) => {}
            Ok(Outcome::RequestTooOld { floor: at }) => floor = at,
            other => panic!("{sequence}: {other:?}"),
        }
    }
}

/// A follower's disk is full: what a put, a delete and then, with the disk free again, a put come to.
fn with_a_full_follower() -> (Result<Outcome, Refusal>, NodeId) {
    let (mut cluster, nodes, table) = three_nodes();
    assert!(matches!(cluster.try_write(table, &put("a", None, 0)), Ok(Outcome::Applied(_))));
    let leader = cluster.leader_of(table, b"a").unwrap();
    let full = *nodes.iter().find(|node| **node != leader).unwrap();
    cluster.input(full, Input::Disk { full: true, bytes: 1 });
    cluster.run(2);
    let answer = cluster.try_write(table, &put("a", None, 0));
    assert!(matches!(cluster.try_write(table, &delete("a")), Ok(Outcome::Applied(_))));
    cluster.input(full, Input::Disk { full: false, bytes: 1 });
    cluster.run(2);
    assert!(matches!(cluster.try_write(table, &put("a", None, 0)), Ok(Outcome::Applied(_))));
    (answer, full)
}

#[test]
fn a_put_is_refused_by_name_while_a_followers_disk_is_full_and_deletes_are_taken() {
    let (answer, full) = with_a_full_follower();
    assert_eq!(answer, Err(Refusal::DiskFull { node: full }));
}

#[test]
fn a_full_node_that_is_dead_does_not_stop_the_writes_of_those_that_live() {
    let (mut cluster, nodes, table) = three_nodes();
    let leader = cluster.leader_of(table, b"a").unwrap();
    let full = *nodes.iter().find(|node| **node != leader && **node != NodeId(1)).unwrap();
    cluster.input(full, Input::Disk { full: true, bytes: 1 });
    cluster.run(2);
    assert_eq!(cluster.try_write(table, &put("a", None, 0)), Err(Refusal::DiskFull { node: full }));
    cluster.hosts.remove(&full);
    cluster.run(40);
    assert!(matches!(cluster.try_write(table, &put("a", None, 0)), Ok(Outcome::Applied(_))));
}

/// A follower that was away comes back with a full disk, and needs a snapshot. True if it took none of it while full.
fn a_full_node_takes_no_snapshot() -> bool {
    let (mut cluster, nodes, table) = three_nodes();
    cluster.settle();
    let shard = cluster.hosts[&NodeId(1)].node.map().route(table, b"a").unwrap().descriptor.shard;
    let leader = cluster.leader_of(table, b"a").unwrap();
    let late = *nodes.iter().find(|node| **node != leader && **node != NodeId(1)).unwrap();
    let away = cluster.hosts.remove(&late).unwrap();
    for number in 0..200 {
        cluster.put(table, &format!("a{number}"), &"x".repeat(1_000));
    }
    cluster.run(60);
    cluster.hosts.insert(late, away);
    cluster.input(late, Input::Disk { full: true, bytes: 1 });
    let applied = |cluster: &Cluster| {
        let view = cluster.hosts[&late].node.replica(shard).unwrap().view();
        if view.is_blank { 0 } else { view.applied.0 }
    };
    let before = applied(&cluster);
    cluster.run(400);
    let took_none = applied(&cluster) == before;
    cluster.input(late, Input::Disk { full: false, bytes: 1 });
    for _ in 0..100 {
        cluster.run(10);
        if applied(&cluster) > before + 100 {
            return took_none;
        }
    }
    panic!("no snapshot after there was room again");
}

#[test]
fn a_node_with_a_full_disk_takes_no_snapshot_until_it_has_room() {
    assert!(a_full_node_takes_no_snapshot());
}

/// Every leader in turn has a clock that is a year ahead: the time of the latest version that was given, less the time.
fn version_ahead_ms() -> u64 {
    let (mut cluster, nodes, table) = three_nodes();
    let mut ahead_ms = 0;
    for node in nodes {
        cluster.ahead_ms = [(node, YEAR)].into();
        cluster.run(20);
        for key in ["a", "k", "z"] {
            let Outcome::Applied(version) = cluster.write(table, &put(key, None, 0)) else { panic!("not applied") };
            ahead_ms = version.wall_ms().saturating_sub(cluster.now.wall_ms).max(ahead_ms);
        }
    }
    ahead_ms
}

/// A node is down, and the clock of one of the two others, which starts anew, is a year ahead for a while. True if a record
/// that ends in an hour is there afterwards.
fn survives_a_mad_clock_beside_one_other() -> bool {
    let (mut cluster, nodes, table) = three_nodes();
    let (key, value) = (Bytes::from_static(b"a"), Bytes::from_static(b"x"));
    let expires_ms = Some(cluster.now.wall_ms + 3_600_000);
    let mutations = vec![Mutation::Put { key, value, expires_ms }];
    let outcome = cluster.try_write(table, &Command { request: None, conditions: vec![], mutations });
    assert!(matches!(outcome, Ok(Outcome::Applied(_))), "{outcome:?}");
    cluster.run(60);
    cluster.hosts.remove(&nodes[2]);
    cluster.ahead_ms = [(nodes[1], YEAR)].into();
    let mad = cluster.hosts.remove(&nodes[1]).unwrap();
    cluster.run(40);
    cluster.restart(mad);
    for _ in 0..20 {
        cluster.run(20);
        // Whoever leads, the other takes over.
        if cluster.leader_of(table, b"a") == Some(nodes[0]) {
            cluster.input(nodes[0], Input::StepAside);
        }
        let _ = cluster.try_write(table, &put("a2", None, 0));
    }
    cluster.ahead_ms.clear();
    cluster.run(40);
    cluster.get(table, "a").is_some()
}

#[test]
fn what_one_clock_of_two_says_has_ended_is_not_deleted() {
    assert!(survives_a_mad_clock_beside_one_other());
}

#[test]
fn one_mad_clock_of_three_lifts_no_version() {
    assert!(version_ahead_ms() <= 1_000);
}

fn drained() -> (Cluster, NodeId) {
    let (mut cluster, _, _) = three_nodes();
    let four = cluster.join(4);
    cluster.change(AdminChange::Drain(four));
    cluster.run(60);
    (cluster, four)
}

fn remove(node: NodeId, epoch: Epoch) -> SystemCommand {
    SystemCommand::Admin { fence: Fence { token: 1, based_on: Some(epoch) }, change: AdminChange::Remove(node) }
}

#[test]
fn a_node_is_removed_on_the_stewards_own_certificate_only() {
    let (mut cluster, four) = drained();
    let epoch = cluster.hosts[&NodeId(1)].node.map().epoch;
    assert_eq!(cluster.refusal(&remove(four, epoch)), SystemRefusal::Uncertified(four));
    let asked = AdminRequest::CertifyRemoval { node: four, incarnation: Incarnation(1) };
    let AdminReply::Removal(Removal::Safe(certificate)) = cluster.admin(asked.clone()) else { panic!("not safe") };
    let other = Epoch(certificate.epoch.0 - 1);
    assert_eq!(cluster.refusal(&remove(four, other)), SystemRefusal::Uncertified(four));
    cluster.run(700);
    assert_eq!(cluster.refusal(&certificate.removal(1)), SystemRefusal::Uncertified(four), "it is too old by now");
    let AdminReply::Removal(Removal::Safe(certificate)) = cluster.admin(asked) else { panic!("not safe") };
    cluster.admin(AdminRequest::Command(certificate.removal(1)));
    cluster.run(20);
    assert_eq!(cluster.hosts[&NodeId(1)].node.map().nodes[&four].state, NodeState::Removed);
    cluster.admin(AdminRequest::Command(certificate.removal(1)));
}

#[test]
fn words_and_keys_of_admin_commands_have_a_longest_length() {
    let mut cluster = Cluster::start();
    let long = "x".repeat(301);
    let node = |volume: &str, address: &str, zone: &str| {
        let (volume, address, zone) = (volume.to_owned(), address.to_owned(), zone.to_owned());
        SystemCommand::Join(skerry_core::system::NewNode { volume, address, zone })
    };
    for command in [node(&long, "a:1", "z"), node("v", &long, "z"), node("v", "a:1", &long)] {
        assert!(matches!(cluster.refusal(&command), SystemRefusal::TooLong { bytes: 301, allowed: 300, .. }));
    }
}

#[test]
fn no_number_of_a_client_stops_a_node() {
    use skerry_core::command::{Condition, Expected};
    let (mut cluster, nodes, table) = three_nodes_of(Cluster::start_with(Some(8)));
    let worst = [0, 1, u64::MAX - 1, u64::MAX, 1 << 63, (1 << 46) << 18];
    let key = Bytes::from_static(b"a");
    for number in worst {
        let mutation = Mutation::Put { key: key.clone(), value: Bytes::new(), expires_ms: Some(number) };
        let expected = Expected::Version(Version(number));
        for conditions in [vec![], vec![Condition { key: key.clone(), expected }]] {
            for issued in worst {
                let request = RequestId { issued: Version(issued), client: number, sequence: number };
                let mutations = vec![mutation.clone()];
                let command = Command { request: Some(request), conditions: conditions.clone(), mutations };
                let _answer = cluster.try_write(table, &command);
            }
        }
        let scan = Read::Scan { start: Bytes::new(), end: None, limit: usize::try_from(number).unwrap() };
        for read in [Read::Get { key: key.clone() }, scan] {
            let consistency = ReadConsistency::BoundedStaleness(number);
            for node in nodes {
                let token = cluster.token();
                cluster.input(node, Input::Read { token, table, read: read.clone(), consistency });
            }
        }
        let token = cluster.token();
        let no_table = TableId(u32::MAX);
        cluster.input(NodeId(1), Input::Write { token, table: no_table, command: put("a", None, number) });
        let limits = skerry_core::map::MoveLimits { moves_per_node: u32::MAX, bytes_per_second: number.max(1 << 20) };
        cluster.change(AdminChange::SetLimits(limits));
        cluster.input(NodeId(2), Input::Disk { full: false, bytes: number });
        cluster.run(4);
    }
    let now = Version::at_ms(cluster.now.wall_ms);
    assert!(matches!(cluster.try_write(table, &put("a", Some(now), 3)), Ok(Outcome::Applied(_))));
    assert_eq!(cluster.get(table, "a"), Some(Bytes::from_static(b"x")));
}

fn ask_bounded(cluster: &mut Cluster, node: NodeId, table: TableId, bound_ms: u64) -> Token {
    let (token, read) = (cluster.token(), Read::Get { key: Bytes::from_static(b"a") });
    let consistency = ReadConsistency::BoundedStaleness(bound_ms);
    cluster.input(node, Input::Read { token, table, read, consistency });
    token
}

/// What a read has found, if it was answered well.
fn value(answer: Option<Answer>) -> Option<Bytes> {
    match answer {
        Some(Answer::Read(Ok(ReadResult::Value(record)))) => record.map(|record| record.value),
        Some(Answer::Read(_) | Answer::Write(_) | Answer::Admin(_)) | None => None,
    }
}

/// Nobody knows how far a follower is behind: that is more than any bound.
#[test]
fn a_copy_of_unknown_age_answers_no_bounded_read_however_wide_the_bound_and_a_leader_answers_any() {
    let (mut cluster, nodes, table) = three_nodes();
    cluster.put(table, "a", "1");
    let leader = cluster.leader_of(table, b"a").unwrap();
    let follower = *nodes.iter().find(|node| **node != leader).unwrap();
    let asked = ask_bounded(&mut cluster, follower, table, u64::MAX);
    let answer = cluster.answers.remove(&asked);
    assert!(matches!(answer, Some(Answer::Read(Err(Refusal::TooStale { behind_ms: u64::MAX })))), "{answer:?}");
    assert!(cluster.get(table, "a").is_some(), "the leader has its lease now");
    let asked = ask_bounded(&mut cluster, leader, table, 0);
    assert_eq!(value(cluster.answers.remove(&asked)), Some(Bytes::from_static(b"1")));
}

/// A shard at rest, its leader, and its table.
fn shard_at_rest() -> (Cluster, NodeId, TableId) {
    let (mut cluster, nodes, table) = three_nodes();
    cluster.put(table, "a", "1");
    cluster.settle();
    cluster.run(400);
    let leader = cluster.leader_of(table, b"a").unwrap();
    let shard = shard_of(&cluster, leader, table);
    let view = |node| cluster.hosts[node].node.replica(shard).unwrap().view();
    assert!(nodes.iter().all(|node| view(node).is_quiescent), "nothing happens to it");
    (cluster, leader, table)
}

fn shard_of(cluster: &Cluster, node: NodeId, table: TableId) -> ShardId {
    cluster.hosts[&node].node.map().route(table, b"a").unwrap().descriptor.shard
}

/// What a bounded read finds at the leader of a shard at rest.
fn bounded_read_where_nobody_else_reads() -> Result<Option<Bytes>, Refusal> {
    let (mut cluster, leader, table) = shard_at_rest();
    let asked = ask_bounded(&mut cluster, leader, table, 0);
    cluster.run(1);
    let Some(Answer::Read(answer)) = cluster.answers.remove(&asked) else { panic!("no answer") };
    answer?;
    // With the lease that this has brought, the next one is answered at once.
    let asked = ask_bounded(&mut cluster, leader, table, 0);
    Ok(value(cluster.answers.remove(&asked)))
}

#[test]
fn a_leader_that_nobody_else_reads_from_answers_a_bounded_read_once_it_is_confirmed() {
    assert_eq!(bounded_read_where_nobody_else_reads(), Ok(Some(Bytes::from_static(b"1"))));
}

/// What it has may be older than any bound.
#[test]
fn a_leader_that_is_cut_off_answers_no_bounded_read_however_wide_the_bound() {
    let (mut cluster, leader, table) = shard_at_rest();
    cluster.silenced = Some(shard_of(&cluster, leader, table));
    let asked = ask_bounded(&mut cluster, leader, table, u64::MAX);
    cluster.run(60);
    let answer = cluster.answers.remove(&asked);
    assert!(matches!(answer, Some(Answer::Read(Err(Refusal::NotLeader { .. })))), "{answer:?}");
}

/// A leader with a lease has heard that a write is committed, and its own disk does not let it apply that: what a bounded
/// read finds at once, and what it finds once it is applied.
fn bounded_read_before_all_is_applied() -> [Option<Bytes>; 2] {
    let (mut cluster, _, table) = three_nodes();
    cluster.put(table, "a", "1");
    assert!(cluster.get(table, "a").is_some(), "the leader has its lease now");
    let leader = cluster.leader_of(table, b"a").unwrap();
    cluster.hung.insert(leader);
    cluster.put_at(leader, table, "a", "2");
    cluster.run(4);
    let replica = cluster.hosts[&leader].node.replica(shard_of(&cluster, leader, table)).unwrap();
    let view = replica.view();
    assert!(replica.holds_lease(cluster.now) && view.applied.0 < view.committed, "{view:?}");
    let asked = ask_bounded(&mut cluster, leader, table, 0);
    let at_once = value(cluster.answers.remove(&asked));
    cluster.mend_disk(leader);
    cluster.run(1);
    [at_once, value(cluster.answers.remove(&asked))]
}

#[test]
fn a_bounded_read_waits_until_what_is_committed_is_applied() {
    assert_eq!(bounded_read_before_all_is_applied(), [None, Some(Bytes::from_static(b"2"))]);
}

#[cfg(feature = "planted")]
mod planted {
    use skerry_core::planted::{Planted, plant};

    use super::*;

    fn with<T>(bug: Planted, run: impl FnOnce() -> T) -> T {
        plant(Some(bug));
        let found = run();
        plant(None);
        found
    }

    #[test]
    fn bugs_of_bounds_are_caught() {
        assert!(!with(Planted::IssuedInFuture, writes_go_on_after_requests_from_the_future));
        let (answer, _) = with(Planted::FollowersDiskIgnored, with_a_full_follower);
        assert!(answer.is_ok());
        assert!(!with(Planted::SnapshotToFullDisk, a_full_node_takes_no_snapshot));
        assert!(!with(Planted::TimeUnconfirmed, survives_a_mad_clock_beside_one_other));
        let [at_once, _] = with(Planted::BoundedReadByLeaseAlone, bounded_read_before_all_is_applied);
        assert_eq!(at_once, Some(Bytes::from_static(b"1")));
        assert!(with(Planted::BoundedReadByLeaseAlone, bounded_read_where_nobody_else_reads).is_err());
        let (mut cluster, four) = drained();
        let epoch = cluster.hosts[&NodeId(1)].node.map().epoch;
        let removed = || cluster.admin(AdminRequest::Command(remove(four, epoch)));
        assert!(matches!(with(Planted::RemovedUncertified, removed), AdminReply::Command(_)));
    }
}
