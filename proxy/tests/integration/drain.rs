//! Restarts under load without a failed call: two instances, and between them and a client with MinIO's transport what
//! moves new connections to the one that is ready.

mod client;

use std::path::Path;
use std::time::{Duration, Instant};

use countersign::wire::reply;
use loadtest::figures::Claim;
use loadtest::stub::{Answer, Gate, Script, Stub};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::hostile::frames::{self, Heard, Raw, good, whole};
use crate::secure::House;
use crate::support::{Countersign, Running, count, eventually, http, question};
use client::{Client, Pauses, Summary};

const COMMAND: &str = "cargo test -p countersign --test integration drain";
/// Instead of MinIO's 15 s and the default of 17 s: the same second and more between the two.
const IDLE: Duration = Duration::from_millis(1000);
const DRAIN: &str = "drain = \"1800ms\"";

/// Two instances with a spool each, behind one client.
struct Pair {
    instances: Vec<Running>,
    client: Client,
}

impl Pair {
    async fn start(
        stub: &Stub,
        listen: &str,
        idle: Duration,
        pauses: &[Pauses],
        restarts: usize,
        ca: Option<&Path>,
    ) -> Option<Self> {
        // Nothing of what is to be looked for may give way.
        let size = format!("{}MiB", 256 * (1 + restarts / 20));
        let mut instances = Vec::new();
        for _ in 0..2 {
            instances.push(Countersign::asking(&stub.url()).listen(listen).max_size(&size).start().await);
        }
        let client = Client::start(&instances, idle, pauses, ca).await?;
        Some(Self { instances, client })
    }

    /// SIGTERM to one of them and a new process in its place, in turn, as soon as the other one is at work.
    async fn restart(&mut self, times: usize) {
        for n in 0..times {
            serves(&self.instances[(n + 1) % 2]).await;
            self.replace(n % 2).await;
        }
    }

    async fn replace(&mut self, which: usize) {
        let gone = &mut self.instances[which];
        gone.signal("TERM");
        gone.ended().await;
        gone.start_again().await;
    }

    /// What the client met, and how many of its answers have no record in either spool.
    async fn end(mut self) -> (Summary, usize) {
        let summary = self.client.end();
        for instance in &mut self.instances {
            instance.stop().await;
        }
        let missing = client::without_record(&summary.answers, &self.instances);
        (summary, missing)
    }
}

/// Questions come to it.
async fn serves(instance: &Running) {
    let decided = "countersign_front_requests_total{client=\"local\",outcome=\"decided\"}";
    let before = instance.metric(decided).await;
    eventually("the client's questions come here", async || (instance.metric(decided).await > before).then_some(()))
        .await;
}

/// `times` restarts under load, and what came of them.
async fn restarted(
    stub: &Stub,
    listen: &str,
    idle: Duration,
    pauses: &[Pauses],
    times: usize,
) -> Option<(Summary, usize)> {
    let mut pair = Pair::start(stub, listen, idle, pauses, times, None).await?;
    pair.restart(times).await;
    Some(pair.end().await)
}

/// Around the end of the transport's idle time: there a server that closes first costs calls.
fn around(idle: Duration, callers: usize) -> Pauses {
    Pauses { callers, from: idle.mul_f64(0.9), to: idle.mul_f64(1.05) }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_while_instances_are_restarted() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let times = count("COUNTERSIGN_RESTARTS", 20_usize).div_ceil(2);
    let usual_times = count("COUNTERSIGN_RESTARTS_USUAL", 1);
    let usual = Duration::from_secs(15);
    let (busy, rare) = ([Pauses::busy(12), around(IDLE, 24)], [Pauses::busy(4), around(usual, 64)]);
    // At the same time, which spares the test most of its time; the last with the times that users have.
    let all = tokio::join!(
        restarted(&stub, DRAIN, IDLE, &busy, times),
        restarted(&stub, DRAIN, IDLE, &busy, times),
        restarted(&stub, "", usual, &rare, usual_times),
    );
    let (Some(one), Some(two), Some(three)) = all else { return };
    let all = [one, two, three];

    let sum = |of: fn(&Summary) -> usize| all.iter().map(|(summary, _)| of(summary)).sum::<usize>();
    let missing: usize = all.iter().map(|(_, missing)| missing).sum();
    for (summary, _) in &all {
        assert_eq!(summary.failures, Vec::<String>::new());
        assert!(summary.late >= 10, "too few connections were used near the end of their idle time: {summary}");
        assert!(summary.closing > 0, "no answer told the client that its connection ends: {summary}");
    }
    assert_eq!(missing, 0, "answers without a record");
    a_drain_shorter_than_the_idle_time_fails_calls(&stub).await;
    Claim::new("restarts", COMMAND)
        .figure("restarts", 2 * times + usual_times)
        .figure("calls", sum(|summary| summary.calls))
        .figure("on connections about to be closed for idleness", sum(|summary| summary.late))
        .figure("failed", sum(|summary| summary.failures.len()))
        .figure("records missing", missing)
        .control("answers left out of the spools are found missing")
        .control("a drain shorter than the client's idle time fails calls")
        .write()
        .unwrap();
}

/// The same over TLS and HTTP/2, where no answer can say that it is the last one: the connection does.
#[tokio::test(flavor = "multi_thread")]
async fn no_call_over_http2_fails_while_instances_are_restarted() {
    let (stub, house) = (Stub::start(Script::allow()).await.unwrap(), House::new());
    house.renew();
    let listen = house.listen(true).replace("drain = \"0s\"", DRAIN);
    let times = count("COUNTERSIGN_RESTARTS_HTTP2", 4);
    let pauses = [Pauses::busy(12), around(IDLE, 24)];
    let ca = house.path().join("ca.crt");
    let Some(mut pair) = Pair::start(&stub, &listen, IDLE, &pauses, times, Some(&ca)).await else { return };
    pair.restart(times).await;
    let (summary, missing) = pair.end().await;
    assert_eq!(summary.failures, Vec::<String>::new());
    assert_eq!((missing, summary.http2), (0, summary.calls), "answers without a record, or over HTTP/1.1");
    assert!(summary.late >= 10 && summary.dialed > times, "{summary}");
    Claim::new("restarts-http2", COMMAND)
        .figure("restarts", times)
        .figure("calls", summary.calls)
        .figure("on connections about to be closed for idleness", summary.late)
        .figure("failed", summary.failures.len())
        .figure("records missing", missing)
        .control("answers left out of the spools are found missing")
        .write()
        .unwrap();
}

/// When draining begins, not when it ends: there is time to go elsewhere. What is under way is answered, and whoever
/// comes meanwhile is answered once and told, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_with_http2_is_told_to_go_when_draining_begins() {
    let (stub, house) = (Stub::start(Script::allow()).await.unwrap(), House::new());
    house.renew();
    let listen = house.listen(true).replace("drain = \"0s\"", "drain = \"20s\"");
    let proxy = Countersign::asking(&stub.url()).listen(&listen).token("Bearer s3cret").start().await;
    let mut old = Raw::open(&house, &proxy).await;
    let mut idle = Raw::open(&house, &proxy).await;
    let answered = |stream: u32| move |heard: &Heard| heard.ended.contains_key(&stream);
    assert!(old.exchange(&[frames::beginning(), whole(1, &good())].concat(), answered(1)).await);
    assert!(idle.exchange(&frames::beginning(), |_| true).await);
    // Half of a question is there when it begins.
    assert!(old.exchange(&frames::head(3, &good()), |_| true).await && old.goes_on().await);
    proxy.signal("TERM");
    assert!(old.exchange(&[], |heard| !heard.told_to_go.is_empty()).await && !old.heard.closed);
    let body = question("alice", "s3:GetObject", "reports", "a.txt").to_string();
    let rest = frames::frame(frames::DATA, frames::END_STREAM, 3, body.as_bytes());
    assert!(old.exchange(&rest, answered(3)).await);
    assert_eq!((old.heard.body(1), old.heard.body(3)), (reply::ALLOW.to_owned(), reply::ALLOW.to_owned()));
    // Nobody has been told who has not asked yet, and it is still open for those who come.
    let mut fresh = Raw::open(&house, &proxy).await;
    for (raw, sent) in [(&mut idle, whole(1, &good())), (&mut fresh, [frames::beginning(), whole(1, &good())].concat())]
    {
        assert!(raw.heard.told_to_go.is_empty());
        assert!(raw.exchange(&sent, |heard| heard.ended.contains_key(&1) && !heard.told_to_go.is_empty()).await);
        assert_eq!(raw.heard.body(1), reply::ALLOW);
        assert!(!raw.heard.told_to_go.is_empty());
    }
    assert!(proxy.is_running(), "it was still draining");
}

/// The control: the same client, and a drain that ends while connections are idle.
async fn a_drain_shorter_than_the_idle_time_fails_calls(stub: &Stub) {
    // Pauses that end when the process does: its drain is nothing, and what is under way has two seconds.
    let pauses = [Pauses { callers: 1500, from: Duration::from_millis(1200), to: Duration::from_millis(4500) }];
    let pair = Pair::start(stub, "drain = \"0s\"", Duration::from_secs(15), &pauses, 0, None).await;
    let mut pair = pair.expect("it was built before");
    let mut restarts = 0;
    while pair.client.failed() == 0 {
        restarts += 1;
        assert!(restarts <= 20, "nothing fails, so that the other test shows nothing");
        pair.replace(restarts % 2).await;
    }
    let (summary, missing) = pair.end().await;
    println!("{restarts} restarts: {summary}; {:?}", summary.failures.first());
    assert_eq!(missing, 0, "an answer that came has its record");
}

/// What was sent behind it used to lie unread when the connection was closed, and the kernel resets such a connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_last_answer_is_not_lost_to_questions_that_were_sent_ahead() {
    let gate = Gate::closed();
    let stub = Stub::start(Answer::allow().held_by(&gate)).await.unwrap();
    let setup = Countersign::asking(&stub.url()).listen("deadline = \"20s\"\ndrain = \"20s\"");
    let proxy = setup.authorizer("timeout = \"15s\"").start().await;
    let asked = question("alice", "s3:GetObject", "reports", "a.txt").to_string();
    let one = http::request("POST", "/", &[], asked.as_bytes());
    let mut peer = TcpStream::connect(proxy.address()).await.unwrap();
    peer.write_all(&[&one[..], &one[..]].concat()).await.unwrap();
    eventually("the first is asked", async || (stub.asked() == 1).then_some(())).await;
    proxy.signal("TERM");
    let draining = async || (http::get(proxy.admin(), "/readyz").await.status == 503).then_some(());
    eventually("draining begins", draining).await;
    peer.write_all(&one).await.unwrap();
    gate.open();
    let mut heard = Vec::new();
    peer.read_to_end(&mut heard).await.expect("an end, not a reset");
    peer.write_all(&one).await.expect("whoever has not read yet that it ends may go on");
    let (answers, rest) = http::several(&heard);
    assert!(answers.len() == 1 && answers[0].allowed() && rest.is_empty(), "{}", String::from_utf8_lossy(&heard));
    assert_eq!(answers[0].header("connection"), Some("close"));
}

/// Go's transport dials ahead, and may use the connection long after. Up to MinIO's 15 s it is answered.
#[tokio::test]
async fn a_connection_that_was_dialed_ahead_is_answered() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).start().await;
    let asked = question("alice", "s3:GetObject", "reports", "a.txt").to_string();
    for _ in 0..3 {
        let began = Instant::now();
        let mut ahead = TcpStream::connect(proxy.address()).await.unwrap();
        // Longer than `read_timeout`, which counts from the first byte on.
        tokio::time::sleep(Duration::from_secs(15)).await;
        let sent = ahead.write_all(&http::request("POST", "/", &[], asked.as_bytes())).await;
        if began.elapsed() < Duration::from_millis(15_800) {
            sent.unwrap();
            assert!(http::read(&mut ahead).await.expect("an answer").allowed());
            return;
        }
        // A machine that stalls let more pass than is promised.
    }
    panic!("this machine does not wake in time");
}
