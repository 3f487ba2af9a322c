//! Quorum tables in words: W, R and the rule for values that were written at the same time, how far a change of a shard's
//! copies is, and what a table does not promise.

use serde_json::{Value, json};
use skerry_core::ids::TableId;
use skerry_core::map::{Consistency, Map, Quorums, ShardRecord, TableRecord};
use skerry_core::quorum::layout::Stage;

/// How a table's copies agree, for people.
pub(crate) fn consistency(consistency: Consistency) -> String {
    match consistency {
        Consistency::Leader => "Leader".to_owned(),
        Consistency::Quorum { write, read, resolve } => format!("Quorum W={write} R={read} {resolve:?}"),
    }
}

/// What a quorum table has beside others, for programs. `None` = its copies follow leaders.
pub(crate) fn facts(consistency: Consistency) -> Option<Value> {
    match consistency {
        Consistency::Leader => None,
        Consistency::Quorum { write, read, resolve } => {
            Some(json!({"writeQuorum": write, "readQuorum": read, "conflictResolution": format!("{resolve:?}")}))
        }
    }
}

/// A stage of a change of a quorum shard's copies, by its name.
pub(crate) fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::WriteBoth => "WriteBoth",
        Stage::ReadNew => "ReadNew",
        Stage::NewOnly => "NewOnly",
    }
}

/// How far a change at this stage is, in words.
pub(crate) fn stage_words(stage: Stage) -> &'static str {
    match stage {
        Stage::WriteBoth => "1 of 3, WriteBoth: new copies are written to and copy",
        Stage::ReadNew => "2 of 3, ReadNew: new copies are read",
        Stage::NewOnly => "3 of 3, NewOnly: old copies are left out",
    }
}

/// W and R that a shard changes from and to, where they differ.
pub(crate) fn changing_quorums(shard: &ShardRecord) -> Option<String> {
    let quorum = shard.quorum?;
    let next = quorum.change?.next;
    let words = |Quorums { write, read }: Quorums| format!("W={write} R={read}");
    (quorum.current != next).then(|| format!("{} → {}", words(quorum.current), words(next)))
}

/// Tables whose reads may miss the latest write even while nothing fails.
pub(crate) fn that_may_miss_writes(map: &Map) -> Vec<&TableRecord> {
    let tables = map.tables.values().filter(|table| !table.dropped && table.id != TableId::SYSTEM);
    tables.filter(|table| may_miss_writes(table)).collect()
}

fn may_miss_writes(table: &TableRecord) -> bool {
    let quorums = table.quorums();
    quorums.is_some_and(|Quorums { write, read }| write.saturating_add(read) <= table.replication_factor)
}

/// What such a table does not promise.
pub(crate) fn warning(table: &TableRecord) -> String {
    let Quorums { write, read } = table.quorums().unwrap_or(Quorums { write: 0, read: 0 });
    format!(
        "{}: a read may miss the latest write (W={write} and R={read} of {} copies may be different ones)",
        table.name, table.replication_factor
    )
}

#[cfg(test)]
mod tests {
    use skerry_core::ids::{Epoch, Generation};
    use skerry_core::map::{Fragmentation, QuorumChange, QuorumRecord};
    use skerry_core::quorum::shown::Resolve;

    use super::*;

    fn table(write: u32, read: u32) -> TableRecord {
        TableRecord {
            id: TableId(1),
            name: "cart".to_owned(),
            fragmentation: Fragmentation::Hash,
            consistency: Consistency::Quorum { write, read, resolve: Resolve::Siblings },
            replication_factor: 3,
            dropped: false,
            epoch: Epoch(1),
        }
    }

    #[test]
    fn only_tables_whose_reads_and_writes_may_pass_each_other_are_warned_of() {
        let mut map = Map::default();
        map.put_table(table(2, 2));
        assert!(that_may_miss_writes(&map).is_empty());
        map.put_table(table(1, 2));
        let warned: Vec<_> = that_may_miss_writes(&map).into_iter().map(warning).collect();
        assert_eq!(warned, ["cart: a read may miss the latest write (W=1 and R=2 of 3 copies may be different ones)"]);
        map.put_table(TableRecord { consistency: Consistency::Leader, ..table(1, 1) });
        assert!(that_may_miss_writes(&map).is_empty());
    }

    #[test]
    fn a_change_is_told_by_its_stage_and_by_what_it_changes() {
        let (current, next) = (Quorums { write: 2, read: 2 }, Quorums { write: 3, read: 1 });
        let change = |stage| QuorumChange { next, stage, began: Generation(2), reads_since: Generation(2) };
        let shard = |change| ShardRecord {
            quorum: Some(QuorumRecord { current, change, resolve: Resolve::default(), is_unsure: false }),
            ..ShardRecord::default()
        };
        assert_eq!(changing_quorums(&shard(None)), None);
        for (of, name) in [(Stage::WriteBoth, "WriteBoth"), (Stage::ReadNew, "ReadNew"), (Stage::NewOnly, "NewOnly")] {
            assert_eq!(stage_name(of), name);
            assert!(stage_words(of).contains(name));
            assert_eq!(changing_quorums(&shard(Some(change(of)))).as_deref(), Some("W=2 R=2 → W=3 R=1"));
        }
    }
}
