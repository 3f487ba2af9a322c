//! How a row becomes a record.

use skerry_client::Key;

use super::rows::{Row, RowError};
use super::template::{CellError, Template};
use crate::bytes_text::extract;

/// How keys and values are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Make {
    /// The keys.
    pub(crate) form: Form,
    /// The values. `None` = the whole row, or the exported value.
    pub(crate) value: Option<Template>,
}

/// Where a key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// Of columns.
    Templates {
        /// Key, or partition.
        key: Template,
        /// Sort part. `None` = there is none.
        sort: Option<Template>,
    },
    /// As `skerry export` wrote it.
    Exported,
}

/// A row that is no record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error(transparent)]
    Row(#[from] RowError),
    #[error(transparent)]
    Cell(#[from] CellError),
    #[error(
        "there is no \"key\" and \"value\" as `skerry export` writes them; say with --key or --partition what the key is"
    )]
    NotExported,
}

impl Make {
    /// Key and value of a row.
    pub(crate) fn record(&self, row: &Row) -> Result<(Key, Vec<u8>), RecordError> {
        match &self.form {
            Form::Templates { key, sort } => {
                let sort = sort.as_ref().map(|s| s.fill(row)).transpose()?.unwrap_or_default();
                let value = match &self.value {
                    Some(value) => value.fill(row)?,
                    None => row.to_json(),
                };
                Ok((Key::with_sort(key.fill(row)?, sort), value.into_bytes()))
            }
            Form::Exported => {
                let Row::Json(object) = row else { return Err(RecordError::NotExported) };
                let key = extract(object, "key").ok_or(RecordError::NotExported)?;
                let value = extract(object, "value").ok_or(RecordError::NotExported)?;
                Ok((Key::with_sort(key, extract(object, "sort").unwrap_or_default()), value))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::rows::tests::csv_row;

    #[test]
    fn rows_become_records_by_templates() {
        let key = Template::parse("{a}").unwrap();
        let sort = Some(Template::parse("{b:03}").unwrap());
        let make = Make { form: Form::Templates { key, sort }, value: None };
        let (key, value) = make.record(&csv_row("a,b", "x,7")).unwrap();
        assert_eq!((key, value), (Key::with_sort("x", "007"), br#"{"a":"x","b":7}"#.to_vec()));
    }

    #[test]
    fn exported_lines_come_back_also_with_bytes_that_are_no_text() {
        let make = Make { form: Form::Exported, value: None };
        let line = r#"{"key": "x", "sortHex": "ff00", "value": "v", "version": 1}"#;
        let row = Row::Json(serde_json::from_str(line).unwrap());
        let (key, value) = make.record(&row).unwrap();
        assert_eq!((key, value), (Key::with_sort("x", vec![0xff, 0]), b"v".to_vec()));
        let bare = Row::Json(serde_json::from_str(r#"{"id": 1}"#).unwrap());
        assert!(matches!(make.record(&bare), Err(RecordError::NotExported)));
    }
}
