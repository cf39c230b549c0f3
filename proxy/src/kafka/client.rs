//! What all our Kafka clients share: how to reach the brokers, whose properties win, where librdkafka's log goes.
//! Not a client itself.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use secrecy::{ExposeSecret, SecretString};

/// How to reach a cluster.
#[derive(Debug, Clone)]
pub struct Connection {
    /// `host:port` each.
    pub brokers: Vec<String>,
    /// librdkafka properties as the user wrote them; values may be passwords. What we promise is set after them.
    pub properties: Vec<(String, SecretString)>,
    /// `client.id`, as brokers log it.
    pub client_id: String,
}

/// The version of librdkafka, and what it was built with: its `builtin.features`.
pub fn library() -> (String, String) {
    let (_, version) = rdkafka::util::get_rdkafka_version();
    let built = ClientConfig::new().create_native_config().and_then(|config| config.get("builtin.features"));
    // It is a text that is always there; a build that cannot tell has none to speak of.
    (version, built.unwrap_or_default().replace(',', " "))
}

impl Connection {
    /// The user's properties, then `ours`, which win.
    pub(super) fn config(&self, ours: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Notice);
        config.set("client.id", &self.client_id);
        config.set("socket.keepalive.enable", "true");
        for (key, value) in &self.properties {
            config.set(key, value.expose_secret());
        }
        config.set("bootstrap.servers", self.brokers.join(","));
        // Topics are the operator's: an automatic one has the broker's retention and one replica.
        config.set("allow.auto.create.topics", "false");
        // Statistics cost memory when nobody takes them, and nobody does.
        config.set("statistics.interval.ms", "0");
        for (key, value) in ours {
            config.set(*key, *value);
        }
        config
    }

    /// The same for a producer.
    pub(super) fn producer_config(&self, ours: &[(&str, &str)]) -> ClientConfig {
        let mut config = self.config(ours);
        for (names, value) in DEFAULTS {
            if names.iter().all(|name| config.get(name).is_none()) {
                config.set(names.first().copied().unwrap_or_default(), value);
            }
        }
        config
    }
}

/// What a producer does unless the user says otherwise, under any of these names.
const DEFAULTS: [(&[&str], &str); 2] =
    [(&["linger.ms", "queue.buffering.max.ms"], "5"), (&["compression.codec", "compression.type"], "zstd")];

/// The error's name as metrics and logs show it: the crate's name in snake case.
pub(super) fn code_name(code: RDKafkaErrorCode) -> Cow<'static, str> {
    let mut name = String::new();
    for (i, c) in format!("{code:?}").chars().enumerate() {
        if c.is_ascii_uppercase() && i > 0 {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    Cow::Owned(name)
}

/// What an error says, without the value of a property, which may be a password: the crate would show it.
pub(super) fn said(error: &KafkaError) -> String {
    let KafkaError::ClientConfig(_, why, key, value) = error else { return error.to_string() };
    let mut why = why.trim().to_owned();
    if value.len() > QUOTED {
        "its value is none that it takes".clone_into(&mut why);
    }
    // Of a list, librdkafka quotes the element that it does not know.
    let elements = value.split(',').map(str::trim).filter(|element| element.len() > SHORT);
    for secret in std::iter::once(value.as_str()).chain(elements).filter(|secret| !secret.is_empty()) {
        why = why.replace(secret, "…");
    }
    format!("`{key}`: {why}")
}

/// librdkafka cuts its text off; of a value that is longer, a part might be left that is not found.
const QUOTED: usize = 256;
/// Shorter elements of a list are no secrets, and are in any sentence.
const SHORT: usize = 3;

/// `client` for what has no code.
pub(super) fn error_name(error: &KafkaError) -> Cow<'static, str> {
    error.rdkafka_error_code().map_or(Cow::Borrowed("client"), code_name)
}

/// librdkafka's log lines, at most [`LINES`] in [`PERIOD`]; the rest are counted. It logs every failed connection, and a
/// broker can be away for days.
#[derive(Debug)]
pub(super) struct Log {
    state: Mutex<LogState>,
}

const LINES: u32 = 10;
const PERIOD: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct LogState {
    since: Instant,
    lines: u32,
    dropped: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self { state: Mutex::new(LogState { since: Instant::now(), lines: 0, dropped: 0 }) }
    }
}

impl Log {
    pub(super) fn line(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        let Some(dropped) = self.admit() else { return };
        if dropped > 0 {
            tracing::warn!(target: "librdkafka", dropped, "lines left out");
        }
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::error!(target: "librdkafka", "{facility}: {text}");
            }
            RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", "{facility}: {text}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "librdkafka", "{facility}: {text}");
            }
            RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", "{facility}: {text}"),
        }
    }

    /// `None`: too many. Otherwise how many were left out before.
    fn admit(&self) -> Option<u64> {
        let mut state = self.state.lock();
        if state.since.elapsed() >= PERIOD {
            state.since = Instant::now();
            state.lines = 0;
        }
        if state.lines >= LINES {
            state.dropped += 1;
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        Connection {
            brokers: vec!["a:1".into(), "b:2".into()],
            properties: vec![
                ("sasl.password".into(), "hunter2".to_owned().into()),
                ("allow.auto.create.topics".into(), "true".to_owned().into()),
                ("acks".into(), "0".to_owned().into()),
            ],
            client_id: "i".into(),
        }
    }

    #[test]
    fn our_promises_win_over_properties() {
        let config = connection().config(&[("acks", "all")]);
        assert_eq!(config.get("acks"), Some("all"));
        assert_eq!(config.get("allow.auto.create.topics"), Some("false"));
        assert_eq!(config.get("bootstrap.servers"), Some("a:1,b:2"));
        assert_eq!(config.get("sasl.password"), Some("hunter2"));
    }

    #[test]
    fn what_weakens_nothing_is_the_users_to_choose() {
        let mut connection = connection();
        assert_eq!(connection.producer_config(&[]).get("compression.codec"), Some("zstd"));
        connection.properties.push(("compression.type".into(), "lz4".to_owned().into()));
        let config = connection.producer_config(&[]);
        assert_eq!((config.get("compression.codec"), config.get("compression.type")), (None, Some("lz4")));
        assert_eq!(config.get("linger.ms"), Some("5"));
    }

    #[test]
    fn passwords_are_not_shown() {
        assert!(!format!("{:?}", connection()).contains("hunter2"));
    }

    /// What librdkafka itself says of a property that it does not know, or whose value it does not take.
    #[test]
    fn errors_show_no_value_of_a_property() {
        let secret = "hunter2";
        let long = format!("{secret}{}", "x".repeat(600));
        for (key, value) in [
            ("sasl.pasword", secret),
            ("sasl.mechanisms.of.ours", secret),
            ("security.protocol", secret),
            ("debug", "broker, hunter2"),
            ("linger.ms", secret),
            ("security.protocol", &long),
        ] {
            let mut config = ClientConfig::new();
            let error = config.set(key, value).create_native_config().err().unwrap();
            assert!(error.to_string().contains(secret), "nothing is tested: {error}");
            let said = said(&error);
            assert!(said.starts_with(&format!("`{key}`: ")) && !said.contains(secret), "{said}");
        }
        let other = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
        assert_eq!(said(&other), other.to_string());
    }

    #[test]
    fn codes_have_names() {
        assert_eq!(code_name(RDKafkaErrorCode::NotEnoughReplicas), "not_enough_replicas");
        assert_eq!(code_name(RDKafkaErrorCode::AllBrokersDown), "all_brokers_down");
    }

    #[test]
    fn the_log_has_a_limit() {
        let log = Log::default();
        let admitted = (0..100).filter(|_| log.admit().is_some()).count();
        assert_eq!(admitted, LINES as usize);
    }
}
