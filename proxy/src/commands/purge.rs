//! `countersign purge`: takes answers of a running Countersign's cache back, through its admin listener. One process at a
//! time: each has a cache of its own. Called by `main`.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

use crate::commands::Exit;
use crate::commands::check::DEFAULT_PATH;
use crate::config;
use crate::decide::purge::Rule;

/// Connecting, and then each wait for bytes.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of the answer.
const MAX_ANSWER: u64 = 64 * 1024;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Everything about this access key, and the keys that were derived from it
    #[arg(long, conflicts_with = "all")]
    account: Option<String>,
    /// Everything about this bucket
    #[arg(long, conflicts_with = "all")]
    bucket: Option<String>,
    /// Only what is below this prefix of the bucket, and questions about the bucket itself
    #[arg(long, requires = "bucket", conflicts_with = "all")]
    prefix: Option<String>,
    /// Everything
    #[arg(long)]
    all: bool,
    /// Whose admin listener: `http://host:port`, instead of the one in the configuration
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// File that holds the admin token and nothing else, instead of the one in the configuration
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The configuration that says where the admin listener is and how to authenticate
    #[arg(long, value_name = "FILE", env = "COUNTERSIGN_CONFIG", default_value = DEFAULT_PATH)]
    config: PathBuf,
}

/// Where to ask, and with which token.
struct Door {
    addresses: Vec<SocketAddr>,
    host: String,
    token: Option<SecretString>,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let Args { account, bucket, prefix, all, .. } = args;
    if let Err(error) = Rule::new(*all, account.as_deref(), bucket.as_deref(), prefix.as_deref()) {
        eprintln!("countersign: {error}");
        return Ok(Exit::Usage);
    }
    let Some(door) = door(args)? else { return Ok(Exit::Usage) };
    let body = serde_json::json!({ "all": all, "account": account, "bucket": bucket, "prefix": prefix });
    let (status, answer) = post(&door, &body.to_string())?;
    if status == 200 {
        return Ok(Exit::Fine);
    }
    let error = serde_json::from_str::<serde_json::Value>(&answer);
    let error = error.ok().and_then(|answer| answer.get("error")?.as_str().map(str::to_owned));
    match error {
        Some(error) => bail!("`{}` refused with status {status}: {error}", door.host),
        None => bail!("`{}` answered with status {status}: is it the admin listener?", door.host),
    }
}

/// `None` where the configuration has mistakes, which have then been said.
fn door(args: &Args) -> anyhow::Result<Option<Door>> {
    let shown = args.token_file.as_deref().map(token).transpose()?;
    if let Some(url) = &args.admin {
        let Some(host) = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/')) else {
            eprintln!("countersign: `{url}` is not `http://host:port`");
            return Ok(None);
        };
        let addresses = host.to_socket_addrs().with_context(|| format!("`{host}` has no address"))?.collect();
        return Ok(Some(Door { addresses, host: host.to_owned(), token: shown }));
    }
    let config = match config::load(&args.config) {
        Ok(loaded) => loaded.config,
        Err(mistakes) if mistakes.unreadable => bail!("{mistakes}"),
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return Ok(None);
        }
    };
    let address = reachable(config.admin.address);
    Ok(Some(Door { addresses: vec![address], host: address.to_string(), token: shown.or(config.admin.token) }))
}

/// Who listens everywhere listens here.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn token(path: &Path) -> anyhow::Result<SecretString> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.with_context(|| format!("cannot read `{}`", path.display()))?;
    let token = text.strip_suffix('\n').unwrap_or(&text);
    let token = token.strip_suffix('\r').unwrap_or(token);
    // What is not one line of a header would be another request.
    if token.is_empty() || !token.bytes().all(|byte| matches!(byte, 0x20..=0x7e)) {
        bail!("`{}` does not hold one line of visible ASCII", path.display());
    }
    Ok(token.into())
}

/// Status and body of the answer.
fn post(door: &Door, body: &str) -> anyhow::Result<(u16, String)> {
    let mut stream = connect(&door.addresses).with_context(|| format!("cannot reach `{}`", door.host))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let authorization =
        door.token.as_ref().map(|token| Zeroizing::new(format!("Authorization: {}\r\n", token.expose_secret())));
    let request = Zeroizing::new(format!(
        "POST /purge HTTP/1.1\r\nHost: {}\r\n{}Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        door.host,
        authorization.as_deref().map_or("", String::as_str),
        body.len(),
    ));
    stream.write_all(request.as_bytes()).with_context(|| format!("cannot ask `{}`", door.host))?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).with_context(|| format!("no answer from `{}`", door.host))?;
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    match (head.parse(&answer), head.code) {
        (Ok(httparse::Status::Complete(end)), Some(status)) => {
            let body = answer.get(end..).unwrap_or_default();
            Ok((status, String::from_utf8_lossy(body).into_owned()))
        }
        _ => bail!("`{}` does not answer in HTTP", door.host),
    }
}

fn connect(addresses: &[SocketAddr]) -> std::io::Result<TcpStream> {
    let mut failed = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect_timeout(address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}
