//! `countersign schema`: JSON Schemas of what consumers read and of what operators write.

use std::io::Write as _;

use crate::audit::schema::{self, Form};
use crate::commands::Exit;
use crate::config;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Of what
    #[arg(value_enum)]
    of: Of,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Of {
    /// The configuration file: every key with what it takes, its default and why
    Config,
    /// Every record type, as published in Kafka
    Record,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let schema = match args.of {
        Of::Config => config::schema::schema(),
        Of::Record => schema::record(Form::Open),
    };
    match writeln!(std::io::stdout().lock(), "{schema:#}") {
        // Whoever reads has seen enough, as `head` has.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Exit::Fine),
    }
}
