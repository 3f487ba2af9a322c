//! The slots, tables and settings that a spec asks for, worked out without a look at what there is.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use skerry_core::key::hash_starts;
use skerry_core::limits::TABLE_SHARDS_MAX;
use skerry_core::map::{Consistency, Fragmentation, MoveLimits, TableRecord};

use crate::observed::ClaimTemplate;
use crate::validate::{Layout, Table, Validated};

/// Shards of a hash table, for each node of the start, if the table does not say.
const HASH_SHARDS_PER_NODE: u32 = 4;

/// The slots, tables and settings that the spec asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The zone of each slot, by the slot's name.
    pub slots: BTreeMap<String, String>,
    /// The tables that there should be, in the spec's order.
    pub tables: Vec<DesiredTable>,
    /// The limits of data moves between nodes.
    pub limits: MoveLimits,
    /// What new volumes are to be.
    pub claims: ClaimTemplate,
    /// Tables that are not among these go after so long, with their data. `None` = they stay.
    pub drops_tables_after: Option<Duration>,
}

/// A table that should be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredTable {
    /// Name of the table, unique in its database.
    pub name: String,
    /// How the table's keys become its ordered range.
    pub fragmentation: Fragmentation,
    /// Number of copies that every shard is to have.
    pub replication_factor: u32,
    /// How the copies of the table's shards are to agree, if it is made now.
    pub consistency: Consistency,
    /// True if the spec says what becomes of values that were written at the same time.
    pub says_resolve: bool,
    /// First encoded keys of the shards that it starts with, if it is made now.
    pub starts: Vec<Bytes>,
    /// True if the spec says which shards there are to be, by their split points or their number.
    pub says_shards: bool,
}

/// How many slots each zone has.
pub type ZoneCounts = BTreeMap<String, usize>;

/// Works it out, given how many slots there are in each zone.
pub fn desired(validated: &Validated, there: &ZoneCounts) -> Desired {
    Desired {
        slots: desired_slots(validated, there),
        tables: validated.tables.iter().map(|t| desired_table(t, validated.replicas)).collect(),
        limits: validated.limits,
        claims: validated.claims.clone(),
        drops_tables_after: validated.drops_tables_after,
    }
}

/// Slots and their zones: spread evenly, and a zone's slots are numbered from 0 and go from its end. Where the zones do not
/// share evenly, those that have one more already keep it: zones are a set, and another order of them moves nothing.
pub fn desired_slots(validated: &Validated, there: &ZoneCounts) -> BTreeMap<String, String> {
    let (name, zones, replicas) = (&validated.name, &validated.zones, validated.replicas as usize);
    if zones.is_empty() {
        return (0..replicas).map(|i| (format!("{name}-{i}"), String::new())).collect();
    }
    let (each, rest) = (replicas / zones.len(), replicas % zones.len());
    let mut in_order: Vec<&String> = zones.iter().collect();
    in_order.sort_by_key(|zone| there.get(*zone).is_none_or(|slots| *slots <= each));
    let counted = in_order.into_iter().enumerate().map(|(i, zone)| (zone, each + usize::from(i < rest)));
    counted.flat_map(|(zone, count)| (0..count).map(move |i| (format!("{name}-{zone}-{i}"), zone.clone()))).collect()
}

/// How many of these slots are in each zone.
pub fn zone_counts<'a>(zones: impl Iterator<Item = &'a str>) -> ZoneCounts {
    let mut counts = ZoneCounts::new();
    zones.for_each(|zone| *counts.entry(zone.to_owned()).or_default() += 1);
    counts
}

fn desired_table(table: &Table, replicas: u32) -> DesiredTable {
    let (fragmentation, starts, says_shards) = match &table.layout {
        Layout::Range(points) => {
            let starts = std::iter::once(Bytes::new()).chain(points.iter().cloned()).collect();
            (Fragmentation::Range, starts, !points.is_empty())
        }
        Layout::Hash(shards) => {
            let count = shards.unwrap_or(replicas.saturating_mul(HASH_SHARDS_PER_NODE)) as usize;
            (Fragmentation::Hash, hash_starts(count.min(TABLE_SHARDS_MAX)), shards.is_some())
        }
    };
    DesiredTable {
        name: table.name.clone(),
        fragmentation,
        replication_factor: table.replication_factor,
        consistency: table.consistency,
        says_resolve: table.says_resolve,
        starts,
        says_shards,
    }
}

impl DesiredTable {
    /// True if the table that is there is of the kind that is desired: its copies follow a leader, or do not. A table that
    /// is of the other kind stays as it is.
    pub(crate) fn is_of_kind(&self, there: &TableRecord) -> bool {
        (self.consistency == Consistency::Leader) == (there.consistency == Consistency::Leader)
    }

    /// How its copies are to agree, which agree in this way now. A rule that the spec leaves out stays what it is: to give
    /// siblings up is for a person to say.
    pub(crate) fn consistency_after(&self, there: Consistency) -> Consistency {
        if let (Consistency::Quorum { write, read, .. }, Consistency::Quorum { resolve, .. }) =
            (self.consistency, there)
            && !self.says_resolve
        {
            return Consistency::Quorum { write, read, resolve };
        }
        self.consistency
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;
    use crate::testing::resource;
    use crate::validate::validate;

    fn slots(spec: &str) -> Vec<String> {
        slots_among(spec, &ZoneCounts::new())
    }

    fn slots_among(spec: &str, there: &ZoneCounts) -> Vec<String> {
        let validated = validate(&resource(spec), &Environment::default()).unwrap();
        desired(&validated, there).slots.into_keys().collect()
    }

    #[test]
    fn slots_are_spread_over_the_zones_and_keep_their_names_as_they_grow() {
        let three = slots(r#"{"zones": ["a", "b", "c"]}"#);
        assert_eq!(three, ["shop-a-0", "shop-b-0", "shop-c-0"]);
        let five = slots(r#"{"replicas": 5, "zones": ["a", "b", "c"]}"#);
        assert_eq!(five, ["shop-a-0", "shop-a-1", "shop-b-0", "shop-b-1", "shop-c-0"]);
        assert_eq!(slots(r#"{"replicas": 2, "replicationFactor": 1}"#), ["shop-0", "shop-1"]);
    }

    #[test]
    fn another_order_of_the_zones_moves_nothing() {
        let spec = |zones: &str, replicas| format!(r#"{{"replicas": {replicas}, "zones": {zones}}}"#);
        let orders = [r#"["a", "b", "c"]"#, r#"["c", "b", "a"]"#, r#"["b", "a", "c"]"#];
        for replicas in 3..=7 {
            let first = slots(&spec(orders[0], replicas));
            let there = zone_counts(first.iter().map(|slot| slot.split('-').nth(1).unwrap()));
            for order in orders {
                assert_eq!(slots_among(&spec(order, replicas), &there), first, "{replicas} in {order}");
            }
        }
    }

    #[test]
    fn hash_table_gets_four_shards_a_node_if_it_does_not_say() {
        let spec = r#"{"tables": [{"name": "t", "fragmentation": {"type": "Hash"}},
                                  {"name": "u", "fragmentation": {"type": "Range", "splitPoints": ["m"]}}]}"#;
        let desired = desired(&validate(&resource(spec), &Environment::default()).unwrap(), &ZoneCounts::new());
        assert_eq!(desired.tables[0].starts.len(), 12);
        assert_eq!(desired.tables[1].starts, [Bytes::new(), Bytes::from_static(b"m")]);
    }
}
