//! What `verify` can find, as a closed list, and what follows from it. Words only.

use serde::Serialize;

/// Findings that are kept; the rest are counted.
const MOST: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Bytes that are no record.
    Unreadable,
    /// Not what was written.
    Changed,
    /// Two records with one place.
    Fork,
    /// Records that were there.
    Missing,
    /// A checkpoint that does not fit, or that should be there.
    Checkpoint,
    /// Not signed by a trusted key.
    Signature,
    /// Open, and not the instance's newest.
    NeverClosed,
    /// Missing or not ended, and a record says so; or there as a stub.
    Declared,
    /// There, and covered by nothing that is signed.
    Unproved,
    /// The stream begins later than the chain, as after retention.
    CutStart,
}

impl Fault {
    /// Whether the trail is broken by it.
    pub fn breaks(self) -> bool {
        match self {
            Self::Unreadable
            | Self::Changed
            | Self::Fork
            | Self::Missing
            | Self::Checkpoint
            | Self::Signature
            | Self::NeverClosed => true,
            Self::Declared | Self::Unproved | Self::CutStart => false,
        }
    }
}

/// One thing, with the records it is about; both ends included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub fault: Fault,
    pub chain: String,
    pub range: Option<(u64, u64)>,
    pub text: String,
}

impl Finding {
    pub fn new(fault: Fault, chain: &str, range: Option<(u64, u64)>) -> Self {
        Self { fault, chain: chain.to_owned(), range, text: String::new() }
    }

    #[must_use]
    pub fn saying(mut self, text: String) -> Self {
        self.text = text;
        self
    }
}

/// What was found, up to a limit.
#[derive(Debug, Default)]
pub struct Findings {
    pub list: Vec<Finding>,
    /// Those beyond; they are counted only.
    pub more: u64,
    /// One of those breaks the trail.
    more_breaks: bool,
}

impl Findings {
    pub fn add(&mut self, finding: Finding) {
        if self.list.len() < MOST {
            self.list.push(finding);
        } else {
            self.more += 1;
            self.more_breaks |= finding.fault.breaks();
        }
    }

    pub fn outcome(&self) -> Outcome {
        let broken = self.more_breaks || self.list.iter().any(|f| f.fault.breaks());
        let declared = self.more > 0 || self.list.iter().any(|f| f.fault == Fault::Declared);
        match (broken, declared) {
            (true, _) => Outcome::Broken,
            (false, true) => Outcome::WholeGapsDeclared,
            (false, false) => Outcome::Whole,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Outcome {
    #[serde(rename = "whole")]
    Whole,
    #[serde(rename = "whole, gaps declared")]
    WholeGapsDeclared,
    #[serde(rename = "broken")]
    Broken,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Whole => "whole",
            Self::WholeGapsDeclared => "whole, gaps declared",
            Self::Broken => "broken",
        })
    }
}
