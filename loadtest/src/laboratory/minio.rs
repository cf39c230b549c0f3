//! MinIO, with or without an access management plugin.

use super::error::Result;
use super::mc::Mc;
use super::part::{self, Part, Plan, Ready};
use super::{Laboratory, recipes};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The credentials of root.
pub const ROOT_USER: &str = "minioroot";
pub const ROOT_PASSWORD: &str = "minioroot-secret";

/// MinIO waits up to three seconds between two tries to reach its plugin.
const PATIENCE: Duration = Duration::from_secs(60);

/// A MinIO to be started.
#[derive(Debug)]
pub struct Setup {
    lab: Laboratory,
    env: Vec<(String, String)>,
}

/// A MinIO that runs.
#[derive(Debug)]
pub struct Minio {
    part: Part,
    port: u16,
    mc: PathBuf,
}

impl Setup {
    pub(super) fn new(lab: Laboratory) -> Self {
        Self { lab, env: Vec::new() }
    }

    /// Whom it asks for every decision; the token is sent as the whole `Authorization` header.
    #[must_use]
    pub fn plugin(self, url: &str, token: Option<&str>) -> Self {
        let asks = self.env("MINIO_POLICY_PLUGIN_URL", url);
        match token {
            Some(token) => asks.env("MINIO_POLICY_PLUGIN_AUTH_TOKEN", token),
            None => asks,
        }
    }

    /// Where it sends an entry for each call that has ended.
    #[must_use]
    pub fn audit_to(self, url: &str) -> Self {
        self.env("MINIO_AUDIT_WEBHOOK_ENABLE_laboratory", "on").env("MINIO_AUDIT_WEBHOOK_ENDPOINT_laboratory", url)
    }

    /// A setting of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Returns when it serves everybody, that is when its plugin has answered too.
    /// # Errors
    /// When Go is missing or it does not start.
    pub async fn start(self) -> Result<Minio> {
        self.start_with("cluster").await
    }

    /// Returns when it answers at all: its plugin may be unreachable. `until_ready` waits for the rest.
    /// # Errors
    /// As for `start`.
    pub async fn start_unready(self) -> Result<Minio> {
        let mut minio = self.start_with("live").await?;
        minio.part.wait_for(Ready::Http(health(minio.port, "cluster")));
        Ok(minio)
    }

    async fn start_with(self, level: &str) -> Result<Minio> {
        let program = self.lab.install(recipes::minio).await?;
        let mc = self.lab.install(recipes::mc).await?;
        let (part, [port, _]) = part::start(|ports| self.plan(&program, ports, level)).await?;
        Ok(Minio { part, port, mc })
    }

    fn plan(&self, program: &Path, [port, console]: [u16; 2], level: &str) -> Result<Plan> {
        let address = format!("127.0.0.1:{port}");
        let console = format!("127.0.0.1:{console}");
        let args = ["server", "--quiet", "--address", &address, "--console-address", &console, "data"];
        let own = [("MINIO_ROOT_USER", ROOT_USER), ("MINIO_ROOT_PASSWORD", ROOT_PASSWORD), ("MINIO_BROWSER", "off")];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(Plan {
            part: "minio",
            program: program.to_owned(),
            args: args.map(str::to_owned).into(),
            env: own.into_iter().chain(self.env.iter().cloned()).collect(),
            home: part::home("minio")?,
            ready: Ready::Http(health(port, level)),
            patience: PATIENCE,
        })
    }
}

impl Minio {
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A client that knows root under the alias `root`.
    /// # Errors
    /// When its directory cannot be made.
    pub fn mc(&self) -> Result<Mc> {
        Ok(Mc::new(self.mc.clone(), &self.url())?.alias("root", ROOT_USER, ROOT_PASSWORD))
    }
}

fn health(port: u16, level: &str) -> String {
    format!("http://127.0.0.1:{port}/minio/health/{level}")
}

super::behaves_as_a_part!(Minio);
