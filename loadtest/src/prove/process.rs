//! What a server process costs, from `/proc`: processor time and memory. Linux only, like everything that is proved.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::Context;

/// Ticks a second of the times in `/proc/PID/stat`: a constant of Linux' interface to programs on every architecture
/// that we build for.
pub(super) const USER_HZ: u64 = 100;

/// Memory of a process and its living descendants, in bytes. What they share counts for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    /// Resident now (`VmRSS`).
    pub(super) resident: u64,
    /// The most that ever was resident (`VmHWM`).
    pub(super) peak: u64,
}

/// What is resident of the process and its living descendants.
pub(super) fn memory(pid: u32) -> anyhow::Result<Memory> {
    let mut sum = memory_of(pid).with_context(|| format!("process {pid} has ended"))?;
    for child in family(&every_stat()?, pid).into_iter().filter(|child| *child != pid) {
        // One that has ended since it was seen holds nothing any more.
        let Memory { resident, peak } = memory_of(child).unwrap_or(Memory { resident: 0, peak: 0 });
        sum = Memory { resident: sum.resident + resident, peak: sum.peak + peak };
    }
    Ok(sum)
}

/// Of this one alone; `None`: it has ended.
fn memory_of(pid: u32) -> Option<Memory> {
    parse_memory(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// Processor time, user and system, of the process and its living descendants. Resolution: 10 ms for each.
pub(super) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let all = every_stat()?;
    all.get(&pid).with_context(|| format!("process {pid} has ended"))?;
    let ticks: u64 = family(&all, pid).iter().filter_map(|pid| all.get(pid)).map(|stat| stat.ticks).sum();
    Ok(Duration::from_millis(1000 / USER_HZ * ticks))
}

/// Processor time of this process alone: the parts it started are its descendants, and their time is not the client's.
pub(super) fn own_cpu() -> anyhow::Result<Duration> {
    let stat = parse_stat(&fs::read_to_string("/proc/self/stat")?).context("`/proc/self/stat` is not as expected")?;
    Ok(Duration::from_millis(1000 / USER_HZ * stat.ticks))
}

fn every_stat() -> anyhow::Result<BTreeMap<u32, Stat>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process that ended since we saw its directory is none of ours, or missing below.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        all.extend(parse_stat(&stat).map(|stat| (id, stat)));
    }
    Ok(all)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: u32,
    ticks: u64,
}

/// The process and its descendants, as far as they are known.
fn family(all: &BTreeMap<u32, Stat>, pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut looked_at = 0;
    while let Some(&parent) = family.get(looked_at) {
        family
            .extend(all.iter().filter(|(child, stat)| stat.parent == parent && **child != parent).map(|(pid, _)| pid));
        looked_at += 1;
    }
    family.retain(|pid| all.contains_key(pid));
    family
}

/// Fields 4 (parent), 14 (utime) and 15 (stime) of proc(5). The name before them is in parentheses and may hold blanks
/// and parentheses itself.
fn parse_stat(stat: &str) -> Option<Stat> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let parent = fields.nth(1)?.parse().ok()?;
    let user: u64 = fields.nth(9)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Stat { parent, ticks: user + system })
}

fn parse_memory(status: &str) -> Option<Memory> {
    let kibibytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    Some(Memory { resident: kibibytes("VmRSS:")? * 1024, peak: kibibytes("VmHWM:")? * 1024 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_the_right_ones() {
        let stat = "42 (a) b (c)) S 7 1 1 0 -1 4194560 10 20 30 40 111 222 333 444 20 0 9 0 1 2 3";
        assert_eq!(parse_stat(stat), Some(Stat { parent: 7, ticks: 333 }));
        assert_eq!(parse_stat("42 (a) S 7"), None);
        let status = "Name:\tx\nVmPeak:\t    9 kB\nVmHWM:\t  300 kB\nVmRSS:\t  200 kB\n";
        assert_eq!(parse_memory(status), Some(Memory { resident: 200 * 1024, peak: 300 * 1024 }));
        assert_eq!(parse_memory("Name:\tzombie\n"), None);
    }

    #[test]
    fn descendants_count() {
        let of = |parent, ticks| Stat { parent, ticks };
        let all = [(1, of(0, 1000)), (5, of(1, 1)), (6, of(5, 10)), (7, of(6, 100)), (8, of(1, 1000))].into();
        assert_eq!(family(&all, 5), [5, 6, 7]);
        assert!(family(&all, 9).is_empty());
    }

    #[test]
    fn this_process_uses_what_it_uses() {
        let me = std::process::id();
        let (before, own) = (cpu(me).unwrap(), own_cpu().unwrap());
        let mut sum = 0_u64;
        while cpu(me).unwrap() < before + Duration::from_millis(30) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let memory = memory(me).unwrap();
        assert!(super::memory(u32::MAX).is_err());
        assert!(memory.resident > 1024 * 1024 && memory.peak >= memory.resident, "{memory:?}");
        // Against itself: the kernel rounds the two in different ways.
        assert!(own_cpu().unwrap() >= own);
        assert!(cpu(u32::MAX).is_err());
    }
}
