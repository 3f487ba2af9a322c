//! What tells a program to stop.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// A token that SIGTERM or SIGINT cancels, and what waits for them: to be spawned. From this call on neither signal ends the
/// process by itself. Must be called within a Tokio runtime.
///
/// # Errors
///
/// The system's, if no signal can be listened for.
pub fn on_signals() -> io::Result<(CancellationToken, impl Future<Output = ()> + Send + 'static)> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let told = stop.clone();
    let wait = async move {
        let signal = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        info!(signal, "the program is told to stop");
        told.cancel();
    };
    Ok((stop, wait))
}
