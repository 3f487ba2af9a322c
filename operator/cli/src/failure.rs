//! What a command answers when it could not do its work: what failed, its causes, and what to do next.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use crate::output::Output;

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    error: anyhow::Error,
    next: Option<String>,
}

/// What a command returns.
pub(crate) type Outcome<T = ExitCode> = Result<T, Failure>;

impl Failure {
    /// A failure that has no cause beneath it.
    pub(crate) fn new(message: impl Display) -> Self {
        Self { error: anyhow::anyhow!("{message}"), next: None }
    }

    /// Adds what to do next, unless something closer to the cause has said so.
    pub(crate) fn next(mut self, step: impl Into<String>) -> Self {
        self.next.get_or_insert_with(|| step.into());
        self
    }

    /// The message and its causes, in one line.
    pub(crate) fn text(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        for cause in self.error.chain() {
            let text = cause.to_string();
            // Some errors repeat their source in their own message.
            if !lines.last().is_some_and(|before| before.contains(&text)) {
                lines.push(text);
            }
        }
        lines.join(": ")
    }

    fn is_closed_pipe(&self) -> bool {
        let closed = |e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe;
        self.error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(closed))
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { error: error.into(), next: None }
    }
}

/// Adds context and advice to results on their way up.
pub(crate) trait Explain<T> {
    /// Says what was being done.
    fn doing(self, what: impl Display + Send + Sync + 'static) -> Outcome<T>;
    /// Says what to do next.
    fn next(self, step: impl Into<String>) -> Outcome<T>;
}

impl<T, E: Into<Failure>> Explain<T> for Result<T, E> {
    fn doing(self, what: impl Display + Send + Sync + 'static) -> Outcome<T> {
        self.map_err(|e| {
            let failure: Failure = e.into();
            Failure { error: failure.error.context(what), next: failure.next }
        })
    }

    fn next(self, step: impl Into<String>) -> Outcome<T> {
        self.map_err(|e| e.into().next(step))
    }
}

/// Tells the user, and gives the exit code.
pub(crate) fn report(output: &Output, failure: &Failure) -> ExitCode {
    // Whoever reads our data has enough of it: no failure of ours.
    if failure.is_closed_pipe() {
        return ExitCode::SUCCESS;
    }
    output.complain(&failure.text());
    if let Some(next) = &failure.next {
        output.advise(next);
    }
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_tells_the_causes_outermost_first() {
        let failed: Result<(), io::Error> = Err(io::Error::other("no such file"));
        let failure = failed.doing("failed to read a.csv").next("check the name").unwrap_err();
        assert_eq!(failure.text(), "failed to read a.csv: no such file");
        assert_eq!(failure.next.as_deref(), Some("check the name"));
    }

    #[test]
    fn advice_closest_to_the_cause_stays() {
        assert_eq!(Failure::new("x").next("first").next("second").next.as_deref(), Some("first"));
    }
}
