//! The peers that Countersign is compared with, each set up to do its best with the same question.

use std::path::PathBuf;

use anyhow::Context;

use crate::laboratory::kafka::Kafka;
use crate::laboratory::nginx::Nginx;
use crate::laboratory::opa::Opa;
use crate::laboratory::{self, Laboratory, Part, SAMPLE_POLICY, Versions};
use crate::question::Question;

/// As in the workspace's manifest, which a test holds it to.
const PINGORA: &str = "0.9.1";
/// So that no connection ends during a run.
const NO_LIMIT: &str = "keepalive_requests 1000000000; keepalive_timeout 1h;";

/// Of a Countersign that asks every time.
pub(super) const NO_CACHE: &str = "[cache]\nallow_ttl = \"0s\"\ndeny_ttl = \"0s\"\n";
const TOPIC: &str = "countersign.decisions";
const CHECKPOINTS: &str = "countersign.checkpoints";

/// As many as this machine has cores: what Countersign, OPA and the pingora peers take by themselves.
fn workers() -> u16 {
    u16::try_from(crate::peers::cores()).unwrap_or(u16::MAX)
}

/// The question that everyone answers: a read that the sample policy allows.
pub(super) fn question() -> Question {
    let object = "home/alice/2026/11/q4.csv";
    Question::new("alice", "s3:GetObject", "reports", object).size(crate::load::QUESTION_SIZE)
}

/// OPA deciding by the sample policy, its decision log off or on its console.
pub(super) async fn opa(lab: &Laboratory, decision_log: bool) -> anyhow::Result<Opa> {
    let opa = lab.opa().policy(SAMPLE_POLICY);
    Ok(if decision_log { opa.decision_log() } else { opa }.start().await?)
}

/// The address of the rule.
pub(super) fn rule(opa: &Opa) -> String {
    opa.url("minio/allow")
}

/// A broker with the topics of a Countersign.
pub(super) async fn kafka(lab: &Laboratory) -> anyhow::Result<Kafka> {
    let kafka = lab.kafka().start().await?;
    kafka.create_topic(TOPIC, 3).await?;
    kafka.create_topic(CHECKPOINTS, 1).await?;
    Ok(kafka)
}

/// The table of a Countersign that sends its records there.
pub(super) fn published(kafka: &Kafka) -> String {
    format!("[kafka]\nbrokers = [\"{}\"]\ntopic = \"{TOPIC}\"\n", kafka.bootstrap())
}

/// nginx answering a constant allow.
pub(super) async fn nginx(lab: &Laboratory) -> anyhow::Result<Nginx> {
    let constant = format!(
        "{NO_LIMIT}\nserver {{ listen 127.0.0.1:{{port}} backlog=4096; default_type application/json;\n\
         location / {{ return 200 '{{\"result\":true}}'; }} }}"
    );
    Ok(lab.nginx().workers(workers()).config(&constant).start().await?)
}

/// nginx passing to whatever answers on this port.
pub(super) async fn nginx_passing(lab: &Laboratory, to: u16) -> anyhow::Result<Nginx> {
    let proxy = format!(
        "{NO_LIMIT}\nupstream constant {{ server 127.0.0.1:{to}; keepalive 256; {NO_LIMIT} }}\n\
         server {{ listen 127.0.0.1:{{port}} backlog=4096;\n\
         location / {{ proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_pass http://constant; }} }}"
    );
    Ok(lab.nginx().workers(workers()).config(&proxy).start().await?)
}

/// The binary that the peers built with pingora are in: this one.
pub(super) fn loadtest() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("the peers built with pingora are in this binary, which cannot be found")
}

pub(super) fn pid(part: &Part) -> anyhow::Result<u32> {
    part.pid().context("a part that was started has no process")
}

/// `nginx 1.22.1`, `OPA 1.22.2` and so on, of the peers that are named.
pub(super) fn versions() -> String {
    let nginx = std::process::Command::new("nginx").arg("-v").output().map(|said| said.stderr).unwrap_or_default();
    let nginx = String::from_utf8_lossy(&nginx).trim().rsplit('/').next().unwrap_or_default().to_owned();
    let Versions { opa, kafka, minio, collector: _ } = laboratory::versions();
    format!("nginx {nginx}, OPA {opa}, pingora {PINGORA}, Kafka {kafka}, MinIO {minio}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_pingora_is_the_one_that_is_built() {
        let lock = include_str!("../../../Cargo.lock");
        assert!(lock.contains(&format!("name = \"pingora\"\nversion = \"{PINGORA}\"")));
        assert!(versions().contains(PINGORA));
    }

    #[test]
    fn the_question_has_the_size_that_is_claimed() {
        assert_eq!(question().body().len(), 1024);
    }
}
