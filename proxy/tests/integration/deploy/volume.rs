//! A volume as the kubelet hands it over: owned by root, writable by the pod's group. Its root is no spool, a directory in
//! it is; and what the kubelet does to every file unless it is told otherwise is refused.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use loadtest::stub::{Script, Stub};

use super::super::support::{Countersign, binary, question};

/// `fsGroup` sets these bits on the root of a volume, and with the policy `Always` on every directory in it.
const BY_THE_KUBELET: u32 = 0o2770;

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn a_directory_in_the_volume_is_a_spool_and_the_volume_is_none() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let volume = home.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    mode(&volume, BY_THE_KUBELET);
    let spool = volume.join("spool");
    let mut proxy = Countersign::asking(&stub.url()).on(&spool).start().await;
    assert!(proxy.ask(&question("alice", "s3:GetObject", "reports", "a.txt")).await.allowed());
    proxy.stop().await;
    assert_eq!(std::fs::metadata(&spool).unwrap().permissions().mode() & 0o077, 0, "it is ours alone");

    // The next start, with `OnRootMismatch`: nothing is touched.
    proxy.start_again().await;
    assert!(proxy.ask(&question("alice", "s3:GetObject", "reports", "a.txt")).await.allowed());
    proxy.stop().await;

    // With `Always`.
    mode(&spool, BY_THE_KUBELET);
    // It ends by itself; were it to serve, it would be ended.
    let mut serve = Command::new("timeout");
    serve.args(["30", binary(), "serve", "--config"]).arg(proxy.config_file());
    let said = serve.output().unwrap();
    let words = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    let ended = !matches!(said.status.code(), Some(0 | 124) | None);
    assert!(ended && words.contains("may be written by others"), "{words}");
}
