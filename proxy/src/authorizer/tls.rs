//! What makes a connection to an authorizer trusted: its name, who vouches for it, who we say we are. There is no
//! way to switch verification off. Called by `authorizer::webhook`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use pingora::protocols::Stream;
use pingora::tls::x509::X509;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::CertKey;

use crate::authorizer::url::Host;
use crate::certificates::{CertificateError, certificates, first_end, pair, unix_now};
use crate::metrics::names::CertificateUse;

/// As configured; everything is optional with a host name in the URL.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// PEM certificates to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// PEM chain, leaf first, and its key; both or none.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// The name that the certificate must bear; without it the URL's host name.
    pub server_name: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    File(#[from] CertificateError),
    #[error("a client certificate and its key are needed together")]
    HalfPair,
    #[error("a URL with an address instead of a name needs `tls.server_name`, or its certificate cannot be checked")]
    NoName,
    #[error("`{0}` is not a host name that a certificate can be checked against")]
    BadName(String),
}

/// Checked and loaded.
pub struct Client {
    server_name: String,
    ca: Option<Arc<Box<[X509]>>>,
    certificate: Option<Arc<CertKey>>,
    ends: Vec<(CertificateUse, i64)>,
}

impl Client {
    /// Reads the files once; a change needs a reload.
    pub fn load(options: &Options, host: &Host) -> Result<Self, TlsError> {
        let server_name = match (&options.server_name, host) {
            (Some(name), _) | (None, Host::Name(name)) => checked_name(name)?,
            (None, Host::Address(_)) => return Err(TlsError::NoName),
        };
        let mut ends = Vec::new();
        let ca = options.ca.as_deref().map(certificates).transpose()?;
        ends.extend(ca.iter().filter_map(|all| Some((CertificateUse::AuthorizerCa, first_end(all, unix_now())?))));
        let certificate = match (&options.certificate, &options.key) {
            (Some(certificate), Some(key)) => Some(pair(certificate, key)?),
            (None, None) => None,
            _ => return Err(TlsError::HalfPair),
        };
        // One that has ended breaks our own chain, wherever it stands: none is left out.
        let own = certificate.as_ref().and_then(|(chain, _)| first_end(chain, 0));
        ends.extend(own.map(|end| (CertificateUse::AuthorizerClient, end)));
        Ok(Self {
            server_name,
            ca: ca.map(|all| Arc::new(all.into_boxed_slice())),
            certificate: certificate.map(|(chain, key)| Arc::new(CertKey::new(chain, key))),
            ends,
        })
    }

    /// When what was loaded ends, in seconds since 1970: of several certificates the first, without authorities that
    /// had ended before and only stand beside one that has not.
    pub fn ends(&self) -> &[(CertificateUse, i64)] {
        &self.ends
    }

    pub fn peer(&self, address: SocketAddr) -> HttpPeer {
        // Never an empty name: with one, pingora would not verify anything.
        let mut peer = HttpPeer::new(address, true, self.server_name.clone());
        peer.options.ca.clone_from(&self.ca);
        peer.client_cert_key.clone_from(&self.certificate);
        peer
    }

    /// TLS 1.2 or newer was agreed on. pingora asks for 1.0 and up; OpenSSL's own security level refuses the old ones
    /// as long as nobody has lowered it.
    pub fn is_modern(stream: &Stream) -> bool {
        stream.get_ssl_digest().is_some_and(|digest| matches!(digest.version.as_ref(), "TLSv1.2" | "TLSv1.3"))
    }
}

fn checked_name(name: &str) -> Result<String, TlsError> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    if is_address || name.len() > 253 || !name.split('.').all(label) {
        return Err(TlsError::BadName(name.to_owned()));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(server_name: Option<&str>, host: &Host) -> Result<Client, TlsError> {
        Client::load(&Options { server_name: server_name.map(str::to_owned), ..Options::default() }, host)
    }

    #[test]
    fn there_is_always_a_name_to_check() {
        let name = Host::Name("opa.example".into());
        let address = Host::Address("10.0.0.1".parse().unwrap());
        assert_eq!(load(None, &name).unwrap().server_name, "opa.example");
        assert_eq!(load(Some("opa"), &address).unwrap().server_name, "opa");
        assert!(matches!(load(None, &address), Err(TlsError::NoName)));
        for bad in ["", ".", "a..b", "10.0.0.1", "::1", "a b", "a\0b", "ä"] {
            assert!(matches!(load(Some(bad), &name), Err(TlsError::BadName(_))), "{bad:?}");
        }
        let peer = load(None, &name).unwrap().peer("10.0.0.1:443".parse().unwrap());
        assert!(peer.options.verify_cert && peer.options.verify_hostname && !peer.sni.is_empty());
    }

    #[test]
    fn files_that_cannot_serve_are_errors_at_start() {
        let directory = tempfile::tempdir().unwrap();
        let empty = directory.path().join("empty.pem");
        std::fs::write(&empty, "nothing").unwrap();
        let host = Host::Name("opa".into());
        let with = |options: Options| Client::load(&options, &host).err().unwrap().to_string();
        let missing = with(Options { ca: Some(directory.path().join("missing")), ..Options::default() });
        assert!(missing.contains("cannot be read"), "{missing}");
        let unusable = with(Options { ca: Some(empty.clone()), ..Options::default() });
        assert!(unusable.contains("no usable PEM certificate"), "{unusable}");
        let half = with(Options { certificate: Some(empty), ..Options::default() });
        assert!(half.contains("together"), "{half}");
    }
}
