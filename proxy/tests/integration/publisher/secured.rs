//! TLS, users, tokens and access rules, against a real broker that asks for them. What is not trusted gets nothing, and
//! nothing ever falls back to plain text.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::kafka::inspect::{self, Topic};
use loadtest::laboratory::kafka::{Certificates, Door, Kafka, PASSWORD, USER};
use loadtest::laboratory::{Laboratory, require};
use tempfile::TempDir;

use super::*;
use crate::authorizer::encrypted::Identity;

/// A broker, the authority that vouches for it, and files for clients.
struct House {
    kafka: Kafka,
    files: TempDir,
}

impl House {
    async fn open() -> Option<Self> {
        let files = tempfile::tempdir().unwrap();
        let authority = Identity::new("authority", None, 1, 10);
        let (broker, client) = (
            Identity::new("localhost", Some(&authority), 1, 10),
            Identity::new("countersign", Some(&authority), 1, 10),
        );
        let stranger = Identity::new("stranger", None, 1, 10);
        authority.write(files.path(), "ca");
        client.write(files.path(), "client");
        stranger.write(files.path(), "stranger");
        let text = |pem: Vec<u8>| String::from_utf8(pem).unwrap();
        let key = text(broker.key.private_key_to_pem_pkcs8().unwrap());
        let certificates = Certificates {
            broker: key + &text(broker.certificate.to_pem().unwrap()),
            authority: text(authority.certificate.to_pem().unwrap()),
        };
        let kafka = require(Laboratory::open().unwrap().kafka().secured(certificates).start().await)?;
        Some(Self { kafka, files })
    }

    fn file(&self, name: &str) -> String {
        self.files.path().join(name).display().to_string()
    }

    fn connection(&self, door: Door, properties: &[(&str, &str)]) -> Connection {
        let mut connection = connection(self.kafka.by(door));
        let protocol = match door {
            Door::Sasl => "SASL_PLAINTEXT",
            Door::Tls => "SSL",
            Door::SaslTls => "SASL_SSL",
        };
        let protocol = [("security.protocol", protocol)];
        let given = properties.iter().chain(&protocol);
        connection.properties.extend(given.map(|(name, value)| ((*name).to_owned(), (*value).to_owned().into())));
        connection
    }
}

/// It waits in a runtime of its own.
fn look(connection: &Connection, topic: &str) -> Result<Topic, inspect::InspectError> {
    tokio::task::block_in_place(|| inspect::topic(connection, topic, Duration::from_secs(20)))
}

/// Publishes, reads and looks at the topic, each by a client of its own.
async fn passes(house: &House, what: &str, topic: &str, connection: Connection) {
    house.kafka.create_topic(topic, 1).await.unwrap();
    let (publisher, metrics) = ship(Numbers::new(10), SinkOptions::new(connection.clone(), topic));
    assert_eq!(publisher.shutdown(PATIENCE), Ending::Drained, "{what}: {}", metrics.encode());
    assert_whole(&read_topic(&connection, topic, Start::Beginning), 10);
    let looked = look(&connection, topic).unwrap();
    let Topic::Present(layout) = looked else { panic!("{what}: {topic} is there") };
    assert_eq!(layout.settings.is_ok(), !what.contains("OAUTHBEARER"), "{what}: {:?}", layout.settings);
}

/// Nothing is delivered; these codes are counted instead.
fn fails(what: &str, topic: &str, connection: Connection, codes: &[&str]) {
    let source = Numbers::new(10);
    let (publisher, metrics) = ship(source.clone(), SinkOptions::new(connection, topic));
    wait_until(what, || codes.iter().any(|code| errors(&metrics, code) > 0));
    assert_eq!(publisher.shutdown(Duration::from_millis(500)), Ending::Left, "{what}");
    assert_eq!(source.delivered(), 0, "{what}");
}

fn unsigned_token(claims: &str) -> String {
    format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(claims))
}

fn good_token() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    unsigned_token(&format!(r#"{{"sub":"{USER}","iat":{now},"exp":{}}}"#, now + 600))
}

fn write(path: &str, text: &str) {
    std::fs::write(Path::new(path), text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mechanism_publishes_reads_and_looks_with_and_without_tls() {
    let Some(house) = House::open().await else { return };
    let (ca, token) = (house.file("ca.crt"), house.file("token"));
    write(&token, &good_token());
    let from_file = format!("token_file={token}");
    for (door, name) in [(Door::Sasl, "plain"), (Door::SaslTls, "tls")] {
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] {
            let mut properties = vec![("sasl.mechanism", mechanism)];
            properties.extend((door == Door::SaslTls).then_some(("ssl.ca.location", ca.as_str())));
            properties.extend(match mechanism {
                "OAUTHBEARER" => vec![("sasl.oauthbearer.config", from_file.as_str())],
                _ => vec![("sasl.username", USER), ("sasl.password", PASSWORD)],
            });
            let topic = format!("{name}-{mechanism}");
            passes(&house, &topic, &topic, house.connection(door, &properties)).await;
        }
    }
    let (certificate, key) = (house.file("client.crt"), house.file("client.key"));
    let client = [
        ("ssl.ca.location", ca.as_str()),
        ("ssl.certificate.location", certificate.as_str()),
        ("ssl.key.location", key.as_str()),
    ];
    passes(&house, "a client certificate", "mutual", house.connection(Door::Tls, &client)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_the_certificate_does_not_prove_gets_nothing() {
    let Some(house) = House::open().await else { return };
    house.kafka.create_topic(TOPIC, 1).await.unwrap();
    let (ca, stranger) = (house.file("ca.crt"), house.file("stranger.crt"));
    let user = [("sasl.mechanism", "PLAIN"), ("sasl.username", USER), ("sasl.password", PASSWORD)];
    let with = |more: &[(&'static str, &str)]| {
        let all: Vec<(&str, &str)> = user.iter().copied().chain(more.iter().copied()).collect();
        house.connection(Door::SaslTls, &all)
    };
    fails("another authority", TOPIC, with(&[("ssl.ca.location", &stranger)]), &["ssl"]);
    let mut elsewhere = with(&[("ssl.ca.location", &ca)]);
    elsewhere.brokers = vec![house.kafka.by(Door::SaslTls).replace("localhost", "127.0.0.1")];
    fails("another name", TOPIC, elsewhere, &["ssl"]);
    let nameless = house.connection(Door::Tls, &[("ssl.ca.location", &ca)]);
    fails("no client certificate", TOPIC, nameless, &["ssl", "broker_transport_failure", "all_brokers_down"]);
    // A plain client at a door with TLS, and TLS at a door without.
    let mut plain = house.connection(Door::SaslTls, &user);
    plain.properties.retain(|(name, _)| name != "security.protocol");
    fails("no TLS", TOPIC, plain, &["broker_transport_failure", "all_brokers_down"]);
    let mut open = with(&[("ssl.ca.location", &ca)]);
    open.brokers = vec![house.kafka.by(Door::Sasl)];
    fails("TLS where there is none", TOPIC, open, &["ssl", "broker_transport_failure", "all_brokers_down"]);
    assert!(house.kafka.records(TOPIC).await.unwrap().is_empty(), "nothing fell back to plain text");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_said_and_a_token_that_is_renewed_ends_the_trouble() {
    let Some(house) = House::open().await else { return };
    house.kafka.create_topic(TOPIC, 1).await.unwrap();
    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        let wrong = [("sasl.mechanism", mechanism), ("sasl.username", USER), ("sasl.password", "wrong")];
        fails(mechanism, TOPIC, house.connection(Door::Sasl, &wrong), &["authentication"]);
    }
    let token = house.file("token");
    write(&token, &unsigned_token(r#"{"sub":"alice","exp":1700000000}"#));
    let config = format!("token_file={token}");
    let renewed = [("sasl.mechanism", "OAUTHBEARER"), ("sasl.oauthbearer.config", config.as_str())];
    let source = Numbers::new(10);
    let sink = SinkOptions::new(house.connection(Door::Sasl, &renewed), TOPIC);
    let (publisher, metrics) = ship(source.clone(), sink);
    wait_until("the expired token is refused", || errors(&metrics, "authentication") > 0);
    assert_eq!(source.delivered(), 0);
    write(&token, &good_token());
    assert_eq!(publisher.shutdown(PATIENCE), Ending::Drained, "librdkafka asks again by itself");
    assert_whole(&house.kafka.records(TOPIC).await.unwrap().into_iter().map(record).collect::<Vec<_>>(), 10);
}

fn record(found: loadtest::laboratory::kafka::Record) -> Record {
    Record {
        partition: found.partition,
        offset: found.offset,
        timestamp_ms: found.timestamp_ms,
        key: found.key,
        value: found.value,
        headers: found.headers,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_forbidden_gets_everything_once_it_is_allowed() {
    let Some(house) = House::open().await else { return };
    house.kafka.create_topic(TOPIC, 1).await.unwrap();
    let rule = async |principal: &str, operations: &[&str]| {
        let mut args = vec!["--bootstrap-server".to_owned(), house.kafka.bootstrap(), "--add".to_owned()];
        args.extend(["--topic", TOPIC, "--allow-principal", principal].map(str::to_owned));
        args.extend(operations.iter().flat_map(|operation| ["--operation".to_owned(), (*operation).to_owned()]));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        house.kafka.java_tool("org.apache.kafka.tools.AclCommand", &args).await.unwrap();
    };
    rule("User:bob", &["Write"]).await;
    let user = [("sasl.mechanism", "PLAIN"), ("sasl.username", USER), ("sasl.password", PASSWORD)];
    let connection = house.connection(Door::Sasl, &user);
    let source = Numbers::new(10);
    let (publisher, metrics) = ship(source.clone(), SinkOptions::new(connection.clone(), TOPIC));
    wait_until("it is forbidden", || errors(&metrics, "topic_authorization_failed") >= 3);
    assert_eq!(source.delivered(), 0);
    let said = look(&connection, TOPIC).unwrap_err().to_string();
    assert!(said.contains("uthoriz"), "{said}");
    // To see that it is there, but not to write, and not to see its settings.
    rule("User:alice", &["Describe"]).await;
    let before = errors(&metrics, "topic_authorization_failed");
    wait_until("still forbidden", || errors(&metrics, "topic_authorization_failed") > before + 2);
    assert_eq!(source.delivered(), 0);
    let Topic::Present(layout) = look(&connection, TOPIC).unwrap() else { panic!("it may be seen") };
    assert!(layout.settings.as_ref().is_err_and(|why| why.contains("no permission")), "{:?}", layout.settings);
    rule("User:alice", &["Write"]).await;
    assert_eq!(publisher.shutdown(PATIENCE), Ending::Drained);
    assert_whole(&house.kafka.records(TOPIC).await.unwrap().into_iter().map(record).collect::<Vec<_>>(), 10);
}
