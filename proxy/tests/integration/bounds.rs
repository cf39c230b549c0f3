//! Descriptors, threads, memory and disk of one process under everything that is too much, one after the other: bounded meanwhile,
//! and given back afterwards. What is refused is counted exactly. For hours: `loadtest soak`, which puts the same strains on.

use std::time::Duration;

use loadtest::figures::Claim;
use loadtest::laboratory::{Laboratory, require};
use loadtest::soak::bench::{Bench, MAX_IN_FLIGHT, MAX_SIZE};
use loadtest::soak::strain::{Strain, Told};
use loadtest::soak::usage::{Usage, Watch};
use tokio::net::TcpStream;

use crate::support::records::{checked, events, in_spool};
use crate::support::{binary, disk};

/// Of one strain; some take longer.
const TIME: Duration = Duration::from_secs(4);
/// A disk that stalls makes most records late, which says little about a strain: then it is put on again.
const TRIES: usize = 3;
/// Beside connections: segments, librdkafka's sockets, what is being closed.
const DESCRIPTORS: u64 = 64;
/// librdkafka's while Kafka is away: one for each broker of a client and each way to it, and a client more that looks for the topics.
const THREADS: u64 = 16;
/// Buffers of everything that is on its way, and what the allocator keeps of them.
const RESIDENT: u64 = 128 << 20;
/// Cursors, keys and what the file system adds to `audit.max_size`.
const BESIDE: u64 = 1 << 20;
/// What may be left once all is over: pools of connections, and the allocator's.
const LEFT: Usage = Usage { descriptors: 32, threads: 4, resident: 96 << 20, disk: 0 };
/// Connections that somebody forgot.
const LEAK: usize = 300;

/// Connections to the process and as many to authorizers as there are places, on top of the base line.
fn limit(base: Usage, strain: Strain) -> Usage {
    let descriptors = base.descriptors + strain.held() + MAX_IN_FLIGHT as u64 + DESCRIPTORS;
    let (threads, resident) = (base.threads + THREADS, base.resident + RESIDENT);
    Usage { descriptors, threads, resident, disk: MAX_SIZE + BESIDE }
}

fn given_back(base: Usage) -> Usage {
    Usage { disk: MAX_SIZE + BESIDE, ..base.plus(LEFT) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_stays_within_bounds_whatever_is_too_much() {
    let Some(kafka) = require(Laboratory::open().unwrap().kafka().start().await) else { return };
    let mut bench = Bench::start(binary().as_ref(), kafka).await.unwrap();
    let base = bench.usage().unwrap();
    eprintln!("base line: {base}");
    let (mut most, mut refused, mut answers) = (base, 0, 0);
    for strain in Strain::ALL {
        for tried in 1..=TRIES {
            let (seen, told) = put_on(strain, &mut bench, base).await;
            most = most.most(seen);
            refused += told.refused;
            answers += told.answers;
            if told.late * 2 < told.answers {
                break;
            }
            assert!(tried < TRIES, "{}: records do not become durable: {told:?}", strain.name());
            tokio::task::block_in_place(disk::keeps_up);
        }
    }
    let end = bench.usage().unwrap();
    eprintln!("end: {end}");
    assert_eq!(end.above(given_back(base)), Vec::<String>::new());
    leaks_show(&bench, base).await;
    let recorded = recorded(&mut bench).await;
    assert_eq!(recorded, refused, "the records count what the client was refused");
    assert!(refused > 0 && answers > refused);

    Claim::new("bounds", "cargo test -p countersign --test integration bounds")
        .figure("strains", Strain::ALL.len())
        .figure("answers", answers)
        .figure("of these refused and counted as overload", refused)
        .figure("descriptors before", base.descriptors)
        .figure("at most", most.descriptors)
        .figure("at the end", end.descriptors)
        .figure("threads before", base.threads)
        .figure("at most", most.threads)
        .figure("at the end", end.threads)
        .figure("MiB resident before", base.resident >> 20)
        .figure("at most", most.resident >> 20)
        .figure("at the end", end.resident >> 20)
        .figure("MiB on disk at most", most.disk >> 20)
        .figure("of", MAX_SIZE >> 20)
        .control("connections that stay open are found at the end")
        .write()
        .unwrap();
}

/// What the process held at most meanwhile and what its client was told, both as they should be but for what was late.
async fn put_on(strain: Strain, bench: &mut Bench, base: Usage) -> (Usage, Told) {
    let watch = Watch::start(bench.pid().unwrap(), bench.countersign.spool());
    let told = strain.put_on(bench, TIME).await.unwrap_or_else(|error| panic!("{}: {error:#}", strain.name()));
    let seen = watch.most();
    bench.rested().await.unwrap();
    eprintln!("{}: {seen}; {told:?}", strain.name());
    assert_eq!(seen.above(limit(base, strain)), Vec::<String>::new(), "{}", strain.name());
    assert_eq!((told.failures, told.counted), (0, [told.refused; 2]), "{}: {told:?}", strain.name());
    (seen, told)
}

/// What is held by whoever forgot it is above what may be left.
async fn leaks_show(bench: &Bench, base: Usage) {
    let url = bench.countersign.url();
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let mut held = Vec::new();
    for _ in 0..LEAK {
        held.push(TcpStream::connect(address).await.unwrap());
    }
    let found = crate::support::eventually("the leak shows", async || {
        let above = bench.usage().unwrap().above(given_back(base));
        (!above.is_empty()).then_some(above)
    })
    .await;
    assert!(found[0].contains("descriptors"), "{found:?}");
}

/// Answers of `overload` that the chain counts, once it has ended.
async fn recorded(bench: &mut Bench) -> u64 {
    bench.countersign.stop().await;
    let records = checked(in_spool(&bench.countersign.spool()));
    let ended = events(&records, "outage_ended");
    ended.iter().map(|event| event["data"]["refused"]["overload"].as_u64().unwrap()).sum()
}
