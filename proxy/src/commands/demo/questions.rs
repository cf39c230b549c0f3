//! The questions that the demo asks: what MinIO would send for a handful of S3 calls.
//! Not a client of S3. Used by `tour`.

use serde_json::{Value, json};

/// What somebody does, and the questions MinIO makes of it.
#[derive(Debug)]
pub struct Scene {
    pub told: &'static str,
    pub questions: Vec<Value>,
}

/// `now` is RFC 3339; it and the signature change with each call, as MinIO's do.
pub fn scenes(now: &str) -> Vec<Scene> {
    let ask = |account: &str, action: &str, bucket: &str, object: &str| question(now, account, action, bucket, object);
    let (mine, hers) = ("home/alice/plan.txt", "home/carol/salary.csv");
    vec![
        Scene { told: "root lists the buckets", questions: vec![ask("minioroot", "s3:ListAllMyBuckets", "", "")] },
        Scene {
            told: "alice puts an object under her prefix",
            questions: vec![
                ask("alice", "s3:PutObject", "reports", mine),
                ask("alice", "s3:PutObjectLegalHold", "reports", mine),
            ],
        },
        Scene { told: "alice gets it", questions: get(&ask, "alice", mine) },
        Scene { told: "alice gets it again: the cache answers", questions: get(&ask, "alice", mine) },
        Scene { told: "alice tries somebody else's", questions: vec![ask("alice", "s3:GetObject", "reports", hers)] },
        Scene { told: "bob tries to delete hers", questions: vec![ask("bob", "s3:DeleteObject", "reports", mine)] },
    ]
}

/// One GET is three questions.
fn get(ask: &impl Fn(&str, &str, &str, &str) -> Value, account: &str, object: &str) -> Vec<Value> {
    let actions = ["s3:GetObject", "s3:GetObjectRetention", "s3:GetObjectLegalHold"];
    actions.into_iter().map(|action| ask(account, action, "reports", object)).collect()
}

fn question(now: &str, account: &str, action: &str, bucket: &str, object: &str) -> Value {
    let owner = account == "minioroot";
    let signature = format!(
        "AWS4-HMAC-SHA256 Credential={account}/{}/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature={}",
        now.get(..10).unwrap_or(now),
        crate::policy::limited::sha256_hex(format!("{now}{account}{object}")),
    );
    json!({ "input": {
        "account": account,
        "groups": null,
        "action": action,
        "originalAction": "",
        "bucket": bucket,
        "conditions": {
            "Authorization": [signature],
            "CurrentTime": [now],
            "Referer": [""],
            "SecureTransport": ["true"],
            "SourceIp": ["203.0.113.9"],
            "User-Agent": ["MinIO (linux; amd64) minio-go/v7.0.91 mc/demo"],
            "UserAgent": ["MinIO (linux; amd64) minio-go/v7.0.91 mc/demo"],
            "authType": ["REST-HEADER"],
            "principaltype": [if owner { "Account" } else { "User" }],
            "signatureversion": ["AWS4-HMAC-SHA256"],
            "userid": [account],
            "username": [account],
            "versionid": [""],
        },
        "owner": owner,
        "object": object,
        "claims": {},
        "denyOnly": false,
    }})
}
