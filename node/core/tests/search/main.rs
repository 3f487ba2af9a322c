//! A search for schedules that break the core: small clusters, a hostile scheduler, and rules that are looked at after
//! every step. Beside it stand the schedules that once broke it, written down step by step.
#![expect(clippy::unwrap_used, reason = "a test harness")]

mod choices;
mod clients;
mod cluster;
mod disks;
mod leases;
mod restarts;
mod rules;
