//! The questions of the probe, in MinIO's words, and what is none.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::authorizer::webhook::Dialect;
use crate::wire::{authzen, question};

/// Who asks: nobody that an authorizer knows.
pub const ACCOUNT: &str = "countersign-check";

/// What no MinIO sends.
pub(super) const NONSENSE: [&str; 4] = ["nonsense", "{}", "[]", r#"{"input":{}}"#];

/// What is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Read,
    ReadDenyOnly,
    Write,
    List,
    Buckets,
    Anonymous,
    Session,
    Admin,
    AdminDenyOnly,
    Kms,
    Root,
}

impl Kind {
    pub(super) const ALL: [Self; 11] = [
        Self::Read,
        Self::ReadDenyOnly,
        Self::Write,
        Self::List,
        Self::Buckets,
        Self::Anonymous,
        Self::Session,
        Self::Admin,
        Self::AdminDenyOnly,
        Self::Kms,
        Self::Root,
    ];

    /// A question, and the same with `denyOnly`.
    pub(super) const PAIRS: [(Self, Self); 2] = [(Self::Read, Self::ReadDenyOnly), (Self::Admin, Self::AdminDenyOnly)];

    /// After "about".
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "reading an object",
            Self::ReadDenyOnly => "reading an object, denyOnly",
            Self::Write => "writing an object",
            Self::List => "listing a bucket",
            Self::Buckets => "listing all buckets",
            Self::Anonymous => "an anonymous caller",
            Self::Session => "a temporary key with claims and groups",
            Self::Admin => "an admin action",
            Self::AdminDenyOnly => "an admin action, denyOnly",
            Self::Kms => "a KMS action",
            Self::Root => "root",
        }
    }

    pub(super) const fn deny_only(self) -> bool {
        matches!(self, Self::ReadDenyOnly | Self::AdminDenyOnly)
    }

    const fn action(self) -> &'static str {
        match self {
            Self::Read | Self::ReadDenyOnly | Self::Anonymous | Self::Root => "s3:GetObject",
            Self::Write | Self::Session => "s3:PutObject",
            Self::List => "s3:ListBucket",
            Self::Buckets => "s3:ListAllMyBuckets",
            Self::Admin | Self::AdminDenyOnly => "admin:CreateServiceAccount",
            Self::Kms => "kms:CreateKey",
        }
    }

    fn question(self) -> Value {
        let (bucket, object) = match self {
            Self::Buckets | Self::Admin | Self::AdminDenyOnly => ("", ""),
            Self::Kms => (ACCOUNT, ""),
            Self::List => (ACCOUNT, ""),
            _ => (ACCOUNT, "countersign/check.txt"),
        };
        let account = if self == Self::Anonymous { "" } else { ACCOUNT };
        let claims = match self {
            Self::Anonymous => Value::Null,
            Self::Session => json!({ "accessKey": "COUNTERSIGNCHECK0000", "parent": ACCOUNT, "exp": 4_102_444_800_u64,
                                     "sub": ACCOUNT, "groups": [ACCOUNT] }),
            _ => json!({}),
        };
        let principal = if account.is_empty() { "Anonymous" } else { "User" };
        let mut conditions = json!({
            "CurrentTime": ["2026-01-01T00:00:00Z"], "EpochTime": ["1767225600"], "SecureTransport": ["true"],
            "SourceIp": ["192.0.2.1"], "UserAgent": ["countersign check"], "Referer": [""],
            "principaltype": [principal], "userid": [account], "username": [account], "versionid": [""],
            "signatureversion": ["AWS4-HMAC-SHA256"], "authType": ["REST-HEADER"],
        });
        if let Some(all) = conditions.as_object_mut().filter(|_| self == Self::List) {
            all.insert("prefix".to_owned(), json!(["countersign/"]));
        }
        json!({ "input": {
            "account": account,
            "groups": if self == Self::Session { json!([ACCOUNT]) } else { Value::Null },
            "action": self.action(), "originalAction": "", "bucket": bucket, "conditions": conditions,
            "owner": self == Self::Root, "object": object, "claims": claims, "denyOnly": self.deny_only(),
        }})
    }
}

/// The bytes that an authorizer of this dialect is sent.
pub(super) fn body(kind: Kind, dialect: Dialect) -> Bytes {
    let bytes = Bytes::from(kind.question().to_string());
    match (dialect, question::read(bytes.clone())) {
        (Dialect::Authzen, Ok(request)) => authzen::evaluation(&request).into(),
        // A question that could not be read would be a defect here, which the test below would find.
        (Dialect::Minio, _) | (Dialect::Authzen, Err(_)) => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_is_one_that_minio_could_ask() {
        for kind in Kind::ALL {
            let request = question::read(body(kind, Dialect::Minio)).unwrap();
            assert_eq!(request.deny_only, kind.deny_only());
            assert!(request.unknown.is_empty(), "{kind:?}");
            let evaluation: Value = serde_json::from_slice(&body(kind, Dialect::Authzen)).unwrap();
            assert_eq!(evaluation["action"]["name"], kind.action());
        }
        for body in NONSENSE {
            assert!(question::read(Bytes::from(body)).is_err(), "{body}");
        }
    }

    #[test]
    fn pairs_differ_in_one_member() {
        for (plain, deny_only) in Kind::PAIRS {
            let mut other = deny_only.question();
            other["input"]["denyOnly"] = false.into();
            assert_eq!(plain.question(), other);
        }
    }
}
