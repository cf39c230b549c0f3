//! The laboratory: real Kafka, MinIO, OPA, OpenTelemetry collector, Prometheus and nginx for tests, on free ports of
//! 127.0.0.1, each gone when its value is dropped.
//!
//! It is not a deployment: nothing here is tuned or secured. The tests of both crates and `loadtest up` call it.
//! ```no_run
//! # use loadtest::laboratory::{Laboratory, SAMPLE_POLICY};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let lab = Laboratory::open()?;
//! let opa = lab.opa().policy(SAMPLE_POLICY).decision_log().start().await?;
//! let minio = lab.minio().plugin(&opa.url("minio/allow"), None).start().await?;
//! let mc = minio.mc()?.user("alice", "alice-secret").await?;
//! mc.run(&["mb", "root/reports"]).await?;
//! assert!(opa.decisions().iter().all(|decision| decision["result"] == true));
//! # Ok(()) }
//! ```
//! Every part is installed once, into `$XDG_CACHE_HOME/countersign` or `~/.cache/countersign`, with the versions in
//! `laboratory/versions.rs`. A part that this machine cannot have is an `Error::Missing`, which `require` turns into a
//! test that says that it did not run.

pub mod audit_sink;
pub mod browser;
pub mod collector;
pub mod countersign;
mod error;
mod go_program;
pub mod http;
mod install;
pub mod kafka;
mod kafka_client;
mod kafka_secured;
pub mod mc;
pub mod minio;
pub mod nginx;
pub mod opa;
pub mod open_files;
mod part;
pub mod pingora;
pub mod port;
mod process;
pub mod prometheus;
mod recipes;
mod versions;

pub use error::{Error, Result, require};
pub use part::Part;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The policy that OPA has unless told otherwise: root may everything, alice what is hers, bob nothing.
pub const SAMPLE_POLICY: &str = include_str!("../../config/opa/policy.rego");

/// What the dashboards are generated with.
const DASHBOARDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../dashboards/source/requirements.txt");

/// What the recipes of `docs/CONSUMING.md` are run with.
const CONSUMERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../proxy/tests/integration/consuming/requirements.txt");

/// What the files under `config/` and `.github/` are checked with.
const DEPLOYMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../proxy/tests/integration/deploy/requirements.txt");

/// A program that reads files as those will who run Countersign by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// What `kubectl apply -k` has built in.
    Kustomize,
    /// Reads GitHub's workflows.
    Actionlint,
}

/// What a report that compares with a part names.
#[derive(Debug, Clone, Copy)]
pub struct Versions {
    pub opa: &'static str,
    pub kafka: &'static str,
    /// A commit.
    pub minio: &'static str,
    pub collector: &'static str,
}

pub fn versions() -> Versions {
    Versions { opa: versions::OPA, kafka: versions::KAFKA, minio: versions::MINIO, collector: versions::COLLECTOR }
}

/// Where the parts are kept.
#[derive(Debug, Clone)]
pub struct Laboratory {
    cache: Arc<Path>,
}

impl Laboratory {
    /// # Errors
    /// When there is no home directory or the cache cannot be made.
    pub fn open() -> Result<Self> {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
        let missing = || std::io::Error::other("neither XDG_CACHE_HOME nor HOME names a directory");
        let cache = cache.ok_or_else(missing).map_err(Error::io("opening the laboratory"))?.join("countersign");
        std::fs::create_dir_all(&cache).map_err(Error::path("making", &cache))?;
        Ok(Self { cache: cache.into() })
    }

    /// Where `loadtest up` says what runs where.
    pub fn environment_file(&self) -> PathBuf {
        self.cache.join("up.env")
    }

    pub fn kafka(&self) -> kafka::Setup {
        kafka::Setup::new(self.clone())
    }

    pub fn opa(&self) -> opa::Setup {
        opa::Setup::new(self.clone())
    }

    pub fn minio(&self) -> minio::Setup {
        minio::Setup::new(self.clone())
    }

    pub fn collector(&self) -> collector::Setup {
        collector::Setup::new(self.clone())
    }

    pub fn prometheus(&self) -> prometheus::Setup {
        prometheus::Setup::new(self.clone())
    }

    pub fn nginx(&self) -> nginx::Setup {
        nginx::Setup::new(self.clone())
    }

    /// The peers built with pingora, from the binary `program` of this crate.
    pub fn pingora(&self, program: &Path) -> pingora::Setup {
        pingora::Setup::new(program)
    }

    /// Countersign from the binary `program`.
    pub fn countersign(&self, program: &Path) -> countersign::Setup {
        countersign::Setup::new(program)
    }

    /// A program from the Go source in `source` (with its `go.mod`), built once for each state of that source.
    /// # Errors
    /// When Go is missing or the program does not compile.
    pub async fn go_program(&self, name: &str, source: &Path) -> Result<PathBuf> {
        let (name, source) = (name.to_owned(), source.to_owned());
        self.install(move |cache| recipes::go_program(cache, &name, &source)).await
    }

    /// A directory for `PYTHONPATH` with the packages of a `requirements.txt`, installed once for each state of it.
    /// # Errors
    /// When Python or its pip is missing, or a package cannot be had.
    pub async fn python_packages(&self, requirements: &Path) -> Result<PathBuf> {
        let requirements = requirements.to_owned();
        self.install(move |cache| recipes::python_packages(cache, &requirements)).await
    }

    /// # Errors
    /// When Go is missing or the program cannot be had.
    pub async fn reader(&self, reader: Reader) -> Result<PathBuf> {
        self.install(match reader {
            Reader::Kustomize => recipes::kustomize,
            Reader::Actionlint => recipes::actionlint,
        })
        .await
    }

    /// A directory with the definitions of the Prometheus operator's `ServiceMonitor`, `PodMonitor` and
    /// `PrometheusRule`.
    /// # Errors
    /// When Go is missing or they cannot be had.
    pub async fn custom_resources(&self) -> Result<PathBuf> {
        self.install(recipes::custom_resources).await
    }

    /// A program from the distribution's packages, such as `("promtool", "prometheus")`.
    /// # Errors
    /// When it is missing and we may not install it.
    pub async fn debian_program(&self, program: &str, package: &str) -> Result<PathBuf> {
        let (program, package) = (program.to_owned(), package.to_owned());
        self.install(move |_| recipes::debian(&program, &package)).await
    }

    /// Installs every part, one after the other, and says where each is or why it is not. Blocks for minutes the first
    /// time.
    pub fn install_all(&self) -> Vec<(&'static str, Result<PathBuf>)> {
        let cache = &self.cache;
        vec![
            ("kafka", recipes::kafka(cache)),
            ("nginx", recipes::nginx()),
            ("prometheus", recipes::prometheus()),
            ("opa", recipes::opa(cache)),
            ("collector", recipes::collector(cache)),
            ("browser", recipes::debian("chromium", versions::BROWSER_PACKAGE)),
            ("mc", recipes::mc(cache)),
            ("minio", recipes::minio(cache)),
            ("kcat", recipes::debian("kcat", "kcat")),
            ("jq", recipes::debian("jq", "jq")),
            ("dashboards", recipes::python_packages(cache, Path::new(DASHBOARDS))),
            ("consumers", recipes::python_packages(cache, Path::new(CONSUMERS))),
            ("deployment", recipes::python_packages(cache, Path::new(DEPLOYMENT))),
            ("kustomize", recipes::kustomize(cache)),
            ("actionlint", recipes::actionlint(cache)),
            ("resources", recipes::custom_resources(cache)),
        ]
    }

    async fn install(&self, recipe: impl FnOnce(&Path) -> Result<PathBuf> + Send + 'static) -> Result<PathBuf> {
        let cache = self.cache.clone();
        let installed = tokio::task::spawn_blocking(move || recipe(&cache)).await;
        installed.map_err(|why| Error::io("installing")(why.into())).flatten()
    }
}

/// A part is started and stopped like every other: `kafka.stop()`, `opa.log()`.
macro_rules! behaves_as_a_part {
    ($name:ident) => {
        impl std::ops::Deref for $name {
            type Target = $crate::laboratory::Part;
            fn deref(&self) -> &Self::Target {
                &self.part
            }
        }

        impl std::ops::DerefMut for $name {
            fn deref_mut(&mut self) -> &mut Self::Target {
                &mut self.part
            }
        }
    };
}
use behaves_as_a_part;

#[cfg(test)]
mod tests;
