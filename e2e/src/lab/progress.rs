//! What the lab tells while it works, for people who wait.

use std::io::{self, Write};

/// One line on standard error. That nobody may be reading is no failure.
pub(super) fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "lab: {line}");
}
