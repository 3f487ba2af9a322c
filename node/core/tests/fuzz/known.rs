//! Messages that once ended nodes, destroyed copies, or shut nodes out, one at a time.

use skerry_core::ids::{Epoch, Incarnation, NodeId, ShardId};
use skerry_core::map::MapDelta;
use skerry_core::message::{Beat, LedReport, NodeReport, PeerMessage, RaftKind, Report};
use skerry_core::node::Input;
use skerry_core::system::AdminChange;

use crate::Arena;

impl Arena {
    /// A frame of one node for another.
    fn says(&mut self, from: u64, to: u64, message: PeerMessage) {
        let input = Input::Peer { from: NodeId(from), incarnation: Incarnation(1), messages: vec![message] };
        self.cluster.input(NodeId(to), input);
    }

    /// The map of a node, as it would be if every table had been dropped.
    fn without_tables(&self, node: u64) -> MapDelta {
        let mut delta = self.cluster.hosts[&NodeId(node)].node.map().since(Epoch(0));
        delta.epoch.0 += 1;
        for table in &mut delta.tables {
            (table.dropped, table.epoch) = (true, delta.epoch);
        }
        delta
    }
}

#[test]
fn a_forged_map_destroys_no_copy_and_a_true_one_does() {
    let mut arena = Arena::new();
    for from in 1..=6 {
        for to in 1..=6 {
            let forged = arena.without_tables(to);
            if from != to && from == 2 {
                arena.says(from, to, PeerMessage::Map(forged));
            }
        }
    }
    arena.cluster.run(300);
    assert_eq!(arena.now(), arena.copies);
    for table in [arena.table, arena.carts] {
        arena.cluster.change(AdminChange::DropTable { table });
    }
    arena.cluster.run(100);
    let left = arena.now();
    assert!(left.iter().all(|(_, shard, _)| *shard == ShardId::SYSTEM), "{left:?}");
    assert!(!left.is_empty());
}

#[test]
fn a_forged_start_reaches_no_registry() {
    let mut arena = Arena::new();
    for to in 1..=5 {
        let node = NodeReport { node: NodeId(6), incarnation: Incarnation(u64::MAX), ..NodeReport::default() };
        arena.says(
            6,
            to,
            PeerMessage::Report(Report { node, led: LedReport::all(1, Vec::new()), ..Report::default() }),
        );
        let input = Input::Peer {
            from: NodeId(6),
            incarnation: Incarnation(u64::MAX),
            messages: vec![PeerMessage::Beat(Beat::default())],
        };
        arena.cluster.input(NodeId(to), input);
    }
    arena.cluster.run(100);
    for host in arena.cluster.hosts.values() {
        assert_eq!(host.node.map().nodes[&NodeId(6)].incarnation, Incarnation(1));
    }
    let status = arena.cluster.status();
    assert!(status.nodes.iter().any(|(report, age)| report.node == NodeId(6) && *age < 1_000), "it is shut out");
}

#[test]
fn a_copy_stops_at_an_entry_of_a_newer_release_and_its_node_goes_on() {
    let mut arena = Arena::new();
    let mut views = arena.cluster.hosts[&NodeId(4)].node.replicas();
    let shard = views.find(|view| view.shard != ShardId::SYSTEM && !view.is_leader).unwrap().shard;
    drop(views);
    arena.newer_entries_for = Some((NodeId(4), shard));
    let keys = ["a", "k", "x"];
    for key in keys {
        arena.put_slowly(key);
    }
    arena.newer_entries_for = None;
    let view = |arena: &Arena| arena.cluster.hosts[&NodeId(4)].node.replica(shard).unwrap().view();
    let stopped = view(&arena);
    let index = stopped.unreadable.expect("it has not stopped");
    assert_eq!(stopped.applied.0 + 1, index);
    for key in keys {
        arena.cluster.put(arena.table, key, "later");
    }
    arena.cluster.run(100);
    let later = view(&arena);
    assert_eq!((later.applied, later.unreadable), (stopped.applied, Some(index)));
    assert!(later.committed > stopped.committed && !later.is_leader);
    let others = arena.cluster.hosts[&NodeId(4)].node.replicas().filter(|view| view.shard != shard);
    assert!(others.into_iter().all(|view| view.unreadable.is_none() && view.applied.0 == view.committed));
}

impl Arena {
    /// A write whose entry reaches one node in a form that it cannot read.
    fn put_slowly(&mut self, key: &str) {
        let command = skerry_core::command::Command {
            request: None,
            conditions: Vec::new(),
            mutations: vec![skerry_core::command::Mutation::Delete {
                key: bytes::Bytes::copy_from_slice(key.as_bytes()),
            }],
        };
        for id in self.cluster.hosts.keys().copied().collect::<Vec<_>>() {
            let token = self.cluster.token();
            self.cluster.input(id, Input::Write { token, table: self.table, command: command.clone() });
        }
        for _ in 0..40 {
            for (_, to, messages) in &mut self.cluster.inbox {
                for message in messages {
                    if let PeerMessage::Raft(envelope) = message
                        && self.newer_entries_for == Some((*to, envelope.shard))
                        && envelope.kind == RaftKind::Append
                    {
                        for entry in envelope.entries.iter_mut().filter(|entry| !entry.data.is_empty()) {
                            entry.data = bytes::Bytes::from_static(&[1, 77, 0]);
                        }
                    }
                }
            }
            let Some((from, to, messages)) = self.cluster.inbox.pop_front() else { break };
            self.cluster.input(to, Input::Peer { from, incarnation: Incarnation(1), messages });
        }
        self.cluster.run(10);
    }
}
