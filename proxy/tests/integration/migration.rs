//! An old authorizer replaced by a new one, under a real MinIO that never notices: the steps of `docs/MIGRATION.md` in
//! their order, with a client that works all the while.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use loadtest::laboratory::kafka::Kafka;
use loadtest::laboratory::mc::Mc;
use loadtest::laboratory::opa::Opa;
use loadtest::laboratory::{Laboratory, SAMPLE_POLICY, require};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::stand::{TOPIC, published};
use crate::support::{Countersign, Running, eventually, http};

const TOKEN: &str = "Bearer minio";

/// A name that can be made to lead elsewhere, as DNS or a service would: what MinIO has as its plug-in's URL.
struct Name {
    address: SocketAddr,
    leads_to: watch::Sender<SocketAddr>,
}

impl Name {
    async fn leading_to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (leads_to, watched) = watch::channel(target);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let leads_to = watched.clone();
                tokio::spawn(async move { drop(relay(client, leads_to).await) });
            }
        });
        Self { address, leads_to }
    }

    fn lead_to(&self, target: SocketAddr) {
        self.leads_to.send_replace(target);
    }
}

/// Between a client and what the name leads to. Where it leads elsewhere, a client's connection goes on to there with its
/// next question, and is never closed: a question that was sent at that very moment would be a refused call.
async fn relay(mut client: TcpStream, mut leads_to: watch::Receiver<SocketAddr>) -> std::io::Result<()> {
    let target = *leads_to.borrow_and_update();
    let mut server = TcpStream::connect(target).await?;
    let (mut question, mut answer) = ([0; 16 * 1024], [0; 16 * 1024]);
    let mut is_waiting = false;
    loop {
        tokio::select! {
            read = client.read(&mut question) => match read? {
                0 => return Ok(()),
                length => {
                    is_waiting = true;
                    server.write_all(&question[..length]).await?;
                }
            },
            read = server.read(&mut answer) => match read? {
                0 => return Ok(()),
                length => {
                    is_waiting = false;
                    client.write_all(&answer[..length]).await?;
                }
            },
            moved = leads_to.changed(), if !is_waiting => {
                if moved.is_err() {
                    return Ok(());
                }
                let target = *leads_to.borrow_and_update();
                server = TcpStream::connect(target).await?;
            }
        }
    }
}

/// Works as alice until told to stop, and counts.
struct Client {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    works: tokio::task::JoinHandle<Mc>,
}

impl Client {
    fn start(mc: Mc) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (stop.clone(), rounds.clone());
        let works = tokio::spawn(async move {
            while !stopped.load(Ordering::Acquire) {
                let object = format!("alice/reports/home/alice/{}", counted.load(Ordering::Acquire) % 4);
                mc.run(&["cp", "a.txt", &object]).await.unwrap();
                assert_eq!(mc.run(&["cat", &object]).await.unwrap(), "hello");
                mc.run(&["ls", "alice/reports/home/alice/"]).await.unwrap();
                mc.run(&["rm", &object]).await.unwrap();
                counted.fetch_add(1, Ordering::AcqRel);
            }
            mc
        });
        Self { stop, rounds, works }
    }

    /// So many more rounds, each of them without a refused call.
    async fn go_on(&self, rounds: u64) {
        let until = self.rounds.load(Ordering::Acquire) + rounds;
        eventually("the client works", async || {
            assert!(!self.works.is_finished(), "a call was refused");
            (self.rounds.load(Ordering::Acquire) >= until).then_some(())
        })
        .await;
    }

    async fn stop(self) -> Mc {
        self.stop.store(true, Ordering::Release);
        self.works.await.unwrap()
    }
}

fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").split('/').next().unwrap().parse().unwrap()
}

/// Gives a running OPA its policy, as an operator would with a bundle.
async fn policy(opa: &Opa, rego: &str) {
    let mut stream = TcpStream::connect(address(&opa.url(""))).await.unwrap();
    let put = http::request("PUT", "/v1/policies/minio", &[], rego.as_bytes());
    stream.write_all(&put).await.unwrap();
    let answer = http::read(&mut stream).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// Edits the configuration and waits until it is in force.
async fn change(proxy: &Running, from: &str, to: &str) {
    let before = proxy.log().matches("configuration in force").count();
    let text = std::fs::read_to_string(proxy.config_file()).unwrap();
    assert!(text.contains(from), "{from} is not in\n{text}");
    std::fs::write(proxy.config_file(), text.replace(from, to)).unwrap();
    proxy.signal("HUP");
    let changes = async || (proxy.log().matches("configuration in force").count() > before).then_some(());
    eventually("it is in force", changes).await;
}

async fn compared(proxy: &Running, authorizer: &str, difference: &str) -> f64 {
    let labels = format!("{{route=\"default\",authorizer=\"{authorizer}\",difference=\"{difference}\"}}");
    proxy.metric(&format!("countersign_shadow_comparisons_total{labels}")).await
}

struct Parts {
    kafka: Kafka,
    legacy: Opa,
    opa: Opa,
}

/// `None` where this machine cannot run them, which has been said.
async fn parts() -> Option<Parts> {
    let lab = Laboratory::open().unwrap();
    let kafka = require(lab.kafka().start().await)?;
    kafka.create_topic(TOPIC, 3).await.unwrap();
    let legacy = require(lab.opa().start().await)?;
    let opa = require(lab.opa().policy("package empty").start().await)?;
    // What the new one gets wrong: alice cannot delete.
    let wrong = SAMPLE_POLICY.replace(", \"s3:DeleteObject\"}", "}");
    assert_ne!(wrong, SAMPLE_POLICY);
    policy(&opa, &wrong).await;
    Some(Parts { kafka, legacy, opa })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_authorizer_is_replaced_and_no_call_fails() {
    let Some(Parts { kafka, mut legacy, opa }) = parts().await else { return };
    let (old, new) = (legacy.url("minio/allow"), opa.url("minio/allow"));

    // Before Countersign: MinIO asks the old authorizer by a name.
    let name = Name::leading_to(address(&old)).await;
    let url = format!("http://{}/v1/data/minio/allow", name.address);
    let minio = Laboratory::open().unwrap().minio().plugin(&url, Some(TOKEN)).start().await;
    let Some(minio) = require(minio) else { return };
    let mc = minio.mc().unwrap().user("alice", "alice-secret").await.unwrap();
    mc.run(&["mb", "root/reports"]).await.unwrap();
    std::fs::write(mc.home().join("a.txt"), "hello").unwrap();
    let client = Client::start(mc);
    client.go_on(1).await;

    // Countersign is put in between: it asks the old authorizer, and the name leads to it.
    let authorizers = format!(
        "[[authorizer]]\nname = \"legacy\"\nurl = \"{old}\"\n[[authorizer]]\nname = \"opa\"\nurl = \"{new}\"\n\
         [[route]]\nname = \"default\"\nask = [\"legacy\"]\n"
    );
    let setup = Countersign::custom(&authorizers).listen("drain = \"0s\"\npath = \"/v1/data/minio/allow\"");
    let proxy = setup.token(TOKEN).kafka(&kafka.bootstrap(), TOPIC).start().await;
    name.lead_to(proxy.address());
    client.go_on(2).await;
    assert!(
        proxy.metric("countersign_authorizer_requests_total{authorizer=\"legacy\",outcome=\"allowed\"}").await > 10.0
    );

    // The new one beside it, and what it would have done.
    change(&proxy, "ask = [\"legacy\"]", "ask = [\"legacy\"]\nshadow = [\"opa\"]").await;
    client.go_on(2).await;
    assert!(compared(&proxy, "opa", "none").await > 0.0);
    assert!(compared(&proxy, "opa", "would_deny").await > 0.0);
    assert_eq!(compared(&proxy, "opa", "would_allow").await, 0.0);

    // Its policy is mended; from then on there is no difference.
    policy(&opa, SAMPLE_POLICY).await;
    // The round that this came into, and a whole one after it: shadows are asked when the answer has left.
    client.go_on(2).await;
    let (differed, same) = (compared(&proxy, "opa", "would_deny").await, compared(&proxy, "opa", "none").await);
    client.go_on(2).await;
    assert_eq!(compared(&proxy, "opa", "would_deny").await, differed);
    assert!(compared(&proxy, "opa", "none").await > same + 10.0);

    // They change places; then nobody needs the old one.
    change(&proxy, "ask = [\"legacy\"]\nshadow = [\"opa\"]", "ask = [\"opa\"]\nshadow = [\"legacy\"]").await;
    client.go_on(2).await;
    assert!(compared(&proxy, "legacy", "none").await > 0.0);
    change(&proxy, "shadow = [\"legacy\"]", "shadow = []").await;
    legacy.stop().await;
    client.go_on(2).await;
    client.stop().await;

    told(&published(&kafka, &proxy).await);
}

/// The stream tells the story: who decided, what differed, and that nothing else was refused than before.
fn told(records: &[serde_json::Value]) {
    let kind = |record: &serde_json::Value, what: &str| record["type"] == format!("io.countersign.{what}.v1");
    // What one refuses, and the client does without, the other refuses as well.
    let refused = |by: &str| -> BTreeSet<&str> {
        let denies = records.iter().filter(|record| {
            kind(record, "decision") && record["data"]["decision"] == "deny" && record["data"]["decided_by"] == by
        });
        denies.map(|record| record["data"]["action"].as_str().unwrap()).collect()
    };
    assert_eq!(refused("legacy"), refused("opa"));
    let faults = records.iter().filter(|record| record["data"]["origin"] == "fault").count();
    assert_eq!(faults, 0);
    // Seen: the old one was stopped while its last question was still with it. It was no verdict, and of nobody else.
    let stopped = |data: &serde_json::Value| data["difference"] == "fault" && data["shadow"]["name"] == "legacy";
    let says = |record: &&serde_json::Value| kind(record, "shadow") && !stopped(&record["data"]);
    let differences: Vec<_> = records.iter().filter(says).collect();
    assert!(!differences.is_empty());
    for difference in differences {
        assert_eq!(difference["data"]["difference"], "would_deny");
        assert_eq!(difference["data"]["action"], "s3:DeleteObject");
    }
    let changes = records.iter().filter(|record| record["data"]["event"] == "config_changed").count();
    assert_eq!(changes, 3);
    let decided = |by: &str| records.iter().filter(|record| record["data"]["decided_by"] == by).count();
    assert!(decided("legacy") > 20 && decided("opa") > 20);
}
