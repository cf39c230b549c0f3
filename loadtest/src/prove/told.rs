//! What becomes of an outcome: told on standard output, kept for `loadtest figures`, and put into the page of figures of the
//! checkout it was measured in. Called by `prove`, `peers`, `s3` and `scale`.

use std::path::Path;

use anyhow::Context;

use super::{Options, Outcome, machine};
use crate::figures::{self, OTHERS, PERFORMANCE, Timed};

/// Rounds that a published figure is the middle of, at least.
const ROUNDS: usize = 5;

/// How an outcome was had.
#[derive(Debug)]
pub(super) struct Run<'a> {
    options: &'a Options,
    /// Of `loadtest`, as they are typed.
    arguments: String,
    /// Everybody took part whom the page's table shows.
    whole: bool,
    /// Cores that others used just before it.
    busy: f64,
    of: figures::Run,
}

impl<'a> Run<'a> {
    /// To be called before anything is started or built: it notes what is there now, and how busy the machine is by itself.
    pub(super) fn begin(options: &'a Options, arguments: String, whole: bool) -> anyhow::Result<Self> {
        let of = figures::this_run(&options.spool_in);
        Ok(Self { options, arguments, whole, busy: machine::busy_before()?, of })
    }

    /// For people on standard output, for programs in a file if one is named, and in `target/figures`. In a checkout also in its
    /// page, if there is enough of it.
    pub(super) fn told(self, outcome: &Outcome, json: Option<&Path>) -> anyhow::Result<()> {
        println!("{outcome}");
        if let Some(file) = json {
            let json = serde_json::to_string_pretty(outcome)?;
            std::fs::write(file, json + "\n").with_context(|| format!("cannot write `{}`", file.display()))?;
        }
        let command = format!("cargo run --release -p loadtest -- {}", self.arguments);
        let unfit = self.unfit();
        let timed = Timed::of(outcome, &command, self.of).setting(OTHERS, &format!("{:.2} cores", self.busy));
        timed.write(unfit.is_none()).context("cannot keep the figures")?;
        match unfit {
            Some(why) => eprintln!("not put into `{PERFORMANCE}`: {why}"),
            None => show(&timed, Path::new(PERFORMANCE)),
        }
        Ok(())
    }

    /// Why the page does not get it.
    fn unfit(&self) -> Option<String> {
        let Options { rounds, seconds, connections, records, keys, .. } = self.options;
        let usual = Options::default();
        if *rounds < ROUNDS {
            return Some(format!("it had {rounds} of at least {ROUNDS} rounds"));
        }
        let short = *seconds < usual.seconds || *records < usual.records || *keys < usual.keys;
        if short || *connections != usual.connections {
            return Some("it was shorter or smaller than usual".to_owned());
        }
        (!self.whole).then(|| "not everybody took part".to_owned())
    }
}

/// A page that cannot be written does not change what was found.
fn show(timed: &Timed, page: &Path) {
    if !page.is_file() {
        eprintln!("not put into `{}`: there is none in this directory", page.display());
        return;
    }
    match figures::show(timed, page) {
        Ok(true) => eprintln!("put into `{}`", page.display()),
        Ok(false) => eprintln!("not put into `{}`: it has no table for this", page.display()),
        Err(error) => eprintln!("not put into `{}`: {error:#}", page.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_enough_of_it_is_published() {
        let unfit = |options: &Options, whole| {
            let of = figures::Run::default();
            Run { options, arguments: String::new(), whole, busy: 0.0, of }.unfit().unwrap_or_default()
        };
        let usual = Options::default();
        assert_eq!(unfit(&usual, true), "");
        assert_eq!(unfit(&usual, false), "not everybody took part");
        assert_eq!(unfit(&Options { rounds: 4, ..usual.clone() }, true), "it had 4 of at least 5 rounds");
        let small = [
            Options { seconds: 2.9, ..usual.clone() },
            Options { connections: 1, ..usual.clone() },
            Options { records: 1000, ..usual.clone() },
            Options { keys: 1000, ..usual },
        ];
        for options in small {
            assert_eq!(unfit(&options, true), "it was shorter or smaller than usual", "{options:?}");
        }
    }
}
