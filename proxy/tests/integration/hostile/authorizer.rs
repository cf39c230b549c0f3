//! The process before a hostile authorizer: one question for each row, and after it whether anything of the answer is left:
//! in the cache, on a connection, in a descriptor, in memory. It knows no answer; those are the rows of `answers` and
//! `exchanges`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use countersign::policy::verdict::Reason;
use countersign::wire::reply;
use loadtest::stub::{Received, Script, Step, Stub};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::ledger::{Found, Kept, descriptors, harmless, left_open, nothing_received};
use super::stage::only_our_headers;
use crate::authorizer::evil::{self, Evil, NO_NAME, allow, answer};
use crate::support::http::Answer;
use crate::support::{Countersign, Running, question};

/// Of one attempt.
pub const TIMEOUT: Duration = Duration::from_secs(3);
/// What no authorizer may get into a record or the log.
pub const ECHO: &str = "s3cr3t-that-came-back";
/// What 64 MiB and endless bodies may leave resident.
const MEBIBYTES: u64 = 48;

/// What is done with a question.
#[derive(Clone)]
pub enum Done {
    /// Read whole; then these.
    Steps(Vec<Step>),
    /// Not even read.
    Raw(Raw),
    /// Nobody listens.
    Nobody,
    /// No such name.
    Nowhere,
}

/// What is done with a connection instead of reading from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Raw {
    CloseAtOnce,
    /// At the question's first byte. Before it, it can also be that there is no connection.
    ResetAtFirst,
    /// In the middle of the question.
    ResetInQuestion,
    /// Nothing more will be said, although everything is read.
    HalfClose,
    /// It is held, and nothing is read.
    Hang,
    /// What it should do.
    Deny,
}

/// What becomes of the same question afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It is asked, and denied for what the authorizer then says.
    Asked,
    /// It is answered from the cache like before.
    Cached,
    /// Nobody is there to say anything else.
    Same,
}

/// One behaviour of the catalogue.
pub struct Row {
    /// In the catalogue: `U09`, `F63`.
    pub id: &'static str,
    pub what: String,
    pub done: Done,
    pub reason: Reason,
    pub again: Again,
    /// Whether its connection must not carry another question.
    pub poisons: bool,
    /// Sent before, on every connection that waits for a question.
    pub unasked: Option<String>,
}

impl Row {
    pub fn new(id: &'static str, what: impl Into<String>, done: Done, reason: Reason) -> Self {
        let again = match (reason, &done) {
            (Reason::Allowed | Reason::Denied, _) => Again::Cached,
            (_, Done::Nobody | Done::Nowhere) => Again::Same,
            _ => Again::Asked,
        };
        Self { id, what: what.into(), done, reason, again, poisons: false, unasked: None }
    }

    /// These bytes, on a connection that stays open.
    pub fn saying(id: &'static str, what: impl Into<String>, bytes: impl Into<bytes::Bytes>, reason: Reason) -> Self {
        Self::new(id, what, Done::Steps(vec![Step::Send(bytes.into())]), reason)
    }

    pub fn poisoning(mut self) -> Self {
        self.poisons = true;
        self
    }

    pub fn not_kept(mut self) -> Self {
        self.again = Again::Asked;
        self
    }

    pub fn after_unasked(mut self, bytes: String) -> Self {
        self.unasked = Some(bytes);
        self
    }

    fn bucket(&self) -> &'static str {
        match self.done {
            Done::Steps(_) => "stub",
            Done::Raw(_) => "raw",
            Done::Nobody => "nobody",
            Done::Nowhere => "nowhere",
        }
    }
}

/// What the authorizer does with which object.
type Plays = Arc<Mutex<HashMap<String, Vec<Step>>>>;

pub struct Stage {
    proxy: Running,
    stub: Stub,
    plays: Plays,
    raw: Arc<Mutex<Raw>>,
    _evil: Evil,
    /// Where redirects lead. Nobody may come.
    target: TcpListener,
    open: usize,
    peak: u64,
    questions: usize,
    poisoned: HashSet<u64>,
    kept: Vec<Kept>,
    found: Found,
}

impl Stage {
    pub async fn start() -> Self {
        let plays = Plays::default();
        let script = plays.clone();
        let stub = Stub::start(Script::by_steps(move |received| played(&script, received))).await.unwrap();
        let raw = Arc::new(Mutex::new(Raw::Deny));
        let mode = raw.clone();
        let evil = Evil::start(move |stream, _| treated(stream, *mode.lock())).await;
        let proxy = Countersign::custom(&toml(&stub.url(), &evil.url()))
            .cache("allow_ttl = \"60s\"\ndeny_ttl = \"60s\"")
            .start()
            .await;
        let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (poisoned, kept, found) = (HashSet::new(), Vec::new(), Found::default());
        let (open, peak, questions) = (0, 0, 0);
        let mut stage =
            Self { proxy, stub, plays, raw, _evil: evil, target, open, peak, questions, poisoned, kept, found };
        stage.serves("the first").await;
        stage.serves("the second").await;
        stage.open = descriptors(&stage.proxy);
        stage.peak = stage.proxy.peak() >> 20;
        stage
    }

    pub fn target(&self) -> String {
        self.target.local_addr().unwrap().to_string()
    }

    pub async fn attack(&mut self, row: &Row) {
        let name = format!("{} {}", row.id, row.what);
        self.found.tried += 1;
        self.questions += 1;
        let object = format!("row-{}", self.questions);
        self.stub.forget();
        if let Some(bytes) = &row.unasked {
            let idle = self.stub.say_unasked(bytes.clone()).await;
            if idle == 0 {
                self.found.complain(&name, "no connection was idle");
            }
        }
        self.play(row, &object);
        let answer = self.ask(row.bucket(), &object).await;
        self.judge(&name, row.reason, &answer);
        let asked = self.seen(&name);
        if row.poisons {
            self.poisoned.extend(asked.iter().map(|received| received.connection_id));
        }
        self.plays.lock().remove(&object);
        *self.raw.lock() = Raw::Deny;
        self.again(row, &name, &object).await;
        self.serves(&name).await;
        self.seen(&name);
        if let Some(open) = left_open(&self.proxy, self.open).await {
            self.found.complain(&name, format!("{open} descriptors, {} before", self.open));
        }
    }

    fn play(&self, row: &Row, object: &str) {
        match &row.done {
            Done::Steps(steps) => drop(self.plays.lock().insert(object.to_owned(), steps.clone())),
            Done::Raw(raw) => *self.raw.lock() = *raw,
            Done::Nobody | Done::Nowhere => {}
        }
    }

    async fn ask(&self, bucket: &str, object: &str) -> Answer {
        self.proxy.ask(&question("alice", "s3:GetObject", bucket, object)).await
    }

    /// What the authorizer was asked since this was last looked at; none of it on a connection that was odd.
    fn seen(&mut self, name: &str) -> Vec<Received> {
        let asked = self.stub.questions();
        self.stub.forget();
        if asked.iter().any(|received| self.poisoned.contains(&received.connection_id)) {
            self.found.complain(name, "a poisoned connection was used again");
        }
        asked
    }

    fn judge(&mut self, name: &str, reason: Reason, answer: &Answer) {
        let body = if reason == Reason::Allowed { reply::ALLOW } else { reply::DENY };
        if answer.body.contains("true") && reason != Reason::Allowed {
            self.found.wrongly_allowed += 1;
        }
        if (answer.status, answer.body.as_str()) != (200, body) || answer.reason() != reason.as_str() {
            self.found.complain(name, format!("not {body}, {reason:?}: {answer:?}"));
        }
        if let Err(why) = only_our_headers(answer) {
            self.found.complain(name, why);
        }
        let look = |record: &serde_json::Value, _: &Received| {
            record["data"]["authorizers"]
                .as_array()
                .is_some_and(|calls| calls.iter().all(|call| call["reason"] == record["data"]["reason"]))
        };
        self.kept.push(Kept { look: Some((look, nothing_received())), ..Kept::new(name, answer) });
    }

    /// The same question once more.
    async fn again(&mut self, row: &Row, name: &str, object: &str) {
        let before = self.stub.asked();
        let answer = self.ask(row.bucket(), object).await;
        let again = format!("{name}, again");
        let expected = if row.again == Again::Asked { Reason::Denied } else { row.reason };
        self.judge(&again, expected, &answer);
        let asked = self.stub.asked() - before;
        let reached = row.again == Again::Asked && row.bucket() == "stub";
        if asked != u64::from(reached) {
            self.found.complain(&again, format!("{asked} questions reached the authorizer"));
        }
    }

    async fn serves(&mut self, after: &str) {
        self.questions += 1;
        let answer = self.ask("stub", &format!("good-{}", self.questions)).await;
        self.judge(&format!("{after}, a good question"), Reason::Allowed, &answer);
    }

    pub async fn finish(mut self) -> (Found, Vec<Kept>, Vec<serde_json::Value>) {
        if tokio::time::timeout(Duration::ZERO, self.target.accept()).await.is_ok() {
            self.found.complain("U22", "a redirect was followed");
        }
        let peak = self.proxy.peak() >> 20;
        if peak > self.peak + MEBIBYTES {
            self.found.complain("U33", format!("{peak} MiB were resident, {} before", self.peak));
        }
        self.proxy.stop().await;
        let (log, recorded) = (self.proxy.log(), self.proxy.records());
        if let Err(why) = harmless(&log) {
            self.found.complain("the log", why);
        }
        if log.contains(ECHO) || recorded.iter().any(|record| record.to_string().contains(ECHO)) {
            self.found.complain("U38", "what the authorizer sent back was written down");
        }
        self.found.compare(&self.kept, recorded.clone());
        (self.found, self.kept, recorded)
    }
}

/// One place in the bulkhead: one that is not given back is missed by the next question.
fn toml(stub: &str, raw: &str) -> String {
    let nowhere = format!("http://{NO_NAME}/");
    let places = [("stub", stub), ("raw", raw), ("nobody", "http://127.0.0.1:1/"), ("nowhere", nowhere.as_str())];
    let millis = TIMEOUT.as_millis();
    let authorizer = |(name, url)| {
        format!(
            "[[authorizer]]\nname = \"{name}\"\nurl = \"{url}\"\ntimeout = \"{millis}ms\"\nretries = 0\nmax_in_flight = 1\n\
             breaker = {{ failures = 10000, open_for = \"5s\" }}\n\
             [[route]]\nname = \"{name}\"\nmatch = {{ bucket = [\"{name}\"] }}\nask = [\"{name}\"]\n"
        )
    };
    places.map(authorizer).concat()
}

fn played(plays: &Plays, received: &Received) -> Vec<Step> {
    let asked: serde_json::Value = serde_json::from_slice(&received.body).unwrap();
    let object = asked["input"]["object"].as_str().unwrap();
    let deny = || answer("200 OK", "", reply::DENY);
    let plain = if object.starts_with("good") { allow } else { deny };
    plays.lock().get(object).cloned().unwrap_or_else(|| vec![Step::Send(plain().into())])
}

/// Ends with the connection, which is for one question only.
async fn treated(mut stream: TcpStream, raw: Raw) {
    match raw {
        Raw::CloseAtOnce => {}
        Raw::ResetAtFirst => {
            drop(stream.read_exact(&mut [0; 1]).await);
            stream.set_zero_linger().unwrap();
        }
        Raw::ResetInQuestion => {
            drop(stream.read_exact(&mut [0; 10]).await);
            stream.set_zero_linger().unwrap();
        }
        Raw::HalfClose => {
            drop(stream.shutdown().await);
            while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
        }
        Raw::Hang => tokio::time::sleep(TIMEOUT * 3).await,
        Raw::Deny => {
            evil::question(&mut stream).await;
            let last = answer("200 OK", "Connection: close\r\n", reply::DENY);
            drop(stream.write_all(last.as_bytes()).await);
        }
    }
}
