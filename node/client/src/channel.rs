//! Connections to nodes: made within a bounded time, and given up when the other end falls silent.

use std::time::Duration;

use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::dial::{self, DialError};
use crate::door::{self, Door, Place};
use crate::secret::Secrets;

/// A node to which there is a connection takes a stream sooner.
pub(crate) const OPEN_TIMEOUT: Duration = Duration::from_secs(1);
/// A stream that lasted longer did work; one that broke sooner is made anew after a longer pause each time.
pub(crate) const LASTING: Duration = Duration::from_secs(1);
/// A connection that is silent so long is asked whether it lives.
const KEEPALIVE: Duration = Duration::from_secs(1);
/// Without an answer for so long it is given up: a paused node must not hold up its clients for longer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Room for many frames on their way, so that they do not wait for window updates.
const WINDOW_BYTES: u32 = 8 << 20;

/// No connection to a node could be made.
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
    #[error("it is not an address as in host:7400")]
    Address,
    #[error("it has not said where its ports are: {}", said(.0))]
    Doors(#[from] Box<Status>),
}

/// What a node said. Some answers have a code and no message.
pub(crate) fn said(status: &Status) -> String {
    match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    }
}

impl ConnectFailed {
    /// True if asking again in a moment would most likely end the same way: nobody listens there, or nobody knows the
    /// name. False where somebody may only be slow.
    pub(crate) fn is_plain(&self) -> bool {
        causes(self).any(|cause| cause.downcast_ref::<DialError>().is_some_and(DialError::is_plain))
            || matches!(&self.why, Why::Address)
    }

    /// What is at the bottom of it.
    pub(crate) fn root(&self) -> String {
        causes(self).last().map(ToString::to_string).unwrap_or_default()
    }
}

fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// Connects to `host:port`. A name is looked up anew each time: whoever has it now is meant.
pub(crate) async fn connect(address: &str) -> Result<Channel, ConnectFailed> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let endpoint = endpoint.map_err(|_| ConnectFailed { address: address.to_owned(), why: Why::Address })?;
    let endpoint = endpoint
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    let connected = dial::channel(endpoint).await.map_err(Why::Transport);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_there_is_told_apart_from_somebody_slow() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let refused = connect(&free.to_string()).await.unwrap_err();
        assert!(refused.is_plain() && refused.root().contains("refused"), "{}", refused.root());
        let bad = connect("no address").await.unwrap_err();
        assert!(bad.is_plain(), "{}", bad.root());
    }

    #[test]
    fn answers_without_a_message_are_told_by_their_code() {
        assert_eq!(said(&Status::unavailable("")), "The service is currently unavailable");
        assert_eq!(said(&Status::unavailable("closing")), "closing");
    }
}
