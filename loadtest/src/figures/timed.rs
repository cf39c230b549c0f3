//! What a timed run found, one small file a scenario in `target/figures/timed`, and how `docs/PERFORMANCE.md` shows it:
//! one table of every claim, and a table for each scenario that has one there. `prove`, `peers`, `s3` and `scale` write
//! it; `loadtest figures` renders it. What was counted and not timed is a `Claim`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::document::{cell, grouped};
use super::{Run, directory};
use crate::prove::{Limit, Outcome, Row};

const CLAIMS: &str = "<!-- claims: written by `loadtest figures` -->\n";
const END: &str = "<!-- end -->";
const CLAIMS_HEAD: &str = "| claim | must be | found | rounds | met | command | run |\n|---|---|---|---|---|---|---|\n";
const TABLE_HEAD: &str = "| | a second | p50 µs | p99 µs | p99.9 µs | CPU µs each | resident MiB | client busy | idle, interrupts, stolen |\n\
                          |---|---|---|---|---|---|---|---|---|\n";
/// Of the claims between those of one table, below it.
const JUDGED_HEAD: &str = "\n| claim | must be | found | rounds | met |\n|---|---|---|---|---|\n";
/// The setting that says how quiet the machine was.
pub(crate) const OTHERS: &str = "others before";

/// One scenario of one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Timed {
    pub name: String,
    /// What anybody types to see it again.
    pub command: String,
    pub setting: BTreeMap<String, String>,
    pub rows: Vec<Row>,
    pub limits: Vec<Limit>,
    /// When it was written, to the second: of two figures for one claim the newer is shown.
    #[serde(default)]
    pub at: String,
    #[serde(default)]
    pub run: Run,
}

impl Timed {
    pub fn of(outcome: &Outcome, command: &str, run: Run) -> Self {
        let setting = outcome.setting.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Self {
            name: outcome.scenario.clone(),
            command: command.to_owned(),
            setting,
            rows: outcome.rows.clone(),
            limits: outcome.limits.clone(),
            at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            run,
        }
    }

    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.setting.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Into `target/figures/timed`, over what an earlier run left; what is not fit to be shown into `target/figures/unfit`.
    pub fn write(&self, fit: bool) -> io::Result<()> {
        let directory = directory().join(if fit { "timed" } else { "unfit" });
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(format!("{}.json", self.name)), serde_json::to_string_pretty(&self)?)
    }
}

/// The document with these figures in its tables; what has no new ones stays. `None`: it has no table of claims.
pub fn rendered(document: &str, all: &[Timed]) -> Option<String> {
    let mut sorted: Vec<_> = all.iter().collect();
    sorted.sort_by(|a, b| a.at.cmp(&b.at));
    let mut text = claims(document, &sorted)?;
    for timed in sorted.iter().filter(|timed| !timed.rows.is_empty()) {
        let begin = begin(&timed.name);
        if let Some((before, rest)) = text.split_once(&begin)
            && let Some((_, after)) = rest.split_once(END)
        {
            text = format!("{before}{begin}{}{END}{after}", table(timed));
        }
    }
    Some(text)
}

/// Where the table of a scenario begins.
pub(super) fn begin(scenario: &str) -> String {
    format!("<!-- table {scenario}: written by `loadtest figures` -->\n")
}

/// Rows by their first cell, so that a claim measured by two scenarios has one row, of the newer run.
fn claims(document: &str, sorted: &[&Timed]) -> Option<String> {
    let (before, rest) = document.split_once(CLAIMS)?;
    let (old, after) = rest.split_once(END)?;
    let name = |line: &str| line.strip_prefix("| ")?.split_once(" | ").map(|(name, _)| name.to_owned());
    let old = old.lines().skip(CLAIMS_HEAD.lines().count());
    // Those of one scenario stand together, by its name.
    let of = |line: &str| (scenario(line.split(" | ").nth(5).unwrap_or_default()), line.to_owned());
    let mut rows: BTreeMap<String, _> = old.filter_map(|line| Some((name(line)?, of(line)))).collect();
    for timed in sorted {
        for limit in &timed.limits {
            let row = claim(timed, limit);
            rows.extend(name(&row).map(|name| (name, of(&row))));
        }
    }
    let mut rows: Vec<_> = rows.into_values().collect();
    rows.sort();
    let lines: String = rows.into_iter().map(|(_, line)| format!("{line}\n")).collect();
    Some(format!("{before}{CLAIMS}{CLAIMS_HEAD}{lines}{END}{after}"))
}

/// Of a command in a cell: what is behind `prove`, or its first word.
fn scenario(command: &str) -> String {
    let mut words = command.trim_matches('`').split(' ').filter(|word| *word != "prove");
    words.next().unwrap_or_default().to_owned()
}

fn claim(timed: &Timed, limit: &Limit) -> String {
    let Run { date, commit, machine } = &timed.run;
    let others = timed.setting.get(OTHERS).map_or(String::new(), |cores| format!(", others before {cores}"));
    let cells = [format!("`{}`", short(&timed.command)), format!("{date}, {commit}, {machine}{others}")];
    format!("{} {} |", judged(limit), cells.map(|text| cell(&text)).join(" | "))
}

/// The first five cells of a claim.
fn judged(limit: &Limit) -> String {
    let Limit { what, value: _, bound, holds, spread } = limit;
    let rounds = spread.map_or("".to_owned(), |[low, high]| format!("{low:.2} – {high:.2}"));
    let met = if *holds { "yes" } else { "**no**" };
    let cells = [what.clone(), bound.to_string(), limit.found(), rounds, met.to_owned()];
    format!("| {} |", cells.map(|text| cell(&text)).join(" | "))
}

/// Without what every command begins with.
fn short(command: &str) -> &str {
    command.strip_prefix("cargo run --release -p loadtest -- ").unwrap_or(command)
}

fn table(timed: &Timed) -> String {
    let mut text = TABLE_HEAD.to_owned();
    for row in &timed.rows {
        let Row { contender, per_second, p50_us, p99_us, p999_us, cpu_us, client_busy, resident, .. } = row;
        let cores = [row.idle_cores, row.interrupt_cores, row.stolen_cores];
        let cells = [
            contender.clone(),
            spread(*per_second, &row.rates, whole),
            spread(*p50_us, &row.p50s, whole),
            spread(*p99_us, &row.p99s, whole),
            spread(*p999_us, &row.p999s, whole),
            spread(*cpu_us, &row.cpus, |value| format!("{value:.1}")),
            some(crate::prove::mebibytes(*resident), 1),
            some(*client_busy, 2),
            if cores == [0.0; 3] { String::new() } else { cores.map(|cores| format!("{cores:.2}")).join(", ") },
        ];
        // Writing to a string cannot fail.
        writeln!(text, "| {} |", cells.map(|text| cell(&text)).join(" | ")).ok();
    }
    if !timed.limits.is_empty() {
        let judged: String = timed.limits.iter().map(|limit| judged(limit) + "\n").collect();
        text.push_str(JUDGED_HEAD);
        text.push_str(&judged);
    }
    let setting: Vec<_> = timed.setting.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let Run { date, commit, machine } = &timed.run;
    writeln!(text, "\n`{}`; {}. {date}, {commit}, {machine}.", short(&timed.command), setting.join("; ")).ok();
    text
}

/// The middle, and the least and the most of the rounds; nothing where there is none.
fn spread(middle: f64, rounds: &[f64], told: fn(f64) -> String) -> String {
    if middle == 0.0 {
        return String::new();
    }
    let (least, most) = (rounds.iter().copied().reduce(f64::min), rounds.iter().copied().reduce(f64::max));
    let (Some(least), Some(most)) = (least, most) else { return told(middle) };
    format!("{} ({} – {})", told(middle), told(least), told(most))
}

/// A number with so many decimals; nothing where there is none.
fn some(value: f64, decimals: usize) -> String {
    if value == 0.0 { String::new() } else { format!("{value:.decimals$}") }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is positive and below 2^53")]
fn whole(rate: f64) -> String {
    grouped(rate.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::Bound;

    fn timed(name: &str, at: &str, value: f64) -> Timed {
        let row = Row { contender: "a | b".into(), per_second: 12_345.4, rates: vec![9.0, 12_345.4], ..Row::default() };
        Timed {
            name: name.into(),
            command: format!("cargo run --release -p loadtest -- {name}"),
            setting: [("connections".to_owned(), "64".to_owned())].into(),
            rows: vec![row],
            limits: vec![Limit::new("ratio", value, Bound::AtLeast(2.0)).spread(Some([1.0, 3.0]))],
            at: at.into(),
            run: Run { date: "2026-01-02".into(), commit: "abc".into(), machine: "m".into() },
        }
    }

    #[test]
    fn the_newer_of_two_figures_is_shown_and_what_is_not_new_stays() {
        let document = format!(
            "# P\n{CLAIMS}{CLAIMS_HEAD}| kept | old |\n| ratio | old |\n{END}\n\
             <!-- table peers: written by `loadtest figures` -->\nold\n{END}\n\
             <!-- table s3: written by `loadtest figures` -->\nstays\n{END}\ntail\n"
        );
        let all = [timed("peers", "2", 1.5), timed("cached", "1", 2.5)];
        let text = rendered(&document, &all).unwrap();
        let claim = "| ratio | at least 2 | 1.50 | 1.00 – 3.00 | **no** | `peers` | 2026-01-02, abc, m |\n";
        assert!(text.contains(claim) && text.contains("| kept | old |\n"), "{text}");
        assert!(text.contains("| a \\| b | 12,345 (9 – 12,345) |  |"), "{text}");
        assert!(text.contains("| ratio | at least 2 | 1.50 | 1.00 – 3.00 | **no** |\n\n`peers`"), "{text}");
        assert!(text.contains("\nstays\n") && text.ends_with("tail\n") && !text.contains("\nold\n"), "{text}");
        assert!(text.contains("`peers`; connections 64. 2026-01-02, abc, m."), "{text}");
        assert_eq!(rendered(&text, &all).unwrap(), text);
        assert!(rendered("no table", &[]).is_none());
    }

    #[test]
    fn claims_of_one_scenario_stand_together() {
        let of = |name: &str, what: &str| {
            let limits = vec![Limit::new(what, 3.0, Bound::AtLeast(2.0))];
            Timed { command: format!("prove {name}"), limits, ..timed(name, "1", 3.0) }
        };
        let page = format!("{CLAIMS}{CLAIMS_HEAD}{END}");
        let text = rendered(&page, &[of("verify", "a"), of("drips", "z"), of("drips", "b")]).unwrap();
        let rows: Vec<_> = text.lines().skip(3).map(|line| line.split(" | ").next().unwrap()).collect();
        assert_eq!(rows, ["| b", "| z", "| a", END]);
    }
}
