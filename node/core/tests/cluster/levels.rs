//! Nodes of two releases side by side: what only the newer one reads is not written before all can read it, and from then
//! on the older one is kept out. And what the second format level adds: versions that follow causes.

use bytes::Bytes;
use skerry_core::command::{Command, Mutation, Outcome, RequestId};
use skerry_core::ids::{Incarnation, NodeId, ShardId, TableId};
use skerry_core::level::FormatLevel;
use skerry_core::limits::ISSUED_AHEAD_MS_MAX;
use skerry_core::map::{Fragmentation, Quorums};
use skerry_core::node::{AdminRequest, Identity, Node, NodeConfig, Recovered, Refusal};
use skerry_core::quorum::shown::Resolve;
use skerry_core::system::{AdminChange, Fence, NewShard, SystemCommand, SystemRefusal};
use skerry_core::time::Version;

use crate::harness::{Cluster, Host, new_node, three_nodes, three_nodes_of};

const OLDER: NodeId = NodeId(3);

/// Three nodes, the last of which is of the release before, as the database was.
fn with_an_older_node() -> (Cluster, TableId) {
    let highest_levels = [1, 2, 3].map(|number| (NodeId(number), FormatLevel::FIRST)).into();
    let (mut cluster, _, table) = three_nodes_of(Cluster { highest_levels, ..Cluster::default() }.begin());
    for upgraded in [NodeId(1), NodeId(2)] {
        upgrade(&mut cluster, upgraded);
    }
    (cluster, table)
}

/// The node starts anew, as this release.
fn upgrade(cluster: &mut Cluster, node: NodeId) {
    cluster.highest_levels.remove(&node);
    start_anew(cluster, node);
}

fn start_anew(cluster: &mut Cluster, id: NodeId) {
    let Host { node, engine, logs, .. } = cluster.hosts.remove(&id).unwrap();
    let incarnation = Incarnation(node.identity().incarnation.0 + 1);
    let seeds = node.map().nodes.values().cloned().collect();
    cluster.open_start((id, incarnation), engine, Recovered { logs, ..Recovered::default() }, seeds);
    cluster.run(60);
}

fn enabled(cluster: &Cluster) -> Vec<u32> {
    cluster.hosts.values().map(|host| host.node.map().level.0.0).collect()
}

/// The levels whose rules the copies of the table follow.
fn followed(cluster: &Cluster) -> Vec<u32> {
    let copies = cluster.hosts.values().flat_map(|host| host.node.each_replica());
    copies.map(|copy| copy.summary()).filter(|s| s.shard != ShardId::SYSTEM).map(|s| s.level.0).collect()
}

fn write_all(cluster: &mut Cluster, table: TableId) {
    for key in ["a", "h", "q"] {
        assert!(matches!(cluster.put(table, key, "x"), Outcome::Applied(_)));
    }
    cluster.run(10);
}

#[test]
fn a_level_is_enabled_once_the_last_node_has_it_and_shards_follow_with_their_next_write() {
    let (mut cluster, table) = with_an_older_node();
    write_all(&mut cluster, table);
    assert_eq!((enabled(&cluster), followed(&cluster)), (vec![1; 3], vec![1; 9]));
    assert_eq!(cluster.hosts[&NodeId(1)].node.format_levels(), (FormatLevel::FIRST, FormatLevel::NEWEST));
    // Back to the release before: nothing has been written that it cannot read.
    cluster.highest_levels.insert(NodeId(1), FormatLevel::FIRST);
    start_anew(&mut cluster, NodeId(1));
    write_all(&mut cluster, table);
    for node in [NodeId(1), OLDER] {
        assert_eq!(enabled(&cluster), vec![1; 3]);
        upgrade(&mut cluster, node);
    }
    assert_eq!((enabled(&cluster), followed(&cluster)), (vec![2; 3], vec![1; 9]));
    write_all(&mut cluster, table);
    assert_eq!((enabled(&cluster), followed(&cluster)), (vec![2; 3], vec![2; 9]));
    assert_eq!(cluster.status().map.level.0, FormatLevel(2));
    for node in [NodeId(1), NodeId(2), OLDER] {
        start_anew(&mut cluster, node);
    }
    assert_eq!((enabled(&cluster), followed(&cluster)), (vec![2; 3], vec![2; 9]), "it outlives restarts");
    assert_eq!(cluster.get(table, "a"), Some(Bytes::from_static(b"x")));
}

#[test]
fn a_node_that_is_not_heard_of_keeps_a_level_from_being_enabled() {
    let (mut cluster, table) = with_an_older_node();
    let gone = cluster.hosts.remove(&OLDER).unwrap();
    cluster.run(400);
    assert_eq!(enabled(&cluster), vec![1; 2]);
    cluster.hosts.insert(OLDER, gone);
    upgrade(&mut cluster, OLDER);
    assert_eq!(enabled(&cluster), vec![2; 3]);
    write_all(&mut cluster, table);
}

#[test]
fn an_older_program_does_not_open_what_a_newer_level_wrote_and_says_both_levels() {
    let (mut cluster, _, table) = three_nodes();
    write_all(&mut cluster, table);
    assert_eq!(enabled(&cluster), vec![2; 3]);
    for id in [NodeId(1), NodeId(2), NodeId(3)] {
        let Host { node, engine, logs, .. } = cluster.hosts.remove(&id).unwrap();
        let identity = Identity { incarnation: Incarnation(9), ..node.identity().clone() };
        let config = NodeConfig { highest_level: FormatLevel::FIRST, ..NodeConfig::default() };
        let recovered = Recovered { logs, ..Recovered::default() };
        let error = Node::open(identity, config, recovered, &engine, cluster.now).err().expect("it is newer");
        assert!(!error.is_damage, "{error}");
        for part in ["enabled format level 2", "levels up to 1", "run that version"] {
            assert!(error.message.contains(part), "{error}");
        }
    }
}

#[test]
fn an_older_program_joins_until_a_level_is_enabled_that_it_does_not_have() {
    let (mut cluster, _) = with_an_older_node();
    let fourth = NodeId(4);
    cluster.highest_levels.insert(fourth, FormatLevel::FIRST);
    assert_eq!(cluster.join(4), fourth);
    upgrade(&mut cluster, OLDER);
    assert_eq!(enabled(&cluster), vec![1; 4]);
    upgrade(&mut cluster, fourth);
    assert_eq!(enabled(&cluster), vec![2; 4]);
    let join = SystemCommand::JoinAt { node: new_node(5), level: FormatLevel::FIRST };
    let refusal = cluster.refused(AdminRequest::Command(join));
    assert_eq!(refusal, SystemRefusal::LevelTooLow { level: FormatLevel::FIRST, enabled: FormatLevel(2) });
    assert_eq!(cluster.join(5), NodeId(5));
}

#[test]
fn what_needs_a_level_that_is_not_enabled_is_refused_before_it_is_in_anybodys_log() {
    let (mut cluster, _, _) = three_nodes();
    cluster.run(60);
    let highest = |cluster: &Cluster| cluster.hosts.values().map(|host| host.node.map().epoch).max();
    let before = highest(&cluster);
    let (quorums, resolve) = (Quorums { write: 2, read: 2 }, Resolve::Siblings);
    let change = AdminChange::CreateQuorumTable {
        name: "carts".into(),
        fragmentation: Fragmentation::Hash,
        replication_factor: 3,
        quorums,
        resolve,
        shards: vec![NewShard { start: Bytes::new(), nodes: vec![NodeId(1), NodeId(2), NodeId(3)] }],
    };
    let fence = Fence { token: 1, based_on: None };
    let refusal = cluster.refused(AdminRequest::Command(SystemCommand::Admin { fence, change }));
    let (needed, enabled) = (FormatLevel::QUORUM, FormatLevel::NEWEST);
    assert_eq!(refusal, SystemRefusal::NotEnabled { needed, enabled });
    cluster.run(20);
    assert_eq!(highest(&cluster), before);
}

fn put(key: &str, issued: Version, sequence: u64) -> Command {
    let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::from_static(b"x"));
    let request = Some(RequestId { issued, client: 9, sequence });
    Command { request, conditions: vec![], mutations: vec![Mutation::Put { key, value, expires_ms: None }] }
}

/// Writes to a shard whose leader's clock is ahead, and then, as the client that has seen that, to another shard.
fn cause_and_effect() -> (Version, Version) {
    let (mut cluster, _, table) = three_nodes();
    write_all(&mut cluster, table);
    let leaders = ["a", "h", "q"].map(|key| (key, cluster.leader_of(table, key.as_bytes()).unwrap()));
    let (cause, ahead) = leaders[0];
    let (effect, _) = *leaders.iter().find(|(_, leader)| *leader != ahead).expect("they are spread");
    cluster.ahead_ms.insert(ahead, 450);
    cluster.run(4);
    let now = Version::at_ms(cluster.now.wall_ms);
    let Ok(Outcome::Applied(first)) = cluster.try_write(table, &put(cause, now, 1)) else { panic!("not written") };
    assert!(first.wall_ms() >= now.wall_ms() + 450, "its leader's clock is ahead");
    let Ok(Outcome::Applied(second)) = cluster.try_write(table, &put(effect, first, 2)) else { panic!("not written") };
    (first, second)
}

#[test]
fn a_write_that_another_shards_write_has_caused_has_the_later_version() {
    let (cause, effect) = cause_and_effect();
    assert!(effect > cause, "{effect} after {cause}");
    assert_eq!(effect.wall_ms(), cause.wall_ms(), "and no later than it must be");
}

#[test]
fn what_is_issued_too_far_ahead_of_the_clock_is_refused_and_what_the_shard_has_given_never() {
    let (mut cluster, _, table) = three_nodes();
    write_all(&mut cluster, table);
    let mut try_ahead = |ms: u64, sequence| {
        // Another period passes until it is looked at.
        let issued = Version::at_ms(cluster.now.wall_ms + ms);
        cluster.try_write(table, &put("a", issued, sequence))
    };
    assert!(matches!(try_ahead(ISSUED_AHEAD_MS_MAX + 200, 1), Err(Refusal::RequestTooNew { .. })));
    let Ok(Outcome::Applied(first)) = try_ahead(ISSUED_AHEAD_MS_MAX - 100, 2) else { panic!("not written") };
    // A client that goes on from each answer is never refused, however often: the versions do not run away either.
    let mut last = first;
    for sequence in 3..200 {
        let Ok(Outcome::Applied(next)) = cluster.try_write(table, &put("a", last, sequence)) else {
            panic!("not written")
        };
        assert!(next > last);
        last = next;
    }
    assert!(last.wall_ms() <= cluster.now.wall_ms + ISSUED_AHEAD_MS_MAX, "{last}");
}

#[cfg(feature = "planted")]
#[test]
fn an_effect_before_its_cause_is_noticed() {
    skerry_core::planted::plant(Some(skerry_core::planted::Planted::CausalityIgnored));
    let (cause, effect) = cause_and_effect();
    skerry_core::planted::plant(None);
    assert!(effect < cause);
}
