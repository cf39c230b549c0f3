//! No name that `[audit.privacy]` hides is in any sink: the questions of a real MinIO through the whole path with the shipped
//! private sample, then every sink is searched for each name in them. And what staff with the key can still find.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use countersign::kafka::mock::MockBroker;
use countersign::policy::limited::sha256_hex;
use loadtest::stub::{Answer, Script, Stub};
use serde_json::{Value, json};

use super::spool_bytes;
use crate::support::records::events;
use crate::support::stand::TOPIC;
use crate::support::{Countersign, Running, binary, eventually, question};
use crate::telemetry::collector::{Collector, Manner};

const REQUESTS: &str = include_str!("../../vectors/minio-requests.jsonl");
const PRIVATE: &str = include_str!("../../../../config/private.toml");
const KEY: &str = "a pseudonym key of a test, long enough for one";
const TOKEN: &str = "Bearer minio";

/// The table of the shipped sample, with its key where the test has it.
fn private() -> String {
    let from = PRIVATE.find("[audit.privacy]").expect("the table");
    let table = PRIVATE[from..].split("\n[").next().unwrap();
    table.replace("/run/secrets/pseudonym-2026-11.key", "{dir}/pseudonym.key")
}

/// Real questions, and some that carry names where these do not.
fn questions() -> Vec<Value> {
    let mut all: Vec<Value> =
        REQUESTS.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["body"].clone()).collect();
    let mut asked = |account: &str, action: &str, object: &str, conditions: Value| {
        let mut one = question(account, action, "reports", object);
        one["input"]["conditions"]["UserAgent"] = json!(["Lynx of some person"]);
        for (name, value) in conditions.as_object().unwrap() {
            one["input"]["conditions"][name] = value.clone();
        }
        all.push(one);
    };
    asked("jürgen müller", "s3:GetObject", "Ärzte/Frau Dr. Weiß.pdf", json!({"UserAgent": ["s3fs jürgen müller"]}));
    asked("carol", "s3:ListBucket", "", json!({"prefix": ["patients/dorothea-"], "SourceIp": ["carols-laptop"]}));
    asked(
        "carol",
        "s3:GetObject",
        "x",
        json!({"versionid": ["dorothea"], "authType": ["dorothea"], "SourceIp": ["::ffff:198.51.100.23"]}),
    );
    let long = format!("patients/{}", "dorothea-".repeat(150));
    asked(&"heinrich-".repeat(50), "s3:GetObject", &long, json!({}));
    let target = json!({"userOrGroup": ["dorothea"], "isGroup": ["dorothea"], "policyName": ["readonly"]});
    asked("carol", "admin:AttachUserOrGroupPolicy", "", target);
    all
}

/// Every name in a question that the private sample hides, but for short ones and what stands in every record for another
/// reason: the address of this machine, and `minio`, which is the client's name, too.
fn names(asked: &Value) -> BTreeSet<String> {
    let input = &asked["input"];
    let mut all: Vec<&Value> = vec![&input["account"], &input["object"], &input["conditions"]["prefix"][0]];
    all.extend(
        ["parent", "sub", "email", "preferred_username", "ldapUsername", "ldapUser"].map(|name| &input["claims"][name]),
    );
    all.extend(["groups", "accessKey", "userOrGroup", "UserAgent", "SourceIp"].map(|name| &input["conditions"][name]));
    all.push(&input["groups"]);
    let texts = all.into_iter().flat_map(|value| match value {
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect::<Vec<_>>(),
    });
    // The last part of a key on its own, and the beginning of what is longer than any limit.
    let parts = texts.flat_map(|text| [text, text.rsplit('/').next().unwrap_or(text)]);
    let parts = parts.map(|text| text.chars().take(40).collect::<String>());
    parts.filter(|text| text.len() >= 4 && !["127.0.0.1", "minio"].contains(&text.as_str())).collect()
}

fn forms(name: &str) -> [String; 5] {
    let percent: String = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string();
    let escaped = name.escape_debug().to_string();
    [name.to_owned(), percent, escaped, hex::encode(name), sha256_hex(name)]
}

/// Names that are in a sink, as they are there.
fn found(sink: &[u8], names: &BTreeSet<String>) -> Vec<String> {
    let text = String::from_utf8_lossy(sink);
    assert!(!text.is_empty(), "nothing was searched");
    names.iter().flat_map(|name| forms(name)).filter(|form| text.contains(form)).collect()
}

/// What everybody could see of a run.
struct Seen {
    proxy: Running,
    sinks: Vec<(&'static str, Vec<u8>)>,
    names: BTreeSet<String>,
}

/// Allowed, faulted with the question repeated, and with an id that is a name; then somebody without a token.
async fn ask(proxy: &Running, stub: &Stub) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for asked in questions() {
        let echo = Script::by(|received| Answer::new(received.body.clone()).status(500));
        let named = json!({"result": true, "decision_id": "dorothea", "provenance": {"revision": "dorothea"}});
        for script in [Script::allow(), echo, Answer::new(named.to_string()).into()] {
            stub.set(script);
            assert!(!proxy.post(asked.to_string().as_bytes(), &[("Authorization", TOKEN)]).await.decision().is_empty());
        }
        all.extend(names(&asked));
    }
    all.insert("dorothea".to_owned());
    let half = &questions()[1].to_string()[..900];
    proxy.post(half.as_bytes(), &[("Authorization", TOKEN)]).await;
    proxy.post(b"{}", &[("Authorization", "Bearer carol")]).await;
    all
}

async fn seen(privacy: &str) -> Seen {
    let broker = MockBroker::start(&[(TOPIC, 1), ("countersign.checkpoints", 1)]).unwrap();
    let collector = Collector::start(Manner::Takes);
    let stub = Stub::start(Script::allow()).await.unwrap();
    let mut proxy = Countersign::asking(&stub.url())
        .token(TOKEN)
        .file("pseudonym.key", KEY)
        .kafka(&broker.bootstrap(), TOPIC)
        .with(&format!("[otlp]\nendpoint = \"{}\"\nsample = 1.0\n{privacy}", collector.endpoint))
        .verbose()
        .start()
        .await;
    let names = ask(&proxy, &stub).await;
    eventually("the attempt without a token is recorded", async || {
        (!events(&proxy.records(), "unauthorized_attempts").is_empty()).then_some(())
    })
    .await;
    let metrics = proxy.metrics().await.into_bytes();
    let status = proxy.status_pages().await.into_bytes();
    proxy.delivered().await;
    let topic = ["tail", "--brokers", &broker.bootstrap(), "--topic", TOPIC, "--no-follow", "--json"];
    let published = run(&topic, None).into_bytes();
    proxy.stop().await;
    let spans = format!("{:?}", collector.spans()).into_bytes();
    let (spool, log) = (spool_bytes(&proxy.spool()), proxy.log().into_bytes());
    let pages = [("metrics", metrics), ("status", status)];
    let sinks = [("Kafka", published), ("spool", spool), ("log", log), ("traces", spans)].into_iter().chain(pages);
    let sinks = sinks.collect();
    Seen { proxy, sinks, names }
}

fn run(args: &[&str], input: Option<&str>) -> String {
    let mut command = Command::new(binary());
    let mut child = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.unwrap_or_default().as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{args:?}: {:?}", done.status);
    String::from_utf8(done.stdout).unwrap()
}

fn config_of(proxy: &Running) -> String {
    proxy.config_file().display().to_string()
}

#[tokio::test]
async fn no_hidden_name_is_in_any_sink() {
    let Seen { proxy, sinks, names } = seen(&private()).await;
    assert!(names.len() > 20, "{names:?}");
    for (sink, bytes) in &sinks {
        assert_eq!(found(bytes, &names), [""; 0], "in the {sink}");
    }
    let decisions = proxy.decisions();
    assert_eq!(decisions.len(), questions().len() * 3 + 1);
    assert!(decisions.iter().all(|record| record["data"]["privacy_key_id"] == "2026-11"));
    let attempts = events(&proxy.records(), "unauthorized_attempts");
    assert_eq!(attempts[0]["data"]["peers"], json!(["127.0.0.0/24"]));
    staff_find_what_they_look_for(&proxy, &decisions);
}

/// With the key, the command names what records have; other readers take that, and the chain is as whole as ever.
fn staff_find_what_they_look_for(proxy: &Running, decisions: &[Value]) {
    let (config, spool) = (config_of(proxy), proxy.spool().display().to_string());
    let pseudonym =
        |kind: &str, name: &str| run(&["pseudonym", kind, "--config", &config], Some(name)).trim().to_owned();
    let count =
        |pointer: &str, value: &str| decisions.iter().filter(|r| r["data"].pointer(pointer).unwrap() == value).count();
    let alice = pseudonym("account", "alice\n");
    let asked = questions().iter().filter(|asked| asked["input"]["account"] == "alice").count();
    assert!(asked > 1 && count("/actor/account", &alice) == asked * 3, "{alice}");
    let lines = run(&["tail", "--spool", &spool, "--no-follow", "--account", &alice], None);
    assert_eq!(lines.lines().count(), asked * 3);
    assert!(lines.contains(&alice) && !lines.contains("alice"));
    assert!(count("/actor/parent", &alice) > 0, "a service account's parent is the same person");

    let object = pseudonym("object", "Ärzte/Frau Dr. Weiß.pdf\n");
    assert_eq!(count("/resource/object", &object), 3);
    let lines = run(&["tail", "--spool", &spool, "--no-follow", "--object", &object], None);
    assert_eq!(lines.lines().count(), 3);
    assert_eq!(count("/resource/prefix", &pseudonym("object", "patients/dorothea-")), 3);
    assert_eq!(count("/request/reported_ip", &pseudonym("reported_ip", "carols-laptop")), 3);
    assert_eq!(count("/request/reported_ip", "198.51.100.0/24"), 3 + 3 * networked("198.51.100."));
    let body = questions()[1].to_string();
    assert!(count("/request/input_sha256", &pseudonym("input", &body)) == 3, "the question proves itself");
    let target = pseudonym("account", "dorothea").replace(':', "%3A");
    assert_eq!(decisions.iter().filter(|r| r["data"]["resource"]["target"].to_string().contains(&target)).count(), 3);
    assert!(run(&["verify", "--spool", &spool], None).contains("whole"));
}

/// Real questions from a network.
fn networked(begin: &str) -> usize {
    let from =
        |asked: &Value| asked["input"]["conditions"]["SourceIp"][0].as_str().is_some_and(|ip| ip.starts_with(begin));
    questions().iter().filter(|asked| from(asked)).count()
}

/// The search finds what it is there for, where it is there. No setting is needed to keep names from the other sinks.
#[tokio::test]
async fn plain_names_are_in_the_stream_alone() {
    let Seen { sinks, names, .. } = seen("").await;
    for (sink, bytes) in &sinks {
        let found = found(bytes, &names);
        match *sink {
            "Kafka" | "spool" => assert!(found.len() > 20, "{found:?} in the {sink}"),
            _ => assert_eq!(found, [""; 0], "in the {sink}"),
        }
    }
}

/// Whoever is asked for pseudonyms and cannot make them does not start, and so records nothing plain.
#[test]
fn without_its_key_nothing_starts() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).display().to_string();
    std::fs::write(path("short"), "0123456789abcdef0123456789abcde\n").unwrap();
    let good = PRIVATE.replace("/var/lib/countersign", &path("spool"));
    let keys = good.lines().find(|line| line.starts_with("keys = ")).unwrap();
    let with = |by: &str| good.replace(keys, by);
    for (text, expected) in [
        (good.clone(), "cannot read `/run/secrets/pseudonym-2026-11.key`"),
        (with(""), "`audit.privacy.account` needs `audit.privacy.keys`"),
        (with("keys = []"), "`audit.privacy.object` needs `audit.privacy.keys`"),
        (
            with(&format!("keys = [{{ id = \"a\", file = \"{}\" }}]", path("short"))),
            "it has 31 bytes, a key has 32 or more",
        ),
        (with("keys = [{ id = \"a\", env = \"COUNTERSIGN_NO_SUCH_KEY\" }]"), "`COUNTERSIGN_NO_SUCH_KEY` is not set"),
    ] {
        std::fs::write(path("c.toml"), text).unwrap();
        for args in [&["serve", "--config"][..], &["check"]] {
            let done = Command::new(binary()).args(args).arg(path("c.toml")).output().unwrap();
            let said = String::from_utf8_lossy(&done.stderr);
            assert_eq!(done.status.code(), Some(64), "{args:?}: {said}");
            assert!(said.contains(expected), "{said}");
            assert!(!Path::new(&path("spool")).exists(), "nothing was begun");
        }
    }
}

/// A new key makes new pseudonyms; who has both finds both, and the chain of records does not notice.
#[tokio::test]
async fn a_new_period_has_new_pseudonyms() {
    let spool = tempfile::tempdir().unwrap();
    let stub = Stub::start(Script::allow()).await.unwrap();
    let old = "{ id = \"2026-10\", file = \"{dir}/old\" }";
    let both = format!("{old}, {{ id = \"2026-11\", file = \"{{dir}}/new\" }}");
    let mut records = Vec::new();
    let mut printed = String::new();
    for keys in [old, &both] {
        let privacy = format!("[audit.privacy]\naccount = \"hmac\"\nobject = \"prefix\"\nkeys = [{keys}]");
        let setup = Countersign::asking(&stub.url()).on(spool.path()).file("old", KEY).file("new", &KEY.to_uppercase());
        let mut proxy = setup.with(&privacy).start().await;
        let answer = proxy.ask(&question("alice", "s3:GetObject", "reports", "2026/q4.csv")).await;
        records.push(proxy.record_of(&answer)["data"].clone());
        proxy.stop().await;
        // Its directory has the configuration for as long as it is there.
        let config = config_of(&proxy);
        printed = run(&["pseudonym", "account", "alice", "--all", "--config", &config], None);
        let in_force = run(&["pseudonym", "object", "2026/q4.csv", "--config", &config], None);
        assert_eq!(records.last().unwrap()["resource"]["object"], in_force.trim());
        assert!(in_force.starts_with("2026/hmac-sha256:") && !in_force.contains("q4"));
        let file = Path::new(&config).parent().unwrap().join("old").display().to_string();
        let first = run(&["pseudonym", "account", "alice", "--key-file", &file], None);
        assert_eq!(records[0]["actor"]["account"], first.trim());
    }
    let expected = records.iter().map(|data| {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        format!("{}\t{}\n", text(&data["privacy_key_id"]), text(&data["actor"]["account"]))
    });
    assert_eq!(printed, expected.collect::<String>());
    assert_ne!(records[0]["actor"]["account"], records[1]["actor"]["account"]);
    assert!(run(&["verify", "--spool", &spool.path().display().to_string()], None).contains("whole"));
}
