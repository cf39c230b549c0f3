//! `reconcile` and `explain` with the audit log of a real MinIO, as its webhook sends it.

use std::process::{Command, Output};

use loadtest::laboratory::audit_sink::AuditSink;
use loadtest::laboratory::mc::Mc;
use loadtest::laboratory::minio::Minio;
use loadtest::laboratory::{Laboratory, require};
use serde_json::Value;

use super::support::{Countersign, Running, binary, eventually};

const TOKEN: &str = "Bearer minio";
/// What either log must go on after something, for its absence from it to be told from a delay.
const BEYOND: jiff::SignedDuration = jiff::SignedDuration::from_secs(6);

/// Fields are dropped in this order: whoever asks goes before whoever answers.
struct Stand {
    mc: Mc,
    minio: Minio,
    sink: AuditSink,
    proxy: Running,
    _opa: loadtest::laboratory::opa::Opa,
}

impl Stand {
    async fn start() -> Option<Self> {
        let lab = Laboratory::open().unwrap();
        let opa = require(lab.opa().start().await)?;
        // Often, so that the trail soon goes further than the last operation.
        let setup = Countersign::asking(&opa.url("minio/allow")).token(TOKEN).audit("checkpoint_every = \"1s\"");
        let proxy = setup.start().await;
        let sink = AuditSink::start(&proxy.home().join("minio-audit.jsonl")).await.unwrap();
        let minio = lab.minio().plugin(&proxy.url(), Some(TOKEN)).audit_to(&sink.url()).start().await;
        let minio = require(minio)?;
        let mc = minio.mc().unwrap().user("alice", "alice-secret").await.unwrap();
        let mc = mc.user("bob", "bob-secret").await.unwrap();
        Some(Self { mc, minio, sink, proxy, _opa: opa })
    }

    /// An object comes, is read, listed and goes; and somebody is refused.
    async fn work(&self) {
        let mc = &self.mc;
        std::fs::write(mc.home().join("a.txt"), "hello").unwrap();
        mc.run(&["mb", "root/reports"]).await.unwrap();
        mc.run(&["cp", "a.txt", "alice/reports/home/alice/a.txt"]).await.unwrap();
        mc.run(&["cat", "alice/reports/home/alice/a.txt"]).await.unwrap();
        mc.run(&["ls", "alice/reports/home/alice/"]).await.unwrap();
        mc.run(&["rm", "--recursive", "--force", "alice/reports/home/alice/"]).await.unwrap();
        assert_ne!(mc.attempt(&["cat", "bob/reports/home/alice/a.txt"]).await.unwrap().code, Some(0));
    }

    /// Waits until MinIO has written an entry of bob's, and both logs have gone on for long enough after it.
    async fn settled(&self) -> Value {
        let refused = eventually("bob is in the audit log", async || {
            self.sink
                .entries()
                .into_iter()
                .find(|entry| entry["accessKey"] == "bob" && entry["api"]["statusCode"] == 403)
        })
        .await;
        go_on(&self.sink, &self.mc, || self.report(&[]).0).await;
        refused
    }

    fn report(&self, more: &[&str]) -> (Value, Option<i32>) {
        let spool = self.proxy.spool().display().to_string();
        let file = self.sink.file().display().to_string();
        let ran = run(&[&["reconcile", "--spool", &spool, "--minio-audit", &file, "--json"], more].concat());
        (serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}")), ran.status.code())
    }
}

/// Waits until the trail is far enough beyond the last operation, and MinIO's log has gone on as well.
pub async fn go_on(sink: &AuditSink, mc: &Mc, report: impl Fn() -> Value) {
    eventually("the trail goes on", async || {
        let report = report();
        let last = |log: &str| report[log]["last"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        (last("records").duration_since(last("audit_log")) > BEYOND).then_some(())
    })
    .await;
    let before = sink.entries().len();
    mc.run(&["ls", "root"]).await.unwrap();
    eventually("so does the audit log", async || (sink.entries().len() > before).then_some(())).await;
}

/// The binary, with nothing from outside.
pub fn run(args: &[&str]) -> Output {
    Command::new(binary()).args(args).env_remove("COUNTERSIGN_CONFIG").output().unwrap()
}

#[tokio::test]
async fn both_logs_of_a_real_minio_explain_each_other() {
    let Some(mut stand) = Stand::start().await else { return };
    stand.work().await;
    let refused = stand.settled().await;
    let (report, code) = stand.report(&[]);
    let counts = &report["counts"];
    assert_eq!(code, Some(0), "nothing is unexplained: {report:#}");
    let count = |name: &str| counts[name].as_u64().unwrap();
    assert!(count("operations_joined") >= 10 && count("decisions_joined") >= 20, "{counts}");
    assert_eq!(count("decisions"), stand.proxy.decisions().len() as u64);

    // Bob's request, as he would have it: by MinIO's id.
    let (spool, file) = (stand.proxy.spool().display().to_string(), stand.sink.file().display().to_string());
    let id = refused["requestID"].as_str().unwrap();
    let explained = run(&["explain", "--spool", &spool, "--request-id", id, "--minio-audit", &file]);
    let text = String::from_utf8(explained.stdout).unwrap();
    assert_eq!(explained.status.code(), Some(1), "{text}");
    assert!(
        text.contains("by bob, status 403") && text.contains("Authorizer `authz` decided on route `default`: denied."),
        "{text}"
    );

    missing_decisions_show(&stand);
    a_minio_without_its_plugin_shows(&mut stand).await;
}

/// Records that somebody has taken away, and operations likewise.
fn missing_decisions_show(stand: &Stand) {
    let records = run(&["tail", "--spool", &stand.proxy.spool().display().to_string(), "--no-follow", "--json"]).stdout;
    let records = String::from_utf8(records).unwrap();
    let less: String =
        records.lines().filter(|line| !line.contains("s3:DeleteObject")).map(|line| format!("{line}\n")).collect();
    let file = stand.proxy.home().join("less.jsonl");
    std::fs::write(&file, less).unwrap();
    let [file, audit] = [file, stand.sink.file().to_owned()].map(|path| path.display().to_string());
    let ran = run(&["reconcile", "--file", &file, "--minio-audit", &audit]);
    let text = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(ran.status.code(), Some(1), "{text}");
    assert!(
        text.contains("1 WERE SERVED WITHOUT A DECISION") && text.contains("DeleteMultipleObjects  alice  reports"),
        "{text}"
    );

    let entries = std::fs::read_to_string(stand.sink.file()).unwrap();
    let less: String = entries
        .lines()
        .filter(|line| !line.contains("\"name\":\"GetObject\""))
        .map(|line| format!("{line}\n"))
        .collect();
    let file = stand.proxy.home().join("less-audit.jsonl");
    std::fs::write(&file, less).unwrap();
    let spool = stand.proxy.spool().display().to_string();
    let ran = run(&["reconcile", "--spool", &spool, "--minio-audit", &file.display().to_string(), "--examples", "1"]);
    let text = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(ran.status.code(), Some(1), "{text}");
    assert!(
        text.contains("HAVE NO OPERATION") && text.contains("s3:GetObject  alice  reports/home/alice/a.txt"),
        "{text}"
    );
}

/// What the comparison is for: the plugin was off for a while, and nothing else would have told.
async fn a_minio_without_its_plugin_shows(stand: &mut Stand) {
    let lab = Laboratory::open().unwrap();
    let other = lab.minio().audit_to(&stand.sink.url()).start().await.unwrap();
    let before = stand.report(&[]).0["counts"]["served_without_decision"].as_u64();
    assert_eq!(before, Some(0));
    other.mc().unwrap().run(&["mb", "root/unasked"]).await.unwrap();
    eventually("the bucket that nobody was asked about shows", async || {
        let (report, code) = stand.report(&[]);
        let found = &report["served_without_decision"];
        (code == Some(1) && found.to_string().contains("\"on\":\"unasked\"")).then_some(())
    })
    .await;
    assert!(stand.minio.is_running());
}
