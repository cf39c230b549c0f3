//! Without root: it serves as a user that owns nothing but its directory, makes files that are its own whatever the umask, and
//! refuses a spool that is somebody else's. Needs root to become nobody, and says so where it is not.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use countersign::kafka::mock::MockBroker;
use loadtest::laboratory::countersign::NOBODY;
use loadtest::laboratory::{Error, require};
use loadtest::stub::{Script, Stub};

use crate::support::{Countersign, Running, binary, question};

/// Somebody else.
const STRANGER: u32 = 12_345;

/// Whether this machine can become nobody; if not, that is said, or fails where it must not be.
fn possible() -> bool {
    let has = Command::new("setpriv").arg("--version").output().is_ok_and(|ran| ran.status.success());
    if rustix::process::geteuid().is_root() && has {
        return true;
    }
    let (tool, part) = ("setpriv".to_owned(), "becoming nobody".to_owned());
    let hint = "it needs root, and setpriv of util-linux".to_owned();
    require::<()>(Err(Error::Missing { tool, part, hint })).is_some()
}

/// What is there, the directory itself too, and whatever of it others may use or own.
fn walk(path: &Path, all: &mut BTreeSet<String>) -> Vec<String> {
    let found = std::fs::symlink_metadata(path).unwrap();
    let (mode, name) = (found.permissions().mode() & 0o7777, path.file_name().unwrap().to_str().unwrap());
    all.insert(name.to_owned());
    let private = if found.is_dir() { 0o700 } else { 0o600 };
    let mut wrong = Vec::new();
    if (mode, found.uid()) != (private, NOBODY) {
        wrong.push(format!("{}: mode {mode:04o}, owner {}", path.display(), found.uid()));
    }
    if found.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            wrong.extend(walk(&entry.unwrap().path(), all));
        }
    }
    wrong
}

/// The words of a line of /proc/PID/status.
fn status(proxy: &Running, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_serves_and_its_files_are_its_own_whatever_the_umask() {
    if !possible() {
        return;
    }
    let stub = Stub::start(Script::allow()).await.unwrap();
    for umask in ["000", "027", "077"] {
        let broker = MockBroker::start(&[("decisions", 1), ("countersign.checkpoints", 1)]).unwrap();
        let mut proxy = Countersign::asking(&stub.url())
            .kafka(&broker.bootstrap(), "decisions")
            .audit("checkpoint_every = \"1s\"")
            .on(Path::new("{dir}/fresh"))
            .unprivileged(umask)
            .start()
            .await;
        let ours = NOBODY.to_string();
        assert_eq!(status(&proxy, "Uid:"), [ours.as_str(); 4]);
        assert_eq!(status(&proxy, "CapEff:"), ["0000000000000000"]);
        assert_eq!(status(&proxy, "Umask:"), [format!("0{umask}")]);
        // What the kernel shows of a process that others of its user may not look into is root's; and it dumps nothing.
        let memory = std::fs::metadata(format!("/proc/{}/mem", proxy.pid())).unwrap();
        assert_eq!(memory.uid(), 0, "its memory is its user's to read");
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", proxy.pid())).unwrap();
        let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().take(2).collect::<Vec<_>>(), ["0", "0"]);
        let asked = question("alice", "s3:GetObject", "reports", "a.txt");
        assert!(proxy.ask(&asked).await.allowed());
        proxy.delivered().await;
        assert!(!proxy.log().contains("running as root"), "{}", proxy.log());
        proxy.stop().await;
        // What one process left, and what the next one adds.
        proxy.start_again().await;
        assert!(proxy.ask(&asked).await.allowed());
        proxy.stop().await;
        assert_eq!(proxy.decisions().len(), 2);

        let mut all = BTreeSet::new();
        assert_eq!(walk(&proxy.spool(), &mut all), [""; 0], "umask {umask}");
        for expected in ["signing.key", "signing.pub", "partitions.json", "epochs"] {
            assert!(all.contains(expected), "{expected} is not among {all:?}");
        }
        // The control: one that the group may read is found.
        let key = proxy.spool().join("signing.key");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(walk(&proxy.spool(), &mut all).len(), 1);
    }
}

/// `serve` as nobody, to its end.
fn served(home: &Path, config: &str) -> Output {
    let (program, file) = (home.join("program"), home.join("countersign.toml"));
    std::fs::copy(binary(), &program).unwrap();
    std::fs::write(&file, config).unwrap();
    let user = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".to_owned()];
    let mut command = Command::new("setpriv");
    command.args(user).arg("--").arg(program).args(["serve", "--config"]).arg(file);
    command.output().unwrap()
}

fn directory(path: PathBuf, owner: u32, mode: u32) -> PathBuf {
    std::fs::create_dir(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    chown(&path, Some(owner), Some(owner)).unwrap();
    path
}

#[test]
fn a_spool_of_somebody_else_ends_the_start() {
    if !possible() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    for (name, owner, mode, why) in [
        ("strange", STRANGER, 0o755, format!("belongs to another user (uid {STRANGER})")),
        ("shared", NOBODY, 0o770, "may be written by others (mode 0770); `chmod go-w` it".to_owned()),
    ] {
        let spool = directory(home.path().join(name), owner, mode);
        let config = format!(
            "instance = \"test\"\n[listen]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
             [[authorizer]]\nname = \"a\"\nurl = \"http://127.0.0.1:1/\"\n[audit]\nspool = {spool:?}\n"
        );
        let ran = served(home.path(), &config);
        let said = String::from_utf8_lossy(&ran.stderr).into_owned() + &String::from_utf8_lossy(&ran.stdout);
        assert_eq!(ran.status.code(), Some(64), "{said}");
        assert!(said.contains(&format!("spool `{}` {why}", spool.display())), "{said}");
        assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 0, "left as it was");
    }
}
