//! A configuration as it is meant: plain, complete and valid. What `app` builds from. It holds no reference to the file
//! and nothing in it can be wrong by itself; `check` makes it, and nothing else does. `Serialize` serves the generation
//! alone: what it writes is not for showing, since a hash of a short secret can be guessed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::audit::keys::SigningKey;
pub use crate::authorizer::url::Url;
pub use crate::policy::privacy::{Account, Modes, Object, ReportedIp};
pub use crate::policy::verdict::Durability;

/// The time of a deadline that is kept for the record: attempts must fit into the rest.
pub const KEPT_FOR_RECORD: Duration = Duration::from_millis(250);

#[derive(Debug, Clone, Serialize)]
pub struct Config {
    /// 1 to 64 of `A-Z a-z 0-9 . _ -`.
    pub instance: String,
    pub listen: Listen,
    pub admin: Admin,
    /// At least one; names differ.
    pub authorizers: Vec<Authorizer>,
    /// At least one; the first that matches wins.
    pub routes: Vec<Route>,
    pub cache: Cache,
    pub audit: Audit,
    pub kafka: Option<Kafka>,
    pub otlp: Option<Otlp>,
    pub log: Log,
}

impl Config {
    /// First 8 hex digits of a SHA-256 over everything that is meant, secrets by their hash: two files that mean the
    /// same, here and now, have the same generation.
    pub fn generation(&self) -> String {
        // A value of this type always becomes JSON: no map with other keys than text, no number that is none.
        let text = serde_json::to_vec(self).unwrap_or_default();
        let mut digest = hex::encode(Sha256::digest(text));
        digest.truncate(8);
        digest
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct Listen {
    pub address: SocketAddr,
    /// Begins with `/`.
    pub path: String,
    pub clients: Clients,
    pub tls: Option<ListenTls>,
    pub read_timeout: Duration,
    pub deadline: Duration,
    /// Bytes.
    pub max_body: usize,
    pub max_in_flight: usize,
    pub keepalive: Duration,
    pub drain: Duration,
    pub suspicious: Suspicious,
}

/// Who may ask.
#[derive(Debug, Clone, Serialize)]
pub enum Clients {
    /// Whoever reaches a loopback address; the header is not looked at and the client is called `local`.
    Loopback,
    /// Whoever sends one of these. At least one.
    Tokens(Vec<Token>),
}

#[derive(Debug, Clone, Serialize)]
pub struct Token {
    pub name: String,
    /// What `Authorization` must be, verbatim.
    #[serde(serialize_with = "fingerprint")]
    pub value: SecretString,
}

#[derive(Debug, Clone, Serialize)]
pub struct ListenTls {
    pub certificate: PemFile,
    pub key: PemFile,
    pub http2: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Suspicious {
    Record,
    Deny,
}

#[derive(Debug, Clone, Serialize)]
pub struct Admin {
    pub address: SocketAddr,
    #[serde(serialize_with = "optional_fingerprint")]
    pub token: Option<SecretString>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Authorizer {
    pub name: String,
    pub url: Url,
    pub dialect: Dialect,
    /// One attempt.
    pub timeout: Duration,
    /// Attempts after the first.
    pub retries: u32,
    pub retry_on: Vec<RetryOn>,
    pub max_in_flight: usize,
    pub cache_control: CacheControl,
    #[serde(serialize_with = "optional_fingerprint")]
    pub token: Option<SecretString>,
    /// Present exactly where the URL is https.
    pub tls: Option<ClientTls>,
    pub breaker: Breaker,
    pub deny_only: DenyOnly,
}

impl Authorizer {
    /// The longest that asking it can take, all attempts together.
    pub fn longest(&self) -> Duration {
        self.timeout * (self.retries + 1)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    Minio,
    Authzen,
}

/// Faults after which an authorizer is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    Dns,
    Connect,
    Tls,
    ConnectionLost,
    Timeout,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheControl {
    Honour,
    Ignore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DenyOnly {
    Ask,
    Deny,
}

#[derive(Debug, Clone, Serialize)]
pub struct ClientTls {
    /// Authorities; absent means the system's.
    pub ca: Option<PemFile>,
    pub identity: Option<Identity>,
    /// Never empty: an empty one would switch verification off.
    pub server_name: String,
}

/// A client certificate and its key.
#[derive(Debug, Clone, Serialize)]
pub struct Identity {
    pub certificate: PemFile,
    pub key: PemFile,
}

/// A file that others open. What it held when the configuration was read belongs to the meaning, so that a certificate
/// renewed in place is a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PemFile {
    pub path: PathBuf,
    /// Lower-case hex.
    pub sha256: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Breaker {
    pub failures: u32,
    pub open_for: Duration,
}

#[derive(Debug, Clone, Serialize)]
pub struct Route {
    pub name: String,
    pub matches: Match,
    /// Names of authorizers: at least one, none twice.
    pub ask: Vec<String>,
    pub combine: Combine,
    pub shadow: Vec<String>,
    pub allow_ttl: Duration,
    pub deny_ttl: Duration,
}

/// Globs; every list has at least one, and all lists must match. `*` matches the empty text, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Match {
    pub client: Vec<String>,
    pub action: Vec<String>,
    pub bucket: Vec<String>,
    pub account: Vec<String>,
}

impl Match {
    /// Whether it matches every question.
    pub fn is_everything(&self) -> bool {
        [&self.client, &self.action, &self.bucket, &self.account]
            .iter()
            .all(|globs| globs.iter().any(|glob| !glob.is_empty() && glob.bytes().all(|byte| byte == b'*')))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Combine {
    First,
    All,
    Any,
}

/// Lifetimes are the routes' own; these are what all routes share.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cache {
    pub entries: usize,
    /// What a route has that says nothing else.
    pub allow_ttl: Duration,
    pub deny_ttl: Duration,
    pub ignore: Vec<String>,
    pub ignore_defaults: bool,
    /// Globs.
    pub actions: Vec<String>,
    pub recheck: f64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Audit {
    /// Absolute.
    pub spool: PathBuf,
    pub durability: Durability,
    /// For `metadata_probe` questions: `Written` or `Synced`.
    pub probes: Durability,
    /// Bytes.
    pub max_size: u64,
    pub retain_delivered: Duration,
    pub checkpoint_every: Duration,
    #[serde(serialize_with = "public_half")]
    pub signing_key: Option<SigningKey>,
    pub privacy: Privacy,
}

#[derive(Debug, Clone, Serialize)]
pub struct Privacy {
    #[serde(flatten)]
    pub modes: Modes,
    /// The last one is in force; what earlier ones made can still be looked up. At least one where a mode needs it.
    pub keys: Vec<PrivacyKey>,
}

impl Privacy {
    pub fn in_force(&self) -> Option<&PrivacyKey> {
        self.keys.last()
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct PrivacyKey {
    pub id: String,
    /// Long enough to be a key.
    #[serde(serialize_with = "fingerprint")]
    pub value: SecretString,
}

#[derive(Debug, Clone, Serialize)]
pub struct Kafka {
    /// `host:port`; at least one.
    pub brokers: Vec<String>,
    pub topic: String,
    pub checkpoint_topic: String,
    /// Properties of librdkafka, sorted by name; none of them weakens delivery.
    pub properties: Vec<Property>,
}

/// A name and a value that may be a secret, for which it is kept like one.
#[derive(Debug, Clone, Serialize)]
pub struct Property {
    pub name: String,
    #[serde(serialize_with = "fingerprint")]
    pub value: SecretString,
}

#[derive(Debug, Clone, Serialize)]
pub struct Otlp {
    /// Complete, with `/v1/traces`.
    pub endpoint: Url,
    pub headers: Vec<Property>,
    /// Share of plain allows, 0 to 1.
    pub sample: f64,
    pub always: Vec<Always>,
    pub slow: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Always {
    Deny,
    Fault,
    Slow,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Log {
    pub format: LogFormat,
    pub level: LogLevel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Json,
    Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Stands for a secret in the generation: changes when it changes and does not show it.
fn fingerprint<S: Serializer>(secret: &SecretString, to: S) -> Result<S::Ok, S::Error> {
    hex::encode(Sha256::digest(secret.expose_secret())).serialize(to)
}

fn public_half<S: Serializer>(key: &Option<SigningKey>, to: S) -> Result<S::Ok, S::Error> {
    key.as_ref().map(|key| key.signer.public().text()).serialize(to)
}

fn optional_fingerprint<S: Serializer>(secret: &Option<SecretString>, to: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(|secret| hex::encode(Sha256::digest(secret.expose_secret()))).serialize(to)
}
