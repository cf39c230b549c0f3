//! `loadtest scale`: what a decision costs as one thing grows. A curve each: connections, the rate, the size of questions,
//! the number of authorizers, what is cached, what waits for Kafka. Curves claim nothing; they are read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::ensure;

mod routes;

use super::countersign::{Proved, Setting};
use super::outcome::{Outcome, Row};
use super::told::Run;
use super::turns::{self, Turn};
use super::{Options, countersign, peers};
use crate::laboratory::Laboratory;
use crate::laboratory::pingora::Pingora;
use crate::load::{Load, Mix, QUESTION_SIZE, Report};
use crate::question::Question;
use crate::up;

const CONNECTIONS: [usize; 7] = [1, 4, 16, 64, 256, 512, 1000];
/// Bytes of a question.
const SIZES: [usize; 6] = [512, 1024, 4 << 10, 16 << 10, 64 << 10, 256 << 10];
const AUTHORIZERS: [usize; 4] = [1, 2, 4, 8];
const KEYS: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Questions a second.
const RATES: [u32; 6] = [500, 1000, 2000, 5000, 10_000, 20_000];
/// Shares of `--records`.
const BACKLOGS: [u64; 4] = [0, 10, 50, 100];
const NOBODY: &str = "[kafka]\nbrokers = [\"127.0.0.1:1\"]\ntopic = \"countersign.decisions\"\n";

/// What grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Curve {
    /// 1 to 1,000; cached
    Connections,
    /// 0.5 to 256 KiB; cached
    QuestionSize,
    /// 1 to 8 that must all allow; uncached
    Authorizers,
    /// A thousand to a million keys, at most `--keys`; cached
    CacheSize,
    /// Nothing to `--records`; cached
    Backlog,
    /// 500 to 20,000 questions a second, in an open loop; cached
    Rate,
}

impl Curve {
    fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::QuestionSize => "question-size",
            Self::Authorizers => "authorizers",
            Self::CacheSize => "cache-size",
            Self::Backlog => "backlog",
            Self::Rate => "rate",
        }
    }
}

/// Measure what a decision costs as one thing grows
#[derive(Debug, clap::Args)]
pub struct Command {
    curve: Curve,
    #[command(flatten)]
    options: Options,
    /// Write the outcome as JSON to this file too
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Command {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Self { curve, options, json } = self;
        let run = Run::begin(&options, format!("scale {} {options}", curve.name()), true)?;
        let outcome = super::interruptible(measured(curve, &options))?;
        run.told(&outcome, json.as_deref())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A server under a load.
struct Point<'a> {
    name: String,
    connections: usize,
    /// None: as fast as it answers.
    rate: Option<f64>,
    mix: Mix,
    proved: &'a Proved,
}

async fn measured(curve: Curve, options: &Options) -> anyhow::Result<Outcome> {
    let binary = up::binary().await?;
    let bench = Bench::start(options, &binary).await?;
    let rows = match curve {
        Curve::Connections => bench.connections().await?,
        Curve::QuestionSize => bench.sizes().await?,
        Curve::Authorizers => bench.authorizers().await?,
        Curve::CacheSize => bench.keys().await?,
        Curve::Backlog => bench.backlogs().await?,
        Curve::Rate => bench.rates().await?,
    };
    let Options { rounds, seconds, warm_up, .. } = options;
    let setting = BTreeMap::from([
        ("turns", format!("{rounds} of {seconds} s after {warm_up} s")),
        ("durability", "synced".to_owned()),
    ]);
    let (scenario, binary) = (format!("scale-{}", curve.name()), binary.display().to_string());
    Ok(Outcome { scenario, binary, setting, rows, ratios: BTreeMap::new(), limits: Vec::new() })
}

/// What every curve stands on.
struct Bench<'a> {
    options: &'a Options,
    binary: &'a Path,
    lab: Laboratory,
    constant: Pingora,
}

impl<'a> Bench<'a> {
    async fn start(options: &'a Options, binary: &'a Path) -> anyhow::Result<Self> {
        let lab = Laboratory::open()?;
        let constant = lab.pingora(&peers::loadtest()?).start().await?;
        Ok(Self { options, binary, lab, constant })
    }

    async fn countersign(&self, tables: &str) -> anyhow::Result<Proved> {
        let setting = Setting { url: &self.constant.url(), durability: "synced", tables };
        countersign::start_as(&self.lab, self.binary, &self.options.spool_in, &peers::question(), &setting).await
    }

    async fn connections(&self) -> anyhow::Result<Vec<Row>> {
        let proved = self.several("", CONNECTIONS.len()).await?;
        let point = |(connections, proved): (usize, _)| {
            let name = connections.to_string();
            Point { name, connections, ..self.point(proved, Mix::of(peers::question())) }
        };
        self.side_by_side(&CONNECTIONS.into_iter().zip(&proved).map(point).collect::<Vec<_>>()).await
    }

    async fn rates(&self) -> anyhow::Result<Vec<Row>> {
        let proved = self.several("", RATES.len()).await?;
        let point = |(rate, proved): (u32, _)| {
            let name = crate::figures::grouped(rate.into());
            Point { name, rate: Some(rate.into()), ..self.point(proved, Mix::of(peers::question())) }
        };
        self.side_by_side(&RATES.into_iter().zip(&proved).map(point).collect::<Vec<_>>()).await
    }

    async fn sizes(&self) -> anyhow::Result<Vec<Row>> {
        let proved = self.several("", SIZES.len()).await?;
        let point = |(size, proved): (usize, _)| {
            let mix = Mix::of(peers::question().size(size));
            Point { name: bytes(size), ..self.point(proved, mix) }
        };
        self.side_by_side(&SIZES.into_iter().zip(&proved).map(point).collect::<Vec<_>>()).await
    }

    async fn authorizers(&self) -> anyhow::Result<Vec<Row>> {
        let tables = routes::routes(&self.constant.url(), &AUTHORIZERS);
        let proved = self.several(&tables, AUTHORIZERS.len()).await?;
        let point = |(count, proved): (usize, _)| {
            let question = Question::new("alice", "s3:GetObject", &routes::bucket(count), "a.csv").size(QUESTION_SIZE);
            Point { name: count.to_string(), ..self.point(proved, Mix::of(question)) }
        };
        self.side_by_side(&AUTHORIZERS.into_iter().zip(&proved).map(point).collect::<Vec<_>>()).await
    }

    /// A process for each number, which is filled before the first round.
    async fn keys(&self) -> anyhow::Result<Vec<Row>> {
        let most = self.options.keys;
        let sizes: Vec<_> = KEYS.into_iter().filter(|keys| *keys <= most).collect();
        let proved = self.several(&format!("[cache]\nentries = {most}\nallow_ttl = \"1h\"\n"), sizes.len()).await?;
        let mut points = Vec::new();
        for (keys, proved) in sizes.into_iter().zip(&proved) {
            let question = Question::new("alice", "s3:GetObject", "reports", "home/alice/########.csv");
            let mix = Mix::of(question.size(QUESTION_SIZE)).objects(keys);
            self.answered(proved, &mix, keys).await?;
            points.push(Point { name: crate::figures::grouped(keys), ..self.point(proved, mix.scattered()) });
        }
        self.side_by_side(&points).await
    }

    /// The same, of what waits for Kafka. It grows by each turn, too, so that rows are named by what waited before the first
    /// and after the last.
    async fn backlogs(&self) -> anyhow::Result<Vec<Row>> {
        let proved = self.several(NOBODY, BACKLOGS.len()).await?;
        let mix = Mix::of(peers::question());
        let mut points = Vec::new();
        let mut before = Vec::new();
        for (share, proved) in BACKLOGS.into_iter().zip(&proved) {
            self.answered(proved, &mix, self.options.records / 100 * share).await?;
            before.push(waiting(proved).await?);
            points.push(Point {
                name: format!("from {}", before.last().unwrap_or(&0)),
                ..self.point(proved, mix.clone())
            });
        }
        let mut rows = self.side_by_side(&points).await?;
        for ((row, point), before) in rows.iter_mut().zip(&points).zip(before) {
            let after = waiting(point.proved).await?;
            row.contender = format!("{} – {}", crate::figures::grouped(before), crate::figures::grouped(after));
        }
        Ok(rows)
    }

    /// A process for each point: what is resident belongs to that alone.
    async fn several(&self, tables: &str, count: usize) -> anyhow::Result<Vec<Proved>> {
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(self.countersign(tables).await?);
        }
        Ok(all)
    }

    fn point<'p>(&self, proved: &'p Proved, mix: Mix) -> Point<'p> {
        Point { name: String::new(), connections: self.options.connections, rate: None, mix, proved }
    }

    /// Asks until so many answers have come.
    async fn answered(&self, proved: &Proved, mix: &Mix, count: u64) -> anyhow::Result<()> {
        let load = Load::new(proved.countersign.url()).connections(self.options.connections);
        let running = load.mix(mix.clone()).start().await?;
        let mut left = count;
        while left > 0 {
            let some = left.min(10_000);
            ensure!(running.answered(some).await, "it answers no more\n{}", proved.countersign.log_tail());
            left -= some;
        }
        running.stop().await?;
        Ok(())
    }

    /// Points in turns.
    async fn side_by_side(&self, points: &[Point<'_>]) -> anyhow::Result<Vec<Row>> {
        let mut all: Vec<Vec<Turn>> = points.iter().map(|_| Vec::new()).collect();
        for round in 0..self.options.rounds {
            for index in turns::order(round, points.len()) {
                if let (Some(point), Some(turns)) = (points.get(index), all.get_mut(index)) {
                    turns.push(self.turn(point).await?);
                }
            }
        }
        points.iter().zip(&all).map(|(point, turns)| turns::row(&point.name, turns)).collect()
    }

    async fn turn(&self, point: &Point<'_>) -> anyhow::Result<Turn> {
        let (warm_up, duration) = self.options.turn();
        let load = Load::new(point.proved.countersign.url()).connections(point.connections).mix(point.mix.clone());
        let load = point.rate.map_or(load.clone(), |rate| load.rate(rate)).warm_up(warm_up).duration(duration);
        let pid = peers::pid(&point.proved.countersign)?;
        let turn = turns::under(load, &[pid], self.options, |report| answered(point, report)).await?;
        eprintln!("{:<12} {:>8.0}/s", point.name, turn.per_second);
        Ok(turn)
    }
}

/// A rate that is too high for it is seen in the row, which has a lower one.
fn answered(point: &Point<'_>, report: &Report) -> anyhow::Result<()> {
    if point.rate.is_none() {
        return turns::only_allows(&point.name, report);
    }
    let fine = report.allow > 0 && report.allow == report.answers() && report.failed() == 0;
    ensure!(fine, "not every answer at {} a second was an allow:\n{report}", point.name);
    Ok(())
}

/// Records that wait for Kafka.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
async fn waiting(proved: &Proved) -> anyhow::Result<u64> {
    Ok(super::scrape::sum(proved, "countersign_spool_undelivered_records").await? as u64)
}

fn bytes(size: usize) -> String {
    if size < 1024 { format!("{size} B") } else { format!("{} KiB", size / 1024) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_their_unit() {
        assert_eq!((bytes(512), bytes(4096)), ("512 B".to_owned(), "4 KiB".to_owned()));
    }
}
