//! What the page makes of metrics, and what it says is wrong.

use tokio::time::Instant;

use super::*;
use crate::metrics::names::CertificateUse;
use crate::metrics::{Certificate, DecisionPoint, Metrics, Names};
use crate::policy::purpose::ActionClass;
use crate::policy::verdict::{CacheState, Decision, Origin, Reason};
use crate::status::page;
use crate::status::problems::Severity;

/// Metrics, and what was seen of them ten seconds apart.
struct Bench {
    metrics: Arc<Metrics>,
    looks: Vec<Look>,
    at: Instant,
    spool: Spool,
    kafka: bool,
    instance: &'static str,
}

impl Bench {
    fn new() -> Self {
        let names = |name: &str| vec![name.to_owned()];
        let metrics = Metrics::new(&Names { routes: names("default"), authorizers: names("opa"), ..Names::default() });
        metrics.cache_enabled("default", true);
        metrics.spool_size(1 << 20, 1 << 30, 1 << 40);
        let spool = Spool {
            available: true,
            trouble: None,
            bytes: 0,
            max_size: 0,
            undelivered_records: 0,
            undelivered_bytes: 0,
            chain: Some("i/e".into()),
            last_seq: Some(41),
            now: SystemTime::now(),
        };
        let mut bench = Self { metrics, looks: Vec::new(), at: Instant::now(), spool, kafka: true, instance: "test" };
        bench.look();
        bench
    }

    fn look(&mut self) {
        self.looks.push(Look { at: self.at, sample: Arc::new(Sample::read(&self.metrics.encode())) });
        self.at += Duration::from_secs(10);
    }

    fn decided(&self, times: usize, decision: Decision, reason: Reason, origin: Origin) {
        let (route, action_class, advisory) = (Some("default"), Some(ActionClass::Read), false);
        let latency = Duration::from_micros(900);
        for _ in 0..times {
            let exemplar = None;
            self.metrics.decision(&DecisionPoint {
                decision,
                reason,
                origin,
                route,
                action_class,
                advisory,
                latency,
                exemplar,
            });
        }
    }

    fn view(&self) -> View {
        let options = Options { instance: self.instance.to_owned(), kafka: self.kafka };
        View::of(&self.looks, &self.spool, Vec::new(), &options, true, SystemTime::now())
    }

    fn alerts(&self) -> Vec<&'static str> {
        self.view().problems.iter().filter_map(|problem| problem.alert).collect()
    }
}

#[test]
fn rates_and_shares_are_of_the_last_minute() {
    let mut bench = Bench::new();
    bench.decided(1000, Decision::Deny, Reason::Denied, Origin::Cache);
    for _ in 0..7 {
        bench.look();
    }
    bench.decided(90, Decision::Allow, Reason::Allowed, Origin::Cache);
    bench.decided(9, Decision::Deny, Reason::Denied, Origin::Authorizer);
    bench.decided(1, Decision::Deny, Reason::Timeout, Origin::Fault);
    bench.metrics.cache_request(CacheState::Hit);
    bench.metrics.cache_request(CacheState::Coalesced);
    bench.metrics.cache_request(CacheState::Off);
    bench.look();
    let view = bench.view();
    let decisions = &view.decisions;
    assert!((decisions.per_second - 100.0 / 60.0).abs() < 1e-9, "{decisions:?}");
    assert_eq!((decisions.denied_share, decisions.failed_share), (Some(0.09), Some(0.01)));
    assert_eq!(decisions.faults.get("timeout"), Some(&1.0));
    assert_eq!(decisions.series.denied, [100.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.9]);
    assert_eq!((decisions.series.seconds, decisions.series.ages[0]), (80.0, 70.0));
    assert_eq!(decisions.latency.keys().collect::<Vec<_>>(), ["authorizer", "cache", "fault"]);
    assert_eq!(view.cache.hit_share, Some(0.5));
    assert!(view.problems.is_empty(), "{:?}", view.problems);
}

#[test]
fn nothing_yet_is_no_number() {
    let bench = Bench::new();
    let view = bench.view();
    assert_eq!((view.decisions.per_second, view.decisions.denied_share), (0.0, None));
    assert_eq!(view.authorizers[0].state, AuthorizerState::Idle);
    assert_eq!((view.audit.hours_left, view.decisions.last_decision_age_seconds), (None, None));
    let page = page::html(&view);
    assert!(page.contains("No question yet.") && !page.contains("NaN"), "{page}");
}

#[test]
fn whom_nobody_asks_is_asked_0_times_a_second() {
    let mut bench = Bench::new();
    bench.look();
    let view = bench.view();
    assert_eq!(view.authorizers[0].attempts_per_second.to_string(), "0");
    assert!(page::html(&view).contains("<dd>0 /s, 0 under way</dd>"));
}

#[test]
fn an_authorizer_has_one_state() {
    let of = |outcomes: &[&str], open| {
        AuthorizerState::of(&outcomes.iter().map(|outcome| ((*outcome).to_owned(), 1.0)).collect(), open)
    };
    assert_eq!(of(&[], false), AuthorizerState::Idle);
    assert_eq!(of(&["allowed", "denied"], false), AuthorizerState::Answers);
    assert_eq!(of(&["allowed", "timeout"], false), AuthorizerState::Falters);
    assert_eq!(of(&["timeout"], false), AuthorizerState::Fails);
    assert_eq!(of(&["allowed"], true), AuthorizerState::LeftAlone);
}

#[test]
fn hours_left_are_the_room_divided_by_what_is_written() {
    let mut bench = Bench::new();
    bench.metrics.spool_undelivered(1, 1 << 29, Duration::from_secs(700));
    bench.metrics.spool_appended(10 << 20);
    bench.look();
    let view = bench.view();
    // 512 MiB of room, 1 MiB a second.
    assert!((view.audit.hours_left.unwrap() - 512.0 / 3600.0).abs() < 1e-9, "{:?}", view.audit);
    assert_eq!(bench.alerts(), ["CountersignSpoolFilling", "CountersignStreamBehind"]);
    bench.kafka = false;
    assert_eq!(bench.view().audit.hours_left, None, "without Kafka the oldest give way");
}

#[test]
fn who_fails_now_is_to_blame_and_not_who_failed_more_before() {
    let mut bench = Bench::new();
    bench.decided(100, Decision::Deny, Reason::Timeout, Origin::Fault);
    bench.look();
    assert_eq!(bench.alerts(), ["CountersignFailsClosedAuthorizer"]);
    for _ in 0..6 {
        bench.look();
    }
    bench.decided(10, Decision::Deny, Reason::MalformedRequest, Origin::Fault);
    bench.look();
    assert_eq!(bench.alerts(), ["CountersignFailsClosedCaller"]);
    assert_eq!(bench.view().problems[0].severity, Severity::Warning);
    // Our own faults count from one of a hundred on, as for the alert.
    let cases: [(usize, &[&str]); 2] = [(150, &[]), (48, &["CountersignFailsClosedOwn"])];
    for (allowed, alerts) in cases {
        for _ in 0..7 {
            bench.look();
        }
        bench.decided(allowed, Decision::Allow, Reason::Allowed, Origin::Cache);
        bench.decided(1, Decision::Deny, Reason::NoRoute, Origin::Fault);
        bench.look();
        assert_eq!(bench.alerts(), alerts);
    }
}

#[test]
fn the_worst_problem_comes_first() {
    let mut bench = Bench::new();
    bench.metrics.reload_refused();
    bench.metrics.kafka_error("ssl");
    bench.metrics.authorizer_breaker("opa", true);
    bench.metrics.spans_dropped(3);
    bench.decided(10, Decision::Deny, Reason::NoRoute, Origin::Fault);
    bench.look();
    let problems = bench.view().problems;
    assert_eq!(problems.iter().map(|p| p.severity).collect::<Vec<_>>(), {
        use Severity::{Critical, Note, Warning};
        [Critical, Critical, Warning, Note, Note]
    });
    assert_eq!(
        bench.alerts(),
        ["CountersignFailsClosedOwn", "CountersignBreakerOpen", "CountersignReloadRefused", "CountersignKafkaErrors"]
    );
}

#[test]
fn a_certificate_that_has_ended_does_not_end_in_0_days() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let told = |ends: u64| {
        let mut bench = Bench::new();
        let (name, ends) = ("opa".to_owned(), i64::try_from(ends).unwrap());
        bench.metrics.authorizer_certificates(&[Certificate { used: CertificateUse::AuthorizerCa, name, ends }]);
        bench.look();
        let problems = bench.view().problems.into_iter();
        problems.map(|problem| (problem.severity, problem.text)).collect::<Vec<_>>()
    };
    assert_eq!(told(now - 40 * 86_400), [(Severity::Critical, "A configured certificate has ended".to_owned())]);
    let later = told(now + 3 * 86_400 + 60);
    assert!(
        later[0].0 == Severity::Warning && later[0].1.starts_with("A configured certificate ends in 3 d"),
        "{later:?}"
    );
    assert_eq!(told(now + 30 * 86_400), []);
}

#[test]
fn an_outage_says_why() {
    let mut bench = Bench::new();
    bench.spool.available = false;
    let detail = "No space left on device <script>".to_owned();
    bench.spool.trouble = Some(crate::audit::spool::Trouble { since: SystemTime::now(), detail });
    let view = bench.view();
    assert_eq!((view.state, bench.alerts()), (State::Refusing, vec!["CountersignAuditUnavailable"]));
    let page = page::html(&view);
    assert!(page.contains("No space left on device &lt;script&gt;"), "{page}");
}

#[test]
fn names_are_escaped_and_nothing_comes_from_elsewhere() {
    let mut bench = Bench::new();
    bench.instance = "<img src=x onerror=\"alert(1)\">&";
    let page = page::html(&bench.view());
    assert!(!page.contains("<img") && page.contains("&lt;img src=x onerror=&quot;alert(1)&quot;&gt;&amp;"), "{page}");
    for elsewhere in ["http:", "https:", "//", "<script", "<img", "<link", "url(", "@import", "style=\""] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    assert!(page::content_security_policy().starts_with("default-src 'none'; style-src 'sha256-"));
}
