//! `loadtest pictures`: a Countersign through five minutes of good and bad times, and what the dashboards and the status page
//! showed of them as PNG. Grafana itself is not needed: `dashboards/source/draw.py` draws the panels of the same JSON from the same
//! Prometheus. For docs/; nothing is measured or asserted here.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};

use crate::laboratory::browser::{Browser, Window};
use crate::laboratory::countersign::Countersign;
use crate::laboratory::kafka::Kafka;
use crate::laboratory::prometheus::Prometheus;
use crate::laboratory::{Laboratory, http};
use crate::load::{Load, Mix, Running};
use crate::question::Question;
use crate::stub::{Answer, Script, Stub};
use crate::up;

const TOPIC: &str = "countersign.decisions";
const CHECKPOINTS: &str = "countersign.checkpoints";
/// Somebody whose certificate will end; nobody is behind the address that it is for.
const AUTHORITY: &str = include_str!("pictures/ca.pem");
const DASHBOARDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../dashboards");

/// Draw the dashboards with real data, for docs/
#[derive(Debug, clap::Args)]
pub struct Command {
    /// Where the PNG files go
    #[arg(long, default_value = "docs/pictures")]
    out: PathBuf,
}

impl Command {
    /// # Errors
    /// When a part cannot be started, or the drawing fails.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        crate::runtime(2)?.block_on(draw(&self.out)).map(|()| ExitCode::SUCCESS)
    }
}

/// Fields are dropped in this order: whoever asks goes before whoever answers.
struct Stage {
    loads: Vec<Running>,
    prometheus: Prometheus,
    countersign: Countersign,
    opa: Stub,
    _legacy: Stub,
    kafka: Kafka,
}

async fn draw(out: &Path) -> anyhow::Result<()> {
    let lab = Laboratory::open()?;
    let packages = lab.python_packages(&Path::new(DASHBOARDS).join("source/requirements-draw.txt")).await?;
    let mut stage = Stage::set(&lab).await?;
    let begun = now()?;
    std::fs::create_dir_all(out).with_context(|| format!("making `{}`", out.display()))?;
    stage.play(&lab, out).await?;
    let url = stage.prometheus.url();
    let mut python = tokio::process::Command::new("python3");
    python.env("PYTHONPATH", packages).arg(Path::new(DASHBOARDS).join("source/draw.py"));
    python.args(["--prometheus", &url, "--start", &begun.to_string(), "--end", &now()?.to_string()]);
    let drawn = python.arg("--out").arg(out).status().await.context("running `python3`")?;
    ensure!(drawn.success(), "the pictures could not be drawn");
    for load in stage.loads {
        load.stop().await?;
    }
    Ok(())
}

fn now() -> anyhow::Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

fn configuration(kafka: &Kafka, opa: &Stub, legacy: &Stub) -> String {
    format!(
        r#"instance = "minio-eu1"
[listen]
address = "127.0.0.1:{{port}}"
drain = "0s"
[admin]
address = "127.0.0.1:{{admin_port}}"
[[authorizer]]
name = "opa"
url = "{opa}"
[[authorizer]]
name = "legacy"
url = "{legacy}"
[[authorizer]]
name = "partner"
url = "https://127.0.0.1:1/"
tls = {{ ca = "{{dir}}/ca.pem", server_name = "partner.test" }}
[[route]]
name = "archive"
match = {{ bucket = ["archive"] }}
ask = ["legacy"]
cache = {{ allow_ttl = "0s", deny_ttl = "0s" }}
[[route]]
name = "partner"
match = {{ bucket = ["partner"] }}
ask = ["partner"]
[[route]]
name = "default"
ask = ["opa"]
[audit]
spool = "{{dir}}/spool"
max_size = "256MiB"
[kafka]
brokers = ["{brokers}"]
topic = "{TOPIC}"
checkpoint_topic = "{CHECKPOINTS}"
[otlp]
endpoint = "http://127.0.0.1:1"
sample = 0.002
always = ["slow"]
[log]
format = "text"
"#,
        opa = opa.url(),
        legacy = legacy.url(),
        brokers = kafka.bootstrap(),
    )
}

/// Alice may, nobody else; as fast as a real one.
fn policy(after: Duration) -> Script {
    Script::by(move |received| {
        let may = String::from_utf8_lossy(&received.body).contains("\"account\":\"alice\"");
        let answer = if may { Answer::allow() } else { Answer::deny() };
        answer.after(after)
    })
}

/// Who asks what: account, actions with shares, bucket, questions a second, objects.
const ASKED: [(&str, &str, &str, f64, u64); 5] = [
    ("alice", "s3:GetObject=8,s3:PutObject=2,s3:ListBucket=1", "photos", 120.0, 900),
    ("alice", "s3:GetObject", "archive", 25.0, 5_000),
    ("bob", "s3:GetObject=3,s3:DeleteObject=1", "photos", 12.0, 400),
    ("bob", "s3:GetObjectRetention=2,s3:ListAllMyBuckets=1", "photos", 8.0, 100),
    ("alice", "s3:GetObject", "partner", 0.5, 10),
];

impl Stage {
    async fn set(lab: &Laboratory) -> anyhow::Result<Self> {
        let binary = up::binary().await?;
        let kafka = lab.kafka().start().await?;
        kafka.create_topic(TOPIC, 3).await?;
        kafka.create_topic(CHECKPOINTS, 1).await?;
        let opa = Stub::start(policy(Duration::from_millis(1))).await?;
        let legacy = Stub::start(policy(Duration::from_millis(18))).await?;
        let countersign =
            lab.countersign(&binary).config(&configuration(&kafka, &opa, &legacy)).file("ca.pem", AUTHORITY);
        let countersign = countersign.start().await?;
        countersign.until_recording().await?;
        let prometheus = lab.prometheus().scrape(&countersign.admin()).start().await?;
        let mut loads = Vec::new();
        for (account, actions, bucket, rate, objects) in ASKED {
            let make = |action: &str| Question::new(account, action, bucket, "2026/########.jpg");
            let mix = Mix::parse(actions, make)?.objects(objects);
            loads.push(Load::new(countersign.url()).connections(8).rate(rate).mix(mix).start().await?);
        }
        Ok(Self { loads, prometheus, countersign, opa, _legacy: legacy, kafka })
    }

    /// Good times, a slow authorizer, one that answers nothing, no Kafka, and somebody at the wrong door.
    async fn play(&mut self, lab: &Laboratory, out: &Path) -> anyhow::Result<()> {
        say("all is well", 60).await;
        self.opa.set(policy(Duration::from_millis(180)));
        say("the authorizer is slow", 45).await;
        self.opa.set(policy(Duration::from_millis(1)));
        say("all is well", 30).await;
        self.opa.set(Script::by(|received| {
            if received.body.len() % 2 == 0 { Answer::new("{}") } else { Answer::deny().status(500) }
        }));
        say("the authorizer answers nothing that decides", 30).await;
        self.opa.set(policy(Duration::from_millis(1)));
        say("all is well", 20).await;
        self.kafka.stop().await;
        say("no Kafka", 60).await;
        self.status(lab, out).await?;
        self.kafka.start_again().await?;
        eprintln!("somebody asks what MinIO would not");
        for _ in 0..80 {
            http::post_json(&self.countersign.url(), "{").await?;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        http::post_json(&self.countersign.url(), "").await?;
        say("all is well", 40).await;
        Ok(())
    }

    /// The page for people as it is now.
    async fn status(&self, lab: &Laboratory, out: &Path) -> anyhow::Result<()> {
        let mut browser = Browser::start(lab).await?;
        let url = format!("http://{}/status", self.countersign.admin());
        browser.visit(&url, Window::DESK).await?;
        browser.picture(&out.join("status.png")).await?;
        Ok(())
    }
}

async fn say(what: &str, seconds: u64) {
    eprintln!("{what}: {seconds} s …");
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
