//! A node that lacks more of some shards than their leaders' logs have, while clients overwrite all of their records.

use skerry_core::command::{Command, Mutation, Outcome};
use skerry_core::ids::{NodeId, ShardId, TableId, Token};
use skerry_core::node::{Answer, Input};
use skerry_core::replica::ReplicaView;

use crate::harness::{Cluster, table_on};

const RECORDS: usize = 300;
/// Far less than is written while a snapshot is under way.
const LOG_BYTES_MAX: usize = 60_000;
const PREIMAGE_BYTES_MAX: usize = 20_000;

/// A cluster in which followers of shards are away, or come back, and lack more than the leaders' logs have.
pub(crate) struct Behind {
    pub(crate) cluster: Cluster,
    pub(crate) table: TableId,
    /// Where the keys of each shard begin.
    prefixes: &'static [&'static str],
    pub(crate) late: Vec<NodeId>,
    written: usize,
    /// Of each write.
    tokens: Vec<(usize, Token)>,
}

impl Behind {
    /// One node of three has a copy of one shard to catch up. It comes back so many ticks later than it might: it must not
    /// matter when in the rounds of the nodes the transfer begins.
    pub(crate) fn new(later: u64) -> Self {
        Self::of(&["a"], (3, 1), later)
    }

    /// So many of all nodes are late, and lack records of the shards of all keys with these prefixes.
    pub(crate) fn of(prefixes: &'static [&'static str], (nodes, late): (u64, usize), later: u64) -> Self {
        let mut cluster = Cluster { memory: Some((LOG_BYTES_MAX, PREIMAGE_BYTES_MAX)), ..Cluster::default() }.begin();
        let nodes: Vec<NodeId> =
            (1..=nodes).map(|number| if number == 1 { NodeId(1) } else { cluster.join(number) }).collect();
        let table = table_on(&mut cluster, &nodes);
        cluster.settle();
        cluster.run(later);
        let mut behind = Self { cluster, table, prefixes, late: Vec::new(), written: 0, tokens: Vec::new() };
        behind.put_all();
        let leader = behind.leader(prefixes[0]);
        let may_go = nodes.iter().copied().filter(|node| *node != leader && *node != NodeId(1));
        behind.late = may_go.take(late).collect();
        let away: Vec<_> = behind.late.iter().map(|node| (*node, behind.cluster.hosts.remove(node).unwrap())).collect();
        behind.put_all();
        behind.cluster.run(60);
        behind.cluster.hosts.extend(away);
        behind
    }

    pub(crate) fn key(&self, number: usize) -> String {
        format!("{}{:04}", self.prefixes[number % self.prefixes.len()], number % RECORDS)
    }

    fn put_all(&mut self) {
        for number in 0..RECORDS {
            let key = self.key(number);
            self.cluster.put(self.table, &key, &"v".repeat(500));
        }
    }

    pub(crate) fn shard(&self, prefix: &str) -> ShardId {
        let newest = self.cluster.hosts.values().map(|host| host.node.map()).max_by_key(|map| map.epoch).unwrap();
        newest.route(self.table, prefix.as_bytes()).unwrap().descriptor.shard
    }

    /// The steward moves leaderships about while a node is away.
    pub(crate) fn leader(&self, key: &str) -> NodeId {
        self.cluster.leader_of(self.table, key.as_bytes()).unwrap()
    }

    /// One tick, and ten records overwritten all over the shards.
    pub(crate) fn overwrite(&mut self) {
        for _ in 0..10 {
            self.written += 1;
            let key = self.key(self.written * 7);
            let Some(leader) = self.cluster.leader_of(self.table, key.as_bytes()) else { continue };
            let value = format!("{}{}", self.written, "w".repeat(500));
            // Without request ids: these are part of snapshots, which would grow with every write.
            let put = Mutation::Put { key: key.into(), value: value.into(), expires_ms: None };
            let command = Command { request: None, conditions: vec![], mutations: vec![put] };
            let token = self.cluster.token();
            self.tokens.push((self.written, token));
            self.cluster.input(leader, Input::Write { token, table: self.table, command });
        }
        self.cluster.run(1);
    }

    pub(crate) fn view(&self, node: NodeId, prefix: &str) -> Option<ReplicaView> {
        self.cluster.hosts.get(&node)?.node.replica(self.shard(prefix)).map(|replica| replica.view())
    }

    /// True once every late node has caught up with every shard.
    pub(crate) fn has_caught_up(&self) -> bool {
        let has = |node: NodeId, prefix: &str| {
            let late = self.view(node, prefix).filter(|late| !late.is_blank);
            let leader = self.cluster.leader_of(self.table, prefix.as_bytes());
            let in_sync = leader.and_then(|leader| self.view(leader, prefix)).map(|leader| leader.in_sync);
            late.is_some_and(|late| in_sync.unwrap_or_default().contains(&late.replica))
        };
        self.late.iter().all(|node| self.prefixes.iter().all(|prefix| has(*node, prefix)))
    }

    /// Entries that are committed, in all of the shards.
    pub(crate) fn committed(&self) -> u64 {
        let of = |prefix: &&str| self.view(self.leader(prefix), prefix).map_or(0, |leader| leader.committed);
        self.prefixes.iter().map(of).sum()
    }

    /// Writes go on until all have caught up. The number of ticks that it takes; panics with more than so many.
    pub(crate) fn catches_up(&mut self, ticks_max: u64, what: &str) -> u64 {
        let mut ticks = 0;
        while !self.has_caught_up() {
            self.overwrite();
            ticks += 1;
            assert!(ticks <= ticks_max, "writes outrun the snapshot {what}");
        }
        ticks
    }

    /// Nothing of what was acknowledged is lost, and nothing waits for ever.
    pub(crate) fn all_is_written(&mut self) {
        self.cluster.run(60);
        let answers = |(number, token): &(usize, Token)| Some((*number, self.cluster.answers.get(token)?));
        let answers: Vec<_> = self.tokens.iter().filter_map(answers).collect();
        assert_eq!(answers.len(), self.tokens.len(), "all are answered");
        let is_applied = |answer: &Answer| matches!(answer, Answer::Write(Ok(Outcome::Applied(_))));
        let applied: Vec<_> = answers.into_iter().filter(|(_, answer)| is_applied(answer)).map(|(n, _)| n).collect();
        // Those that wait when leadership moves are told so, and would be sent again.
        let last = *applied.last().expect("some are written meanwhile");
        let key = self.key(last * 7);
        let value = self.cluster.get(self.table, &key).unwrap();
        let number: usize = String::from_utf8_lossy(&value).trim_end_matches('w').parse().unwrap();
        assert!(number >= last, "{key} is of write {number}, and {last} was acknowledged");
    }
}
