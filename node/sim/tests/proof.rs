//! The table of docs/proof.md: which seeds, which processes and which scenarios show that a table of each kind bears what
//! befalls it. It is written from the list here, and whatever it names is there.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use skerry_sim::{Cell, Change};

#[path = "proof/least.rs"]
mod least;

use least::{BEFALLEN, least_met};

/// Tests of nodes in one process or of real ones: file, function, and the kinds of table that they have.
type Test = (&'static str, &'static str, &'static [Cell]);

/// What shows that tables bear a change, beside the seeds.
struct Shown {
    tests: &'static [Test],
    /// Phases of the tour. It has a table of each kind.
    phases: &'static [(&'static str, &'static [Cell])],
    /// Scenarios on Kubernetes. Their database has a table of each kind.
    scenarios: &'static [&'static str],
}

const ALL: &[Cell] = &Cell::ALL;
const LED: &[Cell] = &[Cell::RangeLeader, Cell::HashLeader];
const QUORUM: &[Cell] = &[Cell::RangeQuorum, Cell::HashQuorum];
const HASH_LED: &[Cell] = &[Cell::HashLeader];
const HASH_QUORUM: &[Cell] = &[Cell::HashQuorum];

const PLAYGROUND: Test =
    ("operator/cli/tests/playground.rs", "database_comes_up_scales_both_ways_keeps_its_data_and_goes_down", LED);

fn shown(change: Change) -> Shown {
    match change {
        Change::ScaleOut => Shown {
            tests: &[PLAYGROUND],
            phases: &[("scale from 3 nodes to 5", ALL)],
            scenarios: &["scale_out_and_in"],
        },
        Change::ScaleIn => Shown {
            tests: &[PLAYGROUND],
            phases: &[("scale from 5 nodes to 3", ALL)],
            scenarios: &["scale_out_and_in", "drain_host"],
        },
        Change::CopiesUp => {
            Shown { tests: &[], phases: &[("copies from 3 to 5", ALL)], scenarios: &["replication_factor"] }
        }
        Change::CopiesDown => {
            Shown { tests: &[], phases: &[("copies from 5 to 3", ALL)], scenarios: &["replication_factor"] }
        }
        Change::NodeLost => Shown {
            tests: &[
                (
                    "node/tests/process/lost_volume.rs",
                    "a_node_without_its_log_its_store_or_both_gets_new_copies_and_nothing_acknowledged_is_lost",
                    HASH_LED,
                ),
                (
                    "node/tests/process/quorum_history.rs",
                    "nothing_acknowledged_is_lost_or_comes_back_when_a_copy_of_three_loses_its_volume",
                    HASH_QUORUM,
                ),
            ],
            phases: &[("kill -9 a node, and its return", ALL)],
            scenarios: &["host_lost", "host_crash_and_return"],
        },
        Change::ZoneLost => Shown {
            tests: &[
                (
                    "node/tests/process/quorum.rs",
                    "with_two_of_three_copies_gone_a_table_of_w_1_and_r_1_serves_and_all_are_equal_afterwards",
                    HASH_QUORUM,
                ),
                (
                    "node/tests/process/quorum_history.rs",
                    "nothing_acknowledged_is_lost_or_comes_back_while_copies_are_killed_and_paused",
                    HASH_QUORUM,
                ),
            ],
            phases: &[("Now two of three zones are gone, then the third", QUORUM)],
            scenarios: &["zone_crash_and_return", "host_cut_off"],
        },
        Change::Reversed => Shown { tests: &[], phases: &[], scenarios: &["scale_out_and_in"] },
    }
}

const HEAD: &str = "# What shows that tables bear what befalls them

Each kind of table, and each thing that may befall it while clients read and write. `make test` runs the first 500 seeds of the simulator, and for each of these things 8 seeds more in which it befalls a table of each kind on purpose (`skerry-sim --befall`), and fails
where fewer of these 556 runs than stand here meet it: in all of them every answer is held against what the table promises, and every rule against every step. The other columns name tests of real processes, phases of `make run`, and scenarios of `make e2e`, whose clients are checked in the same way.
Quorum tables are in phases and scenarios once a release has them.

This table is written by `cargo test -p skerry-sim --test proof -- --ignored`, from the list in `node/sim/tests/proof.rs`. A test fails where it is another, or names what is not there.

| table | what befalls it | runs of 556, at least | tests of processes | phases of `make run` | scenarios of `make e2e` |
|---|---|---|---|---|---|
";

fn table() -> String {
    let mut text = HEAD.to_owned();
    for (cell, change) in Cell::ALL.into_iter().flat_map(|cell| Change::ALL.map(|change| (cell, change))) {
        let Shown { tests, phases, scenarios } = shown(change);
        let tests = tests.iter().filter(|(_, _, cells)| cells.contains(&cell)).map(|(file, name, _)| {
            let file = file.rsplit('/').next().unwrap_or(file);
            format!("{file}: `{name}`")
        });
        let phases = phases.iter().filter(|(_, cells)| cells.contains(&cell)).map(|(phase, _)| format!("{phase:?}"));
        let scenarios = scenarios.iter().map(|name| format!("`{name}`"));
        let cells: [Vec<String>; 3] = [tests.collect(), phases.collect(), scenarios.collect()];
        assert!(cells.iter().any(|shown| !shown.is_empty()), "{cell}, {change}: nothing but seeds");
        let [tests, phases, scenarios] = cells.map(|shown| shown.join(", "));
        let least = least_met(cell, change);
        writeln!(text, "| {cell} | {change} | {least} | {tests} | {phases} | {scenarios} |").unwrap();
    }
    text
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// True if a file has a test of this name.
fn is_test(text: &str, name: &str) -> bool {
    let Some((before, _)) = text.split_once(&format!("fn {name}(")) else { return false };
    let attributes = before.rsplit("\n\n").next().unwrap_or_default();
    attributes.contains("#[test]") || attributes.contains("#[tokio::test")
}

#[test]
fn the_table_in_the_docs_is_the_one_that_is_written_here() {
    assert!(read("docs/proof.md") == table(), "run: cargo test -p skerry-sim --test proof -- --ignored");
}

#[test]
#[ignore = "writes docs/proof.md"]
fn the_table_is_written() {
    fs::write(root().join("docs/proof.md"), table()).unwrap();
}

#[test]
fn whatever_the_table_names_is_there() {
    let tour = ["operator/cli/src/tour.rs", "operator/cli/src/tour/phase.rs", "operator/cli/src/tour/sides.rs"];
    let (tour, scenarios) = (tour.map(read).concat(), read("e2e/src/scenario.rs"));
    for change in Change::ALL {
        let Shown { tests, phases, scenarios: named } = shown(change);
        for (file, name, _) in tests {
            assert!(is_test(&read(file), name), "{file} has no test {name}");
        }
        for (phase, _) in phases {
            assert!(tour.contains(phase), "the tour has no phase {phase:?}");
        }
        for name in named {
            assert!(scenarios.contains(&format!("name: \"{name}\"")), "there is no scenario {name}");
        }
    }
}

#[test]
fn what_is_no_test_is_not_taken_for_one() {
    let text = "#[test]\nfn a_test() {}\n\nfn a_function() {}\n";
    assert!(is_test(text, "a_test") && !is_test(text, "a_function") && !is_test(text, "nothing"));
}

/// So many runs at least: of one or two nobody knows whether the next change of the code leaves any.
const SEVERAL: usize = 3;

#[test]
fn every_change_is_to_be_met_by_several_runs_of_each_kind_of_table() {
    let all = Cell::ALL.into_iter().flat_map(|cell| Change::ALL.map(|change| (cell, change)));
    let seldom = all.filter(|(cell, change)| least_met(*cell, *change) < SEVERAL);
    assert_eq!(seldom.collect::<Vec<_>>(), []);
}

const _: () = assert!(BEFALLEN > SEVERAL, "some of those that have it on purpose may miss it");
