//! Prometheus, which scrapes every second and keeps exemplars.

use super::error::{Error, Result};
use super::http::{self, encoded};
use super::part::{self, Part, Plan, Ready};
use super::{Laboratory, recipes};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// A Prometheus to be started.
#[derive(Debug)]
pub struct Setup {
    lab: Laboratory,
    targets: Vec<String>,
    rules: Option<String>,
}

/// A Prometheus that runs.
#[derive(Debug)]
pub struct Prometheus {
    part: Part,
    port: u16,
}

impl Setup {
    pub(super) fn new(lab: Laboratory) -> Self {
        Self { lab, targets: Vec::new(), rules: None }
    }

    /// Whose `/metrics` to read, as `host:port`; itself if nobody is named.
    #[must_use]
    pub fn scrape(mut self, address: &str) -> Self {
        self.targets.push(address.to_owned());
        self
    }

    /// Alert and recording rules, as a file of rules has them.
    #[must_use]
    pub fn rules(mut self, yaml: &str) -> Self {
        self.rules = Some(yaml.to_owned());
        self
    }

    /// # Errors
    /// When Prometheus is missing and cannot be installed, or does not start, for instance because a rule is wrong.
    pub async fn start(self) -> Result<Prometheus> {
        let program = self.lab.install(|_| recipes::prometheus()).await?;
        let (part, [port]) = part::start(|[port]: [u16; 1]| self.plan(&program, port)).await?;
        Ok(Prometheus { part, port })
    }

    fn plan(&self, program: &Path, port: u16) -> Result<Plan> {
        let home = part::home("prometheus")?;
        let address = format!("127.0.0.1:{port}");
        let targets = if self.targets.is_empty() { &vec![address.clone()] } else { &self.targets };
        // Prometheus reads JSON as the YAML it is.
        let config = serde_json::json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": if self.rules.is_some() { vec!["rules.yaml"] } else { vec![] },
            "scrape_configs": [{"job_name": "laboratory", "static_configs": [{"targets": targets}]}],
        });
        part::write(&home.path().join("prometheus.yaml"), &config.to_string())?;
        part::write(&home.path().join("rules.yaml"), self.rules.as_deref().unwrap_or_default())?;
        let listen = format!("--web.listen-address={address}");
        let args = ["--config.file=prometheus.yaml", "--storage.tsdb.path=data", &listen, EXEMPLARS];
        Ok(Plan {
            part: "prometheus",
            program: program.to_owned(),
            args: args.map(str::to_owned).into(),
            env: Vec::new(),
            home,
            ready: Ready::Http(format!("http://{address}/-/ready")),
            patience: PATIENCE,
        })
    }
}

const EXEMPLARS: &str = "--enable-feature=exemplar-storage";

impl Prometheus {
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The `result` of an instant query.
    /// # Errors
    /// When the query is wrong.
    pub async fn query(&self, promql: &str) -> Result<Value> {
        let mut data = self.api(&format!("query?query={}", encoded(promql))).await?;
        Ok(data.get_mut("result").map(Value::take).unwrap_or_default())
    }

    /// The exemplars of the series in a query, of the last hour.
    /// # Errors
    /// When the query is wrong.
    pub async fn exemplars(&self, promql: &str) -> Result<Value> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
        let (start, end) = (now.saturating_sub(3_600), now + 60);
        self.api(&format!("query_exemplars?query={}&start={start}&end={end}", encoded(promql))).await
    }

    /// The `data` of any other answer of its API: `api("rules")`, `api("targets")`.
    /// # Errors
    /// When it does not answer with `success`.
    pub async fn api(&self, call: &str) -> Result<Value> {
        let url = format!("{}/api/v1/{call}", self.url());
        let body = http::get(&url).await.map_err(Error::io(format!("asking `{url}`")))?.body;
        let mut answer: Value = serde_json::from_str(&body).unwrap_or_default();
        match answer.get("status").and_then(Value::as_str) {
            Some("success") => Ok(answer.get_mut("data").map(Value::take).unwrap_or_default()),
            Some(_) | None => Err(Error::Asked { part: "prometheus", why: format!("`{call}`: {body}") }),
        }
    }
}

super::behaves_as_a_part!(Prometheus);
