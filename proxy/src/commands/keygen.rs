//! `countersign keygen`: a key for `audit.signing_key` and its public half, for auditors. Touches no spool.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use secrecy::zeroize::Zeroizing;

use crate::audit::keys::SigningKey;
use crate::audit::note;
use crate::commands::Exit;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the key goes; its public half goes to the same name with `.pub`. Neither may exist.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Whose key it is, as checkpoints show it.
    #[arg(long, default_value = "countersign")]
    name: String,
    /// The key that signs now. It endorses the new one, so that whoever trusts it can trust the new one.
    #[arg(long, value_name = "FILE")]
    replaces: Option<PathBuf>,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let private = match note::generate(&args.name) {
        Ok(private) => private,
        Err(error @ note::NoteError::Name(_)) => {
            eprintln!("countersign: {error}");
            return Ok(Exit::Usage);
        }
        Err(error) => return Err(error.into()),
    };
    let text = match &args.replaces {
        Some(old) => SigningKey::endorsed(&private, &signer(old)?)?,
        None => private,
    };
    let public = SigningKey::parse(&text)?.signer.public().text().to_owned();
    let beside = PathBuf::from(format!("{}.pub", args.out.display()));
    create(&args.out, &text, 0o600)?;
    // A key without its public half is of no use to anybody, and would stand in the way of the next attempt.
    create(&beside, &public, 0o644).inspect_err(|_| drop(fs::remove_file(&args.out)))?;
    writeln!(io::stdout().lock(), "{public}")?;
    Ok(Exit::Fine)
}

fn signer(path: &Path) -> anyhow::Result<note::Signer> {
    let text = fs::read_to_string(path).map(Zeroizing::new);
    let text = text.with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(SigningKey::parse(&text).with_context(|| format!("`{}`", path.display()))?.signer)
}

fn create(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let made = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let write = |mut file: File| {
        let written = file.write_all(text.trim_end().as_bytes()).and_then(|()| file.write_all(b"\n"));
        // Ours, and of no use: what was there before has not been opened.
        written.and_then(|()| file.sync_all()).inspect_err(|_| drop(fs::remove_file(path)))
    };
    made.and_then(write).with_context(|| format!("cannot write `{}`", path.display()))
}
