//! A program's log: JSON lines on standard error, one object a line, its fields side by side.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// Why logging did not start.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The filter of log lines cannot be parsed.
    #[error("failed to read the log filter {filter:?}: it is a level, or a list such as info,skerry_operator=debug")]
    Filter {
        /// The filter as it was given.
        filter: String,
        /// Where the filter is wrong.
        #[source]
        source: ParseError,
    },
    /// Logging was started before in this process.
    #[error("failed to start logging: {0}")]
    Twice(Box<dyn std::error::Error + Send + Sync>),
}

/// Starts logging what the filter lets through, for the rest of the process.
///
/// # Errors
///
/// Of a filter that cannot be read, and of a process that logs already.
pub fn start(filter: &str) -> Result<(), LogsError> {
    let filter =
        EnvFilter::try_new(filter).map_err(|source| LogsError::Filter { filter: filter.to_owned(), source })?;
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_span_list(false).with_env_filter(filter);
    subscriber.with_writer(std::io::stderr).try_init().map_err(LogsError::Twice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_read_is_shown_with_what_may_be_written() {
        let error = start("loud=everything").unwrap_err().to_string();
        assert!(error.contains("loud=everything") && error.contains("info,skerry_operator=debug"), "{error}");
    }
}
