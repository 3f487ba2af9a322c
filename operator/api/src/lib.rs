//! The custom resource `DistributedDatabase`: its types, schema, rules and defaults.
//!
//! This room knows nothing of running databases. The same types are read by the operator from Kubernetes, which keeps to
//! the generated schema, and by [`parse`] from a file, which is held against that schema here.

mod crd;
mod parse;
mod quantity;
mod schema;
mod spec;
mod status;
mod suggest;

pub use crd::{crd, crd_template, crd_yaml};
pub use parse::{ParseError, check_update, parse};
pub use quantity::{Allowed, BYTES_PER_SECOND, CPU, MEMORY, QuantityError, STORAGE_SIZE, bytes, thousandths};
pub use schema::{Fault, check};
pub use spec::{
    Approval, ConflictResolution, Consistency, ConsistencyType, DistributedDatabase, DistributedDatabaseSpec, Engine,
    Fragmentation, FragmentationType, QUORUM_TABLES, Rebalance, Resources, Retention, SpreadByHost, Storage, Table,
    TableRemoval, VolumeRetention,
};
pub use status::{
    Blocked, Counts, DistributedDatabaseStatus, Founder, Founding, MovesStatus, PendingRemoval, PlanStatus,
    QuorumStages, Replacement, SilentNode, Victim,
};

/// API group of the resource.
pub const GROUP: &str = "skerry.io";
/// The only version so far.
pub const VERSION: &str = "v1alpha1";
/// Carries the name of the plan that a person has approved, `status.plan.id`, where `rebalance.approval` is `Manual`.
pub const APPROVED_PLAN: &str = "skerry.io/approved-plan";
/// Names the place of a node that is to be replaced by one with an empty volume, once: `<database>-<zone>-<ordinal>`. With
/// `/n` and the node's id after it, that very node is meant, also if it came by such a replacement itself.
pub const REPLACE: &str = "skerry.io/replace";
/// Names copies of shards whose loss a person accepts, each with its node and the node's start, such as `s4/n2/i3`, or
/// `*/n2/i3` for all shards there: they hold back no replacement. It ends for each with the copy, and with that start.
pub const ACCEPT_LOSS: &str = "skerry.io/accept-loss";
/// A change of this annotation's value restarts every node, one at a time.
pub const RESTARTED_AT: &str = "skerry.io/restarted-at";
/// Names the database whose volumes are to be taken up, where its resource was deleted and made again. It must be there
/// when the resource is made.
pub const CLUSTER_ID: &str = "skerry.io/cluster-id";
/// Label with the database's name, on everything that belongs to it.
pub const DATABASE_LABEL: &str = "skerry.io/database";
