//! Quorum tables among real processes under load: whatever befalls the copies, every answer is held against what the table
//! and a session promise, and at the end all copies are equal, and hold what was acknowledged.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use skerry_core::history::Rule;
use skerry_core::map::Fragmentation;
use skerry_workload::{Load, QuorumCounts, QuorumTable, QuorumWorkload, tested_keys};

use crate::cluster::{Cluster, eventually};
use crate::tables::Quorums;

/// Clients that write, the first of which has a session, and as many that read.
const WRITERS: usize = 4;
const PACE: Duration = Duration::from_millis(5);
/// Writes of each table between two events.
const BETWEEN: u64 = 100;
/// Copies are equal within this time after the last write.
const EQUAL_WITHIN: Duration = Duration::from_secs(60);

/// Readers and writers of quorum tables, and all that they see.
struct Watched {
    workload: Arc<QuorumWorkload>,
    load: Load,
}

impl Watched {
    /// Makes these tables, and starts to use them.
    async fn start(cluster: &Cluster, tables: &[(&str, Quorums, Rule)]) -> Self {
        let mut watched = Vec::new();
        for &(name, quorums, rule) in tables {
            cluster.quorum_table(name, quorums).await;
            let is_overlapping = (quorums.write + quorums.read) as usize > cluster.nodes.len();
            let keys = tested_keys(&[(name.to_owned(), Fragmentation::Hash)], 1);
            watched.push(QuorumTable { rule, is_overlapping, keys });
        }
        let workload = Arc::new(QuorumWorkload::new(cluster.client().await, watched));
        let mut load = Load::none();
        load.start_quorum(&workload, WRITERS, WRITERS, PACE);
        Self { workload, load }
    }

    fn counts(&self) -> Vec<(String, QuorumCounts)> {
        self.workload.counts()
    }

    /// Waits until so many writes more of each table were acknowledged.
    async fn go_on(&self, what: &str) {
        let before = self.counts();
        eventually(what, async || {
            let now = self.counts();
            now.iter().zip(&before).all(|((_, now), (_, before))| now.acknowledged >= before.acknowledged + BETWEEN)
        })
        .await;
    }

    /// Stops, and checks all that was seen.
    async fn finish(self) {
        let Self { workload, load } = self;
        load.stop().await.unwrap();
        let equal_after = workload.await_equal(&[], EQUAL_WITHIN).await.unwrap_or_else(|error| panic!("{error}"));
        for (table, violations) in workload.violations() {
            assert!(violations.is_empty(), "{table}: {violations:#?}");
        }
        for (table, counts) in workload.counts() {
            eprintln!("{table}: equal after {equal_after:?}, {counts:?}");
        }
    }
}

fn empty(folder: &Path) {
    fs::remove_dir_all(folder).unwrap();
    fs::create_dir(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_comes_back_while_copies_are_killed_and_paused() {
    let mut cluster = Cluster::start_with_quorum_tables(3);
    let tables = [
        ("positions", Quorums::last_writer(2, 2), Rule::LastWriter),
        ("carts", Quorums::siblings(2, 2), Rule::Siblings),
        ("feeds", Quorums::last_writer(1, 1), Rule::LastWriter),
        ("wishes", Quorums::siblings(1, 1), Rule::Siblings),
    ];
    let watched = Watched::start(&cluster, &tables).await;
    watched.go_on("nothing has happened").await;
    cluster.nodes[1].kill();
    watched.go_on("a copy is killed").await;
    for (table, counts) in watched.counts() {
        assert_eq!(counts.unanswered, 0, "{table}: {counts:?}");
    }
    cluster.restart(1);
    cluster.nodes[1].await_ready();
    watched.go_on("it is back").await;
    cluster.nodes[2].signal(Signal::STOP);
    watched.go_on("a copy is paused").await;
    cluster.nodes[2].signal(Signal::CONT);
    watched.go_on("it goes on").await;
    for node in 0..3 {
        cluster.nodes[node].kill();
    }
    for node in 0..3 {
        cluster.nodes[node].start(&[]);
    }
    watched.go_on("all were killed at once").await;
    watched.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_comes_back_when_a_copy_of_three_loses_its_volume() {
    let mut cluster = Cluster::start_with_quorum_tables(3);
    let tables = [
        ("positions", Quorums::last_writer(2, 2), Rule::LastWriter),
        ("carts", Quorums::siblings(2, 2), Rule::Siblings),
    ];
    let watched = Watched::start(&cluster, &tables).await;
    for (node, parts) in [(2, &["log", "store"][..]), (1, &["store"]), (0, &["log"])] {
        watched.go_on("all copies are there").await;
        cluster.nodes[node].kill();
        parts.iter().for_each(|part| empty(&cluster.nodes[node].data().join(part)));
        watched.go_on("a volume is gone").await;
        cluster.restart(node);
        cluster.nodes[node].await_ready();
        watched.go_on("its node is back").await;
        // The next one loses its own only once all is whole: two at a time are more than the tables can bear.
        eventually("its copies are built anew", async || are_even(&cluster).await).await;
    }
    watched.finish().await;
}

/// True if every copy that the map names is complete, and is one that its node has told of.
async fn are_even(cluster: &Cluster) -> bool {
    let status = cluster.database().status().await;
    let told = |node: u64, replica: u64| {
        let copies = status.copies.iter().filter(|copy| copy.node_id == node);
        copies.filter_map(|copy| copy.report.as_ref()).any(|copy| copy.replica_id == replica && copy.is_complete)
    };
    let shards = status.map.iter().flat_map(|map| &map.shards).filter(|shard| shard.quorum.is_some());
    let members = shards.filter_map(|shard| shard.descriptor.as_ref()).flat_map(|shard| &shard.members);
    let replicas: Vec<_> = members.filter_map(|member| member.replica.as_ref()).collect();
    status.lost.is_empty() && !replicas.is_empty() && replicas.iter().all(|copy| told(copy.node_id, copy.id))
}
