//! How a row becomes a record.

use skerry_client::Key;

use super::bad::Raw;
use super::json_text::{BytesError, Object};
use super::rows::{Line, Row, RowError};
use super::template::{CellError, Template};

/// How keys and values are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Make {
    /// How the keys are made.
    pub(crate) form: Form,
    /// The values. `None` = the whole row, or the exported value.
    pub(crate) value: Option<Template>,
    /// What becomes of a key that had several values.
    pub(crate) several: Several,
}

/// What becomes of a key that had several values when it was exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Several {
    /// The table has one value of each key, and nobody has said which: such a row is refused.
    Refused,
    /// The newest is imported, and the others are left out.
    Newest,
    /// All are imported: the table keeps siblings.
    Kept,
}

/// How the key of a record is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// The key is made from columns of the row.
    Templates {
        /// Template of the whole key, or of its partition if there is a sort part.
        key: Template,
        /// Sort part. `None` = there is none.
        sort: Option<Template>,
    },
    /// The key is in the row, as `skerry export` wrote it.
    Exported,
}

/// A record that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Key of the record.
    pub(crate) key: Key,
    /// The bytes that the record gets.
    pub(crate) value: Vec<u8>,
    /// Milliseconds since 1970 after which it is absent. `None` = never.
    pub(crate) expires_ms: Option<u64>,
    /// True if it is one of several values of its key.
    pub(crate) is_sibling: bool,
}

/// What a file has to write next.
#[derive(Debug)]
pub(crate) struct Item {
    /// Checksum of the row's content.
    pub(crate) check: u64,
    /// The record, or why the row is none. `Ok(None)` = the row is left out, as was asked for.
    pub(crate) record: Result<Option<Record>, RecordError>,
    /// What the row looks like; empty where nobody wants to know.
    pub(crate) raw: Raw,
}

/// A row that is no record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error(transparent)]
    Row(#[from] RowError),
    #[error(transparent)]
    Cell(#[from] CellError),
    #[error(transparent)]
    Bytes(#[from] BytesError),
    #[error("\"expiresMs\" is not a number of milliseconds since 1970")]
    Expiry,
    #[error("\"sibling\" is not the place of a value among those of its key, from 1 on")]
    Sibling,
    #[error(
        "its key had several values when it was exported, and this table has one of each key: --newest-sibling takes the newest"
    )]
    Several,
    #[error(
        "there is no \"key\" and \"value\" as `skerry export` writes them; say with --key or --partition what the key is"
    )]
    NotExported,
}

impl Make {
    /// What a line of a file gives. `keep_raw`: also what it looks like, if it turns out that it cannot be written.
    pub(crate) fn item(&self, line: Line, keep_raw: Option<u8>) -> Item {
        let Line { check, header, row } = line;
        let (record, raw) = match row {
            Err((error, raw)) => (Err(error.into()), raw),
            Ok(row) => (self.record(&row), keep_raw.map(|delimiter| row.raw(delimiter)).unwrap_or_default()),
        };
        Item { check, record, raw: Raw { header, line: raw } }
    }

    /// Makes the record of a row.
    fn record(&self, row: &Row) -> Result<Option<Record>, RecordError> {
        match &self.form {
            Form::Templates { key, sort } => {
                let sort = sort.as_ref().map(|s| s.fill(row)).transpose()?.unwrap_or_default();
                let value = match &self.value {
                    Some(value) => value.fill(row)?,
                    None => row.to_json(),
                };
                let key = Key::with_sort(key.fill(row)?, sort);
                Ok(Some(Record { key, value: value.into_bytes(), expires_ms: None, is_sibling: false }))
            }
            Form::Exported => match row {
                Row::Json(object) => exported(object, self.several),
                Row::Csv { .. } => Err(RecordError::NotExported),
            },
        }
    }
}

/// A record as `skerry export` writes it: key, value and expiry to the last byte; its version was the other database's. Of
/// a key with several values each row has its place among them, of which 1 is the newest.
fn exported(object: &Object, several: Several) -> Result<Option<Record>, RecordError> {
    let key = object.bytes("key")?.ok_or(RecordError::NotExported)?;
    let value = object.bytes("value")?.ok_or(RecordError::NotExported)?;
    let sort = object.bytes("sort")?.unwrap_or_default();
    let expires = object.cell("expiresMs").filter(|text| !text.is_empty());
    let expires_ms = expires.map(|text| text.parse().map_err(|_| RecordError::Expiry)).transpose()?;
    let place = object.cell("sibling").filter(|text| !text.is_empty());
    let place = place.map(|text| text.parse().ok().filter(|place| *place > 0_u32).ok_or(RecordError::Sibling));
    let is_sibling = match (place.transpose()?, several) {
        (None, _) | (Some(1), Several::Newest) => false,
        (Some(_), Several::Newest) => return Ok(None),
        (Some(_), Several::Refused) => return Err(RecordError::Several),
        (Some(_), Several::Kept) => true,
    };
    Ok(Some(Record { key: Key::with_sort(key, sort), value, expires_ms, is_sibling }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::rows::tests::csv_row;

    fn make(form: Form) -> Make {
        Make { form, value: None, several: Several::Refused }
    }

    fn line(text: &str) -> Row {
        Row::Json(Object::parse(text).unwrap())
    }

    #[test]
    fn rows_become_records_by_templates() {
        let key = Template::parse("{a}").unwrap();
        let sort = Some(Template::parse("{b:03}").unwrap());
        let make = make(Form::Templates { key, sort });
        let record = make.record(&csv_row("a,b", "x,7")).unwrap().unwrap();
        assert_eq!((record.key, record.value), (Key::with_sort("x", "007"), br#"{"a":"x","b":"7"}"#.to_vec()));
    }

    #[test]
    fn numbers_beyond_64_bits_stay_keys_of_their_own() {
        let make = make(Form::Templates { key: Template::parse("{id}").unwrap(), sort: None });
        let ids = ["18446744073709551616", "18446744073709551617", "18446744073709551618"];
        for id in ids {
            let record =
                make.record(&line(&format!("{{\"id\": {id}, \"x\": 0.1234567890123456789}}"))).unwrap().unwrap();
            assert_eq!(record.key, Key::new(id));
            assert_eq!(record.value, format!("{{\"id\":{id},\"x\":0.1234567890123456789}}").into_bytes());
        }
    }

    #[test]
    fn exported_lines_come_back_with_all_bytes_and_their_expiry() {
        let make = make(Form::Exported);
        let row = line(r#"{"key": "x", "sortHex": "ff00", "value": "v", "version": "1", "expiresMs": 1790000000123}"#);
        let record = make.record(&row).unwrap().unwrap();
        assert_eq!((record.key, record.value), (Key::with_sort("x", vec![0xff, 0]), b"v".to_vec()));
        assert_eq!(record.expires_ms, Some(1_790_000_000_123));
        assert!(matches!(make.record(&line(r#"{"id": 1}"#)), Err(RecordError::NotExported)));
        let bad = line(r#"{"key": "x", "value": "v", "expiresMs": "soon"}"#);
        assert!(matches!(make.record(&bad), Err(RecordError::Expiry)));
    }

    #[test]
    fn one_of_several_values_is_imported_only_as_somebody_has_said() {
        let row = |place: &str| line(&format!(r#"{{"key": "x", "value": "v", "sibling": {place}}}"#));
        let record = |place, several| Make { several, ..make(Form::Exported) }.record(&row(place));
        for place in ["1", "2"] {
            assert!(matches!(record(place, Several::Refused), Err(RecordError::Several)));
            assert!(record(place, Several::Kept).unwrap().is_some_and(|record| record.is_sibling));
        }
        assert!(record("1", Several::Newest).unwrap().is_some_and(|record| !record.is_sibling));
        assert_eq!(record("2", Several::Newest).unwrap(), None);
        for bad in ["0", "-1", "\"first\"", "true"] {
            assert!(matches!(record(bad, Several::Kept), Err(RecordError::Sibling)), "{bad}");
        }
    }
}
