//! The connection of one session: made when there is something to send, and made anew when it breaks.

use std::future::poll_fn;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use skerry_core::client::progress::pause;
use skerry_core::ids::NodeId;
use skerry_core::time::Version;
use skerry_proto::v1;
use skerry_proto::v1::kv_service_client::KvServiceClient;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Status;
use tracing::debug;

use super::in_flight::{Frames, InFlight, Queue};
use super::{NotSent, Submission};
use crate::channel::{self, LASTING, OPEN_TIMEOUT};
use crate::request_ids::RequestIds;
use crate::retry::jittered;
use crate::routes::Routes;

/// A node's frame is at most this long, so that a page of large records fits beside others.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// A failed connection is tried again no later than this.
const REFUSE_MAX: Duration = Duration::from_millis(250);

pub(super) struct Link {
    pub(super) node: NodeId,
    pub(super) queue: Queue,
    pub(super) routes: watch::Receiver<Arc<Routes>>,
    pub(super) request_ids: Arc<RequestIds>,
}

/// Why a session did not come about.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("the node is not in the map")]
    Unknown,
    #[error(transparent)]
    Connect(#[from] channel::ConnectFailed),
    #[error("failed to open the session: {0}")]
    Session(#[from] Box<Status>),
    #[error("the node has not answered in time")]
    Silent,
}

impl Link {
    pub(super) async fn run(self) {
        let mut failures = 0;
        while let Some(first) = self.receive().await {
            let began = Instant::now();
            if let Err(error) = self.session(first).await {
                debug!(node = self.node.0, %error, "node cannot be reached");
            } else if began.elapsed() > LASTING {
                failures = 0;
                continue;
            }
            self.refuse_for(jittered(pause(failures).min(REFUSE_MAX))).await;
            failures += 1;
        }
    }

    async fn receive(&self) -> Option<Submission> {
        poll_fn(|cx| self.queue.lock().unwrap_or_else(PoisonError::into_inner).poll_recv(cx)).await
    }

    /// Connects and serves until the connection breaks. An error = there was no connection.
    async fn session(&self, first: Submission) -> Result<(), OpenError> {
        let in_flight = Arc::new(InFlight::default());
        let served = self.serve(&in_flight, first).await;
        in_flight.close();
        served
    }

    async fn serve(&self, in_flight: &Arc<InFlight>, first: Submission) -> Result<(), OpenError> {
        let (address, cluster_id) = {
            let routes = self.routes.borrow();
            let address = routes.map.nodes.get(&self.node).map(|record| record.address.clone());
            (address, routes.map.cluster.0.clone())
        };
        let channel = match address {
            Some(address) => channel::connect(&address).await.map_err(OpenError::from),
            None => Err(OpenError::Unknown),
        };
        let channel = match channel {
            Ok(channel) => channel,
            Err(error) => {
                let _gone = first.reply.send(Err(NotSent));
                return Err(error);
            }
        };
        let (in_flight, queue) = (Arc::clone(in_flight), Arc::clone(&self.queue));
        let frames = Frames { in_flight: Arc::clone(&in_flight), queue, cluster_id, first: Some(first) };
        let mut client = KvServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        let opened = timeout(OPEN_TIMEOUT, client.session(frames)).await.map_err(|_| OpenError::Silent)?;
        let mut answers = opened.map_err(Box::new)?.into_inner();
        loop {
            match answers.message().await {
                Ok(Some(v1::SessionResponse { header, results })) => {
                    if let Some(header) = header {
                        self.request_ids.see(Version(header.stamp));
                    }
                    in_flight.answer(results);
                }
                Ok(None) => return Ok(()),
                Err(status) => {
                    debug!(node = self.node.0, %status, "session broke");
                    return Ok(());
                }
            }
        }
    }

    /// Tells whoever comes that there is no connection, so that they can try elsewhere.
    async fn refuse_for(&self, duration: Duration) {
        let until = Instant::now() + duration;
        loop {
            tokio::select! {
                biased;
                () = sleep_until(until) => return,
                submission = self.receive() => match submission {
                    Some(submission) => { let _gone = submission.reply.send(Err(NotSent)); }
                    None => return,
                },
            }
        }
    }
}
