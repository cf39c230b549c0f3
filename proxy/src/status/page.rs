//! The page for people: one HTML document without scripts and without anything from elsewhere. Every text goes through
//! `maud`, which escapes it. Loads itself again every few seconds.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use super::chart::{self, Area};
use super::problems::{Problem, Severity};
use super::sample::Counts;
use super::view::{Authorizer, AuthorizerState, Decisions, Event, Latency, State, View};
use super::words::{age, bytes, hours, latency, number, percent};

const STYLE: &str = include_str!("style.css");
/// Seconds until the page loads itself again.
const REFRESH: u32 = 10;

static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// The header that goes with the page: nothing is loaded, nothing runs, nobody frames it.
pub fn content_security_policy() -> &'static str {
    &POLICY
}

pub(super) fn html(view: &View) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="refresh" content=(REFRESH);
                meta name="robots" content="noindex";
                meta name="color-scheme" content="light dark";
                title { (view.process.instance) " · Countersign" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (header(view))
                main {
                    (problems(&view.problems))
                    (decisions(&view.decisions))
                    div.columns {
                        (authorizers(&view.authorizers))
                        (audit(view))
                        (kafka(view))
                        (cache(view))
                    }
                    (events(&view.events))
                }
                (footer(view))
            }
        }
    };
    page.into_string()
}

fn header(view: &View) -> Markup {
    let (class, word) = match view.state {
        State::Deciding => ("good", "deciding"),
        State::Refusing => ("bad", "refusing everything"),
        State::Draining => ("warn", "draining"),
    };
    html! {
        header {
            div {
                p.product { "Countersign" }
                h1 { (view.process.instance) }
            }
            p.state.(class) id="state" { (word) }
        }
    }
}

fn problems(problems: &[Problem]) -> Markup {
    html! {
        section.problems id="problems" aria-label="What is wrong" {
            @if problems.is_empty() {
                p.fine { "Nothing is wrong that can be seen from here." }
            } @else {
                ul {
                    @for problem in problems {
                        li class=(severity(problem.severity)) {
                            (problem.text) "."
                            @if let Some(alert) = problem.alert { " " span.alert { (alert) } }
                        }
                    }
                }
            }
        }
    }
}

const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "bad",
        Severity::Warning => "warn",
        Severity::Note => "note",
    }
}

fn decisions(decisions: &Decisions) -> Markup {
    let series = &decisions.series;
    let areas = [
        Area { class: "allowed", values: &series.allowed },
        Area { class: "denied", values: &series.denied },
        Area { class: "failed", values: &series.failed },
    ];
    let top = chart::ceiling(chart::most(&areas));
    html! {
        section.card id="decisions" {
            h2 { "Decisions" }
            dl.figures {
                (figure("a second", &number(decisions.per_second), ""))
                (figure("denied", &percent(decisions.denied_share), "denied"))
                (figure("failed", &percent(decisions.failed_share), if decisions.failed_share > Some(0.0) { "failed" } else { "" }))
                (figure("under way", &number(decisions.in_flight), ""))
            }
            figure.chart role="img" aria-label=(format!("Decisions a second over the last {}", age(series.seconds))) {
                div.plot {
                    (PreEscaped(chart::svg(&areas, &series.ages, series.seconds, top)))
                    span.top { (number(top)) " /s" }
                }
                figcaption {
                    div { span { (age(series.seconds)) " ago" } span { "now" } }
                    p.legend { i.allowed {} "allowed" i.denied {} "denied" i.failed {} "denied for a fault" }
                }
            }
            (reasons(decisions))
            (latencies(decisions))
        }
    }
}

fn figure(label: &str, value: &str, class: &str) -> Markup {
    html! { div { dd class=(class) { (value) } dt { (label) } } }
}

/// Why questions were refused that nobody had denied.
fn reasons(decisions: &Decisions) -> Markup {
    html! {
        @if !decisions.faults.is_empty() {
            h3 { "Denied because something failed, in the last " (age(decisions.series.seconds)) }
            (counts(&decisions.faults))
        }
        p.quiet {
            @match decisions.last_decision_age_seconds {
                None => { "No question yet. " }
                Some(seconds) if seconds > 60.0 => { "The last question came " (age(seconds)) " ago. " }
                Some(_) => {}
            }
            "Questions are counted, not S3 requests. "
            (number(decisions.advisory_denies)) " advisory denies, which are no outcome, are left out."
        }
    }
}

fn latencies(decisions: &Decisions) -> Markup {
    html! {
        @if !decisions.latency.is_empty() {
            table {
                thead { tr { th { "Answered from" } th { "half within" } th { "99 % within" } } }
                tbody {
                    @for (origin, of) in &decisions.latency {
                        tr { td { (origin) } td { (latency(of.p50_seconds)) } td { (latency(of.p99_seconds)) } }
                    }
                }
            }
        }
    }
}

fn counts(counts: &Counts) -> Markup {
    let most = counts.values().copied().fold(0.0, f64::max).max(1.0);
    html! {
        ul.bars {
            @for (name, count) in counts {
                li.(outcome(name)) {
                    span { (name) }
                    meter min="0" max=(format!("{most:.0}")) value=(format!("{count:.0}")) {}
                    b { (number(*count)) }
                }
            }
        }
    }
}

/// The colour that the chart has for it.
fn outcome(name: &str) -> &'static str {
    match name {
        "allowed" => "allowed",
        "denied" => "denied",
        _ => "failed",
    }
}

fn authorizers(authorizers: &[Authorizer]) -> Markup {
    html! {
        section.card id="authorizers" {
            h2 { "Authorizers" }
            @for authorizer in authorizers {
                div.authorizer {
                    h3 {
                        (authorizer.name)
                        span.state.(authorizer_class(authorizer.state)) { (authorizer.state.said()) }
                    }
                    (rows(&[
                        ("Attempts", format!("{} /s, {} under way", number(authorizer.attempts_per_second), number(authorizer.in_flight))),
                        ("Latency", both(authorizer.latency)),
                    ]))
                    @if authorizer.outcomes.keys().any(|outcome| !matches!(outcome.as_str(), "allowed" | "denied")) {
                        (counts(&authorizer.outcomes))
                    }
                }
            }
        }
    }
}

const fn authorizer_class(state: AuthorizerState) -> &'static str {
    match state {
        AuthorizerState::Answers => "good",
        AuthorizerState::Idle => "idle",
        AuthorizerState::Falters => "warn",
        AuthorizerState::Fails | AuthorizerState::LeftAlone => "bad",
    }
}

fn both(of: Latency) -> String {
    match of.p50_seconds {
        None => "–".to_owned(),
        Some(_) => format!("{} (99 %: {})", latency(of.p50_seconds), latency(of.p99_seconds)),
    }
}

fn audit(view: &View) -> Markup {
    let audit = &view.audit;
    let used = if audit.room_bytes > 0.0 { audit.spool_bytes / audit.room_bytes } else { 0.0 };
    let state = if audit.available { ("good", "durable") } else { ("bad", "not durable") };
    let spool = format!("{} of {}, {}", bytes(audit.spool_bytes), bytes(audit.room_bytes), percent(Some(used)));
    let left = audit.hours_left.map_or_else(|| "nothing is being written".to_owned(), hours);
    let checkpoint = audit.checkpoint_age_seconds.map_or_else(|| "none yet".to_owned(), |s| format!("{} ago", age(s)));
    html! {
        section.card id="audit" {
            h2 { "Audit trail" span.state.(state.0) { (state.1) } }
            (rows(&[("Made durable within", both(audit.append)), ("Spool", spool)]))
            meter min="0" max="1" high="0.8" value=(format!("{used:.3}")) {}
            @if view.kafka.configured { (rows(&[("Full without Kafka in", left)])) }
            (rows(&[
                ("Last record", audit.last_seq.map_or_else(|| "–".to_owned(), |seq| seq.to_string())),
                ("Last checkpoint", checkpoint),
            ]))
        }
    }
}

fn kafka(view: &View) -> Markup {
    let kafka = &view.kafka;
    html! {
        section.card id="kafka" {
            h2 { "Kafka" }
            @if kafka.configured {
                (rows(&[
                    ("Behind", format!("{} records, {}", number(kafka.lag_records), bytes(kafka.lag_bytes))),
                    ("The oldest is", if kafka.lag_records > 0.0 { format!("{} old", age(kafka.lag_seconds)) } else { "–".to_owned() }),
                    ("Delivered", format!("{} /s", number(kafka.delivered_per_second))),
                ]))
                @if !kafka.errors.is_empty() { h3 { "Errors" } (counts(&kafka.errors)) }
                @if kafka.stubs > 0.0 { p.quiet { (number(kafka.stubs)) " records are there as stubs, for their size." } }
            } @else {
                p.quiet { "None is configured: records are in the spool only, and the oldest give way when it is full." }
            }
        }
    }
}

fn cache(view: &View) -> Markup {
    let cache = &view.cache;
    html! {
        section.card id="cache" {
            h2 { "Cache" }
            (rows(&[
                ("Answered from it", percent(cache.hit_share)),
                ("Answers kept", number(cache.entries)),
                ("Waiting for an equal question", number(cache.waiting)),
            ]))
            @for (route, enabled) in &cache.routes {
                p.route { (route) span.state.(if *enabled { "good" } else { "idle" }) { (if *enabled { "in use" } else { "off" }) } }
            }
        }
    }
}

fn rows(rows: &[(&str, String)]) -> Markup {
    html! {
        dl.rows { @for (label, value) in rows { div { dt { (label) } dd { (value) } } } }
    }
}

fn events(events: &[Event]) -> Markup {
    html! {
        section.card id="events" {
            h2 { "Last events of the trail" }
            @if events.is_empty() {
                p.quiet { "None since this process began." }
            } @else {
                ol.events {
                    @for event in events {
                        li {
                            time datetime=(event.time) { (event.time.get(..19).unwrap_or(&event.time).replace('T', " ")) }
                            b { (event.event) }
                            span { (event.about) }
                        }
                    }
                }
            }
        }
    }
}

fn footer(view: &View) -> Markup {
    let process = &view.process;
    html! {
        footer {
            p {
                "Version " (process.version) ", commit " code { (process.commit.get(..12).unwrap_or(&process.commit)) } " · configuration " code id="generation" { (process.config_generation) }
                " · up " (age(process.uptime_seconds)) " · " (bytes(process.resident_bytes)) " of memory"
            }
            p {
                "As of " (process.as_of.get(..19).unwrap_or_default().replace('T', " ")) " UTC, again every " (REFRESH)
                " s. Rates and latencies are of the last minute. The same as " a href="status.json" { "JSON" } ", more on " a href="metrics" { "metrics" } "."
            }
        }
    }
}
