//! Which records: times and globs over the members of a record. A record without a member does not match a glob on it.

use std::time::{Duration, SystemTime};

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;
use wildmatch::WildMatch;

use super::Failure;
use crate::audit::envelope::micros;
use crate::policy::verdict::Reason;

/// The arguments that say which records. In globs `*` stands for anything, also for nothing, and `?` for one character.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which records (globs: * and ?)")]
pub struct What {
    /// Not before: RFC 3339, or how long ago (`10m`, `2h 30m`)
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Before: RFC 3339, or how long ago
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// The person behind the account
    #[arg(long, value_name = "GLOB")]
    pub principal: Option<String>,
    /// The account that asked
    #[arg(long, value_name = "GLOB")]
    pub account: Option<String>,
    /// The MinIO, by the name of its token
    #[arg(long, value_name = "GLOB")]
    pub client: Option<String>,
    /// Bucket
    #[arg(long, value_name = "GLOB")]
    pub bucket: Option<String>,
    /// Object key
    #[arg(long, value_name = "GLOB")]
    pub object: Option<String>,
    /// Action, such as `s3:Get*`
    #[arg(long, value_name = "GLOB")]
    pub action: Option<String>,
    /// Reason, such as `denied` or `*_answer`
    #[arg(long, value_name = "GLOB")]
    pub reason: Option<String>,
    /// Route
    #[arg(long, value_name = "GLOB")]
    pub route: Option<String>,
}

/// [`What`], ready to use.
#[derive(Debug, Clone)]
pub struct Filter {
    since_us: Option<i64>,
    until_us: Option<i64>,
    globs: Vec<(&'static str, WildMatch)>,
}

impl Filter {
    /// Times that are spans count back from now.
    pub fn new(what: &What) -> Result<Self, Failure> {
        Self::at(what, SystemTime::now())
    }

    fn at(what: &What, now: SystemTime) -> Result<Self, Failure> {
        if let Some(reason) = &what.reason
            && !Reason::ALL.iter().any(|known| WildMatch::new(reason).matches(known.as_str()))
        {
            let known: Vec<_> = Reason::ALL.iter().map(|known| known.as_str()).collect();
            return Err(Failure::Usage(format!("no reason is `{reason}`; there are {}", known.join(" "))));
        }
        let globs = [
            ("/data/actor/principal", &what.principal),
            ("/data/actor/account", &what.account),
            ("/data/request/client", &what.client),
            ("/data/resource/bucket", &what.bucket),
            ("/data/resource/object", &what.object),
            ("/data/action", &what.action),
            ("/data/reason", &what.reason),
            ("/data/route", &what.route),
        ];
        let globs = globs.into_iter().filter_map(|(at, glob)| Some((at, WildMatch::new(glob.as_deref()?)))).collect();
        let time = |name, text: &Option<String>| text.as_deref().map(|text| instant(name, text, now)).transpose();
        Ok(Self { since_us: time("since", &what.since)?, until_us: time("until", &what.until)?, globs })
    }

    /// Microseconds since 1970: where reading may begin.
    pub fn since_us(&self) -> Option<i64> {
        self.since_us
    }

    /// Microseconds since 1970: the first time that is not asked for.
    pub fn until_us(&self) -> Option<i64> {
        self.until_us
    }

    /// Whether a member of decisions is asked for, so that other records cannot match.
    pub fn names_members(&self) -> bool {
        !self.globs.is_empty()
    }

    pub fn matches(&self, record: &Value) -> bool {
        if self.since_us.is_some() || self.until_us.is_some() {
            let Some(time) = time_us(record) else { return false };
            if self.since_us.is_some_and(|since| time < since) || self.until_us.is_some_and(|until| time >= until) {
                return false;
            }
        }
        self.globs
            .iter()
            .all(|(at, glob)| record.pointer(at).and_then(Value::as_str).is_some_and(|text| glob.matches(text)))
    }
}

/// The record's `time` in microseconds since 1970.
pub fn time_us(record: &Value) -> Option<i64> {
    let time: Timestamp = record.get("time")?.as_str()?.parse().ok()?;
    Some(time.as_microsecond())
}

/// Microseconds since 1970, of a time or of how long ago it was.
pub fn instant(name: &str, text: &str, now: SystemTime) -> Result<i64, Failure> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_microsecond());
    }
    let ago: Duration = humantime::parse_duration(text).map_err(|_| {
        Failure::Usage(format!(
            "`--{name} {text}` is neither a time such as `2026-11-23T13:00:00Z` nor a span such as `10m`"
        ))
    })?;
    Ok(now.checked_sub(ago).map_or(0, micros))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record() -> Value {
        json!({"time": "2026-11-23T13:00:00.123456Z", "data": {
            "action": "s3:GetObject", "reason": "denied", "route": "default",
            "actor": {"principal": "alice@example.org", "account": "svc-1"},
            "request": {"client": "minio-eu1"},
            "resource": {"bucket": "photos", "object": "2026/a.jpg"},
        }})
    }

    fn shown(set: impl FnOnce(&mut What)) -> bool {
        let mut what = What::default();
        set(&mut what);
        Filter::new(&what).unwrap().matches(&record())
    }

    #[test]
    fn globs_look_at_their_member() {
        let some = |text: &str| Some(text.to_owned());
        assert!(shown(|_| {}));
        for (hit, miss) in [("alice*", "svc-1"), ("*@example.org", "alice"), ("a*e@*", "bob*")] {
            assert!(shown(|w| w.principal = some(hit)) && !shown(|w| w.principal = some(miss)), "{hit} {miss}");
        }
        assert!(shown(|w| w.account = some("svc-?")) && !shown(|w| w.account = some("alice*")));
        assert!(shown(|w| w.client = some("minio-*")) && !shown(|w| w.client = some("photos")));
        assert!(shown(|w| w.bucket = some("photos")) && !shown(|w| w.bucket = some("photo")));
        assert!(shown(|w| w.object = some("2026/*")) && !shown(|w| w.object = some("a.jpg")));
        assert!(shown(|w| w.action = some("s3:Get*")) && !shown(|w| w.action = some("s3:Put*")));
        assert!(shown(|w| w.reason = some("denied")) && !shown(|w| w.reason = some("*_answer")));
        assert!(shown(|w| w.route = some("def*")) && !shown(|w| w.route = some("x")));
        assert!(!shown(|w| (w.bucket, w.action) = (some("photos"), some("s3:Put*"))));
    }

    #[test]
    fn a_record_without_the_member_does_not_match() {
        let filter = Filter::new(&What { bucket: Some("*".into()), ..What::default() }).unwrap();
        assert!(!filter.matches(&json!({"data": {"resource": {"bucket": null}}})));
    }

    #[test]
    fn since_is_included_and_until_is_not() {
        let at = "2026-11-23T13:00:00.123456Z";
        assert!(shown(|w| w.since = Some(at.into())));
        assert!(!shown(|w| w.until = Some(at.into())));
        assert!(!shown(|w| w.since = Some("2026-11-23T13:00:00.123457Z".into())));
        assert!(shown(|w| w.until = Some("2026-11-23T14:00:01+01:00".into())));
    }

    #[test]
    fn spans_count_back_from_now() {
        let what = What { since: Some("10m".into()), until: Some("1m 30s".into()), ..What::default() };
        let filter = Filter::at(&what, SystemTime::UNIX_EPOCH + Duration::from_secs(3600)).unwrap();
        assert_eq!((filter.since_us(), filter.until_us()), (Some(3_000_000_000), Some(3_510_000_000)));
    }

    #[test]
    fn nonsense_is_wrong_usage() {
        for what in [
            What { since: Some("yesterday".into()), ..What::default() },
            What { reason: Some("forbidden".into()), ..What::default() },
        ] {
            assert_eq!(Filter::new(&what).unwrap_err().code(), 64);
        }
    }
}
