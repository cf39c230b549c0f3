//! What a scenario found: a row for each contender, ratios between them, and limits that hold or do not. As a table for
//! people, as JSON for programs.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The result of one scenario.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    pub scenario: String,
    /// The proved binary.
    pub binary: String,
    /// What the figures depend on: cores, kernel, turns, connections, sizes.
    pub setting: BTreeMap<&'static str, String>,
    /// The first is Countersign.
    pub rows: Vec<Row>,
    /// Countersign's rate divided by each other contender's.
    pub ratios: BTreeMap<String, f64>,
    pub limits: Vec<Limit>,
}

/// Medians over a contender's turns. A latency of 0 is none: work that has no answers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Row {
    pub contender: String,
    pub per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    /// Processor time of the server's processes a decision, in microseconds.
    pub cpu_us: f64,
    /// Share of its one thread that the load generator used: near 1, it and not the server is what was measured.
    pub client_busy: f64,
    /// Cores of the machine that did nothing.
    pub idle_cores: f64,
    /// Cores that the host of this virtual machine did not give.
    pub stolen_cores: f64,
    /// Cores that were in interrupts of devices and the network; most kernels count that in whatever they interrupt as well.
    pub interrupt_cores: f64,
    /// What was resident at the end of a turn, in bytes.
    pub resident: u64,
    /// The most of these.
    pub resident_most: u64,
    /// The most that was ever resident, in bytes.
    pub peak: u64,
    /// The rate of every turn, in order.
    pub rates: Vec<f64>,
    /// Latencies of every turn, in order, in microseconds.
    pub p50s: Vec<f64>,
    pub p99s: Vec<f64>,
    pub p999s: Vec<f64>,
    /// Processor time a decision of every turn, in order, in microseconds.
    pub cpus: Vec<f64>,
}

/// Something that must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    pub what: String,
    pub value: f64,
    pub bound: Bound,
    pub holds: bool,
    /// The least and the most of the rounds, where the value is their middle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<[f64; 2]>,
}

/// Which side of a number is good.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    AtLeast(f64),
    Below(f64),
}

impl Limit {
    /// A value that is no number holds no limit.
    pub fn new(what: impl Into<String>, value: f64, bound: Bound) -> Self {
        let holds = match bound {
            Bound::AtLeast(least) => value >= least,
            Bound::Below(most) => value < most,
        };
        Self { what: what.into(), value, bound, holds, spread: None }
    }

    /// The value with two decimals, or with as many more as it takes to see that it fails.
    pub fn found(&self) -> String {
        let told = |decimals: usize| format!("{:.decimals$}", self.value);
        let looks_fine = |text: &str| text.parse().is_ok_and(|value| Self::new("", value, self.bound).holds);
        let decimals = (2..6).find(|decimals| self.holds == looks_fine(&told(*decimals)));
        told(decimals.unwrap_or(6))
    }

    #[must_use]
    pub fn spread(mut self, spread: Option<[f64; 2]>) -> Self {
        self.spread = spread;
        self
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(out, "at least {least}"),
            Self::Below(most) => write!(out, "below {most}"),
        }
    }
}

impl Outcome {
    /// Whether every limit holds. Without a limit nothing was proved.
    pub fn holds(&self) -> bool {
        !self.limits.is_empty() && self.limits.iter().all(|limit| limit.holds)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{} ({})", self.scenario, self.binary)?;
        let setting: Vec<_> = self.setting.iter().map(|(name, value)| format!("{name} {value}")).collect();
        writeln!(out, "{}\n", setting.join(", "))?;
        if !self.rows.is_empty() {
            self.table(out)?;
        }
        for limit in &self.limits {
            let Limit { what, value: _, bound, holds, spread } = limit;
            let found = limit.found();
            let spread = spread.map(|[low, high]| format!(", rounds {low:.2} to {high:.2}")).unwrap_or_default();
            write!(out, "\n{} {what}: {found} ({bound}{spread})", if *holds { "holds" } else { "FAILS" })?;
        }
        Ok(())
    }
}

impl Outcome {
    fn table(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles =
            ["a second", "p50 µs", "p99 µs", "p99.9 µs", "CPU µs", "client", "idle", "MiB", "peak MiB", "ratio"];
        let [rate, p50, p99, p999, cpu, client, idle, resident, peak, ratio] = titles;
        writeln!(
            out,
            "{:<36}{rate:>12}{p50:>9}{p99:>9}{p999:>10}{cpu:>9}{client:>8}{idle:>7}{resident:>8}{peak:>10}{ratio:>8}",
            "median of turns"
        )?;
        for row in &self.rows {
            let Row { contender, per_second, p50_us, p99_us, p999_us, cpu_us, client_busy, .. } = row;
            let Row { idle_cores, resident, peak, .. } = row;
            let (resident, peak) = (mebibytes(*resident), mebibytes(*peak));
            let ratio = self.ratios.get(contender).map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
            writeln!(
                out,
                "{contender:<36}{per_second:>12.0}{p50_us:>9.0}{p99_us:>9.0}{p999_us:>10.0}{cpu_us:>9.1}{client_busy:>8.2}\
                 {idle_cores:>7.2}{resident:>8.1}{peak:>10.1}{ratio:>8}"
            )?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 bytes")]
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(limits: Vec<Limit>) -> Outcome {
        let row = Row {
            contender: "peer".into(),
            per_second: 1234.5,
            p50_us: 1.0,
            p99_us: 2.0,
            cpu_us: 3.0,
            client_busy: 0.5,
            resident: 5 << 20,
            peak: 6 << 20,
            rates: vec![1.0],
            ..Row::default()
        };
        let (setting, ratios) = ([("cores", "2".to_owned())].into(), [("peer".to_owned(), 3.5)].into());
        Outcome { scenario: "cached".into(), binary: "b".into(), setting, rows: vec![row], ratios, limits }
    }

    #[test]
    fn limits_hold_on_their_side_only() {
        let holds = |value, bound| Limit::new("x", value, bound).holds;
        assert!(holds(3.0, Bound::AtLeast(3.0)) && !holds(2.999, Bound::AtLeast(3.0)));
        assert!(holds(149.9, Bound::Below(150.0)) && !holds(150.0, Bound::Below(150.0)));
        assert!(!holds(f64::NAN, Bound::AtLeast(3.0)) && !holds(f64::NAN, Bound::Below(3.0)));
    }

    #[test]
    fn a_figure_that_fails_by_a_little_does_not_look_as_if_it_held() {
        let found = |value, bound| Limit::new("x", value, bound).found();
        assert_eq!(found(1.399, Bound::AtLeast(1.4)), "1.399");
        assert_eq!(found(1.40001, Bound::AtLeast(1.4)), "1.40");
        assert_eq!(found(0.33333, Bound::AtLeast(1.4)), "0.33");
        assert_eq!(found(1.999_99, Bound::Below(2.0)), "1.99999");
        assert_eq!(found(f64::NAN, Bound::Below(2.0)), "NaN");
    }

    #[test]
    fn one_limit_that_fails_fails_all_and_none_proves_nothing() {
        let good = Limit::new("good", 1.0, Bound::AtLeast(1.0));
        let bad = Limit::new("bad", 1.0, Bound::Below(1.0));
        assert!(outcome(vec![good.clone()]).holds());
        assert!(!outcome(vec![good, bad]).holds());
        assert!(!outcome(Vec::new()).holds());
    }

    #[test]
    fn people_see_every_figure() {
        let text = outcome(vec![Limit::new("bad", 1.0, Bound::Below(1.0))]).to_string();
        for part in ["cores 2", "peer", "1234", "5.0", "6.0", "3.50", "FAILS bad: 1.00 (below 1)"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
