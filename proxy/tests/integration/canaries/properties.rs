//! No value of a property of librdkafka is printed, however wrong its name or the value is: passwords are among them.

use std::path::Path;
use std::process::{Command, Output};

use super::{assert_clean, canary};
use crate::support::binary;

/// Unknown to librdkafka; known, with a value that it quotes; Java's name, refused by ours.
const WRONG: [&str; 3] = ["sasl.pasword", "security.protocol", "sasl.jaas.config"];

fn run(args: &[&str]) -> Output {
    Command::new(binary()).args(args).output().unwrap()
}

fn assert_named(what: &str, name: &str, done: &Output, secret: &str) {
    let said = [&done.stdout[..], &done.stderr].concat();
    assert_clean(what, &said, &[secret.to_owned()]);
    let text = String::from_utf8_lossy(&said);
    assert!(text.contains(&format!("`{name}`")) || text.contains(&format!("--property {name}`")), "{what}: {text}");
}

fn config(home: &Path, name: &str, secret: &Path) -> String {
    let path = home.join("countersign.toml");
    let text = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n[[authorizer]]\nname = \"a\"\nurl = \"http://127.0.0.1:1/\"\n[audit]\n\
         spool = {:?}\n[kafka]\nbrokers = [\"127.0.0.1:1\"]\ntopic = \"t\"\nproperties = {{ \"{name}\" = {{ file = {secret:?} }} }}\n",
        home.join("spool")
    );
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn a_wrong_property_is_named_and_its_value_is_not_shown() {
    let home = tempfile::tempdir().unwrap();
    let (secret, file) = (canary(7), home.path().join("secret"));
    std::fs::write(&file, &secret).unwrap();
    for name in WRONG {
        let config = config(home.path(), name, &file);
        let property = format!("{name}=@{}", file.display());
        let written = format!("{name}={secret}");
        let kafka = ["--brokers", "127.0.0.1:1", "--topic", "t", "--property"];
        let commands: [(&str, &[&str]); 5] = [
            ("serve", &["serve", "--config", &config]),
            ("check --probe", &["check", "--probe", &config]),
            ("tail", &[&["tail"], &kafka[..], &[&property]].concat()),
            ("tail with the value itself", &[&["tail"], &kafka[..], &[&written]].concat()),
            ("verify", &[&["verify"], &kafka[..], &[&property]].concat()),
        ];
        for (what, args) in commands {
            let done = run(args);
            assert_named(what, name, &done, &secret);
            assert!(!done.status.success(), "{what} {name}");
        }
    }
    let colon = format!("sasl.password:{secret}");
    let done = run(&["tail", "--brokers", "127.0.0.1:1", "--topic", "t", "--property", &colon]);
    assert_clean("what is no property", &[&done.stdout[..], &done.stderr].concat(), &[secret]);
}
