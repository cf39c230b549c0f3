//! The OpenTelemetry collector: takes OTLP over HTTP and prints what it got.

use super::error::Result;
use super::part::{self, Part, Plan, Ready};
use super::{Laboratory, recipes};
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
/// What it has unless told otherwise.
const PRINTING: &str = "\
receivers:
  otlp:
    protocols:
      http:
        endpoint: {address}
exporters:
  debug:
    verbosity: detailed
    use_internal_logger: false
service:
  telemetry:
    metrics:
      level: none
  pipelines:
    traces: {receivers: [otlp], exporters: [debug]}
";

/// A collector to be started.
#[derive(Debug)]
pub struct Setup {
    lab: Laboratory,
    config: Option<String>,
}

/// A collector that runs.
#[derive(Debug)]
pub struct Collector {
    part: Part,
    port: u16,
}

impl Setup {
    pub(super) fn new(lab: Laboratory) -> Self {
        Self { lab, config: None }
    }

    /// A configuration, instead of the laboratory's. In it `{address}` becomes its own address.
    #[must_use]
    pub fn config(mut self, yaml: &str) -> Self {
        self.config = Some(yaml.to_owned());
        self
    }

    /// # Errors
    /// When Go is missing or the collector does not start.
    pub async fn start(self) -> Result<Collector> {
        let program = self.lab.install(recipes::collector).await?;
        let (part, [port]) = part::start(|[port]: [u16; 1]| self.plan(&program, port)).await?;
        Ok(Collector { part, port })
    }

    fn plan(&self, program: &Path, port: u16) -> Result<Plan> {
        let home = part::home("collector")?;
        let config = self.config.as_deref().unwrap_or(PRINTING).replace("{address}", &format!("127.0.0.1:{port}"));
        part::write(&home.path().join("config.yaml"), &config)?;
        Ok(Plan {
            part: "collector",
            program: program.to_owned(),
            args: vec!["--config".to_owned(), "config.yaml".to_owned()],
            env: Vec::new(),
            home,
            ready: Ready::Tcp(port),
            patience: PATIENCE,
        })
    }
}

impl Collector {
    /// For an OTLP exporter over HTTP; traces go to `/v1/traces` below it.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it printed: every span with its ids, attributes, events and links.
    pub fn output(&self) -> String {
        self.log()
    }
}

super::behaves_as_a_part!(Collector);
