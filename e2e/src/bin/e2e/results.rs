//! What the scenarios of a run came to, told as they end.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use skerry_e2e::scenario::{ALL, Outcome, Scenario, last_warnings, markdown, table};

use crate::{Args, tell};

/// The outcomes so far, of a known number of scenarios.
pub(crate) struct Results {
    wanted: usize,
    begun: usize,
    outcomes: Vec<Outcome>,
    /// Where the table is written as Markdown.
    markdown: Option<PathBuf>,
    /// Where a failed scenario has left what was there.
    out: PathBuf,
}

impl Results {
    /// None so far, of so many.
    pub(crate) fn new(args: &Args, wanted: usize) -> Self {
        Self { wanted, begun: 0, outcomes: Vec::new(), markdown: args.markdown.clone(), out: args.out.clone() }
    }

    /// Tells that a scenario begins.
    pub(crate) fn begin(&mut self, scenario: &Scenario) {
        self.begun += 1;
        tell(&format!("{}/{} {}: {}", self.begun, self.wanted, scenario.name, scenario.claim));
    }

    /// Tells how one ended, and keeps it.
    ///
    /// # Errors
    /// The table cannot be written.
    pub(crate) fn add(&mut self, outcome: Outcome) -> Result<()> {
        let seconds = outcome.took.as_secs();
        match &outcome.failure {
            None => tell(&format!("{} passed in {seconds} s", outcome.name)),
            Some(failure) => tell(&format!("{} FAILED after {seconds} s: {failure}", outcome.name)),
        }
        self.outcomes.push(outcome);
        let place = |outcome: &Outcome| ALL.iter().position(|scenario| scenario.name == outcome.name);
        self.outcomes.sort_by_key(place);
        // After each: a run that is cut off has told what it knew.
        if let Some(file) = &self.markdown {
            fs::write(file, markdown(&self.outcomes)).with_context(|| format!("failed to write {}", file.display()))?;
        }
        Ok(())
    }

    /// Shows the table. Gives true if every scenario has passed.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(crate) fn close(self) -> Result<bool> {
        let failed = self.outcomes.iter().filter(|o| o.failure.is_some()).count();
        let (passed, skipped) = (self.outcomes.len() - failed, self.wanted - self.outcomes.len());
        writeln!(io::stdout(), "{}", table(&self.outcomes))?;
        // Once more at the end: where only the last lines of a long output are kept, they say why.
        let failures = self.outcomes.iter().filter_map(|o| o.failure.as_ref().map(|failure| (o.name, failure)));
        for (name, failure) in failures {
            writeln!(io::stdout(), "{name} FAILED: {failure}")?;
            for line in last_warnings(&self.out.join(name)) {
                writeln!(io::stdout(), "  {line}")?;
            }
        }
        writeln!(io::stdout(), "scenarios: {passed} passed; {failed} failed; {skipped} skipped")?;
        Ok(passed == self.wanted)
    }
}
