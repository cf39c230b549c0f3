//! The shipped configurations load, and keys, samples and documentation name the same things. Regenerate the tables of
//! the documentation with `UPDATE_DOCS=1 cargo test -p countersign --test integration config_files`.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;

use countersign::config::adopt::AT_ONCE;
use countersign::config::keys::{self, Given, Key, Takes, join};
use countersign::config::meant::{Account, Object, ReportedIp};
use countersign::config::{self, Config, Loaded};

const SAMPLES: [&str; 5] = ["minimal.toml", "full.toml", "two-authorizers.toml", "shadow.toml", "private.toml"];

/// Where the private sample has its key, which no machine of ours has.
const PSEUDONYM_KEY: &str = "/run/secrets/pseudonym-2026-11.key";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn parse(text: &str) -> Loaded {
    let mut key = tempfile::NamedTempFile::new().unwrap();
    key.write_all(&[b'k'; 64]).unwrap();
    let text = text.replace(PSEUDONYM_KEY, &key.path().display().to_string());
    config::parse(&text, "sample.toml", &|_| None).unwrap_or_else(|all| panic!("{all}"))
}

fn sample(name: &str) -> Config {
    parse(&read(&format!("config/{name}"))).config
}

#[test]
fn every_sample_loads_without_a_warning() {
    let shipped: BTreeSet<String> = std::fs::read_dir(root().join("config"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    assert_eq!(shipped, SAMPLES.iter().map(|name| (*name).to_owned()).collect());
    for name in SAMPLES {
        let warnings = parse(&read(&format!("config/{name}"))).warnings;
        assert_eq!(warnings, [], "{name}");
    }
}

#[test]
fn the_full_sample_means_what_the_minimal_one_does() {
    let (mut minimal, full) = (sample("minimal.toml"), sample("full.toml"));
    assert!(full.otlp.is_some() && minimal.otlp.is_none(), "the one table whose presence means something");
    minimal.otlp = full.otlp.clone();
    assert_eq!(serde_json::to_value(&full).unwrap(), serde_json::to_value(&minimal).unwrap());
}

#[test]
fn the_private_sample_differs_in_privacy_alone() {
    let (mut minimal, private) = (sample("minimal.toml"), sample("private.toml"));
    assert!(minimal.audit.privacy.modes.is_plain());
    let modes = private.audit.privacy.modes;
    assert_eq!((modes.account, modes.object), (Account::Hmac, Object::Hmac));
    assert_eq!(modes.reported_ip, ReportedIp::Truncate);
    minimal.audit.privacy = private.audit.privacy.clone();
    assert_eq!(serde_json::to_value(&private).unwrap(), serde_json::to_value(&minimal).unwrap());
    // As it is shipped it does not load without its key: nothing is plain instead.
    let without = config::parse(&read("config/private.toml"), "sample.toml", &|_| None).unwrap_err().to_string();
    assert!(without.contains(&format!("cannot read `{PSEUDONYM_KEY}`")), "{without}");
}

#[test]
fn two_authorizers_are_routed() {
    let asks: Vec<_> =
        sample("two-authorizers.toml").routes.iter().map(|route| (route.name.clone(), route.ask.clone())).collect();
    assert_eq!(asks, [("moved".into(), vec!["opa".into()]), ("rest".into(), vec!["legacy".into()])]);
}

#[test]
fn the_full_sample_has_every_key() {
    // Examples are lines that begin with `#` and no space.
    let text = read("config/full.toml");
    let is_example = |line: &&str| line.starts_with('#') && !line.starts_with("# ") && line.len() > 1;
    let uncommented: Vec<&str> = text.lines().map(|line| if is_example(&line) { &line[1..] } else { line }).collect();
    let table: toml::Table = uncommented.join("\n").parse().unwrap();
    let known: BTreeSet<String> = keys::leaves().into_iter().map(|leaf| leaf.path).collect();
    let mut written = BTreeSet::new();
    flatten("", &toml::Value::Table(table), &known, &mut written);
    assert_eq!(written, known);
}

fn flatten(path: &str, value: &toml::Value, known: &BTreeSet<String>, into: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table) if !known.contains(path) => {
            table.iter().for_each(|(name, value)| flatten(&join(path, name), value, known, into));
        }
        toml::Value::Array(items) if !known.contains(path) => {
            items.iter().for_each(|item| flatten(path, item, known, into));
        }
        _ => drop(into.insert(path.to_owned())),
    }
}

#[test]
fn the_documentation_has_every_key() {
    let path = "docs/CONFIGURATION.md";
    let text = read(path);
    let generated = with_tables(&text);
    for leaf in keys::leaves() {
        assert!(generated.contains(&format!("| `{}` |", leaf.path)), "{} has no table in {path}", leaf.path);
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(root().join(path), generated).unwrap();
    } else {
        assert!(text == generated, "{path} is out of date: run again with UPDATE_DOCS=1");
    }
}

#[test]
fn the_documentation_says_what_applies_at_once() {
    let text = read("docs/CONFIGURATION.md");
    let (_, list) = text.split_once("<!-- at once -->\n").expect("the list");
    let (list, _) = list.split_once("\n<!-- end -->").expect("its end");
    assert_eq!(list, AT_ONCE.map(|key| format!("`{key}`")).join(", "));
}

/// The text with the tables between `<!-- keys: NAME -->` and `<!-- end -->` made anew.
fn with_tables(text: &str) -> String {
    const BEGIN: &str = "<!-- keys: ";
    const END: &str = "<!-- end -->";
    let mut parts = text.split(BEGIN);
    let mut made = parts.next().unwrap().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(" -->").expect("an end of the comment");
        let (_, after) = rest.split_once(END).expect("an end of the table");
        made += &format!("{BEGIN}{name} -->\n{}{END}{after}", table(name));
    }
    made
}

/// One markdown table of the leaves of a top-level key; `instance` is a leaf itself.
fn table(name: &str) -> String {
    let key = keys::ROOT.iter().find(|key| key.name == name).unwrap_or_else(|| panic!("no key `{name}`"));
    let below = format!("{name}.");
    let mut table = format!("{}\n\n| key | takes | where it is not written | |\n|---|---|---|---|\n", key.about);
    for leaf in keys::leaves().iter().filter(|leaf| leaf.path == name || leaf.path.starts_with(&below)) {
        let Key { takes, given, about, .. } = leaf.key;
        table += &format!("| `{}` | {} | {} | {about} |\n", leaf.path, kind(takes), default(given));
    }
    table
}

fn kind(takes: &Takes) -> String {
    config::keys::takes(takes).replace('|', "\\|")
}

fn default(given: &Given) -> String {
    match given {
        Given::Required => "**required**".to_owned(),
        Given::Absent(meaning) => (*meaning).to_owned(),
        Given::Default(text) => format!("`{text}`"),
    }
}
