//! The configuration read again while the binary runs: what applies, what waits, what is refused, and that no question
//! is lost over it.

use std::path::Path;
use std::time::Duration;

use loadtest::load::Load;
use loadtest::stub::{Script, Stub};
use serde_json::Value;

use crate::support::{Countersign, Running, eventually, http, question};

const CACHED: &str = "allow_ttl = \"60s\"\ndeny_ttl = \"60s\"";

/// Edits the configuration file, as one step, says so, and waits until it is in force.
async fn edit(proxy: &Running, from: &str, to: &str) {
    let before = changes(proxy);
    write(proxy, from, to);
    proxy.signal("HUP");
    in_force(proxy, before + 1).await;
}

/// Configurations that came into force since the start. The record of one is there a moment before.
fn changes(proxy: &Running) -> usize {
    proxy.log().matches("configuration in force").count()
}

async fn in_force(proxy: &Running, changed: usize) {
    eventually("the configuration is in force", async || (changes(proxy) >= changed).then_some(())).await;
}

/// The same without a word.
fn write(proxy: &Running, from: &str, to: &str) {
    let file = proxy.config_file();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{from} is not in\n{text}");
    replace(&file, &text.replace(from, to));
}

fn replace(file: &Path, text: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(next, file).unwrap();
}

/// Lifecycle records of one event, once there are so many.
async fn events(proxy: &Running, event: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} records of {event}"), async || {
        let mut found = proxy.records();
        found.retain(|record| record["data"]["event"] == event);
        (found.len() >= count).then_some(found)
    })
    .await
}

async fn asked(proxy: &Running, object: &str) -> http::Answer {
    proxy.ask(&question("alice", "s3:GetObject", "reports", object)).await
}

#[tokio::test]
async fn another_authorizer_decides_and_nothing_kept_is_used() {
    let (old, new) = (Stub::start(Script::allow()).await.unwrap(), Stub::start(Script::deny()).await.unwrap());
    let proxy = Countersign::asking(&old.url()).cache(CACHED).start().await;
    let before = asked(&proxy, "a").await;
    assert!(before.allowed() && asked(&proxy, "a").await.allowed());
    assert_eq!(old.asked(), 1, "the second one was a hit");

    edit(&proxy, &old.url(), &new.url()).await;
    let [changed] = &events(&proxy, "config_changed", 1).await[..] else { panic!("one change") };
    let after = asked(&proxy, "a").await;
    assert_eq!((after.allowed(), old.asked(), new.asked()), (false, 1, 1));

    let generation = |answer: &http::Answer| proxy.record_of(answer)["data"]["config_generation"].clone();
    let data = &changed["data"];
    assert_eq!((&data["old"], &data["new"]), (&generation(&before), &generation(&after)));
    assert_eq!((&data["by"], &data["changed"]), (&"signal".into(), &serde_json::json!(["authorizer.authz"])));
    assert_eq!(data["pending_restart"], serde_json::json!([]));
    let place = |record: &Value| record["data"]["chain"]["seq"].as_u64().unwrap();
    assert!(place(changed) < place(&proxy.record_of(&after)), "the change stands before what it changed");
    let info = format!("countersign_config_info{{generation={}}}", data["new"]);
    assert!(proxy.metrics().await.contains(&info), "{info}");
}

#[tokio::test]
async fn what_decides_the_same_keeps_its_cache() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).cache(CACHED).start().await;
    assert!(asked(&proxy, "a").await.allowed());
    edit(&proxy, "drain = \"0s\"", "drain = \"0s\"\nmax_body = \"2MiB\"\nsuspicious = \"deny\"").await;
    assert!(asked(&proxy, "a").await.allowed());
    assert_eq!(stub.asked(), 1);
    let mut forged = question("alice", "s3:GetObject", "reports", "b");
    forged["input"]["conditions"]["username"] = serde_json::json!(["alice", "root"]);
    assert_eq!(proxy.ask(&forged).await.reason(), "suspicious_request", "the new setting is in force");
}

#[tokio::test]
async fn a_change_of_the_file_is_enough_and_so_is_one_of_a_secret() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).token("Bearer one").start().await;
    let body = question("alice", "s3:GetObject", "reports", "a").to_string();
    let status = async |token: &str| proxy.post(body.as_bytes(), &[("Authorization", token)]).await.status;
    assert_eq!((status("Bearer one").await, status("Bearer two").await), (200, 401));

    replace(&proxy.home().join("token"), "Bearer two\n");
    let changed = events(&proxy, "config_changed", 1).await;
    assert_eq!(
        (&changed[0]["data"]["by"], &changed[0]["data"]["changed"][0]),
        (&"file".into(), &"listen.tokens".into())
    );
    in_force(&proxy, 1).await;
    assert_eq!((status("Bearer one").await, status("Bearer two").await), (401, 200));

    write(&proxy, "drain = \"0s\"", "drain = \"0s\"\npath = \"/decide\"");
    in_force(&proxy, 2).await;
    assert_eq!(status("Bearer two").await, 404);
    assert_eq!(
        http::post(proxy.address(), "/decide", &[("Authorization", "Bearer two")], body.as_bytes()).await.status,
        200
    );
}

#[tokio::test]
async fn what_is_wrong_changes_nothing() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).start().await;
    let before = proxy.record_of(&asked(&proxy, "a").await)["data"]["config_generation"].clone();
    assert_eq!(proxy.metric("countersign_config_last_reload_successful").await, 1.0);

    // Two mistakes, and beside them a change that is none.
    write(&proxy, "drain = \"0s\"", "drain = \"0s\"\npath = \"/x\"\nmax_boddy = \"1MiB\"\nread_timeout = 3");
    proxy.signal("HUP");
    let refused = events(&proxy, "config_refused", 1).await;
    let data = &refused[0]["data"];
    assert_eq!((&data["why"], &data["mistakes"], &data["config_generation"]), (&"invalid".into(), &2.into(), &before));
    assert_eq!(data["places"].as_array().unwrap().len(), 2, "{data}");
    assert_eq!(proxy.metric("countersign_config_last_reload_successful").await, 0.0);
    assert!(asked(&proxy, "b").await.allowed(), "at the path that is in force");
    assert!(proxy.log().contains("unknown key `listen.max_boddy`"), "{}", proxy.log());

    // Gone altogether.
    std::fs::rename(proxy.config_file(), proxy.home().join("away")).unwrap();
    proxy.signal("HUP");
    assert_eq!(events(&proxy, "config_refused", 2).await[1]["data"]["why"], "unreadable");

    // And whole again, without a word.
    std::fs::rename(proxy.home().join("away"), proxy.config_file()).unwrap();
    write(&proxy, "path = \"/x\"\nmax_boddy = \"1MiB\"\nread_timeout = 3", "");
    eventually("it is good again", async || {
        (proxy.metric("countersign_config_last_reload_successful").await == 1.0).then_some(())
    })
    .await;
    let after = proxy.record_of(&asked(&proxy, "c").await)["data"]["config_generation"].clone();
    assert_eq!(after, before, "it means what it meant");
}

#[tokio::test]
async fn what_waits_for_a_restart_is_named() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let mut proxy = Countersign::asking(&stub.url()).start().await;
    edit(&proxy, "drain = \"0s\"", "drain = \"1s\"\nread_timeout = \"3s\"").await;
    let changed = events(&proxy, "config_changed", 1).await;
    let data = &changed[0]["data"];
    assert_eq!(data["changed"], serde_json::json!(["listen.read_timeout"]));
    assert_eq!(data["pending_restart"], serde_json::json!(["listen.drain"]));
    assert!(proxy.log().contains("wait for a restart"), "{}", proxy.log());
    let generation = proxy.record_of(&asked(&proxy, "a").await)["data"]["config_generation"].clone();
    assert_eq!(generation, data["new"]);
    // Said once, not at each signal.
    proxy.signal("HUP");
    eventually("it was read again", async || proxy.log().contains("nothing in it has changed").then_some(())).await;
    assert_eq!(events(&proxy, "config_changed", 1).await.len(), 1);

    proxy.stop().await;
    proxy.start_again().await;
    let restarted = proxy.record_of(&asked(&proxy, "a").await)["data"]["config_generation"].clone();
    assert_ne!(restarted, generation, "now all of it is in force");
}

/// Two authorizers that both allow take turns, and routes, limits and tokens with them; every question is answered, on
/// connections that stay.
#[tokio::test(flavor = "multi_thread")]
async fn under_load_not_one_question_fails() {
    let (one, two) = (Stub::start(Script::allow()).await.unwrap(), Stub::start(Script::allow()).await.unwrap());
    // Long enough for a machine that is busy.
    let timeout = |turn: usize| format!("timeout = \"{}ms\"", 20_000 + turn);
    let setup = Countersign::asking(&one.url()).listen("drain = \"0s\"\ndeadline = \"30s\"");
    let proxy = setup.authorizer(&timeout(0)).cache("allow_ttl = \"20ms\"").start().await;
    let load = Load::new(proxy.url()).connections(16).rate(200.0).duration(Duration::from_secs(600));
    let load = load.start().await.unwrap();
    let urls = [one.url(), two.url()];
    for turn in 0..20 {
        // Another generation each time.
        let (from, to) = (&urls[turn % 2], &urls[(turn + 1) % 2]);
        edit(&proxy, &format!("{from}\"\n{}", timeout(turn)), &format!("{to}\"\n{}", timeout(turn + 1))).await;
        assert!(load.answered(50).await);
    }
    let report = load.stop().await.unwrap();
    assert_eq!((report.failed(), report.deny, report.other), (0, 0, 0), "{report:?}");
    assert!(report.answers() >= 1_000 && one.asked() > 20 && two.asked() > 20, "{report:?}");

    // No record is of a generation that was not announced before it.
    let mut announced: Vec<Value> = Vec::new();
    for mut record in proxy.records() {
        let Value::Object(mut record) = record["data"].take() else { panic!("a record without data") };
        match record.get("event").and_then(Value::as_str) {
            Some("chain_opened") => announced.extend(record.remove("config_generation")),
            Some("config_changed") => announced.extend(record.remove("new")),
            _ => {}
        }
        assert!(record.get("config_generation").is_none_or(|of| announced.contains(of)), "{record:?}");
    }
    assert_eq!(announced.len(), 21);
    announced.sort_by_key(Value::to_string);
    announced.dedup();
    assert_eq!(announced.len(), 21, "all different");

    // What was in force before is gone: its connections are closed.
    let idle = eventually("connections of earlier configurations end", async || {
        let open = one.idle() + two.idle();
        (open <= 32).then_some(open)
    })
    .await;
    assert!(idle <= 32);
}
