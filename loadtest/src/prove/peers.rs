//! The peers that Countersign is compared with, each set up to do its best with the same question.

use anyhow::Context;

use super::turns::Contender;
use crate::laboratory::nginx::Nginx;
use crate::laboratory::opa::Opa;
use crate::laboratory::{Laboratory, Part, SAMPLE_POLICY};
use crate::question::Question;

/// As many as the machine that the figures are about has cores.
const WORKERS: u16 = 2;
/// So that no connection ends during a run.
const NO_LIMIT: &str = "keepalive_requests 1000000000; keepalive_timeout 1h;";

/// The question that everyone answers: a read that the sample policy allows.
pub(super) fn question() -> Question {
    let object = "home/alice/2026/11/q4.csv";
    Question::new("alice", "s3:GetObject", "reports", object).size(crate::load::QUESTION_SIZE)
}

/// OPA asked directly, deciding by the sample policy, its decision log off.
pub(super) async fn opa(lab: &Laboratory) -> anyhow::Result<(Opa, Contender)> {
    let opa = lab.opa().policy(SAMPLE_POLICY).start().await?;
    let contender = Contender { name: "OPA", url: opa.url("minio/allow"), pid: pid(&opa)? };
    Ok((opa, contender))
}

/// nginx passing to another nginx that answers a constant allow. Its processor time leaves the other one out.
pub(super) async fn nginx(lab: &Laboratory) -> anyhow::Result<([Nginx; 2], Contender)> {
    let constant = format!(
        "{NO_LIMIT}\nserver {{ listen 127.0.0.1:{{port}} backlog=4096; default_type application/json;\n\
         location / {{ return 200 '{{\"result\":true}}'; }} }}"
    );
    let constant = lab.nginx().workers(WORKERS).config(&constant).start().await?;
    let proxy = format!(
        "{NO_LIMIT}\nupstream constant {{ server 127.0.0.1:{}; keepalive 256; {NO_LIMIT} }}\n\
         server {{ listen 127.0.0.1:{{port}} backlog=4096;\n\
         location / {{ proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_pass http://constant; }} }}",
        constant.port()
    );
    let proxy = lab.nginx().workers(WORKERS).config(&proxy).start().await?;
    let contender = Contender { name: "nginx proxy_pass", url: proxy.url() + "/", pid: pid(&proxy)? };
    Ok(([constant, proxy], contender))
}

pub(super) fn pid(part: &Part) -> anyhow::Result<u32> {
    part.pid().context("a part that was started has no process")
}
