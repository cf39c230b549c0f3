//! What Countersign says of the topics it is to publish to, at start and with `check --probe`.

use std::path::Path;
use std::process::Command;

use loadtest::laboratory::{Laboratory, require};
use loadtest::stub::{Script, Stub};

use crate::support::{Countersign, binary, eventually, question};

fn config(home: &Path, bootstrap: &str, topic: &str) -> std::path::PathBuf {
    let path = home.join("countersign.toml");
    let text = format!(
        "instance = \"t\"\n[listen]\naddress = \"127.0.0.1:8281\"\n[[authorizer]]\nname = \"a\"\nurl = \"http://127.0.0.1:1/\"\n\
         [audit]\nspool = {:?}\n[kafka]\nbrokers = [\"{bootstrap}\"]\ntopic = \"{topic}\"\n",
        home.join("spool")
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// Exit code, and what was printed.
fn probe(config: &Path) -> (i32, String) {
    let done = Command::new(binary()).arg("check").arg("--probe").arg(config).output().unwrap();
    let said = String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap();
    (done.status.code().unwrap(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_probe_names_what_costs_records_and_the_line_that_mends_it() {
    let Some(mut kafka) = require(Laboratory::open().unwrap().kafka().start().await) else { return };
    let weak = [
        ("cleanup.policy", "compact"),
        ("retention.ms", "86400000"),
        ("retention.bytes", "1000000"),
        ("max.message.bytes", "20000"),
        ("message.timestamp.type", "LogAppendTime"),
        ("unclean.leader.election.enable", "true"),
    ];
    kafka.create_topic_with("weak", 2, &weak).await.unwrap();
    eventually("the broker knows its topic", async || kafka.records("weak").await.ok()).await;
    let home = tempfile::tempdir().unwrap();
    let bootstrap = kafka.bootstrap();
    let (code, said) = probe(&config(home.path(), &bootstrap, "weak"));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("topic `weak`: 2 partitions, 1 replicas\n"), "{said}");
    for (name, _) in weak {
        assert!(said.contains(&format!("topic `weak`: {name} is ")), "{name} is not in\n{said}");
        assert!(said.contains(&format!("--entity-name weak --add-config {name}=")), "{name} is not mended in\n{said}");
    }
    assert!(said.contains("one replica, in a cluster of one broker"), "{said}");
    let missing = "topic `countersign.checkpoints` does not exist";
    assert!(said.contains(missing) && said.contains("--create --topic countersign.checkpoints"), "{said}");
    // The line makes a topic that fits as well as one broker can.
    let line = said.lines().find(|line| line.trim().starts_with("kafka-topics.sh")).unwrap();
    let args: Vec<&str> = line.split_whitespace().skip(1).collect();
    for topic in ["countersign.checkpoints", "fit"] {
        let args: Vec<&str> =
            args.iter().map(|arg| if *arg == "countersign.checkpoints" { topic } else { arg }).collect();
        kafka.java_tool("org.apache.kafka.tools.TopicCommand", &args).await.unwrap();
    }
    eventually("the broker knows its topic", async || kafka.records("fit").await.ok()).await;
    let (_, said) = probe(&config(home.path(), &bootstrap, "fit"));
    let remarks: Vec<&str> = said.lines().filter(|line| line.starts_with("topic `")).collect();
    assert_eq!(remarks.len(), 4, "only the one broker is left to name: {said}");
    assert!(remarks.iter().all(|line| line.contains("1 replicas") || line.contains("one replica")), "{said}");
    kafka.kill().await;
    let (code, said) = probe(&config(home.path(), &bootstrap, "fit"));
    assert!(code == 2 && said.contains(&format!("no broker of `{bootstrap}` answered")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_start_the_log_says_it_once_and_nothing_waits_for_it() {
    let Some(kafka) = require(Laboratory::open().unwrap().kafka().start().await) else { return };
    kafka.create_topic_with("weak", 1, &[("cleanup.policy", "compact")]).await.unwrap();
    eventually("the broker knows its topic", async || kafka.records("weak").await.ok()).await;
    let stub = Stub::start(Script::allow()).await.unwrap();
    let mut proxy = Countersign::asking(&stub.url()).kafka(&kafka.bootstrap(), "weak").start().await;
    assert!(proxy.ask(&question("alice", "s3:GetObject", "reports", "a")).await.allowed());
    let said = async || proxy.log().contains("countersign.checkpoints` does not exist").then_some(());
    eventually("both topics are spoken of", said).await;
    for once in ["topic `weak`: cleanup.policy is compact", "--entity-name weak --add-config cleanup.policy=delete"] {
        assert_eq!(proxy.log().matches(once).count(), 1, "{once}: {}", proxy.log());
    }
    proxy.stop().await;
}
