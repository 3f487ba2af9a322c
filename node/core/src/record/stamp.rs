//! Who ordered a write that any copy may order, and when.

use serde::{Deserialize, Serialize};

use crate::ids::{Incarnation, ReplicaId};
use crate::time::Version;

/// A copy during one start of its node. Each stamps its writes with rising versions. After a restart it is another one:
/// whatever it stamped before its crash and forgot, it never stamps anything below that again. (Riak calls it a vnode
/// epoch; there, counters that fell back after a crash lost writes for years.)
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// The copy that ordered the write. Its id never comes back.
    pub replica: ReplicaId,
    /// The start of its node.
    pub incarnation: Incarnation,
}

/// Names one write of one key, for ever: the *dot* of dotted version vectors (Preguiça et al., "Dotted Version Vectors",
/// 2012). The order of stamps is total; the last writer is the one with the highest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Above every version that the write's client and its coordinator had seen of the key.
    pub version: Version,
    /// Who ordered the write. It makes the stamp unique whatever clocks show.
    pub actor: Actor,
}

impl Stamp {
    /// The lowest stamp of a version.
    pub fn lowest(version: Version) -> Self {
        Self { version, actor: Actor::default() }
    }
}
