//! Completeness against a witness that knows nothing of us: a real MinIO's own audit log, and beside it a workload of several
//! clients that counts each request as it sends it. What was asked has its decisions; what was not is counted apart, by reason.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Command;

use countersign::policy::limited::sha256_hex;
use loadtest::figures::Claim;
use loadtest::laboratory::audit_sink::AuditSink;
use loadtest::laboratory::mc::Mc;
use loadtest::laboratory::minio::Minio;
use loadtest::laboratory::{Laboratory, require};
use loadtest::stub::{Answer, Script, Stub};
use serde::Deserialize;
use serde_json::Value;

use crate::reconcile::{go_on, run};
use crate::support::{Countersign, Running, count, eventually};

const TOKEN: &str = "Bearer minio";
const BUCKET: &str = "witnessed";
/// Another number of requests.
const OPERATIONS: &str = "COUNTERSIGN_WITNESS_OPERATIONS";

/// What the workload says of itself.
#[derive(Debug, Deserialize)]
struct Ledger {
    requests: u64,
    /// By who sent them.
    kinds: BTreeMap<String, u64>,
    wrong: Vec<String>,
}

impl Ledger {
    fn of(&self, kind: &str) -> u64 {
        self.kinds.get(kind).copied().unwrap_or(0)
    }
}

/// Fields are dropped in this order: whoever asks goes before whoever answers.
struct Stand {
    mc: Mc,
    minio: Minio,
    sink: AuditSink,
    proxy: Running,
    stub: Stub,
}

/// How often MinIO asks for one request, by who sent it and what it is: read from its source, then seen, and not found out here.
/// A PUT is asked about before its signature is looked at, a GET after it; nobody is asked about what is anonymous, and bucket
/// policies decide that; credentials are given by MinIO alone.
fn questions(sender: &str, api: &str) -> Option<u64> {
    match (sender, api) {
        ("denied" | "impostor", "PutObject") => Some(1),
        ("denied", "GetObject") => Some(2),
        ("impostor" | "anonymous", "GetObject") | ("sts", "AssumeRole") => Some(0),
        ("user" | "presigned" | "service-account" | "temporary", "GetObject") => Some(3),
        ("user" | "presigned" | "temporary", "PutObject") => Some(2),
        ("user", "HeadObject" | "CopyObject") => Some(3),
        ("user", "ListObjectsV2" | "PutObjectTagging" | "GetObjectTagging" | "DeleteObject") => Some(1),
        _ => None,
    }
}

/// Of an entry's request, as a record has it.
fn signature(entry: &Value) -> Option<String> {
    let header = entry["requestHeader"]["Authorization"].as_str().and_then(|text| text.split("Signature=").nth(1));
    let bare = header.or_else(|| entry["requestQuery"]["X-Amz-Signature"].as_str())?;
    Some(sha256_hex(bare.as_bytes()))
}

impl Stand {
    async fn start() -> Option<Self> {
        let lab = Laboratory::open().unwrap();
        let stub = Stub::start(Script::by(|received| {
            let asked: Value = serde_json::from_slice(&received.body).unwrap_or_default();
            if asked["input"]["account"] == "bob" { Answer::deny() } else { Answer::allow() }
        }))
        .await
        .unwrap();
        // Often, so that the trail soon goes further than the last operation.
        let setup = Countersign::asking(&stub.url()).token(TOKEN).audit("checkpoint_every = \"1s\"");
        let proxy = setup.start().await;
        let sink = AuditSink::start(&proxy.home().join("minio-audit.jsonl")).await.unwrap();
        let minio = lab.minio().plugin(&proxy.url(), Some(TOKEN)).audit_to(&sink.url()).start().await;
        let minio = require(minio)?;
        let mc = minio.mc().unwrap().user("alice", "alice-secret").await.unwrap();
        let mc = mc.user("bob", "bob-secret").await.unwrap();
        let service = ["--access-key", "service-account", "--secret-key", "service-secret"];
        mc.run(&[&["admin", "user", "svcacct", "add", "root", "alice"][..], &service].concat()).await.unwrap();
        mc.run(&["mb", &format!("root/{BUCKET}")]).await.unwrap();
        Some(Self { mc, minio, sink, proxy, stub })
    }

    fn work(&self, program: &Path, operations: u64) -> Ledger {
        let mut command = Command::new(program);
        command.args([&self.minio.url(), BUCKET, &operations.to_string()]);
        for (name, user, secret) in [
            ("ALICE", "alice", "alice-secret"),
            ("BOB", "bob", "bob-secret"),
            ("SERVICE", "service-account", "service-secret"),
        ] {
            command.env(format!("{name}_USER"), user).env(format!("{name}_SECRET"), secret);
        }
        let ran = command.output().unwrap();
        serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"))
    }

    /// MinIO's client is one more.
    async fn work_with_mc(&self) {
        std::fs::write(self.mc.home().join("a.txt"), "hello").unwrap();
        for args in [
            &["cp", "a.txt", "alice/witnessed/mc/a.txt"][..],
            &["cat", "alice/witnessed/mc/a.txt"],
            &["ls", "--recursive", "alice/witnessed/mc/"],
            &["stat", "alice/witnessed/mc/a.txt"],
            &["rm", "--recursive", "--force", "alice/witnessed/mc/"],
        ] {
            self.mc.run(args).await.unwrap();
        }
        assert_ne!(self.mc.attempt(&["cat", "bob/witnessed/mc/a.txt"]).await.unwrap().code, Some(0));
    }

    /// Entries of the workload's own requests.
    fn witnessed(&self) -> Vec<Value> {
        let entries = self.sink.entries().into_iter();
        entries.filter(|entry| entry["userAgent"].as_str().is_some_and(|agent| agent.starts_with("witness "))).collect()
    }

    /// Waits until MinIO has written all of them, and both logs have gone on for long enough after it.
    async fn settled(&self, requests: u64) {
        let all = async || (self.witnessed().len() as u64 >= requests).then_some(());
        eventually("every request is in the audit log", all).await;
        go_on(&self.sink, &self.mc, || self.report(&self.proxy_args()).0).await;
    }

    /// Each request of the workload with another number of decisions than it has questions.
    fn unlike(&self) -> Vec<String> {
        let mut decided: HashMap<String, u64> = HashMap::new();
        for record in self.proxy.decisions() {
            if let Some(signature) = record["data"]["request"]["signature_sha256"].as_str() {
                *decided.entry(signature.to_owned()).or_default() += 1;
            }
        }
        let mut unlike = Vec::new();
        for entry in self.witnessed() {
            let sender = entry["userAgent"].as_str().unwrap().trim_start_matches("witness ");
            let api = entry["api"]["name"].as_str().unwrap();
            let found = signature(&entry).and_then(|signature| decided.get(&signature).copied()).unwrap_or(0);
            if questions(sender, api) != Some(found) {
                unlike.push(format!("{sender} {api} {}: {found}", entry["api"]["object"]));
            }
        }
        unlike
    }

    fn proxy_args(&self) -> [String; 2] {
        ["--spool".to_owned(), self.proxy.spool().display().to_string()]
    }

    fn report(&self, records: &[String; 2]) -> (Value, Option<i32>) {
        let audit = self.sink.file().display().to_string();
        let ran = run(&["reconcile", &records[0], &records[1], "--minio-audit", &audit, "--json"]);
        (serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}")), ran.status.code())
    }

    /// The trail without one record, which was the only one of an operation: named by MinIO's id of that.
    fn without_one_record(&self) -> ([String; 2], String) {
        let entries = self.witnessed();
        let entry = entries.iter().find(|entry| entry["api"]["name"] == "GetObjectTagging").expect("tags are read");
        let object = entry["api"]["object"].as_str().unwrap();
        let lines = run(&["tail", "--no-follow", "--json", "--spool", &self.proxy_args()[1]]).stdout;
        let lines = String::from_utf8(lines).unwrap();
        let is_gone = |line: &&str| {
            let record: Value = serde_json::from_str(line).unwrap();
            let data = &record["data"];
            data["action"] == "s3:GetObjectTagging" && data["resource"]["object"] == object
        };
        let (gone, left): (Vec<&str>, Vec<&str>) = lines.lines().partition(is_gone);
        assert_eq!(gone.len(), 1, "{gone:?}");
        let file = self.proxy.home().join("without-one.jsonl");
        std::fs::write(&file, left.join("\n") + "\n").unwrap();
        (["--file".to_owned(), file.display().to_string()], entry["requestID"].as_str().unwrap().to_owned())
    }
}

fn operations() -> u64 {
    count(OPERATIONS, 1_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_minio_served_has_its_decisions() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/go_workload");
    let Some(program) = require(Laboratory::open().unwrap().go_program("go-workload", &source).await) else { return };
    let Some(stand) = Stand::start().await else { return };
    stand.work_with_mc().await;
    let ledger = tokio::task::block_in_place(|| stand.work(&program, operations()));
    assert_eq!(ledger.wrong, Vec::<String>::new(), "every request was answered as it should have been");
    stand.settled(ledger.requests).await;
    assert_eq!(stand.witnessed().len() as u64, ledger.requests, "MinIO saw what was sent, and nothing else");

    let (report, code) = stand.report(&stand.proxy_args());
    let count = |name: &str| report["counts"][name].as_u64().unwrap();
    let counts = &report["counts"];
    assert_eq!(code, Some(0), "nothing is unexplained: {report:#}");
    assert_eq!((count("served_without_decision"), count("decisions_without_operation")), (0, 0));
    // Who is not asked about, and why: nobody signed, credentials are not given by policy, the secret was wrong.
    assert_eq!(count("operations_unsigned"), ledger.of("anonymous"), "{counts}");
    assert_eq!(count("operations_never_asked"), ledger.of("sts"), "{counts}");
    // Half of the impostor's are questions: a PUT is asked about before its signature is looked at.
    assert_eq!(count("refused_without_decision"), wrong_secrets(&stand), "{counts}");
    let apart = ["operations_unsigned", "operations_never_asked", "refused_without_decision", "operations_outside"];
    let apart: u64 = apart.map(count).iter().sum();
    assert_eq!(count("operations"), count("operations_joined") + apart, "{counts}");
    let decisions = ["decisions_joined", "decisions_unsigned", "decisions_outside"].map(count).iter().sum::<u64>();
    assert_eq!((count("decisions"), decisions), (stand.proxy.decisions().len() as u64, count("decisions")), "{counts}");

    assert_eq!(stand.unlike(), Vec::<String>::new(), "each question has its decision, and no other");
    assert_eq!(stand.stub.asked(), count("decisions"), "who was asked says the same");

    let (less, id) = stand.without_one_record();
    let (lacking, code) = stand.report(&less);
    assert_eq!((code, &lacking["counts"]["served_without_decision"]), (Some(1), &Value::from(1)), "{lacking:#}");
    assert_eq!(lacking["served_without_decision"][0]["id"], id);

    Claim::new("witness", "cargo test -p countersign --test integration witness")
        .figure("requests that were sent", ledger.requests)
        .figure("operations in MinIO's audit log", count("operations"))
        .figure("with decisions", count("operations_joined"))
        .figure("anonymous", count("operations_unsigned"))
        .figure("giving credentials", count("operations_never_asked"))
        .figure("refused by MinIO itself", count("refused_without_decision"))
        .figure("decisions", count("decisions"))
        .figure("served without a decision", count("served_without_decision"))
        .figure("decisions without an operation", count("decisions_without_operation"))
        .control("a record that is taken out is named by its operation")
        .write()
        .unwrap();
}

/// Requests with a wrong secret that MinIO looks at before it asks anybody.
fn wrong_secrets(stand: &Stand) -> u64 {
    let entries = stand.witnessed();
    let of = |entry: &&Value| entry["userAgent"] == "witness impostor" && entry["api"]["name"] == "GetObject";
    entries.iter().filter(of).count() as u64
}
