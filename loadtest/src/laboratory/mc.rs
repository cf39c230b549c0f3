//! MinIO's client, with a configuration of its own.

use super::error::{Error, Result};
use super::part;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(120);

/// `mc` for one server. Aliases go through its environment: making one asks the server nothing.
#[derive(Debug)]
pub struct Mc {
    program: PathBuf,
    server: String,
    home: TempDir,
    aliases: Vec<(String, String)>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Mc {
    pub(super) fn new(program: PathBuf, server: &str) -> Result<Self> {
        Ok(Self { program, server: server.to_owned(), home: part::home("mc")?, aliases: Vec::new() })
    }

    /// The same server under the name `alias` with these credentials.
    #[must_use]
    pub fn alias(mut self, alias: &str, user: &str, secret: &str) -> Self {
        let host = self.server.trim_start_matches("http://");
        self.aliases.push((format!("MC_HOST_{alias}"), format!("http://{user}:{secret}@{host}")));
        self
    }

    /// Makes a user, and an alias of the same name. With a plugin in force the user needs no policy.
    /// # Errors
    /// When root may not.
    pub async fn user(self, name: &str, secret: &str) -> Result<Self> {
        self.run(&["admin", "user", "add", "root", name, secret]).await?;
        Ok(self.alias(name, name, secret))
    }

    /// Runs a command that must succeed; returns what it printed.
    /// # Errors
    /// When it ends with another status than 0.
    pub async fn run(&self, args: &[&str]) -> Result<String> {
        let ran = self.attempt(args).await?;
        match ran.code {
            Some(0) => Ok(ran.stdout),
            Some(_) | None => Err(Error::Asked {
                part: "mc",
                why: format!("`mc {}` ended with {:?}: {}{}", args.join(" "), ran.code, ran.stdout, ran.stderr),
            }),
        }
    }

    /// Runs a command that may fail.
    /// # Errors
    /// When it cannot be started or takes longer than two minutes.
    pub async fn attempt(&self, args: &[&str]) -> Result<Ran> {
        let mut command = tokio::process::Command::new(&self.program);
        command.arg("--config-dir").arg(self.home.path()).args(["--quiet", "--disable-pager"]).args(args);
        command.current_dir(self.home.path()).env("HOME", self.home.path()).stdin(std::process::Stdio::null());
        command.envs(self.aliases.iter().map(|(name, value)| (name, value))).kill_on_drop(true);
        let output = tokio::time::timeout(DEADLINE, command.output()).await.map_err(std::io::Error::from);
        let output = output.flatten().map_err(Error::io("running `mc`"))?;
        Ok(Ran {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Where the program is, for people who want to run it themselves.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A directory for files to upload and download; commands run in it.
    pub fn home(&self) -> &Path {
        self.home.path()
    }
}
