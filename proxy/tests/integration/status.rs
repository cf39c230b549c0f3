//! The page for people: in a real browser, on a phone's width, and against the metrics that it is made of.

use std::path::PathBuf;

use loadtest::laboratory::browser::{Browser, Window};
use loadtest::laboratory::{Laboratory, require};
use loadtest::stub::{Script, Stub};
use serde_json::Value;

use super::support::{Countersign, Running, eventually, http, mixed, question};

/// Has decided 7 questions: 4 allows, 2 denies and a fault.
async fn busy() -> (Running, Stub) {
    let stub = Stub::start(mixed()).await.unwrap();
    let authorizer = format!("[[authorizer]]\nname = \"opa\"\nurl = \"{}\"\n", stub.url());
    let route = "[[route]]\nname = \"all-of-it\"\nask = [\"opa\"]\n";
    let proxy = Countersign::custom(&(authorizer + route)).start().await;
    for account in ["alice", "alice", "alice", "alice", "bob", "bob", "mallory"] {
        proxy.ask(&question(account, "s3:GetObject", "photos", "a.jpg")).await;
    }
    (proxy, stub)
}

async fn json(proxy: &Running) -> Value {
    serde_json::from_str(&http::get(proxy.admin(), "/status.json").await.body).unwrap()
}

#[tokio::test]
async fn the_page_says_what_the_metrics_say() {
    let (proxy, _stub) = busy().await;
    // A look is kept for a second.
    let status = eventually("the page has seen all", async || {
        let status = json(&proxy).await;
        (status["decisions"]["faults"]["undefined"] == 1.0).then_some(status)
    })
    .await;
    let decisions = &status["decisions"];
    let near = |value: &Value, share: f64| (value.as_f64().unwrap() - share).abs() < 1e-9;
    assert!(near(&decisions["denied_share"], 2.0 / 7.0) && near(&decisions["failed_share"], 1.0 / 7.0), "{decisions}");
    assert_eq!((&status["state"], &status["audit"]["available"]), (&"deciding".into(), &true.into()));
    let [opa] = &status["authorizers"].as_array().unwrap()[..] else { panic!("{}", status["authorizers"]) };
    assert_eq!((&opa["name"], &opa["state"]), (&"opa".into(), &"falters".into()));
    assert_eq!(opa["outcomes"], serde_json::json!({"allowed": 4.0, "denied": 2.0, "undefined": 1.0}));
    for (member, series) in
        [("spool_bytes", "countersign_spool_bytes "), ("room_bytes", "countersign_spool_limit_bytes ")]
    {
        let same = async || (json(&proxy).await["audit"][member] == proxy.metric(series).await).then_some(());
        eventually(member, same).await;
    }
    let generation = format!(
        "countersign_config_info{{generation=\"{}\"}}",
        status["process"]["config_generation"].as_str().unwrap()
    );
    assert_eq!(proxy.metric(&generation).await, 1.0, "{generation}");
    let last = proxy.records().iter().map(|record| record["data"]["chain"]["seq"].as_u64().unwrap()).max();
    assert!(status["audit"]["last_seq"].as_u64() <= last && last.is_some(), "{status}");
    // The newest is on top, and a machine whose clock was set has one more.
    let events = status["events"].as_array().unwrap();
    assert_eq!(events.last().unwrap()["event"], "chain_opened", "{events:?}");
    assert_eq!(status["problems"][0]["alert"], "CountersignFailsClosedAuthorizer");
}

#[tokio::test]
async fn the_page_comes_with_a_policy_and_without_a_body() {
    let (proxy, _stub) = busy().await;
    let page = http::get(proxy.admin(), "/status").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(http::post(proxy.admin(), "/status", &[], b"").await.status, 405);
    assert_eq!(http::get(proxy.admin(), "/status/").await.status, 404);
    assert_eq!(http::get(proxy.admin(), "/status?refresh").await.status, 200);
}

#[tokio::test]
async fn an_unusable_spool_is_on_the_page() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).on_missing_volume().start_unready().await;
    let status = eventually("the page says why", async || {
        let status = json(&proxy).await;
        (status["state"] == "refusing" && status["audit"]["trouble"].is_string()).then_some(status)
    })
    .await;
    assert_eq!(status["problems"][0]["severity"], "critical");
    assert_eq!(http::get(proxy.admin(), "/readyz").await.status, 200, "readiness depends on nothing");
}

/// Where the pictures of a run go, for whoever wants to look.
fn picture(name: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(&directory).unwrap();
    directory.join(name)
}

/// Nothing of the page stands out of it to the right.
const OVERFLOW: &str = "[...document.querySelectorAll('body *')]\
    .filter(e => !e.closest('svg') && e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)\
    .map(e => e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 40))";

#[tokio::test]
async fn a_browser_shows_it_on_a_desk_and_on_a_phone_and_asks_nobody_else() {
    let lab = Laboratory::open().unwrap();
    let Some(mut browser) = require(Browser::start(&lab).await) else { return };
    let (proxy, _stub) = busy().await;
    let url = format!("http://{}/status", proxy.admin());
    eventually("the page has seen all", async || {
        (json(&proxy).await["decisions"]["faults"]["undefined"] == 1.0).then_some(())
    })
    .await;
    let narrow = Window { width: 320, ..Window::PHONE };
    let dark = Window { dark: true, ..Window::DESK };
    for (name, window) in [("desk", Window::DESK), ("dark", dark), ("phone", Window::PHONE), ("narrow", narrow)] {
        let visit = browser.visit(&url, window).await.unwrap();
        // The icon that browsers ask for is the page's own host's, or forbidden by its policy.
        let elsewhere: Vec<_> = visit
            .requests
            .iter()
            .filter(|request| !request.starts_with(&format!("http://{}/", proxy.admin())))
            .collect();
        assert!(elsewhere.is_empty() && visit.requests.contains(&url), "{visit:?}");
        let complaints: Vec<_> =
            visit.complaints.iter().filter(|text| !text.contains("favicon") && !text.contains("404")).collect();
        assert!(complaints.is_empty(), "{complaints:?}");
        browser.picture(&picture(&format!("status-{name}.png"))).await.unwrap();
        let width = browser.evaluate("document.documentElement.scrollWidth").await.unwrap();
        assert_eq!(width.as_u64(), Some(window.width.into()), "{name} scrolls sideways");
        assert_eq!(browser.evaluate(OVERFLOW).await.unwrap(), serde_json::json!([]), "{name}");
    }
    let text = |selector: &str| format!("document.querySelector('{selector}').innerText");
    let mut shown =
        async |selector: &str| browser.evaluate(&text(selector)).await.unwrap().as_str().unwrap_or_default().to_owned();
    assert_eq!(shown("#state").await, "deciding");
    assert_eq!(shown("h1").await, "test");
    let decisions = shown("#decisions").await;
    assert!(["29 %", "14 %", "undefined"].iter().all(|part| decisions.contains(part)), "{decisions}");
    assert!(shown("#authorizers").await.contains("falters"));
    assert!(
        shown("#problems").await.contains("14 % of the last minute's questions were denied because something failed")
    );
    assert!(shown("#cache").await.contains("all-of-it") && shown("#events").await.contains("chain_opened"));
    assert!(shown("#kafka").await.contains("None is configured"));
    let areas = "[...document.querySelectorAll('polygon')].map(p => p.getAttribute('class'))";
    assert_eq!(browser.evaluate(areas).await.unwrap(), serde_json::json!(["allowed", "denied", "failed"]));
    // The style was taken: its policy names exactly this text.
    let painted = "getComputedStyle(document.querySelector('.card')).borderTopLeftRadius";
    assert_eq!(browser.evaluate(painted).await.unwrap(), "9.6px");
}
