//! `docs/TUTORIAL.md`: its commands, one after the other in one shell, with everything up as the page says.

use std::path::Path;
use std::process::{Command, Stdio};

use loadtest::laboratory::{Laboratory, require};
use loadtest::up;

use super::support::binary;
use super::support::page::blocks;

/// Each block's output stands between these.
const MARK: &str = "== block";
/// As the page has it.
const ENVIRONMENT: &str = "\"${XDG_CACHE_HOME:-$HOME/.cache}/countersign/up.env\"";

/// All blocks as one script; the terminal of the page is one shell, too.
fn script(environment: &Path) -> String {
    let blocks: Vec<_> = blocks("TUTORIAL.md").into_iter().filter(|block| block.language == "sh").collect();
    assert!(blocks.iter().any(|block| block.text.contains(ENVIRONMENT)), "the page says where the laboratory is");
    let part = |(at, text): (usize, &str)| format!("echo '{MARK} {at}'\n{text}");
    let parts: String = blocks.iter().map(|block| block.text.as_str()).enumerate().map(part).collect();
    parts.replace(ENVIRONMENT, &format!("'{}'", environment.display()))
}

#[tokio::test]
async fn every_command_of_the_page_works() {
    let lab = Laboratory::open().unwrap();
    for package in ["jq", "curl"] {
        if require(lab.debian_program(package, package).await).is_none() {
            return;
        }
    }
    let home = tempfile::tempdir().unwrap();
    let environment = home.path().join("up.env");
    let stand = match up::start(Path::new(binary()), &environment).await {
        Ok(stand) => stand,
        // A part that this machine cannot have is said, everything else fails.
        Err(why) => {
            require::<()>(Err(why.downcast().unwrap()));
            return;
        }
    };
    // Seen: a command that was not there, in a loop that waits until it succeeds.
    let mut shell = Command::new("timeout");
    shell.args(["600", "bash", "-eu", "-c", &script(&environment)]).current_dir(home.path()).env("HOME", home.path());
    shell.stdin(Stdio::null()).env_remove("COUNTERSIGN_CONFIG");
    let ran = tokio::task::spawn_blocking(move || shell.output()).await.unwrap().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && !out.contains("exit code 2"), "{out}\n{err}");
    drop(stand);
    assert!(!environment.exists(), "what it says is true no longer");

    let outputs: Vec<&str> = out.split(MARK).skip(1).collect();
    let said = |words: &[&str]| outputs.iter().any(|output| words.iter().all(|word| output.contains(word)));
    assert!(said(&["\"state\": \"deciding\"", "\"name\": \"opa\""]), "{out}");
    assert!(said(&["the plan"]), "{out}");
    assert!(said(&["refused, as it should be"]), "{out}");
    let why = [
        "bob asked for s3:GetObject on reports/home/alice/plan.txt",
        "Authorizer `opa` decided on route `default`: denied.",
    ];
    assert!(said(&[&why[..], &["it was kept: it is a deny", "exit code 1"]].concat()), "{out}");
    assert!(said(&["\"path\": \"minio/allow\"", "\"account\": \"bob\""]), "{out}");
    assert!(said(&["Name           : decide"]) || said(&["decide"]), "{out}");
    assert!(said(&[&why[..], &["MinIO: ", "status 403"]].concat()), "{out}");
    assert!(said(&["whole"]) && said(&["nothing is unexplained", "What this cannot know"]), "{out}");
}
