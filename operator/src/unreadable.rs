//! Resources that cannot be read: somebody has changed the schema, or its checks were off. Each is told of once, and counted as
//! long as its watch brings it so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

/// One that was not looked at for so long is gone: it is looked at twice a minute.
const GONE_AFTER: Duration = Duration::from_secs(120);
/// Far more than anybody has; past it, they are told of once more.
const RESOURCES_MAX: usize = 10_000;

/// Resources that cannot be read. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Unreadable {
    /// Number of resources that cannot be read.
    pub count: Gauge,
    known: Arc<Mutex<HashMap<String, (String, Instant)>>>,
}

impl Unreadable {
    /// Notes why a resource cannot be read, or that it can. True if that is to be told: it was not so before.
    pub fn note(&self, resource: &str, why: Option<String>, now: Instant) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (_, at)| now.duration_since(*at) < GONE_AFTER);
        let before = known.remove(resource);
        let is_new = why.is_some() && before.map(|(why, _)| why) != why;
        if let Some(why) = why {
            if known.len() >= RESOURCES_MAX {
                known.clear();
            }
            known.insert(resource.to_owned(), (why, now));
        }
        self.count.set(i64::try_from(known.len()).unwrap_or(i64::MAX));
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_cannot_be_read_is_told_of_once_and_counted_until_it_can_or_is_gone() {
        let (unreadable, now) = (Unreadable::default(), Instant::now());
        let note = |resource: &str, why: Option<&str>, seconds: u64| {
            let is_told = unreadable.note(resource, why.map(str::to_owned), now + Duration::from_secs(seconds));
            (is_told, unreadable.count.get())
        };
        assert_eq!(note("a", None, 0), (false, 0));
        assert_eq!(note("a", Some("no number"), 1), (true, 1));
        assert_eq!(note("a", Some("no number"), 30), (false, 1));
        assert_eq!(note("b", Some("no number"), 31), (true, 2));
        assert_eq!(note("a", Some("no list"), 60), (true, 2));
        assert_eq!(note("a", None, 61), (false, 1));
        assert_eq!(note("c", None, 200), (false, 0), "b was deleted");
    }
}
