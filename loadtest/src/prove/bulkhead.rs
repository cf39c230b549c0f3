//! The claim about an authorizer that slows down: when it takes 5 s under 500 questions a second, its breaker opens as
//! configured, memory stays flat, routes that do not ask it are as fast as before, and it is asked again soon after it has
//! recovered.
//!
//! Every round has a quiet half and a half in which the authorizer is slow, under the same two loads: one for its route, one
//! for another route with another authorizer. Only the other route's latency is compared, and of the second half from when the
//! breaker is open: until then this looks at the metrics so often that it would be measured, too.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::aside::Aside;
use super::countersign::Proved;
use super::outcome::{Bound, Limit, Outcome, mebibytes};
use super::turns::{self, median, spread};
use super::{Options, countersign, peers, process};
use crate::laboratory::{Laboratory, http};
use crate::load::{Load, Mix, Report};
use crate::question::Question;
use crate::stub::{Answer, Script, Stub};
use crate::up;

/// Whose latency is compared.
const OTHER: &str = "the other route";
/// Questions a second, for each of the two routes.
const RATE: f64 = 500.0;
/// How long the slow authorizer takes.
const SLOW: Duration = Duration::from_secs(5);
/// As configured for it.
const TIMEOUT: Duration = Duration::from_millis(500);
const FAILURES: u32 = 20;
const OPEN_FOR: Duration = Duration::from_secs(2);
/// For looking, and for the clocks of two processes.
const MARGIN: f64 = 0.2;
/// The other route's p99 while one authorizer is slow, divided by its p99 before.
const P99: f64 = 1.1;
/// What may be resident more.
const MEBIBYTES: f64 = 16.0;
const LOOK: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(30);

/// What the rounds showed.
#[derive(Debug, Default)]
struct Seen {
    before: Vec<f64>,
    during: Vec<f64>,
    /// Seconds.
    opened: Vec<f64>,
    recovered: Vec<f64>,
    /// Resident after the quiet halves and the slow ones, most of each, in bytes.
    resident: (u64, u64),
}

pub(super) async fn prove(options: &Options) -> anyhow::Result<Outcome> {
    let binary = up::binary().await?;
    eprintln!("proving `{}`", binary.display());
    let lab = Laboratory::open()?;
    let (constant, slow) = (Stub::start(Script::allow()).await?, Aside::start(Script::allow())?);
    let question = peers::question();
    let tables = tables(&slow);
    let proved = countersign::start_with(&lab, &binary, &constant.url(), &options.spool_in, &question, &tables).await?;
    let mut seen = Seen::default();
    for round in 0..options.rounds {
        let quiet = both(options, &proved).await?;
        turns::only_allows(OTHER, &quiet)?;
        let pid = peers::pid(&proved.countersign)?;
        seen.resident.0 = seen.resident.0.max(process::memory(pid)?.resident);
        let (opened, during, recovered) = slowed(options, &proved, &slow).await?;
        seen.resident.1 = seen.resident.1.max(process::memory(pid)?.resident);
        let (before, during) = (quiet.latency.p99_us, during.latency.p99_us);
        eprintln!(
            "round {} other route's p99 {before:.0} → {during:.0} µs; open after {opened:.2} s, recovered after {recovered:.2} s",
            round + 1
        );
        seen.before.push(before);
        seen.during.push(during);
        seen.opened.push(opened);
        seen.recovered.push(recovered);
    }
    let setting = BTreeMap::from([
        ("questions/s", format!("{RATE} for each of two routes")),
        ("slow", format!("{SLOW:?}")),
        ("breaker", format!("{FAILURES} failures, open for {OPEN_FOR:?}, timeout {TIMEOUT:?}")),
        ("turns", format!("{} of twice {} s after {} s", options.rounds, options.seconds, options.warm_up)),
        ("durability", "synced".to_owned()),
    ]);
    let (binary, limits) = (binary.display().to_string(), limits(&seen)?);
    Ok(Outcome { scenario: "bulkhead".to_owned(), binary, setting, rows: Vec::new(), ratios: BTreeMap::new(), limits })
}

fn tables(slow: &Stub) -> String {
    format!(
        "[cache]\nallow_ttl = \"0s\"\ndeny_ttl = \"0s\"\n\
         [[authorizer]]\nname = \"slow\"\nurl = \"{}\"\ntimeout = \"{}ms\"\nretries = 0\n\
         breaker = {{ failures = {FAILURES}, open_for = \"{}ms\" }}\n\
         [[route]]\nname = \"slow\"\nmatch = {{ bucket = [\"slow\"] }}\nask = [\"slow\"]\n\
         [[route]]\nname = \"other\"\nask = [\"constant\"]\n",
        slow.url(),
        TIMEOUT.as_millis(),
        OPEN_FOR.as_millis(),
    )
}

fn slow_question() -> Question {
    Question::new("alice", "s3:GetObject", "slow", "a.txt").size(crate::load::QUESTION_SIZE)
}

/// For the slow route. Its answers take up to its timeout: so many connections keep the rate.
fn slow_load(options: &Options, proved: &Proved) -> Load {
    load(proved, slow_question()).connections(options.connections.max(512))
}

/// For the other route. No more connections than are open after the warm-up: opening one is slower than any answer.
fn other_load(options: &Options, proved: &Proved) -> Load {
    let (warm_up, duration) = options.turn();
    load(proved, peers::question()).connections(options.connections).warm_up(warm_up).duration(duration)
}

fn load(proved: &Proved, question: Question) -> Load {
    Load::new(proved.countersign.url()).rate(RATE).mix(Mix::of(question))
}

/// Both loads; the other route's report.
async fn both(options: &Options, proved: &Proved) -> anyhow::Result<Report> {
    let beside = slow_load(options, proved).start().await?;
    let other = other_load(options, proved).run().await?;
    beside.stop().await?;
    Ok(other)
}

/// The same while the authorizer is slow. Seconds until its breaker opened, the other route's report, and seconds from its
/// recovery until its breaker closed.
async fn slowed(options: &Options, proved: &Proved, slow: &Stub) -> anyhow::Result<(f64, Report, f64)> {
    let beside = slow_load(options, proved).start().await?;
    slow.set(Answer::allow().after(SLOW));
    let opened = until_breaker(proved, true).await?;
    let other = other_load(options, proved).run().await?;
    turns::only_allows(OTHER, &other)?;
    slow.set(Script::allow());
    let recovered = until_breaker(proved, false).await?;
    beside.stop().await?;
    Ok((opened, other, recovered))
}

/// Seconds until the breaker is what it is to be.
async fn until_breaker(proved: &Proved, open: bool) -> anyhow::Result<f64> {
    let began = Instant::now();
    let series = format!("countersign_authorizer_breaker_open{{authorizer=\"slow\"}} {}", u8::from(open));
    let url = format!("http://{}/metrics", proved.countersign.admin());
    loop {
        if http::get(&url).await?.body.lines().any(|line| line == series) {
            return Ok(began.elapsed().as_secs_f64());
        }
        ensure!(began.elapsed() < PATIENCE, "the breaker did not change within {PATIENCE:?}");
        tokio::time::sleep(LOOK).await;
    }
}

fn limits(seen: &Seen) -> anyhow::Result<Vec<Limit>> {
    let p99 = median(seen.during.clone())? / median(seen.before.clone())?;
    let rounds = spread(seen.during.iter().zip(&seen.before).map(|(during, before)| during / before));
    let most = |all: &[f64]| all.iter().copied().reduce(f64::max).context("no round");
    // The first questions end with their timeout, and so many of them open it.
    let opens = TIMEOUT.as_secs_f64() + f64::from(FAILURES) / RATE + MARGIN;
    // A probe that is under way when it recovers may still fail, and open the breaker once more.
    let recovers = OPEN_FOR.as_secs_f64() + TIMEOUT.as_secs_f64() + MARGIN;
    let more = mebibytes(seen.resident.1) - mebibytes(seen.resident.0);
    Ok(vec![
        Limit::new("the other route's p99, slow / quiet", p99, Bound::Below(P99)).spread(rounds),
        Limit::new("seconds until the breaker is open, at most", most(&seen.opened)?, Bound::Below(opens)),
        Limit::new("seconds until it is asked again, at most", most(&seen.recovered)?, Bound::Below(recovers)),
        Limit::new("MiB more while it is slow", more, Bound::Below(MEBIBYTES)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_can_fail() {
        let holds = |during: f64, opened: f64, recovered: f64, mebibytes: u64| {
            let seen = Seen {
                before: vec![1000.0],
                during: vec![during],
                opened: vec![0.1, opened],
                recovered: vec![0.1, recovered],
                resident: (20 << 20, (20 + mebibytes) << 20),
            };
            limits(&seen).unwrap().iter().map(|limit| limit.holds).collect::<Vec<_>>()
        };
        assert_eq!(holds(1099.0, 0.7, 2.6, 15), [true; 4]);
        assert_eq!(holds(1101.0, 0.8, 2.8, 16), [false; 4]);
        assert!(limits(&Seen::default()).is_err());
    }
}
