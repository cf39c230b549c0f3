//! The spool as whole processes use it: two on one directory, a disk that is full, a directory that is moved away.

use std::path::Path;
use std::process::Command;

use countersign::kafka::mock::MockBroker;
use loadtest::laboratory::{Error, require};
use loadtest::stub::{Script, Stub};
use serde_json::Value;

use crate::support::records::{checked, events, in_spool};
use crate::support::{Countersign, Running, binary, eventually, question};

async fn ask(proxy: &Running, object: &str) -> crate::support::Answer {
    proxy.ask(&question("alice", "s3:GetObject", "reports", object)).await
}

fn refused(records: &[Value]) -> u64 {
    let ended = events(records, "outage_ended");
    ended.iter().filter_map(|e| e["data"]["refused"]["audit_unavailable"].as_u64()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_one_spool_denies_until_the_first_is_gone() {
    let home = tempfile::tempdir().unwrap();
    let stub = Stub::start(Script::allow()).await.unwrap();
    let mut first = Countersign::asking(&stub.url()).on(home.path()).start().await;
    assert!(ask(&first, "a").await.allowed());
    let second = Countersign::asking(&stub.url()).on(home.path()).start_unready().await;
    assert_eq!(second.post(b"", &[]).await.status, 200, "the start-up probe");
    for n in 0..3 {
        let answer = ask(&second, &n.to_string()).await;
        assert_eq!((answer.status, answer.reason(), answer.allowed()), (503, "audit_unavailable", false));
        assert!(ask(&first, &n.to_string()).await.allowed(), "the first is unharmed");
    }
    first.kill().await;
    second.available().await;
    let answer = ask(&second, "b").await;
    assert!(answer.allowed());
    let records = second.records();
    assert_eq!(refused(&records), 3);
    let opened = events(&records, "chain_opened");
    assert_eq!(opened.len(), 2, "one chain each");
    assert_eq!(opened[1]["data"]["previous"]["id"], opened[0]["data"]["chain"]["id"]);
    assert_eq!(second.record_of(&answer)["data"]["decision"], "allow");
}

/// The chain used to be opened first, and was then called unclean by the next start.
#[test]
fn a_start_that_librdkafka_refuses_leaves_no_chain_behind() {
    let home = tempfile::tempdir().unwrap();
    let (config, spool) = (home.path().join("config.toml"), home.path().join("spool"));
    let text = format!(
        "instance = \"test\"\n[listen]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [[authorizer]]\nname = \"a\"\nurl = \"http://127.0.0.1:1/\"\n[audit]\nspool = {spool:?}\n\
         [kafka]\nbrokers = [\"127.0.0.1:1\"]\ntopic = \"decisions\"\nproperties = {{ \"no.such.property\" = 1 }}\n"
    );
    std::fs::write(&config, text).unwrap();
    let ran = Command::new(binary()).arg("serve").arg("--config").arg(&config).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned() + &String::from_utf8_lossy(&ran.stdout);
    assert_eq!(ran.status.code(), Some(64), "{said}");
    assert!(said.contains("no.such.property"), "{said}");
    assert!(!spool.exists(), "nothing was begun");
}

/// A file system of its own; gone with the test.
pub struct Small(tempfile::TempDir);

impl Small {
    /// `None`, said loudly, where this machine does not let us.
    pub fn mount(size: &str) -> Option<Self> {
        let home = tempfile::tempdir().unwrap();
        let options = format!("size={size},mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(home.path()).output();
        if mounted.is_ok_and(|m| m.status.success()) {
            return Some(Self(home));
        }
        let (tool, part) = ("mount".to_owned(), "a small disk".to_owned());
        require(Err(Error::Missing { tool, part, hint: "a tmpfs cannot be mounted; this needs root".to_owned() }))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.0.path()).status());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_denies_and_everything_refused_is_counted() {
    let Some(disk) = Small::mount("80m") else { return };
    let stub = Stub::start(Script::allow()).await.unwrap();
    // Before the first answer the disk is nearly full: the first segment fits, the next does not.
    let filler = disk.path().join("filler");
    std::fs::write(&filler, vec![0; 70 << 20]).unwrap();
    let proxy = Countersign::asking(&stub.url()).on(disk.path()).start().await;
    let big = "x".repeat(700);
    let (mut allowed, mut denied) = (0, 0);
    while denied < 10 {
        let answer = ask(&proxy, &big).await;
        if answer.allowed() {
            assert_eq!(denied, 0, "an allow in the outage");
            allowed += 1;
            assert!(allowed < 20_000, "the disk is never full");
        } else {
            assert_eq!((answer.status, answer.reason()), (503, "audit_unavailable"));
            // One that was taken before the roll failed has a record.
            denied += 1;
        }
    }
    std::fs::remove_file(&filler).unwrap();
    proxy.available().await;
    assert!(ask(&proxy, "after").await.allowed());
    eventually("the outage is in the chain", async || {
        (events(&checked(in_spool(disk.path())), "outage_ended").len() == 1).then_some(())
    })
    .await;
    let records = proxy.records();
    assert_eq!(refused(&records), 10);
    assert_eq!(proxy.decisions().len(), allowed + 1);
}

/// The disk ends long before `max_size` and `retain_delivered` do: what Kafka has gives way, and answers go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_full_of_delivered_segments_denies_nothing_for_long() {
    let Some(disk) = Small::mount("24m") else { return };
    let broker = MockBroker::start(&[("decisions", 1), ("countersign.checkpoints", 1)]).unwrap();
    let stub = Stub::start(Script::allow()).await.unwrap();
    // Room for four segments of a MiB, of the eight that the spool may have.
    std::fs::write(disk.path().join("filler"), vec![0; 20 << 20]).unwrap();
    let setup = Countersign::asking(&stub.url()).max_size("8MiB").on(disk.path());
    let proxy = setup.kafka(&broker.bootstrap(), "decisions").start().await;
    let big = "x".repeat(900);
    let mut allowed = 0;
    // Twice as much as the disk takes, so that half of it gave way.
    while allowed < 6000 {
        if ask(&proxy, &big).await.allowed() {
            allowed += 1;
        } else {
            // At most until Kafka has acknowledged what is there.
            proxy.available().await;
        }
    }
    let bytes = proxy.metric("countersign_spool_bytes ").await;
    assert!(bytes < f64::from(5 << 20), "{bytes} bytes on a disk of 4 MiB");
}

/// A roll needs an inode.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_without_inodes_denies_and_comes_back() {
    let Some(disk) = Small::mount("80m,nr_inodes=64") else { return };
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).max_size("2MiB").on(disk.path()).start().await;
    assert!(ask(&proxy, "before").await.allowed());
    let fillers = disk.path().join("fillers");
    std::fs::create_dir(&fillers).unwrap();
    let made = (0..64).take_while(|n| std::fs::write(fillers.join(n.to_string()), "").is_ok()).count();
    assert!(made < 64, "inodes do not run out");
    let big = "x".repeat(700);
    let mut allowed = 1;
    while ask(&proxy, &big).await.allowed() {
        allowed += 1;
        assert!(allowed < 2_000, "a roll works without an inode");
    }
    std::fs::remove_dir_all(&fillers).unwrap();
    proxy.available().await;
    assert!(ask(&proxy, "after").await.allowed());
    let written = proxy.decisions().len();
    assert!(written > allowed, "{written} records of {} allows", allowed + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_moved_away_is_noticed_and_the_new_one_is_locked() {
    let home = tempfile::tempdir().unwrap();
    let (spool, away) = (home.path().join("spool"), home.path().join("away"));
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).on(&spool).start().await;
    assert!(ask(&proxy, "before").await.allowed());
    std::fs::rename(&spool, &away).unwrap();
    eventually("the spool is made again", async || spool.join("epochs").is_dir().then_some(())).await;
    proxy.available().await;
    let second = Countersign::asking(&stub.url()).on(&spool).start_unready().await;
    eventually("the second sees the lock", async || second.log().contains("locked by another").then_some(())).await;
    assert_eq!(ask(&second, "x").await.status, 503);
    assert!(ask(&proxy, "after").await.allowed());
}
