//! The smart client of a Skerry database: caches the shard map, goes to each shard's leader, retries what is safe to
//! retry under one request id, batches and pipelines.
//!
//! Many operations may be in flight at once: those to one node share a session and travel together. An operation is a
//! future; dropping it is safe, but a write that was dropped may have happened. Every operation ends by its deadline,
//! and every error says whether trying again may help and whether the write may have happened.
#![warn(missing_docs)]

mod admin;
mod channel;
mod client;
mod config;
mod coordinators;
pub mod dial;
pub mod door;
mod guarantees;
mod hedged;
pub mod identity;
mod key;
mod operation;
mod read;
mod redirect;
mod request_ids;
mod retry;
mod routes;
mod scan;
pub mod secret;
mod session;
mod watch;
pub mod wire;
mod write;

pub use admin::{Admin, AdminError, SystemCopy};
pub use client::{Client, ConnectError};
pub use config::ClientConfig;
pub use guarantees::Session;
pub use identity::{Founded, FoundingRefusal, Identity, IdentityError};
pub use key::{Key, Record};
pub use read::{ReadError, Values};
pub use retry::Fault;
pub use scan::{Scan, ScanOptions, ScanRange, SkippedKeys};
pub use secret::{Secrets, SecretsError};
pub use watch::MapWatch;
pub use wire::{QuorumDenial, ReadOptions};
pub use write::{BatchOptions, Condition, DeleteOptions, KeyWrite, Mutation, PutOptions, WriteError, Written};
