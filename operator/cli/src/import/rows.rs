//! Rows of a file: CSV with a header, or JSON, either of them compressed with gzip or not.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use csv::StringRecord;
use flate2::read::MultiGzDecoder;
use serde_json::Value;

use super::csv_rows::{CsvRows, Header, csv_line};
use super::encoding::{Encoding, decoded};
use super::json_rows::JsonRows;
use super::json_text::{JsonError, Object, compact};
use super::types::{Judge, Numeric, Types, TypesError};

/// One row of a file, with named cells.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Row {
    /// A row of a CSV file; its columns are in the file's order.
    Csv { header: Arc<Header>, record: StringRecord },
    /// An object of a JSON file.
    Json(Object),
}

/// The format of a file's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowFormat {
    /// CSV with a header, whose cells are parted by `delimiter`.
    Csv { delimiter: u8 },
    /// One object a line, or one array of objects.
    Json,
}

/// How a file is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Format of the rows.
    pub(crate) format: RowFormat,
    /// Encoding of the characters.
    pub(crate) encoding: Encoding,
    /// Which columns of a CSV file become numbers. `None` = none.
    pub(crate) numeric: Option<Numeric>,
}

/// What is next in a file.
#[derive(Debug)]
pub(crate) struct Line {
    /// A checksum of what is there.
    pub(crate) check: u64,
    /// Header of the CSV file. `None` = the file is not CSV.
    pub(crate) header: Option<Arc<Header>>,
    /// The row, or why it is none and what it looks like.
    pub(crate) row: Result<Row, (RowError, Vec<u8>)>,
}

/// Why a row, or what follows, cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RowError {
    #[error("failed to read")]
    Io(#[from] io::Error),
    #[error("not CSV")]
    Csv(#[from] csv::Error),
    #[error(transparent)]
    Json(JsonError),
    #[error("the header is not UTF-8; say how the file is encoded, as in --encoding windows-1252")]
    Header,
    #[error("not UTF-8; say how the file is encoded, as in --encoding windows-1252")]
    Encoding,
    #[error("column {0:?} is there twice; each column needs a name of its own")]
    Twice(String),
    #[error("the header has {columns} columns and the row {cells}")]
    Length { cells: usize, columns: usize },
    #[error("the row is longer than {max} bytes")]
    TooLong { max: u64 },
    #[error("the array does not go on or end as arrays do")]
    Array,
    #[error("something follows after the array's end")]
    AfterArray,
    #[error(transparent)]
    Types(#[from] TypesError),
}

/// The rows of a file, one after the other. An error ends them.
pub(crate) type Rows = Box<dyn Iterator<Item = Result<Line, RowError>> + Send>;

impl RowFormat {
    /// From the file's name, before an optional `.gz`: `.jsonl`, `.ndjson` and `.json` are JSON, `.csv` is CSV with
    /// commas, `.tsv` with tabs.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        match name.rsplit_once('.')?.1 {
            "csv" => Some(Self::Csv { delimiter: b',' }),
            "tsv" => Some(Self::Csv { delimiter: b'\t' }),
            "jsonl" | "ndjson" | "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// Opens a file, decompressing it if its first bytes are gzip's; `-` is stdin.
pub(crate) fn open(path: &Path, reading: &Reading) -> io::Result<Rows> {
    Ok(read(source(path, reading.encoding)?, reading))
}

fn source(path: &Path, encoding: Encoding) -> io::Result<Box<dyn Read + Send>> {
    let file: Box<dyn Read + Send> = match path.as_os_str() == "-" {
        true => Box::new(io::stdin()),
        false => Box::new(File::open(path)?),
    };
    let mut file = BufReader::with_capacity(1 << 16, file);
    let compressed = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    if compressed { decoded(MultiGzDecoder::new(file), encoding) } else { decoded(file, encoding) }
}

/// Reads the rows of a source in the format that `reading` names.
pub(crate) fn read(source: impl Read + Send + 'static, reading: &Reading) -> Rows {
    match reading.format {
        RowFormat::Csv { delimiter } => Box::new(CsvRows::new(source, delimiter, reading.numeric.clone())),
        RowFormat::Json => Box::new(JsonRows::new(BufReader::with_capacity(1 << 16, source))),
    }
}

/// Looks through a whole CSV file: which of its columns become numbers.
pub(crate) fn judge(path: &Path, delimiter: u8, encoding: Encoding, types: &Types) -> Result<Numeric, RowError> {
    let mut rows = CsvRows::new(source(path, encoding)?, delimiter, None);
    let header = rows.header()?;
    types.check(&header.names)?;
    let mut judge = Judge::new(types, &header.names);
    for line in rows {
        // A row that is none is told of when it is to be imported.
        if let Ok(Row::Csv { record, .. }) = line?.row {
            judge.see(&record);
        }
    }
    Ok(judge.numeric())
}

/// A checksum (FNV-1a) of the parts and of where each ends: it guards against files that were edited, not against
/// anybody who wants to deceive.
pub(crate) fn check_of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let step = |hash: u64, byte: u64| (hash ^ byte).wrapping_mul(0x0100_0000_01b3);
    parts.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, part| {
        step(part.iter().fold(hash, |hash, byte| step(hash, u64::from(*byte))), 0x100)
    })
}

impl Row {
    /// A cell as text. `None` = no such column; JSON's null is an empty cell.
    pub(crate) fn cell(&self, name: &str) -> Option<Cow<'_, str>> {
        match self {
            Self::Csv { header, record } => {
                let column = header.names.iter().position(|h| h == name)?;
                record.get(column).map(Cow::Borrowed)
            }
            Self::Json(object) => object.cell(name),
        }
    }

    /// Names of the row's columns.
    pub(crate) fn columns(&self) -> Vec<&str> {
        match self {
            Self::Csv { header, .. } => header.names.iter().collect(),
            Self::Json(object) => object.names().collect(),
        }
    }

    /// The row as a JSON object. Of CSV: columns in the order of their names, empty cells left out.
    pub(crate) fn to_json(&self) -> String {
        match self {
            Self::Csv { header, record } => {
                let mut cells: Vec<_> = header.names.iter().zip(header.numeric.iter()).zip(record).collect();
                cells.retain(|(_, cell)| !cell.is_empty());
                cells.sort_unstable_by_key(|((name, _), _)| *name);
                let text = |text: &str| Value::from(text).to_string();
                let member = |((name, numeric), cell): ((&str, &bool), &str)| {
                    let cell = if *numeric { cell.to_owned() } else { text(cell) };
                    format!("{}:{cell}", text(name))
                };
                format!("{{{}}}", cells.into_iter().map(member).collect::<Vec<_>>().join(","))
            }
            Self::Json(object) => compact(object.text()).into_owned(),
        }
    }

    /// As it stands in the file, but for needless quotes; cells parted by this.
    pub(crate) fn raw(&self, delimiter: u8) -> Vec<u8> {
        match self {
            Self::Csv { record, .. } => csv_line(record.as_byte_record(), delimiter),
            Self::Json(object) => compact(object.text()).into_owned().into_bytes(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use super::*;

    pub(crate) const CSV: Reading =
        Reading { format: RowFormat::Csv { delimiter: b',' }, encoding: Encoding::Utf8, numeric: None };

    pub(crate) fn csv_row(header: &str, row: &str) -> Row {
        read(io::Cursor::new(format!("{header}\n{row}\n")), &CSV).next().unwrap().unwrap().row.unwrap()
    }

    fn written(name: &str, bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    #[test]
    fn format_follows_from_the_name() {
        let of = |name: &str| RowFormat::of(Path::new(name));
        assert_eq!(of("a/flights.csv.gz"), Some(RowFormat::Csv { delimiter: b',' }));
        assert_eq!(of("a.tsv"), Some(RowFormat::Csv { delimiter: b'\t' }));
        assert_eq!(of("x.JSONL"), Some(RowFormat::Json));
        assert_eq!(of("x.parquet"), None);
    }

    #[test]
    fn cells_of_one_column_have_one_type() {
        let (_folder, path) = written("a.csv", b"zip,n\n90210,1\n01234,\n");
        let numeric = judge(&path, b',', Encoding::Utf8, &Types::default()).unwrap();
        let rows = open(&path, &Reading { numeric: Some(numeric), ..CSV }).unwrap();
        let values: Vec<String> = rows.map(|line| line.unwrap().row.unwrap().to_json()).collect();
        assert_eq!(values, [r#"{"n":1,"zip":"90210"}"#, r#"{"zip":"01234"}"#]);
    }

    #[test]
    fn a_stray_quote_is_found_before_anything_is_imported_if_columns_are_judged() {
        let (_folder, path) = written("a.csv", b"id,name\n1,a\n2,\"b\n3,c\n");
        let told = judge(&path, b',', Encoding::Utf8, &Types::default()).unwrap_err();
        assert!(matches!(&told, RowError::Csv(why) if why.to_string().contains("line 3 is never closed")), "{told:?}");
        let read: Vec<bool> = open(&path, &CSV).unwrap().take(2).map(|line| line.is_ok()).collect();
        assert_eq!(read, [true, false], "the row before it is read where no column is judged");
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_either_format() {
        let (_folder, path) = written("a.csv", b"\xef\xbb\xbfa\n1\n");
        assert_eq!(open(&path, &CSV).unwrap().next().unwrap().unwrap().row.unwrap().columns(), ["a"]);
        let (_folder, path) = written("a.jsonl", b"\xef\xbb\xbf{\"a\": 1}\n");
        let json = Reading { format: RowFormat::Json, ..CSV };
        assert_eq!(open(&path, &json).unwrap().next().unwrap().unwrap().row.unwrap().columns(), ["a"]);
    }

    #[test]
    fn gzip_is_seen_by_its_first_bytes() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"a\n1\n2\n").unwrap();
        let (_folder, path) = written("rows.csv", &encoder.finish().unwrap());
        let cell = |line: Result<Line, RowError>| line.unwrap().row.unwrap().cell("a").unwrap().into_owned();
        assert_eq!(open(&path, &CSV).unwrap().map(cell).collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn checksum_sees_where_cells_end() {
        assert_ne!(check_of([&b"ab"[..], b"c"]), check_of([&b"a"[..], b"bc"]));
        assert_ne!(check_of([&b"a"[..]]), check_of([&b"b"[..]]));
    }
}
