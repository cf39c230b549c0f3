//! `countersign schema record`: the JSON Schema of what consumers read.

use std::io::Write as _;

use crate::audit::schema::{self, Form};
use crate::commands::Exit;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    of: Of,
}

#[derive(Debug, Clone, Copy, clap::Subcommand)]
enum Of {
    /// Every record type, as published in Kafka.
    Record,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let schema = match args.of {
        Of::Record => schema::record(Form::Open),
    };
    writeln!(std::io::stdout().lock(), "{schema:#}")?;
    Ok(Exit::Fine)
}
