//! Connections that are held: H19, H20, H21. They drip, fall silent, never speak or never listen, while good questions go
//! on. What it costs those in time is `loadtest prove drips`; here it is that each is closed by the process, that nobody
//! else is refused, and what becomes of a process that they leave without descriptors.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use loadtest::stub::{Script, Stub};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::ledger::{Found, Kept, descriptors, left_open};
use super::stage::{TOKEN, asked, heard, post, sized};
use crate::support::{Countersign, PATIENCE, Running, eventually, http};

/// Of each kind.
const EACH: usize = 100;
/// Between two bytes of a drip: much less than the time for the whole.
const DRIP: Duration = Duration::from_millis(100);
/// As configured here, for the whole of a question.
const READ_TIMEOUT: &str = "2s";

/// What is sent at once, and what then drips; nothing is silence.
fn kinds() -> [(&'static str, Vec<u8>, &'static [u8]); 6] {
    let head = format!("POST / HTTP/1.1\r\nHost: c\r\n{TOKEN}");
    [
        (
            "H19 a head that drips",
            b"P".to_vec(),
            b"OST / HTTP/1.1\r\nHost: x\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
        ),
        ("H19 a head that falls silent", head.into_bytes(), b""),
        ("H20 a body that drips", post("Content-Length: 100000\r\n", "{"), b" "),
        ("H20 chunks that drip", post("Transfer-Encoding: chunked\r\n", ""), b"1\r\n \r\n"),
        ("H20 a body that falls silent", sized(asked())[..200].to_vec(), b""),
        ("H21 nothing", Vec::new(), b""),
    ]
}

/// Behind a token, with little time for a question.
async fn impatient() -> (Stub, Running) {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let listen = format!("drain = \"0s\"\nread_timeout = \"{READ_TIMEOUT}\"");
    let proxy = Countersign::asking(&stub.url()).listen(&listen).token("Bearer s3cret").start().await;
    (stub, proxy)
}

/// Holds connections of every kind until all are closed by the process.
pub async fn held() -> Found {
    let (stub, mut proxy) = impatient().await;
    let (mut found, mut kept) = (Found::default(), Vec::new());
    good(&proxy, &mut found, &mut kept).await;
    let before = descriptors(&proxy);
    let left = Arc::new(AtomicUsize::new(EACH * kinds().len()));
    let mut holding = JoinSet::new();
    for (what, at_once, drip) in kinds() {
        for _ in 0..EACH {
            found.tried += 1;
            let stream = TcpStream::connect(proxy.address()).await.unwrap();
            let (at_once, left) = (at_once.clone(), left.clone());
            holding.spawn(async move {
                let ended = hold(stream, &at_once, drip).await;
                left.fetch_sub(1, Ordering::SeqCst);
                (what, ended)
            });
        }
    }
    // Each of them was accepted, and is closed while this goes on.
    while left.load(Ordering::SeqCst) > 0 {
        good(&proxy, &mut found, &mut kept).await;
        // Their records must fit into the spool on any machine.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    found.tried += 1;
    if !never_listens(&proxy).await {
        found.complain("H21 answers that nobody takes", "not closed");
    }
    while let Some(ended) = holding.join_next().await {
        let (what, said) = ended.unwrap();
        if said.as_deref() != Some(b"") {
            found.complain(what, format!("neither closed nor without a word: {said:?}"));
        }
    }
    if let Some(open) = left_open(&proxy, before).await {
        found.complain("H19", format!("{open} descriptors, {before} before"));
    }
    counted(&proxy).await;
    let answered = kept.len() as u64;
    if stub.asked() != answered {
        found.complain("H20", format!("{} questions reached the authorizer, not {answered}", stub.asked()));
    }
    proxy.stop().await;
    found.compare(&kept, proxy.records());
    found
}

/// What the process says until it closes; `None` where it does not.
async fn hold(stream: TcpStream, at_once: &[u8], drip: &[u8]) -> Option<Vec<u8>> {
    let (mut read, mut write) = stream.into_split();
    // The process may be quicker to close than we are to write.
    let mut open = write.write_all(at_once).await.is_ok();
    let drips = async {
        for byte in drip.iter().cycle() {
            tokio::time::sleep(DRIP).await;
            open = open && write.write_all(&[*byte]).await.is_ok();
            if !open {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let mut said = Vec::new();
    let ended = tokio::select! {
        // A reset, where a byte was under way when it closed, is an end as well.
        ended = tokio::time::timeout(PATIENCE, read.read_to_end(&mut said)) => ended.is_ok(),
        () = drips => false,
    };
    ended.then_some(said)
}

/// Asks on and on and takes no answer, until the process closes; false where it does not. Empty questions, which are
/// quick and have no record.
async fn never_listens(proxy: &Running) -> bool {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(proxy.address()).await.unwrap();
    let probes = sized("").repeat(100);
    let asking = async { while stream.write_all(&probes).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, asking).await.is_ok()
}

/// More silent connections than it has descriptors for: questions wait or are denied meanwhile, and it comes back by itself.
#[tokio::test]
async fn a_process_without_descriptors_allows_nothing_unrecorded_and_comes_back() {
    let (_stub, mut proxy) = impatient().await;
    let (mut found, mut kept) = (Found::default(), Vec::new());
    good(&proxy, &mut found, &mut kept).await;
    let before = descriptors(&proxy);
    let few = Rlimit { current: Some(before as u64 + 20), maximum: Some(20_000) };
    let pid = Pid::from_raw(i32::try_from(proxy.pid()).unwrap());
    prlimit(pid, Resource::Nofile, few).unwrap();
    let mut silent = Vec::new();
    for _ in 0..EACH {
        silent.push(TcpStream::connect(proxy.address()).await.unwrap());
    }
    eventually("there are no more", async || (descriptors(&proxy) >= before + 19).then_some(())).await;
    let good_ones = sized(asked());
    let meanwhile = futures_util::future::join_all((0..10).map(|_| heard(&proxy, &good_ones))).await;
    for bytes in &meanwhile {
        for answer in http::several(bytes).0 {
            assert_eq!(answer.allowed(), answer.reason() == "allowed", "{answer:?}");
            if answer.header("x-countersign-decision").is_some() {
                kept.push(Kept::new("without descriptors", &answer));
            }
        }
    }
    for mut stream in silent {
        let ended = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 1])).await;
        assert!(ended.is_ok(), "a silent connection is held for ever");
    }
    good(&proxy, &mut found, &mut kept).await;
    // Those to the authorizer are kept: at most one for each question that was asked at once.
    assert_eq!(left_open(&proxy, before + meanwhile.len()).await, None);
    proxy.stop().await;
    found.compare(&kept, proxy.records());
    found.assert();
}

async fn good(proxy: &Running, found: &mut Found, kept: &mut Vec<Kept>) {
    match http::several(&heard(proxy, &sized(asked())).await).0.as_slice() {
        [answer] if answer.allowed() => kept.push(Kept::new("a good question", answer)),
        other => found.complain("H19", format!("a good question meanwhile: {other:?}")),
    }
}

/// Those that sent something did not finish it; those that said nothing asked nothing; and one took no answer.
async fn counted(proxy: &Running) {
    let count = async |client: &str, outcome: &str| {
        proxy.metric(&format!("countersign_front_requests_total{{client=\"{client}\",outcome=\"{outcome}\"}}")).await
    };
    eventually("those who did not finish are counted", async || {
        let incomplete = count("unknown", "incomplete").await + count("minio", "incomplete").await;
        (incomplete == (EACH * 5) as f64).then_some(())
    })
    .await;
    assert_eq!(count("unknown", "unread").await, 1.0);
    assert!(count("unknown", "silent").await >= EACH as f64, "those that said nothing");
}
