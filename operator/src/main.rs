//! The program: arguments, logs, then [`skerry_operator::run`].

use clap::Parser;
use skerry_operator::args::Args;
use skerry_operator::run::run;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let filter = EnvFilter::try_new(&args.log_level)?;
    tracing_subscriber::fmt().json().with_env_filter(filter).init();
    run(args).await
}
