//! The operator: what [`skerry_operator_core`] decides, carried out on a Kubernetes.
//!
//! ```text
//! watches ─► reconcile: observe ─► decide ─► apply ─► report
//!            (the only reads)      (pure)    (the only writes)
//! ```
//!
//! It keeps nothing that it could not do without: it may die between any two writes, and whoever comes next goes on from
//! what is there. Only the holder of the Lease writes, and its token goes into everything that it tells a database.
#![warn(missing_docs)]

pub mod apply;
pub mod args;
pub mod context;
pub mod controller;
pub mod events;
pub mod histories;
pub mod http;
pub mod leadership;
pub mod lease;
pub mod metrics;
pub mod node_admin;
pub mod observe;
pub mod probe;
pub mod reconcile;
pub mod report;
pub mod rights;
pub mod run;
pub mod unreadable;
