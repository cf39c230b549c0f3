//! Every fault ends as a deny, with its reason and its record. On the binary where a fault can be brought about from
//! outside; in-process for a defect of our own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::policy::verdict::{Reason, Side};
use loadtest::stub::{Answer, Gate, Script, Stub};

use crate::support::{Countersign, eventually, http, question};

/// How a reason of the authorizer's side or ours is brought about here; `None` names where it is tested instead.
fn script(reason: Reason) -> Option<Script> {
    let answer = |answer: Answer| Some(Script::from(answer));
    let slow = Duration::from_secs(30);
    match reason {
        Reason::Allowed => Some(Script::allow()),
        Reason::Denied => Some(Script::deny()),
        Reason::Undefined => answer(Answer::new("{}")),
        Reason::MalformedAnswer => answer(Answer::new("yes")),
        Reason::AmbiguousAnswer => answer(Answer::new(r#"{"result":false,"Result":true}"#)),
        Reason::ContradictoryAnswer => answer(Answer::new(r#"{"result":{"allow":true,"deny":true}}"#)),
        Reason::AnswerTooLarge => Some(Script::oversized(65 * 1024)),
        Reason::ContentEncoding => answer(Answer::allow().gzip()),
        Reason::BadStatus => answer(Answer::allow().status(500)),
        Reason::Redirect => Some(Script::redirect(302, "http://127.0.0.1:1/")),
        Reason::Timeout => answer(Answer::allow().after(slow)),
        Reason::ConnectionLost => answer(Answer::allow().close_in_body(7)),
        // Nobody listens, no such name, no certificate, no place: `authorizer` and `outages`.
        Reason::Connect | Reason::Dns | Reason::Tls | Reason::AuthorizerBusy => None,
        Reason::BreakerOpen => None,                                   // `combining`
        Reason::Deadline | Reason::NoRoute | Reason::Internal => None, // below
        Reason::Overload | Reason::AuditUnavailable | Reason::AuditTimeout => None, // below and `outages`
        Reason::MalformedRequest | Reason::AmbiguousRequest | Reason::RequestTooLarge => None, // `front`
        Reason::Unauthorized | Reason::MethodNotAllowed | Reason::UnknownPath | Reason::UnsupportedEncoding => None, // `front`
        Reason::SuspiciousRequest => None, // below
    }
}

#[tokio::test]
async fn every_answer_but_a_clean_allow_denies() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    // Long enough for a stub on a machine that is busy; one of them takes all of it.
    let proxy = Countersign::asking(&stub.url())
        .listen("drain = \"0s\"\ndeadline = \"20s\"")
        .authorizer("timeout = \"6s\"\nretries = 0")
        .start()
        .await;
    let mut tried = 0;
    for reason in Reason::ALL {
        let Some(script) = script(*reason) else { continue };
        stub.set(script);
        let answer = proxy.ask(&question("alice", "s3:GetObject", "reports", reason.as_str())).await;
        assert_eq!(answer.reason(), reason.as_str());
        assert_eq!(answer.status, 200, "{reason:?}");
        let body = if *reason == Reason::Allowed { r#"{"result":true}"# } else { r#"{"result":false}"# };
        assert_eq!(answer.body, body, "{reason:?}");
        let data = &proxy.record_of(&answer)["data"];
        assert_eq!(data["reason"], reason.as_str());
        let fault = reason.side() == Some(Side::Authorizer);
        assert_eq!(data["origin"], if fault { "fault" } else { "authorizer" }, "{reason:?}");
        assert_eq!(data["decided_by"].is_null(), fault, "{reason:?}");
        assert_eq!(data["authorizers"][0]["reason"], reason.as_str());
        tried += 1;
    }
    assert_eq!(tried, 12, "every reason that a stub can bring about");
    for reason in [Reason::Undefined, Reason::Timeout] {
        let series =
            format!(r#"countersign_faults_total{{reason="{}",side="authorizer",route="default"}}"#, reason.as_str());
        assert_eq!(proxy.metric(&series).await, 1.0, "{series}");
    }
}

/// An outage of the authorizer is a deny at once, and ends by itself.
#[tokio::test]
async fn an_authorizer_that_is_away_denies_until_it_is_back() {
    let mut stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).start().await;
    let asked = question("alice", "s3:GetObject", "reports", "a.txt");
    assert!(proxy.ask(&asked).await.allowed());
    stub.stop().await;
    for _ in 0..3 {
        let answer = proxy.ask(&asked).await;
        assert_eq!((answer.reason(), answer.allowed()), ("connect", false));
        assert_eq!(proxy.record_of(&answer)["data"]["authorizers"].as_array().unwrap().len(), 2, "one retry");
    }
    stub.start_again().unwrap();
    assert!(proxy.ask(&asked).await.allowed());
    // Said with an answer that comes after five seconds without a fault.
    let log = eventually("the log says both", async || {
        assert!(proxy.ask(&asked).await.allowed());
        Some(proxy.log()).filter(|log| log.contains("answers again"))
    })
    .await;
    assert_eq!(log.matches("gives no usable answer").count(), 1, "a line for the outage, not one a question:\n{log}");
}

#[tokio::test]
async fn the_whole_decision_has_a_deadline() {
    let stub = Stub::start(Script::never()).await.unwrap();
    let authorizer = "timeout = \"10s\"\nretries = 0";
    let proxy = Countersign::asking(&stub.url())
        .in_memory()
        .listen("drain = \"0s\"\ndeadline = \"700ms\"")
        .authorizer(authorizer)
        .start()
        .await;
    let asked = question("alice", "s3:GetObject", "reports", "a.txt");
    let (answer, took) = eventually("the record is there within what is kept for it", async || {
        let began = Instant::now();
        let answer = proxy.ask(&asked).await;
        assert!(!answer.allowed());
        (!answer.is_late()).then(|| (answer, began.elapsed()))
    })
    .await;
    assert_eq!((answer.status, answer.reason()), (200, "deadline"));
    assert!(took < Duration::from_secs(8), "the attempt's own timeout is ten seconds: {took:?}");
    assert_eq!(proxy.record_of(&answer)["data"]["reason"], "deadline");
}

#[tokio::test]
async fn without_a_route_nobody_is_asked() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let toml = format!(
        "[[authorizer]]\nname = \"authz\"\nurl = \"{}\"\n[[route]]\nname = \"mine\"\nmatch = {{ bucket = [\"mine-*\"] }}\nask = [\"authz\"]\n",
        stub.url()
    );
    let proxy = Countersign::custom(&toml).start().await;
    assert!(proxy.ask(&question("alice", "s3:GetObject", "mine-1", "a.txt")).await.allowed());
    let answer = proxy.ask(&question("alice", "s3:GetObject", "theirs", "a.txt")).await;
    assert_eq!((answer.status, answer.reason(), answer.allowed()), (200, "no_route", false));
    assert!(proxy.record_of(&answer)["data"]["route"].is_null());
    assert_eq!(stub.asked(), 1);
}

#[tokio::test]
async fn signs_of_forging_are_recorded_or_refused() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let mut forged = question("alice", "s3:GetObject", "reports", "a.txt");
    forged["input"]["conditions"]["username"] = serde_json::json!(["alice", "root"]);
    let lenient = Countersign::asking(&stub.url()).start().await;
    let answer = lenient.ask(&forged).await;
    assert!(answer.allowed());
    assert_ne!(lenient.record_of(&answer)["data"]["request"]["suspicious"], serde_json::json!([]));
    let strict = Countersign::asking(&stub.url()).listen("drain = \"0s\"\nsuspicious = \"deny\"").start().await;
    let answer = strict.ask(&forged).await;
    assert_eq!((answer.status, answer.reason(), answer.allowed()), (400, "suspicious_request", false));
    assert_eq!(strict.record_of(&answer)["data"]["actor"]["account"], "alice");
    assert!(strict.ask(&question("alice", "s3:GetObject", "reports", "a.txt")).await.allowed());
    assert_eq!(stub.asked(), 2);
}

/// More questions than places: the excess waits, then is refused, and is counted exactly.
#[tokio::test]
async fn overload_is_refused_and_counted() {
    let stub = Stub::start(Script::never()).await.unwrap();
    let mut proxy = Countersign::asking(&stub.url())
        .in_memory()
        .listen("drain = \"0s\"\ndeadline = \"700ms\"\nmax_in_flight = 2")
        .authorizer("timeout = \"10s\"\nretries = 0")
        .start()
        .await;
    let asked = question("alice", "s3:GetObject", "reports", "a.txt");
    // Two take the places; the others come while they are taken.
    let first = futures_util::future::join(proxy.ask(&asked), proxy.ask(&asked));
    let others = async {
        assert!(stub.wait_for(2).await);
        futures_util::future::join_all((0..6).map(|_| proxy.ask(&asked))).await
    };
    let ((one, two), others) = futures_util::future::join(first, others).await;
    let answers: Vec<_> = [one, two].into_iter().chain(others).collect();
    // A disk that stalls makes records late: another 503, and decided all the same.
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 503 && !answer.is_late()).collect();
    assert!(answers.iter().all(|answer| !answer.allowed()));
    assert!(!refused.is_empty());
    for answer in &refused {
        assert_eq!(answer.body, r#"{"result":false,"error":"overload"}"#);
    }
    let faults = proxy.metric(r#"countersign_faults_total{reason="overload",side="self",route="none"}"#).await;
    assert_eq!(faults as usize, refused.len(), "refusals are faults, on the dashboard too");
    stub.set(Script::allow());
    proxy.stop().await;
    let records = proxy.records();
    let ended = crate::support::records::events(&records, "outage_ended");
    let counted: u64 = ended.iter().map(|event| event["data"]["refused"]["overload"].as_u64().unwrap()).sum();
    assert_eq!(counted, refused.len() as u64);
    assert_eq!(crate::support::records::decisions(records).len() + refused.len(), 8, "decided or counted");
}

/// The client goes away while its question is being decided: it is decided and recorded all the same.
#[tokio::test]
async fn a_vanished_client_does_not_cancel_its_record() {
    use tokio::io::AsyncWriteExt as _;
    let gate = Gate::closed();
    let stub = Stub::start(Answer::allow().held_by(&gate)).await.unwrap();
    let proxy = Countersign::asking(&stub.url())
        .listen("drain = \"0s\"\ndeadline = \"30s\"")
        .authorizer("timeout = \"20s\"")
        .start()
        .await;
    let asked = question("alice", "s3:GetObject", "reports", "a.txt").to_string();
    let mut stream = tokio::net::TcpStream::connect(proxy.address()).await.unwrap();
    stream.write_all(&http::request("POST", "/", &[], asked.as_bytes())).await.unwrap();
    assert!(stub.wait_for(1).await);
    drop(stream);
    // Time to notice; a machine that needs more sees less, and nothing wrong.
    tokio::time::sleep(Duration::from_millis(200)).await;
    gate.open();
    let decided = eventually("the record is there", async || proxy.decisions().pop()).await;
    assert_eq!(decided["data"]["reason"], "allowed", "it was not called off");
}

/// The volume of the spool is not there when the process starts: MinIO's probe is answered, questions are refused, and
/// once it is there everything works without a restart.
#[tokio::test]
async fn an_unusable_spool_denies_and_recovers() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let mut proxy = Countersign::asking(&stub.url()).on_missing_volume().start_unready().await;
    let asked = question("alice", "s3:GetObject", "reports", "a.txt");
    for _ in 0..3 {
        let answer = proxy.ask(&asked).await;
        assert_eq!((answer.status, answer.body.as_str()), (503, r#"{"result":false,"error":"audit_unavailable"}"#));
    }
    assert_eq!(proxy.post(b"", &[]).await.status, 200, "MinIO must find somebody when it starts");
    let ready = eventually("the admin listener is up", async || http::try_get(proxy.admin(), "/readyz").await).await;
    assert_eq!(ready.status, 200, "being ready does not depend on the disk");
    std::fs::create_dir(proxy.spool().parent().unwrap()).unwrap();
    proxy.available().await;
    assert!(proxy.ask(&asked).await.allowed());
    assert_eq!(
        proxy.metric(r#"countersign_faults_total{reason="audit_unavailable",side="self",route="none"}"#).await,
        3.0
    );
    assert_eq!(proxy.metric("countersign_audit_append_duration_seconds_count").await, 1.0, "each record once");
    proxy.stop().await;
    let ended = crate::support::records::events(&proxy.records(), "outage_ended");
    assert_eq!(ended[0]["data"]["refused"]["audit_unavailable"], 3, "{ended:#?}");
}

mod defects {
    //! A panic on the path, in-process: no build of ours has a switch for it.

    use std::sync::Arc;

    use async_trait::async_trait;
    use countersign::authorizer::{Attempt, Authorizer, Question};

    /// A defect.
    pub struct Panicking(pub Arc<str>);

    #[async_trait]
    impl Authorizer for Panicking {
        fn name(&self) -> &Arc<str> {
            &self.0
        }

        async fn ask(&self, _question: &Question<'_>, _limit: std::time::Duration) -> Attempt {
            panic!("a defect on the path")
        }
    }

    /// Allows, in a record that is too long to be one.
    pub struct Verbose(pub Arc<str>);

    #[async_trait]
    impl Authorizer for Verbose {
        fn name(&self) -> &Arc<str> {
            &self.0
        }

        async fn ask(&self, _question: &Question<'_>, _limit: std::time::Duration) -> Attempt {
            let outcome = countersign::wire::answer::read(200, None, false, br#"{"result":true}"#);
            Attempt { outcome, status: Some(200), keep_at_most: None }
        }
    }
}

#[tokio::test]
async fn a_panic_on_the_path_is_a_recorded_deny() {
    let (pipeline, spool, _dir) = crate::support::pipeline::with(Arc::new(defects::Panicking("authz".into()))).await;
    let body = question("alice", "s3:GetObject", "reports", "a.txt").to_string();
    let reply = pipeline.answer(crate::support::pipeline::inbound(body)).await;
    assert_eq!((reply.status(), reply.reason()), (200, Some(Reason::Internal)));
    assert_eq!(reply.body(), &br#"{"result":false}"#[..]);
    let records = crate::support::records::checked(crate::support::records::in_spool(&spool));
    let decision = &crate::support::records::decisions(records)[0];
    assert_eq!(decision["id"], reply.record().unwrap().to_string());
    assert_eq!(decision["data"]["reason"], "internal");
    assert_eq!(decision["data"]["actor"]["account"], "alice", "the record of a defect names the question");
}

/// It used to be refused as `audit_unavailable`: an alarm about a disk that was well, and no record.
#[tokio::test]
async fn an_allow_whose_record_cannot_be_built_is_a_recorded_deny() {
    let verbose = defects::Verbose("x".repeat(65 * 1024).into());
    let (pipeline, spool, _dir) = crate::support::pipeline::with(Arc::new(verbose)).await;
    let body = question("alice", "s3:GetObject", "reports", "a.txt").to_string();
    let reply = pipeline.answer(crate::support::pipeline::inbound(body)).await;
    assert_eq!((reply.status(), reply.reason()), (200, Some(Reason::Internal)));
    assert_eq!(reply.body(), &br#"{"result":false}"#[..]);
    let records = crate::support::records::checked(crate::support::records::in_spool(&spool));
    let decision = &crate::support::records::decisions(records)[0];
    assert_eq!((&decision["data"]["decision"], &decision["data"]["reason"]), (&"deny".into(), &"internal".into()));
}

/// The record is limited, not the question: no name a caller can bring along leaves its question without one.
#[tokio::test]
async fn the_longest_names_have_a_record() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).start().await;
    let bells = "\u{7}".repeat(2000);
    let mut asked = question(&bells, "s3:ListBucket", &bells, &bells);
    let input = &mut asked["input"];
    input["groups"] = (0..100).map(|number| format!("{number}{}", "\u{7}".repeat(250))).collect();
    input["claims"] = serde_json::json!({ "parent": bells, "iss": bells, "sub": bells, "ldapUsername": bells });
    for name in ["UserAgent", "prefix", "versionid", "SourceIp", "Amz-Sdk-Invocation-Id", "authType"] {
        input["conditions"][name] = serde_json::json!([bells]);
    }
    for action in ["s3:ListBucket", "admin:CreateUser"] {
        asked["input"]["action"] = action.into();
        for name in ["accessKey", "user", "userDN", "userOrGroup", "isGroup", "group", "policyName", "name", "bucket"] {
            asked["input"]["conditions"][name] = serde_json::json!([bells]);
        }
        let answer = proxy.ask(&asked).await;
        assert_eq!((answer.status, answer.reason()), (200, "allowed"), "{action}");
        assert_eq!(proxy.record_of(&answer)["data"]["actor"]["groups"].as_array().unwrap().len(), 64);
    }
}
