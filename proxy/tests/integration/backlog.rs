//! A start on a spool that is full of records that Kafka has not got: it answers at once, and needs no more memory for them.
//! `COUNTERSIGN_BACKLOG_MIB` says how much; the ordinary run takes little, and asserts no time.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use countersign::audit::chain::Chain;
use countersign::audit::envelope::{Draft, Kind, Source};
use countersign::audit::epoch::{EpochId, segment_name};
use countersign::audit::segment::{self, HEADER, Header, Meta};
use loadtest::figures::Claim;
use loadtest::stub::{Script, Stub};
use uuid::Uuid;

use crate::support::{Countersign, count, eventually, question};

const MEBIBYTES: &str = "COUNTERSIGN_BACKLOG_MIB";
const SEGMENT: usize = 64 << 20;
/// Epochs of so many segments, as of a process that runs for a while.
const SEGMENTS: u64 = 32;
const COMMAND: &str = "cargo test -p countersign --test integration backlog";

/// Whole records in whole chains, as the writer would have left them; none is delivered. Returns how many.
fn fill(spool: &Path, segments: u64) -> u64 {
    let (mut chain, mut directory, mut records) = (Chain::new(Arc::from("")), spool.to_owned(), 0);
    // Of a record the time and the id are its own; for its size these may be the same in all.
    let data = serde_json::json!({"decision": "allow", "text": "x".repeat(600)});
    let draft =
        Draft::new(&Source::new("test"), Kind::Decision, Uuid::now_v7(), SystemTime::now(), None, &data).unwrap();
    for number in 0..segments {
        if number % SEGMENTS == 0 {
            let id = EpochId::new(1_795_439_107_000 + number, number + 1);
            chain = Chain::new(format!("test/{}", id.random()).into());
            directory = spool.join(id.directory());
            std::fs::create_dir_all(&directory).unwrap();
        }
        let (number, first) = (number % SEGMENTS, chain.next());
        let header = Header {
            chain: chain.id().to_string(),
            number,
            first_seq: first,
            prev: chain.prev(),
            salt: 77 + number,
            created_us: draft.time_us,
        };
        let mut bytes = header.encode();
        while bytes.len() + 2048 < SEGMENT {
            let start = segment::begin(&mut bytes);
            let seq = chain.finish(&draft.head, &mut bytes);
            segment::seal(&mut bytes, start, header.salt, Meta { seq, time_us: draft.time_us, settled: seq });
            records += 1;
        }
        assert!(bytes.len() > HEADER);
        bytes.resize(SEGMENT, 0);
        let mut file = BufWriter::new(File::create(directory.join(segment_name(first, number))).unwrap());
        file.write_all(&bytes).unwrap();
        file.into_inner().unwrap().sync_data().unwrap();
    }
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_does_not_wait_for_a_backlog() {
    let is_wanted = std::env::var_os(MEBIBYTES).is_some();
    let mebibytes: u64 = count(MEBIBYTES, 256);
    let home = tempfile::Builder::new().tempdir_in("/var/tmp").unwrap();
    let records = fill(home.path(), (mebibytes << 20).div_ceil(SEGMENT as u64));
    let stub = Stub::start(Script::allow()).await.unwrap();
    let since = Instant::now();
    // Nobody listens at port 1.
    let setup = Countersign::asking(&stub.url()).max_size("64GiB").kafka("127.0.0.1:1", "t").on(home.path());
    let proxy = setup.start_unready().await;
    let first = eventually("the first allow", async || {
        let answer = proxy.ask(&question("alice", "s3:GetObject", "reports", "first")).await;
        answer.allowed().then(|| since.elapsed())
    })
    .await;
    let undelivered = eventually("the backlog is measured", async || {
        let undelivered = proxy.metric("countersign_spool_undelivered_records ").await;
        (undelivered >= records as f64).then_some(undelivered)
    })
    .await;
    // The publisher has read as much ahead as it may.
    for n in 0..20 {
        assert!(proxy.ask(&question("alice", "s3:GetObject", "reports", &n.to_string())).await.allowed());
    }
    let peak = proxy.peak();
    assert!(peak < 256 << 20, "{} MiB are resident", peak >> 20);
    eprintln!(
        "{mebibytes} MiB, {undelivered} records: first allow after {first:?}, {} MiB resident at most",
        peak >> 20
    );
    if is_wanted {
        assert!(first < Duration::from_secs(5), "{first:?}");
    }
    Claim::new("backlog", COMMAND)
        .figure("MiB that Kafka has not got", mebibytes)
        .figure("records of these", records)
        .figure("first allow after, ms", first.as_millis())
        .figure("resident at most, MiB", peak >> 20)
        .write()
        .unwrap();
}
