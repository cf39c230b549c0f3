//! `countersign generate`: shell completions and manual pages, from the definitions that the program itself reads its arguments
//! with. For whoever packages Countersign; it is not in the list of commands. What a page says beside its options is in
//! `generate/pages`, how it is written in `generate/manual`.

mod manual;
pub mod pages;
mod settings;

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{CommandFactory as _, ValueEnum};

use crate::commands::{Arguments, Exit};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print the completions for a shell
    Completions {
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Write the manual pages: one for each command, and one for the configuration
    Man {
        /// A directory such as `share/man`: they go into `man1` and `man5` in it. Files of the same names are overwritten
        dir: PathBuf,
    },
}

/// Those that clap_complete knows and that a test here has met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// To be `countersign` in `share/bash-completion/completions`
    Bash,
    /// To be `_countersign` in a directory of `fpath`
    Zsh,
    /// To be `countersign.fish` in `share/fish/vendor_completions.d`
    Fish,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    match &args.what {
        What::Completions { shell } => io::stdout().lock().write_all(&completions(*shell))?,
        What::Man { dir } => {
            for (name, text) in manual::pages() {
                let file = dir.join(name);
                let made = file.parent().map_or(Ok(()), std::fs::create_dir_all);
                made.and_then(|()| std::fs::write(&file, text))
                    .with_context(|| format!("cannot write `{}`", file.display()))?;
            }
        }
    }
    Ok(Exit::Fine)
}

fn completions(shell: Shell) -> Vec<u8> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "countersign", &mut text);
    text
}
