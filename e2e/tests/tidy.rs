//! Rules that no compiler checks: how long files are, what they are called, and what each room may touch.
//!
//! The table of rooms is the one in ARCHITECTURE.md. A rule that stands in the way is changed here, with its reason.

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/rooms.rs"]
mod rooms;
#[path = "tidy/structure.rs"]
mod structure;
#[path = "tidy/tree.rs"]
mod tree;

use tree::{Source, rust_files, text_files};

/// A file longer than this holds two ideas.
const LINES_MAX: usize = 500;

fn report(broken: Vec<String>) {
    assert!(broken.is_empty(), "{} broken rules:\n  {}", broken.len(), broken.join("\n  "));
}

fn broken_lines(files: &[Source], is_broken: impl Fn(&str) -> bool) -> Vec<String> {
    let mut broken = Vec::new();
    for file in files {
        for (i, line) in file.text.lines().enumerate() {
            if is_broken(line) {
                broken.push(format!("{}:{}: {}", file.path, i + 1, line.trim()));
            }
        }
    }
    broken
}

#[test]
fn no_file_is_too_long() {
    let too_long = |f: &&Source| f.text.lines().count() > LINES_MAX;
    report(rust_files().iter().filter(too_long).map(|f| format!("{}: over {LINES_MAX} lines", f.path)).collect());
}

#[test]
fn every_file_says_what_it_is() {
    report(rust_files().iter().filter(|f| !f.text.starts_with("//! ")).map(|f| f.path.clone()).collect());
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    let banned = [
        "mod.rs",
        "utils.rs",
        "util.rs",
        "common.rs",
        "helpers.rs",
        "helper.rs",
        "manager.rs",
        "service.rs",
        "misc.rs",
    ];
    report(rust_files().iter().filter(|f| banned.contains(&f.name())).map(|f| f.path.clone()).collect());
}

#[test]
fn no_line_waits_in_a_pure_room() {
    let pure: Vec<Source> = rust_files().into_iter().filter(|f| rooms::is_pure(&f.path)).collect();
    assert!(pure.len() > 10, "the pure rooms have moved: {} files found", pure.len());
    report(broken_lines(&pure, |line| {
        let code = line.split("//").next().unwrap_or_default();
        [".await", "async fn", "tokio::", "std::fs::", "std::net::", "Instant::now", "SystemTime::now"]
            .iter()
            .any(|word| code.contains(word))
    }));
}

#[test]
fn nothing_is_left_to_do_without_an_issue() {
    let marks = ["TODO", "FIXME", "XXX", "HACK"];
    let files: Vec<Source> = rust_files().into_iter().filter(|f| !f.path.starts_with("e2e/tests/tidy")).collect();
    report(broken_lines(&files, |line| marks.iter().any(|m| line.contains(m)) && !line.contains("(#")));
}

#[test]
fn no_text_names_a_path_of_one_machine() {
    let files: Vec<Source> = text_files().into_iter().filter(|f| !f.path.starts_with("e2e/tests/tidy")).collect();
    report(broken_lines(&files, |line| ["/root/", "/home/", "/Users/"].iter().any(|p| line.contains(p))));
}

#[test]
fn lints_are_lifted_with_a_reason() {
    let files: Vec<Source> = rust_files().into_iter().filter(|f| !f.path.starts_with("e2e/tests/tidy")).collect();
    report(broken_lines(&files, |line| {
        line.trim_start().starts_with("#[allow(") || line.trim_start().starts_with("#![allow(")
    }));
}

#[test]
fn rooms_touch_only_what_they_may() {
    report(rooms::ROOMS.iter().flat_map(rooms::Room::broken).collect());
}

#[test]
fn no_files_need_each_other() {
    report(circles::all_circles(&rust_files()));
}

#[test]
fn no_object_of_the_cores_is_too_wide() {
    report(structure::too_wide(&rust_files()));
}

#[test]
fn every_crate_is_a_room() {
    let known: Vec<&str> = rooms::ROOMS.iter().map(|r| r.folder).collect();
    report(tree::crates().into_iter().filter(|c| !known.contains(&c.as_str())).collect());
}

#[test]
fn named_crates_stay_in_their_files() {
    report(rooms::FENCES.iter().flat_map(|fence| fence.broken(&rust_files())).collect());
}
