//! Everybody who is compared, by name: what each is, started only where it takes part. All idle but the one whose turn it
//! is; whoever needs another server (an authorizer behind it, a broker) shares it with the others that need it.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::ValueEnum;

use super::bare::{Producer, Synced};
use super::countersign::{Proved, Setting};
use super::turns::{Contender, Work};
use super::{Options, countersign, peers};
use crate::laboratory::kafka::Kafka;
use crate::laboratory::nginx::Nginx;
use crate::laboratory::opa::Opa;
use crate::laboratory::pingora::Pingora;
use crate::laboratory::{Laboratory, http};
use crate::up;

const BARE_TOPIC: &str = "bare";
/// Questions a second of those that are not asked as fast as they answer.
const PACE: f64 = 2000.0;
/// Share of a Countersign's decisions that may have come from elsewhere than its name says.
const STRAYS: f64 = 0.01;

/// Who can take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Entrant {
    CachedSynced,
    CachedPublished,
    CachedWritten,
    CachedAcknowledged,
    OneClient,
    PacedSynced,
    PacedPublished,
    UncachedSynced,
    UncachedWritten,
    UncachedAcknowledged,
    UncachedOpa,
    NginxConstant,
    PingoraConstant,
    OneClientConstant,
    PingoraProxy,
    NginxProxy,
    Opa,
    OpaLog,
    Producer,
    Fdatasync,
}

impl Entrant {
    /// As in tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::CachedSynced => "cached, synced",
            Self::CachedPublished => "cached, synced, on to Kafka",
            Self::CachedWritten => "cached, written",
            Self::CachedAcknowledged => "cached, acknowledged",
            Self::OneClient => "one client, cached, synced",
            Self::PacedSynced => "2,000 a second, cached, synced",
            Self::PacedPublished => "2,000 a second, on to Kafka",
            Self::UncachedSynced => "uncached, synced",
            Self::UncachedWritten => "uncached, written",
            Self::UncachedAcknowledged => "uncached, acknowledged",
            Self::UncachedOpa => "uncached, OPA, synced",
            Self::NginxConstant => "nginx constant",
            Self::PingoraConstant => "pingora constant",
            Self::OneClientConstant => "one client, pingora constant",
            Self::PingoraProxy => "pingora ProxyHttp",
            Self::NginxProxy => "nginx proxy_pass",
            Self::Opa => "OPA",
            Self::OpaLog => "OPA, decision log",
            Self::Producer => "rdkafka producer",
            Self::Fdatasync => "fdatasync",
        }
    }

    /// Durability, and whether the cache is on, where it is a Countersign of its own.
    fn countersign(self) -> Option<(&'static str, bool)> {
        match self {
            Self::CachedSynced | Self::CachedPublished => Some(("synced", true)),
            Self::CachedWritten => Some(("written", true)),
            Self::CachedAcknowledged => Some(("acknowledged", true)),
            Self::UncachedSynced | Self::UncachedOpa => Some(("synced", false)),
            Self::UncachedWritten => Some(("written", false)),
            Self::UncachedAcknowledged => Some(("acknowledged", false)),
            Self::OneClient
            | Self::PacedSynced
            | Self::PacedPublished
            | Self::NginxConstant
            | Self::PingoraConstant
            | Self::OneClientConstant
            | Self::PingoraProxy
            | Self::NginxProxy
            | Self::Opa
            | Self::OpaLog
            | Self::Producer
            | Self::Fdatasync => None,
        }
    }

    fn needs_kafka(self) -> bool {
        use Entrant::{CachedAcknowledged, CachedPublished, PacedPublished, Producer, UncachedAcknowledged};
        matches!(self, CachedPublished | PacedPublished | CachedAcknowledged | UncachedAcknowledged | Producer)
    }
}

/// What runs. Fields are dropped in this order: whoever asks goes before whoever answers.
pub(super) struct Roster {
    pub(super) contenders: Vec<Contender>,
    /// Empty when no Countersign takes part.
    pub(super) binary: String,
    countersigns: Vec<(Entrant, Proved)>,
    _peers: Vec<Peer>,
    _opa: Option<Opa>,
    _constant: Option<Pingora>,
    _kafka: Option<Kafka>,
}

/// Kept only to be ended.
enum Peer {
    Nginx(#[expect(dead_code, reason = "ended when dropped")] Nginx),
    Pingora(#[expect(dead_code, reason = "ended when dropped")] Pingora),
    Opa(#[expect(dead_code, reason = "ended when dropped")] Opa),
}

/// The parts of a roster while it is being made.
struct Making<'a> {
    lab: Laboratory,
    options: &'a Options,
    binary: Option<PathBuf>,
    kafka: Option<Kafka>,
    constant: Option<Pingora>,
    opa: Option<Opa>,
    peers: Vec<Peer>,
    countersigns: Vec<(Entrant, Proved)>,
}

impl Roster {
    /// Starts these, in this order.
    pub(super) async fn start(options: &Options, entrants: &[Entrant]) -> anyhow::Result<Self> {
        let mut making = Making {
            lab: Laboratory::open()?,
            options,
            binary: None,
            kafka: None,
            constant: None,
            opa: None,
            peers: Vec::new(),
            countersigns: Vec::new(),
        };
        let mut contenders = Vec::new();
        for entrant in entrants {
            eprintln!("starting {}", entrant.name());
            contenders.push(making.contender(*entrant).await.with_context(|| entrant.name())?);
        }
        Ok(Self {
            contenders,
            binary: making.binary.map(|binary| binary.display().to_string()).unwrap_or_default(),
            countersigns: making.countersigns,
            _peers: making.peers,
            _opa: making.opa,
            _constant: making.constant,
            _kafka: making.kafka,
        })
    }

    /// Each Countersign decided as its name says: from the cache, or by asking.
    pub(super) async fn check(&self) -> anyhow::Result<()> {
        for (entrant, proved) in &self.countersigns {
            let text = http::get(&format!("http://{}/metrics", proved.countersign.admin())).await?.body;
            let cached = entrant.countersign().is_some_and(|(_, cached)| cached);
            let (asked, all) = asked(&text);
            let strays = if cached { asked } else { all - asked };
            let said = format!("{}: the authorizer was asked for {asked} of {all} decisions", entrant.name());
            ensure!(all > 0.0 && strays <= all * STRAYS, "{said}: this is not what was to be measured");
        }
        Ok(())
    }
}

/// Decisions for which the authorizer was asked, and all of them.
fn asked(metrics: &str) -> (f64, f64) {
    let series = metrics.lines().filter(|line| line.starts_with("countersign_decisions_total{"));
    series.fold((0.0, 0.0), |(asked, all), line| {
        let value = line.rsplit_once("} ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok()).unwrap_or(0.0);
        (if line.contains("origin=\"authorizer\"") { asked + value } else { asked }, all + value)
    })
}

impl Making<'_> {
    async fn contender(&mut self, entrant: Entrant) -> anyhow::Result<Contender> {
        let name = entrant.name();
        if entrant.needs_kafka() {
            self.kafka().await?;
        }
        let (url, pid) = match entrant {
            Entrant::CachedSynced
            | Entrant::CachedPublished
            | Entrant::CachedWritten
            | Entrant::CachedAcknowledged
            | Entrant::UncachedSynced
            | Entrant::UncachedWritten
            | Entrant::UncachedAcknowledged
            | Entrant::UncachedOpa => self.countersign(entrant).await?,
            Entrant::OneClient => {
                let (url, pid) = self.countersign(Entrant::CachedSynced).await?;
                return Ok(Contender { name: name.into(), work: one_client(url, pid) });
            }
            Entrant::PacedSynced | Entrant::PacedPublished => {
                let published = entrant == Entrant::PacedPublished;
                let of = if published { Entrant::CachedPublished } else { Entrant::CachedSynced };
                let (url, pid) = self.countersign(of).await?;
                let work = Work::Server { url, pid, connections: None, rate: Some(PACE) };
                return Ok(Contender { name: name.into(), work });
            }
            Entrant::Opa => {
                let opa = self.opa().await?;
                (peers::rule(opa), peers::pid(opa)?)
            }
            Entrant::PingoraConstant => {
                let constant = self.constant().await?;
                (constant.url(), peers::pid(constant)?)
            }
            Entrant::OneClientConstant => {
                let constant = self.constant().await?;
                let (url, pid) = (constant.url(), peers::pid(constant)?);
                return Ok(Contender { name: name.into(), work: one_client(url, pid) });
            }
            Entrant::NginxConstant | Entrant::NginxProxy | Entrant::PingoraProxy | Entrant::OpaLog => {
                self.peer(entrant).await?
            }
            Entrant::Producer => {
                let brokers = self.kafka().await?.bootstrap();
                let producer = Producer { brokers, topic: BARE_TOPIC.to_owned() };
                return Ok(Contender { name: name.into(), work: Work::Produce(producer) });
            }
            Entrant::Fdatasync => {
                let work = Work::Sync(Synced::make(&self.options.spool_in)?);
                return Ok(Contender { name: name.into(), work });
            }
        };
        Ok(Contender::server(name, url, pid))
    }

    /// Servers that nobody else needs.
    async fn peer(&mut self, entrant: Entrant) -> anyhow::Result<(String, u32)> {
        let (at, peer) = match entrant {
            Entrant::PingoraProxy => {
                let to = self.constant().await?.port();
                let proxy = self.lab.pingora(&peers::loadtest()?).passing_to(to).start().await?;
                ((proxy.url(), peers::pid(&proxy)?), Peer::Pingora(proxy))
            }
            Entrant::OpaLog => {
                let opa = peers::opa(&self.lab, true).await?;
                ((peers::rule(&opa), peers::pid(&opa)?), Peer::Opa(opa))
            }
            Entrant::NginxProxy => {
                let constant = peers::nginx(&self.lab).await?;
                let proxy = peers::nginx_passing(&self.lab, constant.port()).await?;
                self.peers.push(Peer::Nginx(constant));
                ((proxy.url() + "/", peers::pid(&proxy)?), Peer::Nginx(proxy))
            }
            _ => {
                let constant = peers::nginx(&self.lab).await?;
                ((constant.url() + "/", peers::pid(&constant)?), Peer::Nginx(constant))
            }
        };
        self.peers.push(peer);
        Ok(at)
    }

    /// The one of this name; it may have been started for another entrant.
    async fn countersign(&mut self, entrant: Entrant) -> anyhow::Result<(String, u32)> {
        let place = |(of, proved): &(Entrant, Proved)| (*of == entrant).then(|| at(proved));
        if let Some(running) = self.countersigns.iter().find_map(place) {
            return running;
        }
        let (durability, cache) = entrant.countersign().context("no Countersign")?;
        let url = match entrant {
            Entrant::UncachedOpa => peers::rule(self.opa().await?),
            _ => self.constant().await?.url(),
        };
        if self.binary.is_none() {
            self.binary = Some(up::binary().await?);
        }
        let binary = self.binary.as_ref().context("no binary")?;
        let kafka = match &self.kafka {
            Some(kafka) if entrant.needs_kafka() => peers::published(kafka),
            _ => String::new(),
        };
        let tables = if cache { kafka } else { format!("{}{kafka}", peers::NO_CACHE) };
        let setting = Setting { url: &url, durability, tables: &tables };
        let question = peers::question();
        let proved = countersign::start_as(&self.lab, binary, &self.options.spool_in, &question, &setting).await?;
        let place = at(&proved);
        self.countersigns.push((entrant, proved));
        place
    }

    async fn constant(&mut self) -> anyhow::Result<&Pingora> {
        if self.constant.is_none() {
            self.constant = Some(self.lab.pingora(&peers::loadtest()?).start().await?);
        }
        self.constant.as_ref().context("no constant authorizer")
    }

    async fn opa(&mut self) -> anyhow::Result<&Opa> {
        if self.opa.is_none() {
            self.opa = Some(peers::opa(&self.lab, false).await?);
        }
        self.opa.as_ref().context("no OPA")
    }

    async fn kafka(&mut self) -> anyhow::Result<&Kafka> {
        if self.kafka.is_none() {
            let kafka = peers::kafka(&self.lab).await?;
            kafka.create_topic(BARE_TOPIC, 1).await?;
            self.kafka = Some(kafka);
        }
        self.kafka.as_ref().context("no Kafka")
    }
}

fn one_client(url: String, pid: u32) -> Work {
    Work::Server { url, pid, connections: Some(1), rate: None }
}

fn at(proved: &Proved) -> anyhow::Result<(String, u32)> {
    Ok((proved.countersign.url(), peers::pid(&proved.countersign)?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_their_own() {
        let names: BTreeSet<_> = Entrant::value_variants().iter().map(|entrant| entrant.name()).collect();
        assert_eq!(names.len(), Entrant::value_variants().len());
    }

    #[test]
    fn origins_are_summed_over_series() {
        let metrics = "countersign_decisions_total{decision=\"allow\",origin=\"authorizer\",route=\"a\"} 7\n\
                       countersign_decisions_total{decision=\"deny\",origin=\"authorizer\",route=\"a\"} 2\n\
                       countersign_decisions_total{decision=\"deny\",origin=\"cache\",route=\"a\"} 1\n\
                       other{origin=\"authorizer\"} 9\n";
        assert_eq!(asked(metrics), (9.0, 10.0));
    }
}
