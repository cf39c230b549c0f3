//! The claim about shadows: at 2,000 questions a second, none of them cached, a candidate that hangs or that always differs
//! changes the latency of answers by no more than its share of the machine.
//!
//! Three processes take turns under the same open loop. The one that hangs has a breaker that hardly ever opens and so keeps
//! all of its places taken; the one that differs does so at every question.

use std::collections::BTreeMap;

use anyhow::ensure;

use super::aside::Aside;
use super::countersign::Proved;
use super::outcome::{Bound, Limit, Outcome, Row};
use super::turns::{self, Turn};
use super::{Options, countersign, peers, scrape};
use crate::laboratory::Laboratory;
use crate::load::{Load, Mix};
use crate::stub::{Script, Stub};
use crate::up;

/// Questions a second.
const RATE: f64 = 2000.0;
/// p50 and p99 with a shadow divided by those without. A shadow that answers is as many questions again for the machine.
const P50: f64 = 1.5;
const P99: f64 = 2.0;
/// What may be resident more than without, in MiB: 16 MiB of questions, and what they are read into.
const MEBIBYTES: f64 = 64.0;

const OFF: &str = "[cache]\nallow_ttl = \"0s\"\ndeny_ttl = \"0s\"\n";

pub(super) async fn prove(options: &Options) -> anyhow::Result<Outcome> {
    let binary = up::binary().await?;
    eprintln!("proving `{}`", binary.display());
    let lab = Laboratory::open()?;
    let question = peers::question();
    let stub = Stub::start(Script::allow()).await?;
    let (hangs, differs) = (Aside::start(Script::never())?, Aside::start(Script::deny())?);
    let url = stub.url();
    let start = async |tables: String| {
        countersign::start_with(&lab, &binary, &url, &options.spool_in, &question, &tables).await
    };
    let contenders = [
        ("without a shadow", start(OFF.to_owned()).await?),
        ("a shadow that hangs", start(tried(&hangs, "breaker = { failures = 10000 }\n")).await?),
        ("a shadow that differs", start(tried(&differs, "")).await?),
    ];
    let mut turns: Vec<Vec<Turn>> = contenders.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds {
        for index in turns::order(round, contenders.len()) {
            if let (Some((name, proved)), Some(turns)) = (contenders.get(index), turns.get_mut(index)) {
                let turn = turn(options, name, proved).await?;
                eprintln!("round {} {name:<22} p50 {:>6.0} µs p99 {:>7.0} µs", round + 1, turn.p50_us, turn.p99_us);
                turns.push(turn);
            }
        }
    }
    ensure!(hangs.asked() > 0 && differs.asked() > 0, "a shadow was never asked");
    let [_, (_, hanging), (_, different)] = &contenders;
    let dropped = counted(hanging, "dropped").await?;
    let differing = counted(different, "would_deny").await?;
    ensure!(dropped > 0.0, "the shadow that hangs never ran out of places: that would prove nothing");
    ensure!(differing > 0.0, "the shadow that differs never did");
    let rows = contenders.iter().zip(&turns).map(|((name, _), turns)| turns::row(name, turns));
    let rows = rows.collect::<anyhow::Result<Vec<_>>>()?;
    let setting = BTreeMap::from([
        ("questions/s", RATE.to_string()),
        ("turns", format!("{} of {} s after {} s", options.rounds, options.seconds, options.warm_up)),
        ("durability", "synced".to_owned()),
        ("dropped", dropped.to_string()),
        ("differing", differing.to_string()),
    ]);
    let limits = limits(&rows);
    let binary = binary.display().to_string();
    Ok(Outcome { scenario: "shadow".to_owned(), binary, setting, rows, ratios: BTreeMap::new(), limits })
}

fn tried(shadow: &Stub, more: &str) -> String {
    format!(
        "{OFF}[[authorizer]]\nname = \"candidate\"\nurl = \"{}\"\n{more}\
         [[route]]\nname = \"default\"\nask = [\"constant\"]\nshadow = [\"candidate\"]\n",
        shadow.url()
    )
}

/// In "client busy" are the authorizers' stand-ins, too, which this process has besides.
async fn turn(options: &Options, name: &str, proved: &Proved) -> anyhow::Result<Turn> {
    let (warm_up, duration) = options.turn();
    let load = Load::new(proved.countersign.url()).connections(options.connections).rate(RATE);
    let load = load.mix(Mix::of(peers::question())).warm_up(warm_up).duration(duration);
    let pid = peers::pid(&proved.countersign)?;
    turns::under(load, &[pid], options, |report| turns::only_allows(name, report)).await
}

async fn counted(proved: &Proved, difference: &str) -> anyhow::Result<f64> {
    let labels = format!("route=\"default\",authorizer=\"candidate\",difference=\"{difference}\"");
    scrape::sum(proved, &format!("countersign_shadow_comparisons_total{{{labels}}}")).await
}

fn limits(rows: &[Row]) -> Vec<Limit> {
    let Some((without, shadows)) = rows.split_first() else { return Vec::new() };
    let limits = shadows.iter().flat_map(|with| {
        let name = &with.contender;
        let more = super::outcome::mebibytes(with.resident_most) - super::outcome::mebibytes(without.resident_most);
        [
            Limit::new(format!("{name}: p50 / without"), with.p50_us / without.p50_us, Bound::Below(P50)),
            Limit::new(format!("{name}: p99 / without"), with.p99_us / without.p99_us, Bound::Below(P99)),
            Limit::new(format!("{name}: MiB more than without"), more, Bound::Below(MEBIBYTES)),
        ]
    });
    limits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_can_fail() {
        let row = |p50_us: f64, p99_us: f64, resident: u64| Row {
            contender: "x".to_owned(),
            per_second: RATE,
            p50_us,
            p99_us,
            resident_most: resident << 20,
            ..Row::default()
        };
        let holds = |with: Row| limits(&[row(100.0, 1000.0, 20), with]).iter().map(|l| l.holds).collect::<Vec<_>>();
        assert_eq!(holds(row(149.0, 1999.0, 83)), [true, true, true]);
        assert_eq!(holds(row(150.0, 1999.0, 83)), [false, true, true]);
        assert_eq!(holds(row(149.0, 2000.0, 84)), [true, false, false]);
        assert!(limits(&[]).is_empty());
    }
}
