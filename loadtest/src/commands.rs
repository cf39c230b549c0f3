//! The command line, as one value: `main` runs it, and a test holds the documentation against it.

use std::process::ExitCode;

use crate::{figures, load, peers, pictures, prove, soak, up};

/// Loads Countersign, starts the real parts around it, and proves what is said about its speed.
#[derive(clap::Parser)]
#[command(name = "loadtest", version, about)]
pub enum Command {
    Run(load::Command),
    Compare(load::Compare),
    Prove(prove::Command),
    Soak(soak::Command),
    Peers(prove::Peers),
    S3(prove::S3),
    Scale(prove::Scale),
    Builds(prove::Builds),
    Profile(prove::Profile),
    #[command(hide = true)]
    Peer(peers::Command),
    Figures(figures::Command),
    Pictures(pictures::Command),
    /// Run Countersign with Kafka, OPA, MinIO, a collector and Prometheus until Ctrl-C
    ///
    /// What is not there yet is installed into `countersign` in `$XDG_CACHE_HOME`, or else in `~/.cache`. Each part listens
    /// on a free port of 127.0.0.1. Addresses, users and logs are printed once everything is up, and are in `up.env` beside
    /// the parts, for shells, until the end. Of several sets `up.env` has the one that was started last.
    ///
    /// `COUNTERSIGN_BIN` in the environment names the Countersign to run. Without it one is built from the checkout of
    /// loadtest itself (`cargo build --release`).
    Up,
    /// Install every part of the laboratory into the cache
    Install,
}

impl Command {
    /// # Errors
    /// What kept it from running.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Run(run) => run.run(),
            Self::Compare(compare) => compare.run(),
            Self::Prove(prove) => prove.run(),
            Self::Soak(soak) => soak.run(),
            Self::Peers(peers) => peers.run(),
            Self::S3(s3) => s3.run(),
            Self::Scale(scale) => scale.run(),
            Self::Builds(builds) => builds.run(),
            Self::Profile(profile) => profile.run(),
            Self::Peer(peer) => peer.run(),
            Self::Figures(figures) => figures.run(),
            Self::Pictures(pictures) => pictures.run(),
            Self::Up => crate::runtime(2)?.block_on(up::up()).map(|()| ExitCode::SUCCESS),
            Self::Install => crate::runtime(2)?.block_on(up::install()).map(|()| ExitCode::SUCCESS),
        }
    }
}
