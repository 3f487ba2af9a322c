//! Where an import's rows come from, and how they are read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use tempfile::NamedTempFile;

use crate::failure::{Explain, Failure, Outcome};
use crate::import::encoding::Encoding;
use crate::import::rows::{Reading, RowFormat, judge};
use crate::import::types::{Types, TypesError};
use crate::output::Output;

/// What is said of the file.
#[derive(Debug, Args)]
pub(super) struct SourceArgs {
    /// CSV with a header, or JSON: an object a line, or an array of objects. Either may be compressed with gzip; `-` is
    /// stdin.
    file: PathBuf,
    /// How rows are written, where the file's name does not say so.
    #[arg(long, value_enum)]
    format: Option<FileFormat>,
    /// What parts the cells of a CSV file: one ASCII character, or `tab`. By default a comma, and a tab in .tsv files.
    #[arg(long, value_name = "CHARACTER", value_parser = delimiter)]
    delimiter: Option<u8>,
    /// How the file's characters are written.
    #[arg(long, value_enum, default_value_t = Encoding::Utf8)]
    encoding: Encoding,
    /// What cells of a CSV file become in a value: `text`, or `auto`, which makes numbers of a column if all of its
    /// cells are whole numbers; also by column, as in `auto,zip=text`. With `auto` the file is read twice.
    #[arg(long, value_name = "TYPES", default_value = "auto", value_parser = types)]
    types: Types,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FileFormat {
    Csv,
    #[value(alias = "json")]
    Jsonl,
}

/// A source that can be read.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    /// What came from stdin, where it must be read twice.
    spooled: Option<NamedTempFile>,
    /// How it is read.
    pub(super) reading: Reading,
}

impl SourceArgs {
    /// How rows are written.
    pub(super) fn format(&self) -> Outcome<RowFormat> {
        let named = RowFormat::of(&self.file);
        let format = match (self.format, named) {
            (Some(FileFormat::Csv), Some(csv @ RowFormat::Csv { .. })) | (None, Some(csv)) => csv,
            (Some(FileFormat::Csv), _) => RowFormat::Csv { delimiter: b',' },
            (Some(FileFormat::Jsonl), _) => RowFormat::Json,
            (None, None) => {
                let why = match self.is_stdin() {
                    true => "nothing says how the rows on stdin are written".to_owned(),
                    false => format!("{} does not say by its name what it is", self.file.display()),
                };
                return Err(Failure::new(why).next("say so: --format csv or --format jsonl"));
            }
        };
        Ok(match (format, self.delimiter) {
            (RowFormat::Csv { .. }, Some(delimiter)) => RowFormat::Csv { delimiter },
            (format, _) => format,
        })
    }

    /// Makes ready to read. `judges`: cells become members of JSON values, so their types matter.
    pub(super) fn open(&self, format: RowFormat, judges: bool, output: &Output) -> Outcome<Source> {
        let mut source = Source {
            path: self.file.clone(),
            spooled: None,
            reading: Reading { format, encoding: self.encoding, numeric: None },
        };
        let RowFormat::Csv { delimiter } = format else { return Ok(source) };
        if judges && self.types.depend_on_rows() {
            if self.is_stdin() {
                output.say("reading all of stdin first, to see which columns are numbers (not with --types text)");
                let mut file = NamedTempFile::new().doing("failed to make a temporary file for stdin")?;
                io::copy(&mut io::stdin().lock(), &mut file).doing("failed to read stdin")?;
                source.spooled = Some(file);
            }
            let judged = judge(source.path(), delimiter, self.encoding, &self.types)
                .next("correct the file, or say how it is to be read; `skerry import --help` tells how");
            source.reading.numeric = Some(judged.doing(format!("failed to read {}", self.name()))?);
        }
        Ok(source)
    }

    /// True if rows come from stdin.
    pub(super) fn is_stdin(&self) -> bool {
        self.file.as_os_str() == "-"
    }

    /// What messages call the source: the path as it was given, or `stdin`.
    pub(super) fn name(&self) -> String {
        if self.is_stdin() { "stdin".to_owned() } else { self.file.display().to_string() }
    }

    /// The path as it was given; `-` is stdin.
    pub(super) fn given(&self) -> &Path {
        &self.file
    }

    /// Wherever it is called from.
    pub(super) fn full_path(&self) -> Outcome<PathBuf> {
        match self.is_stdin() {
            true => Ok(self.file.clone()),
            false => fs::canonicalize(&self.file).doing(format!("failed to read {}", self.name())),
        }
    }
}

impl Source {
    /// What to open.
    pub(super) fn path(&self) -> &Path {
        self.spooled.as_ref().map_or(&self.path, NamedTempFile::path)
    }

    /// How it is read, but for the types of columns.
    pub(super) fn how(&self) -> String {
        format!("{:?} {:?}", self.reading.format, self.reading.encoding)
    }

    /// Of each column of a CSV file: whether it becomes a number.
    pub(super) fn numeric(&self) -> Vec<bool> {
        self.reading.numeric.as_deref().unwrap_or_default().to_vec()
    }

    /// What parts cells; means nothing for JSON.
    pub(super) fn delimiter(&self) -> u8 {
        match self.reading.format {
            RowFormat::Csv { delimiter } => delimiter,
            RowFormat::Json => b',',
        }
    }
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        _ if text == "tab" || text == "\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !matches!(byte, b'"' | b'\r' | b'\n') => {
            Ok(*byte)
        }
        _ => Err("it is one ASCII character that is no letter, digit or quote, such as ';', or tab".to_owned()),
    }
}

fn types(text: &str) -> Result<Types, TypesError> {
    Types::parse(text)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Of {
        #[command(flatten)]
        args: SourceArgs,
    }

    fn format(line: &[&str]) -> Outcome<RowFormat> {
        Of::try_parse_from([&["import"], line].concat()).unwrap().args.format()
    }

    #[test]
    fn delimiter_is_the_given_one_else_that_of_the_name() {
        assert_eq!(format(&["a.csv"]).unwrap(), RowFormat::Csv { delimiter: b',' });
        assert_eq!(format(&["a.tsv", "--format", "csv"]).unwrap(), RowFormat::Csv { delimiter: b'\t' });
        assert_eq!(format(&["a.csv", "--delimiter", ";"]).unwrap(), RowFormat::Csv { delimiter: b';' });
        assert_eq!(
            format(&["-", "--format", "csv", "--delimiter", "tab"]).unwrap(),
            RowFormat::Csv { delimiter: b'\t' }
        );
        assert!(delimiter("::").is_err() && delimiter("\"").is_err() && delimiter("ä").is_err());
    }

    #[test]
    fn stdin_says_nothing_by_its_name() {
        assert_eq!(format(&["-", "--format", "jsonl"]).unwrap(), RowFormat::Json);
        assert_eq!(format(&["-"]).unwrap_err().text(), "nothing says how the rows on stdin are written");
    }
}
