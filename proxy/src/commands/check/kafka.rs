//! `check --probe`: the topics as the brokers describe them. Creates and changes nothing.

use std::time::Duration;

use super::Remark;
use crate::app::parts;
use crate::config::Config;
use crate::kafka::client::Connection;
use crate::kafka::inspect::{self, InspectError, Topic};
use crate::kafka::settings::{create_line, findings};

/// For the brokers to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Both topics, if records are published at all.
pub fn look(config: &Config) -> Vec<Remark> {
    let Some(kafka) = &config.kafka else { return Vec::new() };
    let connection = parts::connection(config, kafka);
    let mut remarks = of_topic(&connection, &kafka.topic, "decisions");
    // Who cannot be reached for one topic cannot be reached for the other.
    if !matches!(&remarks[..], [Remark::Unknown(_)]) {
        remarks.extend(of_topic(&connection, &kafka.checkpoint_topic, "checkpoints"));
    }
    remarks
}

fn of_topic(connection: &Connection, topic: &str, what: &str) -> Vec<Remark> {
    let layout = match inspect::topic(connection, topic, TIMEOUT) {
        Ok(Topic::Present(layout)) => layout,
        Ok(Topic::Missing { brokers }) => {
            let text =
                format!("topic `{topic}` does not exist, or may not be seen: no {what} are published until it does");
            return vec![Remark::Found { text, line: Some(create_line(connection, topic, brokers)) }];
        }
        Err(error @ InspectError::Refused { .. }) => {
            return vec![Remark::Found { text: format!("{error}: no {what} are published"), line: None }];
        }
        Err(error) => return vec![Remark::Unknown(format!("kafka: {error}"))],
    };
    let found = findings(connection, topic, &layout);
    let laid_out = format!("topic `{topic}`: {} partitions, {} replicas", layout.partitions, layout.replicas);
    let mut remarks = vec![Remark::Fine(match (&layout.settings, found.is_empty()) {
        (Err(why), _) => format!("{laid_out}; its settings are not known: {why}"),
        (Ok(_), true) => format!("{laid_out}; its settings fit"),
        (Ok(_), false) => laid_out,
    })];
    let named = |finding: crate::kafka::settings::Finding| Remark::Found {
        text: format!("topic `{topic}`: {}", finding.text),
        line: Some(finding.line),
    };
    remarks.extend(found.into_iter().map(named));
    remarks
}
