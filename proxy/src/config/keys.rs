//! Every key of the configuration: its name, what it takes, its default and the reason for it. The one table that the
//! reader, the messages about mistakes, `docs/CONFIGURATION.md` and the samples are held against. It decides nothing
//! that needs two keys at once; that is `check`. Read by `written` and by the tests of the documentation.

pub mod audit;
pub mod front;
pub mod policy;

use std::time::Duration;

/// One key of one table.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub takes: Takes,
    pub given: Given,
    /// What it does, and why the default is what it is. Markdown, one line.
    pub about: &'static str,
}

/// What may stand to the right of the `=`. Bounds are inclusive.
#[derive(Debug, Clone, Copy)]
pub enum Takes {
    Flag,
    Count(u64, u64),
    /// A fraction, 0 to 1.
    Share,
    /// Bytes, written with a unit.
    Size(u64, u64),
    Time(Duration, Duration),
    Text,
    Texts,
    /// An IP address with a port.
    Address,
    Word(&'static [&'static str]),
    Words(&'static [&'static str]),
    /// `{ file = "…" }` or `{ env = "…" }`; never the secret itself.
    Secret,
    /// Any names, each with a text, number, flag or secret.
    Properties,
    Table(&'static [Key]),
    Tables(&'static [Key]),
}

/// What holds where the key is not written.
#[derive(Debug, Clone, Copy)]
pub enum Given {
    Required,
    /// Nothing; the text says what that means.
    Absent(&'static str),
    /// A default, as it would be written.
    Default(&'static str),
}

/// The members of a reference to a secret.
pub static SECRET: &[Key] = &[
    key("file", Takes::Text, Given::Absent("or `env`"), "Path of a file that holds the secret and nothing else."),
    key("env", Takes::Text, Given::Absent("or `file`"), "Name of the environment variable that holds the secret."),
];

/// The whole file.
pub static ROOT: &[Key] = &[
    key(
        "instance",
        Takes::Text,
        Given::Absent("the host name"),
        "Name of this Countersign in records (`source`), chains and spans: 1 to 64 of `A-Z a-z 0-9 . _ -`. Two processes \
         must not share one.",
    ),
    key("listen", Takes::Table(front::LISTEN), Given::Required, "Where MinIO asks."),
    key("admin", Takes::Table(front::ADMIN), Given::Absent("defaults"), "Where operators look."),
    key("authorizer", Takes::Tables(policy::AUTHORIZER), Given::Required, "Who decides; at least one."),
    key(
        "route",
        Takes::Tables(policy::ROUTE),
        Given::Absent("one authorizer is asked everything, as route `default`"),
        "Which question goes to whom; the first that matches wins. Needed as soon as there are two authorizers.",
    ),
    key("cache", Takes::Table(policy::CACHE), Given::Absent("defaults"), "How long an answer is remembered."),
    key("audit", Takes::Table(audit::AUDIT), Given::Required, "The record of every decision, and its spool."),
    key(
        "kafka",
        Takes::Table(audit::KAFKA),
        Given::Absent("records stay in the spool; the oldest segments go when it is full"),
        "Where records are published.",
    ),
    key("otlp", Takes::Table(audit::OTLP), Given::Absent("nothing is traced"), "Where spans are sent."),
    key("log", Takes::Table(front::LOG), Given::Absent("defaults"), "The program's own log, not the audit trail."),
];

pub(crate) const fn key(name: &'static str, takes: Takes, given: Given, about: &'static str) -> Key {
    Key { name, takes, given, about }
}

/// A leaf of the tree of keys with its full name, `authorizer.tls.ca`.
#[derive(Debug)]
pub struct Leaf {
    pub path: String,
    pub key: &'static Key,
}

/// Every key that is not itself a table, in the order of the file.
pub fn leaves() -> Vec<Leaf> {
    fn walk(prefix: &str, keys: &'static [Key], into: &mut Vec<Leaf>) {
        for key in keys {
            let path = join(prefix, key.name);
            match key.takes {
                Takes::Table(inner) | Takes::Tables(inner) => walk(&path, inner, into),
                _ => into.push(Leaf { path, key }),
            }
        }
    }
    let mut all = Vec::new();
    walk("", ROOT, &mut all);
    all
}

/// `listen` and `path` make `listen.path`.
pub fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

/// What a key takes, in words that follow "takes".
pub fn takes(kind: &Takes) -> String {
    match kind {
        Takes::Flag => "true or false".to_owned(),
        Takes::Count(least, most) => format!("a number from {least} to {most}"),
        Takes::Share => "a share from 0.0 to 1.0".to_owned(),
        Takes::Size(least, most) => {
            format!("a size with its unit, \"{}\" to \"{}\"", super::values::size(*least), super::values::size(*most))
        }
        Takes::Time(least, most) => {
            format!("a duration with its unit, \"{}\" to \"{}\"", written(*least), written(*most))
        }
        Takes::Text => "a text".to_owned(),
        Takes::Texts => "a list of texts".to_owned(),
        Takes::Address => "an IP address with a port, such as \"127.0.0.1:8281\"".to_owned(),
        Takes::Word(words) => super::diagnose::list(words),
        Takes::Words(words) => format!("a list of {}", super::diagnose::list(words)),
        Takes::Secret => "{ file = \"…\" } or { env = \"…\" }".to_owned(),
        Takes::Properties | Takes::Table(_) => "a table".to_owned(),
        Takes::Tables(_) => "a list of tables".to_owned(),
    }
}

/// As one would write it: humantime would make eleven months and some hours of a year.
fn written(duration: Duration) -> String {
    const DAY: u64 = 86_400;
    let seconds = duration.as_secs();
    if seconds >= DAY && seconds.is_multiple_of(DAY) {
        format!("{}days", seconds / DAY)
    } else {
        humantime::format_duration(duration).to_string()
    }
}

pub(crate) const fn millis(value: u64) -> Duration {
    Duration::from_millis(value)
}

pub(crate) const fn seconds(value: u64) -> Duration {
    Duration::from_secs(value)
}

/// Longer than any pause between two questions that is worth a connection.
pub(crate) const HOUR: Duration = seconds(3_600);
pub(crate) const KIB: u64 = 1024;
pub(crate) const MIB: u64 = 1024 * KIB;
pub(crate) const TIB: u64 = 1024 * 1024 * MIB;
