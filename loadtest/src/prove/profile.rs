//! `loadtest profile`: where the processor time of a decision goes. Countersign under load, sampled by perf(1); a flame graph,
//! the folded stacks it is drawn from, and the functions that cost most. It measures no rate: sampling slows what it looks at.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context, ensure};
use inferno::collapse::Collapse as _;
use inferno::collapse::perf::{Folder, Options as Folding};
use inferno::flamegraph;

use super::builds::Kind;
use super::countersign::Setting;
use super::{Options, countersign, peers, turns};
use crate::laboratory::Laboratory;
use crate::load::{Load, Mix};
use crate::up;

/// Samples a second and processor. Not a round number, so that no timer runs in step with it.
const HERTZ: &str = "1499";
/// Of a stack that is kept of each sample, in bytes: what unwinding can see.
const STACK: &str = "dwarf,16384";
/// Functions that are told.
const TOLD: usize = 25;
/// Narrower frames are left out of the picture, in percent of its width.
const LEAST: f64 = 0.1;

/// Sample Countersign under load with perf(1) and draw a flame graph
#[derive(Debug, clap::Args)]
pub struct Command {
    #[command(flatten)]
    of: Kind,
    #[command(flatten)]
    options: Options,
    /// Where to; the stacks it is drawn from go beside it, as `.folded`
    #[arg(long, default_value = "target/profile.svg")]
    svg: PathBuf,
}

impl Command {
    /// 0: it is drawn. Needs perf(1), and the right to sample a process of one's own (`kernel.perf_event_paranoid` at most 2;
    /// the kernel's own functions have names at most 1).
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let folded = self.svg.with_extension("folded");
        ensure!(folded != self.svg, "`{}` is where the stacks go: name the picture otherwise", folded.display());
        let samples = tempfile::NamedTempFile::new()?;
        super::interruptible(self.sampled(samples.path()))?;
        if let Some(directory) = self.svg.parent() {
            std::fs::create_dir_all(directory)?;
        }
        fold(samples.path(), &folded)?;
        draw(&folded, &self.svg, &self.title())?;
        let text = std::fs::read_to_string(&folded)?;
        for (function, share) in costliest(&text).into_iter().take(TOLD) {
            println!("{:5.1} %  {function}", 100.0 * share);
        }
        println!("\n{}, from {}", self.svg.display(), folded.display());
        Ok(ExitCode::SUCCESS)
    }

    fn title(&self) -> String {
        let cached = if self.of.uncached { "uncached" } else { "cached" };
        format!("A decision: {cached}, {}, {} connections", self.of.durability, self.options.connections)
    }

    async fn sampled(&self, samples: &Path) -> anyhow::Result<()> {
        let binary = up::binary().await?;
        let lab = Laboratory::open()?;
        let constant = lab.pingora(&peers::loadtest()?).start().await?;
        let setting = Setting { url: &constant.url(), durability: &self.of.durability, tables: self.of.tables() };
        let question = peers::question();
        let proved = countersign::start_as(&lab, &binary, &self.options.spool_in, &question, &setting).await?;
        let (warm_up, duration) = self.options.turn();
        // It must not end before the sampling does, which takes a moment to begin.
        let load = Load::new(proved.countersign.url()).connections(self.options.connections).mix(Mix::of(question));
        let load = self.of.rate.map_or(load.clone(), |rate| load.rate(rate)).start().await?;
        tokio::time::sleep(warm_up).await;
        let pid = peers::pid(&proved.countersign)?.to_string();
        let seconds = duration.as_secs_f64().to_string();
        let mut perf = tokio::process::Command::new("perf");
        perf.args(["record", "--quiet", "--event", "cpu-clock", "--freq", HERTZ, "--call-graph", STACK, "--pid", &pid]);
        perf.arg("--output").arg(samples).args(["--", "sleep", &seconds]).kill_on_drop(true);
        let status = perf.status().await.context("perf(1) cannot be started; Debian has it in linux-perf")?;
        ensure!(status.success(), "perf record: {status}");
        turns::only_allows("Countersign", &load.stop().await?)
    }
}

/// Stacks, one a line with its count.
fn fold(samples: &Path, folded: &Path) -> anyhow::Result<()> {
    // Without inlined functions: to find their names takes minutes for each second of samples.
    let mut script = std::process::Command::new("perf");
    script.args(["script", "--no-inline", "--input"]).arg(samples).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut script = script.spawn().context("perf script")?;
    let out = BufReader::new(script.stdout.take().context("perf script writes nothing")?);
    let collapsed = Folder::from(Folding::default()).collapse(out, BufWriter::new(File::create(folded)?));
    // It ends by itself: where nobody reads any more it cannot write.
    let status = script.wait()?;
    collapsed?;
    ensure!(status.success(), "perf script: {status}");
    Ok(())
}

fn draw(folded: &Path, svg: &Path, title: &str) -> anyhow::Result<()> {
    let mut options = flamegraph::Options::default();
    options.title = title.to_owned();
    options.min_width = LEAST;
    flamegraph::from_files(&mut options, &[folded.to_owned()], BufWriter::new(File::create(svg)?))?;
    Ok(())
}

/// Functions in which the processor was when it was looked at, not those that had called them; the costliest first.
fn costliest(folded: &str) -> Vec<(&str, f64)> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let lines = folded.lines().filter_map(|line| line.rsplit_once(' '));
    for (stack, count) in lines {
        let function = stack.rsplit(';').next().unwrap_or(stack);
        *counts.entry(function).or_default() += count.parse::<u64>().unwrap_or(0);
    }
    let all: u64 = counts.values().sum::<u64>().max(1);
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 samples")]
    let mut shares: Vec<_> =
        counts.into_iter().map(|(function, count)| (function, count as f64 / all as f64)).collect();
    shares.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_costs_what_it_uses_itself() {
        let folded = "front;a;b 3\nfront;a 1\nspool;c;b 4\n";
        assert_eq!(costliest(folded), [("b", 7.0 / 8.0), ("a", 1.0 / 8.0)]);
        assert!(costliest("").is_empty());
    }

    #[test]
    fn stacks_become_a_picture() {
        let home = tempfile::tempdir().unwrap();
        let (folded, svg) = (home.path().join("a.folded"), home.path().join("a.svg"));
        std::fs::write(&folded, "front;read;parse 30\nspool;sync 70\n").unwrap();
        draw(&folded, &svg, "A decision").unwrap();
        let text = std::fs::read_to_string(&svg).unwrap();
        assert!(text.contains("A decision") && text.contains("parse (30 samples, 30.00%)"), "{text}");
    }
}
