//! How a database is made by a call: the way of that call to the one place which decides where an empty volume's identity
//! comes from, and what this node is meanwhile, for whoever asks.

use std::sync::Arc;

use skerry_client::{Founded, FoundingRefusal};
use skerry_core::ids::{ClusterId, Incarnation, NodeId};
use tokio::sync::{mpsc, oneshot, watch};

/// Founding calls that wait at most: one asker repeats its call, a second one is a mistake.
const CALLS_MAX: usize = 4;
/// Id of the node that founds a database.
pub const FOUNDER: NodeId = NodeId(1);

/// Whether this node belongs to a database yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its volume is not opened yet.
    Opening,
    /// Its volume is empty: it waits for a seed, or for the founding call.
    Blank,
    /// It is a node of its database.
    Member {
        /// Id of the node in its database.
        node: NodeId,
        /// `None` = this start is not counted yet.
        incarnation: Option<Incarnation>,
    },
    /// It was removed from its database.
    Removed {
        /// Id that the node had in the database.
        node: NodeId,
    },
}

impl Standing {
    /// Id of the node in its database. `None` = it has none yet.
    pub fn node(&self) -> Option<NodeId> {
        match self {
            Self::Member { node, .. } | Self::Removed { node } => Some(*node),
            Self::Opening | Self::Blank => None,
        }
    }

    /// Incarnation of this start. `None` = not counted yet, or the node is no member.
    pub fn incarnation(&self) -> Option<Incarnation> {
        match self {
            Self::Member { incarnation, .. } => *incarnation,
            Self::Opening | Self::Blank | Self::Removed { .. } => None,
        }
    }
}

/// A founding call: answered with `Ok` once the database is durable.
pub type Call = oneshot::Sender<Result<(), FoundingRefusal>>;

/// The end of the callers, who found the database or ask what the node is.
#[derive(Debug)]
pub struct Founding {
    cluster: ClusterId,
    standing: watch::Sender<Standing>,
    calls: mpsc::Sender<Call>,
}

/// Makes both ends. The calls go to whoever decides; dropping that end says that it is decided.
pub fn founding(cluster: ClusterId) -> (Arc<Founding>, mpsc::Receiver<Call>) {
    let (calls, receiver) = mpsc::channel(CALLS_MAX);
    (Arc::new(Founding { cluster, standing: watch::Sender::new(Standing::Opening), calls }), receiver)
}

impl Founding {
    /// Notes that the node has this standing from now on.
    pub fn becomes(&self, standing: Standing) {
        self.standing.send_replace(standing);
    }

    /// The node was removed from its database, for good.
    pub fn removed(&self) {
        self.standing.send_if_modified(|standing| match *standing {
            Standing::Member { node, .. } => {
                *standing = Standing::Removed { node };
                true
            }
            Standing::Opening | Standing::Blank | Standing::Removed { .. } => false,
        });
    }

    /// Waits until the node has been removed.
    pub async fn await_removed(&self) {
        let mut standing = self.standing.subscribe();
        // It cannot end before its sender, which is here.
        let _removed = standing.wait_for(|standing| matches!(standing, Standing::Removed { .. })).await;
    }

    /// Whether the node belongs to a database now.
    pub fn standing(&self) -> Standing {
        *self.standing.borrow()
    }

    /// Has the database made, if this is its place and its time.
    pub async fn found(&self, asked: ClusterId) -> Result<Founded, FoundingRefusal> {
        if asked != self.cluster {
            return Err(FoundingRefusal::OtherDatabase { own: self.cluster.clone(), asked });
        }
        let not_now = |why: &str| FoundingRefusal::NotNow { why: why.to_owned() };
        match self.standing() {
            Standing::Blank => {}
            Standing::Opening => return Err(not_now("the node opens its volume")),
            Standing::Member { node, .. } | Standing::Removed { node } => return repeated(node),
        }
        let (call, answer) = oneshot::channel();
        match self.calls.try_send(call) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(not_now("other founding calls wait already")),
            // Decided meanwhile.
            Err(mpsc::error::TrySendError::Closed(_)) => return self.decided(),
        }
        match answer.await {
            Ok(Ok(())) => Ok(Founded { node: FOUNDER, repeated: false }),
            Ok(Err(refusal)) => Err(refusal),
            Err(_) => self.decided(),
        }
    }

    /// Another call, or a seed, came first; or the node ends.
    fn decided(&self) -> Result<Founded, FoundingRefusal> {
        match self.standing().node() {
            Some(node) => repeated(node),
            None => Err(FoundingRefusal::NotNow { why: "the node ends".to_owned() }),
        }
    }
}

/// The founder of a database is its first node, and no other ever gets that id.
fn repeated(node: NodeId) -> Result<Founded, FoundingRefusal> {
    if node == FOUNDER { Ok(Founded { node, repeated: true }) } else { Err(FoundingRefusal::HasIdentity { node }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(3);

    fn shop() -> ClusterId {
        ClusterId("shop".into())
    }

    #[tokio::test]
    async fn a_call_for_another_database_is_refused_with_both_whatever_the_node_is() {
        let (founding, _calls) = founding(shop());
        let refusal = founding.found(ClusterId("other".into())).await.unwrap_err().to_string();
        assert!(refusal.contains("shop") && refusal.contains("other"), "{refusal}");
    }

    #[tokio::test]
    async fn only_the_first_node_counts_a_second_call_as_repeated() {
        let (founding, _calls) = founding(shop());
        founding.becomes(Standing::Member { node: FOUNDER, incarnation: None });
        assert_eq!(founding.found(shop()).await, Ok(Founded { node: FOUNDER, repeated: true }));
        founding.becomes(Standing::Member { node: NODE, incarnation: None });
        assert_eq!(founding.found(shop()).await, Err(FoundingRefusal::HasIdentity { node: NODE }));
    }

    #[tokio::test]
    async fn a_call_that_finds_the_node_joining_gets_the_id_that_it_joined_with() {
        let (founding, calls) = founding(shop());
        founding.becomes(Standing::Blank);
        let asked = founding.found(shop());
        let joined = async {
            tokio::task::yield_now().await;
            founding.becomes(Standing::Member { node: NODE, incarnation: None });
            drop(calls);
        };
        let (answer, ()) = tokio::join!(asked, joined);
        assert_eq!(answer, Err(FoundingRefusal::HasIdentity { node: NODE }));
    }

    #[tokio::test]
    async fn a_call_before_the_volume_is_open_may_be_repeated() {
        let (founding, _calls) = founding(shop());
        assert!(matches!(founding.found(shop()).await, Err(FoundingRefusal::NotNow { .. })));
    }
}
