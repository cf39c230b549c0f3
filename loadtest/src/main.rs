//! The commands of the load generator and the laboratory; each is a function elsewhere.
//!
//! Exit codes: 0 fine, 1 found something, 2 could not run, 64 wrong usage.

use std::process::ExitCode;

use clap::Parser;
use loadtest::{figures, load, peers, pictures, prove, soak, up};

/// Loads Countersign, starts the real parts around it, and proves what is said about its speed.
#[derive(Parser)]
#[command(version, about)]
enum Command {
    Run(load::Command),
    Compare(load::Compare),
    Prove(prove::Command),
    Soak(soak::Command),
    Peers(prove::Peers),
    S3(prove::S3),
    Scale(prove::Scale),
    #[command(hide = true)]
    Peer(peers::Command),
    Figures(figures::Command),
    Pictures(pictures::Command),
    /// Run Countersign with Kafka, OPA, MinIO, a collector and Prometheus until Ctrl-C
    Up,
    /// Install every part of the laboratory into the cache
    Install,
}

fn main() -> ExitCode {
    let command = match Command::try_parse() {
        Ok(command) => command,
        Err(error) => {
            // Help that cannot be printed has nobody to be printed to.
            error.print().ok();
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    run(command).unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::from(2)
    })
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(run) => run.run(),
        Command::Compare(compare) => compare.run(),
        Command::Prove(prove) => prove.run(),
        Command::Soak(soak) => soak.run(),
        Command::Peers(peers) => peers.run(),
        Command::S3(s3) => s3.run(),
        Command::Scale(scale) => scale.run(),
        Command::Peer(peer) => peer.run(),
        Command::Figures(figures) => figures.run(),
        Command::Pictures(pictures) => pictures.run(),
        Command::Up => loadtest::runtime(2)?.block_on(up::up()).map(|()| ExitCode::SUCCESS),
        Command::Install => loadtest::runtime(2)?.block_on(up::install()).map(|()| ExitCode::SUCCESS),
    }
}
