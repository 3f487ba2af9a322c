//! What CSV cells become in a JSON value: text, or numbers where a whole column is made of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use csv::StringRecord;

/// Beyond this, programs that keep numbers as 64-bit floats lose digits.
const EXACT_MAX: u64 = (1 << 53) - 1;

/// What the cells of one column become.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Numbers if every cell that is not empty is a whole number as JSON writes it, else text.
    #[default]
    Auto,
    /// The cells are text, whatever they look like.
    Text,
}

/// What the cells of each column become.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Types {
    all: Kind,
    columns: BTreeMap<String, Kind>,
}

/// Why the value of `--types` is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TypesError {
    #[error("{0:?} is not a type; types are text and auto, as in `text`, or `auto,zip=text`")]
    Kind(String),
    #[error("there is no column {name:?}; the columns are {columns}")]
    Column { name: String, columns: String },
}

/// For each column: true if its cells are numbers.
pub(crate) type Numeric = Arc<[bool]>;

impl Types {
    /// Parses `text`, `auto`, and `COLUMN=text` or `COLUMN=auto`, parted by commas; what comes later wins.
    pub(crate) fn parse(text: &str) -> Result<Self, TypesError> {
        let mut types = Self::default();
        for part in text.split(',') {
            let kind = |name: &str| match name {
                "auto" => Ok(Kind::Auto),
                "text" => Ok(Kind::Text),
                other => Err(TypesError::Kind(other.to_owned())),
            };
            match part.rsplit_once('=') {
                Some((column, name)) => {
                    types.columns.insert(column.to_owned(), kind(name)?);
                }
                None => types.all = kind(part)?,
            }
        }
        Ok(types)
    }

    /// True if the rows must be looked at before the first of them can become a value.
    pub(crate) fn depend_on_rows(&self) -> bool {
        self.all == Kind::Auto || self.columns.values().any(|kind| *kind == Kind::Auto)
    }

    /// True if every named column is there.
    pub(crate) fn check(&self, header: &StringRecord) -> Result<(), TypesError> {
        match self.columns.keys().find(|name| !header.iter().any(|h| h == *name)) {
            None => Ok(()),
            Some(name) => {
                let columns = header.iter().collect::<Vec<_>>().join(", ");
                Err(TypesError::Column { name: name.clone(), columns })
            }
        }
    }
}

/// Judges columns by row after row.
#[derive(Debug)]
pub(crate) struct Judge {
    numeric: Vec<bool>,
}

impl Judge {
    /// Begins before the first row is seen.
    pub(crate) fn new(types: &Types, header: &StringRecord) -> Self {
        let kind = |name: &str| types.columns.get(name).copied().unwrap_or(types.all);
        Self { numeric: header.iter().map(|name| kind(name) == Kind::Auto).collect() }
    }

    /// Takes one more row into account.
    pub(crate) fn see(&mut self, row: &StringRecord) {
        for (numeric, cell) in self.numeric.iter_mut().zip(row) {
            *numeric = *numeric && (cell.is_empty() || is_exact_number(cell));
        }
    }

    /// Which columns hold nothing but numbers, by position.
    pub(crate) fn numeric(self) -> Numeric {
        self.numeric.into()
    }
}

/// True for a whole number that comes back with the same text from every JSON reader.
fn is_exact_number(cell: &str) -> bool {
    cell.parse::<i64>().is_ok_and(|number| number.unsigned_abs() <= EXACT_MAX && number.to_string() == cell)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(types: &str, header: &[&str], rows: &[&[&str]]) -> Vec<bool> {
        let records: Vec<StringRecord> = rows.iter().map(|row| StringRecord::from(row.to_vec())).collect();
        let mut judge = Judge::new(&Types::parse(types).unwrap(), &StringRecord::from(header.to_vec()));
        records.iter().for_each(|record| judge.see(record));
        judge.numeric().to_vec()
    }

    #[test]
    fn one_cell_that_is_no_number_makes_its_column_text() {
        let rows: [&[&str]; 3] = [&["90210", "7", "1"], &["01234", "", "2"], &["90211", "-8", "3.50"]];
        assert_eq!(judged("auto", &["zip", "count", "price"], &rows), [false, true, false]);
    }

    #[test]
    fn numbers_that_others_would_round_are_text() {
        assert_eq!(judged("auto", &["a", "b"], &[&["9007199254740991", "9007199254740992"]]), [true, false]);
        assert_eq!(judged("auto", &["a"], &[&["18446744073709551616"]]), [false]);
    }

    #[test]
    fn columns_are_taken_as_told() {
        assert_eq!(judged("text,b=auto", &["a", "b"], &[&["1", "2"]]), [false, true]);
        assert_eq!(judged("b=text", &["a", "b"], &[&["1", "2"]]), [true, false]);
        assert!(!Types::parse("text").unwrap().depend_on_rows());
        assert!(Types::parse("text,a=auto").unwrap().depend_on_rows());
    }

    #[test]
    fn what_is_no_type_or_no_column_is_named() {
        assert_eq!(Types::parse("number"), Err(TypesError::Kind("number".into())));
        let missing = Types::parse("auto,zap=text").unwrap().check(&StringRecord::from(vec!["zip"])).unwrap_err();
        assert_eq!(missing.to_string(), r#"there is no column "zap"; the columns are zip"#);
    }
}
