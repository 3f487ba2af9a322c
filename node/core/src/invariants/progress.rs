//! A replica has applied no more than is committed, and nothing that is committed is beyond its log.

use super::{Broken, broken};
use crate::replica::ReplicaView;

/// Looks at one replica.
pub fn check(view: &ReplicaView) -> Result<(), Broken> {
    // A copy whose snapshot is complete stands at its index before its log says so.
    if view.is_blank || (view.applied.0 <= view.committed && view.committed <= view.last) {
        return Ok(());
    }
    let seen = format!(
        "shard {} {}: applied {} committed {} last {}",
        view.shard, view.replica, view.applied.0, view.committed, view.last
    );
    broken("applied ≤ committed ≤ last", seen)
}
