//! Secrets that were replaced, in the memory of the process itself: in use they are found there, and once another configuration is
//! in force they are nowhere in it. Reads what no process of the same user can: it needs root, and says so where it is not.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use loadtest::stub::{Script, Stub};

use super::canary;
use crate::authorizer::encrypted::Identity;
use crate::secure::House;
use crate::support::{Countersign, Running, eventually};

/// Read at a time, and read again with the next piece: no secret is longer.
const PIECE: usize = 1 << 20;
const OVERLAP: usize = 256;

/// A secret, and the bytes it is in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Secret {
    what: &'static str,
    bytes: Vec<u8>,
}

/// How often each is in what the process may write to: heap, stacks, and what libraries keep.
fn places(proxy: &Running, secrets: &[Secret]) -> Vec<usize> {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", proxy.pid())).unwrap();
    let memory = File::open(format!("/proc/{}/mem", proxy.pid())).unwrap();
    let mut found = vec![0; secrets.len()];
    let (mut read, mut piece) = (0, vec![0; PIECE]);
    for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.starts_with("rw"))) {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [mut at, end] = [start, end].map(|number| u64::from_str_radix(number, 16).unwrap());
        // What was given back meanwhile cannot be read.
        while let Ok(length @ 1..) = memory.read_at(&mut piece[..PIECE.min((end - at) as usize)], at) {
            read += length;
            for (count, secret) in found.iter_mut().zip(secrets) {
                *count += occurrences(&piece[..length], &secret.bytes);
            }
            if length < PIECE {
                break;
            }
            at += (length - OVERLAP) as u64;
        }
    }
    assert!(read > 1 << 20, "only {read} bytes of its memory were read");
    found
}

fn occurrences(piece: &[u8], secret: &[u8]) -> usize {
    // Most of it was never touched.
    if piece.iter().all(|byte| *byte == 0) {
        return 0;
    }
    let first = secret[0];
    piece.iter().enumerate().filter(|(at, byte)| **byte == first && piece[*at..].starts_with(secret)).count()
}

fn present(proxy: &Running, secrets: &[Secret]) -> Vec<&'static str> {
    let found = places(proxy, secrets).into_iter().zip(secrets);
    found.filter(|(count, _)| *count > 0).map(|(_, secret)| secret.what).collect()
}

/// Texts of files that are read again when they change, and the key of a certificate, by generation.
struct Generation {
    texts: [Secret; 3],
    key: Secret,
    /// Lines of the key's file, which nobody needs once it is read.
    lines: Vec<Secret>,
}

impl Generation {
    /// `number` of the first canary.
    fn new(number: usize, identity: &Identity) -> Self {
        let texts = ["listen.tokens", "admin.token", "authorizer.token"];
        let mut numbers = number..;
        let texts = texts.map(|what| Secret { what, bytes: canary(numbers.next().unwrap()).into_bytes() });
        // As OpenSSL has a number: its lowest word first.
        let mut bytes = identity.key.ec_key().unwrap().private_key().to_vec_padded(32).unwrap();
        bytes.reverse();
        let pem = String::from_utf8(identity.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        let long = pem.lines().filter(|line| line.len() == 64);
        let lines = long.map(|line| Secret { what: "a line of listener.key", bytes: line.as_bytes().to_vec() });
        Self { texts, key: Secret { what: "listen.tls.key", bytes }, lines: lines.collect() }
    }

    fn files(&self) -> [(&'static str, String); 3] {
        let text = |secret: &Secret| format!("Bearer {}\n", String::from_utf8_lossy(&secret.bytes));
        let [token, admin, authorizer] = &self.texts;
        [("token", text(token)), ("admin", text(admin)), ("authorizer", text(authorizer))]
    }

    fn kept(&self) -> Vec<Secret> {
        self.texts.iter().chain([&self.key]).cloned().collect()
    }
}

/// None of them is ever shown or sent: what pingora, OpenSSL and the kernel do with what is under way is documented, not tested.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_replaced_is_wiped() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("NOT RUN: reading the memory of a process that is not dumpable needs root");
        return;
    }
    let (stub, house) = (Stub::start(Script::allow()).await.unwrap(), House::new());
    let [old, new] = [60, 70].map(|number| {
        let identity = Identity::new("localhost", Some(&house.authority), 1, 10);
        (Generation::new(number, &identity), identity)
    });
    old.1.write(house.path(), "listener");
    let authorizers = format!(
        "token = {{ file = \"{{dir}}/admin\" }}\n[[authorizer]]\nname = \"authz\"\nurl = \"{}\"\ntoken = {{ file = \"{{dir}}/authorizer\" }}\n",
        stub.url()
    );
    let listen = format!("{}\ntokens = [{{ name = \"minio\", file = \"{{dir}}/token\" }}]", house.listen(false));
    let mut setup = Countersign::custom(&authorizers).listen(&listen);
    for (name, text) in old.0.files() {
        setup = setup.file(name, &text);
    }
    let proxy = setup.start().await;
    // The control: what is in use is there, and is found.
    assert_eq!(present(&proxy, &old.0.kept()), ["listen.tokens", "admin.token", "authorizer.token", "listen.tls.key"]);
    assert_eq!(present(&proxy, &new.0.kept()), [""; 0]);
    // Soon after it was read: later the place of what was not wiped may be somebody else's.
    assert!(!old.0.lines.is_empty());
    assert_eq!(present(&proxy, &old.0.lines), [""; 0]);

    new.1.write(house.path(), "listener");
    for (name, text) in new.0.files() {
        std::fs::write(proxy.home().join(name), text).unwrap();
    }
    proxy.signal("HUP");
    eventually("the new ones are in use", async || {
        (present(&proxy, &new.0.kept()).len() == new.0.kept().len()).then_some(())
    })
    .await;
    eventually("the old ones are nowhere", async || {
        let left = present(&proxy, &old.0.kept());
        if !left.is_empty() {
            eprintln!("still there: {left:?}");
        }
        left.is_empty().then_some(())
    })
    .await;
    for generation in [&old.0, &new.0] {
        assert!(!generation.lines.is_empty());
        assert_eq!(present(&proxy, &generation.lines), [""; 0]);
    }
}
