//! `publish` as its users run it: a spool that lost its process, and delivered records again, against a real Kafka.
//! What the publisher does when a broker misbehaves is tested in `publisher`.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use countersign::kafka::Connection;
use countersign::kafka::reader::{Next, Reader, Start};
use loadtest::laboratory::kafka::Kafka;
use loadtest::laboratory::{Laboratory, require};
use loadtest::load::Load;
use loadtest::stub::{Script, Stub};
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::support::records::{Raw, checked, in_spool};
use crate::support::stand::{TOPIC, in_kafka, published};
use crate::support::{Countersign, PATIENCE, Running, binary, eventually, question};

const CHECKPOINTS: &str = "countersign.checkpoints";
/// Nobody listens there.
const NOWHERE: &str = "127.0.0.1:1";

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A `publish` under way. It ends with the test, however that ends: its brokers may be gone, and it would wait for them.
struct UnderWay(Option<Child>);

impl UnderWay {
    fn ended(mut self) -> (i32, String) {
        ended(self.0.take().expect("it ends once"))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn ended(child: Child) -> (i32, String) {
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap();
    (done.status.code().unwrap_or(-1), said)
}

fn run(args: &[&str]) -> (i32, String) {
    ended(command(args).spawn().unwrap())
}

fn publish(spool: &Path, bootstrap: &str, more: &[&str]) -> (i32, String) {
    let from = ["publish", "--spool", spool.to_str().unwrap(), "--timeout", "60s"];
    run(&[&from[..], &["--brokers", bootstrap, "--topic", TOPIC], more].concat())
}

async fn kafka() -> Option<Kafka> {
    let kafka = require(Laboratory::open().unwrap().kafka().start().await)?;
    kafka.create_topic(TOPIC, 3).await.unwrap();
    kafka.create_topic(CHECKPOINTS, 1).await.unwrap();
    Some(kafka)
}

async fn asked(proxy: &Running, count: usize) {
    for n in 0..count {
        assert!(proxy.ask(&question("alice", "s3:GetObject", "reports", &n.to_string())).await.allowed());
    }
}

fn bytes(records: &[Raw]) -> Vec<&[u8]> {
    records.iter().map(|raw| &raw.bytes[..]).collect()
}

fn of_chain<'r>(records: &'r [Raw], like: &Raw) -> Vec<&'r [u8]> {
    let id = |raw: &Raw| raw.value["data"]["chain"]["id"].clone();
    records.iter().filter(|raw| id(raw) == id(like)).map(|raw| &raw.bytes[..]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphaned_spool_arrives_whole_and_once() {
    let Some(kafka) = kafka().await else { return };
    let (home, stub) = (tempfile::tempdir().unwrap(), Stub::start(Script::allow()).await.unwrap());
    let setup = Countersign::asking(&stub.url()).on(home.path()).audit("checkpoint_every = \"1s\"");
    let mut proxy = setup.kafka(NOWHERE, TOPIC).start().await;
    // Two chains, both ended by a crash.
    asked(&proxy, 20).await;
    proxy.kill().await;
    proxy.start_again().await;
    asked(&proxy, 20).await;
    let live = publish(home.path(), &kafka.bootstrap(), &[]);
    assert!(live.0 == 2 && live.1.contains("locked") && live.1.contains("--again"), "{}", live.1);
    assert!(in_kafka(&kafka).await.is_empty(), "a live spool is left alone");
    proxy.kill().await;
    let before = in_spool(home.path());

    let (code, said) = publish(home.path(), &kafka.bootstrap(), &[]);
    assert!(code == 0 && said.starts_with(&format!("{} records published", before.len())), "{said}");
    let arrived = in_kafka(&kafka).await;
    assert_eq!(arrived.len(), before.len());
    for chain in [&before[0], &before[before.len() - 1]] {
        assert_eq!(of_chain(&arrived, chain), of_chain(&before, chain), "byte for byte, in order");
    }
    assert_eq!(bytes(&in_spool(home.path())), bytes(&before), "no chain was gone on with");
    checked(arrived);
    let kept = kafka.records(CHECKPOINTS).await.unwrap();
    let stated = before.iter().filter(|raw| raw.value["type"] == "io.countersign.checkpoint.v1").count();
    assert!(stated > 0 && kept.len() == stated, "{} of {stated} checkpoints", kept.len());
    let from = ["verify", "--brokers", &kafka.bootstrap(), "--topic", TOPIC, "--checkpoint-topic", CHECKPOINTS];
    let (code, said) = run(&from);
    assert!(code == 0 && said.starts_with("whole, gaps declared: "), "{said}");

    // The cursor has moved: nothing is sent twice, unless it is gone.
    let (code, said) = publish(home.path(), &kafka.bootstrap(), &[]);
    assert!(code == 0 && said.starts_with("0 records published"), "{said}");
    for epoch in std::fs::read_dir(home.path().join("epochs")).unwrap() {
        std::fs::remove_file(epoch.unwrap().path().join("cursor")).unwrap();
    }
    let (code, said) = publish(home.path(), &kafka.bootstrap(), &[]);
    assert!(code == 0 && said.starts_with(&format!("{} records published", before.len())), "{said}");

    // A process that comes back after all names the end of the chain, and has nothing left to ship of it.
    proxy.start_again().await;
    asked(&proxy, 1).await;
    let chains: Vec<String> = proxy.records().iter().map(|r| r["data"]["chain"]["id"].to_string()).collect();
    assert!(chains.last() != chains.first());
}

#[tokio::test(flavor = "multi_thread")]
async fn delivered_records_are_published_again_beside_a_live_process() {
    let Some(kafka) = kafka().await else { return };
    let (home, stub) = (tempfile::tempdir().unwrap(), Stub::start(Script::allow()).await.unwrap());
    let setup = Countersign::asking(&stub.url()).on(home.path()).kafka(&kafka.bootstrap(), TOPIC);
    let proxy = setup.start().await;
    asked(&proxy, 20).await;
    let first = published(&kafka, &proxy).await;
    let id = first[0]["data"]["chain"]["id"].as_str().unwrap().to_owned();
    // The cursor is written once a second.
    let stored = async || {
        let (_, said) = publish(home.path(), &kafka.bootstrap(), &["--again", "--chain", &id, "--seq", "15-15"]);
        said.starts_with("1 records published").then_some(())
    };
    eventually("the cursor is written", stored).await;
    let before = in_kafka(&kafka).await;

    let (code, said) = publish(home.path(), &kafka.bootstrap(), &["--again", "--chain", &id, "--seq", "3-7"]);
    assert!(code == 0 && said.starts_with("5 records published"), "{said}");
    let after = in_kafka(&kafka).await;
    // The process goes on, with checkpoints if nothing else.
    let (was, mut again) =
        (of_chain(&before, &before[0]), of_chain(&after, &before[0]).split_off(of_chain(&before, &before[0]).len()));
    again.retain(|value| was.contains(value));
    assert!(again == was[3..=7], "{} of 5: byte for byte, in order, and in the chain's partition", again.len());
    let (code, said) = publish(home.path(), &kafka.bootstrap(), &["--again", "--chain", &id, "--seq", "10-1000000"]);
    assert!(code == 1 && said.contains("are not published"), "{said}");
    let (code, said) = publish(home.path(), &kafka.bootstrap(), &["--again", "--until", "2001-01-01T00:00:00Z"]);
    assert!(code == 0 && said.starts_with("0 records published"), "{said}");
    let (code, said) = publish(home.path(), &kafka.bootstrap(), &["--again", "--since", "1h"]);
    assert!(code == 0 && !said.starts_with("0 "), "{said}");

    asked(&proxy, 3).await;
    published(&kafka, &proxy).await;
    let (code, said) = run(&["verify", "--brokers", &kafka.bootstrap(), "--topic", TOPIC]);
    assert!(code == 0 && said.starts_with("whole: ") && said.contains("delivered again"), "{said}");
}

/// What the process has not delivered is its own to ship, in order.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_published_again_that_was_not_delivered() {
    let Some(kafka) = kafka().await else { return };
    let (home, stub) = (tempfile::tempdir().unwrap(), Stub::start(Script::allow()).await.unwrap());
    let proxy = Countersign::asking(&stub.url()).on(home.path()).kafka(NOWHERE, TOPIC).start().await;
    asked(&proxy, 5).await;
    let (code, said) = publish(home.path(), &kafka.bootstrap(), &["--again"]);
    assert!(code == 0 && said.starts_with("0 records published"), "{said}");
    assert!(in_kafka(&kafka).await.is_empty());
}

/// A broker that takes one batch and no more, so that half-way lasts until the signal, however late that is.
#[tokio::test(flavor = "multi_thread")]
async fn killed_or_interrupted_half_way_it_loses_nothing() {
    const REFUSED: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 1, 1).unwrap();
    cluster.create_topic(CHECKPOINTS, 1, 1).unwrap();
    let bootstrap = cluster.bootstrap_servers();
    let (home, stub) = (tempfile::tempdir().unwrap(), Stub::start(Script::allow()).await.unwrap());
    // A checkpoint is a batch as well, and could be the one that is taken.
    let setup =
        Countersign::asking(&stub.url()).on(home.path()).audit("checkpoint_every = \"1h\"\ndurability = \"written\"");
    let mut proxy = setup.kafka(NOWHERE, TOPIC).start().await;
    let load = Load::new(proxy.url()).connections(16).start().await.unwrap();
    assert!(load.answered(6000).await);
    load.stop().await.unwrap();
    proxy.kill().await;
    let whole = in_spool(home.path());

    let to = ["publish", "--spool", home.path().to_str().unwrap(), "--brokers", &bootstrap, "--topic", TOPIC];
    let mut arrived = 0;
    for signal in ["-KILL", "-INT"] {
        cluster.clear_request_errors(RDKafkaApiKey::Produce);
        let taken = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR];
        cluster.request_errors(RDKafkaApiKey::Produce, &[&taken[..], &[REFUSED; 10_000]].concat());
        let child = command(&to).spawn().unwrap();
        let (pid, child) = (child.id().to_string(), UnderWay(Some(child)));
        let more = async || {
            let now = count(&bootstrap);
            (now > arrived).then_some(now)
        };
        arrived = eventually("something has arrived", more).await;
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let (code, said) = child.ended();
        assert!(code == if signal == "-INT" { 2 } else { -1 }, "{signal}: {code} {said}");
        assert!(signal != "-INT" || said.contains("interrupted, and not everything is published"), "{said}");
    }
    assert!(arrived < whole.len(), "{arrived} of {} arrived, and half-way was never", whole.len());
    cluster.clear_request_errors(RDKafkaApiKey::Produce);
    let (code, said) = run(&to);
    assert!(code == 0, "{said}");
    let mut records: Vec<Raw> = values(&bootstrap).iter().map(|value| Raw::new(value)).collect();
    assert!(records.len() >= whole.len());
    // First occurrences, in order, are what the spool holds.
    let mut seen = std::collections::HashSet::new();
    records.retain(|raw| seen.insert(raw.bytes.clone()));
    assert!(bytes(&records) == bytes(&whole), "{} of {} records", records.len(), whole.len());
}

fn values(bootstrap: &str) -> Vec<Vec<u8>> {
    let brokers = vec![bootstrap.to_owned()];
    let connection = Connection { brokers, properties: Vec::new(), client_id: "test".into() };
    let mut reader = Reader::open(&connection, TOPIC, Start::Beginning, false).unwrap();
    let mut found = Vec::new();
    loop {
        match reader.next(PATIENCE).unwrap() {
            Next::Record(record) => found.push(record.value),
            Next::Idle => panic!("nothing came after {} records", found.len()),
            Next::End => return found,
        }
    }
}

fn count(bootstrap: &str) -> usize {
    values(bootstrap).len()
}

#[test]
fn usage_and_what_cannot_be_shipped() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().to_str().unwrap();
    for wrong in [
        &["publish"][..],
        &["publish", "--spool", dir],
        &["publish", "--spool", dir, "--brokers", NOWHERE],
        &["publish", "--spool", dir, "--brokers", NOWHERE, "--topic", "t", "--since", "1h"],
        &["publish", "--spool", dir, "--brokers", NOWHERE, "--topic", "t", "--again", "--since", "never"],
        &["publish", "--spool", dir, "--brokers", NOWHERE, "--topic", "t", "--again", "--seq", "1-2"],
        &["publish", "--spool", dir, "--brokers", NOWHERE, "--topic", "t", "--property", "request.required.acks=0"],
    ] {
        let done = command(wrong).env_remove("COUNTERSIGN_CONFIG").spawn().unwrap();
        let (code, said) = ended(done);
        assert_eq!(code, 64, "{wrong:?}: {said}");
    }
    for again in [&[][..], &["--again"]] {
        let (code, said) = publish(home.path(), NOWHERE, again);
        assert!(code == 2 && said.contains("is no spool"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_stay_away_leave_everything_where_it_is() {
    let (home, stub) = (tempfile::tempdir().unwrap(), Stub::start(Script::allow()).await.unwrap());
    let mut proxy = Countersign::asking(&stub.url()).on(home.path()).kafka(NOWHERE, TOPIC).start().await;
    asked(&proxy, 3).await;
    proxy.kill().await;
    let to = ["publish", "--spool", home.path().to_str().unwrap(), "--brokers", NOWHERE, "--topic", TOPIC];
    let (code, said) = run(&[&to[..], &["--timeout", "500ms"]].concat());
    assert!(code == 2 && said.contains("time is over, and not everything is published"), "{said}");
    assert!(said.contains("0 records published"), "{said}");
    // The configuration names both spool and brokers.
    let config = home.path().join("c.toml");
    let text = format!(
        "[listen]\naddress = \"127.0.0.1:1\"\n[[authorizer]]\nname = \"a\"\nurl = \"http://127.0.0.1:1/\"\n\
         [audit]\nspool = {:?}\n[kafka]\nbrokers = [{NOWHERE:?}]\ntopic = {TOPIC:?}\n",
        home.path()
    );
    std::fs::write(&config, text).unwrap();
    let (code, said) = run(&["publish", "--config", config.to_str().unwrap(), "--timeout", "100ms"]);
    assert!(code == 2 && said.contains("time is over"), "{said}");
}
