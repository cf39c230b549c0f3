//! What is read when somebody looks: the process's own numbers from `/proc/self`, the configuration generation and
//! the log's losses. Called by the registry at each scrape, never on the path of a decision.

use std::fmt;
use std::fs;
use std::sync::OnceLock;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;

use super::names::metric;
use crate::version::{COMMIT_OR_UNKNOWN, VERSION};

/// Ticks of `/proc/self/stat` in a second. `USER_HZ` is part of Linux's ABI and 100 wherever we are built for.
const USER_HZ: f64 = 100.0;

/// Called at each scrape.
type Read<T> = Box<dyn Fn() -> T + Send + Sync>;

/// Values that have no moment of change to count at.
#[derive(Default)]
pub(super) struct Live {
    pub(super) generation: Mutex<String>,
    pub(super) log_lines_dropped: OnceLock<Read<u64>>,
    /// Records and bytes that Kafka has not got; `None` where nobody is to get them.
    pub(super) undelivered: OnceLock<Read<Option<(u64, u64)>>>,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl Collector for Live {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let generation = Info::new(vec![("generation", self.generation.lock().clone())]);
        one(&mut encoder, "countersign_config_info", &generation)?;
        let build = Info::new(vec![("version", VERSION), ("commit", COMMIT_OR_UNKNOWN)]);
        one(&mut encoder, "countersign_build_info", &build)?;
        let lost = self.log_lines_dropped.get().map_or(0, |read| read());
        one(&mut encoder, "countersign_log_lines_dropped_total", &ConstCounter::new(lost))?;
        self.encode_process(&mut encoder)
    }
}

impl Live {
    /// What `/proc` does not say is left out rather than guessed.
    fn encode_process(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(bytes) = resident_bytes() {
            one(encoder, "process_resident_memory_bytes", &ConstGauge::new(bytes))?;
        }
        if let Some(times) = Times::read() {
            one(encoder, "process_cpu_seconds_total", &ConstCounter::new(times.cpu_seconds))?;
            if let Some(boot) = boot_time() {
                one(encoder, "process_start_time_seconds", &ConstGauge::new(boot + times.start_after_boot))?;
            }
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            one(encoder, "process_open_fds", &ConstGauge::new(i64::try_from(open.count()).unwrap_or(i64::MAX)))?;
        }
        if let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
            one(encoder, "process_max_fds", &ConstGauge::new(i64::try_from(limit).unwrap_or(i64::MAX)))?;
        }
        Ok(())
    }
}

fn one(encoder: &mut DescriptorEncoder<'_>, name: &str, value: &impl EncodeMetric) -> fmt::Result {
    let row = metric(name);
    let kind: MetricType = value.metric_type();
    let help = format!("{}.", row.help);
    value.encode(encoder.encode_descriptor(row.family(), &help, None, kind)?)
}

fn resident_bytes() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

struct Times {
    cpu_seconds: f64,
    start_after_boot: f64,
}

impl Times {
    fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    /// proc(5): fields are counted from 1, and the second, the name, may hold spaces and parentheses.
    fn parse(stat: &str) -> Option<Self> {
        let (_, after_name) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        // Not 32 bits: a machine is up for longer than their 497 days.
        let ticks = |field: usize| fields.get(field.checked_sub(3)?)?.parse::<f64>().ok();
        Some(Self { cpu_seconds: (ticks(14)? + ticks(15)?) / USER_HZ, start_after_boot: ticks(22)? / USER_HZ })
    }
}

fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 0 0 0 150 50 0 0 20 0 9 0 1200 9 9 9";
        let times = Times::parse(stat).unwrap();
        assert_eq!(times.cpu_seconds, 2.0);
        assert_eq!(times.start_after_boot, 12.0);
    }

    #[test]
    fn ticks_are_counted_beyond_497_days() {
        let stat = "7 (a) S 1 7 7 0 -1 4194304 1 0 0 0 5000000000 0 0 0 20 0 9 0 6000000000 9 9 9";
        let times = Times::parse(stat).unwrap();
        assert_eq!((times.cpu_seconds, times.start_after_boot), (50_000_000.0, 60_000_000.0));
    }

    #[test]
    fn this_process_is_seen() {
        assert!(resident_bytes().unwrap() > 1024 * 1024);
        assert!(boot_time().unwrap() > 1_000_000_000.0);
        assert!(Times::read().is_some());
    }
}
