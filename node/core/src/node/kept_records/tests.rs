//! Claims about what is kept of a quorum shard, and what of it counts at the next start.

use super::*;
use crate::ids::TableId;
use crate::map::{Consistency, Descriptor, Fragmentation, Quorums};
use crate::quorum::shown::Resolve;
use crate::replica::tests::Memory;

fn records(epoch: u64) -> (TableRecord, ShardRecord) {
    let table = TableRecord {
        id: TableId(7),
        name: "carts".to_owned(),
        fragmentation: Fragmentation::Range,
        consistency: Consistency::Quorum { write: 2, read: 2, resolve: Resolve::Siblings },
        replication_factor: 3,
        dropped: false,
        epoch: Epoch(epoch),
    };
    let current = Quorums { write: 2, read: 2 };
    let quorum = Some(QuorumRecord { current, change: None, resolve: Resolve::Siblings, is_unsure: false });
    let descriptor = Descriptor { shard: ShardId(9), table: table.id, ..Descriptor::default() };
    (table, ShardRecord { descriptor, epoch: Epoch(epoch), quorum, ..ShardRecord::default() })
}

#[test]
fn what_was_kept_last_is_there_again_and_older_than_anything_that_is_told() {
    let (engine, mut owner) = (Memory::default(), KeptRecords::default());
    assert_eq!(kept(&engine, ShardId(9)).unwrap(), None);
    for epoch in [4, 6] {
        let (table, record) = records(epoch);
        assert!(!owner.has(&table, &record));
        engine.write(vec![owner.keep(&table, &record).unwrap()]).unwrap();
        assert!(owner.has(&table, &record));
    }
    assert_eq!(kept(&engine, ShardId(9)).unwrap(), Some(records(0)));
    owner.forget(ShardId(9));
    let (table, record) = records(6);
    assert!(!owner.has(&table, &record), "a copy that comes anew is kept anew");
}

#[test]
fn a_shard_that_follows_a_leader_is_not_kept_and_what_is_damaged_is_passed_over() {
    let (table, record) = records(4);
    let record = ShardRecord { quorum: None, ..record };
    assert_eq!(KeptRecords::default().keep(&table, &record), None);
    let engine = Memory::default();
    let key = shard_key(ShardId(9), state::RECORD, &[]);
    engine.write(vec![EngineWrite::Put(key, vec![0x7f, 1].into())]).unwrap();
    assert_eq!(kept(&engine, ShardId(9)).unwrap(), None);
}
