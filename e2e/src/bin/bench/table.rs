//! The one table that the benchmark ends with: what was measured, the ratio, the goal, and whether it is met.

use std::time::Duration;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use crate::footprint::Footprint;
use crate::idle::Idle;
use crate::sample::{Sample, System, middle};
use crate::scans::Scans;

/// Everything measured, a value a round.
#[derive(Debug, Default)]
pub(crate) struct Measurements {
    pub(crate) rounds: Vec<(System, Sample)>,
    /// Of a node with 1,000 shards above an empty one.
    pub(crate) idle: Vec<Idle>,
    /// Writes beside a scan, and without.
    pub(crate) scans: Vec<(System, Scans)>,
    /// Memory, disk and start with many records.
    pub(crate) footprints: Vec<(System, Footprint)>,
    /// From the kill of a leader until every shard took writes again.
    pub(crate) failover: Vec<Duration>,
}

const GIBIBYTE: f64 = (1_u64 << 30) as f64;

/// How two values relate to a goal.
enum Goal {
    /// Ours is at least so many times etcd's.
    AtLeast(f64),
    /// Ours is no more than etcd's.
    NoMore,
}

impl Measurements {
    /// The measurements as a table, ready to print.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(ASCII_MARKDOWN).set_header([
            "measured",
            "Skerry",
            "etcd",
            "Redis",
            "ratio to etcd",
            "goal",
            "",
        ]);
        let (sled, fjall) = (System::SkerrySled, System::SkerryFjall);
        let count = |value: f64| format!("{value:.0}");
        let micros = |value: f64| format!("{:.2} ms", value * 1e3);
        table.add_row(self.row("writes/s, 256 in flight, sled", sled, |s| s.writes, count, Goal::AtLeast(1.0)));
        table.add_row(self.row("writes/s, 256 in flight, fjall", fjall, |s| s.writes, count, Goal::AtLeast(1.5)));
        table.add_row(self.row("reads/s, linearizable, sled", sled, |s| s.reads, count, Goal::AtLeast(2.0)));
        table.add_row(self.row("reads/s, linearizable, fjall", fjall, |s| s.reads, count, Goal::AtLeast(2.0)));
        let alone = |s: &Sample| s.alone_p50.as_secs_f64();
        table.add_row(self.row("write p50, one client, sled", sled, alone, micros, Goal::NoMore));
        table.add_row(self.row("write p50, one client, fjall", fjall, alone, micros, Goal::NoMore));
        let cpu = middle(self.idle.iter().map(|i| i.core_share * 100.0));
        table.add_row(own_row("1,000 idle shards: CPU of a node", cpu, Some(5.0), |v| format!("{v:.1} % of a core")));
        let memory = middle(self.idle.iter().map(|i| i.mebibytes));
        table.add_row(own_row("1,000 idle shards: memory of a node", memory, Some(100.0), |v| format!("{v:.0} MiB")));
        let failover = middle(self.failover.iter().map(Duration::as_secs_f64));
        table.add_row(own_row("leader killed: until writes again", failover, Some(2.0), |v| format!("{v:.2} s")));
        for system in [sled, fjall] {
            let ratio = middle(self.scans.iter().filter(|(s, _)| *s == system).map(|(_, found)| found.ratio()));
            let name = format!("{}, write p99 beside a scan", system.name());
            table.add_row(own_row(&name, ratio, Some(2.0), |v| format!("{v:.2} × of without")));
        }
        for (system, most_disk, most_start) in [(sled, None, None), (fjall, Some(2.5), Some(5.0))] {
            table.add_rows(self.footprint_rows(system, most_disk, most_start));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// What a node with many records takes. `most_*` are goals, where there are any.
    fn footprint_rows(&self, system: System, most_disk: Option<f64>, most_start: Option<f64>) -> Vec<Vec<String>> {
        let of = |field: fn(&Footprint) -> f64| {
            middle(self.footprints.iter().filter(|(s, _)| *s == system).map(|(_, found)| field(found)))
        };
        let size = of(|f| f.live_bytes as f64).map_or_else(|| "–".to_owned(), |v| format!("{:.1} GiB", v / GIBIBYTE));
        let named = |what: &str| format!("{}, {size} of records: {what}", system.name());
        let seconds = |v: f64| format!("{v:.1} s");
        vec![
            own_row(&named("memory of a node"), of(|f| f.resident_bytes as f64 / GIBIBYTE), Some(1.0), |v| {
                format!("{v:.2} GiB")
            }),
            own_row(&named("disk of a node"), of(Footprint::disk_ratio), most_disk, |v| format!("{v:.2} × records")),
            own_row(&named("start after a crash"), of(|f| f.start_of_all.as_secs_f64()), most_start, seconds),
            own_row(&named("the same at a quarter"), of(|f| f.start_of_part.as_secs_f64()), None, seconds),
        ]
    }

    fn of(&self, system: System, field: impl Fn(&Sample) -> f64) -> Option<f64> {
        middle(self.rounds.iter().filter(|(s, _)| *s == system).map(|(_, sample)| field(sample)))
    }

    fn row(
        &self,
        name: &str,
        system: System,
        field: impl Fn(&Sample) -> f64,
        show: impl Fn(f64) -> String,
        goal: Goal,
    ) -> Vec<String> {
        let [ours, etcd, redis] = [system, System::Etcd, System::Redis].map(|s| self.of(s, &field));
        let shown = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), &show);
        let ratio = ours.zip(etcd).map(|(ours, etcd)| ours / etcd);
        let (text, is_met) = match goal {
            Goal::AtLeast(least) => (format!("≥ {least:.1} ×"), ratio.map(|r| r >= least)),
            Goal::NoMore => ("≤ 1.0 ×".to_owned(), ratio.map(|r| r <= 1.0)),
        };
        let ratio = ratio.map_or_else(|| "–".to_owned(), |r| format!("{r:.2} ×"));
        vec![name.to_owned(), shown(ours), shown(etcd), shown(redis), ratio, text, verdict(is_met)]
    }
}

fn own_row(name: &str, value: Option<f64>, most: Option<f64>, show: impl Fn(f64) -> String) -> Vec<String> {
    let none = "–".to_owned();
    let shown = value.map_or_else(|| none.clone(), &show);
    let (goal, verdict) = match most {
        Some(most) => (format!("≤ {}", show(most)), verdict(value.map(|v| v <= most))),
        None => (none.clone(), String::new()),
    };
    vec![name.to_owned(), shown, none.clone(), none.clone(), none, goal, verdict]
}

fn verdict(is_met: Option<bool>) -> String {
    match is_met {
        Some(true) => "met",
        Some(false) => "missed",
        None => "not measured",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(writes: f64) -> Sample {
        Sample { writes, reads: 1.0, alone_p50: Duration::from_millis(1) }
    }

    #[test]
    fn a_goal_is_judged_by_the_medians_ratio_and_never_without_both() {
        let mut measured = Measurements::default();
        for writes in [90.0, 150.0, 1000.0] {
            measured.rounds.push((System::SkerrySled, sample(writes)));
        }
        assert!(
            measured
                .row("", System::SkerrySled, |s| s.writes, |v| v.to_string(), Goal::AtLeast(1.0))
                .contains(&"not measured".to_owned())
        );
        measured.rounds.push((System::Etcd, sample(100.0)));
        let row = measured.row("", System::SkerrySled, |s| s.writes, |v| v.to_string(), Goal::AtLeast(1.5));
        assert_eq!(row[4..], ["1.50 ×", "≥ 1.5 ×", "met"]);
        let row = measured.row("", System::SkerrySled, |s| s.writes, |v| v.to_string(), Goal::NoMore);
        assert_eq!(row[6], "missed");
    }
}
