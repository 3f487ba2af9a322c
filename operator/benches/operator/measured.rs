//! What a process has used, and the table of what was measured.

use std::fmt::Write;
use std::fs;
use std::time::Duration;

/// Of `/proc/PID/stat`, on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time and memory that a process has used.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    /// Of all cores, since it began.
    pub cpu: Duration,
    /// Resident memory of the process at this moment, in MiB.
    pub mebibytes: f64,
}

impl Used {
    /// By this process, up to now.
    pub fn by(process: u32) -> Self {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: f64 = fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum();
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kibibytes: f64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
        Self { cpu: Duration::from_secs_f64(ticks / TICKS_PER_SECOND), mebibytes: kibibytes / 1024.0 }
    }
}

/// A measurement, with its goal.
#[derive(Debug)]
pub struct Row {
    pub what: String,
    pub value: f64,
    /// Highest value that meets the goal.
    pub goal: f64,
    pub unit: &'static str,
}

impl Row {
    /// The rows as a table in Markdown, with goals and verdicts.
    pub fn table(rows: &[Self]) -> String {
        let mut text = format!("| {:<62} | {:>16} | {:>18} |        |", "measured", "operator", "goal");
        write!(text, "\n|{:-<64}|{:->18}|{:->20}|--------|", "", "", "").unwrap();
        for Self { what, value, goal, unit } in rows {
            let (value_text, goal_text) = (format!("{value:.2} {unit}"), format!("≤ {goal:.2} {unit}"));
            let verdict = if value <= goal { "met" } else { "missed" };
            write!(text, "\n| {what:<62} | {value_text:>16} | {goal_text:>18} | {verdict:<6} |").unwrap();
        }
        text
    }
}
