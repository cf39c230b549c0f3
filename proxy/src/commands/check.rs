//! `countersign check`: every mistake in a configuration, and what it means in numbers. It asks nobody unless told to
//! (`--probe`), and binds nothing. Called by `main`. Each subject of the probe has a file in `check/`, and so have
//! certificates, which are looked at without asking.

mod alive;
mod authorizers;
mod certificates;
mod kafka;

use crate::commands::Exit;
use crate::config::{self, Config, Diagnostics, Loaded, summary};
use std::io::{self, Write};
use std::path::PathBuf;

/// Where the configuration is unless said; `serve` looks there, too.
pub const DEFAULT_PATH: &str = "/etc/countersign/countersign.toml";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration to look at
    #[arg(value_name = "FILE", env = "COUNTERSIGN_CONFIG", default_value = DEFAULT_PATH)]
    pub file: PathBuf,
    /// Also ask what the configuration names: each authorizer what it is and how fast, the Kafka topics for their settings
    #[arg(long)]
    pub probe: bool,
    /// Look at no configuration: only ask a running Countersign whether it answers, for a health check
    #[arg(long, conflicts_with = "probe")]
    pub alive: bool,
    /// Whose admin listener `--alive` asks
    #[arg(long, value_name = "URL", env = "COUNTERSIGN_ADMIN", default_value = "http://127.0.0.1:9281")]
    pub admin: String,
}

/// What the probe found out about one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Remark {
    Fine(String),
    /// Costs something; `line` is the command that mends it.
    Found {
        text: String,
        line: Option<String>,
    },
    /// Nobody answered.
    Unknown(String),
}

/// Who is asked, in this order.
const SUBJECTS: [fn(&Config) -> Vec<Remark>; 2] = [authorizers::look, kafka::look];

/// Fine for a configuration that can be used, even with warnings; wrong usage for one with mistakes; failed where it
/// cannot be read. With `--probe`: found where something costs something, else failed where nobody answered. With `--alive`:
/// found where nobody is alive.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    if args.alive {
        return alive::ask(&args.admin, &mut io::stdout().lock());
    }
    let outcome = config::load(&args.file);
    if let Ok(loaded) = &outcome {
        match certificates::look(&loaded.config) {
            Ok(all) => all.iter().for_each(|warning| eprintln!("{}: warning: {warning}", args.file.display())),
            Err(error) => {
                eprintln!("{}: {error}", args.file.display());
                return Ok(Exit::Usage);
            }
        }
    }
    let exit = report(&outcome, args.probe, &mut io::stdout().lock(), &mut io::stderr().lock())?;
    match &outcome {
        Ok(loaded) if args.probe => {
            let remarks = SUBJECTS.iter().flat_map(|subject| subject(&loaded.config));
            Ok(tell(remarks, &mut io::stdout().lock())?)
        }
        Ok(_) | Err(_) => Ok(exit),
    }
}

/// Each as soon as it is known.
fn tell(remarks: impl Iterator<Item = Remark>, out: &mut dyn Write) -> io::Result<Exit> {
    let (mut found, mut unknown) = (false, false);
    for remark in remarks {
        match remark {
            Remark::Fine(text) => writeln!(out, "{text}")?,
            Remark::Found { text, line } => {
                found = true;
                writeln!(out, "{text}")?;
                if let Some(line) = line {
                    writeln!(out, "  {line}")?;
                }
            }
            Remark::Unknown(text) => {
                unknown = true;
                writeln!(out, "{text}")?;
            }
        }
    }
    Ok(match (found, unknown) {
        (true, _) => Exit::Found,
        (false, true) => Exit::Failed,
        (false, false) => Exit::Fine,
    })
}

/// Mistakes and warnings go to `err`, what the configuration means to `out`. With `probe` somebody is to be asked after it.
fn report(
    outcome: &Result<Loaded, Diagnostics>,
    probe: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    match outcome {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                writeln!(err, "{warning}")?;
            }
            for line in summary::summary(&loaded.config) {
                writeln!(out, "{line}")?;
            }
            Ok(Exit::Fine)
        }
        Err(diagnostics) => {
            writeln!(err, "{diagnostics}")?;
            if diagnostics.only_absent() {
                writeln!(out, "no mistakes; `check` says more while the service runs")?;
                if probe {
                    writeln!(err, "nobody was asked: that takes what is not there")?;
                    return Ok(Exit::Failed);
                }
                return Ok(Exit::Fine);
            }
            Ok(if diagnostics.unreadable { Exit::Failed } else { Exit::Usage })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = include_str!("../../../config/minimal.toml");

    /// Exit code, stdout, stderr.
    fn check(outcome: &Result<Loaded, Diagnostics>) -> (Exit, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = report(outcome, false, &mut out, &mut err).unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    fn parse(text: &str) -> Result<Loaded, Diagnostics> {
        config::parse(text, "c.toml", &|_| None)
    }

    #[test]
    fn a_good_file_is_explained_in_numbers() {
        let (code, out, err) = check(&parse(&format!("instance = \"eu1\"\n{MINIMAL}")));
        assert_eq!((code, err.as_str()), (Exit::Fine, ""));
        for expected in [
            "instance `eu1` answers on http://127.0.0.1:8281/ to whoever is on this machine, as client `local`\n",
            "route `default`: everything → `opa`; attempts take at most 1s of the 1s 750ms that the deadline leaves",
            "20 GiB holds about 13 million records: 3 h 38 min without Kafka at 1,000 decisions/s",
            "personal data: `account`, `object`, `reported_ip` plain",
            "a withdrawn right takes effect after at most 10s",
        ] {
            assert!(out.contains(expected), "{expected} is not in\n{out}");
        }
    }

    #[test]
    fn a_shadow_is_told_from_who_decides() {
        let (code, out, _) = check(&parse(include_str!("../../../config/shadow.toml")));
        let expected = "route `default`: everything → `legacy`, with `new-opa` as shadow; attempts take at most";
        assert!(code == Exit::Fine && out.contains(expected), "{out}");
    }

    #[test]
    fn what_is_kept_about_people_is_said_in_words() {
        let key = |name: &str| (name == "K").then(|| "k".repeat(32));
        let said = |privacy: &str| {
            let text = MINIMAL.replace("[kafka]", &format!("[audit.privacy]\n{privacy}\n[kafka]"));
            check(&config::parse(&text, "c.toml", &key)).1
        };
        let out = said("account = \"hmac\"\nobject = \"prefix\"\nkeys = [{ id = \"2026-11\", env = \"K\" }]");
        for expected in
            ["people and groups are pseudonyms", "directories", "addresses are readable", "key `2026-11` is in force"]
        {
            assert!(out.contains(expected), "{expected} is not in\n{out}");
        }
        let out = said("account = \"drop\"\nobject = \"drop\"\nreported_ip = \"truncate\"");
        for expected in ["people and groups are left out", "keys are left out", "their /24 or /48", "there is no key"] {
            assert!(out.contains(expected), "{expected} is not in\n{out}");
        }
    }

    #[test]
    fn what_the_probe_found_decides_how_it_ends() {
        let fine = || Remark::Fine("a".to_owned());
        let unknown = || Remark::Unknown("b".to_owned());
        let found = || Remark::Found { text: "c".to_owned(), line: Some("d".to_owned()) };
        for (remarks, exit, text) in [
            (vec![], Exit::Fine, ""),
            (vec![fine()], Exit::Fine, "a\n"),
            (vec![fine(), unknown()], Exit::Failed, "a\nb\n"),
            (vec![unknown(), found()], Exit::Found, "b\nc\n  d\n"),
        ] {
            let mut out = Vec::new();
            assert_eq!(tell(remarks.into_iter(), &mut out).unwrap(), exit);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn warnings_alone_are_fine() {
        let (code, out, err) = check(&parse(MINIMAL.split("[kafka]").next().unwrap()));
        assert_eq!(code, Exit::Fine);
        let expected = "without `[kafka]` no record leaves this machine, and once 20 GiB are full the oldest ones are \
                        dropped: after 3 h 38 min at 1,000 decisions/s\n";
        assert!(err.starts_with("c.toml:") && err.ends_with(expected), "{err}");
        assert!(out.contains("not published"), "{out}");
    }

    #[test]
    fn mistakes_are_64_and_print_nothing_on_stdout() {
        let (code, out, err) = check(&parse("[listen]\nadress = 1\n"));
        assert_eq!((code, out.as_str()), (Exit::Usage, ""));
        assert!(err.contains("c.toml:2:1: unknown key `listen.adress`; did you mean `address`?\n"), "{err}");
    }

    /// As the package's configuration has them: its unit is to be started after `check`, not before.
    #[test]
    fn credentials_of_a_service_that_does_not_run_are_no_mistake() {
        let parsed = |path: &str, more: &str, end: &str| {
            let listen = format!("[listen]\ntokens = [{{ name = \"a\", file = \"{path}\" }}]\n{more}");
            parse(&format!("{}{end}", MINIMAL.replacen("[listen]\n", &listen, 1)))
        };
        let with = |path: &str, more: &str, end: &str| check(&parsed(path, more, end));
        let path = "/run/credentials/countersign-that-is-not.service/secret_minio-token";
        let (code, out, err) = with(path, "", "");
        assert_eq!(
            (code, out.as_str()),
            (Exit::Fine, "no mistakes; `check` says more while the service runs\n"),
            "{err}"
        );
        assert!(
            err.contains(&format!(": `{path}` is not there: systemd puts it there while its service runs")),
            "{err}"
        );
        assert_eq!(err.lines().count(), 1, "{err}");
        let probed = report(&parsed(path, "", ""), true, &mut Vec::new(), &mut Vec::new()).unwrap();
        assert_eq!(probed, Exit::Failed, "nobody was asked");
        let route = "\n[[route]]\nname = \"r\"\nask = [\"opa\"]\nmatch = { client = [\"a\"] }\n\
                     [[route]]\nname = \"rest\"\nask = [\"opa\"]\n";
        assert_eq!(with(path, "", route).2.lines().count(), 1, "the client is not missed");
        let (code, _, err) = with(path, &format!("tls = {{ certificate = \"{path}\", key = \"{path}\" }}\n"), "");
        assert_eq!((code, err.lines().count()), (Exit::Fine, 3), "{err}");
        assert_eq!(with(path, "path = 3\n", "").0, Exit::Usage, "beside a mistake");
        // As if it had been asked for as a file of the directory that the credential was made of; and no unit's.
        for elsewhere in [
            "/run/credentials/countersign-that-is-not.service/secret/minio-token",
            "/run/credentials/countersign-that-is-not/minio-token",
            "/run/credentials/../secrets/a.service/minio-token",
            "/run/credentials/minio-token",
            "/run/secrets/minio-token",
        ] {
            assert_eq!(with(elsewhere, "", "").0, Exit::Usage, "{elsewhere}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_2() {
        let (code, out, err) = check(&config::load(std::path::Path::new("/nowhere/c.toml")));
        assert_eq!((code, out.as_str()), (Exit::Failed, ""));
        assert_eq!(err, "/nowhere/c.toml: cannot read: no such file or directory\n");
    }
}
