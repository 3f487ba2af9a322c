//! Who ordered a write that any copy may order, and when.

use serde::{Deserialize, Serialize};

use crate::command::RequestId;
use crate::ids::{Incarnation, ReplicaId};
use crate::time::Version;

/// Set in the place of a copy's id where a client's request is meant: no copy has an id so high.
const OF_A_CLIENT: u64 = 1 << 63;

/// A copy during one start of its node. Each stamps its writes with rising versions. After a restart it is another one:
/// whatever it stamped before its crash and forgot, it never stamps anything below that again. (Riak calls it a vnode
/// epoch; there, counters that fell back after a crash lost writes for years.)
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// The copy that ordered the write. Its id never comes back. Or a client, with the number of its request, where the
    /// stamp is the request's own: see [`Stamp::of_request`].
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

    /// The stamp of a request where the last writer wins: the same from whichever copy it comes, as often as it is sent. So
    /// an attempt that comes late is where the first one was, below whatever was written since.
    pub fn of_request(request: RequestId) -> Self {
        Self::of_attempt(request, 0)
    }

    /// A second name of a write where siblings are kept, whichever copy has stamped it: what has seen one attempt of a
    /// request has replaced all earlier ones.
    pub fn of_attempt(request: RequestId, attempt: u32) -> Self {
        let replica = ReplicaId(request.client | OF_A_CLIENT);
        let version = Version(request.issued.0.saturating_add(1).saturating_add(attempt.into()));
        Self { version, actor: Actor { replica, incarnation: Incarnation(request.sequence) } }
    }
}

impl Actor {
    /// True for a client's request.
    pub fn is_of_client(&self) -> bool {
        self.replica.0 & OF_A_CLIENT != 0
    }
}
