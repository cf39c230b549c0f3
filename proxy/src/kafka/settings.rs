//! What a topic's settings mean for records: one plain sentence for each that costs something, and the command that mends
//! it. Pure; `inspect` asks the brokers, `app` logs and `check --probe` prints. Nothing here decides whether to publish.

use std::collections::BTreeMap;

use super::client::Connection;
use crate::audit::envelope::MAX_RECORD;

/// By name, as brokers describe them.
pub type Settings = BTreeMap<String, String>;

/// A topic as brokers describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub partitions: usize,
    /// Of the partition with the fewest.
    pub replicas: usize,
    pub brokers: usize,
    /// Otherwise why they are not known.
    pub settings: Result<Settings, String>,
}

/// Something about a topic that costs something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is so, and what follows from it.
    pub text: String,
    /// The command that mends it.
    pub line: String,
}

/// A batch of one record around its value: batch header, key, header, time (bytes).
const AROUND: u64 = 1024;
/// What the largest record takes of `max.message.bytes`.
pub const LARGEST: u64 = MAX_RECORD as u64 + AROUND;
const DAY_MS: u64 = 86_400_000;
const YEAR_MS: u64 = 365 * DAY_MS;
/// Less than this ahead of a broker's clock is no clock's fault.
const AHEAD_MS: u64 = 60_000;

/// In the order of what they cost.
pub fn findings(connection: &Connection, topic: &str, layout: &Layout) -> Vec<Finding> {
    let look = Look { connection, topic, layout };
    let mut found = look.copies();
    if let Ok(settings) = &layout.settings {
        let looked_at = [
            look.in_sync(settings),
            look.unclean(settings),
            look.cleanup(settings),
            look.age(settings),
            look.bytes(settings),
            look.largest(settings),
            look.late(settings),
            look.early(settings),
            look.stamp(settings),
        ];
        found.extend(looked_at.into_iter().flatten());
    }
    found
}

struct Look<'l> {
    connection: &'l Connection,
    topic: &'l str,
    layout: &'l Layout,
}

impl Look<'_> {
    fn set(&self, text: String, name: &str, value: &str) -> Option<Finding> {
        Some(Finding { text, line: set_line(self.connection, self.topic, name, value) })
    }

    fn copies(&self) -> Vec<Finding> {
        let Layout { replicas, brokers, .. } = *self.layout;
        if replicas > 1 {
            return Vec::new();
        }
        let text = match brokers {
            1 => "one replica, in a cluster of one broker: what Kafka has acknowledged is lost with that broker's disk",
            _ => "one replica: what Kafka has acknowledged is lost with one broker's disk",
        };
        let servers = self.connection.brokers.join(",");
        let line = format!(
            "kafka-reassign-partitions.sh --bootstrap-server {servers} --reassignment-json-file FILE --execute, with three \
             replicas for each partition of {} in FILE",
            self.topic
        );
        vec![Finding { text: text.to_owned(), line }]
    }

    fn in_sync(&self, settings: &Settings) -> Option<Finding> {
        let replicas = self.layout.replicas as u64;
        let least = number(settings, "min.insync.replicas")?;
        let fits = in_sync(self.layout.replicas).to_string();
        let text = match least {
            _ if replicas < 2 => return None,
            _ if least > replicas => {
                format!("min.insync.replicas is {least} and there are {replicas} replicas: nothing can be published")
            }
            _ if least == replicas => format!(
                "min.insync.replicas is {least} of {replicas} replicas: with any broker away nothing is published, and the \
                 spool fills"
            ),
            0 | 1 => {
                "min.insync.replicas is 1: an acknowledged record may be in one broker's memory only, and go with it"
                    .to_owned()
            }
            _ => return None,
        };
        if replicas == 2 && least == 2 {
            return None;
        }
        self.set(text, "min.insync.replicas", &fits)
    }

    fn unclean(&self, settings: &Settings) -> Option<Finding> {
        (settings.get("unclean.leader.election.enable")? == "true").then_some(())?;
        let text = "unclean.leader.election.enable is true: a broker that lacks acknowledged records may become the leader, and they are gone";
        self.set(text.to_owned(), "unclean.leader.election.enable", "false")
    }

    fn cleanup(&self, settings: &Settings) -> Option<Finding> {
        let policy = settings.get("cleanup.policy")?;
        policy.contains("compact").then_some(())?;
        let text = format!(
            "cleanup.policy is {policy}: of the records of a chain, which share a key, only the last is kept in the end"
        );
        self.set(text, "cleanup.policy", "delete")
    }

    fn age(&self, settings: &Settings) -> Option<Finding> {
        // -1 is for ever, and no number here.
        let kept = number(settings, "retention.ms").filter(|kept| *kept < YEAR_MS)?;
        let text = format!(
            "retention.ms is {kept}: records are deleted {} after they were made, those that an outage has kept waiting soon \
             after they arrive; auditors ask for a year",
            span(kept)
        );
        self.set(text, "retention.ms", &YEAR_MS.to_string())
    }

    fn bytes(&self, settings: &Settings) -> Option<Finding> {
        let kept = number(settings, "retention.bytes")?;
        let text = format!(
            "retention.bytes is {kept}: a partition that grows beyond it loses its oldest records, however young they are"
        );
        self.set(text, "retention.bytes", "-1")
    }

    fn largest(&self, settings: &Settings) -> Option<Finding> {
        let takes = number(settings, "max.message.bytes").filter(|takes| *takes < LARGEST)?;
        let text = format!(
            "max.message.bytes is {takes}, and a record has up to {LARGEST} with all around it: those that do not fit are \
             published as stubs"
        );
        self.set(text, LARGER.0, LARGER.1)
    }

    /// Older brokers know one setting for both directions.
    fn late(&self, settings: &Settings) -> Option<Finding> {
        let names = ["message.timestamp.before.max.ms", "message.timestamp.difference.max.ms"];
        let (name, past) = names.iter().find_map(|name| Some((*name, number(settings, name)?)))?;
        (past < YEAR_MS && !is_stamped_on_arrival(settings)).then_some(())?;
        let text = format!(
            "{name} is {past}: after an outage of more than {} the records of it are refused as `invalid_timestamp` or `invalid_record`, and all \
             behind them wait",
            span(past)
        );
        self.set(text, name, &i64::MAX.to_string())
    }

    fn early(&self, settings: &Settings) -> Option<Finding> {
        let name = "message.timestamp.after.max.ms";
        let ahead = number(settings, name).filter(|ahead| *ahead < AHEAD_MS)?;
        (!is_stamped_on_arrival(settings)).then_some(())?;
        let text = format!(
            "{name} is {ahead}: with a clock that is {} ahead of the broker's, records are refused as `invalid_timestamp` or `invalid_record`",
            span(ahead)
        );
        self.set(text, name, "3600000")
    }

    fn stamp(&self, settings: &Settings) -> Option<Finding> {
        is_stamped_on_arrival(settings).then_some(())?;
        let text = "message.timestamp.type is LogAppendTime: Kafka's timestamp is when a record arrived, so that looking up a time \
             (`--since`) finds other records after an outage; `time` in the record stays";
        self.set(text.to_owned(), "message.timestamp.type", "CreateTime")
    }
}

const LARGER: (&str, &str) = ("max.message.bytes", "1048588");

fn is_stamped_on_arrival(settings: &Settings) -> bool {
    settings.get("message.timestamp.type").is_some_and(|stamp| stamp == "LogAppendTime")
}

/// `None` also for -1.
fn number(settings: &Settings, name: &str) -> Option<u64> {
    settings.get(name)?.parse().ok()
}

/// Whole days as `7 days`, else `1h`, `1day`.
fn span(ms: u64) -> String {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    if ms >= 2 * DAY_MS && ms.is_multiple_of(DAY_MS) {
        return format!("{} days", ms / DAY_MS);
    }
    humantime::format_duration(std::time::Duration::from_millis(ms)).to_string()
}

fn in_sync(replicas: usize) -> usize {
    replicas.saturating_sub(1).max(1)
}

fn set_line(connection: &Connection, topic: &str, name: &str, value: &str) -> String {
    let servers = connection.brokers.join(",");
    format!(
        "kafka-configs.sh --bootstrap-server {servers} --alter --entity-type topics --entity-name {topic} --add-config \
         {name}={value}"
    )
}

/// The command after which a topic takes every record.
pub fn larger_line(connection: &Connection, topic: &str) -> String {
    set_line(connection, topic, LARGER.0, LARGER.1)
}

/// The command that creates a topic fit for records: as many replicas as the brokers allow up to three, and an
/// acknowledgement that means more than one of them.
pub fn create_line(connection: &Connection, topic: &str, brokers: usize) -> String {
    let replicas = brokers.clamp(1, 3);
    let in_sync = in_sync(replicas);
    format!(
        "kafka-topics.sh --bootstrap-server {} --create --topic {topic} --partitions 6 --replication-factor {replicas} \
         --config min.insync.replicas={in_sync} --config cleanup.policy=delete --config retention.ms=-1 \
         --config unclean.leader.election.enable=false --config message.timestamp.type=CreateTime \
         --config message.timestamp.before.max.ms={}",
        connection.brokers.join(","),
        i64::MAX
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        Connection { brokers: vec!["k:9092".to_owned()], properties: Vec::new(), client_id: "test".into() }
    }

    /// What the command for three brokers makes, with other values for some settings.
    fn fit(changed: &[(&str, &str)]) -> Layout {
        let mut settings: Settings = [
            ("min.insync.replicas", "2"),
            ("cleanup.policy", "delete"),
            ("retention.ms", "-1"),
            ("retention.bytes", "-1"),
            ("unclean.leader.election.enable", "false"),
            ("max.message.bytes", "1048588"),
            ("message.timestamp.type", "CreateTime"),
            ("message.timestamp.before.max.ms", "9223372036854775807"),
            ("message.timestamp.after.max.ms", "3600000"),
            ("compression.type", "gzip"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        settings.extend(changed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Layout { partitions: 6, replicas: 3, brokers: 3, settings: Ok(settings) }
    }

    fn found(layout: &Layout) -> Vec<Finding> {
        findings(&connection(), "t", layout)
    }

    #[test]
    fn a_topic_that_fits_is_left_alone() {
        assert_eq!(found(&fit(&[])), []);
    }

    #[test]
    fn each_setting_that_costs_something_is_named_with_what_mends_it() {
        for (name, value, follows, mended) in [
            ("min.insync.replicas", "1", "one broker's memory", "min.insync.replicas=2"),
            ("min.insync.replicas", "3", "with any broker away", "min.insync.replicas=2"),
            ("min.insync.replicas", "4", "nothing can be published", "min.insync.replicas=2"),
            ("unclean.leader.election.enable", "true", "they are gone", "unclean.leader.election.enable=false"),
            ("cleanup.policy", "compact", "only the last is kept", "cleanup.policy=delete"),
            ("cleanup.policy", "compact,delete", "only the last is kept", "cleanup.policy=delete"),
            ("retention.ms", "604800000", "7 days after", "retention.ms=31536000000"),
            ("retention.bytes", "1000000", "loses its oldest", "retention.bytes=-1"),
            ("max.message.bytes", "65536", "as stubs", "max.message.bytes=1048588"),
            ("message.timestamp.before.max.ms", "86400000", "outage of more than 1day", "=9223372036854775807"),
            ("message.timestamp.after.max.ms", "1000", "1s ahead", "message.timestamp.after.max.ms=3600000"),
            ("message.timestamp.type", "LogAppendTime", "when a record arrived", "message.timestamp.type=CreateTime"),
        ] {
            let all = found(&fit(&[(name, value)]));
            let [one] = &all[..] else { panic!("{name}={value}: {all:?}") };
            assert!(one.text.contains(name) && one.text.contains(follows), "{}", one.text);
            assert!(one.line.starts_with("kafka-configs.sh --bootstrap-server k:9092 --alter"), "{}", one.line);
            assert!(one.line.contains("--entity-name t ") && one.line.ends_with(mended), "{}", one.line);
        }
    }

    #[test]
    fn what_is_no_trouble_is_not_told() {
        for (name, value) in [
            ("retention.ms", "31536000000"),
            ("max.message.bytes", "66560"),
            ("compression.type", "producer"),
            ("message.timestamp.before.max.ms", "31536000000"),
            ("message.timestamp.after.max.ms", "60000"),
        ] {
            assert_eq!(found(&fit(&[(name, value)])), [], "{name}={value}");
        }
        // The broker's own time cannot be too old.
        let all = found(&fit(&[("message.timestamp.type", "LogAppendTime"), ("message.timestamp.before.max.ms", "1")]));
        assert_eq!(all.len(), 1, "{all:?}");
    }

    #[test]
    fn copies_are_counted_even_where_settings_are_not_seen() {
        let unseen = Layout { replicas: 1, settings: Err("not allowed".to_owned()), ..fit(&[]) };
        let all = found(&unseen);
        assert_eq!(all.len(), 1);
        assert!(all[0].text.contains("one broker's disk") && all[0].line.starts_with("kafka-reassign"), "{all:?}");
        let alone = found(&Layout { brokers: 1, ..unseen });
        assert!(alone[0].text.contains("cluster of one broker"), "{alone:?}");
    }

    #[test]
    fn the_command_fits_the_cluster() {
        let line = create_line(&connection(), "t", 5);
        assert!(line.contains("--replication-factor 3 --config min.insync.replicas=2"), "{line}");
        let line = create_line(&connection(), "t", 1);
        assert!(line.contains("--replication-factor 1 --config min.insync.replicas=1"), "{line}");
    }
}
