//! Who decides: `[[authorizer]]`. Called by `check`.

use std::net::IpAddr;
use std::time::Duration;

use super::{file, key_file, name, no_duplicates, shown};
use crate::config::keys::join;
use crate::config::meant::{Authorizer, Breaker, ClientTls, Identity, Url};
use crate::config::secret::{self, Use};
use crate::config::written::{At, Table};

/// What routes are checked against.
#[derive(Debug)]
pub struct Authorizers {
    /// Of all that are written, also where the rest is wrong.
    pub names: Vec<At<String>>,
    /// All that could be read.
    pub meant: Vec<Authorizer>,
}

impl Authorizers {
    /// The longest that asking one of them can take, all attempts together.
    pub fn longest(&self, name: &str) -> Option<Duration> {
        self.meant.iter().find(|authorizer| authorizer.name == name).map(Authorizer::longest)
    }
}

pub fn all(root: &Table<'_>) -> Authorizers {
    let tables = root.tables("authorizer");
    if tables.is_empty() && root.written("authorizer").is_none_or(|written| written.get_ref().is_array()) {
        let message = "`[[authorizer]]` is missing: somebody must decide, for Countersign does not";
        root.page.error(&root.place("authorizer"), message);
    }
    let names: Vec<_> = tables.iter().filter_map(|table| table.at::<String>("name")).collect();
    no_duplicates(root, "authorizer", &names);
    Authorizers { names, meant: tables.iter().filter_map(authorizer).collect() }
}

fn authorizer(table: &Table<'_>) -> Option<Authorizer> {
    let name = name(table, "name");
    let url = url(table, "url");
    let tls = url.as_ref().and_then(|url| tls(table, url));
    let token = table.has("token").then(|| secret::read(&table.table("token"), Use::Header)).flatten();
    let breaker = table.table("breaker");
    let (failures, open_for) = (breaker.get("failures"), breaker.get("open_for"));
    let (dialect, timeout, retries) = (table.word("dialect"), table.get("timeout"), table.get("retries"));
    let (retry_on, max_in_flight) = (table.words("retry_on"), table.get("max_in_flight"));
    let (cache_control, deny_only) = (table.word("cache_control"), table.word("deny_only"));
    Some(Authorizer {
        name: name?.value,
        url: url?,
        dialect: dialect?,
        timeout: timeout?,
        retries: retries?,
        retry_on: retry_on?,
        max_in_flight: max_in_flight?,
        cache_control: cache_control?,
        token,
        tls,
        breaker: Breaker { failures: failures?, open_for: open_for? },
        deny_only: deny_only?,
    })
}

/// A URL of a key. What is wrong is said without repeating a password in it.
pub(super) fn url(table: &Table<'_>, key: &str) -> Option<Url> {
    let text = table.get::<String>(key)?;
    match Url::parse(&text) {
        Ok(url) => Some(url),
        Err(why) => {
            // What stands before an `@` is a password.
            let shown = if text.contains('@') { String::new() } else { format!("`{}` ", shown(&text)) };
            table.error(key, format!("the URL {shown}of `{}` {why}", join(&table.path, key)));
            None
        }
    }
}

/// What TLS to this URL needs; for http, nothing.
fn tls(table: &Table<'_>, url: &Url) -> Option<ClientTls> {
    let written = table.table("tls");
    if !url.https {
        if written.is_written() {
            table.error("tls", format!("`authorizer.tls` is for https, but the URL is `{url}`"));
        }
        return None;
    }
    let ca = file(&written, "ca");
    let identity = match (written.has("certificate"), written.has("key")) {
        (true, true) => file(&written, "certificate").zip(key_file(&written, "key")),
        (true, false) => {
            written.error("certificate", "`authorizer.tls.certificate` needs `key`");
            None
        }
        (false, true) => {
            written.error("key", "`authorizer.tls.key` needs `certificate`");
            None
        }
        (false, false) => None,
    };
    Some(ClientTls {
        ca,
        identity: identity.map(|(certificate, key)| Identity { certificate, key }),
        server_name: server_name(&written, url),
    })
}

/// The name to verify: never empty, since an empty one would switch verification off.
fn server_name(table: &Table<'_>, url: &Url) -> String {
    let Some(name) = table.get::<String>("server_name") else { return url.host.clone() };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let host = !name.is_empty() && name.len() <= 253 && name.bytes().all(fits);
    if !host && name.parse::<IpAddr>().is_err() {
        table.error("server_name", "`authorizer.tls.server_name` takes a host name; an empty one would verify nothing");
        return url.host.clone();
    }
    name
}
