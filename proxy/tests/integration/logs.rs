//! The operational log of the binary: a fault is told once and then summarized, whoever reads it may stall, and nothing that a
//! client sends can act on a terminal. That no secret is in it is tested in `canaries`.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use loadtest::laboratory::port;
use loadtest::stub::{Answer, Script, Stub};
use serde_json::Value;

use super::support::{Countersign, binary, eventually, http, question, value};

/// Every second question has no answer.
fn faltering() -> Script {
    let asked = AtomicU64::new(0);
    Script::by(move |_| {
        if asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) { Answer::new("{}") } else { Answer::allow() }
    })
}

#[tokio::test]
async fn an_authorizer_that_falters_is_not_a_line_a_question() {
    let stub = Stub::start(faltering()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).audit("durability = \"written\"").start().await;
    for number in 0..200 {
        proxy.ask(&question("alice", "s3:GetObject", "reports", &format!("{number}.txt"))).await;
    }
    assert_eq!(proxy.decisions().len(), 200);
    let log = proxy.log();
    assert_eq!(log.matches("gives no usable answer").count(), 1, "{log}");
    assert!(!log.contains("answers again"), "it never did for five seconds:\n{log}");
    assert!(log.lines().count() < 20, "200 decisions are no reason to say anything:\n{log}");
}

#[tokio::test]
async fn nothing_that_is_asked_can_act_on_a_terminal() {
    let stub =
        Stub::start(Script::by(|_| Answer::new("\u{1b}]0;owned\u{7}\r\nERROR forged").status(500))).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).verbose().start().await;
    let evil = "\u{1b}[31mred\r\n2026-11-25T00:00:00Z ERROR forged\u{9b}2J\u{2028}";
    proxy.ask(&question(evil, "s3:GetObject", evil, evil)).await;
    proxy.post(evil.as_bytes(), &[("X-Evil", "\u{1b}[31m")]).await;
    let told = async || Some(proxy.log()).filter(|log| log.contains("no usable answer"));
    eventually("that there was no answer", told).await;
    // Nothing of a question or an answer is quoted as things are. What a file says is: the control that something was there
    // to be made harmless.
    let file = std::fs::read_to_string(proxy.config_file()).unwrap();
    let key = "[listen]\n\"\\u001b[31mpainted\\r\\n2026-11-25T00:00:00Z ERROR forged\\u009b2J\\u2028\" = 1\n";
    std::fs::write(proxy.config_file(), file.replacen("[listen]\n", key, 1)).unwrap();
    proxy.signal("HUP");
    let log =
        eventually("it is in the log", async || Some(proxy.log()).filter(|log| log.contains("[31mpainted"))).await;
    let acting = |character: char| (character.is_control() && character != '\n') || character == '\u{2028}';
    assert!(!log.contains(acting), "{:?}", log.lines().find(|line| line.contains(acting)));
    // Every line begins as a line of the log does: none was begun by somebody else.
    assert!(log.lines().all(|line| line.starts_with("20") && line.as_bytes().get(10) == Some(&b'T')), "{log}");
}

/// A Countersign whose standard error is a pipe that nobody reads.
struct Unread {
    child: Child,
    front: std::net::SocketAddr,
    admin: std::net::SocketAddr,
    /// Held, so that no other part passes for it.
    _ports: [port::Port; 2],
    _home: tempfile::TempDir,
}

impl Unread {
    fn start(authorizer: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let spool = home.path().join("spool");
        std::fs::create_dir(&spool).unwrap();
        std::fs::set_permissions(&spool, std::fs::Permissions::from_mode(0o700)).unwrap();
        let ports = [(); 2].map(|()| port::free().unwrap());
        let [front, admin] = [0, 1].map(|at| std::net::SocketAddr::from(([127, 0, 0, 1], ports[at].number())));
        let config = format!(
            "[listen]\naddress = \"{front}\"\ndrain = \"0s\"\ndeadline = \"30s\"\n[admin]\naddress = \"{admin}\"\n\
             [[authorizer]]\nname = \"authz\"\nurl = \"{authorizer}\"\ntimeout = \"4s\"\n[audit]\ndurability = \"written\"\nspool = \"{}\"\nmax_size = \"256MiB\"\n\
             [log]\nlevel = \"trace\"\n",
            spool.display()
        );
        let file = home.path().join("countersign.toml");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(binary());
        command.arg("serve").arg("--config").arg(file).stdin(Stdio::null()).stderr(Stdio::piped());
        Self { child: command.spawn().unwrap(), front, admin, _ports: ports, _home: home }
    }

    async fn metric(&self, name: &str) -> f64 {
        let page = http::try_get(self.admin, "/metrics").await;
        page.map_or(0.0, |page| value(&page.body, name).expect("every series is there from the start"))
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        // Ended already, or by us.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test]
async fn a_reader_that_stalls_costs_lines_and_nothing_else() {
    let stub = Stub::start(faltering()).await.unwrap();
    let mut proxy = Unread::start(&stub.url());
    let available = async || (proxy.metric("countersign_audit_available ").await == 1.0).then_some(());
    eventually("it records", available).await;
    let mut answered = 0_u64;
    // Until the pipe and the queue before it are full: at this level every connection has lines of its own.
    let dropped = eventually("lines are dropped", async || {
        for _ in 0..50 {
            let asked = question("alice", "s3:GetObject", "reports", &format!("{answered}.txt"));
            let answer = http::post(proxy.front, "/", &[], asked.to_string().as_bytes()).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            answered += 1;
        }
        Some(proxy.metric("countersign_log_lines_dropped_total ").await).filter(|dropped| *dropped > 0.0)
    })
    .await;
    // It goes on deciding, and says on its page what was lost.
    let asked = question("alice", "s3:GetObject", "reports", "after.txt").to_string();
    assert_eq!(http::post(proxy.front, "/", &[], asked.as_bytes()).await.status, 200);
    let status: Value = serde_json::from_str(&http::get(proxy.admin, "/status.json").await.body).unwrap();
    let said = status["problems"].as_array().unwrap().iter().any(|problem| {
        problem["text"].as_str().unwrap().ends_with("lines of the log were dropped; nothing else suffers")
    });
    assert!(said, "{dropped} lines: {status}");
    // And it ends, though nobody reads its last words.
    let pid = proxy.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    eventually("it ends", async || proxy.child.try_wait().unwrap()).await;
    let mut read = Vec::new();
    proxy.child.stderr.take().unwrap().read_to_end(&mut read).unwrap();
    let text = String::from_utf8(read).unwrap();
    assert!(text.lines().take(20).all(|line| serde_json::from_str::<Value>(line).is_ok()), "{text:.400}");
}
