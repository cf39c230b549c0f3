//! The claim about Kafka after an outage: what has piled up is shipped at least five times as fast as new records arrive,
//! while they arrive. A real broker is stopped under load and started again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::countersign::{Proved, Setting};
use super::outcome::{Bound, Limit, Outcome};
use super::turns::{median, spread};
use super::{Options, countersign, peers, scrape};
use crate::laboratory::Laboratory;
use crate::laboratory::kafka::Kafka;
use crate::load::{Load, Mix};
use crate::stub::{Script, Stub};
use crate::up;

/// Records a second, before, during and after the outage.
const RATE: f64 = 2000.0;
/// Shipped a second, over that.
const TIMES: f64 = 5.0;
/// The outage lasts so many turns: long enough for catching up to be seen.
const OUTAGE: u32 = 10;
const TOPIC: &str = "countersign.decisions";
const CHECKPOINTS: &str = "countersign.checkpoints";
const DELIVERED: &str = "countersign_kafka_records_delivered_total";
const UNDELIVERED: &str = "countersign_spool_undelivered_records";

pub(super) async fn prove(options: &Options) -> anyhow::Result<Outcome> {
    let binary = up::binary().await?;
    let lab = Laboratory::open()?;
    let mut kafka = lab.kafka().start().await?;
    kafka.create_topic(TOPIC, 3).await?;
    kafka.create_topic(CHECKPOINTS, 1).await?;
    let stub = Stub::start(Script::allow()).await?;
    let tables = format!("[kafka]\nbrokers = [\"{}\"]\ntopic = \"{TOPIC}\"\n", kafka.bootstrap());
    let setting = Setting { url: &stub.url(), durability: "synced", tables: &tables };
    let proved = countersign::start_as(&lab, &binary, &options.spool_in, &peers::question(), &setting).await?;
    let mut times = Vec::new();
    for round in 0..options.rounds {
        let shipped = outage(options, &mut kafka, &proved).await?;
        eprintln!("round {} {shipped:.0} records/s shipped", round + 1);
        times.push(shipped / RATE);
    }
    let middle = median(times.clone())?;
    let limit = Limit::new("records shipped after an outage / records that arrive", middle, Bound::AtLeast(TIMES));
    let setting = BTreeMap::from([
        ("records/s that arrive", RATE.to_string()),
        ("outage", format!("{} of {} s", options.rounds, options.seconds * f64::from(OUTAGE))),
        ("versions", peers::versions()),
    ]);
    Ok(Outcome {
        scenario: "catch-up".to_owned(),
        binary: binary.display().to_string(),
        setting,
        rows: Vec::new(),
        ratios: BTreeMap::new(),
        limits: vec![limit.spread(spread(times.into_iter()))],
    })
}

/// Records shipped a second, from the first that Kafka has after the outage until less than a second's worth waits.
async fn outage(options: &Options, kafka: &mut Kafka, proved: &Proved) -> anyhow::Result<f64> {
    let (warm_up, turn) = options.turn();
    let load = Load::new(proved.countersign.url()).connections(options.connections).rate(RATE);
    let running = load.mix(Mix::of(peers::question())).start().await?;
    tokio::time::sleep(warm_up).await;
    kafka.stop().await;
    tokio::time::sleep(turn * OUTAGE).await;
    let piled = scrape::sum(proved, UNDELIVERED).await?;
    ensure!(piled > RATE * TIMES * 0.5, "only {piled} records piled up: there is nothing to catch up with");
    let before = scrape::sum(proved, DELIVERED).await?;
    kafka.start_again().await.context("Kafka comes back")?;
    let first = scrape::until(proved, DELIVERED, |delivered| delivered > before).await?;
    let began = Instant::now();
    scrape::until(proved, UNDELIVERED, |waiting| waiting < RATE).await?;
    let took: Duration = began.elapsed();
    let shipped = scrape::sum(proved, DELIVERED).await? - first;
    let report = running.stop().await?;
    ensure!(report.failed() == 0 && report.allow == report.answers(), "answers were lost meanwhile:\n{report}");
    Ok(shipped / took.as_secs_f64())
}
