//! TLS to an authorizer: only the right name, vouched for by the right authority, in its time, is asked.

use std::path::{Path, PathBuf};
use std::pin::Pin;

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{Ssl, SslAcceptor, SslAcceptorBuilder, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509NameBuilder};
use pingora::tls::tokio_ssl::SslStream;
use tempfile::TempDir;

use super::*;

pub struct Identity {
    pub certificate: X509,
    pub key: PKey<Private>,
}

impl Identity {
    /// Signed by `by`, or by itself; valid for `days` from a day that is `ago` days back.
    pub fn new(name: &str, by: Option<&Self>, ago: i64, days: i64) -> Self {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let mut subject = X509NameBuilder::new().unwrap();
        subject.append_entry_by_text("CN", name).unwrap();
        let subject = subject.build();
        let mut builder = X509Builder::new().unwrap();
        builder.set_version(2).unwrap();
        builder.set_serial_number(&BigNum::from_u32(rand::random()).unwrap().to_asn1_integer().unwrap()).unwrap();
        builder.set_subject_name(&subject).unwrap();
        builder.set_issuer_name(by.map_or(&subject, |by| by.certificate.subject_name())).unwrap();
        builder.set_pubkey(&key).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
        let day = |days: i64| Asn1Time::from_unix(now + days * 86_400).unwrap();
        builder.set_not_before(&day(-ago)).unwrap();
        builder.set_not_after(&day(days - ago)).unwrap();
        if by.is_none() {
            builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        } else {
            let names = SubjectAlternativeName::new().dns(name).build(&builder.x509v3_context(None, None)).unwrap();
            builder.append_extension(names).unwrap();
        }
        builder.sign(by.map_or(&key, |by| &by.key), MessageDigest::sha256()).unwrap();
        Self { certificate: builder.build(), key }
    }

    pub fn write(&self, directory: &Path, name: &str) -> (PathBuf, PathBuf) {
        let (certificate, key) = (directory.join(format!("{name}.crt")), directory.join(format!("{name}.key")));
        std::fs::write(&certificate, self.certificate.to_pem().unwrap()).unwrap();
        std::fs::write(&key, self.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        (certificate, key)
    }
}

/// An authority, its file, and a server that it vouches for as `opa.test`.
struct House {
    directory: TempDir,
    authority: Identity,
    ca: PathBuf,
}

impl House {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Identity::new("authority", None, 1, 10);
        let (ca, _) = authority.write(directory.path(), "ca");
        Self { directory, authority, ca }
    }

    fn named(&self, name: &str) -> Identity {
        Identity::new(name, Some(&self.authority), 1, 10)
    }

    fn trusting(&self) -> tls::Options {
        tls::Options { ca: Some(self.ca.clone()), server_name: Some("opa.test".into()), ..tls::Options::default() }
    }
}

/// A TLS server that allows everything, with what `adjust` changes about it.
pub async fn serve(identity: &Identity, adjust: impl FnOnce(&mut SslAcceptorBuilder)) -> Evil {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    builder.set_certificate(&identity.certificate).unwrap();
    builder.set_private_key(&identity.key).unwrap();
    adjust(&mut builder);
    let acceptor = Arc::new(builder.build());
    Evil::start(move |stream, _| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = SslStream::new(Ssl::new(acceptor.context()).unwrap(), stream).unwrap();
            if Pin::new(&mut stream).accept().await.is_err() {
                return;
            }
            while question(&mut stream).await.is_some() {
                if stream.write_all(allow().as_bytes()).await.is_err() {
                    break;
                }
            }
        }
    })
    .await
}

fn secure(server: &Evil, tls: tls::Options) -> Webhook {
    Webhook::new(Options { tls, ..options(&format!("https://{}/", server.address)) }).unwrap()
}

async fn asked(server: &Evil, tls: tls::Options) -> Reason {
    reason(&ask(&secure(server, tls), LIMIT).await)
}

#[tokio::test]
async fn the_right_server_is_asked_and_its_connection_kept() {
    let house = House::new();
    let server = serve(&house.named("opa.test"), |_| {}).await;
    let webhook = secure(&server, house.trusting());
    for _ in 0..5 {
        assert_eq!(reason(&ask(&webhook, LIMIT).await), Reason::Allowed);
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn whoever_cannot_prove_who_it_is_is_not_asked() {
    let house = House::new();
    let right = serve(&house.named("opa.test"), |_| {}).await;
    let other_name = serve(&house.named("evil.test"), |_| {}).await;
    let expired = serve(&Identity::new("opa.test", Some(&house.authority), 10, 9), |_| {}).await;
    let early = serve(&Identity::new("opa.test", Some(&house.authority), -2, 9), |_| {}).await;
    let other_authority = serve(&House::new().named("opa.test"), |_| {}).await;
    let itself = serve(&Identity::new("opa.test", None, 1, 9), |_| {}).await;
    let plain = Evil::start(|mut stream, _| async move {
        stream.read_exact(&mut [0; 5]).await.unwrap();
        stream.write_all(allow().as_bytes()).await.unwrap();
    })
    .await;
    for (what, server) in [
        ("another name", &other_name),
        ("expired", &expired),
        ("not yet valid", &early),
        ("another authority", &other_authority),
        ("signed by itself", &itself),
        ("no TLS at all", &plain),
    ] {
        assert_eq!(asked(server, house.trusting()).await, Reason::Tls, "{what}");
    }
    let system = tls::Options { ca: None, ..house.trusting() };
    assert_eq!(asked(&right, system).await, Reason::Tls, "the system does not know this authority");
    let elsewhere = tls::Options { server_name: Some("elsewhere.test".into()), ..house.trusting() };
    assert_eq!(asked(&right, elsewhere).await, Reason::Tls);
    assert_eq!(asked(&right, house.trusting()).await, Reason::Allowed, "the same server is fine for who knows it");
}

/// A pool knows a connection by its address, not by whom it was trusted by.
#[tokio::test]
async fn trust_is_not_inherited_from_a_pooled_connection() {
    let (house, stranger) = (House::new(), House::new());
    let server = serve(&house.named("opa.test"), |_| {}).await;
    let webhook = secure(&server, house.trusting());
    let other = secure(&server, stranger.trusting());
    for _ in 0..3 {
        assert_eq!(reason(&ask(&webhook, LIMIT).await), Reason::Allowed);
        assert_eq!(reason(&ask(&other, LIMIT).await), Reason::Tls, "it trusts another authority");
    }
    // A connection that one of them kept, and those that were refused.
    assert_eq!(server.connections(), 4);
}

#[tokio::test]
async fn old_tls_is_refused() {
    let house = House::new();
    let old = serve(&house.named("opa.test"), |builder| {
        builder.set_min_proto_version(Some(SslVersion::TLS1)).unwrap();
        builder.set_max_proto_version(Some(SslVersion::TLS1_1)).unwrap();
        builder.set_cipher_list("ALL:@SECLEVEL=0").unwrap();
        builder.set_security_level(0);
    })
    .await;
    assert_eq!(asked(&old, house.trusting()).await, Reason::Tls);
    let twelve = serve(&house.named("opa.test"), |builder| {
        builder.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
    })
    .await;
    assert_eq!(asked(&twelve, house.trusting()).await, Reason::Allowed);
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_wanted() {
    let house = House::new();
    let ca = house.ca.clone();
    let server = serve(&house.named("opa.test"), move |builder| {
        builder.set_ca_file(ca).unwrap();
        builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    })
    .await;
    let (certificate, key) = house.named("countersign").write(house.directory.path(), "client");
    let shown = tls::Options { certificate: Some(certificate.clone()), key: Some(key), ..house.trusting() };
    assert_eq!(asked(&server, shown.clone()).await, Reason::Allowed);
    // With TLS 1.3 the refusal arrives after the handshake, as the end of the connection.
    assert!(matches!(asked(&server, house.trusting()).await, Reason::Tls | Reason::ConnectionLost));
    let (_, other_key) = house.named("other").write(house.directory.path(), "other");
    let mixed = Options { tls: tls::Options { key: Some(other_key), ..shown }, ..options("https://opa.test/") };
    let error = Webhook::new(mixed).err().unwrap().to_string();
    assert!(error.contains("does not belong to the certificate"), "{error}");
}

#[tokio::test]
async fn an_address_without_a_name_cannot_be_checked_and_is_an_error() {
    let error = Webhook::new(options("https://127.0.0.1:1/")).err().unwrap().to_string();
    assert!(error.contains("server_name"), "{error}");
}
