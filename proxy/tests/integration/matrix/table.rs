//! The table: every reason of a fault × durability × combination × state of the cache, made of the closed enums, with the way
//! in which each fault is brought about. A new reason does not compile without its row. What cannot be says why.

use std::fmt;

use countersign::policy::route::Combine;
use countersign::policy::verdict::{Durability, Reason};
use loadtest::stub::Answer;
use serde_json::{Value, json};

use crate::support::http;

/// What the cache knows of a question when its fault comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// It is switched off.
    Off,
    /// Nothing.
    Cold,
    /// An allow whose life is over.
    Expired,
    /// That an equal question is being asked.
    Coalesced,
}

/// A fault under one configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    pub reason: Reason,
    pub durability: Durability,
    pub combine: Combine,
    pub cache: Cache,
}

/// How a fault is brought about. Every route has a second authorizer, which must not turn the fault into an allow.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// The first authorizer answers like this.
    Says(fn() -> Answer),
    /// Nobody listens where it should be.
    Absent,
    /// Its name does not resolve.
    Nameless,
    /// Whoever is there has no certificate.
    Untrusted,
    /// Its bulkhead is taken.
    Crowded,
    /// Its breaker is open.
    LeftAlone,
    /// It answers after the end of the decision.
    Late,
    /// No route matches.
    Unrouted,
    /// A question that is not one, made of one that is.
    Asked(fn(Value) -> String),
    /// A request that is no question, made of one.
    Sent(fn(&[u8]) -> Vec<u8>),
    /// All places are taken.
    Pressed,
    /// The disk refuses; the authorizers allow.
    Unwritable,
    /// The disk, or Kafka, takes its time; the authorizers allow.
    Slow,
    /// An authorizer of our own panics.
    Defect,
}

/// What has to run for a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    Asking,
    Disk,
    Pressed,
    Defect,
}

pub const TOKEN: (&str, &str) = ("Authorization", "Bearer matrix");
/// Of `listen.max_body` where the matrix runs.
pub const MAX_BODY: usize = 16 * 1024;

/// The documented status of the answer, and how to come by it. `None`: what authorizers plainly say is no fault.
pub fn row(reason: Reason) -> Option<(u16, Way)> {
    let row = match reason {
        Reason::Allowed | Reason::Denied => return None,
        Reason::Undefined => (200, Way::Says(|| Answer::new("{}"))),
        Reason::MalformedAnswer => (200, Way::Says(|| Answer::new("yes"))),
        Reason::AmbiguousAnswer => (200, Way::Says(|| Answer::new(r#"{"result":false,"Result":true}"#))),
        Reason::ContradictoryAnswer => (200, Way::Says(|| Answer::new(r#"{"result":{"allow":true,"deny":true}}"#))),
        Reason::AnswerTooLarge => {
            (200, Way::Says(|| Answer::new(format!("{{\"result\":true}}{}", " ".repeat(65_536)))))
        }
        Reason::ContentEncoding => (200, Way::Says(|| Answer::allow().gzip())),
        Reason::BadStatus => (200, Way::Says(|| Answer::allow().status(500))),
        Reason::Redirect => (200, Way::Says(|| Answer::allow().status(302).header("Location", "http://127.0.0.1:1/"))),
        Reason::Timeout => (200, Way::Says(|| Answer::allow().after(NEVER))),
        Reason::ConnectionLost => (200, Way::Says(|| Answer::allow().close_in_body(7))),
        Reason::Dns => (200, Way::Nameless),
        Reason::Connect => (200, Way::Absent),
        Reason::Tls => (200, Way::Untrusted),
        Reason::AuthorizerBusy => (200, Way::Crowded),
        Reason::BreakerOpen => (200, Way::LeftAlone),
        Reason::Deadline => (200, Way::Late),
        Reason::Overload => (503, Way::Pressed),
        Reason::NoRoute => (200, Way::Unrouted),
        Reason::AuditUnavailable => (503, Way::Unwritable),
        Reason::AuditTimeout => (503, Way::Slow),
        Reason::Internal => (200, Way::Defect),
        Reason::MalformedRequest => (400, Way::Asked(|_| "{".to_owned())),
        Reason::AmbiguousRequest => (400, Way::Asked(twice)),
        Reason::SuspiciousRequest => (400, Way::Asked(forged)),
        Reason::RequestTooLarge => (413, Way::Sent(|body| sent("POST", "/", &[TOKEN], &padded(body)))),
        Reason::Unauthorized => (401, Way::Sent(|body| sent("POST", "/", &[(TOKEN.0, "Bearer other")], body))),
        Reason::MethodNotAllowed => (405, Way::Sent(|body| sent("PUT", "/", &[TOKEN], body))),
        Reason::UnknownPath => (404, Way::Sent(|body| sent("POST", "/other", &[TOKEN], body))),
        Reason::UnsupportedEncoding => {
            (415, Way::Sent(|body| sent("POST", "/", &[TOKEN, ("Content-Encoding", "gzip")], body)))
        }
    };
    Some(row)
}

/// Longer than anybody waits here.
pub const NEVER: std::time::Duration = std::time::Duration::from_secs(3600);

fn sent(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    http::request(method, path, headers, body)
}

fn padded(body: &[u8]) -> Vec<u8> {
    [body, &vec![b' '; MAX_BODY]].concat()
}

fn twice(good: Value) -> String {
    good.to_string().replacen("{\"input\":{", "{\"input\":{\"account\":\"root\",\"account\":\"root\",", 1)
}

fn forged(mut good: Value) -> String {
    good["input"]["conditions"]["username"] = json!(["alice", "root"]);
    good.to_string()
}

impl Cache {
    pub const ALL: [Self; 4] = [Self::Off, Self::Cold, Self::Expired, Self::Coalesced];

    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Cold => "cold",
            Self::Expired => "expired",
            Self::Coalesced => "coalesced",
        }
    }
}

/// Complete by the test below.
pub const DURABILITIES: [Durability; 3] = [Durability::Written, Durability::Synced, Durability::Acknowledged];
pub const COMBINES: [Combine; 3] = [Combine::First, Combine::All, Combine::Any];

pub fn word(combine: Combine) -> &'static str {
    match combine {
        Combine::First => "first",
        Combine::All => "all",
        Combine::Any => "any",
    }
}

/// A new variant does not compile, and then has to have its place in the lists above.
#[test]
fn the_lists_are_complete() {
    for (place, durability) in DURABILITIES.into_iter().enumerate() {
        let expected = match durability {
            Durability::Written => 0,
            Durability::Synced => 1,
            Durability::Acknowledged => 2,
        };
        assert_eq!(place, expected);
    }
    for (place, combine) in COMBINES.into_iter().enumerate() {
        let expected = match combine {
            Combine::First => 0,
            Combine::All => 1,
            Combine::Any => 2,
        };
        assert_eq!(place, expected);
    }
    assert_eq!(all().len(), (Reason::ALL.len() - 2) * 3 * 3 * 4);
}

/// Every cell there is.
pub fn all() -> Vec<Cell> {
    let mut cells = Vec::new();
    for reason in Reason::ALL.iter().copied().filter(|reason| row(*reason).is_some()) {
        for durability in DURABILITIES {
            for combine in COMBINES {
                cells.extend(Cache::ALL.map(|cache| Cell { reason, durability, combine, cache }));
            }
        }
    }
    cells
}

impl Cell {
    pub fn status(&self) -> u16 {
        row(self.reason).expect("a fault").0
    }

    pub fn way(&self) -> Way {
        row(self.reason).expect("a fault").1
    }

    /// What has to run for it, or why it cannot be.
    pub fn run(&self) -> Result<Run, &'static str> {
        let has_no_route = (self.combine, self.cache) != (Combine::First, Cache::Off);
        match self.way() {
            Way::Unrouted | Way::Asked(_) | Way::Sent(_) | Way::Pressed if has_no_route => Err(
                "denied before a route is chosen, which says how words are combined and kept: one cell stands for all",
            ),
            Way::Nameless if (self.combine, self.cache) == (Combine::All, Cache::Expired) => Err(
                "an allow by `all` takes every authorizer, and addresses that were good once serve for five minutes",
            ),
            Way::Unwritable | Way::Slow => Ok(Run::Disk),
            Way::Pressed => Ok(Run::Pressed),
            Way::Defect => Ok(Run::Defect),
            Way::Says(_) | Way::Absent | Way::Nameless | Way::Untrusted | Way::Crowded | Way::LeftAlone | Way::Late => {
                Ok(Run::Asking)
            }
            Way::Unrouted | Way::Asked(_) | Way::Sent(_) => Ok(Run::Asking),
        }
    }

    /// Whether each such answer has a record of its own; the others are counted.
    pub fn has_record(&self) -> bool {
        !matches!(self.way(), Way::Sent(_) | Way::Pressed | Way::Unwritable | Way::Slow)
    }

    /// The object that is asked about: no two cells of a process share one.
    pub fn object(&self) -> String {
        format!("{}/{}/{}", self.reason.as_str(), word(self.combine), self.cache.word())
    }

    /// The bucket, and with it the route. `kind` is the first authorizer of it.
    pub fn bucket(&self, kind: &str) -> String {
        format!("{kind}-{}-{}", word(self.combine), self.cache.word())
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.durability.as_str(), self.object())
    }
}
