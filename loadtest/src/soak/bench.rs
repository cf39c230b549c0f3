//! One Countersign with everything around it that can go wrong: an authorizer and a collector of ours, a real Kafka, a reader of
//! its log. Its limits are small, so that little is needed to reach them.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::log::Log;
use super::usage::Usage;
use crate::laboratory::countersign::Countersign;
use crate::laboratory::kafka::Kafka;
use crate::laboratory::{Laboratory, http};
use crate::load::Load;
use crate::stub::{Answer, Script, Stub};

/// `listen.max_in_flight`.
pub const MAX_IN_FLIGHT: usize = 64;
/// `audit.max_size`, in bytes.
pub const MAX_SIZE: u64 = 96 << 20;
/// Connections and questions a second of a load that is no strain by itself.
pub const FEW: usize = 16;
const RATE: f64 = 500.0;
const TOPIC: &str = "countersign.decisions";
/// An authorizer's time for which all places are taken.
const AT_WORK: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(240);
const LOOK: Duration = Duration::from_millis(50);

/// Fields are dropped in this order: whoever asks goes before whoever answers.
#[derive(Debug)]
pub struct Bench {
    pub countersign: Countersign,
    pub authorizer: Stub,
    pub collector: Stub,
    pub log: Log,
    pub kafka: Kafka,
}

impl Bench {
    /// # Errors
    /// When something does not start.
    pub async fn start(binary: &Path, kafka: Kafka) -> anyhow::Result<Self> {
        // Hours of records are nobody's to keep.
        let settings = [("retention.bytes", "67108864"), ("segment.bytes", "16777216")];
        kafka.create_topic_with(TOPIC, 3, &settings).await?;
        let (authorizer, collector) = (Stub::start(Script::allow()).await?, Stub::start(well()).await?);
        let log = Log::open()?;
        let lab = Laboratory::open()?;
        let config = config(&authorizer, &collector, &kafka.bootstrap());
        let countersign = lab.countersign(&log.program(binary)?).config(&config).start().await?;
        countersign.until_recording().await?;
        let bench = Self { countersign, authorizer, collector, log, kafka };
        // Connections, threads and buffers that a process at work has, whatever comes later; in a number that no machine makes more.
        bench.authorizer.set(Answer::allow().after(AT_WORK));
        bench.load(MAX_IN_FLIGHT, Duration::from_secs(1)).run().await?;
        bench.authorizer.set(Script::allow());
        bench.rested().await?;
        Ok(bench)
    }

    /// # Errors
    /// When it has ended.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        Usage::of(self.pid()?, &self.countersign.spool())
    }

    /// # Errors
    /// When it has ended.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.countersign.pid().context("Countersign has ended")
    }

    /// Questions in a closed loop, with the reasons of their answers.
    pub fn load(&self, connections: usize, time: Duration) -> Load {
        self.load_until_stopped(connections).duration(time)
    }

    /// The same for as long as whoever asks wants.
    pub fn load_until_stopped(&self, connections: usize) -> Load {
        Load::new(self.countersign.url()).connections(connections).reasons()
    }

    /// So many that it can be told whether it serves, and no more.
    pub fn light_load(&self, time: Duration) -> Load {
        self.load(FEW, time).rate(RATE)
    }

    /// The sum of the series of `/metrics` that begin with `series`.
    /// # Errors
    /// When it does not answer.
    pub async fn metric(&self, series: &str) -> anyhow::Result<u64> {
        let answer = http::get(&format!("http://{}/metrics", self.countersign.admin())).await?;
        ensure!(answer.status == 200, "`/metrics` answers {}", answer.status);
        let lines = answer.body.lines().filter(|line| line.starts_with(series));
        let values = lines.filter_map(|line| line.split(" # ").next()?.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(values.sum::<f64>() as u64)
    }

    /// Waits until a question is allowed, nothing is under way any more, and everything is in Kafka.
    /// # Errors
    /// When that takes longer than four minutes.
    pub async fn rested(&self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        let mut allows = false;
        loop {
            // An error is nothing else than not yet.
            allows = allows || self.allows().await.unwrap_or(false);
            if allows && self.is_quiet().await.unwrap_or(false) {
                return Ok(());
            }
            if Instant::now() > until || !self.countersign.is_running() {
                bail!("it does not come to rest (allows: {allows}): {}", self.countersign.log_tail());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn allows(&self) -> anyhow::Result<bool> {
        let one = self.load(1, Duration::from_millis(1)).rate(1000.0).run().await?;
        Ok(one.allow > 0)
    }

    async fn is_quiet(&self) -> anyhow::Result<bool> {
        for series in ["countersign_decisions_in_flight ", "countersign_spool_undelivered_records "] {
            if self.metric(series).await? > 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A collector that takes what it gets.
pub fn well() -> Answer {
    Answer::new("{}")
}

fn config(authorizer: &Stub, collector: &Stub, brokers: &str) -> String {
    format!(
        "instance = \"soak\"\n\
         [listen]\naddress = \"127.0.0.1:{{port}}\"\ndrain = \"0s\"\ndeadline = \"1s\"\nmax_in_flight = {MAX_IN_FLIGHT}\n\
         [admin]\naddress = \"127.0.0.1:{{admin_port}}\"\n\
         [[authorizer]]\nname = \"authz\"\nurl = \"{}\"\nretries = 0\nbreaker = {{ failures = 10000 }}\n\
         [cache]\nallow_ttl = \"0s\"\ndeny_ttl = \"0s\"\n\
         [audit]\nspool = \"{{dir}}/spool\"\nmax_size = \"{}MiB\"\n\
         [kafka]\nbrokers = [\"{brokers}\"]\ntopic = \"{TOPIC}\"\n\
         properties = {{ \"reconnect.backoff.max.ms\" = \"500\" }}\n\
         [otlp]\nendpoint = \"http://{}\"\nsample = 1.0\n\
         [log]\nlevel = \"trace\"\n",
        authorizer.url(),
        MAX_SIZE >> 20,
        collector.address(),
    )
}
