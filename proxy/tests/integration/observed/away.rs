//! A collector that is not there, or takes everything and answers nothing: decisions and the end of the process do not
//! notice.

use std::time::{Duration, Instant};

use loadtest::stub::{Script, Stub};

use crate::support::{Countersign, eventually, question};

const DROPPED: &str = "countersign_otlp_spans_dropped_total";
/// Each a connection and a sync of its own: long enough for an export to fail meanwhile.
const QUESTIONS: usize = 200;
/// Of the machine, while they are asked.
const STALLS: usize = 3;
/// Whoever waits for such a collector waits for ever; everything else of the end is limited to less.
const END: Duration = Duration::from_secs(30);

async fn check(endpoint: &str) {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let otlp = format!("[otlp]\nendpoint = \"{endpoint}\"\nsample = 1.0");
    let mut proxy = Countersign::asking(&stub.url()).with(&otlp).start().await;
    for number in 0..QUESTIONS {
        let answer = proxy.ask(&question("alice", "s3:GetObject", "reports", &number.to_string())).await;
        assert!(answer.allowed(), "{answer:?}");
    }
    eventually("lost spans are counted", async || (proxy.metric(DROPPED).await > 0.0).then_some(())).await;
    assert!(proxy.ask(&question("alice", "s3:GetObject", "reports", "last")).await.allowed());
    assert_eq!(proxy.decisions().len(), QUESTIONS + 1, "records do not need a collector");
    let slow = proxy.decisions().iter().filter(|one| one["data"]["latency_us"].as_u64() > Some(1_000_000)).count();
    // They are asked one after the other: a machine that stalls holds up one at a time.
    assert!(slow <= STALLS, "{slow} decisions waited for the collector");

    let asked = Instant::now();
    proxy.signal("TERM");
    proxy.ended().await;
    assert!(asked.elapsed() < END, "the end took {:?}", asked.elapsed());
    let records = proxy.records();
    assert_eq!(records.last().unwrap()["data"]["event"], "chain_closed", "it ended in order");
    proxy.stop().await;
}

#[tokio::test]
async fn nobody_listens_where_the_collector_was() {
    let held = loadtest::laboratory::port::free().unwrap();
    let port = held.number();
    check(&format!("http://127.0.0.1:{port}")).await;
}

/// The kernel accepts for it, and nothing ever comes back.
#[tokio::test]
async fn a_collector_that_hangs_delays_neither_answers_nor_the_end() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    check(&format!("http://{}", silent.local_addr().unwrap())).await;
}
