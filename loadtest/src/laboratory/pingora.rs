//! The pingora peers: `loadtest peer` in a process of its own. It needs the binary of this crate, which a caller in
//! another program must name.

use super::error::Result;
use super::part::{self, Part, Plan, Ready};
use std::path::{Path, PathBuf};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// A pingora to be started.
#[derive(Debug)]
pub struct Setup {
    program: PathBuf,
    to: Option<u16>,
}

/// A pingora that runs.
#[derive(Debug)]
pub struct Pingora {
    part: Part,
    port: u16,
}

impl Setup {
    pub(super) fn new(program: &Path) -> Self {
        Self { program: program.to_owned(), to: None }
    }

    /// Passes questions to this port instead of allowing them.
    #[must_use]
    pub fn passing_to(mut self, port: u16) -> Self {
        self.to = Some(port);
        self
    }

    /// # Errors
    /// When the program is not `loadtest`, or ends.
    pub async fn start(self) -> Result<Pingora> {
        let (part, [port]) = part::start(|[port]: [u16; 1]| self.plan(port)).await?;
        Ok(Pingora { part, port })
    }

    fn plan(&self, port: u16) -> Result<Plan> {
        let mut args = vec!["peer".to_owned(), "--port".to_owned(), port.to_string()];
        if let Some(to) = self.to {
            args.extend(["--to".to_owned(), format!("127.0.0.1:{to}")]);
        }
        Ok(Plan {
            part: "pingora",
            program: self.program.clone(),
            args,
            env: Vec::new(),
            home: part::home("pingora")?,
            ready: Ready::Tcp(port),
            patience: PATIENCE,
        })
    }
}

impl Pingora {
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }
}

super::behaves_as_a_part!(Pingora);
