//! What is wrong, in sentences, the worst first. Limits are those of `dashboards/alerts.yml`, so that the page and a pager do
//! not contradict each other; `alert` names the section of docs/ALERTS.md that says what to do. Pure.

use serde::Serialize;

use super::view::{AuthorizerState, Span, State, View};
use super::{sample, words};

/// Shares, seconds and hours, as the alerts have them.
const FAILED: f64 = 0.05;
const FAILED_OWN: f64 = 0.01;
const SPOOL_HOURS: f64 = 4.0;
const SPOOL_FULL: f64 = 0.8;
const LAG_SECONDS: f64 = 600.0;
const CHECKPOINT_SECONDS: f64 = 300.0;
const CERTIFICATE_SECONDS: f64 = 14.0 * 86400.0;
const CERTIFICATE_SOON_SECONDS: f64 = 2.0 * 86400.0;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Problem {
    pub severity: Severity,
    pub text: String,
    /// The alert with the same limit, and its section in docs/ALERTS.md.
    pub alert: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// Callers are refused, now or soon.
    Critical,
    /// Can wait for the morning.
    Warning,
    /// Nobody is refused for it.
    Note,
}

pub(super) fn of(view: &View, span: &Span<'_>, wall: f64) -> Vec<Problem> {
    let mut found = Found(Vec::new());
    found.of_state(view, span);
    found.of_authorizers(view);
    found.of_trail(view, wall, span.now.certificate_ends);
    found.of_telemetry(view, span);
    found.0.sort_by_key(|problem| problem.severity);
    found.0
}

struct Found(Vec<Problem>);

impl Found {
    fn add(&mut self, severity: Severity, alert: Option<&'static str>, text: String) {
        self.0.push(Problem { severity, text, alert });
    }

    fn of_state(&mut self, view: &View, span: &Span<'_>) {
        use Severity::{Critical, Note};
        if !view.audit.available {
            let why = view.audit.trouble.as_deref().unwrap_or("the spool is being opened");
            let text = format!("Everything is denied, because records cannot be made durable: {why}");
            self.add(Critical, Some("CountersignAuditUnavailable"), text);
        }
        if view.state == State::Draining {
            self.add(Note, None, "On the way to its end: it answers until it is drained".to_owned());
        }
        let (severity, alert, limit) = blamed(span);
        if let Some(share) = view.decisions.failed_share.filter(|share| *share > limit) {
            let text =
                format!("{:.0} % of the last minute's questions were denied because something failed", share * 100.0);
            self.add(severity, Some(alert), text);
        }
    }

    fn of_authorizers(&mut self, view: &View) {
        for authorizer in &view.authorizers {
            let name = &authorizer.name;
            match authorizer.state {
                AuthorizerState::LeftAlone => {
                    let text = format!("Authorizer {name} failed too often in a row and is left alone");
                    self.add(Severity::Critical, Some("CountersignBreakerOpen"), text);
                }
                AuthorizerState::Fails => {
                    let text = format!("Authorizer {name} gave no usable answer in the last minute");
                    self.add(Severity::Critical, Some("CountersignAuthorizerDown"), text);
                }
                AuthorizerState::Answers | AuthorizerState::Idle | AuthorizerState::Falters => {}
            }
        }
    }

    fn of_trail(&mut self, view: &View, wall: f64, certificate_ends: f64) {
        use Severity::{Critical, Warning};
        let (audit, kafka) = (&view.audit, &view.kafka);
        if kafka.configured && kafka.lag_bytes > audit.room_bytes * SPOOL_FULL {
            let text =
                "The spool is nearly full of records that Kafka has not taken; full means that everything is denied";
            self.add(Critical, Some("CountersignSpoolFilling"), text.to_owned());
        } else if let Some(hours) = audit.hours_left.filter(|hours| *hours < SPOOL_HOURS && kafka.lag_seconds > 60.0) {
            let text =
                format!("Kafka takes nothing, and the spool is full in {} at the present rate", words::hours(hours));
            self.add(Warning, Some("CountersignSpoolFilling"), text);
        }
        if kafka.configured && kafka.lag_seconds > LAG_SECONDS {
            let text = format!("What was decided {:.0} minutes ago is not in Kafka", kafka.lag_seconds / 60.0);
            self.add(Warning, Some("CountersignStreamBehind"), text);
        }
        if audit.available && audit.checkpoint_age_seconds.is_some_and(|age| age > CHECKPOINT_SECONDS) {
            let text = "The chain has not stated its head for more than five minutes".to_owned();
            self.add(Warning, Some("CountersignCheckpointLate"), text);
        }
        let left = certificate_ends - wall;
        if certificate_ends > 0.0 && left < CERTIFICATE_SECONDS {
            let text = if left <= 0.0 {
                "A configured certificate has ended".to_owned()
            } else {
                format!("A configured certificate ends in {}", words::hours(left / 3600.0))
            };
            let severity = if left < CERTIFICATE_SOON_SECONDS { Critical } else { Warning };
            self.add(severity, Some("CountersignCertificateExpires"), text);
        }
    }

    fn of_telemetry(&mut self, view: &View, span: &Span<'_>) {
        if !span.now.reload_successful {
            let text =
                "The configuration file as it was last read has mistakes; the one before stays in force".to_owned();
            self.add(Severity::Warning, Some("CountersignReloadRefused"), text);
        }
        if !view.kafka.errors.is_empty() {
            let errors: Vec<_> = view.kafka.errors.iter().map(|(code, count)| format!("{code} ({count:.0})")).collect();
            let text = format!("Errors with Kafka: {}; KAFKA.md says of each what to do", errors.join(", "));
            self.add(Severity::Note, Some("CountersignKafkaErrors"), text);
        }
        let lost = [
            (span.now.spans_dropped - span.first.spans_dropped, "spans did not reach the collector"),
            (span.now.log_lines_dropped - span.first.log_lines_dropped, "lines of the log were dropped"),
        ];
        for (count, what) in lost.into_iter().filter(|(count, _)| *count > 0.0) {
            self.add(Severity::Note, None, format!("{count:.0} {what}; nothing else suffers"));
        }
    }
}

/// Whose faults of the last minute are the most: how bad that is, and from which share on.
fn blamed(span: &Span<'_>) -> (Severity, &'static str, f64) {
    use crate::policy::verdict::{Reason, Side};
    let faults = sample::growth(&span.now.faults, &span.minute.faults);
    let of = |side: Side| -> f64 {
        let reasons = Reason::ALL.iter().filter(|reason| reason.side() == Some(side));
        reasons.filter_map(|reason| faults.get(reason.as_str())).sum()
    };
    let (authorizer, own, caller) = (of(Side::Authorizer), of(Side::Own), of(Side::Caller));
    if caller > authorizer && caller > own {
        (Severity::Warning, "CountersignFailsClosedCaller", FAILED)
    } else if own > authorizer {
        (Severity::Critical, "CountersignFailsClosedOwn", FAILED_OWN)
    } else {
        (Severity::Critical, "CountersignFailsClosedAuthorizer", FAILED)
    }
}
