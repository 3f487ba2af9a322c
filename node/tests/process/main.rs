//! Real `skerry-node` processes on ports and folders of their own: what a person with `kill`, `dd` and a full disk would
//! see. One behaviour a file.
#![expect(clippy::unwrap_used, clippy::print_stderr, unreachable_pub, reason = "tests")]

mod cluster;
mod database;
mod load;
mod process;
mod tables;

mod bootstrap;
mod broken_start;
mod crash;
mod crowds;
mod damage;
mod doors;
mod engine_threads;
mod failing_disk;
mod fields;
mod full_disk;
mod full_store;
mod held_up;
mod incarnation;
mod local_reads;
mod lost_volume;
mod memory;
mod names;
mod newer;
mod no_space;
mod older;
mod once;
mod panicked;
mod pause;
mod python;
mod quorum;
mod quorum_history;
mod quorum_refusals;
mod refused;
mod releases;
mod removed;
mod secret;
mod serving;
mod stalled_disk;
mod stop;
