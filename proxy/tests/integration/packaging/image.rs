//! The Dockerfile, beside what it copies and the names that it shares with others; and the health check that it names, on a
//! process that runs.

use std::process::Command;

use loadtest::stub::{Script, Stub};

use super::{manifest, read, root};
use crate::support::{Countersign, Running, binary, question};

/// Instructions, with their continued lines joined, without comments.
fn instructions() -> Vec<String> {
    let text = read("Dockerfile").lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    let joined = text.replace("\\\n", " ");
    joined.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// What follows this, of the one instruction that begins with it.
fn only(start: &str) -> String {
    let found: Vec<String> =
        instructions().iter().filter_map(|line| line.strip_prefix(start).map(|rest| rest.trim().to_owned())).collect();
    let [one] = &found[..] else { panic!("not one `{start}`: {found:?}") };
    one.clone()
}

/// What the stages take from the context.
fn copied() -> Vec<String> {
    let mut all = Vec::new();
    for line in instructions() {
        let Some(rest) = line.strip_prefix("COPY ").filter(|rest| !rest.starts_with("--")) else { continue };
        let mut words: Vec<&str> = rest.split_whitespace().collect();
        words.pop();
        all.extend(words.into_iter().map(str::to_owned));
    }
    all
}

#[test]
fn what_is_copied_exists_and_is_let_through() {
    let ignored = read(".dockerignore");
    assert!(ignored.lines().any(|line| line == "*"), "nothing is let through that is not named");
    let through: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let copied = copied();
    assert!(copied.contains(&"proxy".to_owned()), "{copied:?}");
    for path in &copied {
        assert!(root().join(path).exists(), "{path} is not there");
        let named = through.iter().any(|name| path == name || path.starts_with(&format!("{name}/")));
        assert!(named, ".dockerignore keeps {path} back");
    }
    for name in through {
        assert!(
            copied.iter().any(|path| path == name || path.starts_with(&format!("{name}/"))),
            "nobody copies {name}"
        );
    }
}

#[test]
fn versions_and_places_agree() {
    let channel = manifest("rust-toolchain.toml")["toolchain"]["channel"].as_str().unwrap().to_owned();
    assert_eq!(only("ARG RUST="), format!("docker.io/library/rust:{channel}-bookworm"));
    let tool = only("RUN cargo install --locked ");
    assert!(read(".ci/package").contains(&format!(" {tool};")), "{tool} is another one in .ci/package");
    let program = only("ENTRYPOINT ");
    assert_eq!(program, "[\"/usr/local/bin/countersign\"]");
    assert!(
        instructions().contains(&"COPY --from=build /src/target/release/countersign /image/usr/local/bin/".to_owned())
    );
    assert_eq!(only("USER "), "10001:10001");
    assert_eq!(only("VOLUME "), "/var/lib/countersign");
    assert_eq!(only("CMD "), "[\"serve\", \"--config\", \"/etc/countersign/countersign.toml\"]");
}

/// The image's health check, asking this one.
async fn health(proxy: &Running) -> (Option<i32>, String) {
    let line = only("HEALTHCHECK ");
    let (_, command) = line.split_once("CMD ").unwrap();
    let words: Vec<String> = serde_json::from_str(command).unwrap();
    assert_eq!(words[0], "/usr/local/bin/countersign");
    let mut command = Command::new(binary());
    command.args(&words[1..]).env("COUNTERSIGN_ADMIN", format!("http://{}", proxy.admin()));
    command.env("COUNTERSIGN_CONFIG", proxy.config_file());
    let ran = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    (ran.status.code(), String::from_utf8(ran.stdout).unwrap())
}

/// A disk that is away and a configuration that was spoiled are no reason to call it dead: what it answers is a deny.
#[tokio::test]
async fn the_health_check_asks_whether_it_answers_and_nothing_else() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let mut proxy = Countersign::asking(&stub.url()).on_missing_volume().start_unready().await;
    assert_eq!(health(&proxy).await, (Some(0), format!("`{}` is alive\n", proxy.admin())));
    std::fs::write(proxy.config_file(), "nonsense").unwrap();
    assert_eq!(health(&proxy).await.0, Some(0));
    assert!(!proxy.ask(&question("alice", "s3:GetObject", "photos", "a")).await.allowed());
    proxy.kill().await;
    let (code, said) = health(&proxy).await;
    assert!(code == Some(1) && said.starts_with("cannot reach"), "{code:?} {said}");
}
