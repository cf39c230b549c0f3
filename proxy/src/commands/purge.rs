//! `countersign purge`: takes answers of a running Countersign's cache back, through its admin listener. One process at a
//! time: each has a cache of its own. Called by `main`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use crate::commands::Exit;
use crate::commands::check::DEFAULT_PATH;
use crate::commands::door::{self, Door};
use crate::config;
use crate::decide::purge::Rule;

/// Connecting, and then each wait for bytes.
const PATIENCE: Duration = Duration::from_secs(10);

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

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let Args { account, bucket, prefix, all, .. } = args;
    if let Err(error) = Rule::new(*all, account.as_deref(), bucket.as_deref(), prefix.as_deref()) {
        eprintln!("countersign: {error}");
        return Ok(Exit::Usage);
    }
    let Some(door) = door(args)? else { return Ok(Exit::Usage) };
    let body = serde_json::json!({ "all": all, "account": account, "bucket": bucket, "prefix": prefix });
    let (status, answer) = door.post("/purge", &body.to_string())?;
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
        let Some(host) = door::host(url) else {
            eprintln!("countersign: `{url}` is not `http://host:port`");
            return Ok(None);
        };
        let (addresses, host) = (door::addresses(host)?, host.to_owned());
        return Ok(Some(Door { addresses, host, token: shown, patience: PATIENCE }));
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
    let (addresses, token) = (vec![address], shown.or(config.admin.token));
    Ok(Some(Door { addresses, host: address.to_string(), token, patience: PATIENCE }))
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
