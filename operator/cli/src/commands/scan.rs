//! `skerry scan`: records in the order of their keys.

use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use skerry_client::{ReadOptions, ScanOptions, ScanRange, SkippedKeys};
use skerry_core::limits::SCAN_RECORDS_MAX;

use super::get::{Fresh, explained};
use super::key::{Notation, show};
use super::skipped;
use crate::args::Global;
use crate::connect;
use crate::failure::Outcome;
use crate::output::Output;

/// Of `skerry scan`.
#[derive(Debug, Args)]
pub(crate) struct Scan {
    /// Which table.
    table: String,
    /// One partition of a hash table; start, end and prefix are then of the sort part.
    #[arg(long, short)]
    partition: Option<String>,
    /// Only keys that begin so.
    #[arg(long, conflicts_with_all = ["start", "end"])]
    prefix: Option<String>,
    /// First key.
    #[arg(long)]
    start: Option<String>,
    /// First key that is not wanted.
    #[arg(long)]
    end: Option<String>,
    /// At most so many records.
    #[arg(long, short)]
    limit: Option<usize>,
    /// No values.
    #[arg(long)]
    keys_only: bool,
    /// Leave out records that cannot be read, and name their keys on stderr.
    #[arg(long)]
    skip_unreadable: bool,
    #[command(flatten)]
    notation: Notation,
    #[command(flatten)]
    fresh: Fresh,
}

impl Scan {
    /// Scans.
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Outcome<ExitCode> {
        let range = self.range()?;
        let client = connect::client(global).await?;
        let failed = |error| explained(&self.table, error);
        let mut left = self.limit.unwrap_or(usize::MAX);
        let page_records = left.clamp(1, 1_000.min(SCAN_RECORDS_MAX));
        let skip = self.skip_unreadable.then(SkippedKeys::default);
        let ReadOptions { consistency, copies } = self.fresh.options();
        let options = ScanOptions { consistency, copies, page_records, skip: skip.clone() };
        let mut scan = client.scan(&self.table, range, options).await.map_err(failed)?;
        while left > 0
            && !output.is_unread()
            && let Some(page) = scan.next_page().await.map_err(failed)?
        {
            let shown = page.len().min(left);
            show(output, &page[..shown], self.keys_only)?;
            left -= shown;
        }
        skipped::tell(output, &self.table, skip.as_ref());
        Ok(ExitCode::SUCCESS)
    }

    fn range(&self) -> Outcome<ScanRange> {
        let read = |text: &Option<String>| text.as_deref().map(|text| self.notation.bytes(text)).transpose();
        let (start, end) = match read(&self.prefix)? {
            Some(prefix) => {
                let end = after_prefix(&prefix);
                (Bytes::from(prefix), end)
            }
            None => (read(&self.start)?.unwrap_or_default().into(), read(&self.end)?.map(Bytes::from)),
        };
        Ok(match read(&self.partition)? {
            Some(partition) => ScanRange::Partition { partition: partition.into(), sort_start: start, sort_end: end },
            None if start.is_empty() && end.is_none() => ScanRange::All,
            None => ScanRange::Keys { start, end },
        })
    }
}

/// The first key after all that begin so. `None` = there is none.
fn after_prefix(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|b| *b < 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_ends_before_the_next_key_without_it() {
        assert_eq!(after_prefix(b"AA/").as_deref(), Some(&b"AA0"[..]));
        assert_eq!(after_prefix(b"a\xff").as_deref(), Some(&b"b"[..]));
        assert_eq!(after_prefix(b"\xff"), None);
    }
}
