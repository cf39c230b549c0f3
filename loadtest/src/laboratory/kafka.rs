//! Kafka: one broker that is its own controller, in one Java process of at most 512 MiB of heap.

use super::error::{Error, Result};
use super::kafka_secured;
use super::part::{self, Part, Plan, Ready};
use super::{Laboratory, install, kafka_client, recipes};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub use super::kafka_client::Record;
pub(super) use super::kafka_client::probe;
pub use super::kafka_secured::{Certificates, Door, PASSWORD, USER};

/// Any identity will do for a cluster of one.
const CLUSTER: &str = "bGFib3JhdG9yeS1rYWZrYQ";
const PATIENCE: Duration = Duration::from_secs(90);

/// A broker to be started.
#[derive(Debug)]
pub struct Setup {
    lab: Laboratory,
    properties: Vec<(String, String)>,
    whole: Option<String>,
    certificates: Option<Certificates>,
}

/// A broker that runs.
#[derive(Debug)]
pub struct Kafka {
    part: Part,
    port: u16,
    secured: [u16; 3],
    java: PathBuf,
    libs: String,
}

impl Setup {
    pub(super) fn new(lab: Laboratory) -> Self {
        Self { lab, properties: Vec::new(), whole: None, certificates: None }
    }

    /// A property of `server.properties`, over the laboratory's own.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.properties.push((name.to_owned(), value.to_owned()));
        self
    }

    /// All of `server.properties`, instead of the laboratory's. In it `{port}`, `{controller}` and `{more}` become free
    /// ports, and `{dir}` its own directory.
    #[must_use]
    pub fn whole(mut self, properties: &str) -> Self {
        self.whole = Some(properties.to_owned());
        self
    }

    /// With doors for users, tokens and TLS besides, and with access rules: a topic that has none is everybody's.
    #[must_use]
    pub fn secured(mut self, certificates: Certificates) -> Self {
        self.certificates = Some(certificates);
        self
    }

    /// Returns when the broker serves metadata, some seconds later. Topics are never created by asking for them.
    /// # Errors
    /// When Java or Maven is missing, or the broker does not start.
    pub async fn start(self) -> Result<Kafka> {
        let cache = self.lab.install(recipes::kafka).await?;
        let java = recipes::java()?;
        let plan = |ports: [u16; 5]| self.plan(&java, &cache, ports);
        let (part, [port, _, secured @ ..]) = part::start(plan).await?;
        Ok(Kafka { part, port, secured, java, libs: libs(&cache) })
    }

    fn plan(&self, java: &Path, cache: &Path, [port, controller, secured @ ..]: [u16; 5]) -> Result<Plan> {
        let libs = libs(cache);
        let home = part::home("kafka")?;
        let properties = home.path().join("server.properties");
        let more = match &self.certificates {
            Some(certificates) => kafka_secured::properties(home.path(), certificates, [port, controller], secured)?,
            None => String::new(),
        };
        let text = match (&self.whole, secured) {
            (Some(whole), [more, ..]) => {
                let ports = [("{port}", port), ("{controller}", controller), ("{more}", more)];
                let whole = whole.replace("{dir}", &home.path().display().to_string());
                ports.into_iter().fold(whole, |text, (name, port)| text.replace(name, &port.to_string()))
            }
            (None, _) => self.server_properties(&home.path().join("data"), port, controller, &more),
        };
        part::write(&properties, &text)?;
        let logging = format!("-Dlog4j2.configurationFile={}", cache.join("log4j2.properties").display());
        let file = properties.display().to_string();
        let format =
            ["-XX:TieredStopAtLevel=1", "-cp", &libs, "kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c"];
        let users = self.certificates.iter().flat_map(|_| kafka_secured::users());
        install::run("kafka", Command::new(java).args(format).arg(&properties).args(users))?;
        let args = ["-Xms256m", "-Xmx512m", "-Djava.awt.headless=true", &logging, "-cp", &libs, "kafka.Kafka", &file];
        Ok(Plan {
            part: "kafka",
            program: java.to_owned(),
            args: args.map(str::to_owned).into(),
            env: Vec::new(),
            home,
            ready: Ready::Kafka(format!("127.0.0.1:{port}")),
            patience: PATIENCE,
        })
    }

    fn server_properties(&self, data: &Path, port: u16, controller: u16, more: &str) -> String {
        let own = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\ncontroller.listener.names=CONTROLLER\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ninter.broker.listener.name=PLAINTEXT\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\nlog.dirs={}\n\
             auto.create.topics.enable=false\ngroup.initial.rebalance.delay.ms=0\n\
             offsets.topic.num.partitions=1\noffsets.topic.replication.factor=1\n\
             transaction.state.log.num.partitions=1\ntransaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\nbroker.heartbeat.interval.ms=500\nbroker.session.timeout.ms=3000\n",
            data.display()
        );
        // Of two lines for one property Java keeps the last.
        self.properties.iter().fold(own + more, |all, (name, value)| format!("{all}{name}={value}\n"))
    }
}

impl Kafka {
    /// For `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The same, by a door of a secured broker.
    pub fn by(&self, door: Door) -> String {
        door.address(self.secured)
    }

    /// # Errors
    /// When the broker refuses, for instance because the topic exists.
    pub async fn create_topic(&self, name: &str, partitions: u16) -> Result<()> {
        self.create_topic_with(name, partitions, &[]).await
    }

    /// A topic with settings of its own, such as `max.message.bytes`.
    /// # Errors
    /// As for `create_topic`.
    pub async fn create_topic_with(&self, name: &str, partitions: u16, settings: &[(&str, &str)]) -> Result<()> {
        kafka_client::create_topic(&self.bootstrap(), name, partitions, settings).await
    }

    /// Everything the topic holds now: by partition, then by offset.
    /// # Errors
    /// When the topic does not exist or cannot be read to its end in 20 s.
    pub async fn records(&self, topic: &str) -> Result<Vec<Record>> {
        kafka_client::records(self.bootstrap(), topic.to_owned()).await
    }

    /// One of Kafka's own command line tools by its class, such as `org.apache.kafka.tools.TopicCommand`; returns what
    /// it printed.
    /// # Errors
    /// When it ends with another status than 0.
    pub async fn java_tool(&self, class: &str, args: &[&str]) -> Result<String> {
        let mut command = tokio::process::Command::new(&self.java);
        command.args(["-XX:TieredStopAtLevel=1", "-cp", &self.libs, class]).args(args).kill_on_drop(true);
        let output = command.output().await.map_err(Error::io("running `java`"))?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(printed),
            false => Err(Error::Asked {
                part: "kafka",
                why: format!("{class}: {printed}{}", String::from_utf8_lossy(&output.stderr)),
            }),
        }
    }

    /// The same as words of a shell, for scripts that call a tool of Kafka's.
    pub fn tool(&self, class: &str) -> String {
        format!("'{}' -XX:TieredStopAtLevel=1 -cp '{}' {class}", self.java.display(), self.libs)
    }
}

/// Every class Kafka needs, as Java's class path.
fn libs(cache: &Path) -> String {
    format!("{}/*", cache.join("libs").display())
}

super::behaves_as_a_part!(Kafka);
