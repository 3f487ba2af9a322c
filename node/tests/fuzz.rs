//! What reaches a node from outside in bytes: frames of peers and of clients, and the files of its log. Whatever they
//! hold, they are read or refused.
#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "these are tests all through, which say which seed failed"
)]

mod fuzz {
    mod frames;
    mod logs;
    #[path = "../../src/wire/tests/messages.rs"]
    mod messages;
    #[path = "../../core/tests/fuzz/random.rs"]
    mod random;
}
