//! Answers on their way to clients, in pieces: counted in the node's memory budget until the transport has passed them on.
//!
//! The transport takes what it is given whole, and keeps it for as long as its client does not read. So it is given a
//! small piece at a time, and asks for the next one when the one before is on its way: within the client's window, and up
//! to a bound of its own. What it has then counts for the connection until it is written. It takes a piece when the window
//! has room for the first byte, and then asks for the next one, so the last two pieces may be beyond the window. They
//! count all the same, but for the very last one of an answer, which is small. A stream has no last one before it ends:
//! the piece that was given last counts until there is another one, so its messages need no small end of their own.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use prost::Message;
use tonic::Response;
use tonic::body::Body;
use tonic::codegen::{Body as HttpBody, Service, http};
use tower_layer::Layer;

use super::incoming::Caller;
use crate::budget::{Budget, Kind, Permit};
use crate::session::{Connections, Ticket};

/// As much as a frame of HTTP/2 takes where nothing else is agreed: larger pieces are parted by the transport anyway.
const PIECE_BYTES: usize = 16 << 10;

/// The last piece of an answer at most: what the transport may keep of it uncounted, for a client whose window is closed.
const LAST_BYTES_MAX: usize = 1 << 10;

/// The memory of an answer that is made but not encoded yet.
#[derive(Debug, Clone)]
struct Held(Arc<Permit>);

/// An answer, whose memory is counted from now on.
pub(super) fn counted<T: Message>(budget: &Arc<Budget>, answer: T) -> Response<T> {
    let held = Held(Arc::new(budget.charge(Kind::Answers, answer.encoded_len())));
    let mut response = Response::new(answer);
    response.extensions_mut().insert(held);
    response
}

/// Marks an answer that goes on for long, in many messages.
#[derive(Debug, Clone)]
struct Lasting;

/// A stream of messages, each of which is paced as a whole.
pub(super) fn lasting<T>(stream: T) -> Response<T> {
    let mut response = Response::new(stream);
    response.extensions_mut().insert(Lasting);
    response
}

/// Has every answer of a server go out in pieces.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    pub(super) budget: Arc<Budget>,
    pub(super) connections: Arc<Connections>,
}

impl<S> Layer<S> for Pace {
    type Service = PacedService<S>;

    fn layer(&self, inner: S) -> PacedService<S> {
        PacedService { inner, pace: self.clone() }
    }
}

/// Wraps a service so that the bodies of its answers are paced.
#[derive(Debug, Clone)]
pub(super) struct PacedService<S> {
    inner: S,
    pace: Pace,
}

impl<S, R> Service<http::Request<R>> for PacedService<S>
where
    S: Service<http::Request<R>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Paced<Body>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<R>) -> Self::Future {
        let untaken = request.extensions().get::<Caller>().map(|caller| caller.untaken.clone());
        let Pace { budget, connections } = self.pace.clone();
        let answered = self.inner.call(request);
        Box::pin(async move {
            let mut response = answered.await?;
            let held = response.extensions_mut().remove::<Held>();
            let is_lasting = response.extensions_mut().remove::<Lasting>().is_some();
            let bytes = held.as_ref().map_or(0, |held| held.0.bytes());
            let ticket = untaken.map(|untaken| untaken.begin(bytes, |connection| connections.add(connection)));
            Ok(response.map(|body| Paced {
                body,
                is_lasting,
                budget,
                held,
                rest: Bytes::new(),
                permit: None,
                last: 0,
                ticket,
            }))
        })
    }
}

/// The body of an answer, whose memory is accounted for until it is sent.
#[derive(Debug)]
pub(super) struct Paced<B> {
    body: B,
    /// True for a stream of messages: none of them is known to be the last.
    is_lasting: bool,
    budget: Arc<Budget>,
    /// The memory of the answer until it is encoded. `None` = it is encoded, or none was counted for it.
    held: Option<Held>,
    /// Encoded, and not given to the transport yet.
    rest: Bytes,
    /// Of the rest and the two pieces that were given last.
    permit: Option<Permit>,
    /// Bytes of the piece that was given last.
    last: usize,
    ticket: Option<Ticket>,
}

impl<B> Paced<B> {
    /// The piece before the one that was given last is on its way.
    fn passed_on(&mut self) {
        let Some(permit) = &mut self.permit else { return };
        let over = permit.bytes().saturating_sub(self.rest.len() + self.last);
        drop(permit.split(over));
        if self.rest.is_empty() && !self.is_lasting {
            self.permit = None;
        }
        self.note();
    }

    fn note(&self) {
        if let Some(ticket) = &self.ticket {
            // A client that has taken all of a stream so far keeps nobody waiting, whatever counts.
            let is_over = self.is_lasting && self.rest.is_empty();
            ticket.moved(if is_over { 0 } else { self.permit.as_ref().map_or(0, Permit::bytes) });
        }
    }

    fn piece(&mut self) -> http_body::Frame<Bytes> {
        let all = self.rest.len();
        // A byte is enough for the one before to count until it is within the window.
        let has_small_end = !self.is_lasting && (LAST_BYTES_MAX + 1..=PIECE_BYTES).contains(&all);
        let bytes = if has_small_end { all - 1 } else { all.min(PIECE_BYTES) };
        self.last = bytes;
        if let Some(ticket) = &self.ticket {
            ticket.given(bytes, &self.budget);
        }
        http_body::Frame::data(self.rest.split_to(bytes))
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Paced<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, B::Error>>> {
        self.passed_on();
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.piece())));
        }
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| match frame.into_data() {
                Ok(data) => {
                    let permit = self.budget.charge(Kind::Answers, data.len());
                    match &mut self.permit {
                        Some(before) => before.merge(permit),
                        none => *none = Some(permit),
                    }
                    (self.held, self.rest) = (None, data);
                    self.note();
                    self.piece()
                }
                Err(trailers) => trailers,
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::task::Waker;
    use std::time::Duration;

    use futures::StreamExt;
    use futures::task::noop_waker;
    use http_body_util::{Full, StreamBody};

    use super::*;
    use crate::session::Untaken;

    fn paced(budget: &Arc<Budget>, bytes: usize) -> Paced<Full<Bytes>> {
        let held = Some(Held(Arc::new(budget.charge(Kind::Answers, bytes))));
        let body = Full::new(Bytes::from(vec![7; bytes]));
        Paced {
            body,
            is_lasting: false,
            budget: budget.clone(),
            held,
            rest: Bytes::new(),
            permit: None,
            last: 0,
            ticket: None,
        }
    }

    fn next(body: &mut Paced<Full<Bytes>>, waker: &Waker) -> Option<usize> {
        match Pin::new(body).poll_frame(&mut Context::from_waker(waker)) {
            Poll::Ready(frame) => frame.map(|frame| frame.unwrap().into_data().unwrap().len()),
            Poll::Pending => panic!("it is all there"),
        }
    }

    #[test]
    fn an_answer_is_given_in_pieces_each_counted_until_the_next_but_one_is_asked_for() {
        let (budget, waker) = (Budget::new(1 << 30), noop_waker());
        let bytes = 2 * PIECE_BYTES + 5;
        let mut body = paced(&budget, bytes);
        assert_eq!(budget.used_by(Kind::Answers), bytes);
        for (piece, left) in [(PIECE_BYTES, bytes), (PIECE_BYTES, bytes), (5, PIECE_BYTES + 5)] {
            assert!(!body.is_end_stream());
            assert_eq!(next(&mut body, &waker), Some(piece));
            assert_eq!(budget.used_by(Kind::Answers), left);
        }
        assert!(body.is_end_stream());
        assert_eq!((next(&mut body, &waker), budget.used()), (None, 0));
    }

    #[test]
    fn the_last_piece_of_an_answer_is_small() {
        let (budget, waker) = (Budget::new(1 << 30), noop_waker());
        for (bytes, pieces) in [
            (1, vec![1]),
            (LAST_BYTES_MAX, vec![LAST_BYTES_MAX]),
            (LAST_BYTES_MAX + 1, vec![LAST_BYTES_MAX, 1]),
            (PIECE_BYTES, vec![PIECE_BYTES - 1, 1]),
            (PIECE_BYTES + 1, vec![PIECE_BYTES, 1]),
            (2 * PIECE_BYTES, vec![PIECE_BYTES, PIECE_BYTES - 1, 1]),
        ] {
            let mut body = paced(&budget, bytes);
            let given: Vec<_> = std::iter::from_fn(|| next(&mut body, &waker)).collect();
            assert_eq!((given, budget.used()), (pieces, 0));
        }
    }

    #[test]
    fn the_message_of_a_stream_that_was_given_last_is_whole_and_counts_until_there_is_another_one() {
        let (budget, mut context) = (Budget::new(1 << 30), Context::from_waker(Waker::noop()));
        let (messages, body) = futures::channel::mpsc::unbounded();
        let body = StreamBody::new(body.map(|bytes| Ok::<_, Infallible>(http_body::Frame::data(bytes))));
        let (rest, permit, connection) = (Bytes::new(), None, Arc::new(Untaken::of(Arc::default())));
        let ticket = Some(connection.begin(0, |_| ()));
        let mut body =
            Paced { body, is_lasting: true, budget: budget.clone(), held: None, rest, permit, last: 0, ticket };
        let mut next = || match Pin::new(&mut body).poll_frame(&mut context) {
            Poll::Ready(frame) => frame.map(|frame| frame.unwrap().into_data().unwrap().len()),
            Poll::Pending => None,
        };
        let mut before = 0;
        for bytes in [PIECE_BYTES, 3, LAST_BYTES_MAX + 1] {
            messages.unbounded_send(Bytes::from(vec![7; bytes])).unwrap();
            assert_eq!(next(), Some(bytes));
            connection.flushed();
            assert_eq!(budget.used(), before + bytes);
            assert!(connection.stands_still(Duration::ZERO), "its client may not take it");
            assert_eq!(next(), None);
            assert_eq!(budget.used(), bytes, "the transport may have all of it still");
            assert!(!connection.stands_still(Duration::ZERO), "its client asks for more");
            before = bytes;
        }
        drop(body);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn an_answer_that_nobody_takes_counts_until_its_connection_ends() {
        let budget = Budget::new(1 << 30);
        let body = paced(&budget, 1 << 20);
        assert_eq!(budget.used_by(Kind::Answers), 1 << 20);
        drop(body);
        let mut body = paced(&budget, 1 << 20);
        assert!(next(&mut body, &noop_waker()).is_some());
        assert_eq!(budget.used_by(Kind::Answers), 1 << 20);
        drop(body);
        assert_eq!(budget.used(), 0);
    }
}
