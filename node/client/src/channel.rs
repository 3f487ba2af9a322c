//! Connections to nodes: made within a bounded time, and given up when the other end falls silent.

use std::time::Duration;

use tokio::time::timeout;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::door::{self, Door, Place};
use crate::secret::Secrets;

/// A node that is up takes a connection sooner.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A stream that lasted longer did work; one that broke sooner is made anew after a longer pause each time.
pub(crate) const LASTING: Duration = Duration::from_secs(1);
/// A connection that is silent so long is asked whether it lives.
const KEEPALIVE: Duration = Duration::from_secs(1);
/// Without an answer for so long it is given up: a paused node must not hold up its clients for longer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Room for many frames on their way, so that they do not wait for window updates.
const WINDOW_BYTES: u32 = 8 << 20;

/// No connection.
#[derive(Debug, thiserror::Error)]
#[error("failed to connect to {address}")]
pub(crate) struct ConnectFailed {
    address: String,
    #[source]
    why: Why,
}

#[derive(Debug, thiserror::Error)]
enum Why {
    #[error(transparent)]
    Transport(#[from] tonic::transport::Error),
    #[error("no connection within {} ms", CONNECT_TIMEOUT.as_millis())]
    Time,
    #[error("it has not said where its ports are: {}", .0.message())]
    Doors(#[from] Box<Status>),
}

/// Connects to `host:port`. A name is looked up anew each time: whoever has it now is meant.
pub(crate) async fn connect(address: &str) -> Result<Channel, ConnectFailed> {
    let connected = async {
        Endpoint::from_shared(format!("http://{address}"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .connect()
            .await
    };
    // The transport's own time-out begins when the name is looked up already, which may take long.
    let connected = timeout(CONNECT_TIMEOUT, connected).await.map_err(|_| Why::Time);
    let connected = connected.and_then(|connected| connected.map_err(Why::Transport));
    connected.map_err(|why| ConnectFailed { address: address.to_owned(), why })
}

/// Connects to a door of the node whose clients' port is at this address. With the secrets that may be sent there.
pub(crate) async fn open(address: &str, door: Door, secrets: &Secrets) -> Result<(Channel, Secrets), ConnectFailed> {
    let channel = connect(address).await?;
    let found = door::find(channel.clone(), address, door).await;
    let (_, place) =
        found.map_err(|status| ConnectFailed { address: address.to_owned(), why: Box::new(status).into() })?;
    match place {
        Place::At(place) => Ok((connect(&place).await?, secrets.clone())),
        Place::WithClients => Ok((channel, Secrets::default())),
    }
}
