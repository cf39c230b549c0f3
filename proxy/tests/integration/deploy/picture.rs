//! The configuration files of `config/compose`, with real parts in place of the containers: what the broker's environment
//! says, the scripts of the one-shot services, every health check that does not need its image. Only addresses differ.

use std::path::Path;
use std::process::Command;

use loadtest::laboratory::countersign::Countersign;
use loadtest::laboratory::kafka::Kafka;
use loadtest::laboratory::minio::Minio;
use loadtest::laboratory::opa::Opa;
use loadtest::laboratory::{Laboratory, require};
use serde_json::Value;

use super::super::support::{binary, eventually};
use super::compose::{FOLDER, project};
use super::{DOCKERFILE, list, read, run, text};

/// Kafka's own variables, as its image turns them into properties; with our addresses.
fn properties(service: &Value) -> String {
    let variables = service["environment"].as_object().unwrap();
    let line = |(name, value): (&String, &Value)| {
        let name = name.strip_prefix("KAFKA_").unwrap().to_lowercase().replace('_', ".");
        let value = value.as_str().unwrap().replace("://:", "://127.0.0.1:").replace("kafka:", "127.0.0.1:");
        format!("{name}={value}\n")
    };
    let text: String = variables.iter().map(line).collect();
    let places = [(":19092", ":{port}"), (":9092", ":{more}"), (":9093", ":{controller}"), ("/var/lib/kafka", "{dir}")];
    places.into_iter().fold(text, |text, (theirs, ours)| text.replace(theirs, ours))
}

/// The words of a health check behind its first, `CMD`.
fn health(project: &Value, service: &str) -> Vec<String> {
    let test = list(&project["services"][service], "/healthcheck/test");
    assert_eq!(test.first().and_then(Value::as_str), Some("CMD"), "{service}");
    test.iter().skip(1).map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// The script of a service that runs once.
fn script(project: &Value, service: &str, member: &str) -> String {
    let words = list(&project["services"][service], member);
    let [shell, flags, script] = words else { panic!("{service}: {words:?}") };
    assert_eq!((shell.as_str(), flags.as_str()), (Some("/bin/sh"), Some("-ec")));
    script.as_str().unwrap().to_owned()
}

async fn with_topics(lab: &Laboratory, project: &Value) -> Option<Kafka> {
    let kafka = require(lab.kafka().whole(&properties(&project["services"]["kafka"])).start().await)?;
    let check = health(project, "kafka");
    assert!(check[0].ends_with("/kafka-broker-api-versions.sh"));
    let class = "org.apache.kafka.tools.BrokerApiVersionsCommand";
    let broker = check[2].replace("kafka:19092", &kafka.bootstrap());
    kafka.java_tool(class, &[check[1].as_str(), broker.as_str()]).await.unwrap();
    let topics = script(project, "topics", "/command").replace("kafka:19092", &kafka.bootstrap());
    let topics = topics.replace("/opt/kafka/bin/kafka-topics.sh", &kafka.tool("org.apache.kafka.tools.TopicCommand"));
    // Twice: the second `up` finds them.
    for _ in 0..2 {
        run(Command::new("sh").args(["-ec", &topics])).unwrap_or_else(|why| panic!("{why}"));
    }
    Some(kafka)
}

/// `host:port` of where it is asked.
fn address(opa: &Opa) -> String {
    opa.url("").trim_start_matches("http://").split('/').next().unwrap().to_owned()
}

fn asks_itself(project: &Value, opa: &Opa) {
    let check = health(project, "opa");
    assert_eq!(check[0], "/opa");
    let ask = |address: &str| {
        let words = check.iter().skip(1).map(|word| word.replace("127.0.0.1:8181", address));
        run(Command::new(opa.program()).args(words))
    };
    ask(&address(opa)).unwrap_or_else(|why| panic!("{why}"));
    // The control: nobody is there.
    assert!(ask("127.0.0.1:1").is_err());
}

/// Countersign with the file that the container has.
async fn among(lab: &Laboratory, kafka: &Kafka, opa: &Opa, collector: &str) -> Countersign {
    let (broker, authorizer) = (kafka.bootstrap(), address(opa));
    let places = [
        ("0.0.0.0:8281", "127.0.0.1:{port}"),
        ("0.0.0.0:9281", "127.0.0.1:{admin_port}"),
        ("/run/secrets/", "{dir}/"),
        ("/var/lib/countersign/spool", "{dir}/spool"),
        ("kafka:19092", broker.as_str()),
        ("opa:8181", authorizer.as_str()),
        ("http://collector:4318", collector),
    ];
    let toml = places.into_iter().fold(read(format!("{FOLDER}/countersign.toml")), |toml, (theirs, ours)| {
        assert!(toml.contains(theirs), "{theirs}");
        toml.replace(theirs, ours)
    });
    let token = read(format!("{FOLDER}/secrets/minio-token"));
    let proxy = lab.countersign(Path::new(binary())).config(&toml).file("minio-token", &token).start().await.unwrap();
    proxy.until_recording().await.unwrap();
    proxy
}

/// What MinIO waits for.
fn looks_at_itself(project: &Value, proxy: &Countersign) {
    let check = health(project, "countersign");
    assert!(DOCKERFILE.contains(&format!("ENTRYPOINT [\"{}\"]", check[0])), "{check:?}");
    let look = |admin: &str| run(Command::new(binary()).args(&check[1..]).env("COUNTERSIGN_ADMIN", admin));
    look(&format!("http://{}", proxy.admin())).unwrap_or_else(|why| panic!("{why}"));
    // The control: the other listener is no place to ask this.
    assert!(look(&proxy.url()).is_err());
}

async fn minio_with_people(lab: &Laboratory, project: &Value, proxy: &Countersign, home: &Path) -> Option<Minio> {
    let environment = home.join("minio-environment");
    std::fs::write(&environment, read(format!("{FOLDER}/secrets/minio-environment"))).unwrap();
    let environment = environment.display().to_string();
    let setup = lab.minio().env("MINIO_CONFIG_ENV_FILE", &environment).env("MINIO_POLICY_PLUGIN_URL", &proxy.url());
    let minio = require(setup.start().await)?;
    let mc = minio.mc().unwrap();
    let people = script(project, "people", "/entrypoint").replace("/run/secrets/minio-environment", &environment);
    let people = people.replace("http://minio:9000", &minio.url());
    let path = format!("{}:{}", mc.program().parent().unwrap().display(), std::env::var("PATH").unwrap());
    for _ in 0..2 {
        let mut shell = Command::new("sh");
        shell.args(["-ec", &people]).env("PATH", &path).env("MC_CONFIG_DIR", home).env("HOME", home);
        run(&mut shell).unwrap_or_else(|why| panic!("{why}"));
    }
    Some(minio)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_the_picture_work_together() {
    let lab = Laboratory::open().unwrap();
    let Some(project) = project().await else { return };
    let home = tempfile::tempdir().unwrap();
    let Some(kafka) = with_topics(&lab, &project).await else { return };
    let Some(opa) = require(lab.opa().start().await) else { return };
    asks_itself(&project, &opa);
    let collecting = read(format!("{FOLDER}/collector.yaml")).replace("0.0.0.0:4318", "{address}");
    // Its own metrics would take a port that is everybody's.
    let collecting = collecting.replace("service:\n", "service:\n  telemetry:\n    metrics:\n      level: none\n");
    let Some(collector) = require(lab.collector().config(&collecting).start().await) else { return };
    let proxy = among(&lab, &kafka, &opa, &collector.endpoint()).await;
    looks_at_itself(&project, &proxy);
    let Some(minio) = minio_with_people(&lab, &project, &proxy, home.path()).await else { return };

    let mc = minio.mc().unwrap().alias("alice", "alice", "alice-secret").alias("bob", "bob", "bob-secret");
    std::fs::write(mc.home().join("plan.txt"), "the plan\n").unwrap();
    mc.run(&["cp", "plan.txt", "alice/reports/home/alice/plan.txt"]).await.unwrap();
    let refused = mc.attempt(&["cat", "bob/reports/home/alice/plan.txt"]).await.unwrap();
    assert_ne!(refused.code, Some(0), "{}", refused.stdout);

    let decided = async |account: &str, decision: &str| {
        let records = kafka.records("countersign.decisions").await.unwrap();
        records.iter().any(|record| {
            let record: Value = serde_json::from_slice(&record.value).unwrap();
            text(&record, "/data/actor/account") == account && text(&record, "/data/decision") == decision
        })
    };
    eventually("alice's allow is in Kafka", async || decided("alice", "allow").await.then_some(())).await;
    eventually("bob's deny is in Kafka", async || decided("bob", "deny").await.then_some(())).await;
    eventually("the trace is at the collector", async || collector.output().contains("authorizer opa").then_some(()))
        .await;
}
