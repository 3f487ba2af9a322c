//! The word to a connection that it is over, from whoever needs its place or its memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

use futures::task::AtomicWaker;

/// Told once; heard by the connection's one task.
#[derive(Debug, Default)]
pub struct End {
    is_told: AtomicBool,
    waker: AtomicWaker,
}

impl End {
    /// The connection is to be closed.
    pub fn tell(&self) {
        self.is_told.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// True once the connection was told to end.
    pub fn is_told(&self) -> bool {
        self.is_told.load(Ordering::Acquire)
    }

    /// The same, and wakes the task when it is told later.
    pub(crate) fn poll(&self, context: &Context<'_>) -> bool {
        if self.is_told() {
            return true;
        }
        self.waker.register(context.waker());
        self.is_told()
    }
}
