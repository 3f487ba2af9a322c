//! A copy that waits for its records acknowledges nothing beyond what its log had when it began to wait.

use std::collections::BTreeMap;

use super::{Broken, broken};
use crate::ids::ReplicaId;
use crate::replica::Summary;

/// Remembers where the log of each blank copy ended when it became blank, or when its process began.
#[derive(Debug, Default)]
pub struct Blank {
    waiting: BTreeMap<ReplicaId, u64>,
}

impl Blank {
    /// Looks at one replica, whenever it has changed.
    pub fn note(&mut self, copy: &Summary) {
        if copy.is_blank {
            self.waiting.entry(copy.replica).or_insert(copy.last);
        } else {
            self.waiting.remove(&copy.replica);
        }
    }

    /// A process has opened this copy.
    pub fn opened(&mut self, copy: &Summary) {
        self.waiting.remove(&copy.replica);
        self.note(copy);
    }

    /// True if nobody waits: then there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A copy says that its log has everything up to `index`.
    pub fn acknowledged(&self, copy: ReplicaId, index: u64) -> Result<(), Broken> {
        match self.waiting.get(&copy) {
            Some(&last) if index > last => {
                broken("a blank copy acknowledges nothing", format!("{copy} acknowledged {index}, its log had {last}"))
            }
            Some(_) | None => Ok(()),
        }
    }
}
