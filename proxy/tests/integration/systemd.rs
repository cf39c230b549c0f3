//! Under systemd: the words it is told, in their order, and the unit that is shipped, in the eyes of systemd's own
//! checker. systemd itself is played: a datagram socket is all that it is to the process.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use loadtest::laboratory::{Laboratory, require};
use loadtest::stub::{Script, Stub};

use crate::deploy::AFTER_DRAIN;
use crate::packaging::{UNIT, setting};
use crate::support::{Countersign, PATIENCE, binary, question};

const DOCUMENT: &str = include_str!("../../../docs/DEPLOYMENT.md");

/// Who is told.
struct Manager {
    words: mpsc::Receiver<String>,
    socket: String,
    /// Everything it was told.
    heard: Vec<String>,
    _home: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let (told, words) = mpsc::channel();
        // Ends with the test.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                if told.send(String::from_utf8_lossy(&buffer[..length]).into_owned()).is_err() {
                    break;
                }
            }
        });
        Self { words, socket: path.display().to_string(), heard: Vec::new(), _home: home }
    }

    fn starts(&self, countersign: Countersign) -> Countersign {
        countersign.env("NOTIFY_SOCKET", &self.socket).env("WATCHDOG_USEC", "200000")
    }

    /// Waits for the next words that have this in them. `None`: nothing more is said in `patience`.
    fn next(&mut self, wanted: &str, patience: Duration) -> Option<String> {
        loop {
            let word = self.words.recv_timeout(patience).ok()?;
            self.heard.push(word.clone());
            if word.contains(wanted) {
                return Some(word);
            }
        }
    }

    fn hears(&mut self, wanted: &str) -> String {
        self.next(wanted, PATIENCE).unwrap_or_else(|| panic!("never told {wanted}: {:?}", self.heard))
    }

    /// Since the last look, in order, signs of life left out.
    fn heard(&mut self) -> Vec<String> {
        let heard = std::mem::take(&mut self.heard);
        heard.into_iter().filter(|word| !word.starts_with("WATCHDOG=1")).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_what_happens_in_order() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let mut manager = Manager::new();
    let proxy = manager.starts(Countersign::asking(&stub.url()).listen("drain = \"1s\"")).start().await;
    let ready = manager.hears("READY=1");
    // Of what it does: the spool may not be open yet.
    assert!(ready.starts_with("READY=1\nSTATUS="), "{ready}");
    assert_eq!(manager.heard(), [ready], "the first that is said");
    for _ in 0..3 {
        manager.hears("WATCHDOG=1");
    }
    manager.heard();

    proxy.signal("HUP");
    let (reloading, ready) = (manager.hears("RELOADING=1"), manager.hears("READY=1"));
    let since = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).expect("since when");
    assert!(since.parse::<u64>().unwrap() > 0);
    assert!(ready.contains("answering"), "{ready}");
    assert_eq!(manager.heard(), [reloading, ready]);

    let whole = std::fs::read_to_string(proxy.config_file()).unwrap();
    std::fs::write(proxy.config_file(), format!("{whole}\nnonsense = 1\n")).unwrap();
    proxy.signal("HUP");
    manager.hears("RELOADING=1");
    let ready = manager.hears("READY=1");
    assert!(ready.contains("the last change was refused"), "{ready}");
    assert!(proxy.ask(&question("alice", "s3:GetObject", "reports", "a.txt")).await.allowed());
    manager.heard();

    proxy.signal("TERM");
    let stopping = manager.hears("STOPPING=1");
    assert!(stopping.contains("STATUS=draining"), "{stopping}");
    manager.hears("WATCHDOG=1");
    proxy.ended().await;
    while manager.next("nothing of the kind", Duration::from_millis(100)).is_some() {}
    assert_eq!(manager.heard(), [stopping], "the last that is said");
}

/// The disk is away: everything is denied and nothing is restarted for it.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_told_and_is_no_reason_to_be_restarted() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let mut manager = Manager::new();
    let proxy = manager.starts(Countersign::asking(&stub.url()).on_missing_volume()).start_unready().await;
    manager.hears("READY=1");
    manager.hears("STATUS=denying everything");
    manager.hears("WATCHDOG=1");
    manager.hears("WATCHDOG=1");
    std::fs::create_dir(proxy.spool().parent().unwrap()).unwrap();
    manager.hears("STATUS=answering");
}

#[test]
fn the_unit_gives_it_the_time_it_takes_to_stop() {
    let seconds = |text: &str| text.trim_end_matches('s').parse::<u64>().unwrap();
    let minimal = include_str!("../../../config/minimal.toml");
    let drain = countersign::config::parse(minimal, "minimal.toml", &|_| None).unwrap().config.listen.drain;
    assert!(seconds(setting("TimeoutStopSec")) > drain.as_secs() + AFTER_DRAIN);
    assert_eq!((setting("Type"), setting("LimitCORE"), setting("NoNewPrivileges")), ("notify", "0", "yes"));
}

/// A minimal Debian has no /bin/kill, and a reload failed there. What it runs is ours, or what every system has.
#[test]
fn the_unit_runs_nothing_that_may_not_be_there() {
    let runs = UNIT.lines().filter_map(|line| line.strip_prefix("Exec")?.split_once('=')).map(|(_, command)| command);
    let programs: Vec<&str> = runs.filter_map(|command| command.split(' ').next()).collect();
    assert_eq!(programs, ["/usr/bin/countersign", "/bin/sh"]);
    // However often it ends, MinIO denies everything until it is back.
    assert_eq!((setting("Restart"), setting("StartLimitIntervalSec")), ("on-failure", "0"));
}

#[tokio::test]
async fn systemd_finds_nothing_wrong_with_the_unit() {
    let Some(analyze) = analyze().await else { return };
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("countersign.service");
    // It looks whether the program is there; ours is elsewhere.
    std::fs::write(&file, UNIT.replace("/usr/bin/countersign", binary())).unwrap();
    let run = |file: &Path| Command::new(&analyze).arg("verify").arg(file).output().unwrap();
    let said = run(&file);
    let words = String::from_utf8_lossy(&said.stderr);
    let ours: Vec<&str> = words.lines().filter(|line| line.contains("countersign")).collect();
    assert!(said.status.success() && ours.is_empty(), "{words}");
    // The control: a setting that does not exist is told of.
    std::fs::write(&file, UNIT.replace("/usr/bin/countersign", binary()).replace("Type=notify", "Typ=notify")).unwrap();
    assert!(String::from_utf8_lossy(&run(&file).stderr).contains("Typ"));
}

#[tokio::test]
async fn the_unit_is_as_closed_as_its_document_says() {
    let Some(analyze) = analyze().await else { return };
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("countersign.service");
    let exposure = |unit: &str| {
        std::fs::write(&file, unit).unwrap();
        let said =
            Command::new(&analyze).args(["security", "--offline=true", "--no-pager"]).arg(&file).output().unwrap();
        let words = String::from_utf8_lossy(&said.stdout).into_owned();
        let line =
            words.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_else(|| panic!("{words}"));
        line.rsplit(": ").next().unwrap().split(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let after = DOCUMENT.split("exposure level of ").nth(1).expect("the document states it");
    let stated: f64 = after.split(' ').next().unwrap().trim_end_matches(['.', ',']).parse().unwrap();
    assert!(exposure(UNIT) <= stated, "{} instead of {stated}", exposure(UNIT));
    assert!(exposure(&UNIT.replace("ProtectSystem=strict\n", "")) > stated);
}

async fn analyze() -> Option<std::path::PathBuf> {
    require(Laboratory::open().unwrap().debian_program("systemd-analyze", "systemd").await)
}
