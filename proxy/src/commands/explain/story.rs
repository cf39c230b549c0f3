//! A decision told in sentences, from its record and those that belong to it. Pure; every value of a record is made printable.

use std::time::Duration;

use serde_json::{Value, json};

use super::find::{By, Found, Wanted, is_deny, source_id};
use crate::commands::readers::minio_audit::Operation;
use crate::commands::readers::printable::escape;
use crate::policy::advice::Advice;
use crate::policy::verdict::{Decision, Reason, Side};
use crate::trace::ids::Ratio;
use crate::trace::{Always, Keeps};

/// What is known about the traces of the instance that decided.
#[derive(Debug, Clone)]
pub(super) enum Traces {
    /// No configuration was named.
    Unknown,
    Off {
        generation: String,
    },
    On {
        sample: f64,
        always: Always,
        generation: String,
    },
}

/// Sentences, in order, and what to do at the end.
#[derive(Debug)]
pub(super) struct Story {
    head: String,
    told: Vec<String>,
    to_do: Vec<String>,
}

impl Story {
    /// A paragraph with its head, for people.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.head);
        for sentence in &self.told {
            text += &format!("  {sentence}\n");
        }
        for sentence in &self.to_do {
            text += &format!("  -> {sentence}\n");
        }
        text + "\n"
    }

    /// One object a line, with the records as they are.
    pub fn json(&self, decision: &Value, found: &Found) -> anyhow::Result<String> {
        let source = source_id(decision).and_then(|id| found.sources.get(&id));
        let amendments = found.amendments(decision);
        let whole = json!({
            "record": decision, "source": source, "amendments": amendments, "told": self.told, "what_to_do": self.to_do,
        });
        Ok(serde_json::to_string(&whole)? + "\n")
    }
}

pub(super) fn of(decision: &Value, found: &Found, traces: &Traces) -> Story {
    let record = Record(decision);
    let word = record.text("decision");
    let head = format!("{}  {word}  {}", record.member("/time"), record.member("/id"));
    let mut told = vec![record.question()];
    told.extend(record.purpose());
    told.push(record.verdict());
    told.extend(record.attempts("Asked"));
    told.extend(record.source(found));
    told.extend(record.remarks());
    told.push(record.answered());
    told.extend(amended(decision, found));
    told.push(record.trace(traces));
    Story { head, told, to_do: record.remedy() }
}

/// A decision's record, read leniently: it may be of a version that knows more.
#[derive(Clone, Copy)]
struct Record<'a>(&'a Value);

impl Record<'_> {
    fn at(&self, pointer: &str) -> Option<&str> {
        self.0.pointer(pointer).and_then(Value::as_str)
    }

    /// Printable; `-` where there is none.
    fn member(&self, pointer: &str) -> String {
        self.at(pointer).map_or_else(|| "-".to_owned(), escape)
    }

    /// The same, of `data`.
    fn text(&self, name: &str) -> String {
        self.member(&format!("/data/{name}"))
    }

    fn optional(&self, name: &str) -> Option<String> {
        self.at(&format!("/data/{name}")).map(escape)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.0.pointer(&format!("/data/{name}")).and_then(Value::as_u64)
    }

    fn is(&self, name: &str) -> bool {
        self.0.pointer(&format!("/data/{name}")).and_then(Value::as_bool).unwrap_or(false)
    }

    fn reason(&self) -> Option<Reason> {
        let word = self.at("/data/reason")?;
        Reason::ALL.iter().copied().find(|reason| reason.as_str() == word)
    }

    fn question(&self) -> String {
        let account = match self.optional("actor/account") {
            Some(account) if account.is_empty() => "Somebody without a name".to_owned(),
            Some(account) => account,
            None => "Somebody whose name could not be read, or is not recorded,".to_owned(),
        };
        let behind = match self.optional("actor/principal") {
            Some(principal) if self.at("/data/actor/principal_from") != Some("account") => {
                format!(" ({principal}, by {} of its claims)", self.text("actor/principal_from"))
            }
            Some(_) | None => String::new(),
        };
        let action = self.optional("action").unwrap_or_else(|| "something that could not be read".to_owned());
        let on = self.resource().map_or_else(String::new, |resource| format!(" on {resource}"));
        let from =
            self.optional("request/reported_ip").map_or_else(String::new, |ip| format!(", from {ip} as MinIO reports"));
        format!(
            "{account}{behind} asked for {action}{on}{from}. MinIO `{}` put the question.",
            self.text("request/client")
        )
    }

    fn resource(&self) -> Option<String> {
        let part = |name: &str| self.optional(&format!("resource/{name}"));
        match (part("bucket"), part("object"), part("target"), part("prefix")) {
            (Some(bucket), Some(object), ..) => Some(format!("{bucket}/{object}")),
            (Some(bucket), None, _, Some(prefix)) => Some(format!("{bucket}, below {prefix}")),
            (Some(bucket), ..) => Some(bucket),
            (None, _, target, _) => target,
        }
    }

    /// Why MinIO asked, where that is not plain.
    fn purpose(&self) -> Option<String> {
        let why = match self.at("/data/purpose")? {
            "deny_check" => {
                return Some("Only whether this is explicitly forbidden was asked for (`denyOnly`).".to_owned());
            }
            "metadata_probe" => "MinIO asks this with every GET, HEAD and PUT, to know which metadata to show or take",
            "list_filter" => "MinIO asks this of each bucket, to know which ones to list",
            "preflight" => "MinIO asks this once before the keys of a multi-delete, and does not use the answer",
            "fallthrough" => "MinIO asks something else if this is denied",
            _ => return None,
        };
        Some(format!("A deny here is no outcome (advisory): {why}."))
    }

    fn verdict(&self) -> String {
        let reason = self.text("reason");
        let route = self.optional("route").map_or_else(String::new, |route| format!(" on route `{route}`"));
        let known = self.reason();
        let whose = match (self.optional("decided_by"), known.map(|known| (known, known.side()))) {
            (Some(by), _) => format!("Authorizer `{by}` decided{route}: {reason}."),
            (None, None) => format!("Decided{route}: {reason}. The record does not say by whom."),
            (None, Some((_, None))) => format!("All authorizers{route} together decided: {reason}."),
            (None, Some((known, Some(side)))) => {
                let advice = format!(" ({})", Advice::on(known).meaning);
                let blame = match side {
                    Side::Authorizer => "the authorizer, or the way to it",
                    Side::Own => "this Countersign, its disk or its configuration",
                    Side::Caller => "whoever asked",
                };
                format!("Nobody decided{route}: it was denied for {reason}{advice}. To blame: {blame}.")
            }
        };
        if self.is("fallback") { format!("{whose} It was asked only because another one had failed.") } else { whose }
    }

    fn attempts(&self, verb: &str) -> Vec<String> {
        let attempts = self.0.pointer("/data/authorizers").and_then(Value::as_array);
        attempts.into_iter().flatten().map(|attempt| format!("{verb} {}", Record(attempt).attempt())).collect()
    }

    fn attempt(&self) -> String {
        let number = self.0.get("attempt").and_then(Value::as_u64).unwrap_or(0);
        let name = self.member("/name");
        if number == 0 {
            return format!("`{name}`: not at all ({}).", self.member("/reason"));
        }
        let status = self.0.get("status").and_then(Value::as_u64);
        let status = status.map_or_else(String::new, |status| format!(", status {status}"));
        let latency = took(self.0.get("latency_us").and_then(Value::as_u64).unwrap_or(0));
        let mut text = format!("`{name}`, attempt {number}: {} after {latency}{status}", self.member("/reason"));
        for (name, before) in [("decision_id", "its own id"), ("revision", "policy revision"), ("message", "it says")] {
            if let Some(value) = self.0.get(name).and_then(Value::as_str) {
                text += &format!("; {before} `{}`", escape(value));
            }
        }
        text + "."
    }

    /// Which record has the answer that was given again.
    fn source(&self, found: &Found) -> Vec<String> {
        let Some(id) = source_id(self.0) else { return Vec::new() };
        let age =
            self.number("cache/age_ms").map_or_else(String::new, |age| format!("{} ", took(age.saturating_mul(1000))));
        let shown = escape(&id);
        let how = match self.at("/data/cache/state") {
            Some("coalesced") => {
                format!("The answer is shared with an equal question that was under way: record {shown}.")
            }
            _ => format!("The answer is from the cache: it was given {age}before, in record {shown}."),
        };
        let mut told = vec![how];
        match found.sources.get(&id) {
            None => {
                told.push("That record was not found: it may be in another place, or retention took it.".to_owned())
            }
            Some(source) => told.extend(Record(source).attempts("There asked")),
        }
        told
    }

    fn remarks(&self) -> Vec<String> {
        let mut told = Vec::new();
        if self.at("/data/actor/assurance") == Some("claimed") {
            told.push(
                "MinIO may ask this before it has checked the signature: who asked is what was claimed.".to_owned(),
            );
        }
        let signs: Vec<_> =
            self.0.pointer("/data/request/suspicious").and_then(Value::as_array).into_iter().flatten().collect();
        if !signs.is_empty() {
            let signs: Vec<_> = signs.iter().filter_map(|sign| sign.as_str()).map(escape).collect();
            told.push(format!("The question bears signs of forging: {}.", signs.join(", ")));
        }
        if self.optional("actor/session_policy_sha256").is_some() {
            told.push("A session policy was in force; MinIO leaves it to the authorizer.".to_owned());
        }
        told
    }

    fn answered(&self) -> String {
        let took = took(self.number("latency_us").unwrap_or(0));
        let (chain, seq) = (self.text("chain/id"), self.number("chain/seq").unwrap_or(0));
        format!(
            "Decided within {took}; recorded ({}) as number {seq} of chain {chain}, configuration {}.",
            self.text("durability"),
            self.text("config_generation")
        )
    }

    fn trace(&self, traces: &Traces) -> String {
        let trace = self.text("trace_id");
        let (sample, always, generation) = match traces {
            Traces::Unknown => {
                let kept = match self.keeps(DEFAULTS) {
                    Some(why) => format!("with the defaults of `[otlp]` it was kept: {}", kept(why)),
                    None => "with the defaults of `[otlp]` one in a hundred like it is kept".to_owned(),
                };
                return format!("Trace {trace}: {kept}. `--config` says it for certain.");
            }
            Traces::Off { generation } => {
                return format!("Trace {trace}: not kept, `[otlp]` is not configured{}.", self.other(generation));
            }
            Traces::On { sample, always, generation } => (*sample, *always, generation),
        };
        let sampled = u128::from_str_radix(&trace, 16).is_ok_and(|id| Ratio::new(sample).takes(id));
        let verdict = match self.keeps(always) {
            Some(why) => format!("kept: {}", kept(why)),
            None if sampled => "kept: it is in the sample".to_owned(),
            None => "not kept: it is not in the sample".to_owned(),
        };
        format!("Trace {trace}: {verdict}{}.", self.other(generation))
    }

    fn keeps(&self, always: Always) -> Option<Keeps> {
        let decision = if is_deny(self.0) { Decision::Deny } else { Decision::Allow };
        let latency = Duration::from_micros(self.number("latency_us").unwrap_or(0));
        always.keeps(decision, self.reason().unwrap_or(Reason::Denied), self.is("advisory"), latency)
    }

    fn other(&self, generation: &str) -> &'static str {
        let same = self.at("/data/config_generation") == Some(generation);
        if same { "" } else { " (by a configuration that is not the one in force then)" }
    }

    fn remedy(&self) -> Vec<String> {
        let Some(reason) = self.reason() else {
            return vec![format!("This version does not know the reason `{}`: ask a newer one.", self.text("reason"))];
        };
        match (Advice::on(reason).what_to_do, is_deny(self.0)) {
            (Some(what), _) => vec![format!("What to do: {what}.")],
            (None, true) => {
                vec![
                    "The policy says so: its own log says why. If it should not, change the policy, then `purge`."
                        .to_owned(),
                ]
            }
            (None, false) => Vec::new(),
        }
    }
}

/// The defaults of `[otlp]`; a test holds them against the table of keys.
pub(super) const DEFAULTS: Always = Always { deny: true, fault: true, slow: Some(Duration::from_millis(250)) };

const fn kept(why: Keeps) -> &'static str {
    match why {
        Keeps::Deny => "it is a deny",
        Keeps::Fault => "it is a fault",
        Keeps::Slow => "it was slow",
    }
}

fn amended(decision: &Value, found: &Found) -> Vec<String> {
    let mut told: Vec<String> = found.amendments(decision).iter().map(|amendment| amendment_text(amendment)).collect();
    if told.is_empty() && found.amendments_left_out {
        told.push(
            "There are more amendments than could be looked at: one of this record may be among them.".to_owned(),
        );
    }
    told
}

fn amendment_text(amendment: &Value) -> String {
    let id = Record(amendment).member("/id");
    match amendment.pointer("/data/answer").and_then(Value::as_str) {
        Some("deny") => {
            format!("Amended by record {id}: the answer that left was a deny, because the record was durable too late.")
        }
        _ => format!("Amended by record {id}: the process ended before it could know whether the answer left."),
    }
}

fn took(micros: u64) -> String {
    match micros {
        us if us < 1000 => format!("{us} µs"),
        us if us < 1_000_000 => format!("{}.{} ms", us / 1000, us % 1000 / 100),
        us => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

/// Before the decisions of a request.
pub(super) fn of_operation(operation: &Operation, decisions: usize) -> String {
    let on = [&operation.bucket, &operation.object]
        .into_iter()
        .flatten()
        .map(|part| escape(part))
        .collect::<Vec<_>>()
        .join("/");
    let status = operation.status.map_or_else(|| "no status".to_owned(), |status| format!("status {status}"));
    let by = operation.access_key.as_deref().map_or_else(|| "an unknown key".to_owned(), escape);
    let questions = if decisions == 1 { "question" } else { "questions" };
    let mut text = format!("MinIO: {} {on} by {by}, {status}; {decisions} {questions}.\n", escape(&operation.api));
    if decisions > 0 {
        text += "Equal requests of one second share a signature: some of these may belong to another request id.\n";
    }
    text + "\n"
}

/// Why nothing was found.
pub(super) fn of_nothing(wanted: &Wanted, found: &Found) -> String {
    let mut text = match &wanted.by {
        By::Id(id) => format!("no decision has the id {id}. It may be, because\n"),
        By::Signature(_) => "no decision has this request's signature. It may be, because\n".to_owned(),
        By::Members => "no decision matches. It may be, because\n".to_owned(),
    };
    let mut may = vec![match (&found.first, &found.last) {
        (Some(first), Some(last)) => {
            format!("it is not within what was read: {} records from {first} to {last}", found.read)
        }
        _ => "nothing is there at that time: another topic, spool or instance, or retention took it".to_owned(),
    }];
    if found.stubs > 0 {
        may.push(format!(
            "{} records are in the topic as stubs only: `tail --file` reads them in the spool's `whole/`",
            found.stubs
        ));
    }
    if found.unreadable > 0 {
        may.push(format!("{} records could not be read", found.unreadable));
    }
    match wanted.by {
        By::Id(_) => may.push(
            "the answer was a 503 or a 401, which have no record of their own; the log and `outage_ended` count them"
                .to_owned(),
        ),
        By::Signature(_) => {
            may.push(
                "MinIO refused it itself before it asked: signature, clock, expired link, a key that is not there"
                    .to_owned(),
            );
            may.push("MinIO could not reach Countersign, or its plugin was off: its own log says so".to_owned());
        }
        By::Members => {
            may.push("MinIO never asked: anonymous access, STS, health and metrics (docs/MINIO.md)".to_owned());
            may.push(
                "names are pseudonyms in these records: `pseudonym` says which (`--account 'hmac-sha256:…'`)"
                    .to_owned(),
            );
            may.push("clocks differ: a larger `--within`".to_owned());
        }
    }
    may.push("it is not delivered yet: look into the spool (`--spool`) while Kafka is behind".to_owned());
    for why in may {
        text += &format!("  - {why}\n");
    }
    text
}
