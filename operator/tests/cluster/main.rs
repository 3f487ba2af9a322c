//! The operator on a Kubernetes and a database in memory, with everything going wrong that can: the real `reconcile`, all
//! else modelled. One idea a file.
#![expect(clippy::unwrap_used, unreachable_pub, reason = "tests all through")]

use std::io::Write;

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

mod auxiliary;
mod by_hand;
mod caught;
mod chaos;
mod conflicts;
mod crash;
mod eviction;
mod fewer_copies;
mod growth;
mod lease;
mod lease_edited;
mod neighbours;
mod releases;
mod rollout;
mod secret;
mod tables;
mod unknown;
mod unreadable;

/// One row of the table of what went wrong where. To be seen also of tests that pass, whose `println!` is not.
fn print_row(row: &str) {
    std::io::stderr().write_all(format!("{row}\n").as_bytes()).unwrap();
}
