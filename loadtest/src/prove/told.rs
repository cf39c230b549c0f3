//! What becomes of an outcome: told on standard output, kept for `loadtest figures`, and put into the page of figures of the
//! checkout it was measured in. Called by `prove`, `peers`, `s3` and `scale`.

use std::path::Path;

use anyhow::Context;

use super::{Options, Outcome};
use crate::figures::{self, OTHERS, PERFORMANCE, Timed};

/// Rounds that a published figure is the middle of, at least.
const ROUNDS: usize = 5;

/// How an outcome was had.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) options: &'a Options,
    /// Of `loadtest`, as they are typed.
    pub(super) arguments: String,
    /// Cores that others used just before it.
    pub(super) busy: f64,
    /// Everybody took part whom the page's table shows.
    pub(super) whole: bool,
}

/// For people on standard output, for programs in a file if one is named, and in `target/figures`. In a checkout also in its
/// page, if there is enough of it.
pub(super) fn told(outcome: &Outcome, json: Option<&Path>, run: &Run<'_>) -> anyhow::Result<()> {
    println!("{outcome}");
    let command = format!("cargo run --release -p loadtest -- {}", run.arguments);
    let timed = Timed::of(outcome, &command).setting(OTHERS, &format!("{:.2} cores", run.busy));
    let timed = timed.write(&run.options.spool_in).context("cannot keep the figures")?;
    if let Some(file) = json {
        let json = serde_json::to_string_pretty(outcome)?;
        std::fs::write(file, json + "\n").with_context(|| format!("cannot write `{}`", file.display()))?;
    }
    let page = Path::new(PERFORMANCE);
    match unfit(run) {
        Some(why) => eprintln!("not put into `{PERFORMANCE}`: {why}"),
        None if !page.is_file() => eprintln!("not put into `{PERFORMANCE}`: there is none in this directory"),
        None => {
            figures::show(&timed, page)?;
            eprintln!("put into `{PERFORMANCE}`");
        }
    }
    Ok(())
}

/// Why the page does not get it.
fn unfit(run: &Run<'_>) -> Option<String> {
    let rounds = run.options.rounds;
    if rounds < ROUNDS {
        return Some(format!("{rounds} rounds are fewer than {ROUNDS}"));
    }
    (!run.whole).then(|| "not everybody took part".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_enough_of_it_is_published() {
        let unfit = |rounds, whole| {
            let options = Options { rounds, ..Options::default() };
            unfit(&Run { options: &options, arguments: String::new(), busy: 0.0, whole })
        };
        assert_eq!(unfit(5, true), None);
        assert_eq!(unfit(4, true).unwrap(), "4 rounds are fewer than 5");
        assert_eq!(unfit(9, false).unwrap(), "not everybody took part");
    }
}
