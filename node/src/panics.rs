//! A panic in one of the node's threads. Without its log's writer, its store's sync, its worker or a thread of the store
//! itself a node would go on for a while and keep nothing, so a panic in any of them poisons it at once, with the reason.
//!
//! Tasks of the async runtime are another matter: whoever waits for one sees its end, and one client's broken call is no
//! reason to stop serving the others.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use tracing::error;

use crate::inbox::Inbox;

/// Of the threads that run async tasks.
pub const ASYNC_THREAD: &str = "async";

thread_local! {
    /// True while a panic on this thread is expected and dealt with.
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
    /// Of the work at hand on this thread.
    static LAST_WORDS: RefCell<Option<LastWords>> = const { RefCell::new(None) };
}

/// What is to be said before the process ends.
#[derive(Clone)]
struct LastWords {
    say: Rc<dyn Fn(&str)>,
    /// What the first panic said.
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

/// From now on a panic on any thread of this process, other than the async ones, poisons the node.
pub fn watch(inbox: Arc<Inbox>) {
    std::panic::set_hook(Box::new(move |panic| {
        let current = thread::current();
        let name = current.name().unwrap_or("without a name");
        let (text, place) = (message(panic.payload()), panic.location().map(ToString::to_string).unwrap_or_default());
        if IS_CAUGHT.get() {
            note_caught(text);
            return;
        }
        error!(thread = name, place, "thread panicked: {text}");
        if name != ASYNC_THREAD {
            inbox.fail(format!("thread {name} panicked at {place}: {text}"));
        }
    }));
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}
