//! Operations in a fixed number at a time: each over a set of keys once, or for a while with a count and what the half and the slowest of them took.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::try_join_all;

/// The measured rate and times of a load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) per_second: f64,
    /// Half of them took no longer.
    pub(crate) p50: Duration,
    /// 99 of 100 took no longer.
    pub(crate) p99: Duration,
}

/// Does it once for each number below `count`.
pub(crate) async fn each(in_flight: usize, count: usize, operation: impl AsyncFn(usize) -> Result<()>) -> Result<()> {
    let next = Cell::new(0);
    let worker = async || {
        while next.get() < count {
            let i = next.replace(next.get() + 1);
            operation(i).await?;
        }
        anyhow::Ok(())
    };
    try_join_all((0..in_flight).map(|_| worker())).await?;
    Ok(())
}

/// Does it again and again for so long. One failure fails the measurement.
pub(crate) async fn for_a_while(
    in_flight: usize,
    length: Duration,
    operation: impl AsyncFn() -> Result<()>,
) -> Result<Measured> {
    let taken = RefCell::new(Vec::new());
    let begin = Instant::now();
    let worker = async || {
        loop {
            let before = Instant::now();
            if before - begin >= length {
                return anyhow::Ok(());
            }
            operation().await?;
            taken.borrow_mut().push(before.elapsed());
        }
    };
    try_join_all((0..in_flight).map(|_| worker())).await?;
    let elapsed = begin.elapsed();
    let mut taken = taken.into_inner();
    taken.sort_unstable();
    let at = |part: usize| taken.get(taken.len() * part / 100).copied().context("nothing was done");
    Ok(Measured { per_second: taken.len() as f64 / elapsed.as_secs_f64(), p50: at(50)?, p99: at(99)? })
}
