//! A record as an event of the Open Cybersecurity Schema Framework: decisions as API Activity, a process's begin and end
//! as Application Lifecycle, the rest as Base Event. Pure; called by `tail`. The table is in `docs/OCSF.md`; what has no
//! place in the schema is kept under `unmapped`, so that nothing is lost.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::commands::readers::filter::time_us;

/// The version of the schema whose attributes these are.
pub const VERSION: &str = "1.3.0";

/// Members of a decision that have a place in the schema, and are not repeated under `unmapped`.
const MAPPED: &[&str] = &[
    "/decision",
    "/reason",
    "/action",
    "/action_class",
    "/latency_us",
    "/actor/account",
    "/actor/kind",
    "/actor/principal",
    "/actor/issuer",
    "/actor/groups",
    "/request/client",
    "/request/peer",
    "/request/reported_ip",
    "/request/user_agent",
    "/request/sdk_invocation_id",
    "/resource/type",
    "/resource/version",
];

struct Class {
    uid: u64,
    name: &'static str,
    category: (u64, &'static str),
}

const API: Class = Class { uid: 6003, name: "API Activity", category: (6, "Application Activity") };
const LIFECYCLE: Class = Class { uid: 6002, name: "Application Lifecycle", category: (6, "Application Activity") };
const BASE: Class = Class { uid: 0, name: "Base Event", category: (0, "Uncategorized") };

pub fn event(record: &Value) -> Value {
    let happened = text(record, "/data/event").unwrap_or_default();
    match text(record, "/type").unwrap_or_default() {
        "io.countersign.decision.v1" => decision(record),
        "io.countersign.lifecycle.v1" if happened == "chain_opened" => lifecycle(record, (3, "Start")),
        "io.countersign.lifecycle.v1" if happened == "chain_closed" => lifecycle(record, (4, "Stop")),
        _ => other(record),
    }
}

fn text<'r>(record: &'r Value, at: &str) -> Option<&'r str> {
    record.pointer(at).and_then(Value::as_str)
}

/// Attributes that every event has.
fn common(record: &Value, class: &Class, activity: (u64, &str), severity: u64) -> Map<String, Value> {
    let time = time_us(record).unwrap_or(0).div_euclid(1000);
    let word = ["Unknown", "Informational", "Low", "Medium", "High"];
    let word = usize::try_from(severity).ok().and_then(|at| word.get(at)).copied().unwrap_or("Unknown");
    let mut metadata = json!({
        "version": VERSION,
        "product": product(record),
        "logged_time": time,
    });
    put(&mut metadata, "uid", text(record, "/id").map(Value::from));
    put(&mut metadata, "event_code", text(record, "/type").map(Value::from));
    put(&mut metadata, "original_time", text(record, "/time").map(Value::from));
    put(&mut metadata, "log_name", text(record, "/data/chain/id").map(Value::from));
    put(&mut metadata, "sequence", record.pointer("/data/chain/seq").cloned());
    // What an amendment is about: the uid of that event.
    put(&mut metadata, "correlation_uid", text(record, "/data/of").map(Value::from));
    let event = json!({
        "class_uid": class.uid,
        "class_name": class.name,
        "category_uid": class.category.0,
        "category_name": class.category.1,
        "activity_id": activity.0,
        "activity_name": activity.1,
        "type_uid": class.uid * 100 + activity.0,
        "type_name": format!("{}: {}", class.name, activity.1),
        "severity_id": severity,
        "severity": word,
        "time": time,
        "metadata": metadata,
    });
    match event {
        Value::Object(event) => event,
        _ => Map::new(),
    }
}

fn product(record: &Value) -> Value {
    let mut product = json!({ "name": "Countersign", "vendor_name": "Countersign" });
    // Which of them: the instance.
    put(&mut product, "uid", text(record, "/source").map(Value::from));
    put(&mut product, "version", text(record, "/data/version").map(Value::from));
    product
}

/// Null and absent are not put.
fn put(object: &mut Value, name: &str, value: Option<Value>) {
    if let (Some(object), Some(value)) = (object.as_object_mut(), value.filter(|value| !value.is_null())) {
        object.insert(name.to_owned(), value);
    }
}

fn decision(record: &Value) -> Value {
    let allowed = text(record, "/data/decision") == Some("allow");
    let mut event = Value::Object(common(record, &API, activity(record), severity(record, allowed)));
    let (status_id, status) = if allowed { (1, "Success") } else { (2, "Failure") };
    put(&mut event, "status_id", Some(status_id.into()));
    put(&mut event, "status", Some(status.into()));
    put(&mut event, "status_code", text(record, "/data/reason").map(Value::from));
    let latency = record.pointer("/data/latency_us").and_then(Value::as_u64);
    put(&mut event, "duration", latency.map(|us| (us / 1000).into()));
    put(&mut event, "actor", Some(actor(record)));
    put(&mut event, "api", Some(api(record)));
    put(&mut event, "src_endpoint", Some(source(record)));
    put(&mut event, "resources", resource(record).map(|resource| json!([resource])));
    let agent = text(record, "/data/request/user_agent");
    put(&mut event, "http_request", agent.map(|agent| json!({ "user_agent": agent })));
    let observables = observables(&event);
    put(&mut event, "observables", (!observables.is_empty()).then_some(Value::Array(observables)));
    put(&mut event, "unmapped", Some(unmapped(record)));
    event
}

/// A put object may be new or not: MinIO asks the same for both.
fn activity(record: &Value) -> (u64, &str) {
    match text(record, "/data/action_class") {
        Some("read" | "list") => (2, "Read"),
        Some("write") => (3, "Update"),
        Some("delete") => (4, "Delete"),
        Some(other) => (99, other),
        None => (0, "Unknown"),
    }
}

fn severity(record: &Value, allowed: bool) -> u64 {
    let signs = record.pointer("/data/request/suspicious").and_then(Value::as_array);
    let advisory = record.pointer("/data/advisory").and_then(Value::as_bool).unwrap_or(false);
    match () {
        () if signs.is_some_and(|signs| !signs.is_empty()) => 3,
        () if allowed || advisory => 1,
        () => 2,
    }
}

fn actor(record: &Value) -> Value {
    let data = |at: &str| text(record, &format!("/data{at}"));
    let mut actor = json!({ "app_name": data("/request/client").unwrap_or("unknown") });
    if let Some(account) = data("/actor/account") {
        let (type_id, kind) = match data("/actor/kind") {
            Some("user") => (1, "User"),
            Some("root") => (2, "Admin"),
            Some(kind) => (99, kind),
            None => (0, "Unknown"),
        };
        let mut user = json!({ "uid": account, "type_id": type_id, "type": kind });
        put(&mut user, "name", Some(data("/actor/principal").unwrap_or(account).into()));
        let groups = record.pointer("/data/actor/groups").and_then(Value::as_array);
        let groups: Vec<Value> = groups.into_iter().flatten().map(|group| json!({ "name": group })).collect();
        put(&mut user, "groups", (!groups.is_empty()).then_some(Value::Array(groups)));
        put(&mut actor, "user", Some(user));
    }
    put(&mut actor, "idp", data("/actor/issuer").map(|issuer| json!({ "name": issuer })));
    put(&mut actor, "authorizations", Some(Value::Array(authorizations(record))));
    actor
}

/// One for each attempt; of a remembered answer, whose it was.
fn authorizations(record: &Value) -> Vec<Value> {
    let attempts = record.pointer("/data/authorizers").and_then(Value::as_array);
    let attempts: Vec<Value> = attempts.into_iter().flatten().map(authorization).collect();
    if !attempts.is_empty() {
        return attempts;
    }
    let mut whole = json!({ "decision": text(record, "/data/decision").unwrap_or("unknown") });
    put(&mut whole, "policy", text(record, "/data/decided_by").map(|name| json!({ "name": name })));
    vec![whole]
}

fn authorization(attempt: &Value) -> Value {
    // An attempt that ended in a fault decided nothing.
    let decision = text(attempt, "/decision").or_else(|| text(attempt, "/reason"));
    let mut policy = json!({ "name": text(attempt, "/name").unwrap_or("unknown") });
    put(&mut policy, "uid", text(attempt, "/decision_id").map(Value::from));
    put(&mut policy, "version", text(attempt, "/revision").map(Value::from));
    json!({ "decision": decision.unwrap_or("unknown"), "policy": policy })
}

fn api(record: &Value) -> Value {
    let mut service = json!({ "name": "MinIO" });
    put(&mut service, "uid", text(record, "/data/request/client").map(Value::from));
    let mut api = json!({ "operation": text(record, "/data/action").unwrap_or("unknown"), "service": service });
    put(&mut api, "group", text(record, "/data/action_class").map(|class| json!({ "name": class })));
    let call = text(record, "/data/request/sdk_invocation_id");
    put(&mut api, "request", call.map(|call| json!({ "uid": call })));
    api
}

/// The S3 client as MinIO reports it, through MinIO; else MinIO itself. A pseudonym is no address.
fn source(record: &Value) -> Value {
    let is_address = |text: &&str| text.parse::<IpAddr>().is_ok();
    let peer = text(record, "/data/request/peer").filter(is_address);
    let Some(reported) = text(record, "/data/request/reported_ip") else {
        let mut endpoint = json!({ "name": text(record, "/data/request/client").unwrap_or("unknown") });
        put(&mut endpoint, "ip", peer.map(Value::from));
        return endpoint;
    };
    let name = if is_address(&reported) { "ip" } else { "uid" };
    let mut endpoint = json!({ name: reported });
    put(&mut endpoint, "intermediate_ips", peer.map(|peer| json!([peer])));
    endpoint
}

fn resource(record: &Value) -> Option<Value> {
    let kind = text(record, "/data/resource/type")?;
    let member = |name: &str| text(record, &format!("/data/resource/{name}")).filter(|text| !text.is_empty());
    let name = match (member("bucket"), member("object")) {
        (Some(bucket), Some(object)) => format!("{bucket}/{object}"),
        (Some(bucket), None) => bucket.to_owned(),
        (None, _) => member("kms_key").or_else(|| member("target")).unwrap_or(kind).to_owned(),
    };
    let mut resource = json!({ "type": kind, "name": name });
    put(&mut resource, "version", member("version").map(Value::from));
    Some(resource)
}

/// Numbers are those of the schema's list of observable types.
fn observables(event: &Value) -> Vec<Value> {
    let known = [
        ("src_endpoint.ip", "/src_endpoint/ip", 2, "IP Address"),
        ("actor.user.name", "/actor/user/name", 4, "User Name"),
    ];
    let one = |(name, at, type_id, kind): (&str, &str, u64, &str)| {
        let value = text(event, at)?;
        Some(json!({ "name": name, "type_id": type_id, "type": kind, "value": value }))
    };
    known.into_iter().filter_map(one).collect()
}

fn unmapped(record: &Value) -> Value {
    let mut data = record.get("data").cloned().unwrap_or_default();
    for at in MAPPED {
        let (parent, name) = at.rsplit_once('/').unwrap_or(("", at));
        if let Some(parent) = data.pointer_mut(parent).and_then(Value::as_object_mut) {
            parent.remove(name);
        }
    }
    data
}

fn lifecycle(record: &Value, activity: (u64, &str)) -> Value {
    let mut event = Value::Object(common(record, &LIFECYCLE, activity, 1));
    put(&mut event, "app", Some(product(record)));
    put(&mut event, "message", text(record, "/data/event").map(Value::from));
    put(&mut event, "unmapped", record.get("data").cloned());
    event
}

/// What the schema has no class for.
fn other(record: &Value) -> Value {
    let kind = text(record, "/type").unwrap_or("unknown");
    let kind = kind.trim_start_matches("io.countersign.").trim_end_matches(".v1");
    let word = text(record, "/data/event").unwrap_or(kind);
    let severity = match word {
        "outage_started" | "damage_found" | "segments_dropped" => 4,
        "key_rotated" | "unauthorized_attempts" | "clock_jumped" | "cache_switched_off" => 3,
        "amendment" | "config_refused" => 2,
        _ => 1,
    };
    let mut event = Value::Object(common(record, &BASE, (99, word), severity));
    put(&mut event, "message", Some(word.into()));
    put(&mut event, "unmapped", record.get("data").cloned());
    event
}
