//! `loadtest up`: everything real around a real Countersign, kept running for a person; and `loadtest install`.

use crate::laboratory::audit_sink::AuditSink;
use crate::laboratory::collector::Collector;
use crate::laboratory::countersign::Countersign;
use crate::laboratory::kafka::Kafka;
use crate::laboratory::mc::Mc;
use crate::laboratory::minio::{Minio, ROOT_PASSWORD, ROOT_USER};
use crate::laboratory::opa::Opa;
use crate::laboratory::prometheus::Prometheus;
use crate::laboratory::{Laboratory, Part};
use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

const TOPIC: &str = "countersign.decisions";
const CHECKPOINTS: &str = "countersign.checkpoints";
const BUCKET: &str = "reports";
/// What MinIO sends to Countersign as its whole `Authorization` header.
const MINIO_TOKEN: &str = "Bearer laboratory-minio";
/// What a person sends to the admin listener for anything that changes state.
const ADMIN_TOKEN: &str = "Bearer laboratory-admin";
/// A Countersign to use instead of building one.
const BINARY: &str = "COUNTERSIGN_BIN";
const WATCH: Duration = Duration::from_secs(1);

/// What runs. Fields are dropped in this order: whoever asks goes before whoever answers.
#[derive(Debug)]
pub struct Stand {
    mc: Mc,
    minio: Minio,
    audit: AuditSink,
    binary: PathBuf,
    environment: PathBuf,
    /// What `environment` was given.
    variables: String,
    prometheus: Prometheus,
    countersign: Countersign,
    collector: Collector,
    opa: Opa,
    kafka: Kafka,
}

/// Installs every part and says where it is.
/// # Errors
/// When a part could not be installed.
pub async fn install() -> anyhow::Result<()> {
    let lab = Laboratory::open()?;
    let parts = tokio::task::spawn_blocking(move || lab.install_all()).await?;
    for (part, outcome) in &parts {
        match outcome {
            Ok(path) => println!("{part:<12} {}", path.display()),
            Err(why) => println!("{part:<12} not installed: {why}"),
        }
    }
    if parts.iter().any(|(_, outcome)| outcome.is_err()) {
        bail!("not every part could be installed");
    }
    Ok(())
}

/// Runs the whole set until Ctrl-C or SIGTERM.
/// # Errors
/// When a part cannot be started, or ends while the others run.
pub async fn up() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let interrupted = async {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => (),
            _ = terminate.recv() => (),
        }
    };
    let run = async {
        let lab = Laboratory::open()?;
        let stand = start(&binary().await?, &lab.environment_file()).await?;
        stand.describe();
        stand.until_a_part_ends().await
    };
    tokio::select! {
        outcome = run => outcome,
        () = interrupted => {
            eprintln!("stopping …");
            Ok(())
        }
    }
}

/// Starts the whole set around the Countersign `binary`, and writes where everything is into `environment`, for shells.
/// # Errors
/// When a part cannot be started.
pub async fn start(binary: &Path, environment: &Path) -> anyhow::Result<Stand> {
    let lab = Laboratory::open()?;
    let kafka = started("kafka", lab.kafka().start().await)?;
    kafka.create_topic(TOPIC, 3).await?;
    kafka.create_topic(CHECKPOINTS, 1).await?;
    // With its log: without one OPA has no ids for its decisions.
    let opa = started("opa", lab.opa().decision_log().start().await)?;
    let collector = started("collector", lab.collector().start().await)?;
    let countersign = lab
        .countersign(binary)
        .config(&configuration(&kafka, &opa, &collector))
        .file("minio.token", MINIO_TOKEN)
        .file("admin.token", ADMIN_TOKEN);
    let countersign = started("countersign", countersign.start().await)?;
    countersign.until_recording().await?;
    let prometheus = started("prometheus", lab.prometheus().scrape(&countersign.admin()).start().await)?;
    // Last, and only now: a MinIO that finds nobody to ask serves root unasked.
    let audit = AuditSink::start(&countersign.home().join("minio-audit.jsonl")).await?;
    let minio = lab.minio().plugin(&countersign.url(), Some(MINIO_TOKEN)).audit_to(&audit.url()).start().await;
    let minio = started("minio", minio)?;
    let mc = minio.mc()?.user("alice", "alice-secret").await?.user("bob", "bob-secret").await?;
    mc.run(&["mb", &format!("root/{BUCKET}")]).await?;
    let (binary, environment) = (binary.to_owned(), environment.to_owned());
    let variables = String::new();
    let mut stand =
        Stand { mc, minio, audit, binary, environment, variables, prometheus, countersign, collector, opa, kafka };
    stand.variables = stand.variables()?;
    let file = &stand.environment;
    std::fs::write(file, &stand.variables).with_context(|| format!("writing `{}`", file.display()))?;
    Ok(stand)
}

fn started<T>(part: &str, outcome: crate::laboratory::Result<T>) -> anyhow::Result<T> {
    if outcome.is_ok() {
        eprintln!("{part} is up");
    }
    outcome.with_context(|| format!("starting {part}"))
}

fn configuration(kafka: &Kafka, opa: &Opa, collector: &Collector) -> String {
    format!(
        r#"instance = "laboratory"
[listen]
address = "127.0.0.1:{{port}}"
tokens = [{{ name = "minio", file = "{{dir}}/minio.token" }}]
drain = "1s"
[admin]
address = "127.0.0.1:{{admin_port}}"
token = {{ file = "{{dir}}/admin.token" }}
[[authorizer]]
name = "opa"
url = "{opa}"
[audit]
spool = "{{dir}}/spool"
[kafka]
brokers = ["{brokers}"]
topic = "{TOPIC}"
checkpoint_topic = "{CHECKPOINTS}"
[otlp]
endpoint = "{collector}"
sample = 1.0
[log]
format = "text"
"#,
        opa = opa.url("minio/allow"),
        brokers = kafka.bootstrap(),
        collector = collector.endpoint(),
    )
}

/// The Countersign that `COUNTERSIGN_BIN` names, or one built from this workspace.
pub(crate) async fn binary() -> anyhow::Result<PathBuf> {
    if let Some(binary) = std::env::var_os(BINARY) {
        return std::path::absolute(&binary).with_context(|| format!("{BINARY} is no path"));
    }
    eprintln!("building countersign (set {BINARY} to use one that exists) …");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut cargo = tokio::process::Command::new("cargo");
    cargo.current_dir(workspace).args(["build", "--release", "-p", "countersign", "--bin", "countersign"]);
    cargo.args(["--message-format", "json-render-diagnostics"]).stderr(std::process::Stdio::inherit());
    let built = cargo.kill_on_drop(true).output().await.context("running `cargo`")?;
    if !built.status.success() {
        bail!("countersign could not be built");
    }
    let messages = String::from_utf8_lossy(&built.stdout);
    let mut messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let executable = messages.find_map(|message| message.get("executable")?.as_str().map(PathBuf::from));
    executable.context("cargo named no executable")
}

impl Stand {
    fn describe(&self) {
        let rows = [
            (
                "MinIO",
                self.minio.url(),
                format!("{ROOT_USER} / {ROOT_PASSWORD}; alice / alice-secret; bob / bob-secret"),
            ),
            ("Countersign", self.countersign.url(), format!("Authorization: {MINIO_TOKEN}")),
            ("  admin", format!("http://{}", self.countersign.admin()), format!("Authorization: {ADMIN_TOKEN}")),
            ("OPA", self.opa.url("minio/allow"), "root everything, alice below home/alice/, bob nothing".to_owned()),
            ("Kafka", self.kafka.bootstrap(), format!("{TOPIC}, {CHECKPOINTS}")),
            ("Collector", self.collector.endpoint(), self.collector.log_file().display().to_string()),
            ("Prometheus", self.prometheus.url(), format!("scrapes {}", self.countersign.admin())),
        ];
        println!();
        for (part, address, remark) in rows {
            println!("{part:<12} {address:<44} {remark}");
        }
        println!("\nspool        {}", self.countersign.spool().display());
        println!("MinIO audit  {}", self.audit.file().display());
        println!("OPA's log    {}", self.opa.log_file().display());
        println!("log          {}", self.countersign.log_file().display());
        println!("\nTry, in another terminal:\n");
        println!("  . {}", self.environment.display());
        println!("  mc cp FILE alice/{BUCKET}/home/alice/");
        println!("  countersign tail --brokers {} --topic {TOPIC} --from-start", self.kafka.bootstrap());
        println!("  http://{}/status in a browser", self.countersign.admin());
        println!("\nOr follow docs/TUTORIAL.md from `Look` on. Ctrl-C stops everything.");
    }

    /// The same for shells: addresses, files, credentials of the laboratory, and where its programs are.
    fn variables(&self) -> anyhow::Result<String> {
        let directory = |program: &Path| program.parent().map(|parent| parent.display().to_string());
        let programs = [directory(&self.binary), directory(self.mc.program())].map(Option::unwrap_or_default).join(":");
        let host = |user: &str, secret: &str| self.minio.url().replace("http://", &format!("http://{user}:{secret}@"));
        let opa = self.opa.pid().context("OPA has ended")?;
        let rows = [
            ("ADMIN", self.countersign.admin()),
            ("KAFKA", self.kafka.bootstrap()),
            ("TOPIC", TOPIC.to_owned()),
            ("CHECKPOINTS", CHECKPOINTS.to_owned()),
            ("PUBLIC_KEY", self.countersign.spool().join("signing.pub").display().to_string()),
            ("COLLECTOR_LOG", self.collector.log_file().display().to_string()),
            ("OPA_LOG", self.opa.log_file().display().to_string()),
            ("MINIO_AUDIT", self.audit.file().display().to_string()),
            ("OPA_PID", opa.to_string()),
            ("MC_HOST_root", host(ROOT_USER, ROOT_PASSWORD)),
            ("MC_HOST_alice", host("alice", "alice-secret")),
            ("MC_HOST_bob", host("bob", "bob-secret")),
        ];
        let rows = rows.map(|(name, value)| format!("export {name}='{value}'\n"));
        Ok(rows.concat() + &format!("export PATH='{programs}':\"$PATH\"\n"))
    }

    fn parts(&self) -> [(&str, &Part); 6] {
        [
            ("minio", &self.minio),
            ("prometheus", &self.prometheus),
            ("countersign", &self.countersign),
            ("collector", &self.collector),
            ("opa", &self.opa),
            ("kafka", &self.kafka),
        ]
    }

    async fn until_a_part_ends(&self) -> anyhow::Result<()> {
        loop {
            if let Some((name, part)) = self.parts().into_iter().find(|(_, part)| !part.is_running()) {
                bail!("{name} ended by itself:\n{}", part.log_tail());
            }
            tokio::time::sleep(WATCH).await;
        }
    }
}

impl Drop for Stand {
    /// What the file says is true no longer, unless another set has written it since.
    fn drop(&mut self) {
        if std::fs::read_to_string(&self.environment).is_ok_and(|there| there == self.variables) {
            std::fs::remove_file(&self.environment).ok();
        }
    }
}
