//! One run of the binary under a fault, and what is asked of it afterwards. Called by `syscalls`.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use countersign::audit::scan::{Scan, Scanned};
use countersign::kafka::reader::{Next, Reader, Start};
use countersign::kafka::{Connection, mock::MockBroker};
use loadtest::stub::{Script, Stub};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::TRIES;
use super::attached::{Call, Fault, Strace, THREADS, thread};
use crate::support::records::{Raw, checked};
use crate::support::{Answer, Countersign, Running, disk, eventually, http, question};

const TOPIC: &str = "decisions";
/// For answers to be allows again.
const BACK: Duration = Duration::from_secs(10);
const RESTART: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scenario {
    /// A directory that is not there, 100 records, one roll.
    Fresh,
    /// What a killed process left, and a few records.
    Recovery,
}

impl Scenario {
    fn records(self) -> usize {
        match self {
            Self::Fresh => 100,
            Self::Recovery => 5,
        }
    }
}

pub struct Outcome {
    pub injected: bool,
    pub allowed: usize,
    pub verdict: Result<(), Failed>,
}

/// What was not as it should be; in words, with the log.
#[derive(Debug, PartialEq, Eq)]
pub enum Failed {
    /// It takes too long. The fault does that to each run, a disk that stalls to one.
    Late(String),
    Wrong(String),
}

impl Failed {
    fn at(self, home: &mut Home) -> Self {
        let mut told = |why| format!("{}: {why}", home.keep());
        match self {
            Self::Late(why) => Self::Late(told(why)),
            Self::Wrong(why) => Self::Wrong(told(why)),
        }
    }
}

/// Where one run happens, volume and traces. Kept, and named, where the run fails.
struct Home {
    directory: tempfile::TempDir,
    run: String,
}

impl Home {
    fn new(run: String) -> Self {
        Self { directory: tempfile::tempdir().unwrap(), run }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn keep(&mut self) -> String {
        self.directory.disable_cleanup(true);
        format!("{}; kept {}", self.run, self.path().display())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("panicked: {}", self.keep());
        }
    }
}

/// An authorizer, a broker, and somebody who reads from it; for one run after the other.
pub struct Stand {
    stub: Stub,
    broker: MockBroker,
    kafka: Arc<Mutex<HashMap<String, Raw>>>,
    stop: Arc<AtomicBool>,
    /// The spool of a process that was killed, to begin from, and the ids it allowed.
    left: (tempfile::TempDir, Vec<String>),
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

impl Stand {
    pub async fn start() -> Self {
        let stub = Stub::start(Script::allow()).await.unwrap();
        let broker = MockBroker::start(&[(TOPIC, 1)]).unwrap();
        let (kafka, stop) = (Arc::<Mutex<HashMap<String, Raw>>>::default(), Arc::<AtomicBool>::default());
        let connection =
            Connection { brokers: vec![broker.bootstrap()], properties: Vec::new(), client_id: "test".into() };
        let (into, stopped) = (kafka.clone(), stop.clone());
        std::thread::spawn(move || {
            let mut reader = Reader::open(&connection, TOPIC, Start::Beginning, true).unwrap();
            while !stopped.load(Ordering::Acquire) {
                if let Ok(Next::Record(record)) = reader.next(Duration::from_millis(100)) {
                    let raw = Raw::new(&record.value);
                    into.lock().insert(id(&raw.value).to_owned(), raw);
                }
            }
        });
        let mut stand = Self { stub, broker, kafka, stop, left: (tempfile::tempdir().unwrap(), Vec::new()) };
        stand.left.1 = stand.leave().await;
        stand
    }

    /// Two segments and a torn record, undelivered; in `left/spool`.
    async fn leave(&self) -> Vec<String> {
        let spool = self.left.0.path().join("spool");
        let setup = Countersign::asking(&self.stub.url()).hasty().max_size("2MiB").on(&spool);
        let mut proxy = setup.start().await;
        let allowed = ask(&proxy, 80).await;
        proxy.kill().await;
        allowed
    }

    fn setup(&self, spool: &Path) -> Countersign {
        let fast = "[kafka.properties]\n\"linger.ms\" = 1\n\"retry.backoff.ms\" = 20";
        Countersign::asking(&self.stub.url())
            .hasty()
            .max_size("2MiB")
            .on(spool)
            .kafka(&self.broker.bootstrap(), TOPIC)
            .with(fast)
    }

    /// Stopped before its volume is there; afterwards the volume is there.
    async fn begin(&self, scenario: Scenario, home: &Path) -> (Running, PathBuf) {
        let volume = home.join("volume");
        let proxy = self.setup(&volume.join("spool")).start_unready().await;
        eventually("all threads run", async || {
            THREADS.iter().all(|name| thread(proxy.pid(), name).is_some()).then_some(())
        })
        .await;
        proxy.signal("STOP");
        match scenario {
            Scenario::Fresh => std::fs::create_dir(&volume).unwrap(),
            Scenario::Recovery => {
                // All at once: a call that was under way when the process was stopped may still make the spool's directory.
                let aside = home.join("aside");
                copy(self.left.0.path(), &aside);
                std::fs::rename(aside, &volume).unwrap();
            }
        }
        (proxy, volume)
    }

    /// The calls of all threads in a run without a fault, in which all was allowed.
    pub async fn undisturbed(&self, scenario: Scenario) -> Vec<Call> {
        for _ in 1..TRIES {
            if let Some(calls) = self.whole(scenario).await {
                return calls;
            }
            disk::keeps_up();
        }
        self.whole(scenario).await.expect("nothing is wrong, and not everything is allowed")
    }

    async fn whole(&self, scenario: Scenario) -> Option<Vec<Call>> {
        let home = Home::new(format!("{scenario:?} undisturbed"));
        let (mut proxy, volume) = self.begin(scenario, home.path()).await;
        let mut straces = THREADS.map(|name| Strace::attach(home.path(), proxy.pid(), name, &[]));
        proxy.signal("CONT");
        proxy.available().await;
        let allowed = ask(&proxy, scenario.records()).await;
        proxy.stop().await;
        self.kafka.lock().clear();
        let calls = straces.iter_mut().flat_map(|strace| strace.calls(&volume)).collect();
        (allowed.len() == scenario.records()).then_some(calls)
    }

    pub async fn disturbed(&self, scenario: Scenario, call: &Call, fault: Fault, second: Option<&Call>) -> Outcome {
        let mut home = Home::new(format!("{scenario:?} {call:?} {fault:?}, then {second:?}"));
        let (mut proxy, volume) = self.begin(scenario, home.path()).await;
        let faults: Vec<_> =
            std::iter::once((call, fault)).chain(second.map(|call| (call, Fault::Error("EIO")))).collect();
        let mut strace = Strace::attach(home.path(), proxy.pid(), call.thread, &faults);
        proxy.signal("CONT");
        let mut verdict = Ok(());
        if fault != Fault::Kill && !back(&proxy).await {
            verdict = Err(Failed::Late(format!("does not begin\n{}", proxy.log())));
        }
        if fault == Fault::Kill {
            begun_or_gone(&proxy).await;
        }
        let mut allowed = ask(&proxy, scenario.records()).await;
        if fault != Fault::Kill && !back(&proxy).await {
            verdict = Err(Failed::Late(format!("no allow again\n{}", proxy.log())));
        }
        proxy.stop().await;
        let injected = strace.injected(fault);
        if scenario == Scenario::Recovery {
            allowed.extend(self.left.1.iter().cloned());
        }
        // Whatever it was, nothing may be missing: the first to tell is what is wrong for certain.
        let verdict = match self.again(&mut proxy, &mut allowed, &volume).await {
            Err(Failed::Wrong(why)) => Err(Failed::Wrong(why)),
            again => verdict.and(again),
        };
        let verdict = verdict.map_err(|failed| failed.at(&mut home));
        Outcome { injected, allowed: allowed.len(), verdict }
    }

    /// Starts without a fault, asks what is left, and judges everything.
    async fn again(&self, proxy: &mut Running, allowed: &mut Vec<String>, volume: &Path) -> Result<(), Failed> {
        let since = Instant::now();
        // Its ports may be somebody else's by now.
        *proxy = self.setup(&volume.join("spool")).start().await;
        let begun = since.elapsed();
        let after = ask(proxy, 1).await;
        let allows = after.len() == 1;
        allowed.extend(after);
        // All of it must reach Kafka, not only stay in the spool.
        let since = Instant::now();
        while since.elapsed() < BACK && !allowed.iter().all(|id| self.kafka.lock().contains_key(id)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        proxy.kill().await;
        let records: Vec<Raw> = std::mem::take(&mut *self.kafka.lock()).into_values().collect();
        let delivered: HashSet<&str> = records.iter().map(|raw| id(&raw.value)).collect();
        let waiting = allowed.iter().filter(|id| !delivered.contains(id.as_str())).count();
        judge(allowed, records, &volume.join("spool")).map_err(Failed::Wrong)?;
        let late = match (begun > RESTART, allows, waiting) {
            (true, ..) => format!("restart takes {begun:?}"),
            (_, false, _) => "no allow after a restart".to_owned(),
            (.., 1..) => format!("{waiting} of {} allows are not in Kafka", allowed.len()),
            (false, true, 0) => return Ok(()),
        };
        Err(Failed::Late(format!("{late}\n{}", proxy.log())))
    }

    /// The check itself, broken: one record is in neither place.
    pub async fn without_a_record(&self) -> Result<(), Failed> {
        let home = tempfile::tempdir().unwrap();
        let spool = home.path().join("spool");
        let mut proxy = self.setup(&spool).start().await;
        let mut allowed = ask(&proxy, 100).await;
        proxy.stop().await;
        judge(&allowed, Vec::new(), &spool).map_err(Failed::Wrong)?;
        allowed[50] = "one that nobody wrote".to_owned();
        judge(&allowed, Vec::new(), &spool).map_err(Failed::Wrong)
    }
}

/// Chains are whole over spool and Kafka together, and every allow is in them.
fn judge(allowed: &[String], mut records: Vec<Raw>, spool: &Path) -> Result<(), String> {
    let mut scan = Scan::new(spool);
    while let Some(found) = scan.next().map_err(|error| error.to_string())? {
        match found {
            Scanned::Record(entry) => records.push(Raw::new(&entry.value)),
            Scanned::Damage(damage) => return Err(format!("{damage:?}")),
        }
    }
    records.sort_by_key(|raw| raw.value["data"]["chain"]["seq"].as_u64());
    let whole = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| checked(records)));
    let records = whole.map_err(|_| "a chain is not whole".to_owned())?;
    let recorded: HashSet<&str> = records.iter().map(id).collect();
    let missing = allowed.iter().filter(|id| !recorded.contains(id.as_str())).count();
    if missing > 0 {
        return Err(format!("{missing} of {} allows have no record", allowed.len()));
    }
    Ok(())
}

fn id(record: &Value) -> &str {
    record["id"].as_str().unwrap_or_default()
}

/// Asks so many times on one connection, and returns the ids of the allows. Stops where nobody answers any more.
async fn ask(proxy: &Running, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    let Ok(mut stream) = TcpStream::connect(proxy.address()).await else { return ids };
    for n in 0..count {
        let Some(answer) = one(&mut stream, n).await else { return ids };
        if answer.allowed() {
            ids.push(answer.decision().to_owned());
        }
    }
    ids
}

/// Three kilobytes of record: a hundred are more than a segment.
async fn one(stream: &mut TcpStream, n: usize) -> Option<Answer> {
    let mut body = question("alice", "s3:GetObject", "reports", &n.to_string());
    body["input"]["groups"] = vec!["g".repeat(240); 12].into();
    stream.write_all(&http::request("POST", "/", &[], body.to_string().as_bytes())).await.ok()?;
    http::read(stream).await
}

/// Whether answers are allows, soon.
async fn back(proxy: &Running) -> bool {
    let since = Instant::now();
    while since.elapsed() < BACK {
        if proxy.metric("countersign_audit_available").await == 1.0 {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    false
}

async fn begun_or_gone(proxy: &Running) {
    eventually("it begins or is gone", async || {
        let begun = proxy.metric("countersign_audit_available").await == 1.0;
        (begun || !proxy.is_running()).then_some(())
    })
    .await;
}

fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}
