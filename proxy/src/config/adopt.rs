//! What a running process takes over of a configuration that was read again, and what waits for a restart. Compares
//! meanings, not texts. It builds nothing and applies nothing; `app::reload` does.

use serde::Serialize;
use serde_json::Value;

use super::meant::{Admin, Clients, Config, Listen};

/// Keys that a reload applies; any other one waits for a restart. A table stands for all of its keys.
pub const AT_ONCE: [&str; 14] = [
    "listen.path",
    "listen.tokens",
    "listen.tls",
    "listen.read_timeout",
    "listen.deadline",
    "listen.max_body",
    "listen.max_in_flight",
    "listen.keepalive",
    "listen.suspicious",
    "admin.token",
    "authorizer",
    "route",
    "cache",
    "log.level",
];

/// What `read` makes of the configuration in force.
#[derive(Debug, Clone)]
pub struct Adopted {
    /// To be in force from now on. Its generation is that of the next records.
    pub config: Config,
    /// Keys whose change applies at once, `listen.path`; of authorizers and routes their names, `route.default`.
    pub changed: Vec<String>,
    /// Keys whose change waits for a restart.
    pub pending_restart: Vec<String>,
    /// Authorizers, routes or cache changed: what was answered before is not to be used again.
    pub decides_anew: bool,
}

/// Why nothing of a valid configuration can be taken over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unadoptable {
    #[error(
        "`listen.tokens` is left out, but the address in force until a restart is {0}, which is not loopback: whoever \
         reaches it could ask"
    )]
    NoTokens(std::net::SocketAddr),
}

/// Takes over what can change while the process runs. `in_force` was adopted before, or is what the process started with.
pub fn adopt(in_force: &Config, read: Config) -> Result<Adopted, Unadoptable> {
    let address = in_force.listen.address;
    if matches!(read.listen.clients, Clients::Loopback) && !address.ip().to_canonical().is_loopback() {
        return Err(Unadoptable::NoTokens(address));
    }
    let (changed, pending_restart): (Vec<_>, Vec<_>) =
        differences(in_force, &read).into_iter().partition(|key| is_at_once(key));
    let decides_anew = ["authorizer", "route", "cache"].iter().any(|table| any_in(&changed, table));
    let old = in_force.clone();
    let config = Config {
        listen: Listen { address, drain: old.listen.drain, ..read.listen },
        admin: Admin { address: old.admin.address, ..read.admin },
        authorizers: read.authorizers,
        routes: read.routes,
        cache: read.cache,
        log: super::meant::Log { format: old.log.format, ..read.log },
        instance: old.instance,
        audit: old.audit,
        kafka: old.kafka,
        otlp: old.otlp,
    };
    Ok(Adopted { config, changed, pending_restart, decides_anew })
}

/// Whether a change of this key applies at once.
pub fn is_at_once(key: &str) -> bool {
    AT_ONCE.iter().any(|known| within(key, known))
}

fn within(key: &str, table: &str) -> bool {
    key.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn any_in(keys: &[String], table: &str) -> bool {
    keys.iter().any(|key| within(key, table))
}

/// Every key whose meaning differs, in the order of the file.
fn differences(old: &Config, new: &Config) -> Vec<String> {
    let mut found = Vec::new();
    // Names every table, so that a new one does not compile before it is compared.
    let Config { instance, listen, admin, authorizers, routes, cache, audit, kafka, otlp, log } = new;
    if *instance != old.instance {
        found.push("instance".to_owned());
    }
    members(&mut found, "listen", &old.listen, listen);
    members(&mut found, "admin", &old.admin, admin);
    named(&mut found, "authorizer", &list(&old.authorizers, |it| &it.name), &list(authorizers, |it| &it.name));
    named(&mut found, "route", &list(&old.routes, |it| &it.name), &list(routes, |it| &it.name));
    members(&mut found, "cache", &old.cache, cache);
    members(&mut found, "audit", &old.audit, audit);
    members(&mut found, "kafka", &old.kafka, kafka);
    members(&mut found, "otlp", &old.otlp, otlp);
    members(&mut found, "log", &old.log, log);
    found
}

/// Members of a table that differ, by the names of their keys; the table itself where it came or went.
fn members<T: Serialize>(found: &mut Vec<String>, table: &str, old: &T, new: &T) {
    let (old, new) = (plain(old), plain(new));
    if let (Value::Object(old), Value::Object(new)) = (&old, &new) {
        let differing = new.iter().filter(|(member, value)| old.get(*member) != Some(value));
        found.extend(differing.map(|(member, _)| {
            // `clients` is what is meant by `tokens`; the others are called like their keys.
            let key = if table == "listen" && member == "clients" { "tokens" } else { member };
            format!("{table}.{key}")
        }));
    } else if old != new {
        found.push(table.to_owned());
    }
}

fn list<T: Serialize>(all: &[T], name: impl Fn(&T) -> &str) -> Vec<(String, Value)> {
    all.iter().map(|one| (name(one).to_owned(), plain(one))).collect()
}

/// Names of those that came, went or changed; of all where only their order did.
fn named(found: &mut Vec<String>, table: &str, old: &[(String, Value)], new: &[(String, Value)]) {
    if old == new {
        return;
    }
    let gone = old.iter().filter(|(name, _)| new.iter().all(|(other, _)| other != name));
    let changed = new.iter().filter(|one| !old.contains(one));
    let mut names: Vec<&str> = changed.chain(gone).map(|(name, _)| name.as_str()).collect();
    if names.is_empty() {
        names = new.iter().map(|(name, _)| name.as_str()).collect();
    }
    found.extend(names.into_iter().map(|name| format!("{table}.{name}")));
}

/// Secrets by their hash, as for the generation.
fn plain<T: Serialize>(meant: &T) -> Value {
    // A value of these types always becomes JSON.
    serde_json::to_value(meant).unwrap_or_default()
}

#[cfg(test)]
mod tests;
