//! Hostile input, all of a catalogue of it: H01 to H52 at the front, F60 to F75 and U01 to U45 from an authorizer, on the
//! binary and over real sockets. Each is a row that is tried here, or is listed in `catalogue` with where else it is.

mod answers;
mod authorizer;
mod bodies;
mod catalogue;
mod exchanges;
pub mod frames;
mod framing;
mod head;
mod ledger;
mod places;
mod slow;
mod stage;
mod streams;

use countersign::policy::verdict::Reason;
use loadtest::figures::Claim;
use serde_json::Value;

use ledger::{Found, Kept, descriptors, left_open};
use stage::{Row, Said, Stage, asked, sized};

const COMMAND: &str = "cargo test -p countersign --test integration hostile";

/// Every input at the front that is one connection's bytes.
fn at_the_front(target: &str) -> Vec<Row> {
    [head::rows(target), framing::rows(), bodies::rows(target)].into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_hostile_gets_in_at_the_front() {
    let (found, slow, ()) = tokio::join!(attacked(), slow::held(), broken_oracles_are_found());
    let found = found.and(slow);
    found.assert();
    Claim::new("hostile-front", COMMAND)
        .figure("inputs tried", found.tried)
        .figure("allows wrongly given", found.wrongly_allowed)
        .figure("records missing", found.missing)
        .control("an allow where none may be, an answer, a record or a question that is another than expected, and a descriptor that stays are found")
        .write()
        .unwrap();
}

async fn attacked() -> Found {
    let mut stage = Stage::start().await;
    for row in at_the_front(&stage.target()) {
        stage.attack(&row).await;
    }
    let (found, kept, records) = stage.finish().await;
    assert_eq!(one_taken_away(&kept, &records), 1);
    found
}

/// The control: how many are missing where the last decision's record is.
fn one_taken_away(kept: &[Kept], records: &[Value]) -> usize {
    let mut fewer = Found::default();
    let last = records.iter().rposition(|record| record["type"] == "io.countersign.decision.v1").unwrap();
    fewer.compare(kept, [&records[..last], &records[last + 1..]].concat());
    fewer.missing
}

/// The controls: what every row relies on does fail.
async fn broken_oracles_are_found() {
    let good = |answers: &[Said]| Row::new("H00", "a good question", sized(asked()), answers);
    for (row, wrongly_allowed, complaint) in [
        (good(&[Said::Recorded(Reason::MalformedRequest)]).asks(asked()), 1, "not 400"),
        (good(&[]).asks(asked()), 1, "one too many"),
        (good(&[Said::Allow; 2]).asks(asked()), 0, "1 of 2 answers"),
        (good(&[Said::Allow]), 0, "1 questions reached the authorizer"),
        (good(&[Said::Allow]).asks("{}"), 0, "1 questions reached the authorizer"),
        (good(&[Said::Allow]).asks(asked()).looks(|_, _| false), 0, "as it must not be"),
        (Row::unread("H00", "half of one", "{", Reason::AmbiguousRequest), 0, "not 400"),
    ] {
        let mut stage = Stage::start().await;
        stage.attack(&row).await;
        let (found, ..) = stage.finish().await;
        assert_eq!((found.wrongly_allowed, found.complaints.len()), (wrongly_allowed, 1), "{:#?}", found.complaints);
        assert!(found.complaints[0].contains(complaint), "{:#?}", found.complaints);
    }
    descriptors_that_stay_are_seen().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_an_authorizer_does_allows() {
    let mut stage = authorizer::Stage::start().await;
    let rows = answers::rows().into_iter().chain(exchanges::rows(&stage.target()));
    for row in rows {
        stage.attack(&row).await;
    }
    let (found, kept, records) = stage.finish().await;
    assert_eq!(one_taken_away(&kept, &records), 1);
    broken_expectations_are_found().await;
    found.assert();
    Claim::new("hostile-authorizer", COMMAND)
        .figure("behaviours tried", found.tried)
        .figure("allows wrongly given", found.wrongly_allowed)
        .figure("records missing", found.missing)
        .control("an allow where none may be, another reason than expected, and a connection that is used after something odd are found")
        .write()
        .unwrap();
}

/// The controls of the authorizer's side.
async fn broken_expectations_are_found() {
    let row = |reason| authorizer::Row::saying("U00", "an allow", crate::authorizer::evil::allow(), reason);
    for (row, wrongly_allowed, complaint) in [
        (row(Reason::Denied), 2, "not {\"result\":false}"),
        (row(Reason::Allowed).poisoning(), 0, "used again"),
        (row(Reason::Allowed).not_kept(), 1, "again"),
    ] {
        let mut stage = authorizer::Stage::start().await;
        stage.attack(&row).await;
        let (found, ..) = stage.finish().await;
        assert_eq!(found.wrongly_allowed, wrongly_allowed, "{:#?}", found.complaints);
        assert!(found.complaints.iter().any(|said| said.contains(complaint)), "{:#?}", found.complaints);
    }
}

async fn descriptors_that_stay_are_seen() {
    let stub = loadtest::stub::Stub::start(loadtest::stub::Script::allow()).await.unwrap();
    let proxy = crate::support::Countersign::asking(&stub.url()).start().await;
    let before = descriptors(&proxy);
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(tokio::net::TcpStream::connect(proxy.address()).await.unwrap());
    }
    // Those of the admin listener, which were open before, may close meanwhile.
    crate::support::eventually("they are seen", async || (descriptors(&proxy) > before + 10).then_some(())).await;
    drop(held);
    assert_eq!(left_open(&proxy, before).await, None);
}
