//! Many seeds on several threads.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;

use crate::run::Outcome;

/// Outcomes that wait to be looked at: few, as each is looked at at once.
const WAITING_MAX: usize = 64;

/// Runs every seed; the outcomes come in the order in which they are ready. What is not waited for is not run.
pub fn run_seeds(
    seeds: Range<u64>,
    jobs: usize,
    run: impl Fn(u64) -> Outcome + Send + Sync + 'static,
) -> impl Iterator<Item = Outcome> {
    let (sender, receiver) = sync_channel(WAITING_MAX);
    let (next, run) = (Arc::new(AtomicU64::new(seeds.start)), Arc::new(run));
    for _ in 0..jobs.max(1) {
        let (sender, next, run, end) = (sender.clone(), next.clone(), run.clone(), seeds.end);
        std::thread::spawn(move || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end || sender.send(run(seed)).is_err() {
                    return;
                }
            }
        });
    }
    receiver.into_iter()
}
