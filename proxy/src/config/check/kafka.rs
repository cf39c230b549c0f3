//! Where records are published: `[kafka]`. Which properties of librdkafka are not the user's to set is in
//! `kafka::properties`. Called by `check`.

use secrecy::{ExposeSecret as _, SecretString};
use toml::Spanned;
use toml::de::DeValue;

use super::{no_duplicates, shown};
use crate::config::keys;
use crate::config::meant::{Kafka, Property};
use crate::config::secret::{self, Use};
use crate::config::written::{At, Table};
use crate::kafka::properties;

const REFERENCE: &str = "{ file = \"…\" } or { env = \"…\" }";
/// Longest topic name that brokers take.
const LONGEST_TOPIC: usize = 249;

pub fn kafka(table: &Table<'_>) -> Option<Kafka> {
    let brokers = brokers(table);
    let (topic, checkpoint_topic) = (topic(table, "topic"), topic(table, "checkpoint_topic"));
    if let (Some(topic), Some(checkpoints)) = (&topic, &checkpoint_topic)
        && topic == checkpoints
    {
        let place = if table.has("checkpoint_topic") { "checkpoint_topic" } else { "topic" };
        table.error(place, format!("`kafka.topic` and `kafka.checkpoint_topic` are both `{topic}`"));
    }
    let properties = table.properties("properties");
    let properties = properties.into_iter().filter_map(|(name, value)| property(table, &name, value)).collect();
    Some(Kafka { brokers: brokers?, topic: topic?, checkpoint_topic: checkpoint_topic?, properties })
}

fn brokers(table: &Table<'_>) -> Option<Vec<String>> {
    let brokers = table.texts("brokers")?;
    no_duplicates(table, "broker", &brokers);
    if brokers.is_empty() {
        table.error("brokers", "`kafka.brokers` is empty");
    }
    for broker in &brokers {
        if broker.contains("://") {
            let message =
                format!("`{}` is a URL: write `host:port`, and `security.protocol` in `properties`", shown(broker));
            table.page.error(&broker.span, message);
        } else if !is_broker(broker) {
            table.page.error(&broker.span, format!("`{}` is not a broker: write `host:port`", shown(broker)));
        }
    }
    Some(brokers.into_iter().map(|broker| broker.value).collect())
}

fn is_broker(text: &str) -> bool {
    let authority: Result<http::uri::Authority, _> = text.parse();
    authority.is_ok_and(|authority| {
        let port = authority.port_u16();
        !text.contains('@') && !text.ends_with(':') && !authority.host().is_empty() && port.is_some_and(|port| port > 0)
    })
}

fn topic(table: &Table<'_>, key: &str) -> Option<String> {
    let topic = table.get::<String>(key)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_topic =
        (1..=LONGEST_TOPIC).contains(&topic.len()) && topic.bytes().all(fits) && topic != "." && topic != "..";
    if !is_topic {
        let message =
            format!("`kafka.{key}` is `{}`, but takes 1 to {LONGEST_TOPIC} of A-Z a-z 0-9 . _ -", shown(&topic));
        table.error(key, message);
        return None;
    }
    Some(topic)
}

fn property(table: &Table<'_>, name: &At<String>, value: &Spanned<DeValue<'_>>) -> Option<Property> {
    if let Some(why) = properties::refused(name) {
        table.page.error(&name.span, format!("`{}` cannot be set: {why}", shown(name)));
        return None;
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_');
    if name.is_empty() || !name.bytes().all(fits) {
        table.page.error(&name.span, format!("`{}` is no name of a property of librdkafka", shown(name)));
        return None;
    }
    doubtful(table, name, value.get_ref());
    let span = value.span();
    let value = property_value(table, "kafka.properties", name, value, Use::Text)?;
    if let Some(path) = odd_file(name, &value) {
        table.page.error(&Some(span), format!("`{}` is neither a regular file nor a directory", shown(path)));
    }
    Some(Property { name: name.value.clone(), value })
}

/// A file that librdkafka is to open, if there is one and it is a pipe or the like: it would wait for ever, or read without end. A
/// file that is not there it refuses itself.
fn odd_file<'v>(name: &str, value: &'v SecretString) -> Option<&'v str> {
    let is_file = name.starts_with("ssl.") && name.ends_with(".location");
    let path = Some(value.expose_secret()).filter(|_| is_file)?;
    let found = std::fs::metadata(path).ok()?;
    (!found.is_file() && !found.is_dir()).then_some(path)
}

/// Warns about what works and is hardly meant.
fn doubtful(table: &Table<'_>, name: &At<String>, value: &DeValue<'_>) {
    let is_secret = ["password", "secret", "key.pem"].iter().any(|end| name.ends_with(end));
    if is_secret && value.is_str() {
        let message = format!("`{}` is written here for all who read this file; {REFERENCE} is not", shown(name));
        table.page.warn(&name.span, message);
    }
    let off = value.as_bool() == Some(false) || value.as_str() == Some("false");
    if name.value == "enable.ssl.certificate.verification" && off {
        table.page.warn(&name.span, format!("`{} = false`: whoever answers is taken for Kafka", name.value));
    }
    if name.value == "ssl.endpoint.identification.algorithm" && value.as_str() == Some("none") {
        let message =
            format!("`{} = \"none\"`: any server with a certificate of the authority is taken for Kafka", name.value);
        table.page.warn(&name.span, message);
    }
}

/// The value of a free name: a text, a number, a flag, or a reference to a secret.
pub(super) fn property_value(
    table: &Table<'_>,
    path: &str,
    name: &At<String>,
    value: &Spanned<DeValue<'_>>,
    used: Use,
) -> Option<SecretString> {
    let text = match value.get_ref() {
        // C reads a text only up to a zero byte.
        DeValue::String(text) => Some(text.to_string()).filter(|text| !text.contains('\0')),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(|it| it.to_string()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Table(members) if members.contains_key("file") || members.contains_key("env") => {
            let path = keys::join(path, name);
            let reference = Table::open(table.page, &path, keys::SECRET, Some(value.span()), Some(members));
            return secret::read(&reference, used);
        }
        DeValue::Table(members) => {
            let (outer, inner) = (shown(name), members.keys().next().map_or("…", |key| key.get_ref().as_ref()));
            let quoted = format!("a name with a dot is quoted: `\"{outer}.{}\"`", shown(inner));
            table.page.error(&name.span, format!("`{path}` has a table `{outer}`; {quoted}"));
            return None;
        }
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) => None,
    };
    if text.is_none() {
        let message = format!("`{}` takes a text, a number, true or false, {REFERENCE}", shown(name));
        table.page.error(&Some(value.span()), message);
    }
    text.map(SecretString::from)
}

#[cfg(test)]
mod tests {
    #[test]
    fn brokers_have_host_and_port() {
        for good in ["127.0.0.1:9092", "[::1]:9092", "kafka-0.kafka:9092"] {
            assert!(super::is_broker(good), "{good}");
        }
        for bad in ["kafka", "kafka:", "kafka:0", ":9092", "a:1,b:2", "u@k:1", "kafka:99999", ""] {
            assert!(!super::is_broker(bad), "{bad}");
        }
    }
}
