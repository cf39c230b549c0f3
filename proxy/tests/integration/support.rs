//! Starts the release binary and talks to it. Reads as a sentence:
//! `Countersign::asking(&stub.url()).token("t").start().await.ask(&question).await`.

pub mod disk;
pub mod http;
pub mod page;
pub mod pipeline;
pub mod records;
pub mod stand;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use loadtest::laboratory::{Laboratory, countersign};
use loadtest::stub::{Answer as Said, Script};
use serde_json::Value;
use tempfile::TempDir;

pub use http::Answer;

/// How long anything may take before a test gives up on it. Generous: two cores, shared.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A configuration in the making. Ports are free ones; everything lives in one temporary directory.
pub struct Countersign {
    listen: String,
    authorizers: String,
    audit: String,
    rest: String,
    level: &'static str,
    spool: String,
    files: Vec<(String, String)>,
    env: Vec<(String, String)>,
    nobody: Option<&'static str>,
    memory: Option<TempDir>,
    patient: bool,
}

impl Countersign {
    /// One authorizer named `authz`, no Kafka, cache off, small spool, no drain. Unless a test sets them, the timeout of the
    /// authorizer and the deadline are times that a busy machine does not reach.
    pub fn asking(url: &str) -> Self {
        Self::custom(&format!("[[authorizer]]\nname = \"authz\"\nurl = \"{url}\"\n"))
    }

    /// With the timeout and the deadline that users have, for tests that wait for one of them or measure how long something takes.
    pub fn hasty(mut self) -> Self {
        self.patient = false;
        self
    }

    /// `authorizers` is TOML: the authorizers and, if needed, the routes.
    pub fn custom(authorizers: &str) -> Self {
        Self {
            listen: "drain = \"0s\"\n".to_owned(),
            authorizers: authorizers.to_owned(),
            audit: "max_size = \"256MiB\"\n".to_owned(),
            rest: "[cache]\nallow_ttl = \"0s\"\ndeny_ttl = \"0s\"\n".to_owned(),
            level: "info",
            spool: "{dir}/spool".to_owned(),
            files: Vec::new(),
            env: Vec::new(),
            nobody: None,
            memory: None,
            patient: true,
        }
    }

    /// Without root's rights, and with this umask. Needs root and `setpriv`.
    pub fn unprivileged(mut self, umask: &'static str) -> Self {
        self.nobody = Some(umask);
        self
    }

    /// A setting of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Everything in the log that there is to say.
    pub fn verbose(mut self) -> Self {
        self.level = "trace";
        self
    }

    /// A file in its directory, which is `{dir}` in the configuration.
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Lines for `[listen]`, instead of no drain.
    pub fn listen(mut self, toml: &str) -> Self {
        self.listen = format!("{toml}\n");
        self
    }

    /// More lines for the authorizer.
    pub fn authorizer(mut self, toml: &str) -> Self {
        self.authorizers.push_str(toml);
        self.authorizers.push('\n');
        self
    }

    /// More lines for `[audit]`.
    pub fn audit(mut self, toml: &str) -> Self {
        self.audit.push_str(toml);
        self.audit.push('\n');
        self
    }

    /// Another size of the spool. Its segments are an eighth of it.
    pub fn max_size(mut self, size: &str) -> Self {
        self.audit = self.audit.replace("256MiB", size);
        self
    }

    /// The lines of `[cache]`.
    pub fn cache(mut self, toml: &str) -> Self {
        self.rest = format!("[cache]\n{toml}\n");
        self
    }

    /// Appends whole tables: `[kafka]`, `[otlp]`.
    pub fn with(mut self, toml: &str) -> Self {
        self.rest.push_str(toml);
        self.rest.push('\n');
        self
    }

    pub fn kafka(self, bootstrap: &str, topic: &str) -> Self {
        self.with(&format!("[kafka]\nbrokers = [\"{bootstrap}\"]\ntopic = \"{topic}\""))
    }

    /// The spool in a directory that does not exist yet, and whose parent does not either.
    pub fn on_missing_volume(mut self) -> Self {
        self.spool = "{dir}/volume/spool".to_owned();
        self
    }

    /// The spool in a directory of the test's own.
    pub fn on(mut self, spool: &Path) -> Self {
        self.spool = spool.display().to_string();
        self
    }

    /// A small spool in memory, where the machine has such a place: an answer at the end of its deadline keeps 250 ms for its
    /// record, which a disk that stalls does not keep.
    pub fn in_memory(self) -> Self {
        let memory = disk::quick();
        let setup = self.max_size("8MiB").on(&memory.path().join("spool"));
        Self { memory: Some(memory), ..setup }
    }

    /// A token named `minio`, read from a file as an operator would have it.
    pub fn token(mut self, token: &str) -> Self {
        self.files.push(("token".to_owned(), format!("{token}\n")));
        self.listen.push_str("tokens = [{ name = \"minio\", file = \"{dir}/token\" }]\n");
        self
    }

    fn config(&self) -> String {
        let Self { listen, authorizers, audit, rest, level, spool, .. } = self;
        // All attempts of a route fit into the deadline.
        let is_patient = self.patient && !listen.contains("deadline");
        let deadline = if is_patient { "deadline = \"30s\"\n" } else { "" };
        let authorizers = if is_patient { patient(authorizers) } else { authorizers.clone() };
        format!(
            "instance = \"test\"\n[listen]\naddress = \"127.0.0.1:{{port}}\"\n{deadline}{listen}\
             [admin]\naddress = \"127.0.0.1:{{admin_port}}\"\n{authorizers}\
             [audit]\nspool = \"{spool}\"\n{audit}{rest}[log]\nformat = \"text\"\nlevel = \"{level}\"\n"
        )
    }

    /// Starts, and waits until it answers with a usable spool.
    pub async fn start(self) -> Running {
        let running = self.start_unready().await;
        running.available().await;
        running
    }

    /// Starts, and waits until it listens at both of its addresses: the front's may be there before the admin's.
    pub async fn start_unready(self) -> Running {
        let mut setup = Laboratory::open().unwrap().countersign(Path::new(binary())).config(&self.config());
        for (name, text) in &self.files {
            setup = setup.file(name, text);
        }
        for (name, value) in &self.env {
            setup = setup.env(name, value);
        }
        if let Some(umask) = self.nobody {
            setup = setup.unprivileged(umask);
        }
        let running = Running { part: setup.start().await.unwrap(), spool: self.spool, _memory: self.memory };
        eventually("the admin listener is up", async || http::try_get(running.admin(), "/livez").await).await;
        running
    }
}

/// Four seconds for each authorizer that does not say how long: the default is too short for a machine that is busy.
fn patient(authorizers: &str) -> String {
    const TABLE: &str = "[[authorizer]]\n";
    let (before, tables) = authorizers.split_once(TABLE).unwrap_or((authorizers, ""));
    let table = |table: &str| {
        let says = table.split("\n[").next().is_some_and(|own| own.contains("timeout"));
        format!("{TABLE}{}{table}", if says { "" } else { "timeout = \"4s\"\n" })
    };
    let tables = if tables.is_empty() { String::new() } else { tables.split(TABLE).map(table).collect() };
    before.to_owned() + &tables
}

/// The process under test. Stopped when dropped; its directory is kept when the test failed.
pub struct Running {
    part: countersign::Countersign,
    spool: String,
    /// Goes after the process.
    _memory: Option<TempDir>,
}

impl Running {
    pub fn url(&self) -> String {
        self.part.url()
    }

    pub fn address(&self) -> std::net::SocketAddr {
        self.url().trim_start_matches("http://").trim_end_matches('/').parse().unwrap()
    }

    pub fn admin(&self) -> std::net::SocketAddr {
        self.part.admin().parse().unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.part.pid().expect("a running process")
    }

    pub fn spool(&self) -> PathBuf {
        self.spool.replace("{dir}", &self.part.home().display().to_string()).into()
    }

    /// Its own directory, with `countersign.toml`.
    pub fn home(&self) -> &Path {
        self.part.home()
    }

    pub fn log(&self) -> String {
        self.part.log()
    }

    /// The configuration that it runs with.
    pub fn config_file(&self) -> PathBuf {
        self.part.home().join("countersign.toml")
    }

    /// One question on a connection of its own.
    pub async fn ask(&self, question: &Value) -> Answer {
        self.post(question.to_string().as_bytes(), &[]).await
    }

    pub async fn post(&self, body: &[u8], headers: &[(&str, &str)]) -> Answer {
        http::post(self.address(), "/", headers, body).await
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> String {
        http::get(self.admin(), "/metrics").await.body
    }

    /// The page for people and the one for programs.
    pub async fn status_pages(&self) -> String {
        let [page, json] = ["/status", "/status.json"].map(|path| http::get(self.admin(), path));
        page.await.body + &json.await.body
    }

    /// The value of the first series of `/metrics` that begins with `series`; 0 while there is no page. Every series is there
    /// from the start, whatever it counts: one that is not has another name, or other labels.
    pub async fn metric(&self, series: &str) -> f64 {
        let page = http::try_get(self.admin(), "/metrics").await;
        let Some(page) = page.filter(|page| page.status == 200) else { return 0.0 };
        value(&page.body, series).unwrap_or_else(|| panic!("there is no series `{series}`:\n{}", page.body))
    }

    /// Every record in the spool, each checked against the closed schema and the chain.
    pub fn records(&self) -> Vec<Value> {
        records::checked(records::in_spool(&self.spool()))
    }

    pub fn decisions(&self) -> Vec<Value> {
        records::decisions(self.records())
    }

    /// The record that an answer names.
    pub fn record_of(&self, answer: &Answer) -> Value {
        let found = self.decisions().into_iter().find(|record| record["id"] == answer.decision());
        found.unwrap_or_else(|| panic!("no record {} for {answer:?}", answer.decision()))
    }

    /// Waits until records are taken. Fails with the log, at once where the process has ended.
    pub async fn available(&self) {
        let started = Instant::now();
        while self.metric("countersign_audit_available").await != 1.0 {
            let state = if self.is_running() { "it runs" } else { "it has ended" };
            let goes_on = self.is_running() && started.elapsed() < PATIENCE;
            let waited = started.elapsed();
            assert!(goes_on, "the spool is not available after {waited:?}, and {state}; its log:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until Kafka has every record.
    pub async fn delivered(&self) {
        // Not by `metric`, for which no answer is as good as none left.
        let none_left = async || {
            let metrics = http::try_get(self.admin(), "/metrics").await?.body;
            metrics.lines().any(|line| line == "countersign_spool_undelivered_records 0").then_some(())
        };
        eventually("everything is delivered", none_left).await;
    }

    /// The most that it ever had resident, bytes.
    pub fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        assert!(std::process::Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
    }

    pub fn is_running(&self) -> bool {
        self.part.is_running()
    }

    /// Waits for the end of the process.
    pub async fn ended(&self) {
        eventually("the process ends", async || (!self.part.is_running()).then_some(())).await;
    }

    /// `kill -9`, and gone.
    pub async fn kill(&mut self) {
        self.part.kill().await;
    }

    /// SIGTERM, and gone.
    pub async fn stop(&mut self) {
        self.part.stop().await;
    }

    /// The same configuration, spool and ports again.
    pub async fn start_again(&mut self) {
        self.part.start_again().await.unwrap();
        self.available().await;
    }
}

/// The value of the first series of a page of metrics that begins with `series`.
pub fn value(metrics: &str, series: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| line.starts_with(series))?;
    // An exemplar may follow the value.
    line.split(" # ").next()?.rsplit(' ').next()?.parse().ok()
}

/// The binary that users run: the one of this build, or that which `COUNTERSIGN_BIN` names, so that a release can be
/// tested as it is.
pub fn binary() -> &'static str {
    static NAMED: LazyLock<Option<String>> = LazyLock::new(|| {
        let named = std::env::var_os("COUNTERSIGN_BIN")?;
        // Children have other directories, and commands of the documentation call it by its name. One that is not there must
        // not mean that another one is tested.
        let path = std::path::absolute(&named).unwrap();
        assert!(path.is_file() && path.ends_with("countersign"), "COUNTERSIGN_BIN is {named:?}: no file `countersign`");
        Some(path.into_os_string().into_string().unwrap())
    });
    NAMED.as_deref().unwrap_or(env!("CARGO_BIN_EXE_countersign"))
}

/// A number of the environment, for longer runs. One that is none fails the test, instead of running as if it were not set.
pub fn number<T: std::str::FromStr>(variable: &str, default: T) -> T {
    let given = std::env::var(variable).ok();
    given.map_or(default, |text| text.parse().ok().unwrap_or_else(|| panic!("{variable} is `{text}`")))
}

/// The same for how often something is done. Not at all would be a test that cannot fail.
pub fn count<T: std::str::FromStr + Default + PartialEq>(variable: &str, default: T) -> T {
    let count = number(variable, default);
    assert!(count != T::default(), "{variable} is 0, and nothing would be tested");
    count
}

/// Polls until there is something, and fails the test if there is nothing in time.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The same for tests without a runtime.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// By account: alice may, bob may not, the authorizer fails over everybody else.
pub fn mixed() -> Script {
    Script::by(|received| {
        let asked: Value = serde_json::from_slice(&received.body).unwrap_or_default();
        match asked["input"]["account"].as_str() {
            Some("alice") => Said::allow(),
            Some("bob") => Said::deny(),
            Some(_) | None => Said::new("{}"),
        }
    })
}

/// A question as MinIO would ask it.
pub fn question(account: &str, action: &str, bucket: &str, object: &str) -> Value {
    serde_json::json!({ "input": {
        "account": account, "groups": null, "action": action, "originalAction": "", "bucket": bucket,
        "conditions": { "SourceIp": ["203.0.113.9"], "UserAgent": ["test"], "username": [account], "userid": [account],
                        "SecureTransport": ["false"], "authType": ["REST-HEADER"] },
        "owner": false, "object": object, "claims": {}, "denyOnly": false,
    }})
}
