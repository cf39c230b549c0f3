//! `countersign serve`: the proxy. Reads the configuration, says what is wrong with it, and runs until it is stopped.

use std::path::PathBuf;

use crate::app::signals::Stop;
use crate::app::{App, hardening, parts};
use crate::commands::Exit;
use crate::commands::check::DEFAULT_PATH;
use crate::config;
use crate::log;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "COUNTERSIGN_CONFIG", default_value = DEFAULT_PATH)]
    config: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let left = hardening::harden();
    let loaded = match config::load(&args.config) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return Ok(if mistakes.unreadable { Exit::Failed } else { Exit::Usage });
        }
    };
    let log = log::start(parts::log(&loaded.config))?;
    left.warn();
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let app = match App::build(&loaded, Some(&args.config), &log) {
        Ok(app) => app,
        Err(error) if error.is_configuration() => {
            eprintln!("countersign: {error}");
            return Ok(Exit::Usage);
        }
        Err(error) => return Err(error.into()),
    };
    // Its secrets are with whoever needs them; here they would outlive whatever replaces them.
    drop(loaded);
    app.run(Stop::default());
    Ok(Exit::Fine)
}
