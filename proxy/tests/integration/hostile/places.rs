//! Authorizers that take more than their share: F72, one that hangs under many questions, and U40, one that is the process
//! itself. Not rows, because each needs a process of its own.

use std::collections::BTreeMap;

use loadtest::stub::{Script, Stub};

use super::ledger::{descriptors, left_open};
use crate::support::{Countersign, question};

fn route(name: &str, url: &str, limits: &str) -> String {
    format!(
        "[[authorizer]]\nname = \"{name}\"\nurl = \"{url}\"\n{limits}\n\
         [[route]]\nname = \"{name}\"\nmatch = {{ bucket = [\"{name}\"] }}\nask = [\"{name}\"]\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authorizer_that_hangs_takes_its_own_places_only() {
    let (slow, quick) = (Stub::start(Script::never()).await.unwrap(), Stub::start(Script::allow()).await.unwrap());
    let limits = "timeout = \"2s\"\nretries = 0\nmax_in_flight = 2\nbreaker = { failures = 10000, open_for = \"5s\" }";
    let toml = route("slow", &slow.url(), limits) + &route("quick", &quick.url(), "");
    let proxy = Countersign::custom(&toml).start().await;
    let before = descriptors(&proxy);
    let asked = |bucket: &'static str, number: usize| {
        let question = question("alice", "s3:GetObject", bucket, &number.to_string());
        let proxy = &proxy;
        async move { proxy.ask(&question).await }
    };
    let held = futures_util::future::join_all((0..40).map(|number| asked("slow", number)));
    let meanwhile = async {
        assert!(slow.wait_for(2).await);
        for number in 0..20 {
            assert!(asked("quick", number).await.allowed(), "another route is not held up");
        }
    };
    let (held, ()) = futures_util::future::join(held, meanwhile).await;
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for answer in &held {
        assert!(!answer.allowed());
        *reasons.entry(answer.reason()).or_default() += 1;
        assert_eq!(proxy.record_of(answer)["data"]["reason"], answer.reason());
    }
    assert!(reasons.keys().all(|reason| matches!(*reason, "timeout" | "authorizer_busy")), "{reasons:?}");
    // The two, and at most as many once their places were free.
    assert!(reasons["authorizer_busy"] >= 32 && slow.asked() <= 8, "{reasons:?}, {} asked", slow.asked());
    assert_eq!(left_open(&proxy, before + 1).await, None, "one connection to the quick one is kept");
}

/// A question that goes in circles ends: the first of them times out, then its breaker opens, and the last is denied.
#[tokio::test]
async fn an_authorizer_that_is_ourselves_denies_and_ends() {
    let own = "[[authorizer]]\nname = \"self\"\nurl = \"http://localhost:{port}/\"\ntimeout = \"300ms\"\nmax_in_flight = 64\n";
    let mut proxy = Countersign::custom(own).start().await;
    let before = descriptors(&proxy);
    for number in 0..3 {
        assert!(!proxy.ask(&question("alice", "s3:GetObject", "reports", &number.to_string())).await.allowed());
    }
    crate::support::eventually("the circle ends", async || {
        (proxy.metric("countersign_decisions_in_flight").await == 0.0).then_some(())
    })
    .await;
    // Of each connection that is kept for the next question, both ends are its own.
    assert_eq!(left_open(&proxy, before + 2 * 64).await, None);
    proxy.stop().await;
    let decisions = proxy.decisions();
    assert!(decisions.iter().all(|record| record["data"]["decision"] == "deny"));
    assert!(decisions.len() > 3, "it did not ask itself");
}
