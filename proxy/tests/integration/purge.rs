//! Purges: what is taken back, who may, and what is recorded; through the admin listener and the command.

use std::process::Command;

use loadtest::stub::{Script, Stub};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::records::events;
use crate::support::{Answer, Countersign, Running, binary, eventually, http, question};

const CACHE: &str = "allow_ttl = \"1h\"\ndeny_ttl = \"1h\"";
const JSON: (&str, &str) = ("Content-Type", "application/json");

async fn purge(proxy: &Running, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut stream = TcpStream::connect(proxy.admin()).await.unwrap();
    let mut head = format!("POST /purge HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n", body.len());
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.unwrap();
    http::read(&mut stream).await.expect("an answer")
}

/// Whether each of the questions is answered from the cache. Fills it, too.
async fn cached(proxy: &Running, questions: &[Value]) -> Vec<bool> {
    let mut found = Vec::new();
    for asked in questions {
        let answer = proxy.ask(asked).await;
        found.push(proxy.record_of(&answer)["data"]["origin"] == "cache");
    }
    found
}

fn questions() -> [Value; 4] {
    let mut derived = question("AKIA7", "s3:GetObject", "photos", "2025/a");
    derived["input"]["claims"] = json!({"parent": "alice"});
    [
        question("alice", "s3:GetObject", "photos", "2026/a"),
        question("bob", "s3:GetObject", "photos", "2025/a"),
        derived,
        question("bob", "s3:ListBucket", "photos", ""),
    ]
}

#[tokio::test]
async fn what_a_rule_is_about_is_asked_again() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).cache(CACHE).start().await;
    let asked = questions();
    cached(&proxy, &asked).await;
    assert_eq!(cached(&proxy, &asked).await, [true; 4]);
    for (body, kept) in [
        (json!({"account": "alice"}), [false, true, false, true]),
        (json!({"bucket": "photos", "prefix": "2025/"}), [true, false, false, false]),
        (json!({"bucket": "photos", "account": "bob"}), [true, false, true, false]),
        (json!({"bucket": "photo"}), [true; 4]),
        (json!({"bucket": "photos"}), [false; 4]),
        (json!({"all": true}), [false; 4]),
    ] {
        let answer = purge(&proxy, &[JSON], &body.to_string()).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "{\"purged\":true}\n"), "{body}");
        assert_eq!(cached(&proxy, &asked).await, kept, "{body}");
        assert_eq!(cached(&proxy, &asked).await, [true; 4], "the new answers are used");
    }
    let records = eventually("all are recorded", async || {
        Some(events(&proxy.records(), "cache_purged")).filter(|events| events.len() == 6)
    })
    .await;
    let told =
        |record: &Value| ["client", "peer", "account", "bucket", "prefix"].map(|name| record["data"][name].clone());
    let null = Value::Null;
    let local =
        |account: Value, bucket: Value, prefix: Value| [json!("local"), json!("127.0.0.1"), account, bucket, prefix];
    assert_eq!(told(&records[0]), local(json!("alice"), null.clone(), null.clone()));
    assert_eq!(told(&records[1]), local(null.clone(), json!("photos"), json!("2025/")));
    assert_eq!(told(&records[5]), local(null.clone(), null.clone(), null));
}

/// A right is withdrawn, the cache is purged, and the withdrawal is in force at once.
#[tokio::test]
async fn a_withdrawn_right_is_gone_with_the_purge() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).cache(CACHE).start().await;
    let asked = question("alice", "s3:GetObject", "photos", "a");
    assert!(proxy.ask(&asked).await.allowed());
    stub.set(Script::deny());
    assert!(proxy.ask(&asked).await.allowed());
    assert_eq!(purge(&proxy, &[JSON], r#"{"account":"alice"}"#).await.status, 200);
    assert!(!proxy.ask(&asked).await.allowed());
}

/// A record of a purge hides what records of decisions hide, and still tells a name that was left out from none.
#[tokio::test]
async fn who_was_purged_is_hidden_like_who_asked() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    for (account, object, shown) in
        [("hmac", "prefix", ["hmac-sha256:", "2026/hmac-sha256:"]), ("drop", "drop", ["", ""])]
    {
        let privacy = format!(
            "[audit.privacy]\naccount = \"{account}\"\nobject = \"{object}\"\n\
             keys = [{{ id = \"k\", file = \"{{dir}}/key\" }}]"
        );
        let setup = Countersign::asking(&stub.url()).with(&privacy);
        let proxy = setup.file("key", "a key that is long enough to be one\n").start().await;
        let body = r#"{"account":"alice.brown","bucket":"photos","prefix":"2026/holiday"}"#;
        assert_eq!(purge(&proxy, &[JSON], body).await.status, 200);
        let recorded = eventually("it is recorded", async || events(&proxy.records(), "cache_purged").pop()).await;
        let told = ["account", "prefix"].map(|name| recorded["data"][name].as_str().unwrap().to_owned());
        assert!(told.iter().zip(shown).all(|(told, shown)| told.starts_with(shown)), "{told:?}");
        assert!(account == "hmac" || told.iter().all(String::is_empty), "{told:?}");
        assert!(!recorded.to_string().contains("alice") && !recorded.to_string().contains("holiday"), "{recorded}");
    }
}

#[tokio::test]
async fn nobody_else_and_nothing_else_purges() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "Bearer operator\n").unwrap();
    // What comes first here stands in the table before, which is the admin's.
    let authorizer = format!(
        "token = {{ file = \"{}\" }}\n[[authorizer]]\nname = \"authz\"\nurl = \"{}\"\n",
        token.display(),
        stub.url()
    );
    let proxy = Countersign::custom(&authorizer).cache(CACHE).start().await;
    let asked = [question("alice", "s3:GetObject", "photos", "a")];
    cached(&proxy, &asked).await;
    let all = r#"{"all":true}"#;
    let token = ("Authorization", "Bearer operator");
    let long = format!("{{\"account\":\"{}\"}}", "a".repeat(9_000));
    for (headers, body, status) in [
        (&[JSON][..], all, 401),
        (&[JSON, ("Authorization", "Bearer operato")], all, 401),
        (&[JSON, token, token], all, 401),
        (&[token], all, 415),
        (&[("Content-Type", "text/plain"), token], all, 415),
        (&[JSON, token], "{}", 400),
        (&[JSON, token], "", 400),
        (&[JSON, token], r#"{"all":true,"bucket":"photos"}"#, 400),
        (&[JSON, token], r#"{"every":true}"#, 400),
        (&[JSON, token], &long, 413),
    ] {
        let answer = purge(&proxy, headers, body).await;
        assert_eq!(answer.status, status, "{headers:?} {body}");
        assert!(answer.body.starts_with("{\"error\":\""), "{}", answer.body);
    }
    let got = http::get(proxy.admin(), "/purge").await;
    assert_eq!((got.status, got.header("allow")), (405, Some("POST")));
    assert_eq!(cached(&proxy, &asked).await, [true], "nothing was purged");
    assert_eq!(purge(&proxy, &[JSON, token], all).await.status, 200);
    assert_eq!(cached(&proxy, &asked).await, [false]);
    let recorded = eventually("it is recorded", async || events(&proxy.records(), "cache_purged").pop()).await;
    assert_eq!(recorded["data"]["client"], "admin");
    assert_eq!(events(&proxy.records(), "cache_purged").len(), 1);
}

/// Runs the command as an operator would; its exit code and what it said.
fn command(args: &[&str]) -> (Option<i32>, String) {
    let ran = Command::new(binary()).arg("purge").args(args).env_remove("COUNTERSIGN_CONFIG").output().unwrap();
    (ran.status.code(), String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_purges_and_says_why_not() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let mut proxy = Countersign::asking(&stub.url()).cache(CACHE).start().await;
    let asked = [question("alice", "s3:GetObject", "photos", "a")];
    cached(&proxy, &asked).await;
    let admin = format!("http://{}", proxy.admin());
    let (code, said) = command(&["--account", "alice", "--admin", &admin]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert_eq!(cached(&proxy, &asked).await, [false]);
    // By the configuration that the process runs with.
    let config = proxy.config_file();
    let (code, said) = command(&["--bucket", "photos", "--prefix", "a", "--config", config.to_str().unwrap()]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert_eq!(cached(&proxy, &asked).await, [false]);

    for wrong in [&["--admin", &admin][..], &["--prefix", "a", "--admin", &admin], &["--all", "--account", "a"]] {
        assert_eq!(command(wrong).0, Some(64), "{wrong:?}");
    }
    assert_eq!(command(&["--all", "--admin", "https://127.0.0.1:1"]).0, Some(64));
    let (code, said) = command(&["--all", "--admin", &proxy.url()]);
    assert_eq!(code, Some(2), "the decision endpoint is not the admin's: {said}");
    assert_eq!(cached(&proxy, &asked).await, [true]);
    proxy.stop().await;
    let (code, said) = command(&["--all", "--admin", &admin]);
    assert!(code == Some(2) && said.starts_with("countersign: cannot reach `127.0.0.1:"), "{said}");
}
