//! `skerry`: the command line, the `kubectl skerry` plugin and the playground.
//!
//! Data goes to stdout, messages to stderr. Errors say what failed, why, and what to do next.

mod args;
mod bytes_text;
mod commands;
mod connect;
mod database_yaml;
mod exit;
mod failure;
mod import;
mod output;
mod paths;
mod playground;
mod progress;
mod tour;
mod view;

use std::process::ExitCode;

use clap::Parser as _;

use args::Args;
use output::Output;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return args::refused(&error, std::env::args_os()),
    };
    let output = Output::new(&args.global);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure::report(&output, &failure::Failure::from(error)),
    };
    let result = runtime.block_on(commands::run(args, &output));
    // Reading from a terminal or a pipe cannot be cancelled; it must not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    match result {
        Ok(code) => code,
        Err(failure) => failure::report(&output, &failure),
    }
}
