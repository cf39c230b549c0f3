//! What the processors of the whole machine do, from `/proc/stat`: whether others use them before a run, and how many are
//! idle, in interrupts or taken away by the host in the middle of one. What single processes cost is in `process`. Linux only.

use std::fs;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::process::USER_HZ;

/// Cores that others may use before a run; more is said, for they will disturb what is measured.
const BUSY: f64 = 0.2;
/// For how long that is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Summed over all processors, since the machine was started.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Times {
    /// Nothing to do, or waiting for a disk.
    idle: Duration,
    /// A virtual processor that had something to do and no real one.
    stolen: Duration,
    /// Of devices and of the network, loopback too: what is received is dealt with there. Most kernels count that in the process
    /// which was interrupted as well.
    interrupts: Duration,
    all: Duration,
    /// Of the machine, which may be more than this process may use.
    cores: f64,
}

/// Processors that were idle, taken away or in interrupts, on the average of a time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Cores {
    pub(super) idle: f64,
    pub(super) stolen: f64,
    pub(super) interrupts: f64,
}

impl Times {
    pub(super) fn now() -> anyhow::Result<Self> {
        parse(&fs::read_to_string("/proc/stat")?).context("`/proc/stat` is not as expected")
    }

    /// Between then and now.
    pub(super) fn since(self, then: Self) -> Cores {
        let all = self.all.saturating_sub(then.all).as_secs_f64();
        // A time too short for one tick has no shares.
        let share = |now: Duration, then: Duration| {
            if all > 0.0 { now.saturating_sub(then).as_secs_f64() / all * self.cores } else { f64::NAN }
        };
        Cores {
            idle: share(self.idle, then.idle),
            stolen: share(self.stolen, then.stolen),
            interrupts: share(self.interrupts, then.interrupts),
        }
    }
}

/// How many cores others are using right now. A run beside a busy neighbour is marked by it.
pub(super) fn busy_before() -> anyhow::Result<f64> {
    let then = Times::now()?;
    std::thread::sleep(LOOK);
    let now = Times::now()?;
    let busy = now.cores - now.since(then).idle;
    ensure!(busy.is_finite(), "`/proc/stat` stands still");
    if busy > BUSY {
        eprintln!("others use {busy:.2} of {} cores: the figures will be about that, too", now.cores);
    }
    Ok(busy)
}

/// The first line, of proc(5): user, nice, system, idle, iowait, irq, softirq, steal; guests are in user already.
fn parse(stat: &str) -> Option<Times> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks: Vec<u64> = fields.take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let [_, _, _, idle, waiting, hard, soft, stolen] = <[u64; 8]>::try_from(ticks.as_slice()).ok()?;
    let time = |ticks: u64| Duration::from_millis(1000 / USER_HZ * ticks);
    let (idle, stolen, interrupts) = (time(idle + waiting), time(stolen), time(hard + soft));
    #[expect(clippy::cast_precision_loss, reason = "a number of cores")]
    let cores = stat.lines().skip(1).take_while(|line| line.starts_with("cpu")).count() as f64;
    Some(Times { idle, stolen, interrupts, all: time(ticks.iter().sum()), cores })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_the_right_ones() {
        let times = parse("cpu  100 1 50 700 100 3 6 40 9 9\ncpu0 1 1 1\ncpu1 1 1 1\nintr 1\n").unwrap();
        let seconds = |seconds| Duration::from_secs(seconds);
        let (stolen, interrupts) = (Duration::from_millis(400), Duration::from_millis(90));
        assert_eq!(times, Times { idle: seconds(8), stolen, interrupts, all: seconds(10), cores: 2.0 });
        assert_eq!(parse("cpu  1 2 3\n"), None);
        assert_eq!(parse("intr 1"), None);
    }

    #[test]
    fn what_is_idle_is_a_part_of_the_cores() {
        let zero = Duration::ZERO;
        let then = Times { idle: zero, stolen: zero, interrupts: zero, all: zero, cores: 4.0 };
        let seconds = Duration::from_secs;
        let now = Times { idle: seconds(3), stolen: seconds(1), interrupts: seconds(2), all: seconds(8), cores: 4.0 };
        assert_eq!(now.since(then), Cores { idle: 1.5, stolen: 0.5, interrupts: 1.0 });
        assert!(now.since(now).idle.is_nan());
        assert!(Times::now().unwrap().cores >= 1.0);
    }
}
