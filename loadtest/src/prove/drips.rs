//! The claim about connections that drip: 2,000 of them, a byte every 5 s, half of them in the head of a question and half
//! in its body, are each closed within 15 s and leave nothing behind, and questions asked meanwhile wait at most twice as
//! long as without them.
//!
//! Every round has a quiet half and a half with all drips at once, under the same load from its own connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::outcome::{Bound, Limit, Outcome};
use super::turns::{self, median, spread};
use super::{Options, countersign, peers};
use crate::laboratory::{Laboratory, open_files};
use crate::load::{Load, Mix, Report};
use crate::stub::{Script, Stub};
use crate::up;

/// Connections that drip, of both kinds together.
const DRIPS: usize = 2_000;
/// Between two bytes.
const INTERVAL: Duration = Duration::from_secs(5);
/// Between one and the next, so that it is not their arrival that is measured.
const APART: Duration = Duration::from_millis(1);
/// How long the load goes on beside them: until the last of them should be closed.
const BESIDE: Duration = Duration::from_secs(14);
/// Questions a second.
const RATE: f64 = 500.0;
/// Seconds until the last drip is closed.
const CLOSED: f64 = 15.0;
/// The p99 beside drips, divided by the p99 without.
const P99: f64 = 2.0;
/// When a drip counts as never closed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Descriptors that this process and the one it starts may need.
const DESCRIPTORS: u64 = 8_192;

/// What the rounds showed.
#[derive(Debug, Default)]
struct Seen {
    before: Vec<f64>,
    during: Vec<f64>,
    /// Seconds from its start until each drip was closed.
    closed: Vec<f64>,
    /// Closed before its first interval was over: it did not drip.
    early: usize,
    /// More descriptors than before, after a round; the most.
    left_open: usize,
}

pub(super) async fn prove(options: &Options) -> anyhow::Result<Outcome> {
    open_files::at_least(DESCRIPTORS)?;
    let binary = up::binary().await?;
    eprintln!("proving `{}`", binary.display());
    let lab = Laboratory::open()?;
    let stub = Stub::start(Script::allow()).await?;
    let question = peers::question();
    let proved = countersign::start(&lab, &binary, &stub.url(), &options.spool_in, &question).await?;
    let (url, pid) = (proved.countersign.url(), peers::pid(&proved.countersign)?);
    let address: SocketAddr = url.trim_start_matches("http://").trim_end_matches('/').parse()?;
    let mut seen = Seen::default();
    for round in 0..options.rounds {
        let quiet = asked(options, &url, BESIDE).await?;
        let before = descriptors(pid)?;
        let drips: JoinSet<_> = (0..DRIPS).map(|number| drip(address, number)).collect();
        let beside = asked(options, &url, BESIDE).await?;
        let mut closed = Vec::new();
        for one in drips.join_all().await {
            closed.push(one?.as_secs_f64());
        }
        let left = until_back(pid, before).await?;
        let last = closed.iter().copied().fold(0.0, f64::max);
        let (quiet, beside) = (quiet.latency.p99_us, beside.latency.p99_us);
        eprintln!("round {} p99 {quiet:.0} → {beside:.0} µs; the last drip closed after {last:.2} s", round + 1);
        seen.before.push(quiet);
        seen.during.push(beside);
        seen.early += closed.iter().filter(|seconds| **seconds < INTERVAL.as_secs_f64()).count();
        seen.closed.extend(closed);
        seen.left_open = seen.left_open.max(left);
    }
    let setting = BTreeMap::from([
        ("drips", format!("{DRIPS}, a byte every {INTERVAL:?}, half in the head and half in the body")),
        ("questions/s", format!("{RATE} on {} connections", options.connections)),
        ("rounds", format!("{} of twice {BESIDE:?} after {} s", options.rounds, options.warm_up)),
        ("durability", "synced".to_owned()),
    ]);
    let (binary, limits) = (binary.display().to_string(), limits(&seen)?);
    Ok(Outcome { scenario: "drips".to_owned(), binary, setting, rows: Vec::new(), ratios: BTreeMap::new(), limits })
}

/// The load, every question of which must be allowed.
async fn asked(options: &Options, url: &str, duration: Duration) -> anyhow::Result<Report> {
    let (warm_up, _) = options.turn();
    let load = Load::new(url).connections(options.connections).rate(RATE).mix(Mix::of(peers::question()));
    // Else the p99 of either half would be that of opening its connections, which are one question in a hundred.
    let report = load.warm_up(warm_up).duration(duration).run().await?;
    turns::only_allows("Countersign", &report)?;
    Ok(report)
}

/// How long a connection is held that sends a byte now and then.
async fn drip(address: SocketAddr, number: usize) -> anyhow::Result<Duration> {
    tokio::time::sleep(APART * u32::try_from(number)?).await;
    let in_head = number.is_multiple_of(2);
    let stream = TcpStream::connect(address).await.context("a drip found nobody")?;
    let began = Instant::now();
    let at_once: &[u8] = if in_head {
        b"POST / HTTP/1.1\r\nX: "
    } else {
        b"POST / HTTP/1.1\r\nHost: c\r\nContent-Length: 1000\r\n\r\n{"
    };
    let (mut read, mut write) = stream.into_split();
    let dripping = async {
        // That nobody takes it any more shows where the end is waited for.
        let mut open = write.write_all(at_once).await.is_ok();
        while open {
            tokio::time::sleep(INTERVAL).await;
            open = write.write_all(b"x").await.is_ok();
        }
        std::future::pending::<()>().await;
    };
    let mut room = [0; 64];
    let ended = async { while read.read(&mut room).await.is_ok_and(|length| length > 0) {} };
    let either = async {
        tokio::select! {
            () = ended => {}
            () = dripping => {}
        }
    };
    tokio::time::timeout(PATIENCE, either).await.context("a drip was never closed")?;
    Ok(began.elapsed())
}

fn descriptors(pid: u32) -> anyhow::Result<usize> {
    let directory = format!("/proc/{pid}/fd");
    Ok(std::fs::read_dir(&directory).with_context(|| format!("cannot read `{directory}`"))?.count())
}

/// How many more than before are open, once that changes no more or patience is over.
async fn until_back(pid: u32, before: usize) -> anyhow::Result<usize> {
    let until = Instant::now() + INTERVAL;
    loop {
        let more = descriptors(pid)?.saturating_sub(before);
        if more == 0 || Instant::now() > until {
            return Ok(more);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn limits(seen: &Seen) -> anyhow::Result<Vec<Limit>> {
    let p99 = median(seen.during.clone())? / median(seen.before.clone())?;
    let rounds = spread(seen.during.iter().zip(&seen.before).map(|(during, before)| during / before));
    let last = seen.closed.iter().copied().reduce(f64::max).context("no drip")?;
    let small = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    Ok(vec![
        Limit::new("p99 of good questions, beside drips / without", p99, Bound::Below(P99)).spread(rounds),
        Limit::new("seconds until a drip is closed, at most", last, Bound::Below(CLOSED)),
        // Else it would not be drips that were looked at.
        Limit::new("drips that were closed before their second byte", small(seen.early), Bound::Below(1.0)),
        Limit::new("descriptors that stay", small(seen.left_open), Bound::Below(1.0)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_can_fail() {
        let holds = |during: f64, closed: f64, early, left_open| {
            let (before, during, closed) = (vec![1000.0], vec![during], vec![10.0, closed]);
            let seen = Seen { before, during, closed, early, left_open };
            limits(&seen).unwrap().iter().map(|limit| limit.holds).collect::<Vec<_>>()
        };
        assert_eq!(holds(1999.0, 14.9, 0, 0), [true; 4]);
        assert_eq!(holds(2001.0, 15.1, 1, 1), [false; 4]);
        assert!(limits(&Seen::default()).is_err());
    }

    #[tokio::test]
    async fn a_drip_lasts_until_it_is_closed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dripping = tokio::spawn(drip(listener.local_addr().unwrap(), 0));
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 20]).await.unwrap();
        let held = Instant::now();
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(stream);
        assert!(dripping.await.unwrap().unwrap() >= held.elapsed().min(Duration::from_millis(50)));
    }
}
