//! Work without a server, to compare with: a bare Kafka producer, and one sync of a file that has its place already.
//! Both are done by this process on a thread of its own, and both are what a decision cannot do without.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use super::turns::{Turn, each};
use super::{machine, process};

/// Of a record, about what a decision has.
const RECORD: usize = 1536;
/// The file that is synced: written through from its beginning, again and again.
const FILE: usize = 64 * 1024 * 1024;
/// A sync that takes longer counts as this long.
const LONGEST_NS: u64 = 60_000_000_000;
const POLL: Duration = Duration::from_millis(100);
const FLUSH: Duration = Duration::from_secs(30);

/// rdkafka with the promises that Countersign's publisher needs: idempotent, `acks=all`, in order.
#[derive(Debug, Clone)]
pub(super) struct Producer {
    pub(super) brokers: String,
    pub(super) topic: String,
}

/// Counts what the broker has.
#[derive(Debug, Default)]
struct Delivered {
    fine: AtomicU64,
    failed: AtomicU64,
}

#[derive(Debug, Clone, Default)]
struct Counting(Arc<Delivered>);

impl ClientContext for Counting {}

impl ProducerContext for Counting {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let count = if result.is_ok() { &self.0.fine } else { &self.0.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Producer {
    /// Hands over records as fast as they are taken. No latency is told: a record waits for as long as the queue is.
    pub(super) fn turn(&self, warm_up: Duration, duration: Duration) -> anyhow::Result<Turn> {
        let counting = Counting::default();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("enable.idempotence", "true").set("acks", "all");
        let producer: BaseProducer<Counting> = config.create_with_context(counting.clone())?;
        let record = vec![b'x'; RECORD];
        self.produce(&producer, &record, warm_up)?;
        let (before, cpu) = (counting.0.fine.load(Ordering::Relaxed), process::own_cpu()?);
        let began = Instant::now();
        self.produce(&producer, &record, duration)?;
        let delivered = counting.0.fine.load(Ordering::Relaxed) - before;
        let (took, used) = (began.elapsed(), process::own_cpu()?.saturating_sub(cpu));
        producer.flush(FLUSH)?;
        let failed = counting.0.failed.load(Ordering::Relaxed);
        ensure!(delivered > 0 && failed == 0, "the producer delivered {delivered} records and failed with {failed}");
        Ok(Turn { cpu_us: each(used, delivered), ..turn(delivered, took, None) })
    }

    fn produce(&self, producer: &BaseProducer<Counting>, record: &[u8], time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            match producer.send(BaseRecord::<str, [u8]>::to(&self.topic).key("chain").payload(record)) {
                Ok(()) => {
                    producer.poll(Duration::ZERO);
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    producer.poll(POLL);
                }
                Err((error, _)) => return Err(error).context("handing a record to Kafka"),
            }
        }
        Ok(())
    }
}

/// A file of real zeros, as the spool's segments are: its syncs have no metadata to journal.
#[derive(Debug, Clone)]
pub(super) struct Synced {
    file: Arc<File>,
}

impl Synced {
    /// In this directory; without a name, so that it is gone with this process.
    pub(super) fn make(directory: &Path) -> anyhow::Result<Self> {
        use std::os::unix::fs::FileExt as _;
        let file = tempfile::tempfile_in(directory).context("a file to be synced")?;
        let zeros = vec![0; 1024 * 1024];
        for at in (0..FILE).step_by(zeros.len()) {
            file.write_all_at(&zeros, at as u64)?;
        }
        file.sync_all()?;
        Ok(Self { file: Arc::new(file) })
    }

    pub(super) fn turn(&self, warm_up: Duration, duration: Duration) -> anyhow::Result<Turn> {
        self.sync(warm_up)?;
        let cpu = process::own_cpu()?;
        let began = Instant::now();
        let latencies = self.sync(duration)?;
        let used = process::own_cpu()?.saturating_sub(cpu);
        let count = latencies.len();
        Ok(Turn { cpu_us: each(used, count), ..turn(count, began.elapsed(), Some(&latencies)) })
    }

    /// Nanoseconds of a sync each; the write before it is not counted.
    fn sync(&self, time: Duration) -> anyhow::Result<Histogram<u64>> {
        use std::os::unix::fs::FileExt as _;
        let mut latencies = Histogram::new_with_bounds(1, LONGEST_NS, 3)?;
        let record = [b'x'; RECORD];
        let until = Instant::now() + time;
        let mut at = 0;
        while Instant::now() < until {
            self.file.write_all_at(&record, at)?;
            at = (at + RECORD as u64) % (FILE - RECORD) as u64;
            let began = Instant::now();
            rustix::fs::fdatasync(&self.file)?;
            latencies.saturating_record(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
        Ok(latencies)
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
fn turn(count: u64, took: Duration, latencies: Option<&Histogram<u64>>) -> Turn {
    let quantile = |quantile| latencies.map_or(0.0, |all| all.value_at_quantile(quantile) as f64 / 1000.0);
    Turn {
        per_second: count as f64 / took.as_secs_f64(),
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
        p999_us: quantile(0.999),
        cpu_us: 0.0,
        // This process does the work itself.
        client_busy: 0.0,
        memory: process::Memory { resident: 0, peak: 0 },
        machine: machine::Cores::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_are_counted_and_timed() {
        let synced = Synced::make(Path::new("/var/tmp")).unwrap();
        let turn = synced.turn(Duration::ZERO, Duration::from_millis(20)).unwrap();
        // Writes take the rest of the time; no disk and no file system sync within a microsecond.
        assert!(turn.p50_us > 1.0 && turn.p50_us < 2e6 / turn.per_second && turn.p99_us >= turn.p50_us, "{turn:?}");
    }
}
