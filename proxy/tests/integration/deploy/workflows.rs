//! GitHub's files: read by their own checkers, and held against the rest of the repository. That they do on GitHub what
//! they say cannot be tested here.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use loadtest::laboratory::{Laboratory, Reader, require};
use serde_json::Value;

use super::{DOCKERFILE, files, fits, list, packages, read, run, text, yaml};

const WORKFLOWS: [&str; 4] = ["ci", "image", "nightly", "release"];

fn path(name: &str) -> PathBuf {
    files::root().join(format!(".github/workflows/{name}.yml"))
}

/// Everything in a document, however deep.
fn every<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    found.push(value);
    match value {
        Value::Object(members) => members.values().for_each(|value| every(value, found)),
        Value::Array(items) => items.iter().for_each(|value| every(value, found)),
        _ => {}
    }
}

/// The values of every member of this name in all workflows and in the shared action.
fn all(member: &str) -> Vec<(String, Value)> {
    let workflows = WORKFLOWS.iter().map(|name| format!(".github/workflows/{name}.yml"));
    let mut values = Vec::new();
    for file in workflows.chain([".github/actions/machine/action.yml".to_owned()]) {
        let document = yaml(&read(&file));
        let mut found = Vec::new();
        every(&document, &mut found);
        values.extend(found.into_iter().filter_map(|value| Some((file.clone(), value.get(member)?.clone()))));
    }
    values
}

#[tokio::test]
async fn github_understands_them() {
    let Some(packages) = packages().await else { return };
    let Some(actionlint) = require(Laboratory::open().unwrap().reader(Reader::Actionlint).await) else { return };
    let shipped = std::fs::read_dir(files::root().join(".github/workflows")).unwrap();
    assert_eq!(shipped.count(), WORKFLOWS.len(), "a workflow that no test knows");
    let lint = |file: &PathBuf| {
        let mut lint = Command::new(&actionlint);
        run(lint.current_dir(files::root()).args(["-no-color", "-shellcheck=", "-pyflakes="]).arg(file))
    };
    for name in WORKFLOWS {
        let file = path(name);
        fits(&packages, "vendor.github-workflows", &file).unwrap_or_else(|why| panic!("{why}"));
        lint(&file).unwrap_or_else(|why| panic!("{why}"));
    }
    for (schema, file) in [("dependabot", "dependabot.yml"), ("github-actions", "actions/machine/action.yml")] {
        let file = files::root().join(".github").join(file);
        fits(&packages, &format!("vendor.{schema}"), &file).unwrap_or_else(|why| panic!("{why}"));
    }
    // The controls.
    let home = tempfile::tempdir().unwrap();
    let broken = home.path().join("ci.yml");
    for (good, bad) in [("runs-on:", "run-on:"), ("${{ github.ref }}", "${{ github.reff }}")] {
        std::fs::write(&broken, read(path("ci")).replacen(good, bad, 1)).unwrap();
        let (schema, linted) = (fits(&packages, "vendor.github-workflows", &broken), lint(&broken));
        assert!(schema.is_err() || linted.is_err(), "{bad}");
    }
}

/// Forty hexadecimal digits, or a path in this repository.
fn is_pinned(action: &str) -> bool {
    let revision = action.split_once('@').map(|(_, revision)| revision);
    action.starts_with("./")
        || revision.is_some_and(|hex| hex.len() == 40 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[test]
fn actions_are_pinned_and_may_little() {
    assert!(
        is_pinned("./.github/actions/machine") && !is_pinned("actions/checkout@v6") && !is_pinned("actions/checkout")
    );
    let used = all("uses");
    assert!(used.len() > 8);
    for (file, action) in used {
        assert!(is_pinned(action.as_str().unwrap()), "{file}: {action} can change under its name");
    }
    for name in WORKFLOWS {
        let workflow = yaml(&read(path(name)));
        assert_eq!(workflow["permissions"], serde_json::json!({ "contents": "read" }), "{name}");
        for (job, said) in workflow["jobs"].as_object().unwrap() {
            // One that is another workflow has the times of that one's.
            let bounded = said["timeout-minutes"].is_u64() || said["uses"].is_string();
            assert!(bounded, "{name}: `{job}` may hang for six hours");
        }
    }
    for (file, with) in all("with") {
        let checks_out = with.get("persist-credentials").is_some();
        assert!(!checks_out || with["persist-credentials"] == false, "{file}");
    }
    let checkouts = all("uses").iter().filter(|(_, action)| action.as_str().unwrap().contains("checkout@")).count();
    let without = all("persist-credentials").len();
    assert_eq!(checkouts, without, "a checkout leaves its token behind");
}

/// Version and distribution in the tag of Rust's image.
fn rust(image: &str) -> (&str, &str) {
    image.rsplit(':').next().and_then(|tag| tag.split_once('-')).unwrap_or_else(|| panic!("{image}"))
}

/// CI is what everybody can run: one command, on what the image is built on.
#[test]
fn ci_runs_what_a_person_runs() {
    let ci = yaml(&read(path("ci")));
    let steps: Vec<&str> = list(&ci, "/jobs/run/steps").iter().map(|step| text(step, "/run")).collect();
    let commands: Vec<&str> = steps.into_iter().filter(|step| !step.is_empty()).collect();
    assert_eq!(commands, [".ci/run"]);
    let built = DOCKERFILE.split([' ', '=', '\n']).find(|word| word.contains("/rust:")).map(rust);
    let images: BTreeSet<String> = all("container")
        .into_iter()
        .map(|(_, container)| container.get("image").unwrap_or(&container).as_str().unwrap().to_owned())
        .collect();
    let toolchain: toml::Table = read("rust-toolchain.toml").parse().unwrap();
    let version = toolchain["toolchain"]["channel"].as_str().unwrap();
    let (builds, debian) = built.expect("the image is built with Rust");
    assert!(version.starts_with(builds), "{builds}");
    assert!(!images.is_empty(), "nothing runs in a container");
    assert!(images.iter().all(|image| rust(image) == (version, debian)), "{images:?} are not {version} on {debian}");
}

/// What has a version's name for good has passed what every change must pass, on the tag itself.
#[test]
fn nothing_is_published_that_was_not_tested() {
    assert!(yaml(&read(path("ci")))["on"].get("workflow_call").is_some());
    for (name, publishes) in [("release", "publish"), ("image", "together")] {
        let workflow = yaml(&read(path(name)));
        let needs: Vec<&str> =
            list(&workflow, &format!("/jobs/{publishes}/needs")).iter().filter_map(Value::as_str).collect();
        let tests = |job: &&str| workflow["jobs"][*job]["uses"] == "./.github/workflows/ci.yml";
        assert!(needs.iter().any(tests), "{name}: {needs:?}");
    }
}

/// A claim or a setting that no longer exists would make the night green.
#[test]
fn the_long_runs_exist() {
    let nightly = yaml(&read(path("nightly")));
    let claims: BTreeSet<&str> =
        list(&nightly, "/jobs/claims/strategy/matrix/claim").iter().filter_map(Value::as_str).collect();
    let table = read("loadtest/src/prove.rs");
    let known: BTreeSet<&str> =
        table.lines().filter_map(|line| line.trim().strip_prefix("name: \"")?.strip_suffix("\",")).collect();
    assert_eq!(claims, known);
    let documented = read("docs/RELIABILITY.md") + &read("docs/CONTRIBUTING.md");
    let (runs, rust) = (list(&nightly, "/jobs/long/strategy/matrix/include"), files::rust());
    assert!(runs.len() > 5, "{runs:?}");
    for setting in longer_runs() {
        let runs_it = |run: &&Value| text(run, "/command").split([' ', '=']).any(|word| word == setting);
        assert!(runs.iter().any(|run| runs_it(&run)), "no night has {setting}");
    }
    for run in runs {
        let command = text(run, "/command");
        let setting = command.split(['=', ' ']).find(|word| word.starts_with("COUNTERSIGN_"));
        let known = setting.unwrap_or("loadtest -- soak");
        assert!(command.contains(known) && documented.contains(known), "{command}");
        // Somebody reads it, and there are tests of that name, by module or function: a filter that fits none runs none.
        if let Some(setting) = setting {
            let filter = command.rsplit(' ').next().unwrap();
            let (quoted, module, test) = (format!("\"{setting}\""), format!("/{filter}.rs"), format!("\nfn {filter}"));
            assert!(rust.iter().any(|file| file.text.contains(&quoted)), "nobody reads {setting}");
            let has_it = |file: &files::File| file.path.ends_with(&module) || file.text.contains(&test);
            assert!(rust.iter().any(has_it), "no tests: {command}");
        }
    }
}

/// What RELIABILITY.md says makes a run longer: the first variable of each row of the table.
fn longer_runs() -> Vec<String> {
    let page = read("docs/RELIABILITY.md");
    let (_, table) = page.split_once("## Longer runs").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `COUNTERSIGN_"));
    let settings: Vec<_> = rows.map(|row| format!("COUNTERSIGN_{}", row.split('=').next().unwrap())).collect();
    assert!(settings.len() > 10, "{settings:?}");
    settings
}

#[test]
fn a_release_says_what_changed() {
    let home = tempfile::tempdir().unwrap();
    let notes = |version: &str| {
        let mut notes = Command::new(files::root().join(".ci/notes"));
        run(notes.arg(version).arg(home.path()))
    };
    std::fs::write(home.path().join("Cargo.toml"), "[workspace.package]\nversion = \"1.2.0\"\n").unwrap();
    let write = |text: &str| std::fs::write(home.path().join("CHANGELOG.md"), text).unwrap();
    write("# Changelog\n\n## TBD\n\n* later\n\n## 1.2.0 (2027-01-02)\n\n* this\n* and that\n\n## 1.1.0\n\n* before\n");
    assert_eq!(notes("1.2.0").unwrap(), "* this\n* and that\n");
    assert!(notes("1.1.0").unwrap_err().contains("another version"));
    write("# Changelog\n\n## TBD\n\n* later\n\n## 1.2.0\n\n## 1.1.0\n\n* before\n");
    assert!(notes("1.2.0").unwrap_err().contains("nothing to say"));
}
