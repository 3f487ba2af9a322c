//! Records and layouts say the same, and W and R fit however many copies there are.

use super::*;
use crate::ids::{Epoch, NodeId, TableId};
use crate::map::{Descriptor, Fragmentation};
use crate::quorum::shown::Resolve;

fn set(members: &[u64], write: usize, read: usize) -> Copies {
    Copies { members: members.iter().map(|id| ReplicaId(*id)).collect(), write, read }
}

fn record(members: &[u64], assigned: &[u64]) -> ShardRecord {
    let copy = |id: &u64| Replica { node: NodeId(id + 10), id: ReplicaId(*id) };
    let member = |id: &u64| Member { replica: copy(id), role: Role::Voter };
    let members = members.iter().map(member).collect();
    let descriptor = Descriptor { generation: Generation(4), members, ..Descriptor::default() };
    let (current, resolve) = (Quorums { write: 2, read: 2 }, Resolve::Siblings);
    let quorum = Some(QuorumRecord { current, change: None, resolve, is_unsure: false });
    let assigned = assigned.iter().map(copy).collect();
    ShardRecord { descriptor, target: Vec::new(), assigned, epoch: Epoch(1), quorum }
}

fn table(replication_factor: u32, write: u32, read: u32) -> TableRecord {
    TableRecord {
        id: TableId(1),
        name: "t".into(),
        fragmentation: Fragmentation::Hash,
        consistency: Consistency::Quorum { write, read, resolve: Resolve::Siblings },
        replication_factor,
        dropped: false,
        epoch: Epoch(1),
    }
}

#[test]
fn a_record_has_the_layout_that_it_was_given_with_roles_and_nodes() {
    let settled = record(&[1, 2, 3], &[2, 3, 4]);
    let of = |layout: Layout, members: &[u64]| {
        let homes = members.iter().map(|id| (ReplicaId(*id), NodeId(id + 10))).collect();
        Layout { homes, ..layout.resolving(Resolve::Siblings) }
    };
    let first = of(Layout::settled(Generation(4), set(&[1, 2, 3], 2, 2)), &[1, 2, 3]);
    assert_eq!(settled.layout(), Some(first.clone()));
    for stage in [Stage::WriteBoth, Stage::ReadNew, Stage::NewOnly] {
        let change = Change { next: set(&[2, 3, 4], 3, 1), stage, began: Generation(5), reads_since: Generation(6) };
        let moving = Layout { generation: Generation(7), change: Some(change), ..first.clone() };
        let moving = of(moving, &[1, 2, 3, 4]);
        let moved = settled.at(&moving);
        assert_eq!(moved.layout(), Some(moving));
        let roles: Vec<_> = moved.descriptor.members.iter().map(|m| (m.replica.node.0, m.role)).collect();
        let [stays, other] = [12, 13].map(|node| (node, Role::Voter));
        assert_eq!(roles, [(11, Role::Outgoing), stays, other, (14, Role::Incoming)]);
        assert!(!moved.assigned_reached());
        let over = moved.at(&Layout::settled(Generation(8), set(&[2, 3, 4], 3, 1)));
        assert!(over.assigned_reached() && over.layout().is_some_and(|layout| layout.change.is_none()));
    }
    assert_eq!(ShardRecord { quorum: None, ..settled }.layout(), None);
}

#[test]
fn another_w_alone_is_under_way_until_it_is_settled() {
    let settled = record(&[1, 2, 3], &[1, 2, 3]);
    assert!(settled.assigned_reached());
    let (began, reads_since) = (Generation(5), Generation(5));
    let change = Change { next: set(&[1, 2, 3], 3, 1), stage: Stage::WriteBoth, began, reads_since };
    let changing = settled.at(&Layout { change: Some(change), ..Layout::settled(began, set(&[1, 2, 3], 2, 2)) });
    assert!(changing.has_assigned() && !changing.assigned_reached());
}

#[test]
fn w_and_r_follow_the_table_once_there_are_as_many_copies_as_it_is_to_have() {
    let wanted = |assigned: &[u64], table: TableRecord| {
        let wanted = record(&[1, 2, 3], assigned).wanted(&table).expect("a quorum shard");
        (wanted.members.len(), wanted.write, wanted.read)
    };
    let is_as_wanted = |assigned: &[u64], table: TableRecord| record(&[1, 2, 3], assigned).is_as_wanted(&table);
    assert!(is_as_wanted(&[1, 2, 3], table(3, 2, 2)) && is_as_wanted(&[1, 2, 3], table(5, 3, 3)));
    let consistency = Consistency::Quorum { write: 2, read: 2, resolve: Resolve::LastWriterWins };
    assert!(!is_as_wanted(&[1, 2, 3], TableRecord { consistency, ..table(3, 2, 2) }), "it has another rule");
    assert!(!is_as_wanted(&[1, 2, 3], table(3, 2, 1)) && !is_as_wanted(&[1, 2, 4], table(3, 2, 2)));
    assert_eq!(wanted(&[1, 2, 4], table(3, 3, 1)), (3, 3, 1));
    assert_eq!(wanted(&[1, 2, 3], table(5, 3, 3)), (3, 2, 2), "until its new copies are assigned");
    assert_eq!(wanted(&[1, 2, 3, 4, 5], table(5, 3, 3)), (5, 3, 3));
    assert_eq!(wanted(&[1, 2, 3, 4], table(5, 3, 3)), (4, 3, 3), "not all can be placed");
    assert_eq!(wanted(&[1, 2], table(5, 3, 3)), (2, 2, 2));
    assert_eq!(wanted(&[1, 2, 3, 4, 5], table(3, 2, 2)), (5, 2, 4));
    assert_eq!(wanted(&[1, 2, 3, 4, 5], table(3, 1, 1)), (5, 1, 1), "no read of it ever saw all");
}

#[test]
fn reads_see_writes_with_any_number_of_copies_if_they_do_with_the_factor() {
    for factor in 1..=7 {
        for (write, read) in (1..=factor).flat_map(|write| (1..=factor).map(move |read| (write, read))) {
            let of_table = Quorums { write, read };
            assert_eq!(of_table.for_copies(factor, factor), of_table);
            for copies in 1..=7 {
                let of_shard = of_table.for_copies(copies, factor);
                assert!((1..=copies).contains(&of_shard.write) && (1..=copies).contains(&of_shard.read));
                assert!(write + read <= factor || of_shard.write + of_shard.read > copies, "{of_table:?}, {copies}");
            }
        }
    }
}
