//! `skerry-node`: one storage node of a Skerry database.

use std::process::ExitCode;

use clap::Parser;
use skerry_node::args::Args;
use skerry_node::config::Config;
use skerry_node::{panics, run};
use skerry_program::logs;
use tracing::{error, info};

/// Commands are many small buffers that one thread makes and another frees. With the system's allocator a third of the worker's
/// time went there; this one takes 15 to 25 % off a write.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Connections are few and carry streams: the threads convert frames, the worker and the log's writer do the rest.
const ASYNC_THREADS: usize = 2;

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    logs::start(&args.log_level.filter())?;
    let config = Config::new(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(ASYNC_THREADS)
        .thread_name(panics::ASYNC_THREAD)
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(run::run(config));
    runtime.shutdown_background();
    match outcome {
        Ok(()) => {
            info!("node stopped");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            let exit_code = error.exit_code();
            let error = anyhow::Error::from(error);
            error!(error = format!("{error:#}"), exit_code, "node failed");
            Ok(ExitCode::from(exit_code))
        }
    }
}
