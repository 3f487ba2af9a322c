//! Waiting for conditions: looked at in short intervals, each wait with a limit, and an error that says what was seen last.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Time between two looks at the condition.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Set once a person asks the whole run to end.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Ends every wait, also those to come.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// True once the run is to end.
pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// What a look at the condition has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen<T> {
    /// The condition holds.
    Done(T),
    /// It does not yet; this is how it stands.
    NotYet(String),
}

/// `NotYet` with what is seen, unless the condition holds.
pub(super) fn once(holds: bool, seen: impl Into<String>) -> Seen<()> {
    if holds { Seen::Done(()) } else { Seen::NotYet(seen.into()) }
}

/// Looks until the condition holds. A look that fails counts as not yet: the API server may be busy or cut off.
pub(super) fn await_condition<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Seen<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        let seen = match look() {
            Ok(Seen::Done(value)) => return Ok(value),
            Ok(Seen::NotYet(seen)) => seen,
            Err(error) => format!("{error:#}"),
        };
        if is_interrupted() {
            bail!("interrupted while waiting for {what}");
        }
        if begun.elapsed() >= limit {
            bail!("waited {} s for {what}; last seen: {seen}", limit.as_secs());
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Looks for so long, and fails as soon as the condition does not hold.
pub(super) fn hold_condition(what: &str, length: Duration, mut look: impl FnMut() -> Result<Seen<()>>) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < length {
        if let Seen::NotYet(seen) = look()? {
            bail!("{what} did not hold for {} s: {seen}", length.as_secs());
        }
        if is_interrupted() {
            bail!("interrupted while watching that {what}");
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_its_value_or_with_what_was_seen_last() {
        let mut looks = 0;
        let value = await_condition("three", Duration::from_secs(60), || {
            looks += 1;
            Ok(if looks == 3 { Seen::Done(7) } else { Seen::NotYet(String::new()) })
        });
        assert_eq!(value.unwrap(), 7);
        let error = await_condition::<()>("rain", Duration::ZERO, || bail!("sun")).unwrap_err().to_string();
        assert_eq!(error, "waited 0 s for rain; last seen: sun");
    }
}
