//! What a command answers when it could not do its work: what failed, its causes, and what to do next.

use std::fmt::Display;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use crate::args::Format;
use crate::exit::{Kind, may_have_happened};
use crate::output::Output;

/// The failure of a command, with advice and facts for the user.
#[derive(Debug)]
pub(crate) struct Failure {
    error: anyhow::Error,
    next: Option<String>,
    kind: Option<Kind>,
    /// Facts for programs, which the JSON output has beside the message.
    facts: Map<String, Value>,
}

/// The result of a command.
pub(crate) type Outcome<T = ExitCode> = Result<T, Failure>;

impl Failure {
    /// A failure that has no cause beneath it.
    pub(crate) fn new(message: impl Display) -> Self {
        anyhow::anyhow!("{message}").into()
    }

    /// Says what it means to a program, where the cause does not.
    pub(crate) fn kind(self, kind: Kind) -> Self {
        Self { kind: Some(kind), ..self }
    }

    /// Adds a fact to the JSON output.
    pub(crate) fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }

    /// Adds what was being done when it failed, as context.
    pub(crate) fn doing(self, what: impl Display + Send + Sync + 'static) -> Self {
        Self { error: self.error.context(what), ..self }
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
            if !text.is_empty() && !lines.last().is_some_and(|before| before.contains(&text)) {
                lines.push(text);
            }
        }
        lines.join(": ")
    }

    /// What it means to a program.
    pub(crate) fn meaning(&self) -> Kind {
        self.kind.unwrap_or_else(|| Kind::of(&self.error))
    }

    /// The last line on stderr with `-o json`: its kind, the message with its causes, the next step, and
    /// of a write whether it may have happened.
    fn json(&self) -> Value {
        let mut error = self.facts.clone();
        error.insert("kind".to_owned(), self.meaning().name().into());
        error.insert("message".to_owned(), self.text().into());
        if let Some(next) = &self.next {
            error.insert("next".to_owned(), next.as_str().into());
        }
        if let Some(may) = may_have_happened(&self.error) {
            error.insert("mayHaveHappened".to_owned(), may.into());
        }
        json!({"error": error})
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { error: error.into(), next: None, kind: None, facts: Map::new() }
    }
}

/// Adds context and advice to results on their way up.
pub(crate) trait Explain<T> {
    /// Adds what was being done when it failed, as context.
    fn doing(self, what: impl Display + Send + Sync + 'static) -> Outcome<T>;
    /// Adds advice: what the user can do next.
    fn next(self, step: impl Into<String>) -> Outcome<T>;
}

impl<T, E: Into<Failure>> Explain<T> for Result<T, E> {
    fn doing(self, what: impl Display + Send + Sync + 'static) -> Outcome<T> {
        self.map_err(|e| e.into().doing(what))
    }

    fn next(self, step: impl Into<String>) -> Outcome<T> {
        self.map_err(|e| e.into().next(step))
    }
}

/// Tells the user, and gives the exit code.
pub(crate) fn report(output: &Output, failure: &Failure) -> ExitCode {
    match output.format {
        // On one line, and the last of what is said.
        Format::Json => output.say(&failure.json().to_string()),
        Format::Table | Format::Wide => {
            output.complain(&failure.text());
            if let Some(next) = &failure.next {
                output.advise(next);
            }
        }
    }
    failure.meaning().into()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn text_tells_the_causes_outermost_first() {
        let failed: Result<(), io::Error> = Err(io::Error::other("no such file"));
        let failure = failed.doing("failed to read a.csv").next("check the name").unwrap_err();
        assert_eq!(failure.text(), "failed to read a.csv: no such file");
        assert_eq!(failure.next.as_deref(), Some("check the name"));
    }

    #[test]
    fn json_of_a_failure_tells_its_kind_and_facts() {
        let failure = Failure::new("there is no x in t").kind(Kind::NotFound).next("look").fact("key", "x");
        let expected =
            json!({"error": {"kind": "notFound", "message": "there is no x in t", "next": "look", "key": "x"}});
        assert_eq!(failure.json(), expected);
    }

    #[test]
    fn causes_without_words_leave_no_gap() {
        let failed: Result<(), io::Error> = Err(io::Error::other(""));
        assert_eq!(failed.doing("failed to ask").unwrap_err().text(), "failed to ask");
    }

    #[test]
    fn advice_closest_to_the_cause_stays() {
        assert_eq!(Failure::new("x").next("first").next("second").next.as_deref(), Some("first"));
    }
}
