//! `countersign pseudonym`: what records have instead of a name, for staff who hold the key. It asks nobody and turns no
//! pseudonym back into a name: nothing can. Called by `main`.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use secrecy::ExposeSecret as _;

use crate::commands::Exit;
use crate::commands::check::DEFAULT_PATH;
use crate::commands::readers::Failure;
use crate::config;
use crate::config::meant::{Object, PrivacyKey};
use crate::policy::privacy::forms::directories;
use crate::policy::privacy::key::{Key, Kind};

/// A question has at most 1 MiB unless `listen.max_body` says otherwise; no name comes near.
const MOST: u64 = 64 * 1024 * 1024;

/// Print the pseudonym that records have instead of a name
///
/// For `tail --account` and its like. The name is used byte for byte, as MinIO sends it: an object's key without the bucket
/// and not percent-encoded, an address as MinIO wrote it. Whether records have pseudonyms, and of which key, their
/// `privacy_key_id` says.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What the text is the name of
    #[arg(value_enum)]
    kind: KindArg,
    /// The text. Whoever sees this machine's processes sees it here; without it, it is read from standard input, but for
    /// one newline at its end (`input` and `session_policy`: to the last byte)
    name: Option<String>,
    /// The configuration that has the keys
    #[arg(long, value_name = "FILE", env = "COUNTERSIGN_CONFIG", default_value = DEFAULT_PATH)]
    config: PathBuf,
    /// One key's file, instead of a configuration
    #[arg(long, value_name = "FILE", conflicts_with_all = ["all", "key_id"])]
    key_file: Option<String>,
    /// Another key of the configuration than the one in force
    #[arg(long, value_name = "ID")]
    key_id: Option<String>,
    /// With every key of the configuration, oldest first, each line preceded by the key's id and a tab
    #[arg(long, conflicts_with = "key_id")]
    all: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum KindArg {
    /// Account, principal, parent, group, and the user or group of an admin action
    Account,
    /// Object key, or prefix of a listing
    Object,
    /// Client address
    ReportedIp,
    /// User agent, or an id in an unusual form
    Text,
    /// A whole question, byte for byte: `input_sha256`
    Input,
    /// The claim `sessionPolicy` as sent: `session_policy_sha256`
    SessionPolicy,
}

impl From<KindArg> for Kind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Account => Self::Account,
            KindArg::Object => Self::Object,
            KindArg::ReportedIp => Self::ReportedIp,
            KindArg::Text => Self::Text,
            KindArg::Input => Self::Input,
            KindArg::SessionPolicy => Self::SessionPolicy,
        }
    }
}

/// What makes pseudonyms.
struct Keyring {
    keys: Vec<Key>,
    /// Records have the directories before an object's pseudonym.
    prefix: bool,
}

pub fn run(args: &Args) -> Result<Exit, Failure> {
    let ring = match &args.key_file {
        Some(path) => one(path).map_err(Failure::Usage)?,
        None => configured(args)?,
    };
    let kind = args.kind.into();
    let name = match &args.name {
        Some(name) => name.clone().into_bytes(),
        None => read(kind, &mut io::stdin().lock()).context("standard input cannot be read")?,
    };
    print(&ring, args.all, kind, &name, &mut io::stdout().lock()).context("output cannot be written")?;
    Ok(Exit::Fine)
}

fn one(path: &str) -> Result<Keyring, String> {
    let text = config::secret_file(path)?.0;
    let key = Key::new("", text.as_bytes()).map_err(|error| format!("`{path}`: {error}"))?;
    Ok(Keyring { keys: vec![key], prefix: false })
}

fn configured(args: &Args) -> Result<Keyring, Failure> {
    let loaded = config::load(&args.config)?;
    let privacy = &loaded.config.audit.privacy;
    let wanted: Vec<&PrivacyKey> = match &args.key_id {
        Some(id) => privacy.keys.iter().filter(|key| key.id == *id).collect(),
        None if args.all => privacy.keys.iter().collect(),
        None => privacy.in_force().into_iter().collect(),
    };
    if wanted.is_empty() {
        let which = args.key_id.as_deref().map_or_else(|| "no key".to_owned(), |id| format!("no key `{id}`"));
        return Err(Failure::Usage(format!("`audit.privacy.keys` of `{}` has {which}", args.config.display())));
    }
    let key = |key: &PrivacyKey| Key::new(&key.id, key.value.expose_secret().as_bytes());
    let keys = wanted.into_iter().map(key).collect::<Result<Vec<_>, _>>();
    let keys = keys.map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(Keyring { keys, prefix: privacy.modes.object == Object::Prefix })
}

fn read(kind: Kind, from: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut name = Vec::new();
    from.take(MOST + 1).read_to_end(&mut name)?;
    if name.len() as u64 > MOST {
        return Err(io::Error::other("more than 64 MiB"));
    }
    if !matches!(kind, Kind::Input | Kind::SessionPolicy) && name.ends_with(b"\n") {
        name.pop();
    }
    Ok(name)
}

fn print(ring: &Keyring, with_id: bool, kind: Kind, name: &[u8], out: &mut dyn Write) -> io::Result<()> {
    for key in &ring.keys {
        if with_id {
            write!(out, "{}\t", key.id())?;
        }
        match kind {
            // These members are hashes without a name of their own.
            Kind::Input | Kind::SessionPolicy => writeln!(out, "{}", key.digest(kind, name))?,
            Kind::Object if ring.prefix => {
                let readable = std::str::from_utf8(name).map(directories).unwrap_or_default();
                writeln!(out, "{readable}{}", key.pseudonym(kind, name))?;
            }
            Kind::Object | Kind::Account | Kind::ReportedIp | Kind::Text => {
                writeln!(out, "{}", key.pseudonym(kind, name))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> Key {
        Key::new(id, format!("{id}, a key that is long enough for it").as_bytes()).unwrap()
    }

    fn printed(prefix: bool, with_id: bool, kind: Kind, name: &str) -> String {
        let mut out = Vec::new();
        let ring = Keyring { keys: vec![key("old"), key("new")], prefix };
        print(&ring, with_id, kind, name.as_bytes(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_is_what_a_record_has() {
        let [old, new] = ["old", "new"].map(|id| key(id).pseudonym(Kind::Object, b"a/b.txt"));
        assert_eq!(printed(false, false, Kind::Object, "a/b.txt"), format!("{old}\n{new}\n"));
        assert_eq!(printed(true, true, Kind::Object, "a/b.txt"), format!("old\ta/{old}\nnew\ta/{new}\n"));
        let hash = printed(false, false, Kind::Input, "{}");
        assert!(hash.lines().all(|line| line.len() == 64), "{hash}");
    }

    #[test]
    fn one_newline_is_not_part_of_a_name() {
        let given = |kind, text: &str| read(kind, &mut text.as_bytes()).unwrap();
        assert_eq!(given(Kind::Account, "alice\n"), b"alice");
        assert_eq!(given(Kind::Account, "alice\n\n"), b"alice\n");
        assert_eq!(given(Kind::Account, " alice"), b" alice");
        assert_eq!(given(Kind::Input, "{}\n"), b"{}\n");
    }
}
