//! The command line with nobody who reads what it prints: that is no failure of its own, and hides none.
#![expect(clippy::unwrap_used, reason = "a test's own tools may fail loudly too")]

use std::io;
use std::process::{Command, Output};

/// Runs it with a stdout whose reader has gone.
fn unread(words: &[&str]) -> Output {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    Command::new(env!("CARGO_BIN_EXE_skerry")).args(words).stdout(writer).output().unwrap()
}

#[test]
fn what_only_prints_ends_well_without_a_reader() {
    let done = unread(&["completion", "bash"]);
    assert_eq!((done.status.code(), done.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn the_exit_code_is_the_same_without_a_reader() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let failed = unread(&["status", "--endpoints", &nobody, "--timeout", "300ms"]);
    assert_eq!(failed.status.code(), Some(5), "{}", String::from_utf8_lossy(&failed.stderr));
}
