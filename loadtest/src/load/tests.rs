//! The load generator against the stub: counts, pace and the oracle of crash tests.

use std::sync::atomic::{AtomicU64, Ordering};

mod http2;

use super::*;
use crate::stub::{Answer, Script, Stub};

fn number(body: &[u8]) -> u64 {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    let object = body["input"]["object"].as_str().unwrap();
    object.trim_start_matches("2026/11/").trim_end_matches(".jpg").parse().unwrap()
}

/// Every third question is denied, every fifth has a body that is neither.
fn fizz() -> Script {
    Script::by(|question| match number(&question.body) {
        n if n % 5 == 0 => Answer::new("{}").status(500),
        n if n % 3 == 0 => Answer::deny(),
        n => Answer::allow().header("X-Countersign-Decision", &n.to_string()).header("X-Countersign-Reason", "allowed"),
    })
}

fn many() -> Mix {
    Mix::of(Question::read()).objects(1_000_000)
}

#[tokio::test]
async fn an_open_loop_asks_exactly_what_was_due_and_counts_it_right() {
    let stub = Stub::start(fizz()).await.unwrap();
    let load = Load::new(stub.url()).connections(8).rate(2000.0).duration(Duration::from_millis(300)).mix(many());
    let report = load.remember().run().await.unwrap();
    // Due at 0, 0.5 ms, … and 299.5 ms.
    assert_eq!((report.answers(), report.unsent, report.failed()), (600, 0, 0), "{report}");
    let other = (0..600).filter(|n| n % 5 == 0).count() as u64;
    let deny = (0..600).filter(|n| n % 5 != 0 && n % 3 == 0).count() as u64;
    assert_eq!((report.allow, report.deny, report.other), (600 - deny - other, deny, other));
    assert_eq!(report.statuses, [(200, 600 - other), (500, other)].into());
    assert_eq!(stub.asked(), 600);
    assert_eq!(stub.connections().opened, 8);
    let mut asked: Vec<_> = stub.questions().iter().map(|question| number(&question.body)).collect();
    asked.sort_unstable();
    assert_eq!(asked, (0..600).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_oracle_knows_every_answer() {
    let stub = Stub::start(fizz()).await.unwrap();
    let load = Load::new(stub.url()).connections(4).rate(5000.0).duration(Duration::from_millis(40)).mix(many());
    let report = load.remember().run().await.unwrap();
    assert_eq!(report.seen.len() as u64, stub.asked());
    for seen in &report.seen {
        assert_eq!(seen.number, seen.object);
        let expected = match seen.number {
            n if n % 5 == 0 => (500, Verdict::Other, None, None),
            n if n % 3 == 0 => (200, Verdict::Deny, None, None),
            n => (200, Verdict::Allow, Some(n.to_string()), Some("allowed".to_owned())),
        };
        let (status, verdict, decision, reason) = expected;
        assert_eq!(seen.end, End::Answered { status, verdict, decision, reason });
    }
    assert_eq!(report.allowed().count() as u64, report.allow);
}

#[tokio::test]
async fn in_an_open_loop_a_stall_is_seen_by_every_question_behind_it() {
    let stall = Duration::from_millis(200);
    let first = AtomicU64::new(0);
    let script = move |_: &_| {
        let wait = if first.fetch_add(1, Ordering::SeqCst) == 0 { stall } else { Duration::ZERO };
        Answer::allow().after(wait)
    };
    let stub = Stub::start(Script::by(script)).await.unwrap();
    // One connection: 200 questions fall due behind the first one's stall, so half of all wait 100 ms or more.
    let load = Load::new(stub.url()).connections(1).rate(1000.0).duration(stall);
    let report = load.run().await.unwrap();
    assert_eq!(report.answers(), 200, "{report}");
    assert!(report.latency.p50_us >= 90_000.0 && report.latency.p99_us >= 190_000.0, "{report}");
    assert!(report.latency.max_us >= 199_000.0, "{report}");
}

#[tokio::test]
async fn a_closed_loop_has_one_question_a_connection_under_way() {
    let stub = Stub::start(Script::never()).await.unwrap();
    let running = Load::new(stub.url()).connections(5).timeout(Duration::from_millis(1500)).start().await.unwrap();
    assert!(stub.wait_for(5).await);
    assert_eq!((stub.connections().opened, running.answers()), (5, 0));
    let report = running.stop().await.unwrap();
    assert_eq!(report.failures.get(&Failure::Timeout), Some(&report.failed()), "{report}");
    assert!(report.failed() >= 5);
}

#[tokio::test]
async fn the_warm_up_does_not_count() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let load = Load::new(stub.url()).connections(2).rate(1000.0);
    let report = load.warm_up(Duration::from_millis(100)).duration(Duration::from_millis(50)).run().await.unwrap();
    // 0 to 150 ms were asked, 100 to 150 ms counted.
    assert_eq!((stub.asked(), report.answers(), report.seconds), (150, 50, 0.05));
    assert_eq!((report.setting.connections, report.setting.warm_up_seconds), (2, 0.1));
}

/// Seen: what was answered in the five seconds after the end counted into the rate of the time before it.
#[tokio::test]
async fn a_server_that_cannot_keep_up_has_the_rate_that_it_had() {
    let stub = Stub::start(Answer::allow().after(Duration::from_millis(10))).await.unwrap();
    let load = Load::new(stub.url()).connections(1).rate(500.0).duration(Duration::from_millis(300));
    let report = load.run().await.unwrap();
    // One connection that waits 10 ms each time has at most 30 answers in 300 ms, and all 150 in the seconds after.
    assert_eq!(report.answers(), 150, "{report}");
    assert!(report.per_second > 0.0 && report.per_second <= 100.0, "{report}");
}

#[tokio::test]
async fn a_report_holds_every_latency() {
    use base64::Engine as _;
    let stub = Stub::start(Script::allow()).await.unwrap();
    let load = Load::new(stub.url()).connections(1).rate(1000.0).duration(Duration::from_millis(20));
    let report = load.run().await.unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(&report.histogram).unwrap();
    let read = hdrhistogram::serialization::Deserializer::new().deserialize::<u64, _>(&mut bytes.as_slice()).unwrap();
    assert_eq!(read.len(), report.answers());
    #[expect(clippy::cast_precision_loss, reason = "microseconds")]
    let p99 = read.value_at_quantile(0.99) as f64 / 1000.0;
    assert_eq!(p99, report.latency.p99_us);
}

#[tokio::test]
async fn a_killed_server_is_survived_and_counted() {
    let mut stub = Stub::start(Script::allow()).await.unwrap();
    let running = Load::new(stub.url()).connections(4).remember().start().await.unwrap();
    assert!(running.answered(100).await);
    stub.stop().await;
    stub.start_again().unwrap();
    assert!(running.answered(100).await);
    let report = running.stop().await.unwrap();
    assert_eq!(report.deny + report.other, 0, "{report}");
    assert!(report.failed() >= 1 && report.failures.keys().all(|failure| *failure != Failure::Malformed), "{report}");
    assert_eq!(report.seen.len() as u64, report.answers() + report.failed());
    assert!(stub.connections().opened >= 8, "it reconnected");
}

#[tokio::test]
async fn failures_have_their_names() {
    let cases = [
        (Script::reset(), Failure::Lost),
        (Script::close(), Failure::Lost),
        (Answer::allow().close_in_body(4).into(), Failure::Lost),
        (Script::garbage("SSH-2.0\r\n"), Failure::Malformed),
        (Script::switching(), Failure::Malformed),
        (Script::endless(), Failure::Malformed),
    ];
    for (script, expected) in cases {
        let stub = Stub::start(script).await.unwrap();
        let load = Load::new(stub.url()).connections(1).rate(1000.0).duration(Duration::from_millis(1));
        let report = load.run().await.unwrap();
        assert_eq!(report.failures, [(expected, 1)].into(), "{report}");
    }
    let mut stub = Stub::start(Script::allow()).await.unwrap();
    stub.stop().await;
    let load = Load::new(stub.url()).connections(1).rate(1000.0).duration(Duration::from_millis(1));
    assert_eq!(load.run().await.unwrap().failures, [(Failure::Connect, 1)].into());
}

#[tokio::test]
async fn what_cannot_be_run_is_said() {
    let error = async |load: Load| load.run().await.unwrap_err().to_string();
    let load = || Load::new("http://127.0.0.1:1/").duration(Duration::from_secs(1));
    assert!(error(Load::new("http://127.0.0.1:1/")).await.contains("duration"));
    assert!(error(load().connections(0)).await.contains("connection"));
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(error(load().rate(rate)).await.contains("rate"));
    }
}
