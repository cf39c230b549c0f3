//! A real MinIO, a real OPA and a real Kafka, with Countersign in the middle. OPA's own decision log is the independent
//! witness of what was asked.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::records::decisions;
use crate::support::stand::Stand;
use crate::support::{Running, eventually};

const NO_CACHE: &str = "allow_ttl = \"0s\"\ndeny_ttl = \"0s\"";

/// What makes two questions the same for this purpose, and their outcome.
fn line(input: &Value, allowed: bool) -> String {
    json!([input["account"], input["action"], input["bucket"], input["object"], input["denyOnly"], allowed]).to_string()
}

/// Runs `mc` and says how many questions that made.
async fn questions(proxy: &Running, mc: &loadtest::laboratory::mc::Mc, args: &[&str]) -> usize {
    let before = proxy.decisions().len();
    mc.run(args).await.unwrap();
    proxy.decisions().len() - before
}

#[tokio::test]
async fn every_question_has_exactly_one_record_in_kafka() {
    let Some(stand) = Stand::start(NO_CACHE).await else { return };
    let proxy = &stand.proxy;
    let mc = stand.minio.mc().unwrap().user("alice", "alice-secret").await.unwrap();
    let mc = mc.user("bob", "bob-secret").await.unwrap();
    for name in ["a.txt", "b.txt", "c.txt", "d.txt", "e.txt"] {
        std::fs::create_dir_all(mc.home().join("five")).unwrap();
        std::fs::write(mc.home().join("five").join(name), name).unwrap();
    }

    // The counts that docs/MINIO.md promises, with everything allowed.
    assert_eq!(questions(proxy, &mc, &["mb", "root/reports"]).await, 1);
    assert_eq!(questions(proxy, &mc, &["ls", "root"]).await, 1);
    assert_eq!(questions(proxy, &mc, &["cp", "five/a.txt", "root/reports/x/a.txt"]).await, 6);
    assert_eq!(questions(proxy, &mc, &["cat", "root/reports/x/a.txt"]).await, 7);
    assert_eq!(questions(proxy, &mc, &["stat", "root/reports/x/a.txt"]).await, 5);
    assert_eq!(questions(proxy, &mc, &["ls", "root/reports"]).await, 3);
    assert_eq!(questions(proxy, &mc, &["rm", "root/reports/x/a.txt"]).await, 9);
    assert_eq!(questions(proxy, &mc, &["admin", "info", "root"]).await, 1);

    // alice works under her prefix, and nowhere else; bob nowhere.
    mc.run(&["cp", "--recursive", "five/", "alice/reports/home/alice/"]).await.unwrap();
    assert_eq!(mc.run(&["cat", "alice/reports/home/alice/b.txt"]).await.unwrap(), "b.txt");
    assert_eq!(mc.run(&["ls", "alice/reports/home/alice/"]).await.unwrap().lines().count(), 5);
    for refused in [
        ["cp", "five/a.txt", "alice/reports/home/carol/a.txt"],
        ["cp", "five/a.txt", "bob/reports/home/alice/a.txt"],
        ["cp", "bob/reports/home/alice/b.txt", "stolen.txt"],
    ] {
        let ran = mc.attempt(&refused).await.unwrap();
        assert_ne!(ran.code, Some(0), "{refused:?}: {}{}", ran.stdout, ran.stderr);
    }
    let many = questions(proxy, &mc, &["rm", "--recursive", "--force", "alice/reports/home/alice/"]).await;
    assert!(many >= 6, "a multi-delete asks once for each of five keys and once before, not {many} times");
    assert_eq!(mc.run(&["ls", "root/reports/home/alice/"]).await.unwrap(), "");

    witnessed(&stand).await;
}

/// OPA's log and the stream name the same questions with the same outcomes.
async fn witnessed(stand: &Stand) {
    let recorded = decisions(stand.published().await);
    let mut recorded: Vec<String> = recorded.iter().map(outcome).collect();
    let mut asked = eventually("OPA has logged every question", async || {
        Some(stand.opa.decisions()).filter(|logged| logged.len() >= recorded.len())
    })
    .await
    .iter()
    .map(|logged| line(&logged["input"], logged["result"] == true))
    .collect::<Vec<_>>();
    recorded.sort();
    asked.sort();
    assert_eq!(recorded, asked);
    assert!(recorded.len() > 60, "only {} questions", recorded.len());
}

fn outcome(record: &Value) -> String {
    let data = &record["data"];
    let text = |value: &Value| Value::from(value.as_str().unwrap_or_default());
    let input = json!({
        "account": data["actor"]["account"], "action": data["action"], "denyOnly": data["deny_only"],
        "bucket": text(&data["resource"]["bucket"]), "object": text(&data["resource"]["object"]),
    });
    line(&input, data["decision"] == "allow")
}

#[tokio::test]
async fn repeated_heads_are_answered_from_the_cache() {
    let Some(stand) = Stand::start("").await else { return };
    let mc = stand.minio.mc().unwrap();
    std::fs::write(mc.home().join("a.txt"), "hello").unwrap();
    mc.run(&["mb", "root/reports"]).await.unwrap();
    mc.run(&["cp", "a.txt", "root/reports/a.txt"]).await.unwrap();
    let before = stand.proxy.decisions().len();
    let started = Instant::now();
    mc.run(&["stat", "root/reports/a.txt"]).await.unwrap();
    let first = stand.proxy.decisions().len();
    for _ in 0..20 {
        mc.run(&["stat", "root/reports/a.txt"]).await.unwrap();
    }
    let took = started.elapsed();
    let all = stand.proxy.decisions();
    let (once, repeated) = (&all[before..first], &all[first..]);
    assert_eq!(repeated.len(), 20 * once.len());
    let hits = repeated.iter().filter(|record| record["data"]["cache"]["state"] == "hit").count();
    // An allow lives for ten seconds; each life that ended in between costs one miss a question.
    let lives = took.as_secs() as usize / 10;
    assert!(hits + lives * once.len() >= repeated.len() * 9 / 10, "{hits} of {} in {took:?}", repeated.len());
    for hit in repeated.iter().filter(|record| record["data"]["cache"]["state"] == "hit") {
        let source = all.iter().find(|record| record["id"] == hit["data"]["cache"]["record_id"]).expect("it exists");
        assert_eq!(source["data"]["origin"], "authorizer");
        assert_eq!(source["data"]["action"], hit["data"]["action"]);
    }
}

#[tokio::test]
async fn while_opa_is_away_everything_is_refused_in_time() {
    let Some(mut stand) = Stand::start(NO_CACHE).await else { return };
    let mc = stand.minio.mc().unwrap();
    mc.run(&["mb", "root/reports"]).await.unwrap();
    stand.opa.stop().await;
    let before = stand.proxy.decisions().len();
    let ran = mc.attempt(&["ls", "root"]).await.unwrap();
    assert_ne!(ran.code, Some(0), "{}", ran.stdout);
    let refused = stand.proxy.decisions().split_off(before);
    assert!(!refused.is_empty());
    assert!(refused.iter().all(|record| record["data"]["reason"] == "connect"), "{refused:#?}");
    // As the process saw it: what MinIO and its client take is not ours.
    let in_time = |record: &Value| record["data"]["latency_us"].as_u64().is_some_and(|us| us < 2_000_000);
    assert!(refused.iter().all(in_time), "each within its deadline: {refused:#?}");
    stand.opa.start_again().await.unwrap();
    assert!(mc.run(&["ls", "root"]).await.unwrap().contains("reports"), "nothing was restarted");
    stand.published().await;
}
