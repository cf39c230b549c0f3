//! S3 requests as clients send them, signed by AWS' own signer (Signature Version 4, in headers). Each is signed once and
//! sent many times: a signature is good for a quarter of an hour, and a turn takes seconds.

use std::time::SystemTime;

use anyhow::Context;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::hash::{MessageDigest, hash};

pub(super) const BUCKET: &str = "reports";
pub(super) const USER: &str = "alice";
pub(super) const SECRET: &str = "alice-secret";
/// Different ones that are asked for.
pub(super) const OBJECTS: usize = 16;
/// Keys that one multi-delete names; none of them exists.
const DELETED: usize = 10;

/// What is done to an object, or to several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Call {
    /// Three questions, two of them about metadata
    Head,
    Get,
    /// 1 KiB
    Put,
    /// Ten keys in one request, none of which exists
    MultiDelete,
}

impl Call {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Head => "HEAD",
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::MultiDelete => "multi-delete",
        }
    }

    /// One for each object, signed now for the MinIO at this `host:port`.
    pub(super) fn requests(self, host: &str) -> anyhow::Result<Vec<Vec<u8>>> {
        (0..OBJECTS).map(|number| self.request(host, number)).collect()
    }

    pub(super) fn request(self, host: &str, number: usize) -> anyhow::Result<Vec<u8>> {
        let object = format!("/{BUCKET}/{}", key(number));
        match self {
            Self::Head => signed(host, "HEAD", &object, &[], b""),
            Self::Get => signed(host, "GET", &object, &[], b""),
            Self::Put => signed(host, "PUT", &object, &[("content-type", "application/octet-stream")], &[b'x'; 1024]),
            Self::MultiDelete => {
                let keys = (0..DELETED).map(|at| format!("<Object><Key>{}-gone-{at}</Key></Object>", key(number)));
                let body = format!("<Delete><Quiet>true</Quiet>{}</Delete>", keys.collect::<String>());
                let md5 = STANDARD.encode(hash(MessageDigest::md5(), body.as_bytes())?);
                signed(host, "POST", &format!("/{BUCKET}?delete="), &[("content-md5", &md5)], body.as_bytes())
            }
        }
    }
}

fn key(number: usize) -> String {
    format!("home/{USER}/{number:04}.bin")
}

/// The bytes of a whole request.
fn signed(host: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let identity = Credentials::new(USER, SECRET, None, None, "laboratory").into();
    let mut settings = SigningSettings::default();
    // What S3 asks for, unlike all other services.
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("s3")
        .time(SystemTime::now())
        .settings(settings)
        .build()
        .context("what is signed with")?
        .into();
    let url = format!("http://{host}{path}");
    let request = SignableRequest::new(method, &url, headers.iter().copied(), SignableBody::Bytes(body))?;
    let (instructions, _) = sign(request, &parameters)?.into_parts();
    let lines = headers.iter().copied().chain(instructions.headers());
    let lines: String = lines.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n{lines}\r\n");
    Ok([head.as_bytes(), body].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_whole_and_signed() {
        for call in [Call::Head, Call::Get, Call::Put, Call::MultiDelete] {
            let request = call.request("127.0.0.1:9000", 3).unwrap();
            let text = String::from_utf8(request).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
            let head = head.to_lowercase();
            for part in ["authorization: aws4-hmac-sha256 credential=alice/", "x-amz-date: ", "x-amz-content-sha256: "]
            {
                assert!(head.contains(part), "{part} in {head}");
            }
        }
    }
}
