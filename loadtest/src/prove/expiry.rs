//! The claim about the end of an allow's life: no cached allow is answered later than its lifetime after the authorizer
//! was asked, but for the few milliseconds that an answer under way takes.
//!
//! Each life is one round: the authorizer allows once and denies from then on, and clients ask without a pause until the
//! cached allow is over. What counts is when they received the last allow, by the clock that also saw the authorizer being
//! asked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::outcome::{Bound, Limit, Outcome};
use super::{Options, countersign};
use crate::laboratory::{Laboratory, http};
use crate::stub::{Script, Stub};
use crate::up;

/// Of an allow.
const LIFETIME: Duration = Duration::from_secs(1);
/// How long after its end is still looked for allows.
const BEYOND: Duration = Duration::from_millis(300);
/// Lives a round of the options.
const LIVES: usize = 4;
/// Clients that ask at the same time.
const CLIENTS: usize = 4;
/// Milliseconds.
const OVERRUN: f64 = 20.0;

/// One allow as a client saw it.
#[derive(Debug, Clone, Copy)]
struct Allowed {
    asked: Instant,
    answered: Instant,
}

/// What one life showed: the last allow after the authorizer was asked, and allows to questions asked after its end.
#[derive(Debug, Clone, Copy)]
struct Life {
    last: Duration,
    late: usize,
    answers: usize,
}

pub(super) async fn prove(options: &Options) -> anyhow::Result<Outcome> {
    let binary = up::binary().await?;
    eprintln!("proving `{}`", binary.display());
    let lab = Laboratory::open()?;
    let stub = Stub::start(Script::allow()).await?;
    let question = super::peers::question();
    let lifetime = format!("[cache]\nallow_ttl = \"{}ms\"\ndeny_ttl = \"0s\"\n", LIFETIME.as_millis());
    let proved = countersign::start_with(&lab, &binary, &stub.url(), &options.spool_in, &question, &lifetime).await?;
    let url = proved.countersign.url();
    let body = String::from_utf8(question.body())?;
    let mut lives = Vec::new();
    for number in 0..options.rounds * LIVES {
        // Not always the same wait, so that clients and clock are in another step each time.
        tokio::time::sleep(LIFETIME + Duration::from_millis(number as u64 % 7)).await;
        lives.push(life(&stub, &url, &body).await?);
    }
    let limits = limits(&lives)?;
    let answers: usize = lives.iter().map(|life| life.answers).sum();
    let setting = BTreeMap::from([
        ("lives", lives.len().to_string()),
        ("lifetime", format!("{LIFETIME:?}")),
        ("clients", CLIENTS.to_string()),
        ("answers", answers.to_string()),
        ("durability", "synced".to_owned()),
    ]);
    let binary = binary.display().to_string();
    Ok(Outcome { scenario: "expiry".to_owned(), binary, setting, rows: Vec::new(), ratios: BTreeMap::new(), limits })
}

async fn life(stub: &Stub, url: &str, body: &str) -> anyhow::Result<Life> {
    stub.set(Script::allow());
    stub.forget();
    ensure!(allows(url, body).await?, "the allow before was still remembered");
    stub.set(Script::deny());
    let sent = stub.questions().last().context("nobody asked the authorizer")?.at;
    let until = sent + LIFETIME + BEYOND;
    let clients: tokio::task::JoinSet<_> =
        (0..CLIENTS).map(|_| client(url.to_owned(), body.to_owned(), until)).collect();
    let mut seen = Life { last: Duration::ZERO, late: 0, answers: 0 };
    for client in clients.join_all().await {
        let (allowed, answers) = client?;
        seen.answers += answers;
        for one in allowed {
            seen.last = seen.last.max(one.answered.duration_since(sent));
            seen.late += usize::from(one.asked > sent + LIFETIME);
        }
    }
    Ok(seen)
}

/// Asks one question after the other; every allow, and how many answers there were.
async fn client(url: String, body: String, until: Instant) -> anyhow::Result<(Vec<Allowed>, usize)> {
    let (mut allowed, mut answers) = (Vec::new(), 0);
    while Instant::now() < until {
        let asked = Instant::now();
        if allows(&url, &body).await? {
            allowed.push(Allowed { asked, answered: Instant::now() });
        }
        answers += 1;
    }
    Ok((allowed, answers))
}

async fn allows(url: &str, body: &str) -> anyhow::Result<bool> {
    let answer = http::post_json(url, body).await?;
    ensure!(answer.status == 200, "status {}: {}", answer.status, answer.body);
    Ok(answer.body == r#"{"result":true}"#)
}

fn limits(lives: &[Life]) -> anyhow::Result<Vec<Limit>> {
    let last = lives.iter().map(|life| life.last).max().context("no life was looked at")?;
    let least = lives.iter().map(|life| life.last).min().context("no life was looked at")?;
    let overrun = (last.as_secs_f64() - LIFETIME.as_secs_f64()) * 1e3;
    let late: usize = lives.iter().map(|life| life.late).sum();
    Ok(vec![
        Limit::new("milliseconds from the end of a life to the last allow", overrun, Bound::Below(OVERRUN)),
        Limit::new("allows to questions asked after the end", small(late), Bound::Below(1.0)),
        // Else it would not be the cache that was looked at.
        Limit::new("shortest life in seconds", least.as_secs_f64(), Bound::AtLeast(LIFETIME.as_secs_f64() * 0.9)),
    ])
}

fn small(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_can_fail() {
        let holds = |millis: u64, late| {
            let life = Life { last: Duration::from_millis(millis), late, answers: 9 };
            limits(&[life]).unwrap().iter().map(|limit| limit.holds).collect::<Vec<_>>()
        };
        assert_eq!(holds(1_019, 0), [true, true, true]);
        assert_eq!(holds(1_021, 0), [false, true, true]);
        assert_eq!(holds(1_000, 1), [true, false, true]);
        assert_eq!(holds(500, 0), [true, true, false], "nothing was cached");
        assert!(limits(&[]).is_err());
    }
}
