//! TLS of the decision endpoint: what is agreed on, a certificate renewed while it runs, and a real MinIO that trusts it
//! by its CAs directory. And certificates of Kafka's that only its client can judge.

use std::path::Path;
use std::pin::Pin;

use loadtest::laboratory::minio::{ROOT_PASSWORD, ROOT_USER};
use loadtest::laboratory::{Laboratory, require};
use loadtest::stub::{Script, Stub};
use openssl::ssl::{SslConnector, SslMethod, SslVersion};
use pingora::tls::tokio_ssl::SslStream;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::authorizer::encrypted::Identity;
use crate::reconcile::run;
use crate::support::{Countersign, PATIENCE, Running, eventually, http, question};

/// An authority and what it vouches for, in files.
pub struct House {
    directory: TempDir,
    pub authority: Identity,
}

impl House {
    pub fn new() -> Self {
        let (directory, authority) = (tempfile::tempdir().unwrap(), Identity::new("authority", None, 1, 10));
        authority.write(directory.path(), "ca");
        Self { directory, authority }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A new certificate in the place of the one before; its serial number.
    pub fn renew(&self) -> Vec<u8> {
        let identity = Identity::new("localhost", Some(&self.authority), 1, 10);
        identity.write(self.path(), "listener");
        identity.certificate.serial_number().to_bn().unwrap().to_vec()
    }

    pub fn listen(&self, http2: bool) -> String {
        let at = self.path().display();
        format!(
            "drain = \"0s\"\ntls = {{ certificate = \"{at}/listener.crt\", key = \"{at}/listener.key\", http2 = {http2} }}"
        )
    }

    /// What is agreed on with a client that would rather speak HTTP/2, as Go's does.
    async fn offered(&self, proxy: &Running) -> Vec<u8> {
        let stream = self.connect(proxy, SslVersion::TLS1_3).await.unwrap();
        stream.ssl().selected_alpn_protocol().unwrap().to_vec()
    }

    /// A client that trusts the authority and nobody else.
    pub async fn connect(&self, proxy: &Running, newest: SslVersion) -> Result<SslStream<TcpStream>, String> {
        let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
        connector.set_ca_file(self.path().join("ca.crt")).unwrap();
        connector.set_alpn_protos(b"\x02h2\x08http/1.1").unwrap();
        connector.set_max_proto_version(Some(newest)).unwrap();
        let ssl = connector.build().configure().unwrap().into_ssl("localhost").unwrap();
        let socket = TcpStream::connect(proxy.address()).await.unwrap();
        let mut stream = SslStream::new(ssl, socket).unwrap();
        Pin::new(&mut stream).connect().await.map_err(|error| error.to_string())?;
        Ok(stream)
    }
}

async fn ask(stream: &mut SslStream<TcpStream>) -> http::Answer {
    let body = question("alice", "s3:GetObject", "reports", "a.txt").to_string();
    stream.write_all(&http::request("POST", "/", &[], body.as_bytes())).await.unwrap();
    http::read_from(stream).await.expect("an answer")
}

fn shown(stream: &SslStream<TcpStream>) -> Vec<u8> {
    stream.ssl().peer_certificate().unwrap().serial_number().to_bn().unwrap().to_vec()
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_and_a_bad_one_is_not() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let house = House::new();
    let first = house.renew();
    let proxy = Countersign::asking(&stub.url()).listen(&house.listen(false)).start().await;
    let mut old = house.connect(&proxy, SslVersion::TLS1_3).await.unwrap();
    assert_eq!(shown(&old), first);
    assert!(ask(&mut old).await.allowed());
    let ends = format!(
        "countersign_tls_certificate_expiry_timestamp_seconds{{use=\"listener\",name=\"{}\"}}",
        proxy.address()
    );
    assert!(proxy.metric(&ends).await > 1e9);

    // By the file alone, and no connection ends over it.
    let second = house.renew();
    assert_ne!(first, second);
    let newest = async || {
        let stream = house.connect(&proxy, SslVersion::TLS1_3).await.ok()?;
        (shown(&stream) == second).then_some(stream)
    };
    let mut new = eventually("the renewed certificate", newest).await;
    assert!(ask(&mut new).await.allowed() && ask(&mut old).await.allowed());

    // A key that does not belong to it: what was shown before stays.
    let other = Identity::new("localhost", Some(&house.authority), 1, 10);
    std::fs::write(house.path().join("listener.key"), other.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    eventually("the refusal", async || {
        (proxy.metric("countersign_config_last_reload_successful").await == 0.0).then_some(())
    })
    .await;
    // The log is written behind what counts.
    eventually("why", async || proxy.log().contains("listen.tls: the key in `").then_some(())).await;
    let mut still = house.connect(&proxy, SslVersion::TLS1_3).await.unwrap();
    assert!(shown(&still) == second && ask(&mut still).await.allowed());
}

#[tokio::test]
async fn old_versions_plain_text_and_silence_are_turned_away() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let house = House::new();
    house.renew();
    let proxy = Countersign::asking(&stub.url()).listen(&house.listen(false)).start().await;
    let failed = "countersign_front_requests_total{client=\"unknown\",outcome=\"tls_failed\"}";
    // Whoever waited for the port has not shaken hands.
    let before = proxy.metric(failed).await;
    for old in [SslVersion::TLS1, SslVersion::TLS1_1] {
        assert!(house.connect(&proxy, old).await.is_err(), "{old:?}");
    }
    let mut plain = TcpStream::connect(proxy.address()).await.unwrap();
    let body = question("alice", "s3:GetObject", "reports", "a.txt").to_string();
    plain.write_all(&http::request("POST", "/", &[], body.as_bytes())).await.unwrap();
    let mut silent = TcpStream::connect(proxy.address()).await.unwrap();
    let mut text = Vec::new();
    // Whether by an end or a reset, it ends, and nothing in it is an answer.
    drop(tokio::time::timeout(PATIENCE, plain.read_to_end(&mut text)).await.expect("plain text is held open"));
    assert!(!text.windows(4).any(|part| part == b"HTTP"), "{}", text.escape_ascii());
    drop(tokio::time::timeout(PATIENCE, silent.read_to_end(&mut text)).await.expect("silence is held open"));
    eventually("all four are counted", async || (proxy.metric(failed).await >= before + 4.0).then_some(())).await;
    assert_eq!(stub.asked(), 0);
    let mut good = house.connect(&proxy, SslVersion::TLS1_2).await.unwrap();
    assert!(ask(&mut good).await.allowed());
    assert_eq!(proxy.decisions().len(), 1);
}

#[tokio::test]
async fn a_pair_that_does_not_fit_is_said_before_it_serves() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let house = House::new();
    house.renew();
    let mut proxy = Countersign::asking(&stub.url()).listen(&house.listen(false)).start().await;
    let file = proxy.config_file().display().to_string();
    let said = |args: &[&str]| {
        let ran = run(args);
        (ran.status.code(), String::from_utf8(ran.stdout).unwrap(), String::from_utf8(ran.stderr).unwrap())
    };
    let (code, out, err) = said(&["check", &file]);
    assert!(code == Some(0) && out.contains("answers on https://"), "{out}");
    // Nine days from when it was made, to the second.
    let warned = ["8", "9"].map(|days| format!("warning: `listen.tls.certificate` ends in {days} days"));
    assert!(warned.iter().any(|warning| err.contains(warning)), "{err}");

    proxy.stop().await;
    let recorded = proxy.records().len();
    let other = Identity::new("localhost", Some(&house.authority), 1, 10);
    std::fs::write(house.path().join("listener.key"), other.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    for args in [&["check", &file][..], &["serve", "--config", &file]] {
        let (code, out, err) = said(args);
        assert_eq!((code, out.as_str()), (Some(64), ""), "{args:?}: {err}");
        assert!(err.contains("listen.tls: the key in `") && err.contains("does not belong"), "{args:?}: {err}");
    }
    assert_eq!(proxy.records().len(), recorded, "what never served opened no chain");
}

/// OpenSSL takes an authority in this form, and librdkafka by it. We do not read it, and only want to know when it ends.
#[tokio::test]
async fn what_kafkas_client_reads_and_we_do_not_is_only_warned_about() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let house = House::new();
    let (at, file) = (house.path().display(), |name: &str| house.path().join(name));
    let authority = std::fs::read_to_string(file("ca.crt")).unwrap();
    std::fs::write(file("trusted.crt"), authority.replace(" CERTIFICATE-", " TRUSTED CERTIFICATE-")).unwrap();
    let properties =
        format!("[kafka.properties]\n\"security.protocol\" = \"SSL\"\n\"ssl.ca.location\" = \"{at}/trusted.crt\"");
    // Nobody listens there: records wait.
    let proxy = Countersign::asking(&stub.url()).kafka("127.0.0.1:9", "decisions").with(&properties).start().await;
    assert!(proxy.ask(&question("alice", "s3:GetObject", "reports", "a.txt")).await.allowed());
    let unknown = format!("when a certificate of Kafka's ends is not known: `{at}/trusted.crt` holds no usable PEM");
    eventually("the warning", async || proxy.log().contains(&unknown).then_some(())).await;

    std::fs::write(file("old.p12"), "of a form that is not read here").unwrap();
    let config = std::fs::read_to_string(proxy.config_file()).unwrap();
    let config = config.replace("ssl.ca.location", "ssl.keystore.location").replace("trusted.crt", "old.p12");
    std::fs::write(file("old.toml"), config).unwrap();
    let checked = run(&["check", &file("old.toml").display().to_string()]);
    let said = String::from_utf8(checked.stderr).unwrap();
    assert_eq!(checked.status.code(), Some(0), "{said}");
    assert!(said.contains("warning: kafka: a store could not be looked into"), "{said}");
}

/// MinIO checks the name and the authority, which it finds in its CAs directory, over HTTP/1.1 and over HTTP/2.
#[tokio::test]
async fn minio_asks_over_https() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    for http2 in [false, true] {
        let house = House::new();
        house.renew();
        let setup = Countersign::asking(&stub.url()).listen(&house.listen(http2)).token("Bearer s3cret");
        let proxy = setup.start().await;
        assert_eq!(house.offered(&proxy).await, if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() });
        let trusted = house.path().join(".minio/certs/CAs");
        std::fs::create_dir_all(&trusted).unwrap();
        std::fs::copy(house.path().join("ca.crt"), trusted.join("countersign.crt")).unwrap();
        let url = format!("https://localhost:{}/", proxy.address().port());
        let minio = Laboratory::open().unwrap().minio().plugin(&url, Some("Bearer s3cret"));
        let minio = minio.env("HOME", house.path().to_str().unwrap());
        let minio = minio.env("MINIO_POLICY_PLUGIN_ENABLE_HTTP2", if http2 { "on" } else { "off" });
        let Some(minio) = require(minio.start().await) else { return };
        let mc = minio.mc().unwrap().alias("again", ROOT_USER, ROOT_PASSWORD);
        mc.run(&["mb", "root/reports"]).await.unwrap();
        let pipe = mc.home().join("a.txt");
        std::fs::write(&pipe, "text").unwrap();
        mc.run(&["cp", "a.txt", "root/reports/a.txt"]).await.unwrap();
        // Renewed while it works: the connections there are stay, new ones see the new one.
        let renewed = house.renew();
        eventually("the renewed certificate", async || {
            let stream = house.connect(&proxy, SslVersion::TLS1_3).await.ok()?;
            (shown(&stream) == renewed).then_some(())
        })
        .await;
        assert_eq!(mc.run(&["cat", "root/reports/a.txt"]).await.unwrap(), "text");
        let decisions = proxy.decisions();
        assert!(decisions.len() > 7, "{}", decisions.len());
        assert!(decisions.iter().all(|record| record["data"]["decision"] == "allow"), "{decisions:#?}");
        let spoken = proxy.metric("countersign_front_requests_total{client=\"minio\",outcome=\"decided\"}").await;
        assert!(spoken >= decisions.len() as f64, "{spoken}");
    }
}
