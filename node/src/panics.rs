//! A panic in one of the node's threads. Without its log's writer, its store's sync, its worker or a thread of the store
//! itself a node would go on for a while and keep nothing, so a panic in any of them ends the process at once: the reason
//! is the last line of its log, and [`EXIT_PANICKED`] its exit code. Whoever watches the process starts it anew.
//!
//! Tasks of the async runtime are of two kinds. One client's broken call is no reason to stop serving the others: its
//! connection ends. A task that nobody would miss in time, and that a node cannot do without, runs in [`vital`]: its panic
//! ends the process too.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use tracing::{Span, error};

use crate::doubt::Doubt;
use crate::inbox::Inbox;

/// Name of the threads that run async tasks.
pub const ASYNC_THREAD: &str = "async";
/// The exit code of a node that a panic has ended: `EX_SOFTWARE` of sysexits.h.
pub const EXIT_PANICKED: i32 = 70;
/// The reason of a panic gets so long to be written: standard error may be a pipe that nobody reads.
const LAST_LINE_MAX: Duration = Duration::from_secs(2);

/// True once a panic ends the process.
static IS_ENDING: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The task at work on this thread, if the node cannot do without it.
    static VITAL: Cell<Option<&'static str>> = const { Cell::new(None) };
    /// True while a panic on this thread is expected and dealt with.
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
    /// Of the work at hand on this thread.
    static LAST_WORDS: RefCell<Option<LastWords>> = const { RefCell::new(None) };
}

/// What is to be said before the process ends.
#[derive(Clone)]
struct LastWords {
    say: Rc<dyn Fn(&str)>,
    /// Message of the thread's first panic.
    first: Option<String>,
}

/// Runs work in which a panic may be met by another while it unwinds, which ends the process: `say` gets the first one's
/// words before that. The second may also be dealt with, so that the work ends like any other.
pub fn with_last_words<T>(say: impl Fn(&str) + 'static, work: impl FnOnce() -> T) -> T {
    LAST_WORDS.replace(Some(LastWords { say: Rc::new(say), first: None }));
    let done = work();
    LAST_WORDS.replace(None);
    done
}

fn note_caught(text: String) {
    let Some(LastWords { say, first }) = LAST_WORDS.with_borrow(Clone::clone) else { return };
    match first {
        None => LAST_WORDS.set(Some(LastWords { say, first: Some(text) })),
        Some(first) => {
            // Once.
            LAST_WORDS.set(None);
            say(&first);
        }
    }
}

/// Runs what may panic, and gives back what the panic said.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let before = IS_CAUGHT.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    IS_CAUGHT.set(before);
    result.map_err(|panic| message(panic.as_ref()))
}

/// Runs a task that the node cannot do without, and whose end nobody would notice in time: a panic in it ends the node.
pub async fn vital<T>(name: &'static str, task: impl Future<Output = T>) -> T {
    let mut task = pin!(task);
    poll_fn(|context| {
        let before = VITAL.replace(Some(name));
        let polled = task.as_mut().poll(context);
        VITAL.set(before);
        polled
    })
    .await
}

/// From now on a panic on any thread of this process, other than in a task that the node can do without, closes the
/// inbox and has the node ended by `end`, which gets the reason. Nothing is acknowledged from then on.
pub fn watch(inbox: Arc<Inbox>, end: impl Fn(&str) + Send + Sync + 'static) {
    std::panic::set_hook(Box::new(move |panic| {
        let (text, place) = (message(panic.payload()), panic.location().map(ToString::to_string).unwrap_or_default());
        if IS_CAUGHT.get() {
            note_caught(text);
            return;
        }
        let current = thread::current();
        let name = current.name().unwrap_or("without a name");
        let reason = match VITAL.take() {
            Some(task) => format!("task {task} panicked at {place}: {text}"),
            None if name == ASYNC_THREAD => {
                error!(thread = name, place, "task panicked, and its connection ends: {text}");
                return;
            }
            None => format!("thread {name} panicked at {place}: {text}"),
        };
        // First of all: whatever comes next may wait.
        IS_ENDING.store(true, Ordering::SeqCst);
        inbox.fail(reason.clone());
        end(&reason);
    }));
}

/// True once a panic ends the process, which says why itself: nobody else need.
pub fn is_ending() -> bool {
    IS_ENDING.load(Ordering::SeqCst)
}

/// Ends the process with the reason as the last line of its log, and as one of the store's points of doubt. Returns never,
/// and waits for no other thread but for the one that writes both, and for that only so long.
pub fn end_process(reason: &str, doubt: &Doubt) {
    // Two threads may panic at once: the first one's reason is the last line, and one point of doubt.
    static IS_SAID: AtomicBool = AtomicBool::new(false);
    if IS_SAID.swap(true, Ordering::SeqCst) {
        thread::sleep(LAST_LINE_MAX);
        std::process::exit(EXIT_PANICKED);
    }
    let (written, is_written) = sync_channel::<()>(1);
    let (reason, doubt, span) = (reason.to_owned(), doubt.clone(), Span::current());
    let write = move || {
        span.in_scope(|| error!(reason, exit_code = EXIT_PANICKED, "node ends at once"));
        doubt.panicked(&reason);
        drop(written);
    };
    if thread::Builder::new().name("last-line".to_owned()).spawn(write).is_ok() {
        // An error means that it is written.
        let _written = is_written.recv_timeout(LAST_LINE_MAX);
    }
    std::process::exit(EXIT_PANICKED);
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}
