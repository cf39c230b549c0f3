//! What `verify` says in the end. Words only; printed by the command, and its `--json`.

use super::finding::{Finding, Outcome};
use super::thread::Thread;

/// One chain, for the report.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ChainReport {
    pub id: String,
    pub first: u64,
    pub last: u64,
    pub closed: bool,
    pub checkpoints: u64,
    /// Records before this one are stated by a checkpoint that fits, signed by a trusted key if one was given.
    pub covered: u64,
    pub copies: u64,
    /// Records that came after those behind them, and filled a gap.
    pub late: u64,
    pub stubs: u64,
}

#[derive(Debug, Clone, serde::Serialize)]
pub struct Report {
    pub outcome: Outcome,
    pub records: u64,
    pub bytes: u64,
    pub chains: Vec<ChainReport>,
    /// Of a topic.
    pub partitions: Vec<PartitionReport>,
    pub findings: Vec<Finding>,
    /// Findings beyond those listed.
    pub more: u64,
    /// Whether signatures were checked, which needs a public key.
    pub signatures: bool,
    /// Whether checkpoints that were kept elsewhere were compared.
    pub elsewhere: bool,
    /// If so: chains of which none was kept there.
    pub unstated: usize,
}

/// A partition, for the report.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PartitionReport {
    pub partition: i32,
    /// Its first records are gone.
    pub cut: bool,
    /// The time behind which nothing of it is; null where it is empty.
    pub begins: Option<String>,
}

impl ChainReport {
    pub(super) fn of(thread: &Thread) -> Self {
        Self {
            id: thread.id.to_string(),
            first: thread.first,
            last: thread.next - 1,
            closed: thread.closed,
            checkpoints: thread.checkpoints,
            covered: thread.covered,
            copies: thread.copies,
            late: thread.late.count(),
            stubs: thread.stubs,
        }
    }
}
