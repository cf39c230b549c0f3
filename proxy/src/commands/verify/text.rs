//! The report of `verify` in words. What comes from records is escaped: it may not steer a terminal.

use crate::audit::verify::{ChainReport, Fault, Finding, Report};

/// Findings that are printed; `--json` has all.
const MOST: usize = 100;

pub fn of(report: &Report) -> String {
    let mut text = format!("{}: {}\n", report.outcome, counted(report.records, "record", report.chains.len()));
    for chain in &report.chains {
        text += &line(chain, report.signatures);
    }
    for partition in report.partitions.iter().filter(|partition| partition.cut) {
        let begins =
            partition.begins.as_ref().map_or("has nothing left".to_owned(), |time| format!("begins at {time}"));
        text +=
            &format!("  partition {} {}; what was before it is cut off\n", partition.partition, begins.escape_debug());
    }
    if !report.findings.is_empty() {
        text.push('\n');
    }
    for finding in report.findings.iter().take(MOST) {
        text += &found(finding);
    }
    let more = report.more + report.findings.len().saturating_sub(MOST) as u64;
    if more > 0 {
        text += &format!("and {more} more findings\n");
    }
    text.push('\n');
    text += &limits(report);
    text
}

fn counted(records: u64, what: &str, chains: usize) -> String {
    let plural = |n: u64| if n == 1 { "" } else { "s" };
    format!("{records} {what}{} in {chains} chain{}", plural(records), plural(chains as u64))
}

fn line(chain: &ChainReport, signatures: bool) -> String {
    let mut notes = vec![if chain.closed { "closed" } else { "open" }.to_owned()];
    let signed = if signatures { "signed checkpoints state" } else { "checkpoints (signatures not checked) state" };
    match chain.covered {
        0 => notes.push("no checkpoint states any of it".to_owned()),
        covered if covered > chain.last => notes.push(format!("{signed} all of it")),
        covered => notes.push(format!("{signed} all but the last {}", chain.last + 1 - covered)),
    }
    if chain.copies > 0 {
        notes.push(format!("{} delivered again", chain.copies));
    }
    if chain.late > 0 {
        notes.push(format!("{} came after those behind them, as when a topic lost them", chain.late));
    }
    if chain.stubs > 0 {
        notes.push(format!("{} as stubs", chain.stubs));
    }
    format!("  {}  {}–{}  {}\n", chain.id.escape_debug(), chain.first, chain.last, notes.join(", "))
}

fn found(finding: &Finding) -> String {
    let verdict = if finding.fault.breaks() { "BROKEN" } else { "noted" };
    let place = match finding.range {
        Some((first, last)) if first == last => format!("{} record {first}", finding.chain.escape_debug()),
        Some((first, last)) => format!("{} records {first}–{last}", finding.chain.escape_debug()),
        None => finding.chain.escape_debug().to_string(),
    };
    format!("{verdict}  {place}: {}\n", finding.text.escape_debug())
}

/// What a reader must know of what was not checked.
fn limits(report: &Report) -> String {
    let mut text = String::new();
    if !report.signatures {
        text += "No signature was checked: give `--public-key`. Who can write records could have forged all of this.\n";
    }
    let cut = report.findings.iter().any(|finding| finding.fault == Fault::CutStart);
    if cut || report.partitions.iter().any(|partition| partition.cut) {
        text += "What is cut off at the start was retention's to cut, or somebody deleted it: `--complete-since` says what must be there.\n";
    }
    if report.unstated > 0 {
        text += &format!(
            "Of {} of the chains no checkpoint is kept elsewhere: records missing at their end need not show.\n",
            report.unstated
        );
    }
    if !report.elsewhere {
        text += "Checkpoints were taken from the records themselves: with `--checkpoint-topic` records missing at the end would show.\n";
    }
    text
}
