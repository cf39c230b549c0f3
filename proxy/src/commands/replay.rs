//! `countersign replay`: asks a candidate authorizer what the records hold, and tells where it would have decided otherwise.
//! Decides nothing and writes nothing; the candidate is asked like any authorizer, at a rate of its own. A record is not a
//! question: `replay::rebuilt` makes one of it, and what it could not know is told.

mod asking;
mod rebuilt;
mod tally;

use std::collections::HashMap;
use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use futures_util::stream;
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{Mutex as AsyncMutex, OnceCell, mpsc};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Exit;
use super::readers::filter::{Filter, time_us};
use super::readers::noted;
use super::readers::stream::{Found, Stream};
use super::readers::{Failure, Openers, ReaderArgs, Where};
use crate::audit::lifecycle::ReadBy;
use crate::kafka::reader::Start;
use crate::policy::compare::Difference;
use crate::policy::verdict::{Decision, Reason};
use asking::Candidate;
use rebuilt::Rebuilt;
use tally::{Compared, Tally};

/// Records that are read ahead.
const AHEAD: usize = 256;
/// Different questions whose verdicts are remembered; further ones are asked each time.
const REMEMBERED: usize = 100_000;

/// Ask a candidate authorizer what the records hold, and say where it would decide otherwise
///
/// Questions are made of records, which do not hold everything that MinIO asked: what is missing is printed at the end, and
/// a policy that looks at it may differ for that alone. Equal questions are asked once. Exit codes: 0 no difference, 1 it
/// differs, 2 could not run, 64 wrong usage or configuration.
#[derive(Debug, Clone, clap::Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    pub reader: ReaderArgs,
    /// The candidate: an authorizer of the configuration, with its TLS, token, dialect and timeout
    #[arg(long, value_name = "NAME", help_heading = "Whom to ask", required_unless_present = "url")]
    pub authorizer: Option<String>,
    /// The configuration that has the candidate. Without it: `--config`, or `COUNTERSIGN_CONFIG` of the environment
    #[arg(long, value_name = "FILE", help_heading = "Whom to ask", requires = "authorizer")]
    pub candidate_config: Option<PathBuf>,
    /// The candidate: the URL of an authorizer that needs neither token nor certificates of its own
    #[arg(long, value_name = "URL", help_heading = "Whom to ask", conflicts_with = "authorizer")]
    pub url: Option<String>,
    /// How the authorizer at `--url` is asked
    #[arg(long, value_enum, default_value_t = Dialect::Minio, help_heading = "Whom to ask", requires = "url")]
    pub dialect: Dialect,
    /// Questions a second, at most
    #[arg(long, default_value_t = 100.0, value_parser = rate, help_heading = "How")]
    pub rate: f64,
    /// Questions at a time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256), help_heading = "How")]
    pub at_once: u16,
    /// Ask again about every record, also where an equal question was asked before: for policies that look at the time
    #[arg(long, help_heading = "How")]
    pub every: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Dialect {
    Minio,
    Authzen,
}

/// Below one question in a quarter of an hour nobody waits for the end.
fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| format!("`{text}` is no number of questions a second"))?;
    if (0.001..=1e6).contains(&rate) { Ok(rate) } else { Err(format!("`{text}` is not within 0.001 and 1,000,000")) }
}

/// Between two questions, never none.
fn pause(rate: f64) -> Duration {
    Duration::from_secs_f64(1.0 / rate)
}

/// What the candidate says to one question.
type Said = Result<Decision, Reason>;

pub fn run(args: &ReplayArgs, openers: &dyn Openers) -> Result<Exit, Failure> {
    let filter = args.reader.filter()?;
    let candidate = Candidate::of(args)?;
    let place = args.reader.from.place(openers)?;
    noted::note(&place, ReadBy::Replay, filter.since_us(), filter.until_us());
    let start = filter.since_us().map_or(Start::Beginning, |since| Start::Since(since.div_euclid(1000)));
    let stream = Stream::open(&place, start, false, openers)?;
    let ordered = !matches!(place, Where::Kafka { .. });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let replay = Replay {
        candidate,
        every: args.every,
        json: args.reader.json,
        at_once: usize::from(args.at_once),
        between: pause(args.rate),
        known: Mutex::new(HashMap::new()),
        tally: Mutex::new(Tally::default()),
        bar: progress(),
    };
    let (records, read) = mpsc::channel(AHEAD);
    // Apart from the questions, so that what waits for a disk or a broker does not hold them up.
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| runtime.block_on(replay.all(read)));
        let fed = feed(stream, &filter, ordered, records);
        asking.join().map_err(|_| anyhow::anyhow!("asking ended with a panic"))??;
        fed.map_err(Failure::CouldNot)
    })?;
    replay.bar.finish_and_clear();
    let tally = replay.tally.into_inner();
    tally.print(args.reader.json, &mut io::stdout().lock()).context("output cannot be written")?;
    Ok(if tally.differs() { Exit::Found } else { Exit::Fine })
}

struct Replay {
    candidate: Candidate,
    every: bool,
    json: bool,
    at_once: usize,
    between: Duration,
    /// What equal questions came to. Who asks first asks for all who come meanwhile.
    known: Mutex<HashMap<[u8; 32], Arc<OnceCell<Decision>>>>,
    tally: Mutex<Tally>,
    bar: ProgressBar,
}

impl Replay {
    /// Every record in the order in which it was read.
    async fn all(&self, mut read: mpsc::Receiver<Value>) -> Result<(), Failure> {
        let mut pace = interval(self.between);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let pace = AsyncMutex::new(pace);
        let records = stream::poll_fn(|cx| read.poll_recv(cx));
        let mut asked = records.map(|record| self.one(record, &pace)).buffered(self.at_once);
        while let Some(compared) = asked.next().await {
            self.bar.inc(1);
            if let Some(compared) = compared {
                self.tell(&compared)?;
            }
            self.is_there(false)?;
        }
        self.is_there(true)
    }

    fn is_there(&self, no_more: bool) -> Result<(), Failure> {
        self.candidate.is_away(no_more).map_or(Ok(()), |reason| {
            Err(Failure::CouldNot(anyhow::anyhow!("the candidate cannot be asked ({})", reason.as_str())))
        })
    }

    /// `None` where nothing is asked.
    async fn one(&self, record: Value, pace: &AsyncMutex<Interval>) -> Option<Compared> {
        let rebuilt = match rebuilt::of(&record) {
            Ok(rebuilt) => rebuilt,
            Err(why) => {
                self.tally.lock().skipped(why);
                return None;
            }
        };
        // A fault may pass: of equal questions the next one asks anew.
        let said = match self.known(&rebuilt) {
            Some(known) => known.get_or_try_init(|| self.asked(&rebuilt, pace)).await.copied(),
            None => self.asked(&rebuilt, pace).await,
        };
        let difference = said.map_or(Difference::Fault, |said| Difference::of(rebuilt.decided, said));
        Some(Compared { record, rebuilt, said, difference })
    }

    fn known(&self, rebuilt: &Rebuilt) -> Option<Arc<OnceCell<Decision>>> {
        let mut known = self.known.lock();
        let room = !self.every && (known.len() < REMEMBERED || known.contains_key(&rebuilt.equal));
        room.then(|| known.entry(rebuilt.equal).or_default().clone())
    }

    async fn asked(&self, rebuilt: &Rebuilt, pace: &AsyncMutex<Interval>) -> Said {
        pace.lock().await.tick().await;
        let said = self.candidate.ask(&rebuilt.request).await;
        self.tally.lock().asked();
        said
    }

    fn tell(&self, compared: &Compared) -> Result<(), Failure> {
        self.tally.lock().add(compared);
        if compared.difference != Difference::None {
            let line = if self.json { compared.json() } else { compared.text() };
            let print = || writeln!(io::stdout().lock(), "{line}");
            self.bar.suspend(print).context("output cannot be written")?;
        }
        Ok(())
    }
}

/// Hands over every decision that is asked for.
fn feed(mut stream: Stream, filter: &Filter, ordered: bool, records: mpsc::Sender<Value>) -> anyhow::Result<()> {
    while let Some(Found { place, value }) = stream.read()? {
        let Ok(record) = serde_json::from_slice::<Value>(&value) else {
            eprintln!("countersign: {place}: not a JSON record, passed over");
            continue;
        };
        if ordered && filter.until_us().zip(time_us(&record)).is_some_and(|(until, time)| time >= until) {
            return Ok(());
        }
        let is_decision = record.get("type").and_then(Value::as_str) == Some("io.countersign.decision.v1");
        // Nobody listens any more: whoever did has said why.
        if is_decision && filter.matches(&record) && records.blocking_send(record).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// On a terminal only. How many records there are is not known before they are read.
fn progress() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    let form = ProgressStyle::with_template("{spinner} {pos} records, {per_sec}, {elapsed}");
    bar.set_style(form.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rate_that_is_taken_makes_a_pause() {
        for text in ["0.001", "1", "100.5", "1e6"] {
            assert!(!pause(rate(text).unwrap()).is_zero(), "{text}");
        }
        for text in ["", "a", "0", "-1", "1e-300", "0.0009", "1000001", "nan", "inf"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
