//! The connections of one port: so many at most, none that says nothing for long, and no haste where the process has no
//! open file left for another.

mod places;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::service::Interceptor;
use tonic::transport::server::Connected;
use tonic::{Request, Status};
use tracing::{info, warn};

use self::places::Place;
pub use self::places::Places;
use crate::session::Untaken;

/// A connection from which no byte has come for so long is closed. One that lives answers the pings that it gets every ten
/// seconds.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// The beginning of the protocol must have come after this time: whoever sends it byte by byte means no good.
const OPENING_MAX: Duration = Duration::from_secs(10);
/// Bytes of that beginning: what every HTTP/2 connection starts with, and no HTTP/1 request is shorter.
const OPENING_BYTES: usize = 24;
/// A connection of the small HTTP server is closed at this age: its protocol has no pings, and its requests are short.
const HTTP_AGE_MAX: Duration = Duration::from_secs(60);
/// Between two tries to take a connection in while there is no open file left for it.
const RETRY: Duration = Duration::from_millis(500);

/// What a call knows of its connection.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Not there once the connection is closed.
    place: Weak<Place>,
    /// What its client has not taken yet.
    pub(super) untaken: Arc<Untaken>,
}

impl Caller {
    /// The limit that its connection is beyond, if it is.
    fn beyond(&self) -> Option<usize> {
        self.place.upgrade()?.beyond()
    }

    /// A call has shown the database's secret: no stranger pushes its connection out any more.
    pub(super) fn has_shown_the_secret(&self) {
        if let Some(place) = self.place.upgrade() {
            place.has_shown_the_secret();
        }
    }
}

/// Refuses the calls of connections beyond the limit. Nothing happened.
#[derive(Debug, Clone, Copy)]
pub(super) struct RefuseBeyond;

impl Interceptor for RefuseBeyond {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        match request.extensions().get::<Caller>().and_then(Caller::beyond) {
            Some(most) => {
                Err(Status::resource_exhausted(format!("this port has {most} connections, its most: try again later")))
            }
            None => Ok(request),
        }
    }
}

/// A listener whose connections are counted and watched.
#[derive(Debug)]
pub struct Incoming {
    listener: TcpListener,
    places: Arc<Places>,
    /// There was no open file left at the last try.
    is_starved: bool,
}

impl Incoming {
    /// Takes connections of a listener in.
    pub fn new(listener: TcpListener, places: Arc<Places>) -> Self {
        Self { listener, places, is_starved: false }
    }

    /// The next connection. Says once that there is no open file left for any, and once that there is again.
    async fn next(&mut self) -> Guarded {
        loop {
            match self.listener.accept().await {
                Ok((stream, from)) => {
                    if std::mem::take(&mut self.is_starved) {
                        info!("connections are taken again");
                    }
                    // Closed by being dropped.
                    if stream.set_nodelay(true).is_ok()
                        && let Some(place) = self.places.take(from.ip())
                    {
                        return Guarded::new(stream, from, place);
                    }
                }
                // Of that one connection alone.
                Err(error) if is_of_connection(&error) => {}
                Err(error) => {
                    if !std::mem::replace(&mut self.is_starved, true) {
                        warn!(%error, "no connection can be taken: tried again twice a second");
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// For a server that takes a stream.
    pub(super) fn into_stream(self) -> impl Stream<Item = io::Result<Guarded>> {
        futures::stream::unfold(self, |mut incoming| async move {
            let next = incoming.next().await;
            Some((Ok(next), incoming))
        })
    }
}

fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Whoever needs a connection's place or memory ends it, whether its client reads, writes or does nothing.
fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "its place or its memory is needed")
}

/// A connection that is closed when nothing comes from it for too long, or when somebody else needs its place.
#[derive(Debug)]
pub struct Guarded {
    stream: TcpStream,
    from: SocketAddr,
    place: Arc<Place>,
    untaken: Arc<Untaken>,
    opened: Instant,
    last: Instant,
    bytes: usize,
    /// Since when its client has taken nothing of what is there to be taken.
    blocked: Option<Instant>,
    /// When it is closed, whatever comes.
    ends: Option<Instant>,
    alarm: Pin<Box<Sleep>>,
}

impl Guarded {
    fn new(stream: TcpStream, from: SocketAddr, place: Place) -> Self {
        let now = Instant::now();
        let alarm = Box::pin(sleep_until(now + OPENING_MAX));
        let untaken = Arc::new(Untaken::of(place.end().clone()));
        let place = Arc::new(place);
        Self { stream, from, place, untaken, opened: now, last: now, bytes: 0, blocked: None, ends: None, alarm }
    }

    /// When it is closed if nothing happens. Who has not taken what it was sent is not read from meanwhile.
    fn deadline(&self) -> Instant {
        let silence = match self.blocked {
            Some(since) => since.max(self.last) + SILENCE_MAX,
            None if self.bytes < OPENING_BYTES => self.opened + OPENING_MAX,
            None => self.last + SILENCE_MAX,
        };
        self.ends.map_or(silence, |ends| silence.min(ends))
    }

    /// Ready when it is to be closed. The alarm is set anew only when it goes off: a connection that is busy costs
    /// nothing here.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            ready!(self.alarm.as_mut().poll(context));
            let deadline = self.deadline();
            if Instant::now() >= deadline {
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "nothing has come for too long"));
            }
            self.alarm.as_mut().reset(deadline);
        }
    }

    /// What became of a write.
    fn wrote(&mut self, written: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(bytes)) => {
                self.blocked = None;
                self.untaken.written(*bytes);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                self.blocked.get_or_insert_with(Instant::now);
                return self.poll_deadline(context).map(Err);
            }
        }
        written
    }

    fn is_too_old(&self) -> bool {
        self.ends.is_some_and(|ends| Instant::now() >= ends)
    }
}

/// Lets the small HTTP server take its connections from here.
impl axum::serve::Listener for Incoming {
    type Io = Guarded;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guarded, SocketAddr) {
        let mut next = self.next().await;
        next.ends = Some(next.opened + HTTP_AGE_MAX);
        let from = next.from;
        (next, from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connected for Guarded {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        Caller { place: Arc::downgrade(&self.place), untaken: self.untaken.clone() }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.is_too_old() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if self.place.end().poll(context) {
            return Poll::Ready(Err(ended()));
        }
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, buffer) {
            self.bytes = self.bytes.saturating_add(buffer.filled().len() - before);
            self.last = Instant::now();
            return Poll::Ready(read);
        }
        self.poll_deadline(context).map(Err)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // The transport's buffers go with it.
        self.untaken.flushed();
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.place.end().poll(context) {
            return Poll::Ready(Err(ended()));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Asked for when all that there was has been written.
        self.untaken.flushed();
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.place.end().poll(context) {
            return Poll::Ready(Err(ended()));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.wrote(written, context)
    }
}

#[cfg(test)]
mod tests;
