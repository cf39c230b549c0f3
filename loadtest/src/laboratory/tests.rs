//! Every part is started, used for what it is there for, and must leave no process behind.

mod machinery;
mod plugin;

use super::*;
use plugin::Plugin;
use rustix::process::{Pid, test_kill_process_group};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn lab() -> Laboratory {
    Laboratory::open().unwrap()
}

/// Drops a running part and checks that its whole process group and its directory are gone.
fn leaves_nothing<P: std::ops::Deref<Target = Part>>(part: P) {
    let group = group(&part);
    let home = part.home().to_owned();
    assert!(test_kill_process_group(group).is_ok(), "it runs in a group of its own");
    drop(part);
    is_gone(group);
    assert_eq!(home.exists(), std::env::var_os(part::KEEP).is_some(), "its directory is gone");
}

fn group(part: &Part) -> Pid {
    Pid::from_raw(i32::try_from(part.pid().unwrap()).unwrap()).unwrap()
}

/// Orphans take a moment to leave the process table after they ended.
fn is_gone(group: Pid) {
    let until = Instant::now() + Duration::from_secs(5);
    while test_kill_process_group(group) != Err(rustix::io::Errno::SRCH) {
        assert!(Instant::now() < until, "a process of its group is left");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Polls until `look` returns something.
async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < until, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn question(account: &str, action: &str, object: &str, deny_only: bool) -> Value {
    json!({"input": {"account": account, "groups": null, "action": action, "originalAction": action,
        "bucket": "reports", "conditions": {"username": [account]}, "owner": account == minio::ROOT_USER,
        "object": object, "claims": {}, "denyOnly": deny_only}})
}

#[tokio::test]
async fn kafka_keeps_its_records_over_a_stop_and_a_kill() {
    let Some(mut kafka) = require(lab().kafka().start().await) else { return };
    kafka.create_topic_with("orders", 2, &[("max.message.bytes", "2048")]).await.unwrap();
    let described = ["--bootstrap-server", &kafka.bootstrap(), "--describe", "--topic", "orders"];
    let described = kafka.java_tool("org.apache.kafka.tools.TopicCommand", &described).await.unwrap();
    assert!(described.contains("PartitionCount: 2") && described.contains("max.message.bytes=2048"), "{described}");
    kafka.create_topic("orders", 2).await.expect_err("it exists");

    produce(&kafka, "orders", "first");
    let address = kafka.bootstrap();
    kafka.stop().await;
    assert!(!kafka.is_running());
    tokio::net::TcpStream::connect(&address).await.expect_err("nobody listens");
    kafka.start_again().await.unwrap();
    produce(&kafka, "orders", "second");
    kafka.kill().await;
    kafka.start_again().await.unwrap();

    assert_eq!(kafka.bootstrap(), address);
    let values: Vec<_> = kafka.records("orders").await.unwrap().into_iter().map(|record| record.value).collect();
    assert_eq!(values, [b"first".to_vec(), b"second".to_vec()]);
    leaves_nothing(kafka);
}

fn produce(kafka: &kafka::Kafka, topic: &str, value: &str) {
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
    let mut config = rdkafka::ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap()).set("acks", "all");
    let producer: BaseProducer = config.create().unwrap();
    producer.send(BaseRecord::<str, str>::to(topic).partition(1).payload(value)).unwrap();
    producer.flush(Duration::from_secs(20)).unwrap();
}

#[tokio::test]
async fn opa_decides_by_the_sample_policy_and_logs_its_decisions() {
    let Some(mut opa) = require(lab().opa().decision_log().start().await) else { return };
    let mine = "home/alice/a.txt";
    let mut listing = question("alice", "s3:ListBucket", "", false);
    listing["input"]["conditions"]["prefix"] = json!(["home/alice/"]);
    let mut forged = question("alice", "s3:ListBucket", "", false);
    forged["input"]["conditions"]["prefix"] = json!(["home/alice/", "home/bob/"]);
    let cases = [
        (question("alice", "s3:PutObject", mine, false), true),
        (question("alice", "s3:DeleteObject", mine, false), true),
        (question("alice", "s3:GetObject", "home/bob/a.txt", false), false),
        (question("alice", "s3:PutBucketPolicy", "", false), false),
        (listing, true),
        (forged, false),
        (question("alice", "s3:HeadBucket", "", false), true),
        (question("alice", "admin:CreateServiceAccount", "", true), true),
        (question("bob", "s3:GetObject", "home/bob/a.txt", false), false),
        (question("bob", "admin:CreateServiceAccount", "", true), false),
        (question(minio::ROOT_USER, "admin:ServerInfo", "", false), true),
    ];
    for (question, allowed) in &cases {
        let answer = http::post_json(&opa.url("minio/allow"), &question.to_string()).await.unwrap();
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((answer.status, &body["result"]), (200, &json!(allowed)), "{question}");
    }
    let logged = eventually("the decision log", || async {
        Some(opa.decisions()).filter(|decisions| decisions.len() == cases.len())
    });
    let logged = logged.await;
    assert_eq!(logged[0]["input"]["account"], "alice");
    assert_eq!(logged[2]["result"], false);

    assert!(!opa.log().contains("Received request"), "only decisions are logged");

    opa.freeze();
    let url = opa.url("minio/allow");
    let frozen = tokio::time::timeout(Duration::from_millis(200), http::post_json(&url, "{}")).await;
    frozen.expect_err("it accepts and answers nothing");
    opa.thaw();
    assert_eq!(http::post_json(&url, "{}").await.unwrap().status, 200);

    opa.stop().await;
    http::post_json(&opa.url("minio/allow"), "{}").await.expect_err("nobody listens");
    opa.start_again().await.unwrap();
    let again = http::post_json(&opa.url("minio/allow"), "{}").await.unwrap().body;
    assert!(again.contains(r#""result":false"#), "{again}");
    leaves_nothing(opa);
}

#[tokio::test]
async fn a_wrong_policy_is_an_error_that_carries_opas_own_words() {
    let Some(program) = require(lab().install(recipes::opa).await) else { return };
    assert!(program.is_file());
    let why = lab().opa().policy("package minio\nallow if {").start().await.expect_err("the policy is wrong");
    assert!(why.to_string().contains("rego_parse_error"), "{why}");
}

#[tokio::test]
async fn minio_asks_its_plugin_for_every_operation() {
    let plugin = Plugin::start().await;
    let setup = lab().minio().plugin(&plugin.url(), Some("Bearer t-1"));
    let Some(minio) = require(setup.start().await) else { return };
    let mc = minio.mc().unwrap().user("alice", "alice-secret").await.unwrap();
    mc.run(&["mb", "root/reports"]).await.unwrap();
    std::fs::write(mc.home().join("a.txt"), "hello").unwrap();
    mc.run(&["cp", "a.txt", "alice/reports/home/alice/"]).await.unwrap();
    assert_eq!(mc.run(&["cat", "alice/reports/home/alice/a.txt"]).await.unwrap(), "hello");

    let asked = plugin.requests();
    assert!(asked.iter().all(|request| request.contains("authorization: Bearer t-1")), "{asked:?}");
    let put = asked.iter().find(|request| request.contains(r#""action":"s3:PutObject""#)).unwrap();
    assert!(put.contains(r#""account":"alice""#) && put.contains(r#""object":"home/alice/a.txt""#), "{put}");

    plugin.answer(false);
    let denied = mc.attempt(&["cat", "alice/reports/home/alice/a.txt"]).await.unwrap();
    assert_eq!(denied.code, Some(1));
    assert!(denied.stderr.contains("Insufficient permissions"), "{denied:?}");
    leaves_nothing(minio);
}

#[tokio::test]
async fn minio_can_be_had_before_its_plugin_answers() {
    let held = port::free().unwrap();
    let port = held.number();
    let setup = lab().minio().plugin(&format!("http://127.0.0.1:{port}/"), None);
    let Some(mut minio) = require(setup.start_unready().await) else { return };
    let health = format!("{}/minio/health/cluster", minio.url());
    assert_eq!(http::get(&health).await.unwrap().status, 503);
    let plugin = Plugin::start_on(port).await;
    minio.until_ready().await.unwrap();
    assert_eq!(http::get(&health).await.unwrap().status, 200);
    assert_eq!(plugin.requests().len(), 1, "its probe");
    leaves_nothing(minio);
}

#[tokio::test]
async fn the_collector_prints_a_span_it_was_sent() {
    let Some(collector) = require(lab().collector().start().await) else { return };
    let span = json!({"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"scope": {"name": "test"},
        "spans": [{"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "decide",
            "kind": 2, "startTimeUnixNano": "1", "endTimeUnixNano": "2",
            "attributes": [{"key": "error.type", "value": {"stringValue": "timeout"}}]}]}]}]});
    let answer = http::post_json(&format!("{}/v1/traces", collector.endpoint()), &span.to_string()).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let output = eventually("the span's line", || async {
        Some(collector.output()).filter(|output| output.contains("error.type: Str(timeout)"))
    });
    let output = output.await;
    assert!(output.contains("5b8efff798038103d269b633813fc60c") && output.contains("decide"), "{output}");
    leaves_nothing(collector);
}

#[tokio::test]
async fn prometheus_scrapes_and_evaluates_rules() {
    let rules = "groups: [{name: test, rules: [{record: test_up, expr: up}]}]";
    let Some(prometheus) = require(lab().prometheus().rules(rules).start().await) else { return };
    let found = eventually("a scrape and a rule's result", || async {
        let found = prometheus.query(r#"test_up{job="laboratory"} == 1"#).await.unwrap();
        found.get(0).cloned()
    });
    assert_eq!(found.await["value"][1], "1");
    prometheus.query("up{").await.expect_err("no query");
    assert!(prometheus.exemplars("up").await.unwrap().is_array());
    leaves_nothing(prometheus);
}

#[tokio::test]
async fn nginx_answers_with_several_workers() {
    let config = "server { listen 127.0.0.1:{port}; location / { return 200 '{\"result\":true}'; } }";
    let Some(mut nginx) = require(lab().nginx().config(config).workers(2).start().await) else { return };
    assert_eq!(http::get(&nginx.url()).await.unwrap().body, r#"{"result":true}"#);
    let workers = group(&nginx);
    nginx.kill().await;
    is_gone(workers);
    nginx.start_again().await.unwrap();
    assert_eq!(http::post_json(&nginx.url(), "{}").await.unwrap().status, 200);
    leaves_nothing(nginx);
}
