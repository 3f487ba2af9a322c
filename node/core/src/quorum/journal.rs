//! What a copy of a quorum shard writes to its node's log before it acts on it. All that changes what it holds goes through
//! the log, in one order: so a layout is held only after all that was taken under earlier ones, and whatever is judged by
//! bounds is judged in the same order before and after a crash.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::floor::Floor;
use super::layout::Layout;
use super::message::Entry;
use crate::ids::{Generation, ReplicaId};
use crate::record::Stamp;
use crate::time::Version;

/// One entry of the log, applied when it is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Journaled {
    /// Writes of a coordinator, and hints: key, record, stamp of the write. Judged as [`super::floor::Source::Write`].
    Writes(Vec<(Bytes, Bytes, Stamp)>),
    /// Records that another copy held durably. Judged as [`super::floor::Source::Copy`].
    Copies(Vec<Entry>),
    /// A newer layout.
    Layout(Layout),
    /// No write at or below this is taken any more.
    Bar(Version),
    /// A round up to this is complete.
    Floor(Version),
    /// The clocks of all copies have passed this.
    Elapsed(Version),
    /// Bounds of a copy that this one copies from.
    Bounds(Floor),
    /// All that `from` held at the generation `since`, or later, is here.
    Copied {
        /// The copy that was copied from.
        from: ReplicaId,
        /// Generation of both at that time.
        since: Generation,
    },
}
