//! Faults of authorizers, of the way to them and of questions: all cells of one durability in one process, at once. A cell's
//! route has the authorizer that fails and another one, which fails too (`first`), allows (`all`) or denies (`any`).

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use countersign::policy::verdict::{Durability, Reason};
use futures_util::future::join_all;
use loadtest::stub::{Answer, Gate, Script, Stub};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::door::Door;
use super::judge::{Ran, Seen, Tried};
use super::table::{COMBINES, Cache, Cell, NEVER, TOKEN, Way, row, word};
use super::{LIFE, base, over};
use crate::authorizer::evil::NO_NAME;
use crate::support::records::{decisions, events};
use crate::support::{Running, eventually, http, question};

/// First authorizers of the routes.
const KINDS: [&str; 7] = ["said", "absent", "nameless", "untrusted", "crowded", "left", "late"];

fn kind(way: Way) -> &'static str {
    match way {
        Way::Says(_) | Way::Asked(_) | Way::Sent(_) => "said",
        Way::Absent => "absent",
        Way::Nameless => "nameless",
        Way::Untrusted => "untrusted",
        Way::Crowded => "crowded",
        Way::LeftAlone => "left",
        Way::Late => "late",
        Way::Unrouted | Way::Pressed | Way::Unwritable | Way::Slow | Way::Defect => "nobody",
    }
}

struct Stage {
    proxy: Running,
    said: Stub,
    absent: Stub,
    hidden: Stub,
    other: Stub,
    _left: Stub,
    _crowded: Stub,
    door: Door,
    /// Whether authorizers fail now.
    faulty: Arc<AtomicBool>,
    /// What second authorizers hold the answers of coalesced cells back for.
    gate: Gate,
}

/// Bucket and object of a question.
fn about(received: &loadtest::stub::Received) -> (String, String) {
    let asked: Value = serde_json::from_slice(&received.body).unwrap_or_default();
    let text = |member: &str| asked["input"][member].as_str().unwrap_or_default().to_owned();
    (text("bucket"), text("object"))
}

/// Allows while all is well; then does what `fails` says.
async fn stub(faulty: &Arc<AtomicBool>, fails: impl Fn(String, String) -> Answer + Send + Sync + 'static) -> Stub {
    let faulty = faulty.clone();
    let script = Script::by(move |received| {
        let (bucket, object) = about(received);
        if faulty.load(Ordering::SeqCst) { fails(bucket, object) } else { Answer::allow() }
    });
    Stub::start(script).await.unwrap()
}

/// What the cell of this object wants its first authorizer to say.
fn first(object: &str) -> Answer {
    let reason = object.split('/').next().unwrap_or_default();
    let reason = Reason::ALL.iter().find(|known| known.as_str() == reason);
    match reason.and_then(|reason| row(*reason)) {
        Some((_, Way::Says(answer))) => answer(),
        Some((_, Way::Late)) => Answer::allow().after(NEVER),
        _ => Answer::allow(),
    }
}

fn second(bucket: &str, object: &str, gate: &Gate) -> Answer {
    let answer = match bucket.split('-').nth(1) {
        // Another fault than the first one's, which is the one that counts.
        Some("first") if object.starts_with("bad_status") => Answer::new("{}"),
        Some("first") => Answer::allow().status(503),
        Some("any") => Answer::deny(),
        _ => Answer::allow(),
    };
    if bucket.ends_with("-coalesced") { answer.held_by(gate) } else { answer }
}

impl Stage {
    async fn start(durability: Durability, kafka: Option<&str>) -> Self {
        let (faulty, gate) = (Arc::new(AtomicBool::new(false)), Gate::closed());
        let held = gate.clone();
        let other = stub(&faulty, move |bucket, object| second(&bucket, &object, &held)).await;
        let said = stub(&faulty, |_, object| first(&object)).await;
        let crowded = stub(&faulty, |_, _| Answer::allow().after(NEVER)).await;
        let left = stub(&faulty, |_, _| Answer::allow().close_in_body(7)).await;
        let absent = Stub::start(Script::allow()).await.unwrap();
        let hidden = Stub::start(Script::allow()).await.unwrap();
        let door = Door::to(hidden.address()).await;
        let url = |stub: &Stub| format!("url = \"{}\"\n", stub.url());
        let authorizers = [
            ("said", url(&said)),
            ("absent", url(&absent)),
            ("nameless", format!("url = \"http://{NO_NAME}/\"\n")),
            ("untrusted", door.toml()),
            ("crowded", url(&crowded) + "timeout = \"3s\"\nmax_in_flight = 1\n"),
            ("left", url(&left) + "breaker = { failures = 1, open_for = \"15s\" }\n"),
            ("late", url(&said) + "timeout = \"1m\"\n"),
            ("other", url(&other) + "timeout = \"30s\"\n"),
        ];
        let proxy = base(durability, kafka, &toml(&authorizers))
            .listen("drain = \"0s\"\ndeadline = \"16s\"\nsuspicious = \"deny\"\nmax_body = \"16KiB\"");
        let proxy = proxy.token(TOKEN.1).start().await;
        Self { proxy, said, absent, hidden, other, door, _left: left, _crowded: crowded, faulty, gate }
    }

    async fn ask(&self, bucket: &str, object: &str) -> Seen {
        ask(&self.proxy, bucket, object).await
    }

    async fn good(&self, cell: &Cell) -> Seen {
        let kind = if matches!(cell.way(), Way::Unrouted) { "said" } else { kind(cell.way()) };
        self.ask(&cell.bucket(kind), &cell.object()).await
    }

    async fn fault(&self, cell: &Cell) -> Seen {
        let bucket = cell.bucket(kind(cell.way()));
        let good = question("alice", "s3:GetObject", &bucket, &cell.object());
        let request = match cell.way() {
            Way::Asked(body) => http::request("POST", "/", &[TOKEN], body(good).as_bytes()),
            Way::Sent(request) => request(good.to_string().as_bytes()),
            _ => return self.ask(&bucket, &cell.object()).await,
        };
        let mut stream = TcpStream::connect(self.proxy.address()).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, &request).await.unwrap();
        http::read(&mut stream).await.expect("an answer").into()
    }

    async fn begin_faults(&mut self) {
        self.faulty.store(true, Ordering::SeqCst);
        self.absent.stop().await;
        self.door.show_right(false);
        self.hidden.close_idle().await;
        let opens = self.ask("left-alone-now", "opens the breaker").await;
        assert_eq!(opens.reason, "connection_lost");
    }

    /// The bulkhead is taken for twice its timeout: one question is being asked, and the next one waits before everybody who
    /// comes now.
    async fn crowd(&self) -> JoinSet<()> {
        let mut both = JoinSet::new();
        for object in ["one", "two"] {
            let (asked, address) = (self.other.asked(), self.proxy.address());
            let body = question("alice", "s3:GetObject", "crowded-all-now", object).to_string();
            both.spawn(async move { drop(http::post(address, "/", &[TOKEN], body.as_bytes()).await) });
            // The other authorizer of its route is asked once it waits for this one.
            let came = async || (self.other.asked() > asked).then_some(());
            eventually("a question at the bulkhead", came).await;
            // The first one's time must be over while the next one's is not: timers count whole milliseconds, and two that came
            // in the same one would both give up, and leave the place to a cell.
            over("50ms").await;
        }
        both
    }

    async fn end_faults(&mut self) {
        self.faulty.store(false, Ordering::SeqCst);
        self.absent.start_again().unwrap();
        self.door.show_right(true);
        let closed = async || self.ask("left-alone-now", "closes the breaker").await.allowed.then_some(());
        eventually("the breaker closes", closed).await;
    }

    /// Whoever leads an equal question has been heard by somebody who does not answer yet.
    async fn led(&self, leaders: &[&Cell]) {
        eventually("every leader is being asked", async || {
            let heard =
                self.other.questions().into_iter().chain(self.said.questions()).map(|received| about(&received));
            let heard: HashSet<String> = heard.map(|(_, object)| object).collect();
            leaders.iter().all(|cell| heard.contains(&cell.object())).then_some(())
        })
        .await;
    }
}

pub async fn ask(proxy: &Running, bucket: &str, object: &str) -> Seen {
    let body = question("alice", "s3:GetObject", bucket, object).to_string();
    proxy.post(body.as_bytes(), &[TOKEN]).await.into()
}

/// A route for each first authorizer, combination and state of the cache.
fn toml(authorizers: &[(&str, String)]) -> String {
    let mut toml = String::new();
    for (name, lines) in authorizers {
        let breaker = if lines.contains("breaker") { "" } else { "breaker = { failures = 10000 }\n" };
        // Long enough for a machine that is busy with hundreds of questions.
        let timeout = if lines.contains("timeout") { "" } else { "timeout = \"4s\"\n" };
        toml += &format!("[[authorizer]]\nname = \"{name}\"\nretries = 0\n{breaker}{timeout}{lines}");
    }
    for kind in KINDS {
        toml += &routes(kind);
    }
    toml += "[[route]]\nname = \"crowding\"\nmatch = { bucket = [\"crowded-all-now\"] }\nask = [\"crowded\", \"other\"]\ncombine = \"all\"\n";
    toml + "[[route]]\nname = \"leaving\"\nmatch = { bucket = [\"left-alone-now\"] }\nask = [\"left\"]\n"
}

/// The routes that ask `kind` and `other`.
pub fn routes(kind: &str) -> String {
    let mut toml = String::new();
    for combine in COMBINES.map(word) {
        for cache in Cache::ALL {
            let name = format!("{kind}-{combine}-{}", cache.word());
            let life = match cache {
                Cache::Off => "0s",
                Cache::Cold | Cache::Coalesced => "1h",
                Cache::Expired => LIFE,
            };
            toml += &format!(
                "[[route]]\nname = \"{name}\"\nmatch = {{ bucket = [\"{name}\"] }}\nask = [\"{kind}\", \"other\"]\n\
                 combine = \"{combine}\"\ncache = {{ allow_ttl = \"{life}\", deny_ttl = \"{life}\" }}\n"
            );
        }
    }
    toml
}

pub async fn run(durability: Durability, cells: &[Cell], kafka: Option<&str>) -> Ran {
    let mut stage = Stage::start(durability, kafka).await;
    let primed: Vec<&Cell> = cells.iter().filter(|cell| cell.cache == Cache::Expired).collect();
    let allows = join_all(primed.iter().map(|cell| stage.good(cell))).await;
    for (cell, seen) in primed.iter().zip(&allows) {
        assert!(seen.allowed, "{cell}: {seen:?}");
    }
    over(LIFE).await;

    stage.begin_faults().await;
    let (coalesced, rest): (Vec<&Cell>, Vec<&Cell>) = cells.iter().partition(|cell| cell.cache == Cache::Coalesced);
    let mut crowding = stage.crowd().await;
    let followers = async {
        stage.led(&coalesced).await;
        join_all(coalesced.iter().map(|cell| stage.fault(cell))).await
    };
    let opening = async {
        let all = coalesced.len() as f64;
        let waiting = async || (stage.proxy.metric("countersign_cache_waiting ").await == all).then_some(());
        eventually("the equal questions wait", waiting).await;
        while crowding.join_next().await.is_some() {}
        let crowding = stage.crowd().await;
        stage.gate.open();
        crowding.join_all().await;
    };
    let (alone, leaders, followers, ()) = tokio::join!(
        join_all(rest.iter().map(|cell| stage.fault(cell))),
        join_all(coalesced.iter().map(|cell| stage.fault(cell))),
        followers,
        opening
    );
    // An authorizer that allows in a cell whose fault it should be.
    let mut wrong = Cell { cache: Cache::Off, ..**rest.first().expect("cells") };
    wrong.reason = Reason::Undefined;
    let allowed = stage.ask(&wrong.bucket("said"), "control").await;

    stage.end_faults().await;
    let answers = alone.into_iter().map(|seen| vec![seen]);
    let pairs = leaders.into_iter().zip(followers).map(|(one, two)| vec![one, two]);
    let again = join_all(rest.iter().chain(&coalesced).map(|cell| stage.good(cell))).await;
    let tried = rest.iter().chain(&coalesced).zip(answers.chain(pairs)).zip(again);
    let tried = tried.map(|((cell, answers), again)| Tried { cell: **cell, answers, again });
    let mut ran = Ran { tried: tried.collect(), ..Ran::default() };
    ran.control =
        ran.tried.first().map(|first| Tried { cell: wrong, answers: vec![allowed], again: first.again.clone() });
    counted(&mut stage.proxy, &mut ran).await;
    ran
}

/// What the process says of answers without a record; where there is an aggregate too, the lesser of both.
async fn counted(proxy: &mut Running, ran: &mut Ran) {
    for tried in ran.tried.iter().filter(|tried| matches!(tried.cell.way(), Way::Sent(_))) {
        let reason = tried.cell.reason.as_str();
        let series = ["minio", "unknown"]
            .map(|client| format!("countersign_front_requests_total{{client=\"{client}\",outcome=\"{reason}\"}}"));
        let counts = [proxy.metric(&series[0]).await, proxy.metric(&series[1]).await];
        ran.counted.insert(reason.to_owned(), counts.iter().sum::<f64>() as u64);
    }
    proxy.stop().await;
    let records = proxy.records();
    let attempts = events(&records, "unauthorized_attempts");
    let attempts = attempts.iter().map(|event| event["data"]["count"].as_u64().unwrap()).sum();
    if let Some(counted) = ran.counted.get_mut("unauthorized") {
        *counted = (*counted).min(attempts);
    }
    ran.records = by_id(records);
}

pub fn by_id(records: Vec<Value>) -> std::collections::HashMap<String, Value> {
    decisions(records).into_iter().map(|record| (record["id"].as_str().unwrap().to_owned(), record)).collect()
}
