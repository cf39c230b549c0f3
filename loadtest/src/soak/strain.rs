//! What is done to a process that must stay bounded, one after the other: each for a time, each over when it returns. Says what a
//! client saw; whether that is as it should be, and what the process held meanwhile, is for whoever asked.

use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::bench::{Bench, FEW, MAX_IN_FLIGHT, well};
use crate::laboratory::http;
use crate::load::Report;
use crate::stub::{Answer, Script};

/// Times as many questions at once as there are places.
const OVERLOAD: usize = 10;
/// Opened and dropped.
const CONNECTIONS: usize = 10_000;
/// Of those at once.
const AT_ONCE: usize = 50;
/// Of those one at a time waits until it is closed on the other side, after as many that do not.
const UNHEARD: usize = 10;
/// Scrapes at once that read nothing, or do not end their question. More than the admin listener serves.
const SCRAPES: usize = 200;
/// Lines a second for a log that nobody reads.
const MANY: f64 = 2000.0;
/// Of a collector's error.
const LOUD: usize = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strain {
    /// Ten times as many questions in flight as there are places.
    Overload,
    /// An authorizer that answers after its timeout.
    SlowAuthorizer,
    /// Kafka is killed, and started again.
    KafkaAway,
    /// Every answer of the collector is an error of 4 MiB.
    LoudCollector,
    /// Nobody reads the log.
    UnreadLog,
    /// Ten thousand connections that are opened and dropped.
    Connections,
    /// Scrapes of `/metrics` that do not read, or do not end.
    HangingScrapes,
}

/// What a client saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    pub answers: u64,
    /// Questions without an answer.
    pub failures: u64,
    /// Answers 503 whose reason is `overload`.
    pub refused: u64,
    /// Answers 503 whose record did not become durable in time. A disk that stalls is no strain of ours; no other 503 passes.
    pub late: u64,
    /// `overload` of the same time, as the faults and the front count it.
    pub counted: [u64; 2],
}

impl Strain {
    pub const ALL: [Self; 7] = [
        Self::Overload,
        Self::SlowAuthorizer,
        Self::KafkaAway,
        Self::LoudCollector,
        Self::UnreadLog,
        Self::Connections,
        Self::HangingScrapes,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Overload => "overload",
            Self::SlowAuthorizer => "slow authorizer",
            Self::KafkaAway => "Kafka away",
            Self::LoudCollector => "loud collector",
            Self::UnreadLog => "unread log",
            Self::Connections => "connections",
            Self::HangingScrapes => "hanging scrapes",
        }
    }

    /// Connections to the process that this holds at once.
    pub const fn held(self) -> u64 {
        let held = match self {
            Self::Overload => OVERLOAD * MAX_IN_FLIGHT,
            Self::SlowAuthorizer => MAX_IN_FLIGHT,
            Self::KafkaAway | Self::LoudCollector | Self::UnreadLog => FEW,
            Self::Connections => AT_ONCE * UNHEARD + FEW,
            Self::HangingScrapes => SCRAPES + FEW,
        };
        held as u64
    }

    /// Puts it on for `time` or a little longer, and takes it away.
    /// # Errors
    /// When the strain was none, or the process did not outlive it.
    pub async fn put_on(self, bench: &mut Bench, time: Duration) -> anyhow::Result<Told> {
        let before = counted(bench).await?;
        let report = match self {
            Self::Overload => overload(bench, time).await,
            Self::SlowAuthorizer => slow(bench, time).await,
            Self::KafkaAway => without_kafka(bench, time).await,
            Self::LoudCollector => loud(bench, time).await,
            Self::UnreadLog => unread(bench, time).await,
            Self::Connections => connections(bench, time).await,
            Self::HangingScrapes => scrapes(bench, time).await,
        }?;
        let after = counted(bench).await?;
        let [faults, front] =
            [0, 1].map(|at| after.get(at).zip(before.get(at)).map_or(0, |(after, before)| after - before));
        let because = |reason| report.reasons.get(reason).copied().unwrap_or(0);
        let (refused, late) = (because("overload"), because("audit_timeout"));
        let all = report.statuses.get(&503).copied().unwrap_or(0);
        ensure!(all == refused + late, "of {all} answers 503 {refused} are overload and {late} late: {report}");
        let (answers, failures) = (report.answers(), report.failures.values().sum());
        Ok(Told { answers, failures, refused, late, counted: [faults, front] })
    }
}

async fn counted(bench: &Bench) -> anyhow::Result<[u64; 2]> {
    let faults = bench.metric("countersign_faults_total{reason=\"overload\"").await?;
    Ok([faults, bench.metric("countersign_front_requests_total{client=\"local\",outcome=\"overload\"").await?])
}

async fn overload(bench: &Bench, time: Duration) -> anyhow::Result<Report> {
    bench.authorizer.set(Answer::allow().after(Duration::from_millis(300)));
    let report = bench.load(OVERLOAD * MAX_IN_FLIGHT, time).run().await?;
    bench.authorizer.set(Script::allow());
    ensure!(report.statuses.contains_key(&503), "nobody was refused: {report}");
    Ok(report)
}

async fn slow(bench: &Bench, time: Duration) -> anyhow::Result<Report> {
    bench.authorizer.set(Answer::allow().after(Duration::from_secs(5)));
    let report = bench.load(MAX_IN_FLIGHT, time).run().await?;
    bench.authorizer.set(Script::allow());
    ensure!(report.allow == 0 && report.deny > 0, "the authorizer was not slow: {report}");
    Ok(report)
}

async fn without_kafka(bench: &mut Bench, time: Duration) -> anyhow::Result<Report> {
    bench.kafka.kill().await;
    let report = bench.light_load(time).run().await;
    let waits = bench.metric("countersign_spool_undelivered_records ").await?;
    bench.kafka.start_again().await?;
    ensure!(waits > 0, "everything is delivered without Kafka");
    report
}

async fn loud(bench: &Bench, time: Duration) -> anyhow::Result<Report> {
    let asked = bench.collector.asked();
    bench.collector.set(Answer::new(vec![b'x'; LOUD]).status(500));
    let report = bench.light_load(time).run().await;
    let heard = wait(async || Ok(bench.collector.asked() > asked)).await?;
    bench.collector.set(well());
    ensure!(heard, "the collector was sent nothing");
    report
}

async fn unread(bench: &Bench, time: Duration) -> anyhow::Result<Report> {
    let lost = bench.metric("countersign_log_lines_dropped_total ").await?;
    bench.log.read(false);
    // A line a question, and many fit into the pipe and before it: longer, where a busy machine has not filled them by then. Not as
    // many as a fast one can ask, whose records would fill the spool.
    let running = bench.load_until_stopped(FEW).rate(MANY).start().await?;
    tokio::time::sleep(time).await;
    let full = wait(async || Ok(bench.metric("countersign_log_lines_dropped_total ").await? > lost)).await;
    let report = running.stop().await;
    bench.log.read(true);
    ensure!(full?, "the log was not full");
    report
}

async fn connections(bench: &Bench, time: Duration) -> anyhow::Result<Report> {
    let running = bench.light_load(time).start().await?;
    let url = bench.countersign.url();
    let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mut openers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let address = address.clone();
        openers.spawn(async move {
            let begun: [&[u8]; 4] = [
                b"",
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Le",
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"input\"",
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            ];
            for (number, bytes) in begun.iter().cycle().take(CONNECTIONS / AT_ONCE).enumerate() {
                let mut stream = TcpStream::connect(&address).await?;
                stream.write_all(bytes).await?;
                // Otherwise it would be measured how fast this machine opens what that one closes.
                if number % UNHEARD == 0 {
                    stream.shutdown().await?;
                    stream.read_to_end(&mut Vec::new()).await?;
                }
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = openers.join_next().await {
        ended??;
    }
    running.wait().await
}

async fn scrapes(bench: &Bench, time: Duration) -> anyhow::Result<Report> {
    let admin = bench.countersign.admin().parse()?;
    let mut hanging = Vec::with_capacity(SCRAPES);
    for number in 0..SCRAPES {
        let socket = TcpSocket::new_v4()?;
        // What is not read soon fills so little.
        socket.set_recv_buffer_size(4096)?;
        let mut stream = socket.connect(admin).await?;
        let bytes: &[u8] = if number.is_multiple_of(2) {
            b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
        } else {
            b"GET /metrics HTTP/1.1\r\nHost: "
        };
        // Beyond as many as it serves, it closes at once.
        drop(stream.write_all(bytes).await);
        hanging.push(stream);
    }
    let report = bench.light_load(time).run().await;
    drop(hanging);
    let url = format!("http://{}/metrics", bench.countersign.admin());
    let answers = wait(async || Ok(http::get(&url).await.is_ok_and(|answer| answer.status == 200))).await?;
    ensure!(answers, "`/metrics` does not answer any more");
    report
}

/// False: a minute has passed without it.
async fn wait(is_so: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<bool> {
    let until = Instant::now() + PATIENCE;
    while !is_so().await? {
        if Instant::now() > until {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(true)
}
