//! A GET signed as S3 clients sign it (AWS Signature Version 4), with whatever headers and parameters a test wants in it:
//! clients that only do sensible things cannot forge. <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>

use loadtest::laboratory::minio::Minio;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use countersign::policy::limited::sha256_hex;

use crate::support::{Answer, http};

pub struct Get {
    host: String,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
}

impl Get {
    pub fn of(minio: &Minio, path: &str) -> Self {
        let host = minio.url().trim_start_matches("http://").to_owned();
        Self { host, path: path.to_owned(), query: Vec::new(), headers: Vec::new() }
    }

    /// Of characters that need no encoding.
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lower case.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub async fn by(mut self, (user, secret): (&str, &str)) -> Answer {
        let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let (day, payload) = (time[..8].to_owned(), sha256_hex(""));
        self.headers.extend([
            ("host".to_owned(), self.host.clone()),
            ("x-amz-content-sha256".to_owned(), payload.clone()),
            ("x-amz-date".to_owned(), time.clone()),
        ]);
        self.headers.sort();
        self.query.sort();
        let query = self.query.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
        let lines: String = self.headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let names = self.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
        let canonical = format!("GET\n{}\n{query}\n{lines}\n{names}\n{payload}", self.path);
        let scope = format!("{day}/us-east-1/s3/aws4_request");
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256_hex(canonical));
        let parts = [day.as_str(), "us-east-1", "s3", "aws4_request", &text];
        let signature = parts.into_iter().fold(format!("AWS4{secret}").into_bytes(), |key, part| hmac(&key, part));
        let signed = format!("SignedHeaders={names}, Signature={}", hex::encode(signature));
        self.headers
            .push(("authorization".to_owned(), format!("AWS4-HMAC-SHA256 Credential={user}/{scope}, {signed}")));
        let target = if query.is_empty() { self.path } else { format!("{}?{query}", self.path) };
        send(&self.host, &target, &self.headers).await
    }
}

/// Follows a presigned URL.
pub async fn open(url: &str) -> Answer {
    let rest = url.strip_prefix("http://").expect("a URL of the laboratory");
    let (host, target) = rest.split_at(rest.find('/').expect("a path"));
    send(host, target, &[("host".to_owned(), host.to_owned())]).await
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let key = PKey::hmac(key).unwrap();
    let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
    signer.sign_oneshot_to_vec(text.as_bytes()).unwrap()
}

async fn send(host: &str, target: &str, headers: &[(String, String)]) -> Answer {
    let mut head = format!("GET {target} HTTP/1.1\r\n");
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    http::read(&mut stream).await.expect("an answer")
}
