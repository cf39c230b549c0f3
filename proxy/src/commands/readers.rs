//! The grammar that all commands share which read records: where from, what, how shown. Not what a command does with
//! them.

pub mod filter;
pub mod minio_audit;
pub mod noted;
pub mod places;
pub mod printable;
pub mod progress;
pub mod stream;

use std::path::{Path, PathBuf};

use clap::Args;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use crate::audit::publisher::Entry;
use crate::config::Diagnostics;
use crate::kafka::Connection;
use crate::kafka::properties::refused_for_reading;
use filter::{Filter, What};

/// Flattened into a command's own arguments.
#[derive(Debug, Clone, Args)]
pub struct ReaderArgs {
    #[command(flatten)]
    pub from: FromArgs,
    #[command(flatten)]
    pub what: What,
    /// Print records as JSON, one a line
    #[arg(long)]
    pub json: bool,
}

/// Where records are read from: exactly one of Kafka, a spool, a file, or what a configuration names.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Where from")]
pub struct FromArgs {
    /// Kafka brokers, `host:port`, several with commas
    #[arg(long, value_delimiter = ',', requires = "topic", conflicts_with_all = ["spool", "file", "config"])]
    pub brokers: Vec<String>,
    /// Kafka topic
    #[arg(long, requires = "brokers")]
    pub topic: Option<String>,
    /// librdkafka property, `key=value`; `key=@FILE` reads the value from a file, so that no password shows in the
    /// process list. May be given several times
    #[arg(long = "property", value_name = "KEY=VALUE", requires = "brokers")]
    pub properties: Vec<String>,
    /// Directory of a spool
    #[arg(long, value_name = "DIR", conflicts_with_all = ["file", "config"])]
    pub spool: Option<PathBuf>,
    /// File with one JSON record a line; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub file: Option<PathBuf>,
    /// Read from the Kafka topic, or else the spool, that this configuration names. Without any of these:
    /// `COUNTERSIGN_CONFIG` of the environment
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// A place with records.
#[derive(Debug, Clone)]
pub enum Where {
    Kafka { connection: Connection, topic: String },
    Spool(PathBuf),
    File(PathBuf),
}

/// Where a configuration says that records go.
#[derive(Debug, Clone)]
pub struct Configured {
    pub place: Where,
    /// Where it says that their checkpoints are kept besides, at the same brokers.
    pub checkpoint_topic: Option<String>,
}

impl From<Where> for Configured {
    fn from(place: Where) -> Self {
        Self { place, checkpoint_topic: None }
    }
}

/// Records of a spool, oldest epoch first.
pub trait SpoolReading: Iterator<Item = std::io::Result<Entry>> {
    /// The oldest record that is still there, by chain and seq; `None` where that cannot be told.
    fn oldest(&self) -> std::io::Result<Option<(String, u64)>>;
}

pub type SpoolEntries = Box<dyn SpoolReading>;

/// What readers need from parts they do not know.
pub trait Openers {
    fn config(&self, path: &Path) -> Result<Configured, Failure>;

    /// All records of a spool, whole ones only. `follow`: `next` waits for more at the end.
    fn spool(&self, dir: &Path, follow: bool) -> anyhow::Result<SpoolEntries>;
}

/// Why a command ends without having done its work.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("{0:#}")]
    CouldNot(#[from] anyhow::Error),
}

impl Failure {
    /// The process's exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 64,
            Self::CouldNot(_) => 2,
        }
    }
}

impl From<Diagnostics> for Failure {
    /// Mistakes are for the author of the configuration to mend; a file that cannot be read is not.
    fn from(mistakes: Diagnostics) -> Self {
        if mistakes.unreadable { Self::CouldNot(mistakes.into()) } else { Self::Usage(mistakes.to_string()) }
    }
}

impl FromArgs {
    /// Reads the configuration, if that is where from.
    pub fn place(&self, openers: &dyn Openers) -> Result<Where, Failure> {
        Ok(self.configured(openers)?.place)
    }

    /// The same with what only a configuration says.
    pub fn configured(&self, openers: &dyn Openers) -> Result<Configured, Failure> {
        if let Some(topic) = &self.topic {
            let properties = self.properties.iter().map(|p| property(p)).collect::<Result<_, _>>()?;
            let connection =
                Connection { brokers: self.brokers.clone(), properties, client_id: "countersign-reader".into() };
            return Ok(Where::Kafka { connection, topic: topic.clone() }.into());
        }
        if let Some(dir) = &self.spool {
            return Ok(Where::Spool(dir.clone()).into());
        }
        if let Some(file) = &self.file {
            return Ok(Where::File(file.clone()).into());
        }
        match self.configuration() {
            Some(path) => openers.config(&path),
            None => Err(Failure::Usage(
                "say where from: `--brokers` with `--topic`, `--spool`, `--file` or `--config`".to_owned(),
            )),
        }
    }
}

impl FromArgs {
    /// The configuration that says where from, unless something else does.
    pub fn configuration(&self) -> Option<PathBuf> {
        if self.topic.is_some() || self.spool.is_some() || self.file.is_some() {
            return None;
        }
        // Not clap's `env`: a variable that is set would then conflict with `--spool` and its like.
        self.config.clone().or_else(|| std::env::var_os("COUNTERSIGN_CONFIG").map(PathBuf::from))
    }
}

impl ReaderArgs {
    /// What to show, with times relative to now.
    pub fn filter(&self) -> Result<Filter, Failure> {
        Filter::new(&self.what)
    }
}

/// `key=value`, or `key=@FILE`, of a command that reads.
pub fn property(text: &str) -> Result<(String, SecretString), Failure> {
    property_unless(refused_for_reading, text)
}

/// The same unless `refused` says why not.
pub fn property_unless(
    refused: fn(&str) -> Option<&'static str>,
    text: &str,
) -> Result<(String, SecretString), Failure> {
    let Some((key, value)) = text.split_once('=') else {
        return Err(Failure::Usage("a `--property` is not `key=value`".to_owned()));
    };
    if let Some(why) = refused(key) {
        return Err(Failure::Usage(format!("`--property {key}` cannot be set: {why}")));
    }
    let value: SecretString = match value.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path)
            .map(|text| Zeroizing::new(text).trim_end_matches(['\r', '\n']).into())
            .map_err(|error| Failure::CouldNot(anyhow::anyhow!("`{path}` for property `{key}`: {error}")))?,
        // The command line, which anybody on the machine can read.
        None => value.into(),
    };
    Ok((key.to_owned(), value))
}

/// For commands that read files only.
#[cfg(test)]
pub(super) struct Nothing;

#[cfg(test)]
impl Openers for Nothing {
    fn config(&self, path: &Path) -> Result<Configured, Failure> {
        Err(Failure::CouldNot(anyhow::anyhow!("`{}` was asked for", path.display())))
    }
    fn spool(&self, _: &Path, _: bool) -> anyhow::Result<SpoolEntries> {
        anyhow::bail!("no spool was asked for")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use secrecy::ExposeSecret;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        reader: ReaderArgs,
    }

    fn place(args: &[&str]) -> Result<Where, Failure> {
        let cli = Cli::try_parse_from([&["x"], args].concat()).map_err(|e| Failure::Usage(e.to_string()))?;
        cli.reader.from.place(&Nothing)
    }

    #[test]
    fn kafka_takes_several_brokers_and_properties() {
        let args = ["--brokers", "a:1,b:2", "--topic", "t", "--property", "sasl.password=x=y"];
        let Where::Kafka { connection, topic } = place(&args).unwrap() else { panic!("not kafka") };
        assert_eq!((connection.brokers.as_slice(), topic.as_str()), (&["a:1".to_owned(), "b:2".into()][..], "t"));
        let (key, value) = &connection.properties[0];
        assert_eq!((key.as_str(), value.expose_secret()), ("sasl.password", "x=y"));
    }

    #[test]
    fn a_property_may_come_from_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter2\n").unwrap();
        let (_, value) = property(&format!("sasl.password=@{}", file.path().display())).unwrap();
        assert_eq!(value.expose_secret(), "hunter2");
        assert_eq!(property("a=@/does/not/exist").unwrap_err().code(), 2);
    }

    #[test]
    fn what_reaches_for_foreign_memory_is_refused_under_each_of_its_names() {
        for name in ["opaque", "topic.opaque", "enable_sasl_queue"] {
            let Err(Failure::Usage(why)) = property(&format!("{name}=1")) else { panic!("{name} is taken") };
            assert!(why.contains(&format!("`--property {name}` cannot be set")), "{why}");
        }
    }

    #[test]
    fn exactly_one_place() {
        for wrong in [
            &["--brokers", "a:1"][..],
            &["--topic", "t"],
            &["--spool", "/s", "--file", "f"],
            &["--brokers", "a:1", "--topic", "t", "--file", "f"],
            &["--brokers", "a:1", "--topic", "t", "--property", "nonsense"],
            &["--brokers", "a:1", "--topic", "t", "--property", "plugin.library.paths=x.so"],
            &[],
        ] {
            assert_eq!(place(wrong).unwrap_err().code(), 64, "{wrong:?}");
        }
        assert!(matches!(place(&["--spool", "/s"]).unwrap(), Where::Spool(_)));
        assert!(matches!(place(&["--file", "-"]).unwrap(), Where::File(_)));
        assert_eq!(place(&["--config", "c"]).unwrap_err().code(), 2);
    }
}
