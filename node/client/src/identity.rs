//! What any node answers, with or without an identity: who it is, and the call that makes a database on its empty volume.
//! One call to one address each; whoever asks decides what to ask again.

use std::time::Duration;

use skerry_core::ids::{ClusterId, Incarnation, NodeId};
use skerry_proto::v1;
use skerry_proto::v1::found_response;
use skerry_proto::v1::identity_service_client::IdentityServiceClient;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status};

use crate::channel::{self, ConnectFailed, said};
use crate::door::Door;
use crate::secret::Secrets;
use crate::wire::{Malformed, Wire};

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The database that it was started for.
    pub cluster: ClusterId,
    /// Its id. `None` = none yet: its volume is empty, or not opened yet.
    pub node: Option<NodeId>,
    /// This start of it. `None` = not counted yet.
    pub incarnation: Option<Incarnation>,
    /// The node's failure domain. Empty = none named.
    pub zone: String,
    /// `host:port` where the others reach it.
    pub address: String,
    /// Version of the node's program.
    pub version: String,
    /// Where the other nodes reach it, on the same host. `None` = where its clients do: it is of the release before.
    pub peer_port: Option<u16>,
    /// Where it takes orders, on the same host. `None` = where its clients are: it is of the release before.
    pub admin_port: Option<u16>,
    /// What keeps its data: `sled` or `fjall`. `None` = it does not say: it is of a release before this field.
    pub engine: Option<String>,
}

/// A database that was made, durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Founded {
    /// The node that founded the database and holds its data.
    pub node: NodeId,
    /// It had been made on this volume before the call.
    pub repeated: bool,
}

/// Why a node did not make the database. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoundingRefusal {
    /// The node was started for another database.
    #[error("this node is of database {own}, not of {asked}")]
    OtherDatabase {
        /// Id of the database that the node was started for.
        own: ClusterId,
        /// Id of the database that the call named.
        asked: ClusterId,
    },
    /// The node did not make the database, but is in it.
    #[error("this node is node {node} of the database already")]
    HasIdentity {
        /// Id that the node has in the database.
        node: NodeId,
    },
    /// The database is there: the node is to join it.
    #[error("the node at {seed} is in the database already: this one is to join it")]
    DatabaseExists {
        /// `host:port` of the node that said so.
        seed: String,
    },
    /// The database cannot be founded now, but perhaps later.
    #[error("the database cannot be made now: {why}")]
    NotNow {
        /// What stands in the way, in words.
        why: String,
    },
}

/// Why a node did not say who it is, or did not make the database.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is no connection to the node: nothing was sent.
    #[error("failed to reach the node at {address}")]
    Unreached {
        /// `host:port` of the node.
        address: String,
        /// Why. `None` = time was up.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The connection broke, or time was up, before the node answered.
    #[error("the node at {address} has not answered")]
    Unanswered {
        /// `host:port` of the node.
        address: String,
        /// True if a database may have been made.
        may_have_happened: bool,
        /// Why. `None` = time was up.
        #[source]
        source: Option<Box<Status>>,
    },
    /// The node makes no database. Nothing has changed.
    #[error(transparent)]
    Refused(#[from] FoundingRefusal),
    /// What is there is no node, does not know the request, or demands its secret. Nothing has changed.
    #[error("the node at {address} does not take the request: {}", said(status))]
    Rejected {
        /// `host:port` of the node.
        address: String,
        /// The gRPC status that the node answered with.
        status: Box<Status>,
    },
    /// The node's answer cannot be understood.
    #[error("failed to understand the node's answer")]
    Answer {
        /// True if a database may have been made.
        may_have_happened: bool,
        /// What is wrong with the answer.
        #[source]
        source: Malformed,
    },
}

impl IdentityError {
    /// True if the same may be asked again, after a pause. Both calls may be repeated.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unreached { .. } | Self::Unanswered { .. } | Self::Refused(FoundingRefusal::NotNow { .. }) => true,
            Self::Refused(_) | Self::Rejected { .. } | Self::Answer { .. } => false,
        }
    }

    /// True if a database may have been made all the same.
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::Unanswered { may_have_happened, .. } | Self::Answer { may_have_happened, .. } => *may_have_happened,
            Self::Unreached { .. } | Self::Refused(_) | Self::Rejected { .. } => false,
        }
    }
}

/// Asks the node at `host:port` who it is.
pub async fn identify(address: &str, deadline: Duration) -> Result<Identity, IdentityError> {
    let call = Call { address, until: Instant::now() + deadline, changes: false };
    let channel = call.reached(channel::connect(address)).await?;
    let mut node = IdentityServiceClient::new(channel);
    let answer = call.answer(node.identify(v1::IdentifyRequest {})).await?;
    Identity::from_wire(answer).map_err(|source| IdentityError::Answer { may_have_happened: false, source })
}

/// Has the node at `host:port`, whose volume is empty, make the database. When this returns, it is durable.
pub async fn found(
    address: &str,
    cluster: &ClusterId,
    secrets: &Secrets,
    deadline: Duration,
) -> Result<Founded, IdentityError> {
    let call = Call { address, until: Instant::now() + deadline, changes: true };
    let (channel, secrets) = call.reached(channel::open(address, Door::Admin, secrets)).await?;
    let answered = secrets.present(|presented| {
        let mut node = IdentityServiceClient::with_interceptor(channel.clone(), presented);
        async move { node.found(v1::FoundRequest { cluster_id: cluster.0.clone() }).await }
    });
    let answer = call.answer(answered).await?;
    let unclear = |source| IdentityError::Answer { may_have_happened: true, source };
    match answer.result.ok_or(Malformed::Missing("result")).map_err(unclear)? {
        found_response::Result::Founded(v1::Founded { node_id, is_repeated }) => {
            Ok(Founded { node: NodeId(node_id), repeated: is_repeated })
        }
        found_response::Result::Refusal(refusal) => {
            let refusal = FoundingRefusal::from_wire(refusal);
            Err(refusal.map_err(|source| IdentityError::Answer { may_have_happened: false, source })?.into())
        }
    }
}

struct Call<'a> {
    address: &'a str,
    until: Instant,
    changes: bool,
}

impl Call<'_> {
    async fn reached<T>(&self, connecting: impl Future<Output = Result<T, ConnectFailed>>) -> Result<T, IdentityError> {
        let unreached = |source| IdentityError::Unreached { address: self.address.to_owned(), source };
        match timeout_at(self.until, connecting).await {
            Ok(connected) => connected.map_err(|error| unreached(Some(error.into()))),
            Err(_) => Err(unreached(None)),
        }
    }

    async fn answer<T>(
        &self,
        answer: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, IdentityError> {
        let unanswered = |source| IdentityError::Unanswered {
            address: self.address.to_owned(),
            may_have_happened: self.changes,
            source,
        };
        match timeout_at(self.until, answer).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) if is_final(status.code()) => {
                Err(IdentityError::Rejected { address: self.address.to_owned(), status: Box::new(status) })
            }
            Ok(Err(status)) => Err(unanswered(Some(Box::new(status)))),
            Err(_) => Err(unanswered(None)),
        }
    }
}

/// What a node says before it does anything; every other code may be the transport's word for a broken connection.
fn is_final(code: Code) -> bool {
    matches!(code, Code::Unimplemented | Code::InvalidArgument | Code::Unauthenticated)
}

#[cfg(test)]
mod tests {
    use skerry_proto::v1::identity_service_server::{IdentityService, IdentityServiceServer};
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::transport::Server;
    use tonic::{Request, Response};

    use super::*;

    /// Nobody listens on port 1 of this machine.
    const NOBODY: &str = "127.0.0.1:1";

    #[tokio::test]
    async fn an_address_without_a_node_is_unreached_and_nothing_has_happened() {
        let cluster = ClusterId("shop".into());
        let error = found(NOBODY, &cluster, &Secrets::default(), Duration::from_secs(5)).await.unwrap_err();
        assert!(matches!(error, IdentityError::Unreached { .. }), "{error}");
        assert!(error.retryable() && !error.may_have_happened());
        let error = identify("name-that-does-not-resolve.invalid:7400", Duration::from_secs(5)).await.unwrap_err();
        assert!(matches!(error, IdentityError::Unreached { .. }), "{error}");
    }

    /// Says who it is, and answers nothing else.
    struct Silent;

    #[tonic::async_trait]
    impl IdentityService for Silent {
        async fn identify(&self, _: Request<v1::IdentifyRequest>) -> Result<Response<v1::Identity>, Status> {
            Ok(Response::new(v1::Identity { cluster_id: "shop".to_owned(), ..v1::Identity::default() }))
        }

        async fn found(&self, _: Request<v1::FoundRequest>) -> Result<Response<v1::FoundResponse>, Status> {
            std::future::pending().await
        }
    }

    #[tokio::test]
    async fn a_call_that_is_not_answered_in_time_may_have_happened_if_it_was_sent() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap().to_string();
        let (cluster, none, short) = (ClusterId("shop".into()), Secrets::default(), Duration::from_millis(500));
        let error = found(&address, &cluster, &none, short).await.unwrap_err();
        assert!(!error.may_have_happened() && error.retryable(), "{error}");
        let error = identify(&address, short).await.unwrap_err();
        assert!(!error.may_have_happened() && error.retryable(), "{error}");
        let server = Server::builder().add_service(IdentityServiceServer::new(Silent));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(silent)));
        let error = found(&address, &cluster, &none, short).await.unwrap_err();
        assert!(error.may_have_happened() && error.retryable(), "{error}");
    }
}
