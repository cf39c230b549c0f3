//! nginx, as a peer to compare with and as a proxy in front of something.

use super::error::Result;
use super::part::{self, Part, Plan, Ready};
use super::{Laboratory, recipes};
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// An nginx to be started.
#[derive(Debug)]
pub struct Setup {
    lab: Laboratory,
    config: String,
    workers: u16,
}

/// An nginx that runs.
#[derive(Debug)]
pub struct Nginx {
    part: Part,
    port: u16,
}

impl Setup {
    pub(super) fn new(lab: Laboratory) -> Self {
        let config = "server { listen 127.0.0.1:{port}; location / { return 200 'ok'; } }".to_owned();
        Self { lab, config, workers: 1 }
    }

    /// What stands inside `http { … }`; `{port}` in it becomes a free port, `{dir}` a directory of its own. Paths are
    /// relative to that directory. Without this it answers `ok` to everything.
    #[must_use]
    pub fn config(mut self, http: &str) -> Self {
        http.clone_into(&mut self.config);
        self
    }

    /// Worker processes; one unless said.
    #[must_use]
    pub fn workers(mut self, workers: u16) -> Self {
        self.workers = workers;
        self
    }

    /// # Errors
    /// When nginx is missing and cannot be installed, or refuses its configuration.
    pub async fn start(self) -> Result<Nginx> {
        let program = self.lab.install(|_| recipes::nginx()).await?;
        let (part, [port]) = part::start(|[port]: [u16; 1]| self.plan(&program, port)).await?;
        Ok(Nginx { part, port })
    }

    fn plan(&self, program: &Path, port: u16) -> Result<Plan> {
        let home = part::home("nginx")?;
        let dir = home.path().display().to_string();
        // Workers of a root nginx change to another user by default, who may not read our directory.
        let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("  {kind}_temp_path {dir}/{kind};\n"))
            .concat();
        let http = self.config.replace("{port}", &port.to_string()).replace("{dir}", &dir);
        let config = format!(
            "{user}daemon off;\nworker_processes {};\nworker_rlimit_nofile 8192;\npid {dir}/pid;\nerror_log stderr;\n\
             events {{ worker_connections 4096; }}\nhttp {{\n  access_log off;\n{temporary}{http}\n}}\n",
            self.workers
        );
        part::write(&home.path().join("nginx.conf"), &config)?;
        let args = ["-e", "stderr", "-p", &dir, "-c", "nginx.conf"].map(str::to_owned);
        Ok(Plan {
            part: "nginx",
            program: program.to_owned(),
            args: args.into(),
            env: Vec::new(),
            home,
            ready: Ready::Tcp(port),
            patience: PATIENCE,
        })
    }
}

impl Nginx {
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

super::behaves_as_a_part!(Nginx);
