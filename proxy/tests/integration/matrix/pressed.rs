//! More questions than places: `overload`, which comes before anything else is known of a question.

use countersign::policy::verdict::Durability;
use futures_util::future::join_all;
use loadtest::stub::{Script, Stub};

use super::asking::{ask, by_id};
use super::base;
use super::judge::{Ran, Tried};
use super::table::{Cell, TOKEN};
use crate::support::records::events;

/// A few may still get the place when it comes free, for their own time ends a little later.
const EXCESS: usize = 20;

pub async fn run(durability: Durability, cell: Cell, kafka: Option<&str>) -> Ran {
    let stub = Stub::start(Script::never()).await.unwrap();
    let authorizer =
        format!("[[authorizer]]\nname = \"authz\"\nretries = 0\ntimeout = \"1m\"\nurl = \"{}\"\n", stub.url());
    let setup = base(durability, kafka, &authorizer);
    let setup = setup.listen("drain = \"0s\"\ndeadline = \"2s\"\nmax_in_flight = 1").token(TOKEN.1);
    let mut proxy = setup.start().await;
    let object = cell.object();
    let others = async {
        assert!(stub.wait_for(1).await, "one has the only place");
        join_all((0..EXCESS).map(|_| ask(&proxy, "reports", &object))).await
    };
    let (_place, answers) = tokio::join!(ask(&proxy, "reports", "takes the place"), others);
    let (answers, decided): (Vec<_>, Vec<_>) = answers.into_iter().partition(|seen| seen.reason == "overload");
    assert!(decided.iter().all(|seen| !seen.allowed) && !answers.is_empty(), "{decided:?}");
    stub.set(Script::allow());
    let again = ask(&proxy, "reports", &object).await;
    let series = [
        "countersign_faults_total{reason=\"overload\",side=\"self\",route=\"none\"}",
        "countersign_front_requests_total{client=\"minio\",outcome=\"overload\"}",
    ];
    let mut counts = [proxy.metric(series[0]).await as u64, proxy.metric(series[1]).await as u64, 0];
    proxy.stop().await;
    let records = proxy.records();
    let ended = events(&records, "outage_ended");
    counts[2] = ended.iter().map(|event| event["data"]["refused"]["overload"].as_u64().unwrap()).sum();
    assert_eq!(counts[0], counts[1]);
    assert_eq!(counts[0], counts[2]);
    let mut ran = Ran { records: by_id(records), tried: vec![Tried { cell, answers, again }], ..Ran::default() };
    ran.counted.insert("overload".to_owned(), counts[0]);
    ran
}
