//! Rows of a file: CSV with a header, or JSON lines, either of them compressed with gzip or not.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use csv::StringRecord;
use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value};

/// One row: named cells.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Row {
    /// Of a CSV file; columns in the file's order.
    Csv { header: Arc<StringRecord>, record: StringRecord },
    /// Of a file of JSON lines.
    Json(Map<String, Value>),
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowFormat {
    Csv,
    JsonLines,
}

/// Why a row cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RowError {
    #[error("failed to read")]
    Io(#[from] io::Error),
    #[error("not CSV")]
    Csv(#[from] csv::Error),
    #[error("not a JSON object")]
    Json(#[from] serde_json::Error),
}

/// The rows of a file, one after the other.
pub(crate) type Rows = Box<dyn Iterator<Item = Result<Row, RowError>> + Send>;

impl RowFormat {
    /// From the file's name: `.jsonl`, `.ndjson` and `.json` are JSON lines, `.csv` is CSV, before an optional `.gz`.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        match name.rsplit_once('.')?.1 {
            "csv" => Some(Self::Csv),
            "jsonl" | "ndjson" | "json" => Some(Self::JsonLines),
            _ => None,
        }
    }
}

/// Opens a file, decompressing it if its first bytes are gzip's.
pub(crate) fn open(path: &Path, format: RowFormat) -> io::Result<Rows> {
    let mut file = BufReader::with_capacity(1 << 16, File::open(path)?);
    let compressed = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(if compressed { read(MultiGzDecoder::new(file), format) } else { read(file, format) })
}

/// Reads rows.
pub(crate) fn read(source: impl Read + Send + 'static, format: RowFormat) -> Rows {
    match format {
        RowFormat::Csv => Box::new(CsvRows { reader: csv::Reader::from_reader(source), header: None }),
        RowFormat::JsonLines => {
            let lines = BufReader::new(source).lines();
            Box::new(lines.filter_map(|line| match line {
                Ok(line) if line.trim().is_empty() => None,
                Ok(line) => Some(serde_json::from_str(&line).map(Row::Json).map_err(RowError::from)),
                Err(error) => Some(Err(error.into())),
            }))
        }
    }
}

struct CsvRows<R> {
    reader: csv::Reader<R>,
    header: Option<Arc<StringRecord>>,
}

impl<R: Read> Iterator for CsvRows<R> {
    type Item = Result<Row, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.header.is_none() {
            match self.reader.headers() {
                Ok(header) => self.header = Some(Arc::new(header.clone())),
                Err(error) => return Some(Err(error.into())),
            }
        }
        let header = self.header.clone()?;
        let mut record = StringRecord::new();
        match self.reader.read_record(&mut record) {
            Ok(true) => Some(Ok(Row::Csv { header, record })),
            Ok(false) => None,
            Err(error) => Some(Err(error.into())),
        }
    }
}

impl Row {
    /// A cell as text. `None` = no such column; JSON's null is an empty cell.
    pub(crate) fn cell(&self, name: &str) -> Option<Cow<'_, str>> {
        match self {
            Self::Csv { header, record } => {
                let column = header.iter().position(|h| h == name)?;
                record.get(column).map(Cow::Borrowed)
            }
            Self::Json(object) => object.get(name).map(|value| match value {
                Value::String(text) => Cow::Borrowed(text.as_str()),
                Value::Null => Cow::Borrowed(""),
                other => Cow::Owned(other.to_string()),
            }),
        }
    }

    /// The columns' names.
    pub(crate) fn columns(&self) -> Vec<&str> {
        match self {
            Self::Csv { header, .. } => header.iter().collect(),
            Self::Json(object) => object.keys().map(String::as_str).collect(),
        }
    }

    /// The row as a JSON object: whole numbers as numbers, empty cells left out.
    pub(crate) fn to_json(&self) -> String {
        match self {
            Self::Csv { header, record } => {
                let cells = header.iter().zip(record).filter(|(_, cell)| !cell.is_empty());
                let object: Map<String, Value> = cells.map(|(name, cell)| (name.to_owned(), json_cell(cell))).collect();
                Value::Object(object).to_string()
            }
            Self::Json(object) => serde_json::to_string(object).unwrap_or_default(),
        }
    }
}

/// A number only where its text comes back the same, so that `007` stays what it is.
fn json_cell(cell: &str) -> Value {
    match cell.parse::<i64>() {
        Ok(number) if number.to_string() == cell => Value::from(number),
        _ => Value::from(cell),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use super::*;

    pub(crate) fn csv_row(header: &str, row: &str) -> Row {
        read(io::Cursor::new(format!("{header}\n{row}\n")), RowFormat::Csv).next().unwrap().unwrap()
    }

    #[test]
    fn format_follows_from_the_name() {
        let of = |name: &str| RowFormat::of(Path::new(name));
        assert_eq!(of("a/flights.csv.gz"), Some(RowFormat::Csv));
        assert_eq!(of("x.JSONL"), Some(RowFormat::JsonLines));
        assert_eq!(of("x.parquet"), None);
    }

    #[test]
    fn csv_rows_become_json_without_inventing_numbers() {
        let row = csv_row("a,b,c,d", "007,15,,\"x,y\"");
        assert_eq!(row.to_json(), r#"{"a":"007","b":15,"d":"x,y"}"#);
    }

    #[test]
    fn json_lines_are_read_and_bad_ones_refused() {
        let mut rows = read(io::Cursor::new("{\"a\": 1, \"b\": null}\n\n[1]\n"), RowFormat::JsonLines);
        let row = rows.next().unwrap().unwrap();
        assert_eq!((row.cell("a").unwrap().as_ref(), row.cell("b").unwrap().as_ref()), ("1", ""));
        assert!(matches!(rows.next(), Some(Err(RowError::Json(_)))));
    }

    #[test]
    fn gzip_is_seen_by_its_first_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        let mut encoder = flate2::write::GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::fast());
        encoder.write_all(b"a\n1\n2\n").unwrap();
        encoder.finish().unwrap();
        let cells: Vec<String> =
            open(&path, RowFormat::Csv).unwrap().map(|r| r.unwrap().cell("a").unwrap().into_owned()).collect();
        assert_eq!(cells, ["1", "2"]);
    }
}
