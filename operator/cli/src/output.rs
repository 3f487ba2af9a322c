//! Where words go: data to stdout, messages to stderr, colours and animation only to a terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use comfy_table::{Cell, Table, presets};
use serde::Serialize;

use crate::args::{Format, Global};
use crate::failure::{Explain, Outcome};

/// Both streams, and how they are written.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// Format of the output, as the user has asked for.
    pub(crate) format: Format,
    colour: bool,
    messages_colour: bool,
    animate: bool,
    interactive: bool,
    /// Set once whoever read stdout has gone; clones share it.
    unread: Arc<AtomicBool>,
}

/// Colours, by what they mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Something is well.
    Good,
    /// Something is under way.
    Busy,
    /// Something is broken or has failed.
    Bad,
    /// Text that is to stand out.
    Strong,
    /// Text that is of less weight.
    Faint,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Busy => "33",
            Self::Bad => "31",
            Self::Strong => "1",
            Self::Faint => "2",
        }
    }
}

impl Output {
    /// Finds out what the streams can show.
    pub(crate) fn new(global: &Global) -> Self {
        let plain = global.no_color
            || std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        let (stdout, stderr) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Self {
            format: global.output,
            colour: stdout && !plain,
            messages_colour: stderr && !plain,
            animate: stderr && !plain,
            interactive: stdout && stderr,
            unread: Arc::default(),
        }
    }

    /// True if progress may be drawn over itself on stderr.
    pub(crate) fn animates(&self) -> bool {
        self.animate
    }

    /// True if a person watches the output on a terminal.
    pub(crate) fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// True if the locale can show more than ASCII.
    pub(crate) fn unicode(&self) -> bool {
        let set = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|n| std::env::var(n).ok().filter(|v| !v.is_empty()));
        set.is_some_and(|locale| locale.to_ascii_lowercase().replace('-', "").contains("utf8"))
    }

    /// Columns of the terminal; without one, as many as most logs show.
    pub(crate) fn width(&self) -> usize {
        let columns = console::Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
        columns.unwrap_or(120)
    }

    /// Paints text for stdout.
    pub(crate) fn paint(&self, paint: Paint, text: &str) -> String {
        painted(self.colour, paint, text)
    }

    /// Paints text for stderr.
    pub(crate) fn paint_message(&self, paint: Paint, text: &str) -> String {
        painted(self.messages_colour, paint, text)
    }

    /// Writes a line of text to stdout.
    pub(crate) fn line(&self, text: &str) -> Outcome<()> {
        self.bytes(format!("{text}\n").as_bytes())
    }

    /// Writes a value to stdout as one JSON document.
    pub(crate) fn json(&self, value: &impl Serialize) -> Outcome<()> {
        let mut text = serde_json::to_vec_pretty(value)?;
        text.push(b'\n');
        self.bytes(&text)
    }

    /// Writes bytes to stdout. If whoever read them has gone they have had enough, which is no failure: what the command does
    /// beside that goes on, and so does its exit code. A command that only prints asks [`Output::is_unread`].
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Outcome<()> {
        let mut out = io::stdout().lock();
        self.written(out.write_all(bytes).and_then(|()| out.flush()))
    }

    fn written(&self, written: io::Result<()>) -> Outcome<()> {
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.unread.store(true, Ordering::Relaxed);
                Ok(())
            }
            written => written.doing("failed to write to stdout"),
        }
    }

    /// True once nobody reads stdout any more: no need to find more that would be printed.
    pub(crate) fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// Writes a table with aligned columns.
    pub(crate) fn table(&self, header: &[&str], rows: Vec<Vec<String>>) -> Outcome<()> {
        self.line(&table_text(header, rows))
    }

    /// Says something to the user; a stream that is gone cannot be told so.
    pub(crate) fn say(&self, text: &str) {
        let _gone = writeln!(io::stderr().lock(), "{text}");
    }

    /// Writes to stderr what went wrong.
    pub(crate) fn complain(&self, text: &str) {
        self.say(&format!("{} {text}", self.paint_message(Paint::Bad, "error:")));
    }

    /// Writes to stderr what the user can do next.
    pub(crate) fn advise(&self, text: &str) {
        self.say(&format!("{} {text}", self.paint_message(Paint::Strong, "next: ")));
    }
}

fn painted(colour: bool, paint: Paint, text: &str) -> String {
    if colour { format!("\u{1b}[{}m{text}\u{1b}[0m", paint.code()) } else { text.to_owned() }
}

/// Aligned columns without rules, as cluster tools print them.
pub(crate) fn table_text(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).force_no_tty();
    table.set_header(header.iter().map(Cell::new));
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let text = table.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Args;

    #[test]
    fn tables_align_and_carry_no_trailing_blanks() {
        let rows = vec![vec!["n1".to_owned(), "zone-a".to_owned()], vec!["n10".to_owned(), "b".to_owned()]];
        assert_eq!(table_text(&["NODE", "ZONE"], rows), "NODE   ZONE\nn1     zone-a\nn10    b");
    }

    #[test]
    fn a_reader_that_has_gone_is_no_failure_and_all_else_is() {
        let output = Output::new(&Args::try_parse_from(["skerry", "status"]).unwrap().global);
        assert!(output.written(Err(io::ErrorKind::StorageFull.into())).is_err() && !output.is_unread());
        assert!(output.written(Err(io::ErrorKind::BrokenPipe.into())).is_ok() && output.is_unread());
    }

    #[test]
    fn no_colour_means_no_escape() {
        assert_eq!(painted(false, Paint::Bad, "x"), "x");
        assert_eq!(painted(true, Paint::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
    }
}
