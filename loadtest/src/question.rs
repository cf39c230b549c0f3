//! The questions MinIO asks its policy plugin, byte for byte as Go's `json.Marshal` writes `policy.Args`: members in
//! the struct's order, condition keys in byte order, compact, `<`, `>` and `&` escaped.
//!
//! It is not a parser and knows nothing of answers. The load generator sends its questions, and tests of the proxy
//! use it where they need a body that a real server could have sent.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use serde::Serialize;

mod template;

pub use template::{Moment, Template};

/// What `mc` calls itself; also the length that a realistic question has without padding.
const USER_AGENT: &str = "MinIO (linux; amd64) minio-go/v7.0.88 mc/DEVELOPMENT.GOGET";

/// SHA-256 of nothing, which S3 clients send as the content hash of every request without a body.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A question of a signed request by an internal MinIO user. Whatever changes from one request of a client to the next
/// (times, signature) is filled in when the body is made.
#[derive(Debug, Clone)]
pub struct Question {
    account: String,
    action: String,
    bucket: String,
    object: String,
    deny_only: bool,
    size: usize,
}

impl Question {
    /// A run of `#` in `object` is a place for a number, see [`Template::write`].
    pub fn new(account: &str, action: &str, bucket: &str, object: &str) -> Self {
        Self {
            account: account.to_owned(),
            action: action.to_owned(),
            bucket: bucket.to_owned(),
            object: object.to_owned(),
            deny_only: false,
            size: 0,
        }
    }

    /// `alice` reading one object: the question that most deployments ask most.
    pub fn read() -> Self {
        Self::new("alice", "s3:GetObject", "photos", "2026/11/########.jpg")
    }

    /// MinIO asks whether an explicit deny exists, not whether access is granted.
    #[must_use]
    pub fn deny_only(mut self) -> Self {
        self.deny_only = true;
        self
    }

    /// The same by one of several accounts, whose names are numbered; by its own account where it is the only one.
    #[must_use]
    pub fn of_account(&self, accounts: u32, number: u32) -> Self {
        let account = if accounts > 1 { format!("{}-{number}", self.account) } else { self.account.clone() };
        Self { account, ..self.clone() }
    }

    /// Pads the body to `bytes` with a `Via` header as a gateway adds it. A body that is longer already stays as it
    /// is; one that is shorter by less than the header's own frame (11 bytes) gets the frame, and is that much longer.
    #[must_use]
    pub fn size(mut self, bytes: usize) -> Self {
        self.size = bytes;
        self
    }

    /// The body as it would be sent now, with number 0 in the object's name.
    pub fn body(&self) -> Vec<u8> {
        self.body_at(SystemTime::now())
    }

    /// The body as it would be sent at `time`, with number 0 in the object's name.
    pub fn body_at(&self, time: SystemTime) -> Vec<u8> {
        let mut body = Vec::new();
        self.template().write(&Moment::at(time), 0, &mut body);
        body
    }

    /// The body with its varying places found once, so that making the next one is a copy.
    pub fn template(&self) -> Template {
        let plain = self.encode(None);
        let encoded = match self.size.checked_sub(plain.len()) {
            None | Some(0) => plain,
            Some(missing) => self.encode(Some(missing.saturating_sub(r#""Via":[""],"#.len()))),
        };
        Template::new(encoded)
    }

    fn encode(&self, via: Option<usize>) -> Vec<u8> {
        let arguments = Arguments {
            account: &self.account,
            groups: None,
            action: &self.action,
            original_action: "",
            bucket: &self.bucket,
            conditions: self.conditions(via),
            owner: false,
            object: &self.object,
            claims: BTreeMap::new(),
            deny_only: self.deny_only,
        };
        // Text and maps with text keys: encoding cannot fail, and an empty body would be refused by every server.
        let json = serde_json::to_string(&Envelope { input: arguments }).unwrap_or_default();
        escape_like_go(&json).into_bytes()
    }

    fn conditions(&self, via: Option<usize>) -> BTreeMap<&'static str, [String; 1]> {
        let writes = self.action == "s3:PutObject";
        // minio-go writes blanks after the commas, except where it signs a stream.
        let (blank, signed) = if writes {
            ("", "host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length")
        } else {
            (" ", "host;x-amz-content-sha256;x-amz-date")
        };
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{}/us-east-1/s3/aws4_request,{blank}SignedHeaders={signed},{blank}Signature={}",
            self.account,
            template::NO_DAY,
            template::NO_SIGNATURE
        );
        let mut conditions = BTreeMap::from([
            ("Accept-Encoding", "zstd,gzip".to_owned()),
            ("Authorization", authorization),
            ("CurrentTime", template::NO_TIME.to_owned()),
            ("EpochTime", template::NO_EPOCH.to_owned()),
            ("Referer", String::new()),
            ("SecureTransport", "false".to_owned()),
            ("SourceIp", "127.0.0.1".to_owned()),
            ("User-Agent", USER_AGENT.to_owned()),
            ("UserAgent", USER_AGENT.to_owned()),
            ("X-Amz-Content-Sha256", EMPTY_SHA256.to_owned()),
            ("X-Amz-Date", template::NO_AMZ_DATE.to_owned()),
            ("authType", "REST-HEADER".to_owned()),
            ("principaltype", "User".to_owned()),
            ("signatureversion", "AWS4-HMAC-SHA256".to_owned()),
            ("userid", self.account.clone()),
            ("username", self.account.clone()),
            ("versionid", String::new()),
        ]);
        if writes {
            conditions.extend([
                ("Content-Length", "177".to_owned()),
                ("Content-Type", "text/plain".to_owned()),
                ("X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD".to_owned()),
                ("X-Amz-Decoded-Content-Length", "5".to_owned()),
            ]);
        }
        if let Some(length) = via {
            conditions.insert("Via", "1.1 gateway ".chars().cycle().take(length).collect());
        }
        conditions.into_iter().map(|(key, value)| (key, [value])).collect()
    }
}

/// In words, for a report.
impl fmt::Display for Question {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, action, bucket, object, deny_only, size: _ } = self;
        let deny_only = if *deny_only { ", deny only" } else { "" };
        write!(out, "{action} {bucket}/{object} by {account}{deny_only}, {} bytes", self.template().size())
    }
}

/// MinIO's outer object: one member.
#[derive(Serialize)]
struct Envelope<'a> {
    input: Arguments<'a>,
}

/// `policy.Args` of `github.com/minio/pkg/v3/policy`, members in its order. No member is ever left out.
#[derive(Serialize)]
struct Arguments<'a> {
    account: &'a str,
    groups: Option<[&'a str; 0]>,
    action: &'a str,
    #[serde(rename = "originalAction")]
    original_action: &'a str,
    bucket: &'a str,
    conditions: BTreeMap<&'static str, [String; 1]>,
    owner: bool,
    object: &'a str,
    claims: BTreeMap<&'a str, &'a str>,
    #[serde(rename = "denyOnly")]
    deny_only: bool,
}

/// Go escapes these five inside strings so that JSON may stand in HTML; outside strings JSON has none of them.
fn escape_like_go(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
