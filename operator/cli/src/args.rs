//! The command line: what holds for every command. Each command's own arguments stand beside it in `commands/`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, ValueEnum};
use serde_json::json;

use crate::commands::Command;
use crate::exit::Kind;

/// A sharded, replicated key-value database: its command line, and a playground on this machine.
#[derive(Debug, Parser)]
#[command(
    name = "skerry",
    version,
    about,
    after_help = "Start here: `skerry tour`, or `skerry playground up -f examples/quickstart.yaml` and then `skerry status`.

Exit codes: 0 done; 1 failed; 2 the command line is wrong; 3 a condition did not hold; 4 no such key or table;
5 the database, or the part of it that was asked, is unavailable. With -o json the last line on stderr tells of a failure."
)]
pub(crate) struct Args {
    /// Of every command.
    #[command(flatten)]
    pub(crate) global: Global,

    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What holds for every command.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Global {
    /// `host:port` of any nodes of the database. By default those of the playground in this folder.
    #[arg(long, global = true, env = "SKERRY_ENDPOINTS", value_delimiter = ',', value_name = "HOST:PORT")]
    pub(crate) endpoints: Vec<String>,

    /// File with the database's secret, which its nodes demand of whoever gives them orders; reading and writing needs
    /// none. By default that of the playground in this folder.
    #[arg(long, global = true, env = "SKERRY_SECRET_FILE", value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,

    /// How data is written.
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,

    /// How long an operation, or finding the database, may take: a number of ms, s or m, such as 500ms or 30s. By default
    /// 15s. An import has so long for each row, and an export for each page.
    #[arg(long, global = true, value_name = "TIME", value_parser = timeout)]
    pub(crate) timeout: Option<Duration>,

    /// No colours and no animation; so does the variable NO_COLOR.
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
}

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For people who want all columns.
    Wide,
    /// For programs.
    Json,
}

/// No wait of a command is longer.
const TIMEOUT_MAX: Duration = Duration::from_secs(3_600);

fn timeout(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number = digits.parse::<u64>().ok();
    let time = match (number, &text[digits.len()..]) {
        (Some(number), "ms") => Some(Duration::from_millis(number)),
        (Some(number), "s") => Some(Duration::from_secs(number)),
        (Some(number), "m") => Some(Duration::from_secs(number.saturating_mul(60))),
        _ => None,
    };
    let allowed = time.filter(|time| !time.is_zero() && *time <= TIMEOUT_MAX);
    allowed.ok_or_else(|| "it is a number of ms, s or m, such as 500ms, 30s or 2m; 1ms to 60m are allowed".to_owned())
}

/// Tells of a command line that cannot be, in JSON where that was asked for; shows help where that was.
pub(crate) fn refused(error: &clap::Error, line: impl Iterator<Item = OsString>) -> ExitCode {
    if error.exit_code() != 0 && wants_json(line) {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let told =
            json!({"error": {"kind": Kind::Usage.name(), "message": message, "next": "--help shows what is allowed"}});
        let _gone = writeln!(io::stderr().lock(), "{told}");
    } else {
        let _gone = error.print();
    }
    if error.exit_code() == 0 { ExitCode::SUCCESS } else { Kind::Usage.into() }
}

fn wants_json(line: impl Iterator<Item = OsString>) -> bool {
    let words: Vec<OsString> = line.collect();
    let is_pair = |pair: &[OsString]| (pair[0] == "-o" || pair[0] == "--output") && pair[1] == "json";
    words.windows(2).any(is_pair) || words.iter().any(|word| word == "-ojson" || word == "--output=json")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn endpoints_may_be_listed_anywhere() {
        let args = Args::try_parse_from(["skerry", "nodes", "--endpoints", "a:1,b:2", "-o", "json"]).unwrap();
        assert_eq!(args.global.endpoints, ["a:1", "b:2"]);
        assert_eq!(args.global.output, Format::Json);
    }

    #[test]
    fn timeouts_have_a_unit_and_are_bounded() {
        assert_eq!(timeout("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(timeout("2m"), Ok(Duration::from_secs(120)));
        for bad in ["0s", "5", "61m", "-1s", "s", "18446744073709551615m", "1h"] {
            assert!(timeout(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn json_is_asked_for_in_every_way_that_is_understood() {
        let wants = |line: &str| wants_json(line.split(' ').map(OsString::from));
        assert!(wants("skerry get t -o json") && wants("skerry --output=json get") && wants("skerry -ojson get"));
        assert!(!wants("skerry get json -o wide"));
    }
}
