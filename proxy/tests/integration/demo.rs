//! The README's first command: the whole path with nothing installed.

use std::process::Command;

use crate::support::binary;

#[test]
fn the_tour_shows_every_decision_and_ends() {
    let output = Command::new(binary()).args(["demo", "--exit"]).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{errors}");
    for expected in [
        "alice",
        "s3:PutObject",
        "reports/home/alice/plan.txt",
        "allow",
        "deny",
        "cache",
        "MINIO_POLICY_PLUGIN_URL=http://127.0.0.1:",
    ] {
        assert!(text.contains(expected), "`{expected}` is missing from:\n{text}");
    }
    let denied = text.lines().filter(|line| line.contains("s3:") && line.contains("deny")).count();
    assert_eq!(denied, 2, "alice elsewhere, and bob:\n{text}");
}

#[test]
fn help_names_every_command() {
    let output = Command::new(binary()).arg("--help").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    for command in ["serve", "demo", "check", "tail", "schema"] {
        assert!(text.contains(&format!("  {command} ")), "{text}");
    }
}

#[test]
fn wrong_usage_and_wrong_configuration_are_64() {
    for args in [&["serve", "--nonsense"][..], &["nonsense"], &["check", "--nonsense"]] {
        let output = Command::new(binary()).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.toml");
    std::fs::write(&file, "[listen]\nadress = \"127.0.0.1:1\"\n").unwrap();
    for command in ["check", "serve"] {
        let mut run = Command::new(binary());
        run.arg(command);
        if command == "serve" {
            run.arg("--config");
        }
        let output = run.arg(&file).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{command}: {errors}");
        assert!(errors.contains(":2:1: ") && errors.contains("did you mean `address`"), "{errors}");
    }
    let missing = Command::new(binary()).args(["check", "/nowhere/at/all.toml"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
}
