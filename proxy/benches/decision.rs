//! Micro-benchmarks of what a decision is made of, each alone: reading the question, its key, the cache, the record, the
//! chain, the spool. For finding where time goes and comparing two states of the code; what is claimed about speed is
//! `loadtest prove`, against peers. Run with `cargo bench -p countersign --bench decision`.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up is of no use")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use countersign::audit::chain::Chain;
use countersign::audit::envelope::{Draft, Source};
use countersign::audit::record::Facts;
use countersign::audit::spool::{Options, Spool};
use countersign::decide::cache::{Cache, Entry, Kept};
use countersign::decide::moment::Moment;
use countersign::metrics::{Metrics, Names};
use countersign::policy::decided::{CacheUse, Call, Decided, Outcome};
use countersign::policy::key::{IgnoreList, KeyMaker};
use countersign::policy::privacy::Privacy;
use countersign::policy::request::Request;
use countersign::policy::verdict::{Durability, Origin};
use countersign::wire::{answer, question};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use loadtest::question::Question;
use uuid::Uuid;

/// Entries of the cache that is looked into.
const CACHED: usize = 100_000;
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes, at most. Segments are as large as by default.
const SPOOL: u64 = 512 << 20;

fn body() -> Bytes {
    Question::read().size(loadtest::load::QUESTION_SIZE).body().into()
}

fn request() -> Request {
    question::read(body()).unwrap()
}

fn decided() -> Decided {
    let outcome = Outcome::Answered(answer::read(200, None, false, br#"{"result":true}"#).unwrap());
    let call = Call {
        authorizer: "opa".into(),
        outcome: outcome.clone(),
        status: Some(200),
        attempt: 1,
        started: tokio::time::Instant::now(),
        latency: Duration::from_micros(800),
        span_id: 1,
    };
    Decided {
        calls: vec![call],
        outcome,
        origin: Origin::Authorizer,
        route: Some("default".into()),
        decided_by: Some("opa".into()),
        fallback: false,
        cache: CacheUse::MISS,
    }
}

fn draft(request: &Request, decided: &Decided, source: &Source) -> Draft {
    let facts = Facts {
        id: Uuid::now_v7(),
        time: SystemTime::now(),
        client: "minio",
        peer: None,
        request: Some(request),
        body: &request.bytes,
        decided,
        latency: Duration::from_micros(900),
        durability: Durability::Synced,
        generation: "a91c03ff",
        privacy: &Privacy::PLAIN,
        trace_id: 1,
        span_id: 1,
    };
    facts.draft(source).unwrap()
}

fn parse(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("parse");
    for size in [1024, 16 * 1024, 256 * 1024] {
        let body: Bytes = Question::read().size(size).body().into();
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(size.to_string(), |bench| bench.iter(|| question::read(black_box(body.clone()))));
    }
    group.finish();
    let answer = br#"{"decision_id":"4ca636c1-55e4-417a-b1d8-4aceb67960d1","result":true}"#;
    bench.bench_function("parse/answer", |bench| bench.iter(|| answer::read(200, None, false, black_box(answer))));
}

fn key(bench: &mut Criterion) {
    let maker = KeyMaker::new(1, IgnoreList::new::<&str>(true, &[]));
    let request = request();
    bench.bench_function("key", |bench| bench.iter(|| maker.key(black_box(&request), "minio", "default")));
}

fn cache(bench: &mut Criterion) {
    let cache = Cache::new(CACHED).unwrap();
    // Spread like real ones: the maps take a key for its own hash.
    let hashed = |number: u64| -> [u8; 16] {
        let mut key = [0; 16];
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut key);
        key
    };
    let keys: Vec<[u8; 16]> = (0..2 * CACHED as u64).map(hashed).collect();
    let mut next = keys.iter().cycle();
    let kept = || {
        let answer = answer::read(200, None, false, br#"{"result":true}"#).unwrap();
        let (decided_by, record_id) = (Some(Arc::from("opa")), Uuid::now_v7());
        let entry = Entry { answer, decided_by, fallback: false, record_id, sent: Moment::now() };
        Kept::new(entry, Duration::from_secs(3600)).unwrap()
    };
    for key in keys.iter().take(CACHED) {
        cache.store(*key, kept(), Moment::now());
    }
    assert!(cache.len() > CACHED / 10 * 9, "shards are to fill evenly");
    let mut held = keys.iter().take(CACHED).filter(|key| cache.lookup(key, Moment::now()).is_some()).cycle();
    bench.bench_function("cache/hit", |bench| {
        bench.iter_batched(|| held.next().unwrap(), |key| cache.lookup(key, Moment::now()), BatchSize::SmallInput);
    });
    let one = kept();
    bench.bench_function("cache/store", |bench| {
        let input = || (*next.next().unwrap(), one.clone());
        bench.iter_batched(input, |(key, one)| cache.store(key, one, Moment::now()), BatchSize::SmallInput);
    });
}

fn record(bench: &mut Criterion) {
    let (request, decided, source) = (request(), decided(), Source::new("bench"));
    bench.bench_function("record", |bench| bench.iter(|| draft(black_box(&request), &decided, &source)));
}

fn chain(bench: &mut Criterion) {
    let draft = draft(&request(), &decided(), &Source::new("bench"));
    let mut chain = Chain::new("bench/1".into());
    let mut out = Vec::new();
    let mut group = bench.benchmark_group("chain");
    group.throughput(Throughput::Bytes(draft.head.len() as u64));
    group.bench_function("finish", |bench| {
        bench.iter(|| {
            out.clear();
            chain.finish(black_box(&draft.head), &mut out)
        });
    });
    group.finish();
}

/// One task alone, and as many as there are connections in what is claimed.
fn append(bench: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // On a disk: a sync costs nothing in memory.
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    // Nobody ships what is appended: the oldest gives way, however long this runs.
    let options = Options { max_size: SPOOL, deliver: false, ..Options::new(directory.path()) };
    let metrics = Metrics::new(&Names::default());
    let (spool, _backlog) = Spool::start(options, Source::new("bench"), "0.0", "g", metrics).unwrap();
    let begun = Instant::now();
    while !spool.is_available() {
        assert!(begun.elapsed() < PATIENCE, "the spool in {} cannot be written", directory.path().display());
        std::thread::sleep(Duration::from_millis(5));
    }
    let draft = draft(&request(), &decided(), &Source::new("bench"));
    let mut group = bench.benchmark_group("append");
    for (name, level) in [("written", Durability::Written), ("synced", Durability::Synced)] {
        for tasks in [1_u64, 64] {
            group.throughput(Throughput::Elements(tasks));
            group.bench_function(format!("{name}/{tasks}"), |bench| {
                bench.iter(|| runtime.block_on(appended(&spool, &draft, level, tasks)));
            });
        }
    }
    group.finish();
    spool.close(PATIENCE);
}

async fn appended(spool: &Spool, draft: &Draft, level: Durability, tasks: u64) {
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..tasks {
        let (spool, draft) = (spool.clone(), Draft { id: Uuid::now_v7(), ..draft.clone() });
        all.spawn(async move { spool.append(draft, level, tokio::time::Instant::now() + PATIENCE).await.unwrap() });
    }
    while let Some(receipt) = all.join_next().await {
        receipt.unwrap();
    }
}

criterion_group!(benches, parse, key, cache, record, chain, append);
criterion_main!(benches);
