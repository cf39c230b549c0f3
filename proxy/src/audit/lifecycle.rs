//! What Countersign says about itself, as records of the same chain. The data of each event; `journal` is the one way to
//! write one. Not decisions; those are `record`.

use schemars::JsonSchema;
use serde::Serialize;

/// `data` of `io.countersign.lifecycle.v1`, before the chain member.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first record of a chain.
    ChainOpened {
        version: String,
        /// What the program was built from; null where the build did not know.
        commit: Option<String>,
        config_generation: String,
        /// The chain before this one in the same spool; null in a new spool.
        previous: Option<Previous>,
    },
    /// The last record of a chain that was ended in order.
    ChainClosed {},
    /// Answers were refused because their records could not be made durable, or because of overload.
    OutageStarted {
        cause: OutageCause,
        detail: String,
        started: String,
    },
    OutageEnded {
        cause: OutageCause,
        detail: String,
        started: String,
        ended: String,
        refused: Refusals,
    },
    /// Bytes of the spool that are not what was written.
    DamageFound {
        /// Not `chain`: that member of `data` is the record's own place.
        #[serde(rename = "of_chain")]
        chain: String,
        segment: String,
        offset: u64,
        bytes: u64,
        first_seq: Option<u64>,
        last_seq: Option<u64>,
        /// Lower-case hex SHA-256 of the record before `first_seq`; null where it was not read, either.
        before: Option<String>,
    },
    /// Records that gave way before they were delivered; only without Kafka.
    SegmentsDropped {
        #[serde(rename = "of_chain")]
        chain: String,
        first_seq: u64,
        last_seq: u64,
        /// Lower-case hex SHA-256 of the record before `first_seq`; null where that is not known.
        before: Option<String>,
    },
    /// Kept answers were taken back: none is used whose question was sent before `at`. Null is "whichever"; all three null
    /// is everything.
    CachePurged {
        /// `admin` showed the token, `local` needed none.
        client: String,
        peer: Option<String>,
        account: Option<String>,
        bucket: Option<String>,
        prefix: Option<String>,
        at: String,
    },
    /// Two questions that a route's cache takes for equal have different answers: it is off until the next start.
    CacheSwitchedOff {
        route: String,
        /// The `id` of the record whose answer was kept, and of the one that it was given for again.
        filled_by: String,
        hit_by: String,
    },
    /// Another configuration is in force. Records of its generation come after this one.
    ConfigChanged {
        by: ReloadBy,
        /// Of the configuration before and of this one.
        old: String,
        new: String,
        /// Keys, and names of authorizers and routes; none of their values.
        changed: Vec<String>,
        changed_omitted: u64,
        /// Keys that differ in the file and are as they were until a restart.
        pending_restart: Vec<String>,
    },
    /// The configuration was read again and is not used; the one before stays in force.
    ConfigRefused {
        by: ReloadBy,
        why: RefusedConfig,
        config_generation: String,
        mistakes: u64,
        /// `line:column` of the first ones; the log has their words.
        places: Vec<String>,
    },
    /// Wall time was set: by more than a second it is not what the monotonic clock expects.
    ClockJumped {
        expected: String,
        found: String,
    },
    /// From here on another key signs the checkpoints.
    KeyRotated {
        /// Public halves, as `<name>+<id>+<key>`.
        old: String,
        new: String,
        /// The same as a signed note: by both keys, or by the new one alone if the old one was not at hand.
        note: String,
    },
    /// Somebody has read the spool, beside the process that writes it.
    AuditAccessed {
        by: ReadBy,
        /// Of the user who read.
        uid: u32,
        at: String,
        /// The times that were asked for; null where none was.
        since: Option<String>,
        until: Option<String>,
    },
    /// Questions refused for their token since the last such record.
    UnauthorizedAttempts {
        count: u64,
        first: String,
        last: String,
        peers: Vec<String>,
        peers_omitted: u64,
    },
}

/// What made us read the configuration again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReloadBy {
    /// SIGHUP.
    Signal,
    /// The file changed, or one that it refers to.
    File,
}

/// Why a configuration is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RefusedConfig {
    /// The file is not there, or cannot be read.
    Unreadable,
    /// It has mistakes.
    Invalid,
    /// It says what cannot be while the process runs.
    Impossible,
}

/// The command that reads a spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReadBy {
    Tail,
    Verify,
    Publish,
    Replay,
    Explain,
    Reconcile,
}

impl ReadBy {
    pub const ALL: [Self; 6] = [Self::Tail, Self::Verify, Self::Publish, Self::Replay, Self::Explain, Self::Reconcile];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tail => "tail",
            Self::Verify => "verify",
            Self::Publish => "publish",
            Self::Replay => "replay",
            Self::Explain => "explain",
            Self::Reconcile => "reconcile",
        }
    }
}

/// The head of the chain before, as found when the new one was opened.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Previous {
    pub id: String,
    /// Of its last whole record.
    pub seq: u64,
    /// Lower-case hex SHA-256 of that record's value.
    pub hash: String,
    /// It ended with `chain_closed`.
    pub clean: bool,
    /// Records whose answers may not have left, because the process ended without saying so.
    pub unknown: Option<SeqRange>,
}

/// Both ends included.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SeqRange {
    pub first: u64,
    pub last: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OutageCause {
    Audit,
    Overload,
}

/// Exactly how many questions were refused without a record of their own, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Refusals {
    pub audit_unavailable: u64,
    pub audit_timeout: u64,
    pub overload: u64,
}

/// `data` of `io.countersign.checkpoint.v1`, before the chain member.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CheckpointData {
    /// C2SP signed note of a tree head: the chain's id, the number of records before this one, their RFC 6962 root.
    pub note: String,
    /// Lower-case hex SHA-256 of the last record before this one; 64 zeros if there is none.
    pub head: String,
    /// Roots of the tree's perfect subtrees, the largest first, lower-case hex; together they give the root that is signed.
    /// Whoever lacks earlier records goes on from here.
    pub tree: Vec<String>,
}

/// `data` of `io.countersign.amendment.v1`, before the chain member.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Amendment {
    pub of: Of,
    pub answer: AmendedAnswer,
}

/// Which records are amended.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Of {
    /// The record's `id`.
    Record(String),
    /// Records of a chain, both ends included.
    Range { chain: String, first: u64, last: u64 },
}

/// What really became of the answer.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AmendedAnswer {
    /// It was refused, whatever the record says was decided.
    Deny,
    /// The process ended before it could know.
    Unknown,
}
