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
    left_out: u64,
}

impl Watch {
    pub(super) fn new(output: &Output, table: &str, checkpoint: Option<Checkpoint>, bad: Option<BadRows>) -> Self {
        let progress = Progress::counted(output, &format!("import {table}"), None);
        Self { progress, checkpoint, bad, left_out: 0 }
    }

    /// All rows are done, or passed over.
    pub(super) fn finish(self, output: &Output, rows: u64) -> Outcome<ExitCode> {
        self.checkpoint.map(Checkpoint::remove).transpose()?;
        let skipped = self.bad.as_ref().map_or(0, BadRows::count);
        let mut passed = match skipped {
            0 => String::new(),
            skipped => format!(", {} of them not imported but in the file of --skip-bad", size::count(skipped)),
        };
        if self.left_out > 0 {
            let left_out = size::count(self.left_out);
            passed.push_str(&format!(", {left_out} of them left out, which were not the newest of their keys"));
        }
        self.progress.done(&format!("{}{passed}", size::plural(rows, "row")));
        if output.format == Format::Json {
            output.json(&json!({"rows": rows, "skipped": skipped, "leftOut": self.left_out}))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Observer for Watch {
    fn note(&mut self, mark: &Mark) -> Result<(), Failure> {
        self.progress.at(mark.below());
        Ok(self.checkpoint.as_ref().map(|checkpoint| checkpoint.save(mark)).transpose().map(drop)?)
    }

    fn left_out(&mut self) {
        self.left_out += 1;
    }

    fn bad(&mut self, row: u64, why: NotWritten, raw: &Raw) -> Result<(), Stopped> {
        let Some(bad) = &mut self.bad else { return Err(Stopped::Row { row, why }) };
        bad.add(raw).doing("failed to write the file of --skip-bad").map_err(Stopped::Note)?;
        if bad.count() <= TOLD_MAX {
            let why = why.failure();
            let more = if bad.count() == TOLD_MAX { "; more are passed over without a word" } else { "" };
            self.progress.say(&format!("    row {}: {}{more}", size::count(row + 1), why.text()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::os::fd::AsRawFd as _;
    use std::path::PathBuf;

    use clap::Parser as _;

    use super::*;
    use crate::args::Args;
    use crate::failure;
    use crate::import::record::RecordError;

    #[test]
    fn bad_rows_that_nobody_takes_end_the_import_with_a_failure() {
        let (reader, writer) = io::pipe().unwrap();
        let path = PathBuf::from(format!("/dev/fd/{}", writer.as_raw_fd()));
        let bad = BadRows::open(&path, false, b',').unwrap();
        drop(reader);
        let output = Output::new(&Args::try_parse_from(["skerry", "status"]).unwrap().global);
        let mut watch = Watch::new(&output, "t", None, Some(bad));
        let stopped = watch.bad(0, NotWritten::NoRecord(RecordError::Expiry), &Raw::default()).unwrap_err();
        let Stopped::Note(failure) = stopped else { panic!("{stopped:?}") };
        assert!(failure.text().starts_with("failed to write the file of --skip-bad"), "{}", failure.text());
        assert_eq!(format!("{:?}", failure::report(&output, &failure)), format!("{:?}", ExitCode::from(1)));
    }
}
