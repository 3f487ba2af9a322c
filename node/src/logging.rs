//! The program's log: JSON lines on standard error.

use tracing_subscriber::EnvFilter;

use crate::args::LogLevel;

/// Starts logging. Our own crates at the level asked for, everything else only its warnings: the raft crate and the
/// stores speak of what this program reports itself, in its own words.
pub fn start(level: LogLevel) -> Result<(), LoggingError> {
    let ours = level.as_str();
    let filter = format!("warn,skerry_node={ours},skerry_core={ours},raft=off,sled=off,fjall=off,lsm_tree=off");
    let filter = EnvFilter::try_new(filter)?;
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_span_list(false).with_env_filter(filter);
    subscriber.with_writer(std::io::stderr).try_init().map_err(LoggingError::Twice)
}

/// Why logging did not start.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is not well formed.
    #[error("failed to read the log filter")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Someone else logs already.
    #[error("failed to start logging: {0}")]
    Twice(Box<dyn std::error::Error + Send + Sync>),
}
