//! Many rows at once: a year of flights into both tables of the quickstart.

use anyhow::Result;

use super::install_and_ready::{QUICKSTART, TABLES, apply};
use super::stage::Stage;

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    apply(stage)?;
    stage.start_checker(QUICKSTART, &TABLES)?;
    let rows = stage.setup.rows;
    let summary = stage.phase("import", |stage| stage.checker()?.import(rows).map(drop))?;
    stage.note(format!(
        "{rows} rows into each of {} tables, written and found in {:.0} s",
        TABLES.len(),
        summary.seconds
    ));
    stage.await_ready("the database to be ready after the import")?;
    stage.finish()
}
