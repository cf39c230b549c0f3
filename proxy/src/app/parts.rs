//! From the configuration to the plain options of each part. No part sees the configuration itself, so none can reach
//! for a setting that is not its own. Called by `app`, and by commands that need a part alone.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use secrecy::ExposeSecret as _;

use super::topics;
use crate::admin::purge::{Access, Purge};
use crate::audit::backlog::Backlog;
use crate::audit::envelope::Source;
use crate::audit::publisher::{self, Publisher};
use crate::audit::spool::{self, Spool, StartError};
use crate::authorizer::Authorizer;
use crate::authorizer::tls;
use crate::authorizer::webhook::{self, Dialect, Webhook, WebhookError};
use crate::certificates::CertificateError;
use crate::config::Config;
use crate::config::meant;
use crate::decide::attempt::{CacheControl, DenyOnly, Limits, RetryOn};
use crate::decide::breaker;
use crate::decide::{self, CacheOptions, Decider, OptionsError};
use crate::front;
use crate::front::secure::{Secure, SecureError};
use crate::front::tokens::{LOCAL, Tokens};
use crate::kafka::certificates as kafka_files;
use crate::kafka::client::Connection;
use crate::kafka::sink::{self, KafkaSink};
use crate::log;
use crate::metrics::names::CertificateUse;
use crate::metrics::{Certificate, Metrics, Names, ShadowName};
use crate::pipeline::{self, Pipeline};
use crate::policy::key::IgnoreList;
use crate::policy::privacy::Privacy;
use crate::policy::privacy::key::Key;
use crate::policy::route::{Combine, Globs, Lifetimes, Matcher, Route, Routes};
use crate::status;
use crate::trace::{self, Tracer};
use crate::version::VERSION;

/// One export of spans; a collector that takes longer loses them.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// A part that its options do not allow to be built.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    #[error("authorizer `{name}`: {error}")]
    Authorizer { name: String, error: WebhookError },
    #[error(transparent)]
    Routes(#[from] OptionsError),
    #[error("otlp: {0}")]
    Otlp(String),
    #[error("kafka: {0}")]
    Kafka(String),
    #[error("privacy: {0}")]
    Privacy(String),
    #[error("listen.tls: {0}")]
    Listener(#[from] SecureError),
    /// Nothing of the configuration: the operating system has none for us now.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

pub fn names(config: &Config, generation: &str) -> Names {
    let clients = match &config.listen.clients {
        meant::Clients::Loopback => vec![LOCAL.to_owned()],
        meant::Clients::Tokens(tokens) => tokens.iter().map(|token| token.name.clone()).collect(),
    };
    Names {
        routes: config.routes.iter().map(|route| route.name.clone()).collect(),
        authorizers: config.authorizers.iter().map(|authorizer| authorizer.name.clone()).collect(),
        shadows: config.routes.iter().flat_map(shadow_names).collect(),
        clients,
        generation: generation.to_owned(),
    }
}

fn shadow_names(route: &meant::Route) -> impl Iterator<Item = ShadowName> {
    route.shadow.iter().map(|authorizer| ShadowName::new(&route.name, authorizer))
}

/// What decides, and what is tried out beside it. Takes everything from the configuration, so that a reload that makes
/// another one replaces shadows together with routes. `generation` counts the deciders of a process.
pub fn decider(config: &Config, generation: u64, metrics: &Arc<Metrics>) -> Result<Decider, PartError> {
    let mut certificates = Vec::new();
    let mut built = |authorizer: &meant::Authorizer| {
        let webhook = webhook(authorizer)?;
        certificates.extend(named(&authorizer.name, webhook.certificates()));
        Ok((Arc::new(webhook) as Arc<dyn Authorizer>, limits(authorizer)))
    };
    let authorizers = config.authorizers.iter().map(&mut built).collect::<Result<_, PartError>>()?;
    // Built a second time, also where it decides elsewhere: what hangs as a shadow must not take a connection from those.
    let tried = tried(config);
    let shadows = tried.iter().map(|authorizer| built(authorizer)).collect::<Result<_, PartError>>()?;
    let routes = Routes::new(config.routes.iter().map(|route| self::route(config, &tried, route)).collect());
    let cache = CacheOptions {
        entries: config.cache.entries,
        actions: Globs::new(&config.cache.actions),
        ignore: IgnoreList::new(config.cache.ignore_defaults, &config.cache.ignore),
        generation,
        recheck: config.cache.recheck,
    };
    let decider = Decider::new(decide::Options { authorizers, shadows, routes, cache }, metrics.clone())?;
    // Only now: a configuration that is refused changes nothing.
    metrics.authorizer_certificates(&certificates);
    Ok(decider)
}

/// Authorizers that some route tries out, each once.
fn tried(config: &Config) -> Vec<&meant::Authorizer> {
    let is_shadow =
        |authorizer: &&meant::Authorizer| config.routes.iter().any(|route| route.shadow.contains(&authorizer.name));
    config.authorizers.iter().filter(is_shadow).collect()
}

/// How an authorizer is asked.
pub fn webhook_options(authorizer: &meant::Authorizer) -> webhook::Options {
    let tls = authorizer.tls.as_ref().map_or_else(tls::Options::default, |tls| tls::Options {
        ca: tls.ca.as_ref().map(|ca| ca.path.clone()),
        certificate: tls.identity.as_ref().map(|identity| identity.certificate.path.clone()),
        key: tls.identity.as_ref().map(|identity| identity.key.path.clone()),
        server_name: Some(tls.server_name.clone()),
    });
    webhook::Options {
        name: authorizer.name.as_str().into(),
        url: authorizer.url.clone(),
        token: authorizer.token.clone(),
        tls,
        pool: authorizer.max_in_flight,
        dialect: match authorizer.dialect {
            meant::Dialect::Minio => Dialect::Minio,
            meant::Dialect::Authzen => Dialect::Authzen,
        },
    }
}

fn webhook(authorizer: &meant::Authorizer) -> Result<Webhook, PartError> {
    Webhook::new(webhook_options(authorizer))
        .map_err(|error| PartError::Authorizer { name: authorizer.name.clone(), error })
}

fn named(name: &str, ends: &[(CertificateUse, i64)]) -> Vec<Certificate> {
    ends.iter().map(|(used, ends)| Certificate { used: *used, name: name.to_owned(), ends: *ends }).collect()
}

/// When what authorizers are shown, and trusted by, ends.
pub fn authorizer_certificates(config: &Config) -> Result<Vec<Certificate>, PartError> {
    let of = |authorizer: &meant::Authorizer| Ok(named(&authorizer.name, webhook(authorizer)?.certificates()));
    config.authorizers.iter().map(of).collect::<Result<Vec<_>, PartError>>().map(|all| all.concat())
}

/// The same of Kafka, each by itself.
pub fn kafka_certificates(config: &Config) -> Vec<Result<Certificate, CertificateError>> {
    let Some(kafka) = &config.kafka else { return Vec::new() };
    let looked = kafka_files::ends(&connection(config, kafka)).into_iter();
    looked.map(|end| end.map(|(used, ends)| Certificate { used, name: "kafka".to_owned(), ends })).collect()
}

/// A look for the metric, no more: librdkafka reads forms of keys and stores that this does not, and judges by itself.
fn show_kafka_certificates(config: &Config, metrics: &Metrics) {
    let mut known = Vec::new();
    for looked in kafka_certificates(config) {
        match looked {
            Ok(certificate) => known.push(certificate),
            Err(error) => tracing::warn!("when a certificate of Kafka's ends is not known: {error}"),
        }
    }
    metrics.kafka_certificates(&known);
}

/// What guards it.
pub fn limits(authorizer: &meant::Authorizer) -> Limits {
    let retry = |on: &meant::RetryOn| match on {
        meant::RetryOn::Dns => RetryOn::Dns,
        meant::RetryOn::Connect => RetryOn::Connect,
        meant::RetryOn::Tls => RetryOn::Tls,
        meant::RetryOn::ConnectionLost => RetryOn::ConnectionLost,
        meant::RetryOn::Timeout => RetryOn::Timeout,
    };
    Limits {
        timeout: authorizer.timeout,
        retries: authorizer.retries,
        retry_on: authorizer.retry_on.iter().map(retry).collect(),
        max_in_flight: authorizer.max_in_flight,
        breaker: breaker::Options { failures: authorizer.breaker.failures, open_for: authorizer.breaker.open_for },
        deny_only: match authorizer.deny_only {
            meant::DenyOnly::Ask => DenyOnly::Ask,
            meant::DenyOnly::Deny => DenyOnly::Deny,
        },
        cache_control: match authorizer.cache_control {
            meant::CacheControl::Honour => CacheControl::Honour,
            meant::CacheControl::Ignore => CacheControl::Ignore,
        },
    }
}

fn route(config: &Config, tried: &[&meant::Authorizer], route: &meant::Route) -> Route {
    let place = |name: &String| config.authorizers.iter().position(|authorizer| authorizer.name == *name);
    let shadow = |name: &String| tried.iter().position(|authorizer| authorizer.name == *name);
    Route {
        name: route.name.as_str().into(),
        matcher: Matcher {
            client: Globs::new(&route.matches.client),
            action: Globs::new(&route.matches.action),
            bucket: Globs::new(&route.matches.bucket),
            account: Globs::new(&route.matches.account),
        },
        ask: route.ask.iter().filter_map(place).collect(),
        combine: match route.combine {
            meant::Combine::First => Combine::First,
            meant::Combine::All => Combine::All,
            meant::Combine::Any => Combine::Any,
        },
        shadow: route.shadow.iter().filter_map(shadow).collect(),
        cache: Lifetimes { allow: route.allow_ttl, deny: route.deny_ttl },
    }
}

pub fn tracer(config: &Config, metrics: &Arc<Metrics>) -> Result<Tracer, PartError> {
    let Some(otlp) = &config.otlp else { return Ok(Tracer::off()) };
    let headers = otlp.headers.iter().map(|header| {
        let name = header.name.parse().map_err(|_| PartError::Otlp(format!("`{}` is no header name", header.name)))?;
        let value = header.value.expose_secret().parse();
        Ok((name, value.map_err(|_| PartError::Otlp(format!("the value of `{}` is no header value", header.name)))?))
    });
    let options = trace::Options {
        endpoint: otlp.endpoint.to_string(),
        headers: headers.collect::<Result<_, PartError>>()?,
        sample: otlp.sample,
        always: always(otlp),
        timeout: EXPORT_TIMEOUT,
        instance: config.instance.clone(),
        version: VERSION.to_owned(),
    };
    Tracer::start(&options, metrics.clone()).map_err(|error| match error {
        trace::StartError::Runtime(error) => PartError::Thread(error),
        other => PartError::Otlp(other.to_string()),
    })
}

/// What is kept of traces whatever the sample says.
pub fn always(otlp: &meant::Otlp) -> trace::Always {
    let kept = |what| otlp.always.contains(&what);
    trace::Always {
        deny: kept(meant::Always::Deny),
        fault: kept(meant::Always::Fault),
        slow: kept(meant::Always::Slow).then_some(otlp.slow),
    }
}

pub fn privacy(config: &Config) -> Result<Privacy, PartError> {
    let privacy = &config.audit.privacy;
    let key = privacy.in_force().map(|key| Key::new(&key.id, key.value.expose_secret().as_bytes()));
    let key = key.transpose().map_err(|error| PartError::Privacy(error.to_string()))?;
    Privacy::new(privacy.modes, key).map_err(|error| PartError::Privacy(error.to_string()))
}

pub fn spool(
    config: &Config,
    privacy: &Privacy,
    generation: &str,
    metrics: &Arc<Metrics>,
) -> Result<(Spool, Backlog), StartError> {
    let audit = &config.audit;
    let options = spool::Options {
        durability: audit.durability,
        max_size: audit.max_size,
        retain_delivered: audit.retain_delivered,
        checkpoint_every: audit.checkpoint_every,
        signing_key: audit.signing_key.clone(),
        privacy: privacy.clone(),
        deliver: config.kafka.is_some(),
        ..spool::Options::new(&audit.spool)
    };
    Spool::start(options, Source::new(&config.instance), VERSION, generation, metrics.clone())
}

/// Where records are published; absent where they are not.
pub fn sink(config: &Config, metrics: &Metrics) -> Result<Option<KafkaSink>, PartError> {
    let Some(kafka) = &config.kafka else { return Ok(None) };
    show_kafka_certificates(config, metrics);
    let pins = Some(config.audit.spool.join("partitions.json"));
    let checkpoint_topic = Some(kafka.checkpoint_topic.clone());
    let options = sink::Options::new(connection(config, kafka), &kafka.topic);
    let sink = KafkaSink::new(sink::Options { pins, checkpoint_topic, ..options });
    sink.map(Some).map_err(|error| PartError::Kafka(error.to_string()))
}

pub fn publisher(
    config: &Config,
    (backlog, sink): (Backlog, Option<KafkaSink>),
    metrics: &Arc<Metrics>,
    tracer: &Tracer,
) -> Result<Option<Publisher>, PartError> {
    let (Some(kafka), Some(sink)) = (&config.kafka, sink) else { return Ok(None) };
    let topics = [kafka.topic.clone(), kafka.checkpoint_topic.clone()];
    topics::watch(connection(config, kafka), topics).map_err(PartError::Thread)?;
    Publisher::spawn(backlog, sink, publisher::Options::default(), metrics.clone(), tracer.clone())
        .map(Some)
        .map_err(PartError::Thread)
}

/// How to reach the brokers that are configured.
pub fn connection(config: &Config, kafka: &meant::Kafka) -> Connection {
    Connection {
        brokers: kafka.brokers.clone(),
        client_id: config.instance.clone(),
        properties: kafka.properties.iter().map(|p| (p.name.clone(), p.value.clone())).collect(),
    }
}

pub fn pipeline(config: &Config, privacy: Privacy, generation: Arc<str>) -> pipeline::Options {
    pipeline::Options {
        deadline: config.listen.deadline,
        max_in_flight: config.listen.max_in_flight,
        durability: config.audit.durability,
        probes: config.audit.probes,
        suspicious: match config.listen.suspicious {
            meant::Suspicious::Record => pipeline::Suspicious::Record,
            meant::Suspicious::Deny => pipeline::Suspicious::Deny,
        },
        privacy,
        generation,
        source: Source::new(&config.instance),
    }
}

/// What the decision endpoint shows of itself; absent where it speaks plain HTTP.
pub fn secure(config: &Config) -> Result<Option<Arc<Secure>>, PartError> {
    let Some(tls) = &config.listen.tls else { return Ok(None) };
    let (certificate, key) = (tls.certificate.path.as_path(), tls.key.path.as_path());
    Ok(Some(Arc::new(Secure::load(certificate, key, tls.http2)?)))
}

/// When what the decision endpoint shows ends.
pub fn listener_certificate(config: &Config, secure: Option<&Secure>) -> Option<Certificate> {
    let ends = secure?.ends()?;
    Some(Certificate { used: CertificateUse::Listener, name: config.listen.address.to_string(), ends })
}

pub fn front(config: &Config) -> front::Options {
    let listen = &config.listen;
    let tokens = match &listen.clients {
        meant::Clients::Loopback => Tokens::new([]),
        meant::Clients::Tokens(tokens) => Tokens::new(tokens.iter().map(|token| (token.name.as_str(), &token.value))),
    };
    front::Options {
        path: listen.path.clone(),
        tokens,
        read_timeout: listen.read_timeout,
        keepalive: listen.keepalive,
        max_body: listen.max_body,
    }
}

pub fn status(config: &Config) -> status::Options {
    status::Options { instance: config.instance.clone(), kafka: config.kafka.is_some() }
}

/// Who may change state.
pub fn access(config: &Config) -> Access {
    let loopback = config.admin.address.ip().to_canonical().is_loopback();
    Access::new(config.admin.token.as_ref(), loopback)
}

/// Purges go to the pipeline that answers.
pub fn purge(access: &Arc<ArcSwap<Access>>, pipeline: &Arc<Pipeline>) -> Purge {
    let pipeline = Arc::clone(pipeline);
    Purge { access: access.clone(), act: Arc::new(move |rule, client, peer| pipeline.purge(rule, client, peer)) }
}

pub fn log(config: &Config) -> log::Options {
    log::Options {
        format: match config.log.format {
            meant::LogFormat::Json => log::Format::Json,
            meant::LogFormat::Text => log::Format::Text,
        },
        level: level(config),
    }
}

pub fn level(config: &Config) -> tracing::Level {
    match config.log.level {
        meant::LogLevel::Error => tracing::Level::ERROR,
        meant::LogLevel::Warn => tracing::Level::WARN,
        meant::LogLevel::Info => tracing::Level::INFO,
        meant::LogLevel::Debug => tracing::Level::DEBUG,
        meant::LogLevel::Trace => tracing::Level::TRACE,
    }
}
