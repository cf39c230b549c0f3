//! Power cuts: the binary on an ext4 of its own, which is shut down under load without its journal being written, as if
//! the machine had lost power, and mounted again. Every allow that a client received has its record. Needs root.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use countersign::audit::scan::{Scan, Scanned};
use countersign::policy::limited::sha256_hex;
use loadtest::figures::Claim;
use loadtest::laboratory::{Error, require};
use loadtest::load::Load;
use loadtest::stub::{Script, Stub};
use serde_json::Value;

use crate::support::{Countersign, Running, count, eventually};

const ANSWERS_BETWEEN: u64 = 200;
/// EXT4_IOC_SHUTDOWN with NOLOGFLUSH: what was not synced is gone, and every later call fails. Perl, because every Debian
/// has it and `unsafe` is forbidden here.
const CUT: &str = r#"sysopen(my $d, $ARGV[0], 0) or die "open: $!"; my $how = pack("L", 2); ioctl($d, 0x8004587d, $how) or die "ioctl: $!";"#;
const COMMAND: &str = "cargo test -p countersign --test integration power";

fn cuts() -> usize {
    count("COUNTERSIGN_POWER_CUTS", 50)
}

/// An ext4 in a file.
struct Volume {
    home: tempfile::TempDir,
}

impl Volume {
    /// `Missing` where this machine does not let us.
    fn make() -> Result<Self, Error> {
        let home = tempfile::tempdir().unwrap();
        let volume = Self { home };
        std::fs::create_dir(volume.path()).unwrap();
        std::fs::File::create(volume.image()).unwrap().set_len(256 << 20).unwrap();
        let made = run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(volume.image()));
        made.and_then(|()| volume.mount()).and_then(|()| volume.cut()).and_then(|()| volume.unmount())?;
        volume.mount()?;
        Ok(volume)
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("volume")
    }

    fn image(&self) -> PathBuf {
        self.home.path().join("image")
    }

    fn mount(&self) -> Result<(), Error> {
        run(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(self.image()).arg(self.path()))
    }

    fn unmount(&self) -> Result<(), Error> {
        run(Command::new("umount").arg(self.path()))
    }

    fn cut(&self) -> Result<(), Error> {
        run(Command::new("perl").args(["-e", CUT]).arg(self.path()))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.path()).stderr(Stdio::null()).status().ok();
    }
}

fn run(command: &mut Command) -> Result<(), Error> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let (hint, part) = ("power cuts need root, loop devices and ext4".to_owned(), "the test of power cuts".to_owned());
    match command.stdin(Stdio::null()).output() {
        Ok(done) if done.status.success() => Ok(()),
        Ok(done) => {
            Err(Error::Missing { tool, part, hint: format!("{hint}: {}", String::from_utf8_lossy(&done.stderr)) })
        }
        Err(error) => Err(Error::Missing { tool, part, hint: format!("{hint}: {error}") }),
    }
}

/// Cuts, ends the process that has lost its disk, and mounts again.
async fn cut(volume: &Volume, proxy: &mut Running) {
    volume.cut().unwrap();
    proxy.kill().await;
    eventually("it is unmounted", async || volume.unmount().ok()).await;
    volume.mount().unwrap();
}

/// Ids of all records that are there. Each continues the one before it, where that is there.
fn recorded(spool: &Path, into: &mut HashSet<String>) {
    let (mut scan, mut heads) = (Scan::new(spool), HashMap::new());
    while let Some(found) = scan.next().unwrap() {
        // A record that was not synced may be gone while one behind it is there; whether anybody misses it is asked later.
        let Scanned::Record(entry) = found else { continue };
        let record: Value = serde_json::from_slice(&entry.value).unwrap();
        let before = heads.insert(entry.chain.clone(), (entry.seq, sha256_hex(&entry.value)));
        if let Some((_, hash)) = before.filter(|(seq, _)| seq + 1 == entry.seq) {
            assert_eq!(
                record["data"]["chain"]["prev"], hash,
                "{}#{} does not continue its chain",
                entry.chain, entry.seq
            );
        }
        into.insert(record["id"].as_str().unwrap().to_owned());
    }
}

/// Small segments, so that cuts fall on rolls too; old epochs give way, as nobody delivers.
async fn started(stub: &Stub, volume: &Volume) -> Running {
    Countersign::asking(&stub.url()).hasty().max_size("64MiB").on(&volume.path().join("spool")).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_allow_is_without_its_record_after_power_cuts() {
    let Some(volume) = require(Volume::make()) else { return };
    let stub = Stub::start(Script::allow()).await.unwrap();
    let mut proxy = started(&stub, &volume).await;
    let load = Load::new(proxy.url()).connections(16).remember().start().await.unwrap();
    let (spool, mut there) = (proxy.spool(), HashSet::new());
    for _ in 0..cuts() {
        assert!(load.answered(ANSWERS_BETWEEN).await);
        cut(&volume, &mut proxy).await;
        recorded(&spool, &mut there);
        proxy.start_again().await;
    }
    let report = load.stop().await.unwrap();
    proxy.stop().await;
    recorded(&spool, &mut there);
    assert!(report.failed() > 0, "no question was cut off: the cuts hit nothing");
    let missing: Vec<&str> = report.allowed().filter(|id| !there.contains(*id)).collect();
    let allowed = report.allowed().count();
    assert!(allowed as u64 >= ANSWERS_BETWEEN, "{report}");
    assert!(missing.is_empty(), "{} of {allowed} are missing: {missing:?}", missing.len());
    let lost = lost_without_syncs(&stub).await;
    assert!(lost.is_none_or(|lost| lost > 0), "nothing is lost without syncs: the cuts are none");
    let mut claim = Claim::new("power", COMMAND)
        .figure("cuts", cuts())
        .figure("allows acknowledged", allowed)
        .figure("acknowledged missing", missing.len());
    if let Some(lost) = lost {
        claim = claim
            .figure("missing when syncs do nothing, after one cut", lost)
            .control("fdatasync and fsync that do nothing lose records");
    }
    claim.write().unwrap();
}

/// The negative control: the same with syncs that only say that they synced. `None`, said loudly, without strace.
async fn lost_without_syncs(stub: &Stub) -> Option<usize> {
    let volume = require(Volume::make())?;
    let mut proxy = started(stub, &volume).await;
    let (said, trace) = (volume.home.path().join("strace"), volume.home.path().join("trace"));
    let mut strace = match Command::new("strace")
        .args(["-f", "-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:retval=0", "-o"])
        .arg(&trace)
        .args(["-p", &proxy.pid().to_string()])
        .stderr(std::fs::File::create(&said).unwrap())
        .spawn()
    {
        Ok(strace) => strace,
        Err(error) => {
            let hint = format!("the negative control of the power cuts was not run: {error}");
            return require(Err(Error::Missing { tool: "strace".to_owned(), part: "a control".to_owned(), hint }));
        }
    };
    eventually("strace is attached", async || {
        std::fs::read_to_string(&said).unwrap().contains("attached").then_some(())
    })
    .await;
    let load = Load::new(proxy.url()).connections(4).remember().start().await.unwrap();
    eventually("a sync does nothing", async || {
        std::fs::read_to_string(&trace).unwrap_or_default().contains("(INJECTED)").then_some(())
    })
    .await;
    assert!(load.answered(ANSWERS_BETWEEN).await);
    let spool = proxy.spool();
    cut(&volume, &mut proxy).await;
    let report = load.stop().await.unwrap();
    strace.wait().unwrap();
    let mut there = HashSet::new();
    recorded(&spool, &mut there);
    Some(report.allowed().filter(|id| !there.contains(*id)).count())
}
