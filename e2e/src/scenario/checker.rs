//! The checker's pod, asked through the API server.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;

use super::await_condition::{Seen, await_condition, once};
use super::kube::Kube;
use super::objects::{self, CHECKER, CHECKER_PORT};
use super::value::{is_true, text};
use crate::check::{Imported, Report, Summary};

/// The checker waits for its database and tables.
const START_WITHIN: Duration = Duration::from_secs(150);
/// An import of this many rows a second is slow even here.
const ROWS_PER_SECOND_LEAST: usize = 300;

/// A running checker, which reads and writes during a scenario.
#[derive(Debug)]
pub(super) struct Checker<'a> {
    kube: Kube<'a>,
}

impl<'a> Checker<'a> {
    /// Starts it and waits until it reads and writes.
    pub(super) fn start(kube: &Kube<'a>, image: &str, database: &str, tables: &[&str]) -> Result<Self> {
        kube.apply(&objects::checker(image, database, tables))?;
        await_condition("the checker to run", START_WITHIN, || {
            let pod = kube.get_known("pod", CHECKER)?;
            ensure!(text(&pod, "/status/phase") != "Failed", "it has ended");
            Ok(once(is_true(&pod, "Ready"), text(&pod, "/status/phase")))
        })?;
        let checker = Self { kube: kube.clone() };
        await_condition("the checker to write", START_WITHIN, || {
            let acknowledged = checker.report()?.total.acknowledged;
            Ok(once(acknowledged > 0, "no write was acknowledged"))
        })?;
        Ok(checker)
    }

    /// Ends a phase, gives its measures, and begins one of this name.
    pub(super) fn next_phase(&self, name: &str) -> Result<Summary> {
        // The name is a part of a path.
        let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        self.ask(true, &format!("phase/{name}"))
    }

    /// All that is known so far.
    pub(super) fn report(&self) -> Result<Report> {
        self.ask(false, "summary")
    }

    /// Ends reads and writes, reads every key once more, and checks everything.
    pub(super) fn stop(&self) -> Result<Report> {
        self.ask(true, "stop")
    }

    /// Imports so many rows into each table and waits until they were found there.
    pub(super) fn import(&self, rows: usize) -> Result<Imported> {
        let mut imported: Imported = self.ask(true, &format!("import/{rows}"))?;
        let tables = 2;
        let limit = Duration::from_secs(u64::try_from(60 + tables * rows / ROWS_PER_SECOND_LEAST)?);
        imported = await_condition("the import", limit, || {
            let now: Imported = self.ask(false, "import")?;
            let stand = format!("{} rows written", now.written);
            Ok(if now.is_done { Seen::Done(now) } else { Seen::NotYet(stand) })
        })
        .with_context(|| format!("of {} rows", imported.rows))?;
        whole(imported)
    }

    /// Looks once more for what was imported.
    pub(super) fn scan(&self) -> Result<Imported> {
        whole(self.ask(true, "scan")?)
    }

    fn ask<T: DeserializeOwned>(&self, post: bool, path: &str) -> Result<T> {
        let answer = self.kube.ask_pod(post, CHECKER, CHECKER_PORT, path)?;
        serde_json::from_str(&answer).with_context(|| format!("failed to understand the checker's answer to {path}"))
    }
}

fn whole(imported: Imported) -> Result<Imported> {
    ensure!(imported.failure.is_none(), "the import failed: {}", imported.failure.unwrap_or_default());
    ensure!(!imported.tables.is_empty(), "nothing was scanned");
    ensure!(imported.tables.iter().all(|t| t.is_whole), "imported rows are missing or changed: {:?}", imported.tables);
    Ok(imported)
}
