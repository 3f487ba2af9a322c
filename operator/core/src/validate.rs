//! The resource, checked and in the core's terms. The schema's rules have refused most of what is refused here; the rest
//! are things that a schema cannot say, and what an older schema has let through.

mod consistency;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use skerry_api::{
    ACCEPT_LOSS, APPROVED_PLAN, BYTES_PER_SECOND, CPU, DistributedDatabase, DistributedDatabaseSpec, Engine,
    FragmentationType, MEMORY, QuantityError, REPLACE, TableRemoval,
};
use skerry_core::ids::{Incarnation, NodeId, ShardId};
use skerry_core::limits::{REPLICATION_FACTOR_MAX, TABLE_SHARDS_MAX, is_dns_label};
use skerry_core::map::{Consistency, MoveLimits};
use skerry_core::system::state::SYSTEM_TABLE;

use crate::environment::Environment;
use crate::observed::ClaimTemplate;

/// A resource that was checked and can be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validated {
    /// Name of the database: that of its resource.
    pub name: String,
    /// Generation of the spec.
    pub generation: i64,
    /// True if there may have been a spec since the last one that was looked at, and what it said is unknown.
    pub missed_a_spec: bool,
    /// Number of storage nodes that the database is to have.
    pub replicas: u32,
    /// Failure domains; empty = none named.
    pub zones: Vec<String>,
    /// Storage engine that keeps the nodes' data.
    pub engine: Engine,
    /// What new volumes are to be.
    pub claims: ClaimTemplate,
    /// The tables, in the spec's order.
    pub tables: Vec<Table>,
    /// The limits of data moves between nodes.
    pub limits: MoveLimits,
    /// Whether data may move without a person's approval.
    pub approval: Approval,
    /// Nothing is changed while this is true.
    pub paused: bool,
    /// Tables that are taken out of the spec go after so long, with their data. `None` = they stay.
    pub drops_tables_after: Option<Duration>,
    /// A node whose volume is lost is replaced when it has been away for so long.
    pub replace_after: Duration,
    /// A node that is silent for so long is replaced. `None` = never.
    pub replace_silent_after: Option<Duration>,
    /// The node that a person wants to be replaced.
    pub replace: Option<ReplaceRequest>,
    /// Copies of shards whose loss a person accepts.
    pub accepted_losses: BTreeSet<AcceptedLoss>,
}

/// A node that a person wants to be replaced, as the annotation says: `shop-1`, or `shop-1/n7`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplaceRequest {
    /// Name of the slot that the node is in.
    pub slot: String,
    /// This very node. `None` = the one that is there when it is asked for.
    pub node: Option<NodeId>,
}

impl ReplaceRequest {
    /// As the resource asks for it. `None` = it does not.
    pub fn of(database: &DistributedDatabase) -> Option<Self> {
        let text = annotation(database, REPLACE)?.trim();
        let named = text.split_once('/').and_then(|(slot, node)| {
            let node = NodeId(node.strip_prefix('n')?.parse().ok()?);
            Some(Self { slot: slot.to_owned(), node: Some(node) })
        });
        let request = named.unwrap_or_else(|| Self { slot: text.to_owned(), node: None });
        (!request.slot.is_empty()).then_some(request)
    }
}

impl fmt::Display for ReplaceRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.slot)?;
        self.node.map_or(Ok(()), |node| write!(f, "/{node}"))
    }
}

/// A loss that a person accepts: of what the copy of a shard holds on one node, in one start of it, as `s4/n2/i3`; of all shards
/// there as `*/n2/i3`. It ends by itself: the node that comes in its place has another id, and the same one another start, should it come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AcceptedLoss {
    /// The shard that the copy is of. `None` = all that have one there, but the system shard.
    pub shard: Option<ShardId>,
    /// The node that the copy is on.
    pub node: NodeId,
    /// The node's start that the database knows last.
    pub start: Incarnation,
}

impl AcceptedLoss {
    /// What is none names none, and the system shard cannot be done without.
    fn of(text: &str) -> Option<Self> {
        let (shard, rest) = text.trim().split_once('/')?;
        let (node, start) = rest.split_once('/')?;
        let number = |text: &str, prefix| text.strip_prefix(prefix)?.parse::<u64>().ok();
        let (node, start) = (NodeId(number(node, 'n')?), Incarnation(number(start, 'i')?));
        let shard = if shard == "*" { None } else { Some(ShardId(number(shard, 's')?)) };
        (shard != Some(ShardId::SYSTEM)).then_some(Self { shard, node, start })
    }
}

impl fmt::Display for AcceptedLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shard = self.shard.map_or_else(|| "*".to_owned(), |shard| shard.to_string());
        write!(f, "{shard}/{}/{}", self.node, self.start)
    }
}

/// Whether data may move without a person's approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Approval {
    /// Data may move without anybody's approval.
    Automatic,
    /// A person is to approve the very plan. `Some` = the one that was approved last.
    Manual(Option<String>),
}

/// A table of the spec that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Name of the table, unique in its database.
    pub name: String,
    /// How the table's keys become its shards.
    pub layout: Layout,
    /// Number of copies that every shard is to have.
    pub replication_factor: u32,
    /// How the copies are to agree; W and R from 1 to their number.
    pub consistency: Consistency,
    /// True if the spec says what becomes of values that were written at the same time. Else the rule in `consistency` is
    /// that of a new table, and one that is there keeps its own.
    pub says_resolve: bool,
}

/// How a table's keys lie, and what shards it starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// In their own order; the first keys of the second and later shards, rising.
    Range(Vec<Bytes>),
    /// By hash, over so many shards. `None` = as many as suit the nodes.
    Hash(Option<u32>),
}

/// Everything that cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(pub Vec<Refusal>);

impl std::error::Error for Invalid {}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }
}

/// One thing that cannot be carried out, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Refusal {
    #[error("{0} {1:?} must be a DNS label: lower-case letters, digits and inner hyphens, at most 63")]
    Name(&'static str, String),
    #[error("replicas must be between 1 and 1000, it is {0}")]
    Replicas(u32),
    #[error("{of} wants {factor} copies on {replicas} nodes; it must be between 1 and {max}", max = (*replicas).min(7))]
    ReplicationFactor { of: String, factor: u32, replicas: u32 },
    #[error("zone {0:?} is named twice")]
    ZoneTwice(String),
    #[error("there are {zones} zones, but only {replicas} nodes: every zone needs one")]
    ZonesWithoutNode { zones: usize, replicas: u32 },
    #[error("there is no zone {zone:?} here; there are {there}")]
    ZoneUnknown { zone: String, there: String },
    #[error("two tables are named {0:?}")]
    TableTwice(String),
    #[error("no table can be named {0:?}: the database keeps its own in a table of this name")]
    TableReserved(String),
    #[error("table {table:?}: splitPoints must rise; {point:?} does not")]
    SplitPoints { table: String, point: String },
    #[error("table {table:?}: shards must be between 1 and {TABLE_SHARDS_MAX}, it is {shards}")]
    Shards { table: String, shards: u32 },
    #[error("table {0:?}: Quorum tables are not available yet; use consistency.type Leader")]
    Quorum(String),
    #[error("table {table:?}: {field} must be between 1 and {copies}, the table's copies, it is {quorum}")]
    Quorums { table: String, field: &'static str, quorum: u32, copies: u32 },
    #[error(
        "table {0:?}: writeQuorum, readQuorum and conflictResolution are only of a table whose consistency.type is Quorum"
    )]
    QuorumFields(String),
    #[error("{0}: {1}")]
    Quantity(&'static str, QuantityError),
    #[error("rebalance.maxMovesPerNode must be at least 1")]
    NoMoves,
    #[error("storage.size must be greater than 0")]
    NoStorage,
}

/// Checks a resource; every reason against it is given, not just the first.
pub fn validate(database: &DistributedDatabase, environment: &Environment) -> Result<Validated, Invalid> {
    let spec = &database.spec;
    let name = database.metadata.name.clone().unwrap_or_default();
    let mut refusals = Vec::new();
    if !is_dns_label(&name) {
        refusals.push(Refusal::Name("metadata.name", name.clone()));
    }
    if !(1..=1_000).contains(&spec.replicas) {
        refusals.push(Refusal::Replicas(spec.replicas));
    }
    refusals.extend(factor_refusal("replicationFactor", spec.replication_factor, spec.replicas));
    refusals.extend(zone_refusals(spec, environment));
    let tables = tables(spec, environment, &mut refusals);
    let limits = limits(spec, &mut refusals);
    refusals.extend(quantity_refusals(spec));
    if !refusals.is_empty() {
        return Err(Invalid(refusals));
    }
    Ok(Validated {
        name,
        generation: generation(database),
        missed_a_spec: missed_a_spec(database),
        replicas: spec.replicas,
        zones: spec.zones.clone(),
        engine: spec.storage.engine,
        claims: ClaimTemplate {
            size: Some(spec.storage.size.clone()),
            class: spec.storage.storage_class_name.clone(),
            labels: None,
        },
        tables,
        limits,
        approval: approval(database),
        paused: spec.paused,
        drops_tables_after: (spec.table_removal == TableRemoval::Drop)
            .then(|| Duration::from_secs(spec.table_removal_delay_seconds.into())),
        replace_after: Duration::from_secs(spec.replace_after_seconds.into()),
        replace_silent_after: spec.replace_silent_after_seconds.map(|seconds| Duration::from_secs(seconds.into())),
        replace: ReplaceRequest::of(database),
        accepted_losses: annotation(database, ACCEPT_LOSS).map(losses).unwrap_or_default(),
    })
}

/// Of the spec; zero if whoever keeps the resource does not count.
pub(crate) fn generation(database: &DistributedDatabase) -> i64 {
    database.metadata.generation.unwrap_or(0)
}

fn missed_a_spec(database: &DistributedDatabase) -> bool {
    let seen = database.status.as_ref().and_then(|status| status.observed_generation);
    seen.is_some_and(|seen| generation(database) > seen.saturating_add(1))
}

fn annotation<'a>(database: &'a DistributedDatabase, name: &str) -> Option<&'a str> {
    database.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

fn losses(text: &str) -> BTreeSet<AcceptedLoss> {
    text.split(',').filter_map(AcceptedLoss::of).collect()
}

fn approval(database: &DistributedDatabase) -> Approval {
    match database.spec.rebalance.approval {
        skerry_api::Approval::Automatic => Approval::Automatic,
        skerry_api::Approval::Manual => Approval::Manual(annotation(database, APPROVED_PLAN).map(str::to_owned)),
    }
}

fn factor_refusal(of: &str, factor: u32, replicas: u32) -> Option<Refusal> {
    let fits = factor >= 1 && factor <= replicas && factor as usize <= REPLICATION_FACTOR_MAX;
    (!fits).then(|| Refusal::ReplicationFactor { of: of.to_owned(), factor, replicas })
}

fn zone_refusals(spec: &DistributedDatabaseSpec, environment: &Environment) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let mut named = BTreeSet::new();
    for zone in &spec.zones {
        if !is_dns_label(zone) {
            refusals.push(Refusal::Name("zone", zone.clone()));
        }
        if !named.insert(zone) {
            refusals.push(Refusal::ZoneTwice(zone.clone()));
        }
        if let Some(there) = environment.zones.as_ref().filter(|there| !there.contains(zone)) {
            let there = there.iter().cloned().collect::<Vec<_>>().join(", ");
            refusals.push(Refusal::ZoneUnknown { zone: zone.clone(), there });
        }
    }
    if spec.zones.len() > spec.replicas as usize {
        refusals.push(Refusal::ZonesWithoutNode { zones: spec.zones.len(), replicas: spec.replicas });
    }
    refusals
}

fn tables(spec: &DistributedDatabaseSpec, environment: &Environment, refusals: &mut Vec<Refusal>) -> Vec<Table> {
    let mut names = BTreeSet::new();
    let mut tables = Vec::new();
    for table in &spec.tables {
        if !is_dns_label(&table.name) {
            refusals.push(Refusal::Name("table name", table.name.clone()));
        }
        if table.name == SYSTEM_TABLE {
            refusals.push(Refusal::TableReserved(table.name.clone()));
        }
        if !names.insert(&table.name) {
            refusals.push(Refusal::TableTwice(table.name.clone()));
        }
        if let Some(factor) = table.replication_factor {
            refusals.extend(factor_refusal(&format!("table {:?}", table.name), factor, spec.replicas));
        }
        let replication_factor = table.replication_factor.unwrap_or(spec.replication_factor);
        let consistency = consistency::consistency(table, replication_factor, environment, refusals);
        match layout(table) {
            Ok(layout) => {
                let (name, says_resolve) = (table.name.clone(), table.consistency.conflict_resolution.is_some());
                tables.push(Table { name, layout, replication_factor, consistency, says_resolve });
            }
            Err(refusal) => refusals.push(refusal),
        }
    }
    tables
}

fn layout(table: &skerry_api::Table) -> Result<Layout, Refusal> {
    let name = || table.name.clone();
    match table.fragmentation.r#type {
        FragmentationType::Range => {
            let points = &table.fragmentation.split_points;
            let before = std::iter::once("").chain(points.iter().map(String::as_str));
            match before.zip(points).find(|(before, point)| *before >= point.as_str()) {
                Some((_, point)) => Err(Refusal::SplitPoints { table: name(), point: point.clone() }),
                None => Ok(Layout::Range(points.iter().map(|p| Bytes::copy_from_slice(p.as_bytes())).collect())),
            }
        }
        FragmentationType::Hash => match table.fragmentation.shards {
            Some(shards) if shards == 0 || shards as usize > TABLE_SHARDS_MAX => {
                Err(Refusal::Shards { table: name(), shards })
            }
            shards => Ok(Layout::Hash(shards)),
        },
    }
}

/// Of volumes only what cannot be used at all is refused: what is there already, and is smaller than a new one may be, runs.
fn quantity_refusals(spec: &DistributedDatabaseSpec) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    match skerry_api::bytes(&spec.storage.size) {
        Ok(0) => refusals.push(Refusal::NoStorage),
        Ok(_) => {}
        Err(error) => refusals.push(Refusal::Quantity("storage.size", error)),
    }
    let memory = MEMORY.bytes(&spec.resources.memory).err().map(|e| Refusal::Quantity("resources.memory", e));
    let cpu = CPU.thousandths(&spec.resources.cpu).err().map(|e| Refusal::Quantity("resources.cpu", e));
    refusals.into_iter().chain(memory).chain(cpu).collect()
}

fn limits(spec: &DistributedDatabaseSpec, refusals: &mut Vec<Refusal>) -> MoveLimits {
    let moves_per_node = spec.rebalance.max_moves_per_node;
    if moves_per_node == 0 {
        refusals.push(Refusal::NoMoves);
    }
    let read = BYTES_PER_SECOND.bytes(&spec.rebalance.max_bytes_per_second);
    // With a refusal nothing is carried out.
    let bytes_per_second = read.unwrap_or_else(|error| {
        refusals.push(Refusal::Quantity("rebalance.maxBytesPerSecond", error));
        0
    });
    MoveLimits { moves_per_node, bytes_per_second }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::resource;

    fn refused(spec: &str) -> String {
        validate(&resource(spec), &Environment::default()).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_is_refused_with_numbers_and_all_at_once() {
        let cases = [
            (r#"{"replicas": 2}"#, "replicationFactor wants 3 copies on 2 nodes; it must be between 1 and 2"),
            (r#"{"replicas": 9, "replicationFactor": 8}"#, "must be between 1 and 7"),
            (r#"{"zones": ["a", "b", "c", "d"]}"#, "there are 4 zones, but only 3 nodes"),
            (r#"{"tables": [{"name": "system", "fragmentation": {"type": "Hash"}}]}"#, "no table can be named"),
            (
                r#"{"tables": [{"name": "t", "fragmentation": {"type": "Range", "splitPoints": ["m", "d"]}}]}"#,
                "table \"t\": splitPoints must rise; \"d\" does not",
            ),
            (r#"{"storage": {"size": "big"}}"#, "storage.size: \"big\" must be"),
            (r#"{"storage": {"size": "0"}}"#, "storage.size must be greater than 0"),
            (r#"{"rebalance": {"maxBytesPerSecond": "1k"}}"#, "\"1k\" must be between 64Ki and 1Ti"),
            (r#"{"resources": {"memory": "1.5 Gi"}}"#, "resources.memory: \"1.5 Gi\" must be"),
            (r#"{"resources": {"memory": "1m"}}"#, "resources.memory: \"1m\" must be between 128Mi and 64Ti"),
            (r#"{"resources": {"cpu": "-1"}}"#, "resources.cpu: \"-1\" must be"),
        ];
        for (spec, message) in cases {
            assert!(refused(spec).contains(message), "{spec}: {}", refused(spec));
        }
        let both = refused(r#"{"replicas": 2, "storage": {"size": "big"}}"#);
        assert!(both.contains("copies on 2 nodes") && both.contains("storage.size"), "{both}");
    }

    /// A new one of that size is refused by the schema, which lets be what has not changed.
    #[test]
    fn volumes_that_are_smaller_than_new_ones_may_be_hold_nothing_up() {
        let database = resource(r#"{"storage": {"size": "100Mi"}}"#);
        assert!(validate(&database, &Environment::default()).is_ok());
    }

    #[test]
    fn zone_that_is_not_here_is_refused() {
        let here = Environment { zones: Some(["a".to_owned(), "b".to_owned()].into()), ..Environment::default() };
        let database = resource(r#"{"zones": ["a", "x"]}"#);
        let told = validate(&database, &here).unwrap_err().to_string();
        assert_eq!(told, "there is no zone \"x\" here; there are a, b");
    }
}
