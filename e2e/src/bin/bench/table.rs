//! The one table that the benchmark ends with: what was measured, the ratio, the goal, and whether it is met.

use std::time::Duration;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use skerry_api::QUORUM_TABLES;

use crate::footprint::Footprint;
use crate::idle::Idle;
use crate::quorum::{Compared, Killed};
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
    /// Of quorum tables, where a release has them.
    pub(crate) quorum: OfQuorums,
}

/// What was measured of quorum tables.
#[derive(Debug, Default)]
pub(crate) struct OfQuorums {
    /// Writes a second at W=2 of 3 copies, on fjall.
    pub(crate) writes: Vec<f64>,
    /// Writes a second of Cassandra at QUORUM of 3 nodes. Empty = it is not there.
    pub(crate) cassandra: Vec<f64>,
    /// What clients noticed of a copy that was killed.
    pub(crate) killed: Vec<Killed>,
    /// What it took to make two copies equal.
    pub(crate) compared: Vec<Compared>,
}

const GIBIBYTE: f64 = (1_u64 << 30) as f64;
const MEBIBYTE: f64 = (1_u64 << 20) as f64;

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
        if QUORUM_TABLES {
            table.add_rows(self.quorum_rows());
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

    /// Of quorum tables; those that are compared with a leader table's are of the same engine.
    fn quorum_rows(&self) -> Vec<Vec<String>> {
        let OfQuorums { writes, cassandra, killed, compared } = &self.quorum;
        let [writes, cassandra] = [writes, cassandra].map(|rates| middle(rates.iter().copied()));
        let ratio = writes.zip(self.of(System::SkerryFjall, |s| s.writes)).map(|(quorum, led)| quorum / led);
        let to_cassandra = writes.zip(cassandra).map(|(quorum, cassandra)| quorum / cassandra);
        let shown_to_cassandra = |ratio: f64| {
            let cassandra = cassandra.map_or_else(String::new, |writes| format!("Cassandra {writes:.0}/s, "));
            format!("{cassandra}{ratio:.2} ×")
        };
        let shown = |ratio: f64| {
            let writes = writes.map_or_else(String::new, |writes| format!("{writes:.0}/s, "));
            format!("{writes}{ratio:.2} ×")
        };
        let sent = compared.iter().map(|compared| compared.sent_bytes as f64 / MEBIBYTE);
        let held = middle(compared.iter().map(|compared| compared.held_bytes as f64 / MEBIBYTE));
        let held = held.map_or_else(|| "–".to_owned(), |held| format!("{held:.0} MiB"));
        // The worst of them: a median would hide what clients noticed.
        let errors = killed.iter().map(|killed| killed.errors as f64).reduce(f64::max);
        let longest = killed.iter().map(|killed| killed.longest.as_secs_f64()).reduce(f64::max);
        let equal = format!("two quorum copies of {held}, 100 records differ: sent");
        vec![
            at_least_row("quorum writes/s, W=2 of 3, to those of leaders, fjall", ratio, 1.2, shown),
            at_least_row("quorum writes/s, W=2 of 3, to Cassandra's", to_cassandra, 8.0, shown_to_cassandra),
            own_row("quorum copy killed: errors at W=2", errors, Some(0.0), |v| format!("{v:.0}")),
            own_row("quorum copy killed: longest write", longest, Some(0.5), |v| format!("{v:.2} s")),
            own_row(&equal, middle(sent), Some(2.0), |v| format!("{v:.2} MiB")),
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

fn at_least_row(name: &str, ratio: Option<f64>, least: f64, show: impl Fn(f64) -> String) -> Vec<String> {
    let none = || "–".to_owned();
    let (shown, is_met) = (ratio.map_or_else(none, show), ratio.map(|ratio| ratio >= least));
    vec![name.to_owned(), shown, none(), none(), none(), format!("≥ {least:.1} ×"), verdict(is_met)]
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

    #[test]
    fn quorum_tables_are_held_against_leaders_of_the_same_engine_and_by_the_worst_that_was_noticed() {
        let mut measured = Measurements::default();
        let verdicts =
            |measured: &Measurements| measured.quorum_rows().iter().map(|row| row[6].clone()).collect::<Vec<_>>();
        assert_eq!(verdicts(&measured), ["not measured"; 5]);
        measured.rounds.push((System::SkerrySled, sample(1.0)));
        measured.quorum.writes.push(130.0);
        assert_eq!(verdicts(&measured)[0], "not measured");
        measured.rounds.push((System::SkerryFjall, sample(100.0)));
        let killed = |errors, ms| Killed { writes: 9, errors, longest: Duration::from_millis(ms) };
        measured.quorum.killed = vec![killed(0, 10), killed(0, 499), killed(0, 20)];
        let compared = Compared { held_bytes: 1 << 30, sent_bytes: 2 << 20, sent_records: 100, took: Duration::ZERO };
        measured.quorum.compared.push(compared);
        measured.quorum.cassandra.push(16.0);
        assert_eq!(verdicts(&measured), ["met"; 5]);
        measured.quorum.writes = vec![110.0];
        measured.quorum.killed.push(killed(1, 600));
        measured.quorum.compared = vec![Compared { sent_bytes: 3 << 20, ..compared }];
        assert_eq!(verdicts(&measured), ["missed"; 5]);
    }
}
