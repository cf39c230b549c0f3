//! Which keys apply at once and which wait, key by key, and that none was forgotten.

use super::*;
use crate::config::{keys, parse};

const FULL: &str = include_str!("../../../../config/full.toml");

fn config(text: &str) -> Config {
    let env = |name: &str| (name == "T").then(|| "Bearer t".to_owned());
    parse(text, "c.toml", &env).unwrap_or_else(|all| panic!("{all}")).config
}

fn edited(from: &str, to: &str) -> Config {
    assert_eq!(FULL.matches(from).count(), 1, "{from}");
    config(&FULL.replace(from, to))
}

/// An edit of the full sample, and the key that is named for it.
const EDITS: [(&str, &str, &str); 42] = [
    ("#instance = \"minio-eu1\"", "instance = \"other\"", "instance"),
    ("address = \"127.0.0.1:8281\"", "address = \"127.0.0.1:8282\"", "listen.address"),
    ("path = \"/\"", "path = \"/x\"", "listen.path"),
    ("max_body = \"1MiB\"", "max_body = \"2MiB\"\ntokens = [{ name = \"m\", env = \"T\" }]", "listen.tokens"),
    ("read_timeout = \"10s\"", "read_timeout = \"11s\"", "listen.read_timeout"),
    ("deadline = \"2s\"", "deadline = \"3s\"", "listen.deadline"),
    ("max_body = \"1MiB\"", "max_body = \"2MiB\"", "listen.max_body"),
    ("max_in_flight = 4096", "max_in_flight = 4097", "listen.max_in_flight"),
    ("keepalive = \"75s\"", "keepalive = \"76s\"", "listen.keepalive"),
    ("drain = \"17s\"", "drain = \"18s\"", "listen.drain"),
    ("suspicious = \"record\"", "suspicious = \"deny\"", "listen.suspicious"),
    ("address = \"127.0.0.1:9281\"", "address = \"127.0.0.1:9282\"", "admin.address"),
    ("#token = { file = \"/run/secrets/admin\" }", "token = { env = \"T\" }", "admin.token"),
    ("url = \"http://127.0.0.1:8181/v1/data/minio/allow\"", "url = \"http://127.0.0.1:8181/x\"", "authorizer.opa"),
    ("#token = { env = \"OPA_TOKEN\" }", "token = { env = \"T\" }", "authorizer.opa"),
    ("#[authorizer.breaker]\n#failures = 10", "[authorizer.breaker]\nfailures = 11", "authorizer.opa"),
    ("combine = \"first\"", "combine = \"all\"", "route.default"),
    ("name = \"default\"", "name = \"other\"", "route.other"),
    ("entries = 100000", "entries = 100001", "cache.entries"),
    ("allow_ttl = \"10s\"                   #", "allow_ttl = \"11s\" #", "cache.allow_ttl"),
    ("deny_ttl = \"2s\"\nignore", "deny_ttl = \"3s\"\nignore", "cache.deny_ttl"),
    ("ignore = []", "ignore = [\"x\"]", "cache.ignore"),
    ("ignore_defaults = true", "ignore_defaults = false", "cache.ignore_defaults"),
    ("actions = [\"s3:*\"]", "actions = [\"*\"]", "cache.actions"),
    ("recheck = 0.0", "recheck = 0.5", "cache.recheck"),
    ("spool = \"/var/lib/countersign\"", "spool = \"/var/lib/other\"", "audit.spool"),
    ("durability = \"synced\"", "durability = \"written\"", "audit.durability"),
    ("probes = \"written\"", "probes = \"synced\"", "audit.probes"),
    ("max_size = \"20GiB\"", "max_size = \"21GiB\"", "audit.max_size"),
    ("retain_delivered = \"1h\"", "retain_delivered = \"2h\"", "audit.retain_delivered"),
    ("checkpoint_every = \"10s\"", "checkpoint_every = \"11s\"", "audit.checkpoint_every"),
    ("object = \"plain\"", "object = \"drop\"", "audit.privacy"),
    ("brokers = [\"127.0.0.1:9092\"]", "brokers = [\"127.0.0.1:9093\"]", "kafka.brokers"),
    ("topic = \"countersign.decisions\"", "topic = \"d\"", "kafka.topic"),
    ("checkpoint_topic = \"countersign.checkpoints\"", "checkpoint_topic = \"c\"", "kafka.checkpoint_topic"),
    ("#properties = {", "properties = { \"linger.ms\" = 7 } #", "kafka.properties"),
    ("sample = 0.01", "sample = 0.02", "otlp.sample"),
    ("always = [\"deny\", \"fault\", \"slow\"]", "always = [\"deny\"]", "otlp.always"),
    ("slow = \"250ms\"", "slow = \"251ms\"", "otlp.slow"),
    ("endpoint = \"http://127.0.0.1:4318\"", "endpoint = \"http://127.0.0.1:4319\"", "otlp.endpoint"),
    ("format = \"json\"", "format = \"text\"", "log.format"),
    ("level = \"info\"", "level = \"debug\"", "log.level"),
];

/// Keys that the edits leave out: they need files, or are spoken for by their table.
const NOT_EDITED: [&str; 3] = ["listen.tls", "audit.signing_key", "otlp.headers"];

#[test]
fn each_key_is_named_and_applies_at_once_or_waits() {
    let in_force = config(FULL);
    for (from, to, key) in EDITS {
        let adopted = adopt(&in_force, edited(from, to)).unwrap();
        let (named, silent) = if is_at_once(key) {
            (&adopted.changed, &adopted.pending_restart)
        } else {
            (&adopted.pending_restart, &adopted.changed)
        };
        assert!(named.iter().any(|name| name == key), "{key}: {adopted:?}");
        assert!(!silent.iter().any(|name| name == key), "{key}: {adopted:?}");
        let same = adopted.config.generation() == in_force.generation();
        assert_eq!(same, adopted.changed.is_empty(), "{key}: what is not in force must not change the generation");
    }
}

#[test]
fn no_key_is_forgotten() {
    for leaf in keys::leaves() {
        let known = EDITS.iter().map(|(_, _, key)| *key).chain(NOT_EDITED).any(|key| {
            // `authorizer.opa` speaks for every key of an authorizer.
            let table = key.trim_end_matches(".opa").trim_end_matches(".default");
            within(&leaf.path, table)
        });
        assert!(known, "{} has no edit", leaf.path);
    }
    for known in AT_ONCE {
        assert!(keys::leaves().iter().any(|leaf| within(&leaf.path, known)), "{known} is no key");
    }
}

#[test]
fn what_waits_is_as_it_was() {
    let in_force = config(FULL);
    let both = FULL.replace("path = \"/\"", "path = \"/x\"").replace("drain = \"17s\"", "drain = \"18s\"");
    let adopted = adopt(&in_force, config(&both)).unwrap();
    assert_eq!((adopted.changed, adopted.pending_restart), (vec!["listen.path".into()], vec!["listen.drain".into()]));
    assert_eq!((adopted.config.listen.path.as_str(), adopted.config.listen.drain), ("/x", in_force.listen.drain));
    assert!(!adopted.decides_anew);
    // Read once more, only what waits is left.
    let again = adopt(&adopted.config, config(&both)).unwrap();
    assert_eq!((again.changed, again.pending_restart), (vec![], vec!["listen.drain".to_owned()]));
}

#[test]
fn what_decides_is_named() {
    let in_force = config(FULL);
    for (from, to, key) in EDITS {
        let decides = ["authorizer", "route", "cache"].iter().any(|table| within(key, table));
        assert_eq!(adopt(&in_force, edited(from, to)).unwrap().decides_anew, decides, "{key}");
    }
}

#[test]
fn the_order_of_routes_is_a_change() {
    let second = "\n[[route]]\nname = \"second\"\nask = [\"opa\"]\n[cache]\nentries";
    let two = FULL.replace("\n[cache]\nentries", second);
    let swapped =
        two.replace("\"default\"", "\"x\"").replace("\"second\"", "\"default\"").replace("\"x\"", "\"second\"");
    let swapped = swapped.replace("match = {", "#match = {");
    let two = two.replace("match = {", "#match = {").replace("combine = \"first\"", "").replace("shadow = []", "");
    let swapped = swapped.replace("combine = \"first\"", "").replace("shadow = []", "");
    let adopted = adopt(&config(&two), config(&swapped)).unwrap();
    assert_eq!(adopted.changed, ["route.second", "route.default"]);
}

#[test]
fn nobody_asks_without_a_token_from_elsewhere() {
    let open = FULL.replace("127.0.0.1:8281\"", "0.0.0.0:8281\"\ntokens = [{ name = \"m\", env = \"T\" }]");
    let refused = adopt(&config(&open), config(FULL)).unwrap_err();
    assert_eq!(refused, Unadoptable::NoTokens("0.0.0.0:8281".parse().unwrap()));
    // The other way round the address waits, and the tokens are asked for at once.
    let adopted = adopt(&config(FULL), config(&open)).unwrap();
    assert_eq!(
        (adopted.changed, adopted.pending_restart),
        (vec!["listen.tokens".into()], vec!["listen.address".into()])
    );
}
