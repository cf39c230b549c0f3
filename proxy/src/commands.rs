//! The command line: one file a command, and what they share. Called by `main` only.

pub mod check;
pub mod demo;
mod door;
pub mod explain;
pub mod generate;
pub mod keygen;
pub mod pseudonym;
pub mod publish;
pub mod purge;
pub mod readers;
pub mod reconcile;
pub mod replay;
pub mod schema;
pub mod serve;
pub mod tail;
pub mod verify;
pub mod version;

use std::process::ExitCode;

use readers::Failure;
use readers::places::Places;

/// How a command ended. An error that a command returns is [`Exit::Failed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Fine,
    /// Looked, and found something: broken, denied, different.
    Found,
    /// Could not run.
    Failed,
    /// Wrong usage or configuration.
    Usage,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Fine => Self::from(0),
            Exit::Found => Self::from(1),
            Exit::Failed => Self::from(2),
            Exit::Usage => Self::from(64),
        }
    }
}

/// An audit-logging decision proxy between MinIO's access management webhook and its authorizers.
#[derive(Debug, clap::Parser)]
#[command(name = "countersign", version, long_version = version::long(), max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Answer MinIO. SIGTERM drains and stops.
    Serve(serve::Args),
    /// The whole thing on one machine with nothing installed: authorizer, broker and questions included.
    Demo(demo::Args),
    /// Say every mistake in a configuration, and what it means in numbers.
    Check(check::Args),
    /// Show records as they come, from Kafka or a spool.
    Tail(tail::TailArgs),
    /// Say why a decision is what it is, and what to do about a fault.
    Explain(Box<explain::ExplainArgs>),
    /// Compare with MinIO's own audit log: operations without a decision, decisions without an operation.
    Reconcile(Box<reconcile::ReconcileArgs>),
    /// Say whether the trail is whole: nothing missing, changed or forged.
    Verify(verify::VerifyArgs),
    /// Print the pseudonym that records have instead of a name.
    Pseudonym(pseudonym::Args),
    /// Take answers of a running Countersign's cache back, so that they are asked for again.
    Purge(purge::Args),
    /// Ask a candidate authorizer what the records hold, and say where it differs.
    Replay(replay::ReplayArgs),
    /// Ship a spool that lost its process, or publish delivered records again.
    Publish(publish::Args),
    /// Make a key that signs checkpoints, and its public half.
    Keygen(keygen::Args),
    /// Print a JSON Schema.
    Schema(schema::Args),
    /// Print completions for a shell, or write manual pages.
    #[command(hide = true)]
    Generate(generate::Args),
}

impl Command {
    pub fn run(self) -> anyhow::Result<Exit> {
        match self {
            Self::Serve(args) => serve::run(&args),
            Self::Demo(args) => demo::run(&args),
            Self::Check(args) => check::run(&args),
            Self::Tail(args) => read(tail::run(&args, &Places).map(|()| Exit::Fine)),
            Self::Explain(args) => read(explain::run(&args, &Places)),
            Self::Reconcile(args) => read(reconcile::run(&args, &Places)),
            Self::Verify(args) => read(verify::run(&args, &Places)),
            Self::Pseudonym(args) => read(pseudonym::run(&args)),
            Self::Purge(args) => purge::run(&args),
            Self::Replay(args) => read(replay::run(&args, &Places)),
            Self::Publish(args) => read(publish::run(&args)),
            Self::Keygen(args) => keygen::run(&args),
            Self::Schema(args) => schema::run(&args),
            Self::Generate(args) => generate::run(&args),
        }
    }
}

/// How a command ended that tells wrong usage from what could not be done.
fn read(done: Result<Exit, Failure>) -> anyhow::Result<Exit> {
    match done {
        Ok(exit) => Ok(exit),
        Err(Failure::CouldNot(error)) => Err(error),
        Err(Failure::Usage(message)) => {
            eprintln!("countersign: {message}");
            Ok(Exit::Usage)
        }
    }
}
