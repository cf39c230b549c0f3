//! What every part has in common: a directory of its own, a process in it, a way to tell that it is ready, and an end.
//!
//! The parts (`kafka.rs`, `opa.rs` …) say what to run and add what only they can do; they all behave as a `Part`.

use super::error::{Error, Result};
use super::install::{say, tail};
use super::port::{self, Port};
use super::process::Process;
use super::{http, kafka};
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Tries with other ports when somebody else was faster.
const TRIES: u32 = 4;
const POLL: Duration = Duration::from_millis(40);
/// Between SIGTERM and SIGKILL when a test stops a part, and when it is only thrown away.
const STOP_GRACE: Duration = Duration::from_secs(20);
const DROP_GRACE: Duration = Duration::from_secs(2);
/// Settings of a part never come from the environment of whoever runs the tests.
const FOREIGN: [&str; 5] = ["MINIO_", "OTEL_", "KAFKA_", "OPA_", "COUNTERSIGN_"];
/// Set to anything, the directories of the parts stay after a test that passed too.
pub(super) const KEEP: &str = "LABORATORY_KEEP";

/// How to tell that a part is ready.
#[derive(Debug, Clone)]
pub(super) enum Ready {
    /// It accepts connections.
    Tcp(u16),
    /// It answers a GET with 200.
    Http(String),
    /// It names a broker in its metadata.
    Kafka(String),
}

impl Ready {
    async fn check(&self) -> std::result::Result<(), String> {
        match self {
            Self::Tcp(port) => {
                let connected = tokio::net::TcpStream::connect(("127.0.0.1", *port)).await;
                connected.map(drop).map_err(|why| format!("port {port}: {why}"))
            }
            Self::Http(url) => match http::get(url).await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(format!("`{url}` answers {}", answer.status)),
                Err(why) => Err(format!("`{url}`: {why}")),
            },
            Self::Kafka(bootstrap) => kafka::probe(bootstrap).await,
        }
    }
}

/// What to run.
#[derive(Debug)]
pub(super) struct Plan {
    pub part: &'static str,
    pub program: PathBuf,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub home: TempDir,
    pub ready: Ready,
    /// How long it may take to be ready.
    pub patience: Duration,
}

/// A part that was started. It ends, with everything it started, when this is dropped; its directory goes too, unless
/// the test failed.
#[derive(Debug)]
pub struct Part {
    plan: Plan,
    process: Option<Process>,
    /// Nobody else's for as long as this may be started again.
    _ports: Vec<Port>,
}

/// A directory for one part, readable only by us.
pub(super) fn home(part: &str) -> Result<TempDir> {
    tempfile::Builder::new().prefix(&format!("laboratory-{part}-")).tempdir().map_err(Error::io("making a directory"))
}

pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(Error::path("writing", path))
}

/// Starts what `plan` says for the given free ports, with other ports when these were taken meanwhile.
pub(super) async fn start<const N: usize>(plan: impl Fn([u16; N]) -> Result<Plan>) -> Result<(Part, [u16; N])> {
    let mut tries = 0;
    loop {
        tries += 1;
        let mut ports = [0; N];
        let mut held = Vec::with_capacity(N);
        for port in &mut ports {
            let free = port::free()?;
            *port = free.number();
            held.push(free);
        }
        let mut part = Part { plan: plan(ports)?, process: None, _ports: held };
        match part.start_again().await {
            Ok(()) => return Ok((part, ports)),
            Err(why) if tries < TRIES && why.is_port_taken() => {}
            Err(why) => return Err(why),
        }
    }
}

impl Part {
    /// The number of the process, which leads a group of its own; `None` while stopped.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// What runs.
    pub fn program(&self) -> &Path {
        &self.plan.program
    }

    /// The part's own directory: configuration, data and log.
    pub fn home(&self) -> &Path {
        self.plan.home.path()
    }

    /// Everything it has printed since its first start.
    pub fn log(&self) -> String {
        fs::read(self.log_file()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The last lines of that.
    pub fn log_tail(&self) -> String {
        tail(&self.log())
    }

    pub fn log_file(&self) -> PathBuf {
        self.home().join("log")
    }

    /// False when it was stopped or ended by itself.
    pub fn is_running(&self) -> bool {
        self.process.as_ref().is_some_and(|process| !process.has_ended())
    }

    /// Ends it as an operator would: SIGTERM, and SIGKILL 20 s later. Data, ports and log stay.
    pub async fn stop(&mut self) {
        self.end(STOP_GRACE).await;
    }

    /// Ends it without warning.
    pub async fn kill(&mut self) {
        self.end(Duration::ZERO).await;
    }

    /// Freezes it: it keeps its connections and answers nothing.
    pub fn freeze(&self) {
        if let Some(process) = &self.process {
            process.freeze();
        }
    }

    pub fn thaw(&self) {
        if let Some(process) = &self.process {
            process.signal(Signal::CONT);
        }
    }

    /// Starts it on the ports and data it had, and waits until it is ready.
    /// # Errors
    /// When it ends or is not ready in time, with the last lines of its log.
    pub async fn start_again(&mut self) -> Result<()> {
        self.start_unready()?;
        self.until_ready().await
    }

    /// Starts it on the ports and data it had, and returns at once.
    /// # Errors
    /// When the process cannot be started at all.
    pub fn start_unready(&mut self) -> Result<()> {
        if let Some(mut old) = self.process.take() {
            old.end(Duration::ZERO);
        }
        let mut command = Command::new(&self.plan.program);
        command.args(&self.plan.args).current_dir(self.home()).env("HOME", self.home());
        for (name, _) in std::env::vars_os() {
            if FOREIGN.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command.envs(self.plan.env.iter().map(|(name, value)| (name, value)));
        self.process = Some(Process::start(&mut command, &self.log_file())?);
        Ok(())
    }

    /// Waits until it is ready.
    /// # Errors
    /// When it ends or is not ready in time, with the last lines of its log.
    pub async fn until_ready(&mut self) -> Result<()> {
        let until = Instant::now() + self.plan.patience;
        loop {
            // Asked before and after: a stranger on the same port must not pass for a part that has ended.
            let ready = if self.is_running() { self.plan.ready.check().await } else { Ok(()) };
            match ready {
                _ if !self.is_running() => return Err(self.failed("it ended by itself".to_owned())),
                Ok(()) => return Ok(()),
                Err(why) if Instant::now() > until => {
                    return Err(self.failed(format!("not ready after {} s: {why}", self.plan.patience.as_secs())));
                }
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// A setting of its environment, from its next start on.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.plan.env.retain(|(set, _)| set != name);
        self.plan.env.push((name.to_owned(), value.to_owned()));
    }

    /// From now on `until_ready` and `start_again` wait for this.
    pub(super) fn wait_for(&mut self, ready: Ready) {
        self.plan.ready = ready;
    }

    fn failed(&self, why: String) -> Error {
        Error::Start { part: self.plan.part, why, log: self.log_tail() }
    }

    async fn end(&mut self, grace: Duration) {
        if let Some(mut process) = self.process.take() {
            // A wait in a thread of its own; it ends in time, so there is nothing to report.
            tokio::task::spawn_blocking(move || process.end(grace)).await.ok();
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.end(DROP_GRACE);
        }
        if std::thread::panicking() || std::env::var_os(KEEP).is_some() {
            self.plan.home.disable_cleanup(true);
            say(&format!("{}: kept {}", self.plan.part, self.home().display()));
        }
    }
}
