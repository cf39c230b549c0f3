//! How much memory publishing takes while the broker is away or slow, however long the backlog is. Measured in a process of
//! its own: other tests run in this one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;

const CHILD: &str = "COUNTERSIGN_TEST_MEMORY";
/// As long as most records are (bytes).
const VALUE: usize = 1400;
/// A window of 32 MiB of values, librdkafka's copy of each with what it keeps around it, and a few batches on their way.
const MOST_MIB: u64 = 128;

/// Never ends: any bound that is met is the publisher's.
struct Endless {
    at: u64,
    handed: Arc<AtomicU64>,
    delivered: Arc<AtomicU64>,
    /// Until then there is one record only: what follows is handed over when that one is stored.
    more: Arc<AtomicBool>,
}

impl Source for Endless {
    fn next(&mut self) -> io::Result<Option<Entry>> {
        if self.at > 0 && !self.more.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let (epoch, chain, seq) = (EpochId::new(1, 1), CHAIN.into(), self.at);
        self.at += 1;
        self.handed.fetch_add(1, Ordering::Relaxed);
        Ok(Some(Entry { epoch, chain, seq, time_us: TIME_US, value: vec![b'x'; VALUE].into(), settled: 0 }))
    }
    fn wait(&self, _: Duration) -> bool {
        true
    }
    fn delivered(&mut self, _: &EpochId, seq: u64) {
        self.delivered.store(seq + 1, Ordering::Relaxed);
    }
    fn stubbed(&mut self, _: &EpochId, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn rewind(&mut self) {
        self.at = self.delivered.load(Ordering::Relaxed);
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1024
}

/// Growth in MiB and records handed over when the publisher takes no more.
fn measured(trouble: &str) -> (u64, u64) {
    let cluster = cluster(1);
    let before = resident_mib();
    let (handed, delivered, more) =
        (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
    let source = Endless { at: 0, handed: handed.clone(), delivered: delivered.clone(), more: more.clone() };
    let sink = KafkaSink::new(SinkOptions::new(connection(cluster.bootstrap_servers()), TOPIC)).unwrap();
    let metrics = Metrics::new(&Names::default());
    let publisher = Publisher::spawn(source, sink, Options::default(), metrics, Tracer::off()).unwrap();
    wait_until("the first record is stored", || delivered.load(Ordering::Relaxed) == 1);
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 10_000]);
    match trouble {
        "away" => cluster.broker_down(1).unwrap(),
        "slow" => cluster.broker_round_trip_time(1, Duration::from_secs(5)).unwrap(),
        other => panic!("{other}"),
    }
    more.store(true, Ordering::Relaxed);
    let last = std::cell::Cell::new((0, Instant::now()));
    wait_until("no more is taken", || {
        let now = handed.load(Ordering::Relaxed);
        if now != last.get().0 {
            last.set((now, Instant::now()));
        }
        last.get().1.elapsed() > Duration::from_secs(5)
    });
    let found = (resident_mib().saturating_sub(before), handed.load(Ordering::Relaxed));
    publisher.shutdown(Duration::ZERO);
    found
}

#[test]
fn an_endless_backlog_takes_no_more_than_its_window() {
    if let Ok(trouble) = std::env::var(CHILD) {
        let (grown, handed) = measured(&trouble);
        return println!("grown {grown} handed {handed}");
    }
    for trouble in ["away", "slow"] {
        let name = "publisher::memory::an_endless_backlog_takes_no_more_than_its_window";
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let done = child.args(["--exact", name, "--nocapture"]).env(CHILD, trouble).output().unwrap();
        let said = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.success(), "{trouble}: {said}{}", String::from_utf8_lossy(&done.stderr));
        let words: Vec<&str> = said.split_whitespace().collect();
        let after = |word: &str| -> u64 { words[words.iter().position(|w| *w == word).unwrap() + 1].parse().unwrap() };
        let (grown, handed) = (after("grown"), after("handed"));
        eprintln!("{trouble}: {handed} records of {VALUE} bytes under way, {grown} MiB");
        assert!(handed > 20_000, "{trouble}: only {handed} were handed over");
        assert!(handed * VALUE as u64 <= (33 << 20) + 256 * VALUE as u64, "{trouble}: {handed} records");
        assert!(grown < MOST_MIB, "{trouble}: {grown} MiB");
    }
}
