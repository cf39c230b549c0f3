//! Every fault under every durability, combination and state of the cache, on the binary: each is a deny with its status and
//! reason, leaves its record or its exact count, and leaves nothing in the cache. What cannot be is listed, with the reason.

mod asking; // faults of authorizers and of questions
mod defect; // a defect of our own
mod disk; // records that cannot be made durable, or not in time
mod door; // TLS that can be trusted or not
mod judge; // what must hold
mod pressed; // more questions than places
mod table; // the cells

use std::collections::BTreeMap;

use countersign::policy::verdict::{Durability, Reason};
use loadtest::figures::Claim;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use crate::support::stand::TOPIC;
use crate::support::{Countersign, disk as volume};
use crate::syscalls::attached::usable;
use judge::{Found, Ran, judge};
use table::{Cell, DURABILITIES, Run};

/// Of an allow that is over when its question comes again.
const LIFE: &str = "300ms";

/// Of all cells, as long as a machine that stalls makes records late.
const TRIES: usize = 3;

/// A Kafka that can go away.
pub struct Broker(MockCluster<'static, DefaultProducerContext>);

impl Broker {
    fn start() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, 3, 1).unwrap();
        Self(cluster)
    }

    fn bootstrap(&self) -> String {
        self.0.bootstrap_servers()
    }

    fn away(&self) {
        self.0.broker_down(1).unwrap();
    }

    fn back(&self) {
        self.0.broker_up(1).unwrap();
    }
}

/// What all processes of the matrix have in common.
fn base(durability: Durability, kafka: Option<&str>, authorizers: &str) -> Countersign {
    let setup =
        Countersign::custom(authorizers).in_memory().audit(&format!("durability = \"{}\"", durability.as_str()));
    let quick = "properties = { \"reconnect.backoff.max.ms\" = \"200\" }";
    match kafka {
        Some(bootstrap) => setup.kafka(bootstrap, TOPIC).with(quick),
        None => setup,
    }
}

/// Returns when what began before the call has lived as long as that.
async fn over(life: &str) {
    tokio::time::sleep(life.parse::<humantime::Duration>().unwrap().into()).await;
}

async fn under(durability: Durability, cells: Vec<Cell>) -> Vec<Ran> {
    let broker = (durability == Durability::Acknowledged).then(Broker::start);
    // Of its own, since it goes away.
    let other = (durability == Durability::Acknowledged).then(Broker::start);
    let kafka = broker.as_ref().map(Broker::bootstrap);
    let of = |run| cells.iter().filter(|cell| cell.run() == Ok(run)).copied().collect::<Vec<_>>();
    let (asking, disk, defect, pressed) = (of(Run::Asking), of(Run::Disk), of(Run::Defect), of(Run::Pressed));
    let (asking, disk, defect, pressed) = tokio::join!(
        asking::run(durability, &asking, kafka.as_deref()),
        disk::run(durability, &disk, other.as_ref()),
        defect::run(durability, &defect, kafka.as_deref()),
        pressed::run(durability, pressed[0], kafka.as_deref()),
    );
    vec![asking, disk, defect, pressed]
}

/// Why cells cannot be, and how many.
fn absent(cells: &[Cell]) -> BTreeMap<&'static str, u64> {
    let mut absent = BTreeMap::new();
    for why in cells.iter().filter_map(|cell| cell.run().err()) {
        *absent.entry(why).or_default() += 1;
    }
    absent
}

/// All cells, at once.
async fn run(cells: &[Cell]) -> (Vec<Ran>, Found) {
    let [written, synced, acknowledged] =
        DURABILITIES.map(|at| under(at, cells.iter().filter(|cell| cell.durability == at).copied().collect()));
    let (written, synced, acknowledged) = tokio::join!(written, synced, acknowledged);
    let runs: Vec<Ran> = [written, synced, acknowledged].into_iter().flatten().collect();
    let mut found = Found::default();
    runs.iter().for_each(|ran| found.add(judge(ran)));
    (runs, found)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_denies_and_is_recorded_in_every_cell() {
    if usable().is_none() {
        return;
    }
    let cells = table::all();
    let began = tokio::time::Instant::now();
    let (mut runs, mut found) = run(&cells).await;
    for _ in 1..TRIES {
        if found.is_late_only() {
            eprintln!("run again, since records were late: {:?}", found.late);
            tokio::task::block_in_place(volume::keeps_up);
            (runs, found) = run(&cells).await;
        }
    }
    let absent = absent(&cells);
    for (why, count) in &absent {
        eprintln!("{count} cells cannot be: {why}");
    }
    let cannot_be: u64 = absent.values().sum();
    eprintln!("{} cells in {:.0?}, {} allow wrongly", found.cells, began.elapsed(), found.allows);
    let nothing = Vec::<String>::new();
    assert_eq!((&found.wrong, &found.missing, &found.late), (&nothing, &nothing, &nothing));
    assert_eq!(found.allows, 0);
    assert_eq!(found.cells + cannot_be, cells.len() as u64, "every cell is run, or says why not");
    controls(&runs);
    let claim = Claim::new("matrix", "cargo test -p countersign --test integration matrix")
        .figure("cells run", found.cells)
        .figure("cells that cannot be", cannot_be)
        .figure("answers that allow wrongly", found.allows)
        .figure("records missing", found.missing.len())
        .control("an authorizer that allows in one cell is found")
        .control("a record and a count that are left out are found")
        .control("an answer that came from the cache is found");
    claim.write().unwrap();
}

/// What is judged is not the absence of everything.
fn controls(runs: &[Ran]) {
    let with_control = runs.iter().find(|ran| ran.control.is_some()).expect("a run with a control");
    let mut one = with_control.clone();
    one.tried.extend(one.control.take());
    assert_eq!(judge(&one).allows, 1, "an authorizer that allows is not found");

    let mut less = with_control.clone();
    let tried = less.tried.iter().find(|tried| tried.cell.has_record()).expect("a cell with a record");
    let id = tried.answers[0].record.clone().unwrap();
    less.records.remove(&id);
    assert_eq!(judge(&less).missing.len(), 1, "a record that was left out is not found");

    let mut less = with_control.clone();
    *less.counted.get_mut("unauthorized").unwrap() -= 1;
    assert_eq!(judge(&less).missing.len(), 1, "an answer that was not counted is not found");

    let mut kept = with_control.clone();
    let id = kept.tried[0].again.record.clone().unwrap();
    kept.records.get_mut(&id).unwrap()["data"]["cache"]["state"] = "hit".into();
    assert_eq!(judge(&kept).wrong.len(), 1, "an answer from the cache is not found");

    let mut late = with_control.clone();
    late.tried[0].answers[0].reason = Reason::AuditTimeout.as_str().to_owned();
    assert_eq!(judge(&late).late.len(), 1, "an answer whose record was late is not found");
}
