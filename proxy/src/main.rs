//! Arguments → command → exit code. The only place where the process ends on purpose.
//!
//! Exit codes: 0 fine, 1 found something, 2 could not run, 64 wrong usage or configuration.

use std::process::ExitCode;

use clap::Parser as _;
use countersign::commands::{Arguments, Exit};
use mimalloc::MiMalloc;

/// A fifth of a cached decision was spent in the system's allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are what was asked for, not a mistake.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Fine };
            return error.print().map_or(Exit::Failed, |()| exit).into();
        }
    };
    match arguments.command.run() {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("countersign: {error:#}");
            Exit::Failed.into()
        }
    }
}
