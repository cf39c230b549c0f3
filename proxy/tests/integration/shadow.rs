//! Authorizers that are only tried out, on the binary: whatever one does, callers get the same answers in the same order; what
//! differs is counted and recorded, readers cope with it, and what it holds is bounded.

use std::process::Command;
use std::time::Duration;

use loadtest::load::Load;
use loadtest::stub::{Answer, Script, Stub};
use serde_json::{Value, json};

use crate::support::{Countersign, Running, binary, eventually, mixed, question, records};

/// `authz` decides and `tried` is tried out, with more lines of its own.
fn beside(decides: &Stub, tried: &Stub, more: &str) -> Countersign {
    Countersign::custom(&format!(
        "[[authorizer]]\nname = \"authz\"\nurl = \"{}\"\n\
         [[authorizer]]\nname = \"tried\"\nurl = \"{}\"\n{more}\n\
         [[route]]\nname = \"r\"\nask = [\"authz\"]\nshadow = [\"tried\"]\n",
        decides.url(),
        tried.url()
    ))
}

async fn compared(proxy: &Running, difference: &str) -> f64 {
    let labels = format!("route=\"r\",authorizer=\"tried\",difference=\"{difference}\"");
    proxy.metric(&format!("countersign_shadow_comparisons_total{{{labels}}}")).await
}

fn shadows(records: &[Value]) -> Vec<&Value> {
    records.iter().filter(|record| record["type"] == "io.countersign.shadow.v1").collect()
}

/// What callers and compliance see of a few questions: answers, and the decisions in the order of the chain.
async fn seen(proxy: &Running) -> (Vec<(u16, String, String)>, Vec<Value>) {
    let mut answers = Vec::new();
    for number in 0..60 {
        let account = ["alice", "bob", "mallory"][number % 3];
        let answer = proxy.ask(&question(account, "s3:GetObject", "reports", &number.to_string())).await;
        answers.push((answer.status, answer.body.clone(), answer.reason().to_owned()));
    }
    let of = |record: Value| json!([record["data"]["resource"]["object"], record["data"]["reason"]]);
    (answers, proxy.decisions().into_iter().map(of).collect())
}

#[tokio::test]
async fn whatever_a_shadow_does_answers_and_their_order_are_the_same() {
    let decides = Stub::start(mixed()).await.unwrap();
    let alone = seen(&Countersign::asking(&decides.url()).start().await).await;
    assert!(alone.1.len() == 60 && alone.0.iter().any(|(_, _, reason)| reason == "allowed"));
    let opposite = Script::by(|received| {
        let asked: Value = serde_json::from_slice(&received.body).unwrap_or_default();
        if asked["input"]["account"] == "alice" { Answer::deny() } else { Answer::allow() }
    });
    for (does, script) in [
        ("hangs", Script::never()),
        ("always differs", opposite),
        ("resets", Script::reset()),
        ("talks nonsense", Script::garbage("nonsense")),
        ("never ends", Script::endless()),
    ] {
        let tried = Stub::start(script).await.unwrap();
        let proxy = beside(&decides, &tried, "timeout = \"60s\"\nmax_in_flight = 4").start().await;
        let beside = seen(&proxy).await;
        assert_eq!(beside, alone, "a shadow that {does}");
        assert!(tried.wait_for(1).await, "one that {does} was asked");
    }
}

#[tokio::test]
async fn differences_are_recorded_and_readers_cope_with_them() {
    let (decides, tried) = (Stub::start(mixed()).await.unwrap(), Stub::start(Script::allow()).await.unwrap());
    let mut proxy = beside(&decides, &tried, "").cache("allow_ttl = \"1h\"\ndeny_ttl = \"1h\"").start().await;
    for account in ["alice", "bob", "mallory"] {
        for _ in 0..2 {
            proxy.ask(&question(account, "s3:GetObject", "reports", "a.txt")).await;
        }
    }
    // The cache answered alice and bob the second time: nobody was asked, so nothing is compared.
    eventually("all is compared", async || (compared(&proxy, "undecided").await == 2.0).then_some(())).await;
    assert_eq!((compared(&proxy, "none").await, compared(&proxy, "would_allow").await), (1.0, 1.0));
    assert_eq!(tried.asked(), 4);
    tried.set(Answer::new("{}"));
    proxy.ask(&question("alice", "s3:PutObject", "reports", "b.txt")).await;
    let all = eventually("both differences are recorded", async || {
        Some(proxy.records()).filter(|all| shadows(all).len() == 2)
    })
    .await;
    let decisions = records::decisions(all.clone());
    let found = shadows(&all);
    for (record, account, difference, decided, said) in
        [(found[0], "bob", "would_allow", "denied", "allowed"), (found[1], "alice", "fault", "allowed", "undefined")]
    {
        let data = &record["data"];
        assert_eq!((&data["difference"], &data["route"]), (&json!(difference), &json!("r")), "{record:#}");
        assert_eq!((&data["decided"]["reason"], &data["shadow"]["reason"]), (&json!(decided), &json!(said)));
        assert_eq!((&data["shadow"]["name"], &data["shadow"]["status"]), (&json!("tried"), &json!(200)));
        let decision = decisions.iter().find(|decision| decision["id"] == data["of"]).expect("the decision's id");
        assert_eq!(decision["data"]["actor"]["account"], account);
        assert!(!record.to_string().contains(account), "people are in the decision's own record: {record:#}");
    }
    // The candidate learned which trace it was, and that nobody keeps it for its sake.
    let sent = tried.questions().pop().unwrap();
    let trace = decisions.last().unwrap()["data"]["trace_id"].as_str().unwrap();
    let traceparent = sent.header("traceparent").unwrap_or_default();
    assert!(traceparent.starts_with(&format!("00-{trace}-")) && traceparent.ends_with("-00"), "{traceparent}");
    proxy.stop().await;
    read(&proxy, found[0]["id"].as_str().unwrap());
}

fn read(proxy: &Running, id: &str) {
    let spool = proxy.spool().display().to_string();
    let run = |args: &[&str]| {
        let output = Command::new(binary()).args(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = run(&["verify", "--spool", &spool]);
    assert!(code == Some(0) && said.starts_with("whole"), "{said}");
    let (code, lines) = run(&["tail", "--spool", &spool, "--no-follow", "--route", "r"]);
    let line = lines.lines().find(|line| line.ends_with(id)).expect("the shadow's line");
    assert!(code == Some(0) && line.contains("  shadow  ") && line.contains("difference=would_allow"), "{line}");
    let (_, denied) = run(&["tail", "--spool", &spool, "--no-follow", "--deny", "--json"]);
    assert!(!denied.contains("io.countersign.shadow.v1"), "what a shadow would deny is no deny");
    let (code, events) = run(&["tail", "--spool", &spool, "--no-follow", "--format", "ocsf"]);
    assert!(code == Some(0) && events.contains("\"would_allow\""), "{events}");
}

#[tokio::test]
async fn what_waits_for_a_shadow_is_bounded() {
    let (decides, tried) = (Stub::start(Script::allow()).await.unwrap(), Stub::start(Script::never()).await.unwrap());
    let proxy = beside(&decides, &tried, "timeout = \"60s\"").start().await;
    let large = |number: u32| {
        let mut large = question("alice", "s3:GetObject", "reports", &number.to_string());
        large["input"]["conditions"]["X-Large"] = json!(["x".repeat(512 << 10)]);
        large
    };
    let resident = async || proxy.metric("process_resident_memory_bytes").await;
    for number in 0..20 {
        proxy.ask(&large(number)).await;
    }
    let before = resident().await;
    for number in 20..220 {
        assert!(proxy.ask(&large(number)).await.allowed());
    }
    let grown = resident().await - before;
    assert!(grown < 100e6, "grew by {grown} bytes; the questions are 100 MB, and twice that as they are held");
    // 31 of a little more than half a MiB are 16 MiB.
    assert_eq!((tried.asked(), compared(&proxy, "dropped").await), (31, 189.0));
}

#[tokio::test]
async fn a_spool_that_is_half_full_has_no_room_for_shadows() {
    let (decides, tried) = (Stub::start(Script::allow()).await.unwrap(), Stub::start(Script::deny()).await.unwrap());
    let proxy = beside(&decides, &tried, "").max_size("4MiB").start().await;
    let asked = question("alice", "s3:GetObject", "reports", "a.txt");
    proxy.ask(&asked).await;
    eventually("there is room at first", async || (!shadows(&proxy.records()).is_empty()).then_some(())).await;
    // Slowly: no record is to give way yet.
    eventually("the spool is above its half", async || {
        let load = Load::new(proxy.url()).connections(4).rate(400.0).duration(Duration::from_millis(500));
        load.run().await.unwrap();
        (proxy.metric("countersign_spool_bytes").await > f64::from(2 << 20)).then_some(())
    })
    .await;
    let newest = |records: &[Value]| shadows(records).last().map(|record| record["id"].clone());
    let unrecorded = proxy.metric("countersign_shadow_unrecorded_total").await;
    let before = newest(&proxy.records());
    for _ in 0..5 {
        proxy.ask(&asked).await;
    }
    eventually("they are counted", async || {
        (proxy.metric("countersign_shadow_unrecorded_total").await >= unrecorded + 5.0).then_some(())
    })
    .await;
    assert_eq!(newest(&proxy.records()), before);
}
