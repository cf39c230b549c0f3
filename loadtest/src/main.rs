//! Arguments → command → exit code, of the load generator and the laboratory.
//!
//! Exit codes: 0 fine, 1 found something, 2 could not run, 64 wrong usage.

use std::process::ExitCode;

use clap::Parser as _;
use loadtest::commands::Command;

fn main() -> ExitCode {
    let command = match Command::try_parse() {
        Ok(command) => command,
        Err(error) => {
            // Help that cannot be printed has nobody to be printed to.
            error.print().ok();
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    command.run().unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::from(2)
    })
}
