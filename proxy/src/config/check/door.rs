//! The doors: `[listen]`, `[admin]`, and the log. Called by `check`.

use std::net::SocketAddr;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::{file, key_file, name, no_duplicates, shown};
use crate::config::meant::{Admin, Clients, Listen, ListenTls, Log, Token};
use crate::config::secret::{self, Use};
use crate::config::written::{At, Table};

/// MinIO closes its idle connections after 15 s; closing ours first can cut off a question, which it does not repeat.
const MINIO_IDLE: Duration = Duration::from_secs(15);

pub fn listen(table: &Table<'_>) -> Option<Listen> {
    let address = table.get::<SocketAddr>("address");
    let clients = clients(table, address);
    let path = path(table);
    let tls = table.has("tls").then(|| tls(&table.table("tls")));
    let keepalive = table.at::<Duration>("keepalive");
    if let Some(keepalive) = &keepalive
        && keepalive.value <= MINIO_IDLE
    {
        let message = "`listen.keepalive` should be above 15s: MinIO keeps idle connections that long, and a question on \
                       one that we close is denied";
        table.warn("keepalive", message);
    }
    let (read_timeout, deadline) = (table.get("read_timeout"), table.get("deadline"));
    let (max_body, max_in_flight) = (table.get("max_body"), table.get("max_in_flight"));
    let (drain, suspicious) = (table.get("drain"), table.word("suspicious"));
    Some(Listen {
        address: address?,
        path: path?,
        clients: clients?,
        tls: tls.flatten(),
        read_timeout: read_timeout?,
        deadline: deadline?,
        max_body: max_body?,
        max_in_flight: max_in_flight?,
        keepalive: keepalive?.value,
        drain: drain?,
        suspicious: suspicious?,
    })
}

fn clients(table: &Table<'_>, address: Option<SocketAddr>) -> Option<Clients> {
    let tables = table.tables("tokens");
    let mut names = Vec::new();
    let mut tokens: Vec<Token> = Vec::new();
    for written in &tables {
        let (name, value) = (name(written, "name"), secret::read(written, Use::Header));
        names.extend(name.clone());
        let (Some(name), Some(value)) = (name, value) else { continue };
        if let Some(same) = tokens.iter().find(|token| token.value.expose_secret() == value.expose_secret()) {
            let message = format!("`{}` and `{}` are the same token; who sends it is `{0}`", same.name, name.value);
            table.page.warn(&name.span, message);
        }
        tokens.push(Token { name: name.value, value });
    }
    no_duplicates(table, "token", &names);
    if !tables.is_empty() {
        return Some(Clients::Tokens(tokens));
    }
    let address = address?;
    if !address.ip().to_canonical().is_loopback() {
        let message =
            format!("`listen.tokens` is missing: whoever reaches `{address}`, which is not loopback, could ask");
        table.error("address", message);
    }
    Some(Clients::Loopback)
}

fn path(table: &Table<'_>) -> Option<String> {
    let path = table.get::<String>("path")?;
    let fits =
        path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'));
    if !fits {
        let message =
            format!("`listen.path` is `{}`, but begins with `/` and has no query, space or fragment", shown(&path));
        table.error("path", message);
    }
    Some(path)
}

fn tls(table: &Table<'_>) -> Option<ListenTls> {
    let (certificate, key, http2) = (file(table, "certificate"), key_file(table, "key"), table.get("http2"));
    Some(ListenTls { certificate: certificate?, key: key?, http2: http2? })
}

/// The operators' door; it must not be MinIO's.
pub fn admin(table: &Table<'_>, listen: &Table<'_>) -> Option<Admin> {
    let address = table.at::<SocketAddr>("address");
    let token = table.has("token").then(|| secret::read(&table.table("token"), Use::Header)).flatten();
    let decision = listen.has("address").then(|| listen.written("address")?.get_ref().as_str()?.parse().ok()).flatten();
    if let (Some(At { value: ours, .. }), Some(theirs)) = (&address, decision)
        && collide(*ours, theirs)
    {
        let place = table.place("address").or_else(|| listen.place("address"));
        table.page.error(&place, format!("`admin.address` `{ours}` is taken by `listen.address` `{theirs}`"));
    }
    Some(Admin { address: address?.value, token })
}

/// Whether both cannot be bound. Port 0 is a free one, and so another.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port()
        && one.port() != 0
        && (everywhere || one.ip().to_canonical() == other.ip().to_canonical())
}

pub fn log(table: &Table<'_>) -> Option<Log> {
    let (format, level) = (table.word("format"), table.word("level"));
    Some(Log { format: format?, level: level? })
}
