//! Imports the flights into every table, many writes under way at a time, and looks whether they are all there.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use skerry_client::{Client, Mutation, ScanOptions, ScanRange};
use skerry_core::map::Fragmentation;
use skerry_workload::is_tested;

use super::flights::{batches, flights, mark, row};

/// Number of rows in one write.
const BATCH_ROWS: usize = 100;
/// Writes under way at a time: few, for each is large, and the checker's other clients are measured meanwhile.
const IN_FLIGHT: usize = 4;
/// A write that failed is tried again so often; each try lasts as long as the client's deadline.
const TRIES: usize = 6;
/// Shards that are scanned at a time.
const SHARDS_AT_A_TIME: usize = 4;

/// How far an import is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Rows that each table is to have.
    pub rows: usize,
    /// Number of rows that were written, in all tables together.
    pub written: usize,
    /// Of each table: what a scan of it found.
    pub tables: Vec<TableRows>,
    /// True once all is written and scanned.
    pub is_done: bool,
    /// Why the import has failed. `None` = it has not.
    pub failure: Option<String>,
}

/// What a scan of a table found, the check's own keys left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRows {
    /// Name of the table.
    pub name: String,
    /// Number of records that the scan found.
    pub rows: usize,
    /// True if they are just the imported ones, each with its value.
    pub is_whole: bool,
}

/// The import of this run, and what it came to.
#[derive(Debug)]
pub(super) struct Import {
    client: Client,
    tables: Vec<(String, Fragmentation)>,
    state: Mutex<Imported>,
}

impl Import {
    /// An import into these tables, of which nothing is done yet.
    pub(super) fn new(client: Client, tables: Vec<(String, Fragmentation)>) -> Self {
        Self { client, tables, state: Mutex::default() }
    }

    /// How far the import is now.
    pub(super) fn so_far(&self) -> Imported {
        self.change(|state| state.clone())
    }

    /// True if the caller is the first, and is to carry it out.
    pub(super) fn claim(&self, rows: usize) -> bool {
        self.change(|state| {
            let is_first = state.rows == 0;
            if is_first {
                state.rows = rows;
            }
            is_first
        })
    }

    /// Writes all rows into every table, then scans them.
    pub(super) async fn run(&self) {
        let rows = self.so_far().rows;
        let result = async {
            self.write(rows).await?;
            self.scan().await
        };
        let failure = result.await.err().map(|error| format!("{error:#}"));
        self.change(|state| (state.is_done, state.failure) = (true, failure));
    }

    async fn write(&self, rows: usize) -> Result<()> {
        let flights = flights(rows)?;
        for (table, fragmentation) in &self.tables {
            let batches = batches(&flights, *fragmentation, BATCH_ROWS)?;
            let writes: Vec<_> = batches.iter().map(|batch| self.put(table, *fragmentation, batch)).collect();
            let mut writes = stream::iter(writes).buffer_unordered(IN_FLIGHT);
            while let Some(written) = writes.next().await {
                written.with_context(|| format!("failed to import into {table}"))?;
            }
        }
        Ok(())
    }

    /// Writes flights of one group into a table, in one batch.
    async fn put(&self, table: &str, fragmentation: Fragmentation, flights: &[&str]) -> Result<()> {
        let put = |flight: &&str| {
            let row = row(flight)?;
            Ok(Mutation::Put { key: row.key(fragmentation), value: row.value().into(), expires_ms: None })
        };
        let mutations = flights.iter().map(put).collect::<Result<Vec<_>>>()?;
        let mut tries = 1;
        while let Err(error) = self.client.batch(table, Vec::new(), mutations.clone()).await {
            if tries == TRIES {
                return Err(error.into());
            }
            tries += 1;
        }
        self.change(|state| state.written += flights.len());
        Ok(())
    }

    /// Looks once more what is there.
    pub(super) async fn scan(&self) -> Result<()> {
        let rows = self.so_far().rows;
        ensure!(rows > 0, "nothing was imported");
        let flights = flights(rows)?;
        let mut found = Vec::new();
        for (table, fragmentation) in &self.tables {
            let mut wanted = 0_u64;
            for flight in &flights {
                let row = row(flight)?;
                wanted = wanted.wrapping_add(mark(&row.key(*fragmentation), &row.value()));
            }
            let options = ScanOptions::default();
            let mut pages = self.client.scan_parallel(table, ScanRange::All, options, SHARDS_AT_A_TIME).await?;
            let (mut count, mut sum) = (0, 0_u64);
            while let Some(page) = pages.next().await {
                let page = page.with_context(|| format!("failed to scan {table}"))?;
                for record in page.iter().filter(|r| !is_tested(&r.key)) {
                    count += 1;
                    sum = sum.wrapping_add(mark(&record.key, &record.value));
                }
            }
            found.push(TableRows { name: table.clone(), rows: count, is_whole: count == rows && sum == wanted });
        }
        self.change(|state| state.tables = found);
        Ok(())
    }

    fn change<T>(&self, change: impl FnOnce(&mut Imported) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
