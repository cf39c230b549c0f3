//! The tour: asks the sample questions as MinIO would, reads the decisions from the stream, and shows both. Runs in a
//! thread of its own while the process serves.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::questions::{self, Scene};
use super::{Addresses, TOPIC};
use crate::audit::envelope::{micros, rfc3339};
use crate::kafka::client::Connection;
use crate::kafka::reader::{Next, Reader, Start};

/// How long the demo's own parts may take.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

pub fn run(at: &Addresses) -> anyhow::Result<()> {
    wait_for(at.listen)?;
    wait_for(at.authorizer)?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "Countersign answers on http://{}/, asks a sample authorizer, and publishes to a broker at {}.\n",
        at.listen, at.broker
    )?;
    let scenes = questions::scenes(&rfc3339(micros(SystemTime::now())));
    for scene in &scenes {
        act(at.listen, scene)?;
    }
    let asked = scenes.iter().map(|scene| scene.questions.len()).sum();
    let decisions = read(&at.broker, asked)?;
    writeln!(out, "What was asked, and the decisions as any Kafka client reads them from `{TOPIC}`:\n")?;
    show(&mut out, &scenes, &decisions)?;
    close(&mut out, at)?;
    Ok(())
}

fn wait_for(address: SocketAddr) -> anyhow::Result<()> {
    let began = Instant::now();
    while TcpStream::connect(address).is_err() {
        ensure!(began.elapsed() < PATIENCE, "nothing answers on {address}");
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Asks a scene's questions. While the spool is being opened the answer is 503; then it is asked again.
fn act(listen: SocketAddr, scene: &Scene) -> anyhow::Result<()> {
    for question in &scene.questions {
        let began = Instant::now();
        while post(listen, &question.to_string())? == 503 {
            ensure!(began.elapsed() < PATIENCE, "the spool did not become usable");
            std::thread::sleep(POLL);
        }
    }
    Ok(())
}

/// The status of the answer.
fn post(listen: SocketAddr, body: &str) -> anyhow::Result<u16> {
    let mut stream = TcpStream::connect(listen)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: {listen}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len(),
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    status.context("an answer that is none")
}

/// The decisions in the stream, once there are `count` of them.
fn read(broker: &str, count: usize) -> anyhow::Result<Vec<Value>> {
    let connection =
        Connection { brokers: vec![broker.to_owned()], properties: Vec::new(), client_id: "demo".to_owned() };
    let mut reader = Reader::open(&connection, TOPIC, Start::Beginning, true)?;
    let (began, mut decisions) = (Instant::now(), Vec::new());
    while decisions.len() < count {
        ensure!(began.elapsed() < PATIENCE, "only {} of {count} decisions are in Kafka", decisions.len());
        match reader.next(POLL)? {
            Next::Record(record) => {
                let value: Value = serde_json::from_slice(&record.value)?;
                if value.get("type").and_then(Value::as_str) == Some("io.countersign.decision.v1") {
                    decisions.push(value);
                }
            }
            Next::Idle => {}
            Next::End => bail!("a followed topic has no end"),
        }
    }
    Ok(decisions)
}

fn show(out: &mut impl std::io::Write, scenes: &[Scene], decisions: &[Value]) -> std::io::Result<()> {
    let text =
        |record: &Value, pointer: &str| record.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned();
    let mut decisions = decisions.iter();
    for scene in scenes {
        writeln!(out, "{}", scene.told)?;
        for record in decisions.by_ref().take(scene.questions.len()) {
            let bucket = text(record, "/data/resource/bucket");
            let object = text(record, "/data/resource/object");
            let resource = if object == "-" { bucket } else { format!("{bucket}/{object}") };
            let micros = record.pointer("/data/latency_us").and_then(Value::as_u64).unwrap_or_default();
            writeln!(
                out,
                "  {:<5} {:<8} {:<10} {:<26} {:<32} {:<10} {micros:>6} us",
                text(record, "/data/decision"),
                text(record, "/data/reason"),
                text(record, "/data/actor/account"),
                text(record, "/data/action"),
                resource,
                text(record, "/data/origin"),
            )?;
        }
    }
    Ok(())
}

fn close(out: &mut impl std::io::Write, at: &Addresses) -> std::io::Result<()> {
    writeln!(
        out,
        "\nA denied GetObjectRetention or GetObjectLegalHold is no refusal: MinIO only hides metadata then (`advisory`)."
    )?;
    writeln!(out, "\nTo attach a real MinIO, start it with\n")?;
    writeln!(out, "  MINIO_POLICY_PLUGIN_URL=http://{}/", at.listen)?;
    writeln!(out, "  MINIO_POLICY_PLUGIN_AUTH_TOKEN=            (none is needed on loopback)")?;
    writeln!(out, "\nTo look further:\n")?;
    writeln!(out, "  countersign tail --brokers {} --topic {TOPIC}", at.broker)?;
    writeln!(out, "  curl http://{}/metrics", at.admin)?;
    out.flush()
}
