//! One stream to one node: connects, sends whatever waits as one frame, and starts over when anything breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use skerry_client::dial;
use skerry_client::door::{self, Door, Place};
use skerry_client::secret::Presented;
use skerry_core::ids::NodeId;
use skerry_program::chain::chain;
use skerry_proto::v1::PeerFrame;
use skerry_proto::v1::peer_service_client::PeerServiceClient;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tracing::{debug, info, warn};

use super::{Batch, Context};
use crate::budget::Permit;
use crate::clock;
use crate::failpoints::Failpoint;
use crate::wire;

/// A frame takes what waits, up to about this many bytes of entries and records.
const FRAME_BYTES: usize = 1 << 20;
/// A frame takes so many messages at most.
const FRAME_MESSAGES_MAX: usize = 4_096;
/// A connection whose other end is silent so long, and then does not answer for as long again, is given up.
const KEEPALIVE: Duration = Duration::from_secs(1);
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// As large as a frame can be, so that a fresh connection takes one without waiting for window updates.
const WINDOW_BYTES: u32 = 8 << 20;

/// With what the peer demands on every call.
type Client = PeerServiceClient<InterceptedService<Channel, Presented>>;

/// Which of a peer's two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// The stream of everything but snapshots, which must be quick.
    Quick,
    /// Snapshots, which are large and may wait.
    Bulk,
}

pub(super) struct Link {
    pub(super) context: Context,
    pub(super) to: NodeId,
    pub(super) lane: Lane,
    pub(super) address: watch::Receiver<String>,
    pub(super) queue: mpsc::Receiver<Batch>,
    pub(super) bytes: Arc<AtomicUsize>,
    /// The memory of the frame that the transport took last.
    pub(super) sending: Option<Permit>,
    /// Which of the secrets is sent next.
    pub(super) secret: usize,
}

/// Why a stream to a peer ended.
enum Ended {
    /// The node stops, or the peer was removed.
    ForGood,
    /// The peer has another address now.
    Moved,
    /// The peer does not take what this node says: wrong database, wrong node, or a start that is over.
    Refused { why: String },
    /// The peer does not know the secret that was sent.
    Stranger { why: String },
    /// It broke, after it had worked for a while or before.
    Broken { worked: bool, why: String },
}

impl Link {
    pub(super) async fn run(mut self) {
        let stop = self.context.stop.clone();
        let mut backoff = BACKOFF_FIRST;
        let (mut said, mut is_reached) = (None, true);
        loop {
            let ended = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                ended = self.stream() => ended,
            };
            match ended {
                Ended::ForGood => return,
                Ended::Moved => {
                    backoff = BACKOFF_FIRST;
                    self.forget_queued();
                    continue;
                }
                // The peer may know another.
                Ended::Stranger { .. } if self.next_secret() => continue,
                Ended::Refused { why } | Ended::Stranger { why } => {
                    if said.as_ref() != Some(&why) {
                        warn!(peer = self.to.0, why, "peer refuses this node");
                        said = Some(why);
                    }
                }
                Ended::Broken { worked: true, why } => {
                    info!(peer = self.to.0, why, "stream to peer broke");
                    backoff = BACKOFF_FIRST;
                    is_reached = true;
                }
                // Once an outage, not once a try.
                Ended::Broken { worked: false, why } if is_reached => {
                    info!(peer = self.to.0, why, "peer is not reached");
                    is_reached = false;
                }
                Ended::Broken { worked: false, why } => debug!(peer = self.to.0, why, "peer is still not reached"),
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(backoff) => {}
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
            self.forget_queued();
        }
    }

    /// Waits for something to send, connects, and sends until something ends it.
    async fn stream(&mut self) -> Ended {
        let Some(first) = self.queue.recv().await else { return Ended::ForGood };
        let address = self.address.borrow_and_update().clone();
        let mut next = Some(first);
        let ended = match self.open(&address).await {
            Ok(client) => self.send_all(client, &mut next).await,
            Err(why) => Ended::Broken { worked: false, why },
        };
        if let Some(batch) = next {
            self.drop_batch(&batch);
        }
        self.sending = None;
        ended
    }

    /// To the peer's port for nodes. One of the release before has none, and is sent no secret.
    async fn open(&self, address: &str) -> Result<Client, String> {
        let channel = connect(address).await?;
        let found = door::find(channel.clone(), address, Door::Peers).await.map_err(|s| s.message().to_owned())?;
        let (channel, mut presented) = match found.1 {
            Place::At(place) => (connect(&place).await?, self.context.keyring.secrets().to_send()),
            Place::WithClients => (channel, vec![Presented::default()]),
        };
        let presented = presented.swap_remove(self.secret.min(presented.len() - 1));
        Ok(PeerServiceClient::with_interceptor(channel, presented))
    }

    /// False if all were sent: then it is the first one's turn again.
    fn next_secret(&mut self) -> bool {
        let is_there = self.secret + 1 < self.context.keyring.secrets().to_send().len();
        self.secret = if is_there { self.secret + 1 } else { 0 };
        is_there
    }

    async fn send_all(&mut self, mut client: Client, next: &mut Option<Batch>) -> Ended {
        let began = Instant::now();
        let (frames, outgoing) = mpsc::channel(1);
        let outgoing = ReceiverStream::new(outgoing);
        let lane = self.lane;
        let call = async move {
            match lane {
                Lane::Quick => client.stream(outgoing).await,
                Lane::Bulk => client.bulk(outgoing).await,
            }
        };
        tokio::pin!(call);
        loop {
            tokio::select! {
                biased;
                ended = &mut call => {
                    let why = ended.err();
                    return self.ended(why.as_ref(), began.elapsed() > BACKOFF_MAX);
                }
                moved = self.address.changed() => return if moved.is_ok() { Ended::Moved } else { Ended::ForGood },
                batch = self.queue.recv(), if next.is_none() => match batch {
                    Some(batch) => *next = Some(batch),
                    None => return Ended::ForGood,
                },
                permit = frames.reserve(), if next.is_some() => {
                    let (Ok(permit), Some(first)) = (permit, next.take()) else {
                        return Ended::Broken { worked: true, why: "stream closed".to_owned() };
                    };
                    permit.send(self.frame(first));
                }
            }
        }
    }

    /// What the peer said at the stream's end means.
    fn ended(&self, status: Option<&Status>, worked: bool) -> Ended {
        match status {
            Some(status) if status.code() == Code::FailedPrecondition => {
                match status.get_details_error_info().map(|info| info.reason).as_deref() {
                    Some("REMOVED") => self.context.founding.removed(),
                    Some("GIVEN_UP") => self.context.vitals.given_up(clock::monotonic_ms()),
                    Some(_) | None => {}
                }
                Ended::Refused { why: status.message().to_owned() }
            }
            Some(status) if status.code() == Code::Unauthenticated => {
                Ended::Stranger { why: status.message().to_owned() }
            }
            Some(status) => Ended::Broken { worked, why: status.message().to_owned() },
            None => Ended::Broken { worked, why: "peer ended it".to_owned() },
        }
    }

    /// Makes one frame from the batches that wait.
    fn frame(&mut self, first: Batch) -> PeerFrame {
        Failpoint::LinkPanics.panic();
        self.bytes.fetch_sub(first.bytes, Ordering::AcqRel);
        let Batch { mut messages, mut bytes, permit: mut sent } = first;
        while bytes < FRAME_BYTES && messages.len() < FRAME_MESSAGES_MAX {
            let Ok(batch) = self.queue.try_recv() else { break };
            self.bytes.fetch_sub(batch.bytes, Ordering::AcqRel);
            bytes += batch.bytes;
            sent.merge(batch.permit);
            messages.extend(batch.messages);
        }
        // The transport has the frame before this one by now: it takes the next one only then.
        self.sending = Some(sent);
        self.context.metrics.peers.sent.inc_by(messages.len() as u64);
        wire::peer_frame(&self.context.sender, self.to, messages)
    }

    fn forget_queued(&mut self) {
        while let Ok(batch) = self.queue.try_recv() {
            self.drop_batch(&batch);
        }
    }

    fn drop_batch(&self, batch: &Batch) {
        self.bytes.fetch_sub(batch.bytes, Ordering::AcqRel);
        self.context.metrics.peers.dropped.inc_by(batch.messages.len() as u64);
    }
}

/// A name is looked up anew each time: whoever has it now is meant. An error is words for the log.
async fn connect(address: &str) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|e| chain(&e))?;
    let endpoint = endpoint
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    dial::channel(endpoint).await.map_err(|e| chain(&e))
}
