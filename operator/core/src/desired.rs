//! What should be there, whatever is.

use std::collections::BTreeMap;

use bytes::Bytes;
use skerry_core::key::hash_starts;
use skerry_core::limits::TABLE_SHARDS_MAX;
use skerry_core::map::{Fragmentation, MoveLimits};

use crate::observed::ClaimTemplate;
use crate::validate::{Layout, Table, Validated};

/// Shards of a hash table, for each node of the start, if the table does not say.
const HASH_SHARDS_PER_NODE: u32 = 4;

/// What should be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The zone of each slot, by the slot's name.
    pub slots: BTreeMap<String, String>,
    /// In the spec's order.
    pub tables: Vec<DesiredTable>,
    /// Bounds of the moves.
    pub limits: MoveLimits,
    /// What new volumes are to be.
    pub claims: ClaimTemplate,
    /// True if tables that are not among these are to go, with their data.
    pub drops_tables: bool,
}

/// A table that should be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredTable {
    /// Its name.
    pub name: String,
    /// How its keys lie.
    pub fragmentation: Fragmentation,
    /// Copies of every shard.
    pub replication_factor: u32,
    /// First encoded keys of the shards that it starts with, if it is made now.
    pub starts: Vec<Bytes>,
    /// True if the spec says which shards there are to be, by their split points or their number.
    pub says_shards: bool,
}

/// Works it out.
pub fn desired(validated: &Validated) -> Desired {
    Desired {
        slots: desired_slots(validated),
        tables: validated.tables.iter().map(|t| desired_table(t, validated.replicas)).collect(),
        limits: validated.limits,
        claims: validated.claims.clone(),
        drops_tables: validated.drops_tables,
    }
}

/// Slots and their zones: spread over the zones in turn, so that a zone's slots are numbered from 0 and go from its end.
pub fn desired_slots(validated: &Validated) -> BTreeMap<String, String> {
    let (name, zones) = (&validated.name, &validated.zones);
    let slot = |i: usize| match zones.len() {
        0 => (format!("{name}-{i}"), String::new()),
        count => (format!("{name}-{}-{}", zones[i % count], i / count), zones[i % count].clone()),
    };
    (0..validated.replicas as usize).map(slot).collect()
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
    let (name, replication_factor) = (table.name.clone(), table.replication_factor);
    DesiredTable { name, fragmentation, replication_factor, starts, says_shards }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;
    use crate::testing::resource;
    use crate::validate::validate;

    fn slots(spec: &str) -> Vec<String> {
        let validated = validate(&resource(spec), &Environment::default()).unwrap();
        desired(&validated).slots.into_keys().collect()
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
    fn hash_table_gets_four_shards_a_node_if_it_does_not_say() {
        let spec = r#"{"tables": [{"name": "t", "fragmentation": {"type": "Hash"}},
                                  {"name": "u", "fragmentation": {"type": "Range", "splitPoints": ["m"]}}]}"#;
        let desired = desired(&validate(&resource(spec), &Environment::default()).unwrap());
        assert_eq!(desired.tables[0].starts.len(), 12);
        assert_eq!(desired.tables[1].starts, [Bytes::new(), Bytes::from_static(b"m")]);
    }
}
