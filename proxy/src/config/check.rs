//! From written to meant: what one value demands of another, and what its author may not expect. Every part reads all
//! of its keys before it gives up, so that one run reports every mistake. Called by `config::parse`.

mod audit;
mod authorizers;
mod door;
mod kafka;
mod otlp;
mod privacy;
mod routes;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use super::meant::{Config, PemFile};
use super::secret::{self, plain};
use super::written::{At, Table};
use crate::{certificates, small_file};
pub(super) use routes::longest;

/// Longest name of an instance, client, authorizer or route: they are metric labels and header values.
const LONGEST_NAME: usize = 64;

/// The whole configuration, or `None` where something without which there is none is missing or wrong. Only to be used
/// if no error was reported.
pub fn config(root: &Table<'_>) -> Option<Config> {
    let instance = instance(root);
    let listen = door::listen(&root.table("listen"));
    let admin = door::admin(&root.table("admin"), &root.table("listen"));
    let authorizers = authorizers::all(root);
    let cache = routes::cache(&root.table("cache"));
    let routes = cache.as_ref().and_then(|cache| routes::all(root, &authorizers, listen.as_ref(), cache));
    let audit = audit::audit(&root.table("audit"), root.has("kafka"));
    let kafka = root.has("kafka").then(|| kafka::kafka(&root.table("kafka")));
    let otlp = root.has("otlp").then(|| otlp::otlp(&root.table("otlp")));
    let log = door::log(&root.table("log"));
    Some(Config {
        instance: instance?,
        listen: listen?,
        admin: admin?,
        authorizers: authorizers.meant,
        routes: routes?,
        cache: cache?,
        audit: audit?,
        kafka: kafka.flatten(),
        otlp: otlp.flatten(),
        log: log?,
    })
}

fn instance(root: &Table<'_>) -> Option<String> {
    if root.has("instance") {
        return name(root, "instance").map(|name| name.value);
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if !is_name(&host) {
        root.page.error(&None, format!("the host name `{host}` cannot name an instance; write `instance = \"…\"`"));
        return None;
    }
    Some(host)
}

/// A text that may be a label: 1 to 64 of `A-Z a-z 0-9 . _ -`.
fn name(table: &Table<'_>, key: &str) -> Option<At<String>> {
    let name = table.at::<String>(key)?;
    if !is_name(&name) {
        let path = super::keys::join(&table.path, key);
        table.error(key, format!("`{path}` is `{}`, but takes 1 to {LONGEST_NAME} of A-Z a-z 0-9 . _ -", shown(&name)));
        return None;
    }
    Some(name)
}

fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(fits)
}

/// What a file holds, fit for one line of a message.
fn shown(text: &str) -> String {
    text.escape_debug().take(80).collect()
}

/// Reports every name that stands twice in a list.
fn no_duplicates<'n>(table: &Table<'_>, what: &str, names: impl IntoIterator<Item = &'n At<String>>) {
    let mut seen = std::collections::HashSet::new();
    for name in names {
        if !seen.insert(name.value.clone()) {
            table.page.error(&name.span, format!("{what} `{}` stands here twice", shown(name)));
        }
    }
}

/// A file that others will open: it must be there and readable now. `None` where nothing usable is written.
fn file(table: &Table<'_>, key: &str) -> Option<PemFile> {
    let path = PathBuf::from(table.get::<String>(key)?);
    table.page.depends_on(&path);
    if secret::is_absent(table, key, &path) {
        return None;
    }
    match small_file::content(&path, certificates::LARGEST) {
        Ok(content) => Some(PemFile { path, sha256: hex::encode(Sha256::digest(&*content)) }),
        Err(error) => {
            table.error(key, format!("cannot read `{}`: {}", shown(&path.to_string_lossy()), plain(&error)));
            None
        }
    }
}

/// The same of a private key, which is nobody else's to read.
fn key_file(table: &Table<'_>, key: &str) -> Option<PemFile> {
    let file = file(table, key)?;
    secret::warn_if_wide(table, key, &file.path);
    Some(file)
}
