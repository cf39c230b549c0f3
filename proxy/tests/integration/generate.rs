//! `generate`: completions in the shells that they are for, manual pages through the programs that show them, and the schema of
//! the configuration against the samples.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use clap::CommandFactory as _;
use countersign::commands::Arguments;
use countersign::config;
use countersign::config::keys::leaves;
use loadtest::laboratory::{Laboratory, require};
use serde_json::Value;

use super::support::binary;

fn countersign(arguments: &[&str]) -> String {
    let output = Command::new(binary()).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What is in the list of commands.
fn listed() -> Vec<String> {
    let root = Arguments::command();
    let listed = root.get_subcommands().filter(|command| !command.is_hide_set());
    listed.map(|command| command.get_name().to_owned()).collect()
}

fn lines(output: &Output) -> BTreeSet<String> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
}

/// What bash offers for the last of these words, with nothing but the completions read in.
fn offered(script: &Path, words: &[&str]) -> BTreeSet<String> {
    let last = words.len() - 1;
    let before = words.get(last.wrapping_sub(1)).copied().unwrap_or_default();
    let ask = format!(
        "source '{}'; complete -p countersign >/dev/null; COMP_WORDS=(\"$@\"); COMP_CWORD={last}; \
         _countersign countersign \"{}\" '{before}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        words[last],
    );
    lines(&Command::new("bash").args(["--norc", "--noprofile", "-c", &ask, "bash"]).args(words).output().unwrap())
}

fn written(dir: &Path, shell: &str) -> PathBuf {
    let file = dir.join(shell);
    std::fs::write(&file, countersign(&["generate", "completions", shell])).unwrap();
    file
}

#[test]
fn bash_completes_every_command_and_its_options() {
    let dir = tempfile::tempdir().unwrap();
    let script = written(dir.path(), "bash");
    let commands = offered(&script, &["countersign", ""]);
    assert!(listed().iter().all(|name| commands.contains(name)), "{commands:?}");
    assert_eq!(offered(&script, &["countersign", "ver"]), ["verify".to_owned()].into());
    assert_eq!(offered(&script, &["countersign", "verify", "--compl"]), ["--complete-since".to_owned()].into());
    assert_eq!(offered(&script, &["countersign", "schema", "con"]), ["config".to_owned()].into());
    assert_eq!(offered(&script, &["countersign", "tail", "--format", "oc"]), ["ocsf".to_owned()].into());
    for name in listed() {
        let options = offered(&script, &["countersign", &name, "--"]);
        assert!(options.contains("--help"), "{name}: {options:?}");
    }
    assert!(offered(&script, &["countersign", "nonsense"]).is_empty());
}

#[tokio::test]
async fn zsh_and_fish_take_their_completions() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Laboratory::open().unwrap();
    if let Some(zsh) = require(lab.debian_program("zsh", "zsh").await) {
        let script = written(dir.path(), "zsh");
        std::fs::rename(script, dir.path().join("_countersign")).unwrap();
        let ask = format!(
            "fpath=('{}' $fpath); autoload -Uz compinit; compinit -u -d '{0}/dump'; print $_comps[countersign]; \
             autoload +X _countersign && print read",
            dir.path().display()
        );
        let shown = lines(&Command::new(zsh).args(["-f", "-c", &ask]).output().unwrap());
        assert_eq!(shown, ["_countersign".to_owned(), "read".to_owned()].into());
    }
    if let Some(fish) = require(lab.debian_program("fish", "fish").await) {
        let script = written(dir.path(), "fish");
        let ask = |line: &str| {
            let ask = format!("source '{}'; complete -C '{line}'", script.display());
            let output = Command::new(&fish).args(["--no-config", "-c", &ask]).env("HOME", dir.path()).output();
            lines(&output.unwrap())
        };
        assert!(ask("countersign ver").contains("verify"));
        assert!(ask("countersign verify --compl").contains("--complete-since"));
    }
}

#[tokio::test]
async fn every_command_has_a_manual_page_that_reads_well() {
    let dir = tempfile::tempdir().unwrap();
    countersign(&["generate", "man", dir.path().to_str().unwrap()]);
    let mut files: Vec<String> = Vec::new();
    for section in ["man1", "man5"] {
        let written = std::fs::read_dir(dir.path().join(section)).unwrap();
        files.extend(written.map(|entry| format!("{section}/{}", entry.unwrap().file_name().to_str().unwrap())));
    }
    let mut expected: Vec<String> = listed().iter().map(|name| format!("man1/countersign-{name}.1")).collect();
    expected.extend(["man1/countersign.1", "man5/countersign.toml.5"].map(str::to_owned));
    files.sort_unstable();
    expected.sort_unstable();
    assert_eq!(files, expected);
    let Some(mandoc) = require(Laboratory::open().unwrap().debian_program("mandoc", "mandoc").await) else { return };
    for file in &files {
        let path = dir.path().join(file);
        let lint = Command::new(&mandoc).args(["-T", "lint", "-W", "warning"]).arg(&path).output().unwrap();
        // A date would say when it was built, and make two builds of one commit differ.
        let said: Vec<String> = String::from_utf8_lossy(&lint.stdout)
            .lines()
            // A line too much between an option and its words is how the crate writes them.
            .filter(|line| !line.contains("missing date") && !line.contains("skipping paragraph macro"))
            .map(str::to_owned)
            .collect();
        assert_eq!(said, [""; 0], "{file}");
        let shown = Command::new(&mandoc).args(["-T", "ascii"]).arg(&path).output().unwrap();
        let shown = String::from_utf8_lossy(&shown.stdout).replace('\u{8}', "");
        // Bold is each letter printed over itself.
        let bold = |text: &str| -> String {
            text.chars().flat_map(|one| if one == ' ' { vec![one] } else { vec![one, one] }).collect()
        };
        let headings = if file.ends_with(".1") { &["SYNOPSIS", "EXIT STATUS", "EXAMPLES"][..] } else { &["LISTEN"] };
        for heading in ["NAME", "DESCRIPTION", "SEE ALSO"].iter().chain(headings) {
            assert!(shown.contains(&bold(heading)), "{file} has no {heading}:\n{shown}");
        }
        assert!(!shown.contains('`'), "{shown}");
        if file.ends_with(".5") {
            let missing: Vec<String> =
                leaves().into_iter().map(|leaf| leaf.path).filter(|path| !shown.contains(&bold(path))).collect();
            assert_eq!(missing, [""; 0], "keys");
        }
    }
}

#[test]
fn who_reads_a_schema_may_stop_early() {
    for of in ["record", "config"] {
        let mut command = Command::new(binary());
        let mut child = command.args(["schema", of]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    }
}

#[test]
fn the_schema_of_the_configuration_takes_what_check_takes() {
    let schema: Value = serde_json::from_str(&countersign(&["schema", "config"])).unwrap();
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let json = |text: &str| serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap();
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
    let sample = |name: &str| std::fs::read_to_string(samples.join(name)).unwrap();
    for name in ["minimal.toml", "full.toml", "two-authorizers.toml", "shadow.toml", "private.toml"] {
        let errors: Vec<String> = validator.iter_errors(&json(&sample(name))).map(|error| error.to_string()).collect();
        assert_eq!(errors, [""; 0], "{name}");
    }
    let minimal = sample("minimal.toml");
    for (wrong, with) in [
        ("deadline", "[listen]\ndeadline = 2"),
        ("a number without its unit", "[listen]\ndeadline = \"2\""),
        ("a key that is none", "[listen]\ndead_line = \"2s\""),
        ("a word that is none", "[listen]\nsuspicious = \"allow\""),
        ("a number out of bounds", "[listen]\nmax_in_flight = 0"),
        ("a secret in the file", "[listen]\ntokens = [\"Bearer x\"]"),
        ("two places for a secret", "[admin]\ntoken = { file = \"f\", env = \"E\" }\n[listen]"),
    ] {
        let text = minimal.replace("[listen]", with);
        assert!(!validator.is_valid(&json(&text)), "{wrong}");
        assert!(config::parse(&text, "f", &|_| None).is_err(), "{wrong}");
    }
    // A default is shown as what it is.
    let audit = &schema["properties"]["audit"]["properties"];
    assert_eq!((&audit["max_size"]["default"], &audit["durability"]["default"]), (&"20GiB".into(), &"synced".into()));
    assert_eq!(schema["properties"]["listen"]["properties"]["max_in_flight"]["default"], 4096);
}
