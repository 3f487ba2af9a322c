//! The rows of a CSV file with a header.

use std::io::Read;
use std::sync::Arc;

use csv::{ByteRecord, StringRecord};

use super::quotes::Quotes;
use super::rows::{Line, Row, RowError, check_of};
use super::types::Numeric;

/// What the rows of one file share.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The columns' names, each there once.
    pub(crate) names: StringRecord,
    /// For each column: true if its cells become numbers.
    pub(crate) numeric: Numeric,
}

/// Reads a CSV file row by row.
pub(crate) struct CsvRows<R> {
    reader: csv::Reader<Quotes<R>>,
    numeric: Option<Numeric>,
    header: Option<Arc<Header>>,
    delimiter: u8,
}

impl<R: Read> CsvRows<R> {
    /// `numeric`: which columns become numbers, `None` = none.
    pub(crate) fn new(source: R, delimiter: u8, numeric: Option<Numeric>) -> Self {
        // Whether rows are as long as the header is looked at here, so that one that is not can be shown and passed over.
        let mut reader = csv::ReaderBuilder::new();
        reader.delimiter(delimiter).flexible(true);
        let reader = reader.from_reader(Quotes::new(source, delimiter));
        Self { reader, numeric, header: None, delimiter }
    }

    /// The header: its names, each there once, for of two columns with one name one would be lost.
    pub(crate) fn header(&mut self) -> Result<Arc<Header>, RowError> {
        if let Some(header) = &self.header {
            return Ok(Arc::clone(header));
        }
        let bytes = self.reader.byte_headers()?.clone();
        let names = StringRecord::from_byte_record(bytes).map_err(|_| RowError::Header)?;
        if let Some((_, twice)) = names.iter().enumerate().find(|(i, name)| names.iter().take(*i).any(|n| n == *name)) {
            return Err(RowError::Twice(twice.to_owned()));
        }
        let numeric = self.numeric.clone().unwrap_or_else(|| vec![false; names.len()].into());
        let header = Arc::new(Header { names, numeric });
        self.header = Some(Arc::clone(&header));
        Ok(header)
    }

    fn row(&self, header: Arc<Header>, record: ByteRecord) -> Line {
        let check = check_of(record.iter());
        let raw = |record: &ByteRecord| csv_line(record, self.delimiter);
        let columns = header.names.len();
        let row = if record.len() == columns {
            let header = Arc::clone(&header);
            match StringRecord::from_byte_record(record) {
                Ok(record) => Ok(Row::Csv { header, record }),
                Err(error) => Err((RowError::Encoding, raw(&error.into_byte_record()))),
            }
        } else {
            Err((RowError::Length { cells: record.len(), columns }, raw(&record)))
        };
        Line { check, header: Some(header), row }
    }
}

impl<R: Read> Iterator for CsvRows<R> {
    type Item = Result<Line, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let header = match self.header() {
            Ok(header) => header,
            Err(error) => return Some(Err(error)),
        };
        let mut record = ByteRecord::new();
        match self.reader.read_byte_record(&mut record) {
            Ok(true) => Some(Ok(self.row(header, record))),
            Ok(false) => None,
            Err(error) => Some(Err(error.into())),
        }
    }
}

/// A row as a line of CSV, without the end of the line.
pub(crate) fn csv_line(record: &ByteRecord, delimiter: u8) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new()
        .delimiter(delimiter)
        .flexible(true)
        .terminator(csv::Terminator::Any(b'\n'))
        .from_writer(Vec::new());
    // Writing to memory does not fail; a row that cannot be shown is shown as nothing.
    let written = writer.write_byte_record(record);
    let mut line = writer.into_inner().ok().filter(|_| written.is_ok()).unwrap_or_default();
    line.pop();
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &'static [u8]) -> CsvRows<&'static [u8]> {
        CsvRows::new(text, b';', None)
    }

    #[test]
    fn column_that_is_there_twice_is_refused() {
        let error = rows(b"a;b;a\n1;2;3\n").next().unwrap().unwrap_err();
        assert_eq!(error.to_string(), r#"column "a" is there twice; each column needs a name of its own"#);
    }

    #[test]
    fn rows_end_at_a_quote_that_cannot_be_meant_so_and_those_before_are_read() {
        for text in [&b"id;name\n0;a\n1;\"abc\n2;def\n3;ghi"[..], b"id;name\n0;a\n1;\"abc\n2;\"def\"\n"] {
            let read: Vec<_> = rows(text).take(3).collect();
            assert_eq!(read[0].as_ref().unwrap().row.as_ref().unwrap().cell("name").unwrap(), "a");
            assert!(matches!(&read[1], Err(RowError::Csv(error)) if error.to_string().contains("quote")), "{read:?}");
        }
        let cells = |text| rows(text).map(|line| line.unwrap().row.unwrap().cell("b").unwrap().into_owned());
        let meant: Vec<String> =
            cells(b"a;b\r\n1;\"two\r\nlines\"\r\n2;\"a \"\"word\"\"\"\r\n3;5\" disk\r\n").collect();
        assert_eq!(meant, ["two\r\nlines", "a \"word\"", "5\" disk"]);
    }

    #[test]
    fn bad_rows_are_told_apart_and_the_next_is_read() {
        let mut rows = rows(b"a;b\n1\n\xe4;2\n\"x;y\";3\n");
        let mut next = || rows.next().unwrap().unwrap().row;
        let (error, raw) = next().unwrap_err();
        assert_eq!((error.to_string().as_str(), raw.as_slice()), ("the header has 2 columns and the row 1", &b"1"[..]));
        let (error, raw) = next().unwrap_err();
        assert!(matches!(error, RowError::Encoding) && raw == b"\xe4;2");
        let row = next().unwrap();
        assert_eq!((row.cell("a").unwrap().as_ref(), row.raw(b';').as_slice()), ("x;y", &b"\"x;y\";3"[..]));
    }
}
