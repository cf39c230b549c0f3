//! Says in the log, once and in the background, what is wrong with the topics. Nothing waits for it and nothing is refused
//! for it: the spool keeps the records. Started by `parts`.

use std::io;
use std::time::Duration;

use crate::kafka::client::Connection;
use crate::kafka::inspect::{self, Topic};
use crate::kafka::settings::{create_line, findings};

/// For brokers to say whether a topic is there.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Between two looks at a topic that could not be looked at.
const AGAIN: Duration = Duration::from_secs(60);

/// Errors: the operating system has no thread for us.
pub fn watch(connection: Connection, topics: [String; 2]) -> io::Result<()> {
    let look = move || {
        let mut topics = topics.map(|name| Watched { name, told: None }).to_vec();
        loop {
            topics.retain_mut(|topic| !topic.look(&connection));
            if topics.is_empty() {
                return;
            }
            std::thread::sleep(AGAIN);
        }
    };
    std::thread::Builder::new().name("topics".to_owned()).spawn(look).map(drop)
}

#[derive(Clone)]
struct Watched {
    name: String,
    /// What was said last of a topic that is not there, or cannot be looked at.
    told: Option<Trouble>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Missing,
    Unseen,
}

impl Watched {
    /// Whether all has been said.
    fn look(&mut self, connection: &Connection) -> bool {
        let name = &self.name;
        match inspect::topic(connection, name, TIMEOUT) {
            Ok(Topic::Present(layout)) => {
                let (partitions, replicas) = (layout.partitions, layout.replicas);
                tracing::info!(topic = name, partitions, replicas, "topic");
                if let Err(why) = &layout.settings {
                    tracing::info!("settings of topic `{name}` are not known: {why}");
                }
                for finding in findings(connection, name, &layout) {
                    tracing::warn!("topic `{name}`: {}; to mend it: {}", finding.text, finding.line);
                }
                return true;
            }
            Ok(Topic::Missing { brokers }) if self.told.replace(Trouble::Missing) != Some(Trouble::Missing) => {
                tracing::warn!(
                    "topic `{name}` does not exist; what belongs there is not published until it does: {}",
                    create_line(connection, name, brokers)
                );
            }
            Err(error) if self.told.replace(Trouble::Unseen) != Some(Trouble::Unseen) => tracing::warn!(
                %error,
                "topic `{name}` cannot be looked at; what belongs there is not published until it can"
            ),
            Ok(Topic::Missing { .. }) | Err(_) => {}
        }
        false
    }
}
