//! A defect of our own: `internal`. In this process, since no build has a switch for it; the pipeline, its spool and its publisher
//! are the real ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use countersign::authorizer::{Attempt, Authorizer, Question};
use countersign::policy::route::{Combine, Globs, Lifetimes, Matcher, Route};
use countersign::policy::verdict::Durability;
use futures_util::future::join_all;
use loadtest::stub::Gate;

use super::asking::by_id;
use super::judge::{Ran, Seen, Tried};
use super::table::{COMBINES, Cache, Cell};
use super::{LIFE, over};
use crate::support::pipeline::{Setup, Stage, inbound};
use crate::support::{eventually, http, question, records};

/// Allows, denies or panics, by what the cell needs.
struct Either {
    name: Arc<str>,
    panics: bool,
    faulty: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    gate: Gate,
}

#[async_trait]
impl Authorizer for Either {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    async fn ask(&self, question: &Question<'_>, _limit: Duration) -> Attempt {
        let (bucket, is_faulty) = (&question.request.bucket, self.faulty.load(Ordering::SeqCst));
        if is_faulty && self.panics {
            if bucket.ends_with("-coalesced") {
                self.asked.fetch_add(1, Ordering::SeqCst);
                self.gate.passed().await;
            }
            // Without the hook, which would print it for every cell.
            std::panic::resume_unwind(Box::new("a defect on the path"))
        }
        let denies = is_faulty && bucket.contains("-any-");
        let body = if denies { &br#"{"result":false}"#[..] } else { br#"{"result":true}"# };
        Attempt {
            outcome: countersign::wire::answer::read(200, None, false, body),
            status: Some(200),
            keep_at_most: None,
        }
    }
}

fn routes() -> Vec<Route> {
    let mut routes = Vec::new();
    for combine in COMBINES {
        for cache in Cache::ALL {
            let name = format!("defect-{}-{}", super::table::word(combine), cache.word());
            let life = match cache {
                Cache::Off => Duration::ZERO,
                Cache::Cold | Cache::Coalesced => Duration::from_secs(3600),
                Cache::Expired => LIFE.parse::<humantime::Duration>().unwrap().into(),
            };
            routes.push(route(&name, combine, Lifetimes { allow: life, deny: life }));
        }
    }
    routes
}

fn route(name: &str, combine: Combine, cache: Lifetimes) -> Route {
    let matcher = Matcher { bucket: Globs::new(&[name]), ..Matcher::any() };
    Route { name: name.into(), matcher, ask: vec![0, 1], combine, shadow: Vec::new(), cache }
}

async fn ask(stage: &Stage, cell: &Cell) -> Seen {
    let body = question("alice", "s3:GetObject", &cell.bucket("defect"), &cell.object()).to_string();
    let reply = stage.pipeline.answer(inbound(body)).await;
    let reason = reply.reason().map(|reason| ("X-Countersign-Reason".to_owned(), reason.as_str().to_owned()));
    let record = reply.record().map(|record| ("X-Countersign-Decision".to_owned(), record.to_string()));
    let body = String::from_utf8(reply.body().to_vec()).unwrap();
    http::Answer { status: reply.status(), headers: reason.into_iter().chain(record).collect(), body }.into()
}

pub async fn run(durability: Durability, cells: &[Cell], kafka: Option<&str>) -> Ran {
    let (faulty, asked, gate) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Gate::closed());
    let either = |name: &str, panics| -> Arc<dyn Authorizer> {
        let (faulty, asked, gate) = (faulty.clone(), asked.clone(), gate.clone());
        Arc::new(Either { name: name.into(), panics, faulty, asked, gate })
    };
    let authorizers = vec![either("defect", true), either("other", false)];
    let setup = Setup { authorizers, routes: routes(), durability, kafka: kafka.map(str::to_owned) };
    let stage = setup.start().await;
    let of = |cache: &[Cache]| cells.iter().filter(|cell| cache.contains(&cell.cache)).collect::<Vec<_>>();
    for cell in of(&[Cache::Expired]) {
        eventually("an allow that will expire", async || ask(&stage, cell).await.allowed.then_some(())).await;
    }
    over(LIFE).await;

    faulty.store(true, Ordering::SeqCst);
    let (rest, coalesced) = (of(&[Cache::Off, Cache::Cold, Cache::Expired]), of(&[Cache::Coalesced]));
    let all = async |cells: &[&Cell]| join_all(cells.iter().map(|cell| ask(&stage, cell))).await;
    let followers = async {
        let led = async || (asked.load(Ordering::SeqCst) == coalesced.len()).then_some(());
        eventually("every leader is being asked", led).await;
        all(&coalesced).await
    };
    let opening = async {
        let waiting = format!("countersign_cache_waiting {}\n", coalesced.len());
        let wait = async || stage.metrics.encode().contains(&waiting).then_some(());
        eventually("the equal questions wait", wait).await;
        gate.open();
    };
    let (alone, leaders, followers, ()) = tokio::join!(all(&rest), all(&coalesced), followers, opening);
    faulty.store(false, Ordering::SeqCst);
    let again = join_all(rest.iter().chain(&coalesced).map(|cell| ask(&stage, cell))).await;
    let answers = alone.into_iter().map(|seen| vec![seen]);
    let pairs = leaders.into_iter().zip(followers).map(|(one, two)| vec![one, two]);
    let tried = rest.iter().chain(&coalesced).zip(answers.chain(pairs)).zip(again);
    let tried = tried.map(|((cell, answers), again)| Tried { cell: **cell, answers, again }).collect();
    let records = by_id(records::checked(records::in_spool(&stage.spool)));
    Ran { tried, records, ..Ran::default() }
}
