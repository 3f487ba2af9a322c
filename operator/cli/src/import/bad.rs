//! Rows that were passed over, in a file of their own: in the form of the import's own file, so that it can be mended
//! and imported.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use super::csv_rows::{Header, csv_line};

/// A row as it stood in its file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Raw {
    /// Header of the CSV file. `None` = the file is not CSV.
    pub(crate) header: Option<Arc<Header>>,
    /// The row's own bytes, as they stood in the file.
    pub(crate) line: Vec<u8>,
}

/// The file of `--skip-bad`, to which rows that were left out are added.
#[derive(Debug)]
pub(crate) struct BadRows {
    file: File,
    is_empty: bool,
    delimiter: u8,
    count: u64,
}

impl BadRows {
    /// Opens the file; an import that goes on adds to what is there.
    pub(crate) fn open(path: &Path, goes_on: bool, delimiter: u8) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = match goes_on {
            true => options.append(true).create(true).open(path)?,
            false => options.write(true).truncate(true).create(true).open(path)?,
        };
        let is_empty = file.metadata()?.len() == 0;
        Ok(Self { file, is_empty, delimiter, count: 0 })
    }

    /// Adds a row. It is written before the row counts as done.
    pub(crate) fn add(&mut self, raw: &Raw) -> io::Result<()> {
        let mut text = Vec::new();
        if let (true, Some(header)) = (self.is_empty, &raw.header) {
            text.extend(csv_line(header.names.as_byte_record(), self.delimiter));
            text.push(b'\n');
        }
        text.extend(&raw.line);
        text.push(b'\n');
        self.file.write_all(&text)?;
        self.is_empty = false;
        self.count += 1;
        Ok(())
    }

    /// Number of rows that were added.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::rows::tests::CSV;
    use crate::import::rows::{Line, read};

    #[test]
    fn bad_rows_stand_below_their_header_also_when_an_import_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.csv");
        std::fs::write(&path, "older").unwrap();
        let lines: Vec<Line> = read(&b"a,\"b,c\"\n1\n2,3,4\n"[..], &CSV).map(Result::unwrap).collect();
        for (goes_on, line) in [(false, &lines[0]), (true, &lines[1])] {
            let mut bad = BadRows::open(&path, goes_on, b',').unwrap();
            let (_, raw) = line.row.as_ref().unwrap_err();
            bad.add(&Raw { header: line.header.clone(), line: raw.clone() }).unwrap();
            assert_eq!(bad.count(), 1);
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a,\"b,c\"\n1\n2,3,4\n");
    }
}
