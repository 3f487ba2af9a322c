//! What the place offers where the databases are to run.

use std::collections::BTreeSet;

/// What the place that the nodes run in has to offer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// The zones that nodes can be in. `None` = any that is named.
    pub zones: Option<BTreeSet<String>>,
}
