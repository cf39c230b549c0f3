//! `countersign publish`: ships a spool that lost its process, or publishes delivered records again, with the publisher and
//! the sink of `serve`. Appends nothing to any chain. `publish/shipping` waits for it and shows how far it is.

mod shipping;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;

use super::Exit;
use super::readers::filter::instant;
use super::readers::noted;
use super::readers::{Failure, property_unless};
use crate::app::parts;
use crate::audit::accessed::Asked;
use crate::audit::again::{Again, Range};
use crate::audit::lifecycle::ReadBy;
use crate::audit::orphan::{Orphan, OrphanError};
use crate::audit::publisher::{self, Publisher, Source};
use crate::audit::spool::StartError;
use crate::audit::tally::Tally;
use crate::config;
use crate::kafka::Connection;
use crate::kafka::properties;
use crate::kafka::sink::{self, KafkaSink};
use crate::log;
use crate::metrics::{Metrics, Names};
use crate::trace::Tracer;
use shipping::{Outcome, Shipping, Signals};

/// Which partition each chain is in; kept beside the spool by whoever ships it.
const PINS: &str = "partitions.json";

/// Ship a spool that lost its process, or publish delivered records again
///
/// Ships what the spool has not delivered, as its process would have, and moves its cursor; a spool whose process lives is
/// refused. With `--again`: what was delivered before, byte for byte, for a topic that lost it; only reads the spool, and
/// its process may go on. Interrupted, it loses nothing: run it again. Exit codes: 0 everything is acknowledged,
/// 1 everything that is there is acknowledged, and records are missing in the spool, 2 could not, or not everything,
/// 64 wrong usage or configuration.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Directory of the spool. Without it, that of the configuration
    #[arg(long, value_name = "DIR")]
    pub spool: Option<PathBuf>,
    /// Configuration that names spool and Kafka; what is given here counts more. Without it: `COUNTERSIGN_CONFIG` of the
    /// environment
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Kafka brokers, `host:port`, several with commas
    #[arg(long, value_delimiter = ',', requires = "topic", help_heading = "Where to")]
    pub brokers: Vec<String>,
    /// Kafka topic
    #[arg(long, requires = "brokers", help_heading = "Where to")]
    pub topic: Option<String>,
    /// Topic that checkpoints go to besides
    #[arg(long, requires = "brokers", default_value = "countersign.checkpoints", help_heading = "Where to")]
    pub checkpoint_topic: String,
    /// librdkafka property, `key=value`; `key=@FILE` reads the value from a file. May be given several times
    #[arg(long = "property", value_name = "KEY=VALUE", requires = "brokers", help_heading = "Where to")]
    pub properties: Vec<String>,
    /// Publish delivered records again instead
    #[arg(long, help_heading = "Again")]
    pub again: bool,
    /// Not before: RFC 3339, or how long ago (`10m`, `2h 30m`)
    #[arg(long, value_name = "TIME", requires = "again", help_heading = "Again")]
    pub since: Option<String>,
    /// Before: RFC 3339, or how long ago
    #[arg(long, value_name = "TIME", requires = "again", help_heading = "Again")]
    pub until: Option<String>,
    /// Of this chain only
    #[arg(long, value_name = "ID", requires = "again", help_heading = "Again")]
    pub chain: Option<String>,
    /// These records of the chain only, both included
    #[arg(long, value_name = "FIRST-LAST", requires = "chain", value_parser = seqs, help_heading = "Again")]
    pub seq: Option<(u64, u64)>,
    /// End after this long (`10m`), finished or not. Without it, brokers that are away are waited for
    #[arg(long, value_name = "SPAN", value_parser = humantime::parse_duration)]
    pub timeout: Option<Duration>,
}

fn seqs(text: &str) -> Result<(u64, u64), String> {
    let number = |text: &str| text.parse::<u64>().ok();
    let range = text.split_once('-').and_then(|(first, last)| Some((number(first)?, number(last)?)));
    let range = range.filter(|(first, last)| first <= last);
    range.ok_or_else(|| format!("`{text}` is no range such as `17-42`"))
}

/// Where from, and where to.
struct Places {
    spool: PathBuf,
    connection: Connection,
    topic: String,
    checkpoint_topic: String,
}

pub fn run(args: &Args) -> Result<Exit, Failure> {
    let places = places(args)?;
    let range = range(args)?;
    let log = log::start(log::Options { format: log::Format::Text, level: tracing::Level::WARN });
    let _log = log.map_err(anyhow::Error::from)?;
    let metrics = Metrics::new(&Names::default());
    if !args.again {
        let orphan = Orphan::open(&places.spool, metrics.clone()).map_err(refused)?;
        let tally = orphan.tally();
        let pins = places.spool.join(PINS);
        return ship(orphan, &tally, &places, pins, metrics, args.timeout);
    }
    if !places.spool.join("epochs").is_dir() {
        return Err(refused(OrphanError::NoSpool(places.spool)));
    }
    let asked = Asked { by: ReadBy::Publish, since_us: range.since_us, until_us: range.until_us };
    noted::note_at(&places.spool, asked);
    // The process's own file may be written by nobody else: a copy says where the chains are.
    let home = tempfile::tempdir().context("no place for a temporary file")?;
    let pins = home.path().join(PINS);
    if let Err(error) = std::fs::copy(places.spool.join(PINS), &pins) {
        eprintln!(
            "countersign: `{PINS}` of the spool cannot be read ({error}): partitions follow from the topic's number of them"
        );
    }
    let again = Again::new(&places.spool, range.clone());
    let tally = again.tally();
    let exit = ship(again, &tally, &places, pins, metrics, args.timeout)?;
    Ok(if exit == Exit::Fine && !all_there(&range, &tally) { Exit::Found } else { exit })
}

fn refused(error: OrphanError) -> Failure {
    let more = match &error {
        OrphanError::Live(_) => "; stop it, or publish what is delivered with `--again`",
        OrphanError::Unusable(StartError::ForeignOwner { .. }) => "; ship it as that user",
        OrphanError::Unusable(_) | OrphanError::NoSpool(_) | OrphanError::Io { .. } => "",
    };
    Failure::CouldNot(anyhow::anyhow!("{error}{more}"))
}

/// Where a range of numbers is asked for, all of them can be expected.
fn all_there(range: &Range, tally: &Tally) -> bool {
    let Some((first, last)) = range.seq else { return true };
    let (wanted, sent) = ((last - first).saturating_add(1), tally.acknowledged());
    if sent < wanted {
        eprintln!(
            "countersign: {sent} of {wanted} records are in the spool and delivered; the others are not published"
        );
    }
    sent >= wanted
}

fn places(args: &Args) -> Result<Places, Failure> {
    let given = match &args.topic {
        None => None,
        Some(topic) if *topic == args.checkpoint_topic => {
            return Err(Failure::Usage(format!("`--topic` and `--checkpoint-topic` are both `{topic}`")));
        }
        Some(topic) => {
            let properties =
                args.properties.iter().map(|p| property_unless(properties::refused, p)).collect::<Result<_, _>>()?;
            let client_id = "countersign-publish".to_owned();
            let connection = Connection { brokers: args.brokers.clone(), properties, client_id };
            Some((connection, topic.clone(), args.checkpoint_topic.clone()))
        }
    };
    if let (Some(spool), Some((connection, topic, checkpoint_topic))) = (&args.spool, &given) {
        let (connection, topic, checkpoint_topic) = (connection.clone(), topic.clone(), checkpoint_topic.clone());
        return Ok(Places { spool: spool.clone(), connection, topic, checkpoint_topic });
    }
    let file = args.config.clone().or_else(|| std::env::var_os("COUNTERSIGN_CONFIG").map(PathBuf::from));
    let missing = "say where from and where to: `--spool` and `--brokers` with `--topic`, or `--config`";
    let config = config::load(&file.ok_or_else(|| Failure::Usage(missing.to_owned()))?)?.config;
    let told = config
        .kafka
        .as_ref()
        .map(|kafka| (parts::connection(&config, kafka), kafka.topic.clone(), kafka.checkpoint_topic.clone()));
    let nowhere = "the configuration has no `[kafka]`: say where to with `--brokers` and `--topic`";
    let (connection, topic, checkpoint_topic) = given.or(told).ok_or_else(|| Failure::Usage(nowhere.to_owned()))?;
    let spool = args.spool.clone().unwrap_or_else(|| config.audit.spool.clone());
    Ok(Places { spool, connection, topic, checkpoint_topic })
}

fn range(args: &Args) -> Result<Range, Failure> {
    let now = SystemTime::now();
    let time = |name, text: &Option<String>| text.as_deref().map(|text| instant(name, text, now)).transpose();
    Ok(Range {
        since_us: time("since", &args.since)?,
        until_us: time("until", &args.until)?,
        chain: args.chain.clone(),
        seq: args.seq,
    })
}

fn ship(
    source: impl Source + 'static,
    tally: &Arc<Tally>,
    places: &Places,
    pins: PathBuf,
    metrics: Arc<Metrics>,
    timeout: Option<Duration>,
) -> Result<Exit, Failure> {
    let checkpoint_topic = Some(places.checkpoint_topic.clone());
    let options = sink::Options {
        pins: Some(pins),
        checkpoint_topic,
        ..sink::Options::new(places.connection.clone(), &places.topic)
    };
    let sink = KafkaSink::new(options).map_err(|error| Failure::Usage(error.to_string()))?;
    let signals = Signals::watch()?;
    let publisher = Publisher::spawn(source, sink, publisher::Options::default(), metrics, Tracer::off())
        .context("no thread for the publisher")?;
    let outcome = Shipping { signals, publisher, tally: tally.clone(), timeout }.wait();
    let missing = tally.missing();
    for (chain, first, last) in &missing {
        eprintln!("countersign: records {first}–{last} of chain `{}` are damaged or gone", chain.escape_debug());
    }
    // Nobody may be reading this; the exit code says it, too.
    drop(writeln!(io::stdout(), "{} records published", tally.acknowledged()));
    match outcome {
        Outcome::Drained if missing.is_empty() => Ok(Exit::Fine),
        Outcome::Drained => Ok(Exit::Found),
        Outcome::Left(why) => {
            Err(Failure::CouldNot(anyhow::anyhow!("{why}, and not everything is published; run it again")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_two_ends() {
        assert_eq!(seqs("17-42"), Ok((17, 42)));
        for wrong in ["", "17", "42-17", "-3", "a-b", "1-2-3"] {
            assert!(seqs(wrong).is_err(), "{wrong}");
        }
    }
}
