//! Text scripts against the system shard's state and the steward: each file in `tests/data` is a conversation of
//! commands and the answers that they must get, in the manner of "datadriven" tests.
//!
//! A block is a command, a line of four hyphens, and the expected answer up to an empty line.

mod interpreter;
mod words;

use interpreter::Interpreter;

/// Runs a script; on a difference shows the whole script as it really went.
fn run(name: &str, script: &str) {
    let mut interpreter = Interpreter::default();
    let (mut actual, mut wrong) = (String::new(), Vec::new());
    let mut blocks = 0;
    for block in script.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
        let (notes, command): (Vec<&str>, Vec<&str>) = block.lines().partition(|line| line.starts_with('#'));
        notes.iter().for_each(|note| actual.extend([note, "\n"]));
        let Some(end) = command.iter().position(|line| *line == "----") else {
            assert!(command.is_empty(), "{name}: a block without ---- : {block}");
            actual.push('\n');
            continue;
        };
        let answer = interpreter.run(&command[..end].join(" "));
        if answer.trim_end() != command[end + 1..].join("\n") {
            wrong.push(command[..end].join("\n"));
        }
        actual.extend([&command[..end].join("\n"), "\n----\n", answer.trim_end()]);
        actual.push_str(if answer.is_empty() { "\n" } else { "\n\n" });
        blocks += 1;
    }
    assert!(blocks > 0, "{name}: nothing was run");
    assert!(wrong.is_empty(), "{name}: other answers than expected to {wrong:#?}; it went like this:\n{actual}");
}

#[test]
fn nodes_join_start_drain_and_leave() {
    run("nodes.txt", include_str!("../data/nodes.txt"));
}

#[test]
fn tables_are_created_altered_and_dropped() {
    run("tables.txt", include_str!("../data/tables.txt"));
}

#[test]
fn a_replica_moves_and_is_turned_back_midway() {
    run("moves.txt", include_str!("../data/moves.txt"));
}

#[test]
fn a_lost_replica_is_built_anew() {
    run("repair.txt", include_str!("../data/repair.txt"));
}

#[test]
fn a_drained_node_is_certified_and_removed() {
    run("drain.txt", include_str!("../data/drain.txt"));
}
