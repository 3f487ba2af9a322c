//! How one record is written into a table, by what the table does with several values of a key.

use bytes::Bytes;
use skerry_client::{Client, PutOptions, ReadOptions, Values};
use skerry_core::map::Consistency;
use skerry_core::quorum::shown::Resolve;

use crate::import::record::{Record, Several};
use crate::import::write::NotWritten;

/// A table that records are imported into.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    client: &'a Client,
    table: &'a str,
    keeps_siblings: bool,
}

impl<'a> Target<'a> {
    /// A table that is not there keeps no siblings: the first row says that it is not there.
    pub(super) fn new(client: &'a Client, table: &'a str) -> Self {
        let keeps_siblings = match client.map().table_named(table).map(|table| table.consistency) {
            Some(Consistency::Quorum { resolve, .. }) => resolve == Resolve::Siblings,
            Some(Consistency::Leader) | None => false,
        };
        Self { client, table, keeps_siblings }
    }

    /// What becomes of a key that had several values. `newest` = a person wants the newest alone.
    pub(super) fn several(self, newest: bool) -> Several {
        match (newest, self.keeps_siblings) {
            (true, _) => Several::Newest,
            (false, true) => Several::Kept,
            (false, false) => Several::Refused,
        }
    }

    /// Writes a record. Where siblings are kept, it takes the place of what its key has, as it does in any other table; one
    /// of several values stands beside the others, and is not written again while it is there.
    pub(super) async fn put(self, record: Record) -> Result<(), NotWritten> {
        let mut options = PutOptions { expires_ms: record.expires_ms, ..PutOptions::default() };
        if self.keeps_siblings {
            let found = self.client.get_values(self.table, record.key.clone(), ReadOptions::default()).await;
            let found = found.map_err(NotWritten::Unread)?;
            if record.is_sibling && has(&found, &record) {
                return Ok(());
            }
            options.context = if record.is_sibling { Bytes::new() } else { found.context };
        }
        let written = self.client.put_with(self.table, record.key, record.value, options).await;
        written.map(drop).map_err(NotWritten::Refused)
    }
}

fn has(found: &Values, record: &Record) -> bool {
    found.records.iter().any(|there| there.value == record.value && there.expires_ms == record.expires_ms)
}

#[cfg(test)]
mod tests {
    use skerry_client::Key;
    use skerry_core::time::Version;

    use super::*;

    #[test]
    fn a_value_is_there_only_with_its_expiry() {
        let there = |expires_ms| {
            let (key, value) = (Key::new("k"), Bytes::from("v"));
            let records = vec![skerry_client::Record { key, version: Version(1), value, expires_ms }];
            Values { records, context: Bytes::new() }
        };
        let record =
            |value: &str| Record { key: Key::new("k"), value: value.into(), expires_ms: Some(7), is_sibling: true };
        assert!(has(&there(Some(7)), &record("v")));
        assert!(!has(&there(None), &record("v")) && !has(&there(Some(7)), &record("w")));
    }
}
