//! What an import tells and notes while it goes on.

use std::process::ExitCode;

use serde_json::json;

use crate::args::Format;
use crate::failure::{Explain, Failure, Outcome};
use crate::import::bad::{BadRows, Raw};
use crate::import::checkpoint::Checkpoint;
use crate::import::mark::Mark;
use crate::import::write::{NotWritten, Observer, Stopped};
use crate::output::Output;
use crate::progress::Progress;
use crate::view::size;

/// Of so many bad rows it is told one by one what is wrong with them.
const TOLD_MAX: u64 = 10;

/// Keeps the state file, the bad rows and the progress.
pub(super) struct Watch {
    pub(super) progress: Progress,
    checkpoint: Option<Checkpoint>,
    bad: Option<BadRows>,
}

impl Watch {
    pub(super) fn new(output: &Output, table: &str, checkpoint: Option<Checkpoint>, bad: Option<BadRows>) -> Self {
        Self { progress: Progress::counted(output, &format!("import {table}"), None), checkpoint, bad }
    }

    /// All rows are done, or passed over.
    pub(super) fn finish(self, output: &Output, rows: u64) -> Outcome<ExitCode> {
        self.checkpoint.map(Checkpoint::remove).transpose()?;
        let skipped = self.bad.as_ref().map_or(0, BadRows::count);
        let passed = match skipped {
            0 => String::new(),
            skipped => format!(", {} of them not imported but in the file of --skip-bad", size::count(skipped)),
        };
        self.progress.done(&format!("{}{passed}", size::plural(rows, "row")));
        if output.format == Format::Json {
            output.json(&json!({"rows": rows, "skipped": skipped}))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Observer for Watch {
    fn note(&mut self, mark: &Mark) -> Result<(), Failure> {
        self.progress.at(mark.below());
        Ok(self.checkpoint.as_ref().map(|checkpoint| checkpoint.save(mark)).transpose().map(drop)?)
    }

    fn bad(&mut self, row: u64, why: NotWritten, raw: &Raw) -> Result<(), Stopped> {
        let Some(bad) = &mut self.bad else { return Err(Stopped::Row { row, why }) };
        bad.add(raw).doing("failed to write the file of --skip-bad").map_err(Stopped::Note)?;
        if bad.count() <= TOLD_MAX {
            let why = match why {
                NotWritten::NoRecord(error) => Failure::from(error),
                NotWritten::Refused(error) => Failure::from(error),
            };
            let more = if bad.count() == TOLD_MAX { "; more are passed over without a word" } else { "" };
            self.progress.say(&format!("    row {}: {}{more}", size::count(row + 1), why.text()));
        }
        Ok(())
    }
}
