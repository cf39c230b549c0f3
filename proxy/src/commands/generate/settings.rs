//! The manual page of the configuration file, from the table of keys that the program reads it by. Called by `manual`.

use clap_mangen::roff::{Roff, bold, roman};

use crate::config::keys::{self, Given, Key, Leaf, takes};

pub(super) const NAME: &str = "countersign.toml";

const ABOUT: &[&str] = &[
    "`countersign serve` reads one TOML file. What is not written has a default, but for the keys that are called required. `countersign \
     check FILE` says every mistake in it at once, and what it means in numbers; `countersign schema config` has the same keys as a JSON Schema.",
    "Durations and sizes have a unit: `250ms`, `1h 30m`, `20GiB`. Secrets are never written into the file, but named: `{ file = \"…\" }` or \
     `{ env = \"…\" }`. Nothing is expanded.",
];

/// In roff, with backticks where something is quoted.
pub(super) fn page() -> String {
    let mut roff = Roff::new();
    roff.control("SH", ["NAME"]).text([roman(format!("{NAME} - configuration of countersign"))]);
    roff.control("SH", ["DESCRIPTION"]);
    for (at, paragraph) in ABOUT.iter().enumerate() {
        if at > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(*paragraph)]);
    }
    for top in keys::ROOT {
        let below = format!("{}.", top.name);
        roff.control("SH", [top.name.to_uppercase().as_str()]).text([roman(top.about)]);
        for leaf in keys::leaves().iter().filter(|leaf| leaf.path == top.name || leaf.path.starts_with(&below)) {
            entry(&mut roff, leaf, top);
        }
    }
    roff.control("SH", ["FILES"]);
    roff.control("TP", []).text([bold("/etc/countersign/countersign.toml")]);
    roff.text([roman("Unless another one is given, or named by `COUNTERSIGN_CONFIG`.")]);
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("countersign-serve"), roman("(1), "), bold("countersign-check"), roman("(1)")]);
    super::manual::heading(NAME, 5) + &roff.render()
}

fn entry(roff: &mut Roff, Leaf { path, key }: &Leaf, top: &Key) {
    let given = match key.given {
        Given::Required => "Required.".to_owned(),
        Given::Absent(meaning) => format!("Not written: {meaning}."),
        Given::Default(text) => format!("Default: `{text}`."),
    };
    let about = if std::ptr::eq(*key, top) { "" } else { key.about };
    roff.control("TP", []).text([bold(path.as_str())]);
    roff.text([roman(format!("{about} Takes {}. {given}", takes(&key.takes)).trim_start())]);
}
