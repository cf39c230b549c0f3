//! `loadtest compare`: two reports side by side, and whether the second is worse.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use super::Report;

/// Compare two reports that `run --json` wrote; exit code 1 says that the second is worse
#[derive(Debug, clap::Args)]
pub struct Command {
    /// What is compared with
    before: PathBuf,
    /// What must not be worse
    after: PathBuf,
    /// By how much a figure may be worse, as a share: 0.05 is five percent
    #[arg(long, default_value_t = 0.05)]
    tolerance: f64,
}

/// One figure of both.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Figure {
    name: &'static str,
    before: f64,
    after: f64,
    good: Good,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Good {
    More,
    Less,
    /// Not one more: questions without an answer.
    NoMore,
    /// Told, and not judged.
    Either,
}

impl Command {
    /// 0: nothing is worse; 1: something is.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (before, after) = (read(&self.before)?, read(&self.after)?);
        for unlike in before.setting.unlike(&after.setting) {
            eprintln!("the two loads are not alike: {unlike}");
        }
        let figures = figures(&before, &after);
        println!("{:<16}{:>14}{:>14}{:>8}", "", "before", "after", "ratio");
        for figure in &figures {
            let Figure { name, before, after, .. } = figure;
            let worse = if figure.is_worse(self.tolerance) { "  WORSE" } else { "" };
            println!("{name:<16}{before:>14.1}{after:>14.1}{:>8}{worse}", ratio(*before, *after));
        }
        let worse = figures.iter().any(|figure| figure.is_worse(self.tolerance));
        Ok(if worse { ExitCode::from(1) } else { ExitCode::SUCCESS })
    }
}

fn read(path: &Path) -> anyhow::Result<Report> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("`{}` is no report of `run --json`", path.display()))
}

fn ratio(before: f64, after: f64) -> String {
    if before == 0.0 { "-".to_owned() } else { format!("{:.2}", after / before) }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 questions")]
fn figures(before: &Report, after: &Report) -> Vec<Figure> {
    let of =
        |name, good, figure: fn(&Report) -> f64| Figure { name, before: figure(before), after: figure(after), good };
    vec![
        of("answers/s", Good::More, |report| report.per_second),
        of("p50 µs", Good::Less, |report| report.latency.p50_us),
        of("p99 µs", Good::Less, |report| report.latency.p99_us),
        of("p99.9 µs", Good::Less, |report| report.latency.p999_us),
        of("max µs", Good::Either, |report| report.latency.max_us),
        // A server that refuses does so faster than one that decides.
        of("allow %", Good::More, |report| 100.0 * report.allow as f64 / report.answers().max(1) as f64),
        of("not 200", Good::NoMore, |report| refused(report) as f64),
        of("allow", Good::Either, |report| report.allow as f64),
        of("deny", Good::Either, |report| report.deny as f64),
        of("other", Good::Either, |report| report.other as f64),
        of("failed, unsent", Good::NoMore, |report| (report.failed() + report.unsent) as f64),
        of("sent MB", Good::Either, |report| report.sent_bytes as f64 / 1e6),
        of("received MB", Good::Either, |report| report.received_bytes as f64 / 1e6),
    ]
}

fn refused(report: &Report) -> u64 {
    report.statuses.iter().filter(|(status, _)| **status != 200).map(|(_, count)| count).sum()
}

impl Figure {
    /// What is no number is worse than any.
    fn is_worse(&self, tolerance: f64) -> bool {
        let fine = match self.good {
            Good::More => self.after >= self.before * (1.0 - tolerance),
            Good::Less => self.after <= self.before * (1.0 + tolerance),
            Good::NoMore => self.after <= self.before,
            Good::Either => true,
        };
        !fine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worse_is_the_wrong_way_by_more_than_the_tolerance() {
        let worse = |good, after| Figure { name: "x", before: 100.0, after, good }.is_worse(0.05);
        assert!(!worse(Good::More, 95.0) && worse(Good::More, 94.9) && !worse(Good::More, 500.0));
        assert!(!worse(Good::Less, 105.0) && worse(Good::Less, 105.1) && !worse(Good::Less, 5.0));
        assert!(!worse(Good::NoMore, 100.0) && worse(Good::NoMore, 101.0) && !worse(Good::Either, 0.0));
        assert!(worse(Good::More, f64::NAN));
        assert_eq!((ratio(2.0, 3.0), ratio(0.0, 3.0)), ("1.50".to_owned(), "-".to_owned()));
    }

    fn report(allow: u64, deny: u64, statuses: &str) -> Report {
        let text = format!(
            r#"{{"setting":{{"url":"http://h/","protocol":"HTTP/1.1","connections":1,"streams":1,"rate":null,
                "warm_up_seconds":1.0,"duration_seconds":1.0,"timeout_seconds":1.0,"threads":1,"questions":[],"objects":1,"accounts":1,"hits":null}},
                "histogram":"","seconds":1.0,"allow":{allow},"deny":{deny},"other":0,"statuses":{statuses},
                "reasons":{{}},"sent_bytes":1,"received_bytes":1,"failures":{{}},"unsent":0,"per_second":1.0,
                "latency":{{"mean_us":1.0,"p50_us":1.0,"p90_us":1.0,"p99_us":1.0,"p999_us":1.0,"max_us":1.0}},
                "not_remembered":0}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn who_refuses_is_worse_however_fast() {
        let before = report(100, 0, r#"{"200":100}"#);
        let worse = |after: &Report| {
            let all = figures(&before, after);
            all.iter().filter(|figure| figure.is_worse(0.05)).map(|figure| figure.name).collect::<Vec<_>>()
        };
        assert_eq!(worse(&report(100, 0, r#"{"200":100}"#)), [""; 0]);
        assert_eq!(worse(&report(90, 10, r#"{"200":100}"#)), ["allow %"]);
        assert_eq!(worse(&report(0, 100, r#"{"503":100}"#)), ["allow %", "not 200"]);
    }
}
