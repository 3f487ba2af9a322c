//! What a node keeps on its volume survives what may befall it: crashes, torn writes, flipped bits, full disks.
#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "these are tests all through"
)]

mod storage {
    mod engine;
    mod engine_crash;
    mod fixtures;
    mod fjall_journals;
    mod log_cleaning;
    mod log_crash;
    mod log_damage;
    mod log_failures;
    mod log_holes;
    mod log_missing;
    mod log_model;
    mod log_small_disk;
    mod log_stops;
    mod power_cut;
    mod support;
}
