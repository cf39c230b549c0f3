//! Allows whose record cannot be made durable, or not in time: all cells of one durability in one process, at once. The spool's
//! thread is made to fail with strace; what is acknowledged too late waits for a broker that is away.

use std::collections::BTreeSet;

use countersign::policy::verdict::{Durability, Reason};
use futures_util::future::join_all;
use loadtest::stub::{Answer, Gate, Script, Stub};
use serde_json::Value;

use super::asking::{ask, by_id, routes};
use super::judge::{Ran, Seen, Tried};
use super::table::{Cache, Cell, TOKEN};
use super::{Broker, LIFE, base, over};
use crate::support::records::events;
use crate::support::{Running, eventually};
use crate::syscalls::attached::{Call, Fault, Strace};

/// Microseconds, beyond the deadline.
const SLOW: u32 = 14_000_000;

struct Stage {
    proxy: Running,
    said: Stub,
    _other: Stub,
    gates: [Gate; 2],
    /// Answers of questions that belong to no cell, by reason.
    beside: Vec<String>,
}

/// The first authorizer, which allows; the answers of coalesced cells once the gate of their reason is open.
fn said(gates: [Gate; 2]) -> Script {
    Script::by(move |received| {
        let body = String::from_utf8_lossy(&received.body).into_owned();
        let gate = usize::from(body.contains(Reason::AuditTimeout.as_str()));
        let is_held = body.contains("-coalesced\"");
        if is_held { Answer::allow().held_by(&gates[gate]) } else { Answer::allow() }
    })
}

impl Stage {
    async fn start(durability: Durability, kafka: Option<&str>) -> Self {
        let gates = [Gate::closed(), Gate::closed()];
        let said = Stub::start(said(gates.clone())).await.unwrap();
        let denies = |received: &loadtest::stub::Received| {
            let is_any = String::from_utf8_lossy(&received.body).contains("\"said-any-");
            if is_any { Answer::deny() } else { Answer::allow() }
        };
        let other = Stub::start(Script::by(denies)).await.unwrap();
        let authorizer = |name: &str, stub: &Stub| {
            format!("[[authorizer]]\nname = \"{name}\"\ntimeout = \"30s\"\nurl = \"{}\"\n", stub.url())
        };
        let toml = authorizer("said", &said) + &authorizer("other", &other) + &routes("said");
        let setup = base(durability, kafka, &toml).audit("checkpoint_every = \"1h\"");
        let proxy = setup.listen("drain = \"0s\"\ndeadline = \"6s\"").token(TOKEN.1).start().await;
        let stage = Self { proxy, said, _other: other, gates, beside: Vec::new() };
        // Kafka may have to be looked up first.
        eventually("the first allow", async || {
            ask(&stage.proxy, "said-first-off", "first").await.allowed.then_some(())
        })
        .await;
        stage
    }

    async fn all(&self, cells: &[&Cell]) -> Vec<Seen> {
        let one = async |cell: &Cell| ask(&self.proxy, &cell.bucket("said"), &cell.object()).await;
        join_all(cells.iter().map(|cell| one(cell))).await
    }

    /// What all cells are answered while the fault lasts; of coalesced ones two answers.
    async fn faults(&self, cells: &[&Cell], gate: &Gate) -> Vec<Tried> {
        let (coalesced, rest): (Vec<&Cell>, Vec<&Cell>) = cells.iter().partition(|cell| cell.cache == Cache::Coalesced);
        let followers = async {
            eventually("every leader is being asked", async || {
                let heard: Vec<String> =
                    self.said.questions().iter().map(|r| String::from_utf8_lossy(&r.body).into_owned()).collect();
                let is_led = |cell: &&Cell| heard.iter().any(|body| body.contains(&cell.object()));
                coalesced.iter().all(is_led).then_some(())
            })
            .await;
            self.all(&coalesced).await
        };
        let opening = async {
            let all = coalesced.len() as f64;
            let waiting = async || (self.proxy.metric("countersign_cache_waiting ").await == all).then_some(());
            eventually("the equal questions wait", waiting).await;
            gate.open();
        };
        let (alone, leaders, followers, ()) = tokio::join!(self.all(&rest), self.all(&coalesced), followers, opening);
        let answers = alone.into_iter().map(|seen| vec![seen]);
        let pairs = leaders.into_iter().zip(followers).map(|(one, two)| vec![one, two]);
        let tried = rest.iter().chain(&coalesced).zip(answers.chain(pairs));
        // What comes afterwards is filled in once the fault is over.
        tried.map(|(cell, answers)| Tried { cell: **cell, again: answers[0].clone(), answers }).collect()
    }

    async fn recovers(&mut self) {
        let (proxy, beside) = (&self.proxy, &mut self.beside);
        eventually("allows again", async || {
            let seen = ask(proxy, "said-first-off", "audit_timeout/afterwards").await;
            if !seen.allowed {
                beside.push(seen.reason);
            }
            seen.allowed.then_some(())
        })
        .await;
    }

    fn attach(&self, name: &str, fault: Fault) -> Strace {
        let call = Call { thread: "spool", name: name.to_owned(), number: 1 };
        Strace::attach(self.proxy.spool().parent().unwrap(), self.proxy.pid(), "spool", &[(&call, fault)])
    }
}

pub async fn run(durability: Durability, cells: &[Cell], broker: Option<&Broker>) -> Ran {
    let kafka = broker.map(Broker::bootstrap);
    let mut stage = Stage::start(durability, kafka.as_deref()).await;
    let primed: Vec<&Cell> = cells.iter().filter(|cell| cell.cache == Cache::Expired).collect();
    assert!(stage.all(&primed).await.iter().all(|seen| seen.allowed));
    over(LIFE).await;

    let of = |reason| cells.iter().filter(|cell| cell.reason == reason).collect::<Vec<_>>();
    let (slow, unwritable) = (of(Reason::AuditTimeout), of(Reason::AuditUnavailable));
    let mut ran = Ran::default();
    let slower = match (durability, broker) {
        (Durability::Acknowledged, Some(broker)) => {
            broker.away();
            None
        }
        (Durability::Written, _) => Some(stage.attach("pwrite64", Fault::Delay(SLOW))),
        (Durability::Synced | Durability::Acknowledged, _) => Some(stage.attach("fdatasync", Fault::Delay(SLOW))),
    };
    ran.tried.extend(stage.faults(&slow, &stage.gates[1]).await);
    match (slower, broker) {
        (None, Some(broker)) => broker.back(),
        (strace, _) => drop(strace),
    }
    stage.recovers().await;

    let refusing = stage.attach("pwrite64", Fault::Errors("EROFS"));
    ran.tried.extend(stage.faults(&unwritable, &stage.gates[0]).await);
    drop(refusing);
    stage.proxy.available().await;
    stage.recovers().await;

    let again: Vec<Cell> = ran.tried.iter().map(|tried| tried.cell).collect();
    let again = stage.all(&again.iter().collect::<Vec<_>>()).await;
    ran.tried.iter_mut().zip(again).for_each(|(tried, again)| tried.again = again);
    stage.proxy.stop().await;
    let records = stage.proxy.records();
    for reason in [Reason::AuditTimeout, Reason::AuditUnavailable] {
        let beside = stage.beside.iter().filter(|other| *other == reason.as_str()).count() as u64;
        let counted = counted(&records, reason) + late(&records, reason);
        ran.counted.insert(reason.as_str().to_owned(), counted.saturating_sub(beside));
    }
    ran.records = by_id(records);
    ran
}

/// Answers that have no record at all, as the end of the outage says.
fn counted(records: &[Value], reason: Reason) -> u64 {
    let ended = events(records, "outage_ended");
    ended.iter().map(|event| event["data"]["refused"][reason.as_str()].as_u64().unwrap()).sum()
}

/// Answers whose record became durable too late: it was an allow and is taken back, or says deny by itself.
fn late(records: &[Value], reason: Reason) -> u64 {
    let denied = records.iter().filter(|record| record["data"]["answer"] == "deny");
    let of: BTreeSet<&str> = denied.filter_map(|record| record["data"]["of"].as_str()).collect();
    let is_of = |record: &&Value| {
        let object = record["data"]["resource"]["object"].as_str().unwrap_or_default();
        let denies = record["data"]["decision"] == "deny";
        (denies || of.contains(record["id"].as_str().unwrap())) && object.starts_with(reason.as_str())
    };
    records.iter().filter(is_of).count() as u64
}
