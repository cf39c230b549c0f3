//! What is shipped as a Debian package and as an image, as far as it can be seen without building either: every file is
//! there, paths and names agree with each other, and the packaged configuration becomes one by the page's own commands. The
//! packages themselves are built and run by `.ci/fresh-root` and `.ci/image`.

mod image;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::binary;
use crate::support::page::{Block, blocks};

pub const UNIT: &str = include_str!("../../../config/systemd/countersign.service");
const PAGE: &str = "INSTALL.md";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn manifest(path: &str) -> toml::Table {
    read(path).parse().unwrap()
}

fn package() -> toml::Table {
    manifest("proxy/Cargo.toml")["package"]["metadata"]["deb"].as_table().unwrap().clone()
}

fn version() -> String {
    manifest("Cargo.toml")["workspace"]["package"]["version"].as_str().unwrap().to_owned()
}

/// From where and to where.
fn assets() -> Vec<(String, String)> {
    let pair = |asset: &toml::Value| (asset[0].as_str().unwrap().to_owned(), asset[1].as_str().unwrap().to_owned());
    package()["assets"].as_array().unwrap().iter().map(pair).collect()
}

/// Whether there is at least one such file; `*` in the last part stands for anything.
fn is_there(path: &Path) -> bool {
    let pattern = path.file_name().unwrap().to_str().unwrap();
    let Some((start, end)) = pattern.split_once('*') else { return path.is_file() };
    let mut names =
        std::fs::read_dir(path.parent().unwrap()).into_iter().flatten().map(|entry| entry.unwrap().file_name());
    names.any(|name| name.to_str().is_some_and(|name| name.starts_with(start) && name.ends_with(end)))
}

#[test]
fn every_file_of_the_package_exists_or_is_made() {
    let proxy = root().join("proxy");
    assert!(is_there(&proxy.join("../docs/*.md")) && !is_there(&proxy.join("../docs/*.rst")), "the rule knows");
    let maker = read(".ci/package");
    let mut missing = Vec::new();
    for (from, _) in assets() {
        let there = match from.strip_prefix("../target/package/") {
            Some(made) if made.starts_with("man/") => maker.contains("generate man \"$out/man\""),
            Some(made) => maker.contains(&format!("\"$out/{made}")),
            None => from == "target/release/countersign" || is_there(&proxy.join(&from)),
        };
        if !there {
            missing.push(from);
        }
    }
    assert_eq!(missing, Vec::<String>::new());
    for script in ["postinst", "prerm", "postrm"] {
        let text = read(&format!("config/debian/{script}"));
        assert!(text.starts_with("#!/bin/sh\n") && text.contains("\nset -e\n\n#DEBHELPER#\n"), "{script}");
    }
}

/// The package once looked for pages beside the directories that they are in.
#[test]
fn every_manual_page_is_where_the_package_looks_for_it() {
    let made = tempfile::tempdir().unwrap();
    let ran = Command::new(binary()).args(["generate", "man"]).arg(made.path().join("man")).status().unwrap();
    assert!(ran.success());
    let looked_for: Vec<_> = assets()
        .into_iter()
        .filter_map(|(from, to)| Some((from.strip_prefix("../target/package/man/")?.to_owned(), to)))
        .collect();
    for (from, to) in &looked_for {
        assert!(is_there(&made.path().join("man").join(from)), "{from}");
        assert_eq!(*to, format!("usr/share/man/{}/", from.split('/').next().unwrap()));
    }
    let looked_in: BTreeSet<_> =
        looked_for.iter().map(|(from, _)| from.split('/').next().unwrap().to_owned()).collect();
    let sections = std::fs::read_dir(made.path().join("man")).unwrap();
    let there: BTreeSet<_> = sections.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(looked_in, there);
}

/// The value of the unit's last line that sets this.
pub fn setting(name: &str) -> &'static str {
    let value = UNIT.lines().rev().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("the unit has no {name}"))
}

#[test]
fn the_unit_finds_what_the_package_installs() {
    let installed: BTreeSet<String> = assets()
        .into_iter()
        .map(|(from, to)| match to.strip_suffix('/') {
            Some(folder) => format!("/{folder}/{}", from.rsplit('/').next().unwrap()),
            None => format!("/{to}"),
        })
        .collect();
    let start = "/usr/bin/countersign serve --config /etc/countersign/countersign.toml";
    assert_eq!(setting("ExecStart"), start);
    for word in start.split(' ').filter(|word| word.starts_with('/')) {
        assert!(installed.contains(word), "{word} is not in the package");
    }
    let page = setting("Documentation").strip_prefix("file://").unwrap();
    assert!(installed.contains("/usr/share/doc/countersign/*.md") && page.starts_with("/usr/share/doc/countersign/"));
    assert!(root().join("docs").join(Path::new(page).file_name().unwrap()).is_file(), "{page}");

    let postinst = read("config/debian/postinst");
    let credentials = setting("LoadCredential").strip_prefix("secret:").unwrap();
    assert!(postinst.contains(&format!("install -d -m 0700 {credentials}\n")), "{credentials} is not made");
    let (user, spool) = (setting("User"), format!("/var/lib/{}", setting("StateDirectory")));
    assert!(postinst.contains(&format!("install -d -m 0700 -o {user} -g {user} {spool}\n")), "{spool} is not made");
    assert!(read("config/systemd/countersign.sysusers").contains(&format!("\nu {user} - ")));
    assert!(read("config/debian/countersign.toml").contains(&format!("\nspool = \"{spool}\"\n")));
}

#[test]
fn installing_starts_and_restarts_nothing() {
    let units = &package()["systemd-units"];
    for choice in ["enable", "start", "restart-after-upgrade", "stop-on-upgrade"] {
        assert_eq!(units[choice].as_bool(), Some(false), "{choice}");
    }
}

#[test]
fn the_changelog_of_the_package_has_the_version() {
    let line = format!("countersign ({}-1) unstable;", version());
    assert!(read("config/debian/changelog").starts_with(&line), "no `{line}`");
}

fn check(text: &str) -> Result<countersign::config::Loaded, countersign::config::Diagnostics> {
    countersign::config::parse(text, "c.toml", &|_| None)
}

/// The page's blocks of shell.
fn commands() -> Vec<Block> {
    blocks(PAGE).into_iter().filter(|block| block.language == "sh").collect()
}

#[test]
fn the_packaged_configuration_wants_three_lines() {
    let shipped = read("config/debian/countersign.toml");
    let wrong = check(&shipped).unwrap_err().to_string();
    let edit: Vec<usize> =
        shipped.lines().enumerate().filter(|(_, line)| line.contains("\"EDIT: ")).map(|(at, _)| at + 1).collect();
    assert_eq!((edit.len(), wrong.lines().count()), (3, 3), "{wrong}");
    for (line, said) in edit.iter().zip(wrong.lines()) {
        assert!(said.starts_with(&format!("c.toml:{line}:")), "{said}");
    }

    // By the page's own command.
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("countersign.toml");
    std::fs::write(&file, &shipped).unwrap();
    let block = commands().into_iter().find(|block| block.text.starts_with("sed -i ")).expect("the page edits it");
    let edits = block.text.replace("/etc/countersign/countersign.toml", &file.display().to_string());
    let edits = edits.replace("\ncountersign check", "");
    assert!(Command::new("sh").args(["-euc", &edits]).status().unwrap().success(), "{edits}");
    let edited = std::fs::read_to_string(&file).unwrap();
    let loaded = check(&edited).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(loaded.warnings, []);
    let minimal = check(&format!("instance = \"minio-eu1\"\n{}", read("config/minimal.toml"))).unwrap();
    assert_eq!(serde_json::to_value(&loaded.config).unwrap(), serde_json::to_value(&minimal.config).unwrap());

    // Its examples are keys that exist, and no mistakes before the service has run: what it reads is not there yet.
    let examples = edited.replace("\n#tokens", "\ntokens").replace("\n#signing_key", "\nsigning_key");
    let wrong = check(&examples).unwrap_err();
    assert!(wrong.only_absent() && wrong.all.len() == 2, "{wrong}");
    let token = "`/run/credentials/countersign.service/secret_minio-token` is not there: systemd puts it there";
    assert!(wrong.to_string().contains(token), "{wrong}");
}

/// The transcript is what `.ci/fresh-root` printed of these commands: none was changed since.
#[test]
fn the_transcript_has_every_command_of_the_page() {
    let transcript = blocks(PAGE).into_iter().find(|block| block.language == "text").expect("a transcript").text;
    let package =
        commands().into_iter().filter(|block| block.heading.starts_with(|first: char| first.is_ascii_digit()));
    let (mut rest, mut looked_for) = (transcript.as_str(), 0);
    for block in package {
        for command in block.text.replace("\\\n", "\u{0}").lines() {
            let command = format!("# {}\n", command.replace('\u{0}', "\\\n"));
            let at = rest.find(&command).unwrap_or_else(|| panic!("not in the transcript, or not there: {command}"));
            rest = &rest[at + command.len()..];
            looked_for += 1;
        }
    }
    assert!(looked_for > 10, "{looked_for} commands");
    assert!(transcript.contains("  deny  bob  ") && rest.contains("whole"), "{rest}");
}
