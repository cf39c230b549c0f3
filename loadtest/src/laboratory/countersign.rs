//! Countersign itself, from a binary and the text of a configuration: the part in the middle.

use super::error::{Error, Result};
use super::http;
use super::part::{self, Part, Plan, Ready};
use std::fs::{DirBuilder, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// What its metrics say as soon as decisions can be recorded.
const RECORDING: &str = "countersign_audit_available 1";

/// A Countersign to be started.
#[derive(Debug)]
pub struct Setup {
    program: PathBuf,
    config: String,
    files: Vec<(String, String)>,
    env: Vec<(String, String)>,
    nobody: Option<String>,
}

/// A user that owns nothing.
pub const NOBODY: u32 = 65_534;

/// A Countersign that runs.
#[derive(Debug)]
pub struct Countersign {
    part: Part,
    port: u16,
    admin: u16,
}

impl Setup {
    pub(super) fn new(program: &Path) -> Self {
        Self { program: program.to_owned(), config: String::new(), files: Vec::new(), env: Vec::new(), nobody: None }
    }

    /// Its configuration. In it `{port}` and `{admin_port}` become free ports, `{dir}` its own directory, where
    /// `{dir}/spool` exists and only its owner may look.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        toml.clone_into(&mut self.config);
        self
    }

    /// A file in its directory that only its owner may read, such as a token.
    #[must_use]
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// A setting of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs it as [`NOBODY`], to whom its directory then belongs, with this umask. Needs root and `setpriv`.
    #[must_use]
    pub fn unprivileged(mut self, umask: &str) -> Self {
        self.nobody = Some(umask.to_owned());
        self
    }

    /// Returns when it listens; the configuration must use `{port}`.
    /// # Errors
    /// When it ends, for instance because its configuration is wrong.
    pub async fn start(self) -> Result<Countersign> {
        let (part, [port, admin]) = part::start(|ports| self.plan(ports)).await?;
        Ok(Countersign { part, port, admin })
    }

    fn plan(&self, [port, admin]: [u16; 2]) -> Result<Plan> {
        let home = part::home("countersign")?;
        let dir = home.path().display().to_string();
        let spool = home.path().join("spool");
        DirBuilder::new().mode(0o700).create(&spool).map_err(Error::path("making", &spool))?;
        for (name, text) in &self.files {
            secret(&home.path().join(name), text)?;
        }
        let config = self.config.replace("{port}", &port.to_string()).replace("{admin_port}", &admin.to_string());
        let file = home.path().join("countersign.toml");
        part::write(&file, &config.replace("{dir}", &dir))?;
        let args = vec!["serve".to_owned(), "--config".to_owned(), file.display().to_string()];
        let (program, args) = match &self.nobody {
            None => (self.program.clone(), args),
            Some(umask) => as_nobody(&self.program, umask, args, home.path())?,
        };
        Ok(Plan {
            part: "countersign",
            program,
            args,
            env: self.env.clone(),
            home,
            ready: Ready::Tcp(port),
            patience: PATIENCE,
        })
    }
}

impl Countersign {
    /// Where MinIO asks.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// `host:port` of its admin listener.
    pub fn admin(&self) -> String {
        format!("127.0.0.1:{}", self.admin)
    }

    /// Waits until it can record: it listens before its spool is open, and denies until then. It needs its admin
    /// listener on `{admin_port}`.
    /// # Errors
    /// When it cannot within 30 s.
    pub async fn until_recording(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let url = format!("http://{}/metrics", self.admin());
        loop {
            let answer = http::get(&url).await;
            if answer.is_ok_and(|answer| answer.body.lines().any(|line| line == RECORDING)) {
                return Ok(());
            }
            if Instant::now() > until || !self.is_running() {
                let why = format!("it does not record\n{}", self.log_tail());
                return Err(Error::Asked { part: "countersign", why });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    pub fn spool(&self) -> PathBuf {
        self.part.home().join("spool")
    }
}

/// The command that gives up root, and a copy of the program where everybody may be.
fn as_nobody(program: &Path, umask: &str, args: Vec<String>, home: &Path) -> Result<(PathBuf, Vec<String>)> {
    let copy = home.join("program");
    std::fs::copy(program, &copy).map_err(Error::path("copying", program))?;
    for entry in std::fs::read_dir(home).map_err(Error::path("reading", home))?.flatten() {
        chown(entry.path(), Some(NOBODY), Some(NOBODY)).map_err(Error::path("giving away", home))?;
    }
    chown(home, Some(NOBODY), Some(NOBODY)).map_err(Error::path("giving away", home))?;
    let run = format!("umask {umask}; exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups -- \"$@\"");
    let before = ["-c", &run, "sh", &copy.display().to_string()].map(str::to_owned);
    Ok(("sh".into(), before.into_iter().chain(args).collect()))
}

fn secret(path: &Path, text: &str) -> Result<()> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(Error::path("writing", path))
}

super::behaves_as_a_part!(Countersign);
