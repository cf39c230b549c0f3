//! A question with holes: where the times, the signature and the object's number stand in an encoded body, so that
//! a client with a thousand questions a second copies bytes instead of encoding JSON.
//!
//! It knows nothing of members other than these. Made by [`super::Question`], used by the load generator.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::time::SystemTime;

/// Stand-ins of the exact length of what replaces them.
pub(super) const NO_DAY: &str = "YYYYMMDD";
pub(super) const NO_TIME: &str = "YYYY-MM-DDTHH:MM:SSZ";
pub(super) const NO_EPOCH: &str = "0000000000";
pub(super) const NO_AMZ_DATE: &str = "YYYYMMDDTHHMMSSZ";
pub(super) const NO_SIGNATURE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// One second of the clock in the forms in which a question names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    second: u64,
    day: String,
    current_time: String,
    epoch_time: String,
    amz_date: String,
}

impl Moment {
    /// Times before 1970 count as 1970.
    pub fn at(time: SystemTime) -> Self {
        let second = Self::second_of(time);
        let stamp = i64::try_from(second).ok().and_then(|second| jiff::Timestamp::from_second(second).ok());
        let stamp = stamp.unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        Self {
            second,
            day: stamp.strftime("%Y%m%d").to_string(),
            current_time: stamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            epoch_time: format!("{second:010}"),
            amz_date: stamp.strftime("%Y%m%dT%H%M%SZ").to_string(),
        }
    }

    /// Whether `time` is another second than this one, so that a new moment is due.
    pub fn is_past(&self, time: SystemTime) -> bool {
        Self::second_of(time) != self.second
    }

    fn second_of(time: SystemTime) -> u64 {
        time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

/// An encoded body and its varying places.
#[derive(Debug, Clone)]
pub struct Template {
    body: Vec<u8>,
    day: Option<Range<usize>>,
    current_time: Option<Range<usize>>,
    epoch_time: Option<Range<usize>>,
    amz_date: Option<Range<usize>>,
    signature: Option<Range<usize>>,
    number: Option<Range<usize>>,
}

impl Template {
    /// The quotes in the patterns cannot stand unescaped inside a JSON string, so no name that a caller chose is
    /// taken for a place.
    pub(super) fn new(body: Vec<u8>) -> Self {
        let place = |pattern: &str, length| find(&body, pattern).map(|start| start..start + length);
        let day = find(&body, "\"Authorization\":[\"AWS4-HMAC-SHA256 Credential=").and_then(|start| {
            let day = find(body.get(start..)?, &format!("/{NO_DAY}/us-east-1/"))?;
            let day = start + day - "/us-east-1/".len() - NO_DAY.len();
            Some(day..day + NO_DAY.len())
        });
        let signature = find(&body, &format!("Signature={NO_SIGNATURE}\"]")).map(|end| {
            let end = end - "\"]".len();
            end - NO_SIGNATURE.len()..end
        });
        let number = find(&body, "\"object\":\"").and_then(|start| {
            let hash = start + body.get(start..)?.iter().take_while(|byte| **byte != b'"').position(|b| *b == b'#')?;
            let length = body.get(hash..)?.iter().take_while(|byte| **byte == b'#').count();
            Some(hash..hash + length)
        });
        Self {
            day,
            current_time: place("\"CurrentTime\":[\"", NO_TIME.len()),
            epoch_time: place("\"EpochTime\":[\"", NO_EPOCH.len()),
            amz_date: place("\"X-Amz-Date\":[\"", NO_AMZ_DATE.len()),
            signature,
            number,
            body,
        }
    }

    /// Bytes of every body that this template writes.
    pub fn size(&self) -> usize {
        self.body.len()
    }

    /// Appends the body for `moment` to `out`. `number` goes to the object's `#` places, its last digits where they
    /// are too few. Equal moment and number give equal bytes: MinIO's three questions of one GET are equal too.
    pub fn write(&self, moment: &Moment, number: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.body);
        let Some(body) = out.get_mut(start..) else { return };
        fill(body, self.day.as_ref(), moment.day.as_bytes());
        fill(body, self.current_time.as_ref(), moment.current_time.as_bytes());
        fill(body, self.epoch_time.as_ref(), moment.epoch_time.as_bytes());
        fill(body, self.amz_date.as_ref(), moment.amz_date.as_bytes());
        self.sign(body, moment.second, number);
        if let Some(digits) = self.number.clone().and_then(|place| body.get_mut(place)) {
            let mut rest = number;
            for digit in digits.iter_mut().rev() {
                *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
                rest /= 10;
            }
        }
    }

    /// No signature, only as many hexadecimal digits that differ whenever a real one would.
    fn sign(&self, body: &mut [u8], second: u64, number: u64) {
        let Some(digits) = self.signature.clone().and_then(|place| body.get_mut(place)) else { return };
        for (part, chunk) in digits.chunks_mut(16).enumerate() {
            let mut hasher = DefaultHasher::new();
            (second, number, part).hash(&mut hasher);
            chunk.copy_from_slice(format!("{:016x}", hasher.finish()).as_bytes());
        }
    }
}

/// Where `pattern` ends in `body` the first time.
fn find(body: &[u8], pattern: &str) -> Option<usize> {
    body.windows(pattern.len()).position(|window| window == pattern.as_bytes()).map(|start| start + pattern.len())
}

fn fill(body: &mut [u8], place: Option<&Range<usize>>, value: &[u8]) {
    if let Some(place) = place.cloned().and_then(|place| body.get_mut(place)).filter(|place| place.len() == value.len())
    {
        place.copy_from_slice(value);
    }
}
