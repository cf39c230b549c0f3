//! TLS of the decision endpoint: which certificate is shown, what is agreed on, and for how long that may take. Does the
//! handshake itself, because pingora gives it a minute and keeps to the certificate that it started with. Called by
//! `front::connection`; loaded by `app`, again at every reload.

use std::path::Path;
use std::time::Duration;

use openssl::ssl::{AlpnError, SslAcceptor, SslMethod, SslVersion, select_next_proto};
use pingora::protocols::Stream;
use pingora::protocols::l4::stream::Stream as Socket;
use pingora::protocols::tls::server::handshake;

use crate::certificates::{CertificateError, first_end, pair};

/// From accept to the end of the handshake. MinIO needs milliseconds.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// As in the ALPN extension, the preferred one first.
const HTTP2_OR_1: &[u8] = b"\x02h2\x08http/1.1";
const HTTP1: &[u8] = b"\x08http/1.1";

#[derive(Debug, thiserror::Error)]
pub enum SecureError {
    #[error(transparent)]
    File(#[from] CertificateError),
    #[error("OpenSSL does not take the certificate or its key: {0}")]
    Refused(#[from] openssl::error::ErrorStack),
}

/// A certificate with its key, ready to be shown.
pub struct Secure {
    acceptor: SslAcceptor,
    ends: Option<i64>,
}

impl Secure {
    /// `certificate` is a PEM chain, leaf first. TLS 1.2 with forward secrecy and authenticated encryption, or 1.3: what
    /// Mozilla calls intermediate, version 5.
    pub fn load(certificate: &Path, key: &Path, http2: bool) -> Result<Self, SecureError> {
        let (chain, private) = pair(certificate, key)?;
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
        builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        builder.set_private_key(&private)?;
        for (place, one) in chain.iter().enumerate() {
            if place == 0 { builder.set_certificate(one)? } else { builder.add_extra_chain_cert(one.clone())? }
        }
        builder.check_private_key()?;
        let offered = if http2 { HTTP2_OR_1 } else { HTTP1 };
        // Whoever offers nothing of it is spoken to in HTTP/1.1.
        builder.set_alpn_select_callback(move |_, asked| select_next_proto(offered, asked).ok_or(AlpnError::NOACK));
        // One that has ended breaks the chain, wherever it stands.
        Ok(Self { acceptor: builder.build(), ends: first_end(&chain, 0) })
    }

    /// Seconds since 1970: the first end in the chain.
    pub fn ends(&self) -> Option<i64> {
        self.ends
    }

    /// The connection, encrypted; `None` where the other side did not agree, or took too long.
    pub async fn accept(&self, stream: Stream) -> Option<Stream> {
        let socket = stream.into_any().downcast::<Socket>().ok()?;
        match tokio::time::timeout(HANDSHAKE, handshake(&self.acceptor, *socket)).await {
            Ok(Ok(secure)) => Some(Box::new(secure)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "no TLS with whoever connected");
                None
            }
            Err(_) => {
                tracing::debug!("whoever connected did not finish the handshake in time");
                None
            }
        }
    }
}
