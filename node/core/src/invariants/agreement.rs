//! What a copy has applied is what raft's log says that it has.

use super::{Broken, broken};
use crate::replica::Summary;

/// Looks at one replica, at any moment.
pub fn check(copy: &Summary) -> Result<(), Broken> {
    let is_in_order = copy.applied.0 <= copy.committed.0 && copy.committed.0 <= copy.last;
    // A copy whose snapshot is complete stands at its index before its log says so.
    if copy.is_blank || (is_in_order && copy.is_log_alike) {
        return Ok(());
    }
    let rule = if is_in_order { "applier and log have the same entries" } else { "applied ≤ committed ≤ last" };
    broken(rule, seen(copy))
}

/// Looks at one replica of a shard in which nothing happens any more.
pub fn check_at_rest(copy: &Summary) -> Result<(), Broken> {
    let is_even = copy.applied.0 == copy.raft_applied && copy.applied == copy.committed;
    if copy.is_blank || is_even { Ok(()) } else { broken("applier and log agree at rest", seen(copy)) }
}

fn seen(copy: &Summary) -> String {
    let Summary { shard, replica, applied, raft_applied, committed, last, .. } = copy;
    format!(
        "shard {shard} {replica}: applied {applied:?}, by raft's count {raft_applied}, committed {committed:?}, last {last}"
    )
}
