//! Every planted bug says by what it is caught, and what it names is there.

use std::path::Path;

use skerry_core::planted::{Catcher, Planted};

/// Seeds and schedules within which each must be caught.
const SEEDS_MAX: u64 = 2_000;
const SCHEDULES_MAX: u64 = 3_000;

fn source(file: &str) -> Result<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core").join(file);
    std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
}

/// What is wrong with what is declared of a bug.
fn check(bug: Planted) -> Result<(), String> {
    match bug.catcher() {
        None => Err("nobody catches it".to_owned()),
        Some(Catcher::Simulation { seeds }) if (1..=SEEDS_MAX).contains(&seeds) => Ok(()),
        Some(Catcher::Search { scenario, schedules }) if (1..=SCHEDULES_MAX).contains(&schedules) => {
            let declared = format!("Planted::{bug:?}, Scenario::{scenario}, ");
            let is_there = source("tests/search/main.rs")?.contains(&declared);
            if is_there { Ok(()) } else { Err(format!("the search does not look for it in {scenario}")) }
        }
        Some(Catcher::Simulation { .. } | Catcher::Search { .. }) => Err("it takes too long".to_owned()),
        Some(Catcher::Test { file, name }) => {
            let source = source(file)?;
            let is_test = source.split("#[test]").skip(1).any(|test| {
                let code = test.lines().find(|line| line.trim_start().starts_with("fn "));
                code.is_some_and(|line| line.contains(&format!("fn {name}()")))
            });
            let plants = source.contains(&format!("Planted::{bug:?}"));
            if is_test && plants { Ok(()) } else { Err(format!("no test {name} in {file} plants it")) }
        }
    }
}

#[test]
fn every_planted_bug_has_something_that_catches_it() {
    let wrong: Vec<_> =
        Planted::ALL.iter().filter_map(|bug| Some(format!("{bug:?}: {}", check(*bug).err()?))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
