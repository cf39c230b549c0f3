//! `listen.suspicious = "deny"` on a real MinIO: callers forge what MinIO says of them, by a tag key and by a query
//! parameter, and are refused; a day's ordinary work is not.

mod signed;

use std::path::Path;

use loadtest::laboratory::mc::Mc;
use loadtest::laboratory::minio::Minio;
use loadtest::laboratory::opa::Opa;
use loadtest::laboratory::{Laboratory, require};
use serde_json::{Value, json};

use crate::support::{Countersign, Running};
use signed::Get;

const TOKEN: &str = "Bearer minio";
const ALICE: (&str, &str) = ("alice", "alice-secret");

struct Stand {
    minio: Minio,
    proxy: Running,
    _opa: Opa,
}

/// `None` where this machine cannot run it, which has been said.
async fn stand() -> Option<Stand> {
    let lab = Laboratory::open().unwrap();
    let opa = require(lab.opa().start().await)?;
    let strict = Countersign::asking(&opa.url("minio/allow")).listen("drain = \"0s\"\nsuspicious = \"deny\"");
    let proxy = strict.token(TOKEN).cache("").start().await;
    let minio = require(lab.minio().plugin(&proxy.url(), Some(TOKEN)).start().await)?;
    Some(Stand { minio, proxy, _opa: opa })
}

/// Records since `before` that bear a sign or were refused for one.
fn suspects(proxy: &Running, before: usize) -> Vec<Value> {
    let marked = |record: &Value| {
        record["data"]["request"]["suspicious"] != json!([]) || record["data"]["reason"] == "suspicious_request"
    };
    proxy.decisions().split_off(before).into_iter().filter(marked).collect()
}

fn file(home: &Path, name: &str, bytes: usize) {
    std::fs::write(home.join(name), vec![b'x'; bytes]).unwrap();
}

/// Everything that people do with `mc`, ordinary tags included; each command must succeed.
async fn work(mc: &Mc) {
    file(mc.home(), "a.txt", 10);
    // Beyond 16 MiB mc uploads in parts.
    file(mc.home(), "large.bin", 20 << 20);
    for line in [
        "mb root/reports",
        "version enable root/reports",
        "cp a.txt root/reports/home/alice/a.txt",
        "cp --tags class=public&team=blue/green a.txt root/reports/home/alice/tagged.txt",
        "cp --attr Cache-Control=max-age=90;Owner=alice a.txt root/reports/home/alice/with.txt",
        "tag set root/reports/home/alice/a.txt class=secret&path=a/b&dots=..&v=1.2..3",
        "tag list root/reports/home/alice/a.txt",
        "cp large.bin root/reports/home/alice/large.bin",
        "cp large.bin alice/reports/home/alice/her.bin",
        "cp a.txt alice/reports/home/alice/b.txt",
        "cat alice/reports/home/alice/b.txt",
        "cat root/reports/home/alice/tagged.txt",
        "stat root/reports/home/alice/a.txt",
        "stat --versions root/reports/home/alice/a.txt",
        "ls alice/reports/home/alice/",
        "ls --recursive --versions root/reports",
        "find root/reports --name *.txt",
        "du root/reports",
        "cp root/reports/home/alice/a.txt root/reports/copied.txt",
        "mv root/reports/copied.txt root/reports/moved.txt",
        "tag remove root/reports/home/alice/a.txt",
        "tag set root/reports team=blue",
        "tag list root/reports",
        "share download root/reports/home/alice/a.txt",
        "mb --with-lock root/locked",
        "cp a.txt root/locked/a.txt",
        "legalhold set root/locked/a.txt",
        "legalhold clear root/locked/a.txt",
        "retention set governance 1d root/locked/a.txt",
        "stat root/locked/a.txt",
        "ilm rule add --expire-days 30 root/reports",
        "ilm rule ls root/reports",
        "ls root",
        "admin info root",
        "admin user list root",
        "rm root/reports/moved.txt",
        "rm --recursive --force --versions root/reports/home/",
    ] {
        let args: Vec<&str> = line.split(' ').collect();
        mc.run(&args).await.unwrap_or_else(|error| panic!("mc {line}: {error}"));
    }
}

#[tokio::test]
async fn ordinary_work_is_never_suspicious() {
    let Some(stand) = stand().await else { return };
    let mc = stand.minio.mc().unwrap().user(ALICE.0, ALICE.1).await.unwrap();
    work(&mc).await;
    // A presigned URL as a browser follows it, and the same signed in a header.
    mc.run(&["cp", "a.txt", "alice/reports/home/alice/a.txt"]).await.unwrap();
    let object = "/reports/home/alice/a.txt";
    let shared = mc.run(&["share", "download", "--json", "alice/reports/home/alice/a.txt"]).await.unwrap();
    let shared: Value = serde_json::from_str(&shared).unwrap();
    assert_eq!(signed::open(shared["share"].as_str().unwrap()).await.status, 200);
    assert_eq!(Get::of(&stand.minio, object).by(ALICE).await.status, 200);
    assert_eq!(
        Get::of(&stand.minio, object).header("x-forwarded-for", "10.1.2.3, 9.9.9.9").by(ALICE).await.status,
        200
    );
    assert_eq!(Get::of(&stand.minio, object).header("referer", "https://intranet/").by(ALICE).await.status, 200);
    let (asked, found) = (stand.proxy.decisions().len(), suspects(&stand.proxy, 0));
    assert!(found.is_empty(), "{found:#?}");
    assert!(asked > 150, "only {asked} questions were looked at");
}

#[tokio::test]
async fn forged_questions_are_refused_while_honest_ones_go_on() {
    let Some(stand) = stand().await else { return };
    let mc = stand.minio.mc().unwrap().user(ALICE.0, ALICE.1).await.unwrap();
    file(mc.home(), "a.txt", 10);
    mc.run(&["mb", "root/reports"]).await.unwrap();
    // Without tags: those of an object would take the place of a header's.
    mc.run(&["cp", "a.txt", "alice/reports/home/alice/a.txt"]).await.unwrap();
    mc.run(&["cp", "--tags", "class=public", "a.txt", "alice/reports/home/alice/tagged.txt"]).await.unwrap();
    let get = || Get::of(&stand.minio, "/reports/home/alice/a.txt");
    let tagged = || get().header("x-amz-tagging", "..%2Fusername=root");
    let traversal = json!(["tag_key_traversal"]);
    for (what, forged, sign) in [
        ("a tag key that becomes `username`", tagged(), traversal.clone()),
        ("a tag key that becomes `SourceIp`", get().header("x-amz-tagging", "..%2FSourceIp=10.9.9.9"), traversal),
        ("a parameter beside `username`", get().query("username", "root"), json!(["doubled_condition"])),
        ("a parameter beside `SourceIp`", get().query("SourceIp", "10.0.0.1"), json!(["doubled_condition"])),
        ("an address that is none", get().header("x-forwarded-for", "intranet"), json!(["source_ip_invalid"])),
    ] {
        assert_eq!(get().by(ALICE).await.status, 200, "before {what}");
        let before = stand.proxy.decisions().len();
        let answer = forged.by(ALICE).await;
        assert_eq!(answer.status, 403, "{what}: {}", answer.body);
        let refused = suspects(&stand.proxy, before);
        assert!(!refused.is_empty(), "{what} is recorded");
        for record in &refused {
            let data = &record["data"];
            assert_eq!(
                (&data["reason"], &data["request"]["suspicious"]),
                (&json!("suspicious_request"), &sign),
                "{what}"
            );
            assert_eq!((&data["decision"], &data["actor"]["account"]), (&json!("deny"), &json!("alice")), "{what}");
            assert_eq!(data["authorizers"], json!([]), "nobody is asked about {what}");
        }
        assert_eq!(get().by(ALICE).await.status, 200, "after {what}");
    }
    // The forger cannot leave it in the object, either, for others to stumble over.
    let upload = mc.attempt(&["cp", "--tags", "../username=root", "a.txt", "alice/reports/home/alice/b.txt"]).await;
    assert_ne!(upload.unwrap().code, Some(0));
    let tagging = mc.attempt(&["tag", "set", "root/reports/home/alice/a.txt", "../username=root"]).await;
    assert_ne!(tagging.unwrap().code, Some(0), "not even root");
    mc.run(&["tag", "set", "root/reports/home/alice/a.txt", "class=secret"]).await.unwrap();
    assert!(mc.run(&["tag", "list", "root/reports/home/alice/a.txt"]).await.unwrap().contains("secret"));
}
