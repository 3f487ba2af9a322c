//! What one connection has under way, and the stream of frames that go out on it. The transport pulls frames when it
//! can take one, so that all that gathered meanwhile goes out together.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::Stream;
use skerry_proto::v1;
use skerry_proto::v1::session_result::Result as Answer;
use slab::Slab;
use tokio::sync::{mpsc, oneshot};

use super::{NotSent, Submission};

/// Operations under way on one connection at most: enough to keep a node busy, few enough that it answers each soon.
const IN_FLIGHT_MAX: usize = 1_024;
/// Bytes of operations under way on one connection at most. One operation is always let through.
const IN_FLIGHT_BYTES_MAX: usize = 16 << 20;
/// A frame is closed at this size; one operation, of at most 4 MiB, is never parted.
const FRAME_BYTES: usize = 1 << 20;
/// Operations in a frame at most.
const FRAME_ITEMS_MAX: usize = 512;

/// Operations that wait to be sent; survives the connections.
pub(super) type Queue = Arc<Mutex<mpsc::Receiver<Submission>>>;

/// What one connection has under way.
#[derive(Debug, Default)]
pub(super) struct InFlight(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: Slab<Waiting>,
    bytes: usize,
    /// The frames' task, while there is no room.
    blocked: Option<Waker>,
    /// No more is sent on this connection.
    closed: bool,
}

#[derive(Debug)]
struct Waiting {
    reply: oneshot::Sender<Result<Answer, NotSent>>,
    bytes: usize,
}

impl InFlight {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands each result to the caller that waits for it.
    pub(super) fn answer(&self, results: Vec<v1::SessionResult>) {
        let mut state = self.state();
        for v1::SessionResult { id, result } in results {
            let (Ok(id), Some(result)) = (usize::try_from(id), result) else { continue };
            if let Some(waiting) = state.waiting.try_remove(id) {
                state.bytes -= waiting.bytes;
                // An asker that no longer waits does not matter.
                let _gone = waiting.reply.send(Ok(result));
            }
        }
        if state.has_room()
            && let Some(blocked) = state.blocked.take()
        {
            drop(state);
            blocked.wake();
        }
    }

    /// The connection is over: whoever waits is told so, and nothing more is taken.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let lost = std::mem::take(&mut state.waiting);
        state.bytes = 0;
        drop(state);
        drop(lost);
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.waiting.len() < IN_FLIGHT_MAX && self.bytes < IN_FLIGHT_BYTES_MAX
    }

    fn enqueue(&mut self, submission: Submission) -> v1::SessionItem {
        let Submission { mut item, bytes, reply } = submission;
        self.bytes += bytes;
        item.id = self.waiting.insert(Waiting { reply, bytes }) as u64;
        item
    }
}

/// The stream of frames that one connection sends to its node.
#[derive(Debug)]
pub(super) struct Frames {
    pub(super) in_flight: Arc<InFlight>,
    pub(super) queue: Queue,
    /// Id of the database, sent in the first frame.
    pub(super) cluster_id: String,
    /// The operation that made the link connect.
    pub(super) first: Option<Submission>,
}

impl Stream for Frames {
    type Item = v1::SessionRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<v1::SessionRequest>> {
        let frames = self.get_mut();
        let mut state = frames.in_flight.state();
        if state.closed {
            return Poll::Ready(None);
        }
        let mut items = Vec::new();
        let mut frame_bytes = 0;
        if let Some(first) = frames.first.take() {
            frame_bytes = first.bytes;
            items.push(state.enqueue(first));
        }
        let mut queue = frames.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let mut closed = false;
        while items.len() < FRAME_ITEMS_MAX && frame_bytes < FRAME_BYTES {
            if !state.has_room() {
                state.blocked = Some(cx.waker().clone());
                break;
            }
            match queue.poll_recv(cx) {
                // Whoever no longer waits for it does not want it done.
                Poll::Ready(Some(submission)) if submission.reply.is_closed() => {}
                Poll::Ready(Some(submission)) => {
                    frame_bytes += submission.bytes;
                    items.push(state.enqueue(submission));
                }
                Poll::Ready(None) => {
                    closed = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        if !items.is_empty() {
            let cluster_id = std::mem::take(&mut frames.cluster_id);
            return Poll::Ready(Some(v1::SessionRequest { items, cluster_id }));
        }
        if closed { Poll::Ready(None) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::StreamExt;

    use super::*;

    type Reply = oneshot::Receiver<Result<Answer, NotSent>>;

    fn submission(bytes: usize) -> (Submission, Reply) {
        let (reply, answer) = oneshot::channel();
        (Submission { item: v1::SessionItem::default(), bytes, reply }, answer)
    }

    fn connection(capacity: usize) -> (mpsc::Sender<Submission>, Frames) {
        let (outlet, queue) = mpsc::channel(capacity);
        let queue = Arc::new(Mutex::new(queue));
        (outlet, Frames { in_flight: Arc::default(), queue, cluster_id: "c".into(), first: None })
    }

    fn submit(outlet: &mpsc::Sender<Submission>, bytes: usize) -> Reply {
        let (submission, answer) = submission(bytes);
        outlet.try_send(submission).unwrap();
        answer
    }

    fn frame(frames: &mut Frames) -> Option<v1::SessionRequest> {
        frames.next().now_or_never().flatten()
    }

    fn written(id: u64) -> v1::SessionResult {
        v1::SessionResult { id, result: Some(Answer::Written(id)) }
    }

    #[test]
    fn what_waits_goes_out_as_one_frame_and_only_the_first_names_the_database() {
        let (outlet, mut frames) = connection(9);
        let _answers = [submit(&outlet, 1), submit(&outlet, 1)];
        let first = frame(&mut frames).unwrap();
        assert_eq!((first.items.len(), first.cluster_id.as_str()), (2, "c"));
        let _answer = submit(&outlet, 1);
        let second = frame(&mut frames).unwrap();
        assert_eq!((second.items.len(), second.cluster_id.as_str()), (1, ""));
        assert_eq!(frame(&mut frames), None);
    }

    #[test]
    fn answers_in_any_order_find_their_askers() {
        let (outlet, mut frames) = connection(9);
        let answers = [submit(&outlet, 1), submit(&outlet, 1)];
        let ids: Vec<u64> = frame(&mut frames).unwrap().items.iter().map(|item| item.id).collect();
        frames.in_flight.answer(vec![written(ids[1]), written(ids[0]), written(99)]);
        for (id, mut answer) in ids.into_iter().zip(answers) {
            assert_eq!(answer.try_recv().unwrap(), Ok(Answer::Written(id)));
        }
    }

    #[test]
    fn no_more_is_under_way_than_the_bound_until_answers_come() {
        let (outlet, mut frames) = connection(IN_FLIGHT_MAX + 1);
        let _answers: Vec<_> = (0..=IN_FLIGHT_MAX).map(|_| submit(&outlet, 1)).collect();
        let sent: usize = std::iter::from_fn(|| frame(&mut frames)).map(|frame| frame.items.len()).sum();
        assert_eq!(sent, IN_FLIGHT_MAX);
        frames.in_flight.answer(vec![written(0)]);
        assert_eq!(frame(&mut frames).unwrap().items.len(), 1);
    }

    #[test]
    fn large_operations_are_spread_over_frames_and_bounded_by_bytes() {
        let (outlet, mut frames) = connection(99);
        let _answers: Vec<_> = (0..20).map(|_| submit(&outlet, FRAME_BYTES)).collect();
        let sizes: Vec<_> = std::iter::from_fn(|| frame(&mut frames)).map(|frame| frame.items.len()).collect();
        assert_eq!(sizes, vec![1; IN_FLIGHT_BYTES_MAX / FRAME_BYTES]);
    }

    #[test]
    fn a_broken_connection_tells_its_askers_and_leaves_the_queue_to_the_next() {
        let (outlet, mut frames) = connection(9);
        let mut lost = submit(&outlet, 1);
        frame(&mut frames).unwrap();
        let mut kept = submit(&outlet, 1);
        frames.in_flight.close();
        assert_eq!(frames.next().now_or_never(), Some(None));
        assert_eq!(lost.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(kept.try_recv(), Err(oneshot::error::TryRecvError::Empty));
    }

    #[test]
    fn what_nobody_waits_for_is_not_sent() {
        let (outlet, mut frames) = connection(9);
        drop(submit(&outlet, 1));
        assert_eq!(frame(&mut frames), None);
    }
}
