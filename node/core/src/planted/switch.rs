//! The bug that is planted on this thread, if any.

use std::cell::Cell;

use super::Planted;

thread_local! {
    static CURRENT: Cell<Option<Planted>> = const { Cell::new(None) };
}

/// Plants a bug on this thread, or none.
pub fn plant(bug: Option<Planted>) {
    CURRENT.set(bug);
}

/// True if this bug is planted on this thread.
pub fn is_planted(bug: Planted) -> bool {
    CURRENT.get() == Some(bug)
}
