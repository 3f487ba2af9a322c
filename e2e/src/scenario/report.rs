//! What the scenarios came to: a table for people, and the same as Markdown for the documentation.

use std::time::Duration;

use comfy_table::presets::{ASCII_MARKDOWN, UTF8_FULL_CONDENSED};
use comfy_table::{ContentArrangement, Table};

use crate::check::{Report, Summary};

/// The result of one scenario.
#[derive(Debug)]
pub struct Outcome {
    /// Name of the scenario.
    pub name: &'static str,
    /// `None` = passed.
    pub failure: Option<String>,
    /// How long the scenario took.
    pub took: Duration,
    /// What its steps were measured to, in order.
    pub phases: Vec<Summary>,
    /// The checker's last word. `None` = it had none, or gave none.
    pub check: Option<Report>,
    /// Notes for the report that are no failure.
    pub notes: Vec<String>,
}

const HEADER: [&str; 10] = [
    "scenario",
    "result",
    "seconds",
    "writes acknowledged",
    "lost",
    "stale",
    "longest pause",
    "longest write",
    "replicas moved (least)",
    "moved",
];

/// The table of results for a terminal.
pub fn table(outcomes: &[Outcome]) -> String {
    filled(outcomes, UTF8_FULL_CONDENSED)
}

/// The table and the notes as Markdown.
pub fn markdown(outcomes: &[Outcome]) -> String {
    let mut text = filled(outcomes, ASCII_MARKDOWN);
    for outcome in outcomes {
        for note in &outcome.notes {
            text.push_str(&format!("\n- {}: {note}", outcome.name));
        }
    }
    text.push('\n');
    text
}

fn filled(outcomes: &[Outcome], preset: &str) -> String {
    let mut table = Table::new();
    table.load_preset(preset).set_content_arrangement(ContentArrangement::Disabled).set_header(HEADER);
    for outcome in outcomes {
        table.add_row(row(outcome));
        for phase in &outcome.phases {
            table.add_row(phase_row(phase));
        }
    }
    table.to_string()
}

fn row(outcome: &Outcome) -> Vec<String> {
    let result = if outcome.failure.is_some() { "FAILED" } else { "passed" };
    let mut row = vec![outcome.name.to_owned(), result.to_owned(), format!("{:.0}", outcome.took.as_secs_f64())];
    if let Some(check) = &outcome.check {
        // Whatever else is impossible is told beside the stale reads: a reader must not overlook it.
        let stale = match check.found.impossible {
            0 => check.found.stale.to_string(),
            impossible => format!("{} and {impossible} impossible", check.found.stale),
        };
        row.extend([check.total.acknowledged.to_string(), check.found.lost.to_string(), stale]);
        row.extend([pause(check.total.longest_pause_ms), pause(check.total.longest_write_ms)]);
    }
    row.resize(HEADER.len(), String::new());
    row
}

fn phase_row(phase: &Summary) -> Vec<String> {
    let (mut moved, mut bytes) = (String::new(), String::new());
    if let Some(m) = phase.moved.filter(|m| m.replicas > 0) {
        let least = m.lower_bound.map_or_else(|| "?".to_owned(), |least| least.to_string());
        (moved, bytes) = (format!("{} ({least})", m.replicas), format!("{:.1} MiB", mebibytes(m.bytes)));
    }
    let writes = phase.acknowledged.to_string();
    let (name, seconds) = (format!("· {}", phase.phase.replace('_', " ")), format!("{:.0}", phase.seconds));
    let (pause, write) = (pause(phase.longest_pause_ms), pause(phase.longest_write_ms));
    vec![name, String::new(), seconds, writes, String::new(), String::new(), pause, write, moved, bytes]
}

fn pause(milliseconds: u64) -> String {
    format!("{:.2} s", Duration::from_millis(milliseconds).as_secs_f64())
}

#[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_for_each_scenario_and_each_of_its_phases() {
        let phase = Summary { phase: "scale_to_5".to_owned(), longest_pause_ms: 1_250, ..Summary::default() };
        let outcome = Outcome {
            name: "scale",
            failure: Some("no".to_owned()),
            took: Duration::from_secs(9),
            phases: vec![phase],
            check: None,
            notes: vec!["a note".to_owned()],
        };
        let text = markdown(&[outcome]);
        assert_eq!(text.lines().count(), 5, "{text}");
        assert!(text.contains("FAILED") && text.contains("· scale to 5") && text.contains("1.25 s"), "{text}");
        assert!(text.ends_with("- scale: a note\n"));
    }
}
