//! Open Policy Agent as an authorizer.

use super::error::Result;
use super::part::{self, Part, Plan, Ready};
use super::{Laboratory, recipes};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// An OPA to be started.
#[derive(Debug)]
pub struct Setup {
    lab: Laboratory,
    policy: String,
    decision_log: bool,
}

/// An OPA that runs.
#[derive(Debug)]
pub struct Opa {
    part: Part,
    port: u16,
}

impl Setup {
    pub(super) fn new(lab: Laboratory) -> Self {
        Self { lab, policy: super::SAMPLE_POLICY.to_owned(), decision_log: false }
    }

    /// The policy, instead of the sample one.
    #[must_use]
    pub fn policy(mut self, rego: &str) -> Self {
        rego.clone_into(&mut self.policy);
        self
    }

    /// OPA's own decision log, to its console.
    #[must_use]
    pub fn decision_log(mut self) -> Self {
        self.decision_log = true;
        self
    }

    /// # Errors
    /// When Go is missing or OPA does not start, for instance because the policy is wrong.
    pub async fn start(self) -> Result<Opa> {
        let program = self.lab.install(recipes::opa).await?;
        let (part, [port]) = part::start(|[port]: [u16; 1]| self.plan(&program, port)).await?;
        Ok(Opa { part, port })
    }

    fn plan(&self, program: &Path, port: u16) -> Result<Plan> {
        let home = part::home("opa")?;
        part::write(&home.path().join("policy.rego"), &self.policy)?;
        let address = format!("127.0.0.1:{port}");
        // Without this OPA writes two lines for every request, decision log or not: as costly as the decision itself.
        let mut args = vec!["run", "--server", "--addr", &address, "--skip-version-check", "--log-level", "error"];
        args.extend(["--log-format", "json"]);
        if self.decision_log {
            args.extend(["--set", "decision_logs.console=true"]);
        }
        args.push("policy.rego");
        Ok(Plan {
            part: "opa",
            program: program.to_owned(),
            args: args.into_iter().map(str::to_owned).collect(),
            env: Vec::new(),
            ready: Ready::Http(format!("http://{address}/health")),
            home,
            patience: PATIENCE,
        })
    }
}

impl Opa {
    /// The address of a rule in OPA's data API: `url("minio/allow")`.
    pub fn url(&self, rule: &str) -> String {
        format!("http://127.0.0.1:{}/v1/data/{}", self.port, rule.trim_start_matches('/'))
    }

    /// What the decision log holds so far, oldest first.
    pub fn decisions(&self) -> Vec<Value> {
        let log = self.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line.get("decision_id").is_some()).collect()
    }
}

super::behaves_as_a_part!(Opa);
