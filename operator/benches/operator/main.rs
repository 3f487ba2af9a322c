//! What the operator costs: one look at a database of a thousand nodes and a hundred thousand shards, and a hundred small
//! databases with nothing to do.
//!
//! The operator is a process of its own: this program again, with the modelled Kubernetes of the tests behind HTTP. So what
//! is counted is the operator's own, all of it. The exit code says whether it ran, never whether a goal was met.
#![expect(clippy::unwrap_used, clippy::print_stdout, unreachable_pub, reason = "a measurement, beside tests")]

mod large;
mod many;
mod measured;
mod operator;
mod place;

#[path = "../../tests/cluster"]
#[expect(dead_code, reason = "the tests use all of it")]
mod modelled {
    pub mod admin;
    pub mod controllers;
    pub mod database;
    pub mod faults;
    pub mod ground;
    pub mod rules;
    pub mod scenario;
    pub mod server;
    pub mod wanted;
    pub mod world;
}
use modelled::{admin, controllers, database, faults, ground, rules, scenario, server, world};

use measured::Row;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut words = std::env::args().skip(1);
    match (words.next().as_deref(), words.next()) {
        (Some(operator::LOOKS), Some(url)) => runtime.block_on(operator::looks(&url)),
        (Some(operator::STAYS), Some(url)) => runtime.block_on(operator::stays(&url)),
        _ => runtime.block_on(measure()),
    }
}

async fn measure() {
    let mut rows = large::measure().await;
    rows.extend(many::measure().await);
    println!("{}", Row::table(&rows));
}
