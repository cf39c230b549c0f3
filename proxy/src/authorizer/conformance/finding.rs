//! What the probe can find out about an authorizer, each in plain words. Closed: a new one does not compile until it has
//! its words and its weight.

use std::fmt;
use std::time::Duration;

use crate::policy::verdict::Reason;
use crate::wire::lax::Shape;

use super::ACCOUNT;
use super::questions::Kind;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Nobody is there, or nobody that is trusted.
    Unreachable(Reason),
    Shapes(Vec<Shape>),
    OtherDialect,
    ByStatus,
    NoVerdict,
    /// No verdict, and MinIO alone would deny too.
    Fault {
        reason: Reason,
        status: Option<u16>,
        kinds: Vec<Kind>,
    },
    /// MinIO asking directly would allow.
    OnlyMinio {
        reason: Reason,
        status: Option<u16>,
        kinds: Vec<Kind>,
    },
    AllowsNobody(Vec<Kind>),
    HonoursDenyOnly,
    IgnoresDenyOnly,
    InvertsDenyOnly,
    DenyOnlyUnknown,
    DenyOnlyNotAsked,
    AllowsNonsense(&'static str),
    AnswersNonsense(&'static str),
    RefusesNonsense,
    IgnoresToken,
    AsksForToken(Option<u16>),
    Speed {
        questions: usize,
        p50: Duration,
        p99: Duration,
        timeout: Duration,
        failures: usize,
        faults: Vec<Reason>,
    },
}

/// What a finding means for who runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    Fine,
    /// Denies or allows somebody who should not be.
    Matters,
    /// Nothing could be found out.
    Unknown,
}

impl Finding {
    pub fn weight(&self) -> Weight {
        match self {
            Self::Unreachable(_) => Weight::Unknown,
            Self::Shapes(_)
            | Self::HonoursDenyOnly
            | Self::DenyOnlyUnknown
            | Self::DenyOnlyNotAsked
            | Self::AnswersNonsense(_)
            | Self::RefusesNonsense
            | Self::AsksForToken(_) => Weight::Fine,
            Self::Speed { p99, timeout, failures: 0, .. } if p99 <= timeout => Weight::Fine,
            Self::OtherDialect
            | Self::ByStatus
            | Self::NoVerdict
            | Self::Fault { .. }
            | Self::OnlyMinio { .. }
            | Self::AllowsNobody(_)
            | Self::IgnoresDenyOnly
            | Self::InvertsDenyOnly
            | Self::AllowsNonsense(_)
            | Self::IgnoresToken
            | Self::Speed { .. } => Weight::Matters,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(reason) => write!(f, "cannot be asked ({})", reason.as_str()),
            Self::Shapes(shapes) => write!(f, "answers in the form {}", joined(shapes.iter().map(|s| s.as_str()), " and ")),
            Self::OtherDialect => f.write_str(
                "answers {\"decision\": true}: MinIO denies everything, Countersign denies everything (undefined); \
                 `dialect = \"authzen\"` reads it",
            ),
            Self::ByStatus => f.write_str(
                "answers by its status, with no JSON: MinIO denies everything, Countersign denies everything; it needs a \
                 translator",
            ),
            Self::NoVerdict => f.write_str("gave no verdict to any question"),
            Self::Fault { reason, status, kinds } => fault(f, *reason, *status, kinds),
            Self::OnlyMinio { reason, status, kinds } => {
                let status = status.map_or_else(|| "in a way that does not end".to_owned(), |status| status.to_string());
                write!(f, "answers {status}: MinIO allows, Countersign denies ({}), about {}", reason.as_str(), about(kinds))
            }
            Self::AllowsNobody(kinds) => {
                write!(f, "allows an account that nobody knows (`{ACCOUNT}`): {}", about(kinds))
            }
            Self::HonoursDenyOnly => f.write_str("honours `denyOnly`: it lets pass what nothing forbids, and only that"),
            Self::IgnoresDenyOnly => f.write_str(
                "answers `denyOnly` like any other question: through it nobody deletes single versions or makes access keys \
                 of their own; `deny_only = \"deny\"` spares the question",
            ),
            Self::InvertsDenyOnly => {
                f.write_str("denies with `denyOnly` what it allows without: something forbids what it grants")
            }
            Self::DenyOnlyUnknown => f.write_str("allows with `denyOnly` and without: whether it looks at it does not show"),
            Self::DenyOnlyNotAsked => f.write_str("is not asked with `denyOnly` (`deny_only = \"deny\"`)"),
            Self::AllowsNonsense(body) => write!(f, "allows what is no question: `{body}`"),
            Self::AnswersNonsense(body) => write!(f, "answers 200 to nonsense (`{body}`), and does not allow it"),
            Self::RefusesNonsense => f.write_str("refuses what is no question"),
            Self::IgnoresToken => f.write_str("ignores its token: without one it answers as well"),
            Self::AsksForToken(Some(status)) => write!(f, "asks for its token: without one it answers {status}"),
            Self::AsksForToken(None) => f.write_str("asks for its token: without one it does not answer"),
            Self::Speed { questions, p50, p99, timeout, failures, faults } => {
                speed(f, *questions, [*p50, *p99, *timeout], *failures, faults)
            }
        }
    }
}

fn fault(f: &mut fmt::Formatter<'_>, reason: Reason, status: Option<u16>, kinds: &[Kind]) -> fmt::Result {
    match (reason, status) {
        (Reason::Undefined, _) => write!(
            f,
            "has no verdict about {}: MinIO denies without a trace, Countersign denies (undefined)",
            about(kinds)
        ),
        (Reason::Redirect, Some(status)) => write!(
            f,
            "redirects ({status}) when asked about {}: MinIO would follow it to whoever answers there, Countersign denies \
             (redirect)",
            about(kinds)
        ),
        (reason, Some(status)) => {
            write!(f, "answers {status} about {}: Countersign denies ({})", about(kinds), reason.as_str())
        }
        (reason, None) => write!(f, "does not answer about {}: Countersign denies ({})", about(kinds), reason.as_str()),
    }
}

fn speed(
    f: &mut fmt::Formatter<'_>,
    questions: usize,
    [p50, p99, timeout]: [Duration; 3],
    failures: usize,
    faults: &[Reason],
) -> fmt::Result {
    write!(f, "{questions} questions: p50 {}, ", millis(p50))?;
    let (p99_ms, timeout_ms) = (millis(p99), millis(timeout));
    if p99 > timeout {
        write!(f, "p99 {p99_ms} exceeds timeout {timeout_ms}")?;
    } else {
        write!(f, "p99 {p99_ms}, within timeout {timeout_ms}")?;
    }
    if failures > 0 {
        write!(f, "; {failures} had no verdict ({})", joined(faults.iter().map(|reason| reason.as_str()), ", "))?;
    }
    Ok(())
}

/// `640 ms`, `1.2 ms`.
fn millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    if millis < 10.0 { format!("{millis:.1} ms") } else { format!("{millis:.0} ms") }
}

fn about(kinds: &[Kind]) -> String {
    joined(kinds.iter().map(|kind| kind.as_str()), "; ")
}

fn joined<'t>(parts: impl Iterator<Item = &'t str>, between: &str) -> String {
    parts.collect::<Vec<_>>().join(between)
}
