//! The floor of request ids is not far ahead of what clients were given: else it would refuse writes that nobody has
//! made yet.

use super::{Broken, broken};
use crate::limits::ISSUED_AHEAD_MS_MAX;
use crate::replica::Summary;
use crate::time::Version;

/// Looks at one replica. `wall_ms` = the latest that any clock of a node or client has shown.
pub fn check(copy: &Summary, wall_ms: u64) -> Result<(), Broken> {
    let highest = copy.last_version.max(Version::at_ms(wall_ms)).wall_ms() + ISSUED_AHEAD_MS_MAX;
    if copy.is_blank || copy.request_floor.wall_ms() <= highest {
        return Ok(());
    }
    let seen = format!("shard {} {}: floor {}, {highest} ms", copy.shard, copy.replica, copy.request_floor.wall_ms());
    broken("the floor of requests is not ahead of all versions", seen)
}
