//! What tells the process to stop.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info};

use crate::panics;

/// A token that SIGTERM or SIGINT cancels.
pub(super) fn on_signals() -> io::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let told = stop.clone();
    let wait = async move {
        let signal = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        info!(signal, "node is told to stop");
        told.cancel();
    };
    tokio::spawn(panics::vital("signals", wait).in_current_span());
    Ok(stop)
}
