//! An export whose reader takes nothing: ctrl-C ends it all the same.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::ground::{Ground, YAML};

/// A process that hears of ctrl-C ends well within this, also on a busy machine.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn an_export_that_nobody_reads_ends_at_ctrl_c() {
    let ground = Ground::new(YAML);
    ground.run(&["playground", "up", "-f", "shop.yaml", "--detach", "--wait"]).good();
    // More than a pipe and the lines that wait for it hold together.
    let text = "x".repeat(10_000);
    let rows: String = (0..400).map(|i| format!("{{\"id\": {i}, \"text\": \"{text}\"}}\n")).collect();
    ground.write("rows.jsonl", &rows);
    ground.run(&["import", "customers", "rows.jsonl", "--key", "{id}"]).good();
    assert!(Command::new("mkfifo").arg(ground.path("fifo")).status().unwrap().success());
    for target in ["-", "fifo"] {
        let (_reader, writer) = std::io::pipe().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_skerry"));
        command.args(["export", "customers", target]).current_dir(ground.path("")).env_remove("SKERRY_ENDPOINTS");
        let mut export = command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_secs(3));
        assert!(export.try_wait().unwrap().is_none(), "it was to be stuck at {target}");
        kill_process(Pid::from_child(&export), Signal::INT).unwrap();
        let begun = Instant::now();
        let ended = loop {
            match export.try_wait().unwrap() {
                Some(ended) => break ended,
                None if begun.elapsed() < ENDS_WITHIN => std::thread::sleep(Duration::from_millis(50)),
                None => {
                    export.kill().unwrap();
                    export.wait().unwrap();
                    panic!("it goes on at {target}");
                }
            }
        };
        assert_eq!(ended.code(), Some(1), "it was to say that it was interrupted");
    }
}
