//! `docs/CONSUMING.md`: every recipe that is not under "Not tested", run against a real Kafka with real records, and the ten
//! questions of an auditor, each with its answer.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use loadtest::laboratory::kafka::Kafka;
use loadtest::laboratory::{Laboratory, require};
use loadtest::stub::{Answer, Script, Stub};
use serde_json::{Value, json};

use super::support::page::{Block, blocks};
use super::support::stand::{TOPIC, published};
use super::support::{Countersign, Running, question};

const PAGE: &str = "CONSUMING.md";
const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/consuming/requirements.txt");
/// Runs statements from standard input, and prints the rows of the last one as JSON.
const DUCKDB: &str = "
import duckdb, json, sys
connection = duckdb.connect()
rows = connection.execute(sys.stdin.read()).fetchall()
print(json.dumps([[value if isinstance(value, (int, float, type(None))) else str(value) for value in row] for row in rows]))
";

/// Where recipes are run, and what they need.
struct Desk {
    kafka: Kafka,
    packages: PathBuf,
    home: tempfile::TempDir,
}

/// Root may all, alice all but buckets, bob nothing; for anybody else there is no answer.
fn policy() -> Script {
    Script::by(|received| {
        let body = String::from_utf8_lossy(&received.body).into_owned();
        let by = |account: &str| body.contains(&format!("\"account\":\"{account}\""));
        if by("bob") || (by("alice") && body.contains("s3:DeleteBucket")) {
            Answer::deny()
        } else if by("alice") || by("root") {
            Answer::allow()
        } else {
            Answer::new("{}")
        }
    })
}

async fn decided(kafka: &Kafka) -> (Running, Stub) {
    let stub = Stub::start(policy()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).cache("allow_ttl = \"60s\"").on_missing_volume();
    let proxy = proxy.kafka(&kafka.bootstrap(), TOPIC).start_unready().await;
    // An outage that ends, with exactly two answers refused.
    for _ in 0..2 {
        assert_eq!(proxy.ask(&question("alice", "s3:GetObject", "photos", "2026/a.jpg")).await.status, 503);
    }
    std::fs::create_dir_all(proxy.spool().parent().unwrap()).unwrap();
    proxy.available().await;
    for (account, action, object) in [
        ("alice", "s3:GetObject", "2026/a.jpg"),
        ("alice", "s3:GetObject", "2026/a.jpg"),
        ("alice", "s3:GetObject", "2025/b.jpg"),
        ("alice", "s3:DeleteObject", "2026/old.jpg"),
        ("alice", "s3:DeleteBucket", ""),
        ("bob", "s3:GetObject", "2026/a.jpg"),
        ("bob", "s3:GetObjectRetention", "2026/a.jpg"),
        ("mallory", "s3:GetObject", "2026/a.jpg"),
    ] {
        proxy.ask(&question(account, action, "photos", object)).await;
    }
    for query in [json!({"policyName": ["readwrite"], "userOrGroup": ["bob"]}), json!({})] {
        let mut asked = question("root", "admin:UpdatePolicyAssociation", "", "");
        asked["input"]["owner"] = true.into();
        asked["input"]["conditions"].as_object_mut().unwrap().extend(query.as_object().unwrap().clone());
        proxy.ask(&asked).await;
    }
    (proxy, stub)
}

impl Desk {
    /// `None` where this machine cannot, which has been said.
    async fn set() -> Option<Self> {
        let lab = Laboratory::open().unwrap();
        for (program, package) in [("kcat", "kcat"), ("jq", "jq")] {
            require(lab.debian_program(program, package).await)?;
        }
        let packages = require(lab.python_packages(Path::new(REQUIREMENTS)).await)?;
        let kafka = require(lab.kafka().start().await)?;
        kafka.create_topic(TOPIC, 3).await.unwrap();
        let (proxy, _stub) = decided(&kafka).await;
        published(&kafka, &proxy).await;
        Some(Self { kafka, packages, home: tempfile::tempdir().unwrap() })
    }

    /// A block as somebody would run it who has these brokers.
    fn here(&self, text: &str) -> String {
        text.replace("localhost:9092", &self.kafka.bootstrap())
    }

    async fn run(&self, program: &str, args: &[&str], input: &str) -> String {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.home.path()).env("PYTHONPATH", &self.packages);
        let file = self.home.path().join("input");
        std::fs::write(&file, input).unwrap();
        command.stdin(std::fs::File::open(file).unwrap());
        let ran = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let Output { status, stdout, stderr } = ran;
        assert!(status.success(), "{input}\n{}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }

    async fn sh(&self, block: &Block) -> String {
        self.run("bash", &["-euo", "pipefail", "-c", &self.here(&block.text)], "").await
    }

    /// The page's dates, where today is.
    async fn sql(&self, text: &str) -> Vec<Vec<Value>> {
        let mut text = text.to_owned();
        for (date, here) in [("2026-11-01", "- INTERVAL 1 DAY"), ("2026-01-01", "- INTERVAL 1 DAY")] {
            text = text.replace(&format!("TIMESTAMP '{date}'"), &format!("(now()::TIMESTAMP {here})"));
        }
        for date in ["2026-12-01", "2027-01-01"] {
            text = text.replace(&format!("TIMESTAMP '{date}'"), "(now()::TIMESTAMP + INTERVAL 1 DAY)");
        }
        serde_json::from_str(&self.run("python3", &["-c", DUCKDB], &text).await).unwrap()
    }
}

fn of<'b>(blocks: &'b [Block], heading: &str, language: &str) -> Vec<&'b Block> {
    blocks.iter().filter(|block| block.heading == heading && block.language == language).collect()
}

#[tokio::test]
async fn every_recipe_does_what_the_page_says() {
    let Some(desk) = Desk::set().await else { return };
    let blocks = blocks(PAGE);
    let [denied, reasons, events] = of(&blocks, "kcat and jq", "sh")[..] else { panic!("three recipes for kcat") };
    let denied = desk.sh(denied).await;
    let of_bob = denied.lines().filter(|line| line.contains("\tbob\ts3:GetObject\tphotos/2026/a.jpg\tdenied")).count();
    assert_eq!(
        (of_bob, denied.lines().count()),
        (1, 3),
        "bob, alice's bucket and mallory, and no advisory one:\n{denied}"
    );
    let reasons = desk.sh(reasons).await;
    let counted = |reason: &str| reasons.lines().any(|line| line.split_whitespace().eq(reason.split(' ')));
    assert!(counted("6 allowed") && counted("3 denied") && counted("1 undefined"), "{reasons}");
    let events = desk.sh(events).await;
    assert!(events.contains("\"event\":\"chain_opened\"") && events.contains("\"event\":\"outage_ended\""), "{events}");

    let [python] = of(&blocks, "Python", "python")[..] else { panic!("one program") };
    let printed = desk.run("python3", &["-"], &desk.here(&python.text)).await;
    assert_eq!(printed.lines().count(), 3, "{printed}");
    assert!(printed.contains(" bob s3:GetObject photos/2026/a.jpg denied partition "), "{printed}");
    let again = desk.run("python3", &["-"], &desk.here(&python.text)).await;
    assert_eq!(again, "", "what the group has committed does not come again");

    let [fetch] = of(&blocks, "DuckDB", "sh")[..] else { panic!("one way to fetch") };
    desk.sh(fetch).await;
    let [views] = of(&blocks, "DuckDB", "sql")[..] else { panic!("one block of views") };
    let mut answered = BTreeSet::new();
    for question in blocks.iter().filter(|block| block.language == "sql" && *block != views) {
        let number = question.heading.split('.').next().unwrap().parse().unwrap();
        let rows = desk.sql(&format!("{}\n{}", views.text, question.text)).await;
        answers(number, &rows);
        answered.insert(number);
    }
    assert_eq!(answered, (1..=10).collect(), "each question has its statement");
}

/// What each question must find among the records above.
fn answers(question: u32, rows: &[Vec<Value>]) {
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let has =
        |words: &[&str]| rows.iter().any(|row| words.iter().all(|word| row.iter().any(|value| shown(value) == *word)));
    let found = match question {
        1 => rows.len() == 1 && has(&["alice", "2026/a.jpg", "2"]),
        2 => rows.len() == 1 && has(&["s3:DeleteBucket", "denied", "authz"]),
        3 => rows.len() == 2 && has(&["root", "userOrGroup=bob&policyName=readwrite", "allow"]),
        4 => rows.len() == 1 && has(&["alice", "s3:DeleteObject", "2026/old.jpg", "allow"]),
        5 => rows.len() == 1 && rows[0][2] == 0 && shown(&rows[0][6]) == "0",
        6 => rows.len() == 1 && has(&["undefined", "1"]),
        7 => rows.len() == 2 && has(&["root", "admin:UpdatePolicyAssociation", "203.0.113.9"]),
        8 => has(&["chain_opened"]) && has(&["outage_ended"]),
        9 => rows.len() == 1 && has(&["audit", "2"]),
        10 => rows.len() == 1 && has(&["alice", "s3:GetObject", "photos/2026/a.jpg"]),
        other => panic!("question {other} has no expectation here"),
    };
    assert!(found, "question {question}: {rows:?}");
}

#[test]
fn the_page_keeps_its_promises_about_itself() {
    let blocks = blocks(PAGE);
    let numbers: BTreeSet<&str> =
        blocks.iter().filter_map(|block| block.heading.split_once(". ")).map(|(n, _)| n).collect();
    assert_eq!(numbers.len(), 10, "{numbers:?}");
    // What is not run is not marked as something that could be.
    let languages = |block: &&Block| block.heading == "Not tested";
    assert!(blocks.iter().filter(languages).count() == 4);
    assert!(blocks.iter().all(|block| (block.heading == "Not tested") == (block.language == "text")), "{blocks:?}");
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(PAGE)).unwrap();
    let sections = page.split("\n### ").skip(1);
    let questions: Vec<&str> = sections.filter(|section| section.starts_with(|c: char| c.is_ascii_digit())).collect();
    assert_eq!(questions.len(), 10);
    for question in questions {
        assert!(question.contains("\nCannot show: "), "{question:.60}");
    }
}
