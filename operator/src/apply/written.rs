//! What was written lately.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What somebody else has changed or removed meanwhile is put right after so long.
const AGAIN_AFTER: Duration = Duration::from_secs(300);
/// Far more objects than one operator looks after; past it, everything is written once more.
const OBJECTS_MAX: usize = 100_000;

/// The last text written of each object, and when.
#[derive(Debug, Default)]
pub struct Written {
    objects: Mutex<HashMap<String, (String, Instant)>>,
}

impl Written {
    /// True if this text was written lately.
    pub fn is_fresh(&self, object: &str, text: &str) -> bool {
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.get(object).is_some_and(|(last, at)| last == text && at.elapsed() < AGAIN_AFTER)
    }

    /// It is written.
    pub fn note(&self, object: String, text: String) {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        if objects.len() >= OBJECTS_MAX {
            objects.clear();
        }
        objects.insert(object, (text, Instant::now()));
    }
}
