//! Series whose labels come from the configuration: one bundle of resolved handles a route, authorizer and client.
//! They exist from the start at 0, so that a rate over a counter's first increment is not lost. Called by `metrics`.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::names::{CertificateUse, LATENCY, NO_CLASS, NO_ROUTE, OTHER, UNKNOWN_NAME, metric};
use super::{Certificate, DecisionPoint, FrontOutcome, Names, ShadowName};
use crate::policy::compare::Difference;
use crate::policy::purpose::ActionClass;
use crate::policy::verdict::{Decision, Origin, Reason, Side};

/// Routes, authorizers and clients, each: what a configuration may add over the life of the process. Names beyond
/// it count as unknown.
const MAX_NAMES: usize = 1000;

pub(super) type Labels = Vec<(&'static str, String)>;
pub(super) type Trace = [(&'static str, String); 1];
pub(super) type Durations = HistogramWithExemplars<Trace>;

pub(super) fn durations() -> Durations {
    HistogramWithExemplars::new(LATENCY.into_iter())
}

/// Handles for one route.
#[derive(Debug)]
pub(super) struct Route {
    /// In the order of [`Route::place`].
    decisions: Vec<Counter>,
    /// In the order of `Reason::ALL`; `None` where the reason is no fault.
    faults: Vec<Option<Counter>>,
    /// `None` for the route that is none.
    pub(super) fallbacks: Option<Counter>,
}

impl Route {
    const fn place(decision: Decision, origin: Origin, class: Option<ActionClass>, advisory: bool) -> usize {
        let row = decision as usize * Origin::ALL.len() + origin as usize;
        let class = match class {
            Some(class) => class as usize,
            None => ActionClass::ALL.len(),
        };
        (row * (ActionClass::ALL.len() + 1) + class) * 2 + advisory as usize
    }

    pub(super) fn count(&self, point: &DecisionPoint<'_>) {
        let place = Self::place(point.decision, point.origin, point.action_class, point.advisory);
        if let Some(decisions) = self.decisions.get(place) {
            decisions.inc();
        }
        self.fault(point.reason);
    }

    pub(super) fn fault(&self, reason: Reason) {
        if let Some(Some(faults)) = self.faults.get(reason as usize) {
            faults.inc();
        }
    }
}

/// Handles for one authorizer.
#[derive(Debug)]
pub(super) struct Authorizer {
    /// In the order of `Reason::ALL`.
    outcomes: Vec<Counter>,
    pub(super) duration: Durations,
    pub(super) in_flight: Gauge,
    pub(super) breaker_open: Gauge,
}

impl Authorizer {
    pub(super) fn count(&self, outcome: Reason) {
        if let Some(requests) = self.outcomes.get(outcome as usize) {
            requests.inc();
        }
    }
}

/// Handles for one route's shadow, in the order of `Difference::ALL`.
#[derive(Debug)]
pub(super) struct Shadow(Vec<Counter>);

impl Shadow {
    pub(super) fn count(&self, difference: Difference) {
        if let Some(comparisons) = self.0.get(difference as usize) {
            comparisons.inc();
        }
    }
}

/// Handles for one client of the decision listener.
#[derive(Debug)]
pub(super) struct Client {
    decided: Counter,
    probe: Counter,
    incomplete: Counter,
    tls_failed: Counter,
    silent: Counter,
    idle: Counter,
    flooded: Counter,
    unread: Counter,
    lingered: Counter,
    /// In the order of `Reason::ALL`.
    refused: Vec<Counter>,
    pub(super) probes: Counter,
}

impl Client {
    pub(super) fn count(&self, outcome: FrontOutcome) {
        match outcome {
            FrontOutcome::Decided => Some(&self.decided),
            FrontOutcome::Probe => Some(&self.probe),
            FrontOutcome::Incomplete => Some(&self.incomplete),
            FrontOutcome::TlsFailed => Some(&self.tls_failed),
            FrontOutcome::Silent => Some(&self.silent),
            FrontOutcome::Idle => Some(&self.idle),
            FrontOutcome::Flooded => Some(&self.flooded),
            FrontOutcome::Unread => Some(&self.unread),
            FrontOutcome::Lingered => Some(&self.lingered),
            FrontOutcome::Refused(reason) => self.refused.get(reason as usize),
        }
        .map(Counter::inc);
    }
}

/// Bundles by name, and the one for names that the configuration does not know.
#[derive(Debug)]
pub(super) struct Table<T> {
    known: ArcSwap<HashMap<String, Arc<T>>>,
    unknown: T,
}

impl<T> Table<T> {
    fn new(unknown: T) -> Self {
        Self { known: ArcSwap::default(), unknown }
    }

    pub(super) fn with<R>(&self, name: Option<&str>, use_it: impl FnOnce(&T) -> R) -> R {
        let known = self.known.load();
        use_it(name.and_then(|name| known.get(name)).map_or(&self.unknown, Arc::as_ref))
    }

    fn extend(&self, names: &[String], make: impl Fn(&str) -> T) {
        self.known.rcu(|known| {
            let mut next = HashMap::clone(known);
            for name in names {
                if next.len() < MAX_NAMES && !next.contains_key(name) {
                    next.insert(name.clone(), Arc::new(make(name)));
                }
            }
            next
        });
        let known = self.known.load();
        let unknown = names.iter().filter(|name| !known.contains_key(*name)).count();
        if unknown > 0 {
            tracing::warn!(unknown, limit = MAX_NAMES, "too many names for a metric, those beyond count as unknown");
        }
    }
}

/// The families behind the bundles.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) routes: Table<Route>,
    pub(super) authorizers: Table<Authorizer>,
    pub(super) shadows: Table<Shadow>,
    pub(super) clients: Table<Client>,
    families: Families,
    certificates_shown: Mutex<Vec<Certificate>>,
}

impl Series {
    pub(super) fn register(registry: &mut Registry, names: &Names) -> Self {
        let families = Families::register(registry);
        let series = Self {
            routes: Table::new(families.route(NO_ROUTE, false)),
            authorizers: Table::new(families.authorizer(UNKNOWN_NAME)),
            shadows: Table::new(families.shadow(NO_ROUTE, UNKNOWN_NAME)),
            clients: Table::new(families.client(UNKNOWN_NAME)),
            families,
            certificates_shown: Mutex::default(),
        };
        series.extend(names);
        series
    }

    pub(super) fn extend(&self, names: &Names) {
        self.routes.extend(&names.routes, |name| self.families.route(name, true));
        self.authorizers.extend(&names.authorizers, |name| self.families.authorizer(name));
        let shadows: Vec<String> = names.shadows.iter().map(|ShadowName(name)| name.clone()).collect();
        self.shadows.extend(&shadows, |name| {
            let (route, authorizer) = name.split_once('/').unwrap_or((NO_ROUTE, UNKNOWN_NAME));
            self.families.shadow(route, authorizer)
        });
        self.clients.extend(&names.clients, |name| self.families.client(name));
    }

    /// Only of routes that the configuration names, now or before.
    pub(super) fn cache_enabled(&self, route: &str, enabled: bool) {
        if self.routes.known.load().contains_key(route) {
            self.families.enabled(route).set(i64::from(enabled));
        }
    }

    /// An authorizer that nobody asks any more must not look like one that is left alone, nor a route that is gone like one
    /// whose cache is in use, or was switched off.
    pub(super) fn retire(&self, names: &Names) {
        for route in self.routes.known.load().keys().filter(|route| !names.routes.contains(route)) {
            self.families.cache_enabled.remove(&labels("countersign_cache_enabled", &[route.as_str()]));
        }
        for (name, authorizer) in self.authorizers.known.load().iter() {
            if !names.authorizers.contains(name) {
                authorizer.breaker_open.set(0);
            }
        }
    }

    /// No series where no certificate is configured: there is no time that would not be a lie.
    pub(super) fn certificates(&self, replaces: impl Fn(CertificateUse) -> bool, loaded: &[Certificate]) {
        let labels = |Certificate { used, name, .. }: &Certificate| {
            labels("countersign_tls_certificate_expiry_timestamp_seconds", &[used.as_str(), name])
        };
        let mut shown = self.certificates_shown.lock();
        for gone in shown.extract_if(.., |certificate| replaces(certificate.used)) {
            self.families.certificates.remove(&labels(&gone));
        }
        for certificate in loaded {
            self.families.certificates.get_or_create_owned(&labels(certificate)).set(certificate.ends);
        }
        shown.extend_from_slice(loaded);
    }
}

#[derive(Debug)]
struct Families {
    decisions: Family<Labels, Counter>,
    faults: Family<Labels, Counter>,
    cache_enabled: Family<Labels, Gauge>,
    fallbacks: Family<Labels, Counter>,
    authorizer_requests: Family<Labels, Counter>,
    shadow_comparisons: Family<Labels, Counter>,
    authorizer_duration: Family<Labels, Durations, fn() -> Durations>,
    authorizer_in_flight: Family<Labels, Gauge>,
    authorizer_breaker_open: Family<Labels, Gauge>,
    front_requests: Family<Labels, Counter>,
    probes: Family<Labels, Counter>,
    certificates: Family<Labels, Gauge>,
}

impl Families {
    fn register(registry: &mut Registry) -> Self {
        let families = Self {
            decisions: Family::default(),
            faults: Family::default(),
            cache_enabled: Family::default(),
            fallbacks: Family::default(),
            authorizer_requests: Family::default(),
            shadow_comparisons: Family::default(),
            authorizer_duration: Family::new_with_constructor(durations),
            authorizer_in_flight: Family::default(),
            authorizer_breaker_open: Family::default(),
            front_requests: Family::default(),
            probes: Family::default(),
            certificates: Family::default(),
        };
        let mut add = |name, family: &Family<Labels, Counter>| register(registry, name, family.clone());
        add("countersign_decisions_total", &families.decisions);
        add("countersign_faults_total", &families.faults);
        add("countersign_authorizer_requests_total", &families.authorizer_requests);
        add("countersign_shadow_comparisons_total", &families.shadow_comparisons);
        add("countersign_front_requests_total", &families.front_requests);
        add("countersign_probes_total", &families.probes);
        add("countersign_fallbacks_total", &families.fallbacks);
        register(registry, "countersign_cache_enabled", families.cache_enabled.clone());
        register(registry, "countersign_authorizer_duration_seconds", families.authorizer_duration.clone());
        register(registry, "countersign_tls_certificate_expiry_timestamp_seconds", families.certificates.clone());
        register(registry, "countersign_authorizer_in_flight", families.authorizer_in_flight.clone());
        register(registry, "countersign_authorizer_breaker_open", families.authorizer_breaker_open.clone());
        families
    }

    fn route(&self, route: &str, named: bool) -> Route {
        let mut decisions = Vec::new();
        for decision in Decision::ALL {
            for origin in Origin::ALL {
                // The last one is of questions that could not be read.
                for class in ActionClass::ALL.map(ActionClass::as_str).into_iter().chain([NO_CLASS]) {
                    for advisory in ["false", "true"] {
                        let values = [decision.as_str(), origin.as_str(), route, class, advisory];
                        decisions
                            .push(self.decisions.get_or_create_owned(&labels("countersign_decisions_total", &values)));
                    }
                }
            }
        }
        let fault = |reason: &Reason| {
            let values = [reason.as_str(), reason.side()?.as_str(), route];
            Some(self.faults.get_or_create_owned(&labels("countersign_faults_total", &values)))
        };
        if named {
            // There from the start, at 0.
            drop(self.enabled(route));
        }
        let fallbacks = || self.fallbacks.get_or_create_owned(&labels("countersign_fallbacks_total", &[route]));
        Route { decisions, faults: Reason::ALL.iter().map(fault).collect(), fallbacks: named.then(fallbacks) }
    }

    fn enabled(&self, route: &str) -> Gauge {
        self.cache_enabled.get_or_create_owned(&labels("countersign_cache_enabled", &[route]))
    }

    fn authorizer(&self, authorizer: &str) -> Authorizer {
        let outcome = |reason: &Reason| {
            // What ends an attempt: a plain answer, the authorizer's own fault, or our deadline over it.
            let possible = match reason.side() {
                None | Some(Side::Authorizer) => true,
                Some(Side::Own | Side::Caller) => *reason == Reason::Deadline,
            };
            let values = [authorizer, if possible { reason.as_str() } else { OTHER }];
            self.authorizer_requests.get_or_create_owned(&labels("countersign_authorizer_requests_total", &values))
        };
        let one = [authorizer];
        Authorizer {
            outcomes: Reason::ALL.iter().map(outcome).collect(),
            duration: self
                .authorizer_duration
                .get_or_create_owned(&labels("countersign_authorizer_duration_seconds", &one)),
            in_flight: self.authorizer_in_flight.get_or_create_owned(&labels("countersign_authorizer_in_flight", &one)),
            breaker_open: self
                .authorizer_breaker_open
                .get_or_create_owned(&labels("countersign_authorizer_breaker_open", &one)),
        }
    }

    fn shadow(&self, route: &str, authorizer: &str) -> Shadow {
        let comparisons = |difference: Difference| {
            let values = [route, authorizer, difference.as_str()];
            self.shadow_comparisons.get_or_create_owned(&labels("countersign_shadow_comparisons_total", &values))
        };
        Shadow(Difference::ALL.map(comparisons).into())
    }

    fn client(&self, client: &str) -> Client {
        let requests = |outcome: &str| {
            let values = [client, outcome];
            self.front_requests.get_or_create_owned(&labels("countersign_front_requests_total", &values))
        };
        let refused = |reason: &Reason| requests(if reason.side().is_some() { reason.as_str() } else { OTHER });
        Client {
            decided: requests("decided"),
            probe: requests("probe"),
            incomplete: requests("incomplete"),
            tls_failed: requests("tls_failed"),
            silent: requests("silent"),
            idle: requests("idle"),
            flooded: requests("flooded"),
            unread: requests("unread"),
            lingered: requests("lingered"),
            refused: Reason::ALL.iter().map(refused).collect(),
            probes: self.probes.get_or_create_owned(&labels("countersign_probes_total", &[client])),
        }
    }
}

/// The metric's labels with these values, in the order of its row.
pub(super) fn labels(name: &str, values: &[&str]) -> Labels {
    metric(name).labels.iter().copied().zip(values.iter().map(|value| (*value).to_owned())).collect()
}

pub(super) fn register(registry: &mut Registry, name: &str, it: impl prometheus_client::registry::Metric) {
    let row = metric(name);
    registry.register(row.family(), row.help, it);
}
