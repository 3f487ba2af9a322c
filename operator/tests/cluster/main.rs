//! The operator on a Kubernetes and a database in memory, with everything going wrong that can: the real `reconcile`, all
//! else modelled. One idea a file.
#![expect(clippy::unwrap_used, clippy::print_stdout, unreachable_pub, reason = "tests all through")]

mod admin;
mod controllers;
mod database;
mod faults;
mod ground;
mod rules;
mod scenario;
mod server;
mod wanted;
mod world;

mod caught;
mod chaos;
mod conflicts;
mod crash;
mod lease;
mod unknown;
