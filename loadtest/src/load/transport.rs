//! A connection's bytes: TCP, or TLS over it. Knows nothing of HTTP but the name that ALPN gives it.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::Context as _;
use openssl::ssl::{ConnectConfiguration, SslConnector, SslMethod};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use super::target::Target;

/// As ALPN has them, each behind its length.
const HTTP_1: &[u8] = b"\x08http/1.1";
const HTTP_2: &[u8] = b"\x02h2";

/// How TLS is begun with a server.
#[derive(Clone)]
pub(super) struct Tls {
    connector: SslConnector,
    name: String,
    http2: bool,
}

impl Tls {
    /// The server must prove that it is `name`, to the CA or to those that the machine trusts.
    pub(super) fn new(name: &str, ca: Option<&Path>, http2: bool) -> anyhow::Result<Self> {
        let mut builder = SslConnector::builder(SslMethod::tls_client())?;
        if let Some(ca) = ca {
            builder.set_ca_file(ca).with_context(|| format!("cannot read a CA from `{}`", ca.display()))?;
        }
        builder.set_alpn_protos(if http2 { HTTP_2 } else { HTTP_1 })?;
        Ok(Self { connector: builder.build(), name: name.to_owned(), http2 })
    }

    async fn over(&self, stream: TcpStream) -> io::Result<SslStream<TcpStream>> {
        let configuration: ConnectConfiguration = self.connector.configure()?;
        let mut stream = SslStream::new(configuration.into_ssl(&self.name)?, stream)?;
        Pin::new(&mut stream).connect().await.map_err(io::Error::other)?;
        let agreed = stream.ssl().selected_alpn_protocol() == HTTP_2.get(1..);
        if self.http2 && !agreed {
            return Err(io::Error::other("the server does not speak HTTP/2"));
        }
        Ok(stream)
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Tls").field("name", &self.name).field("http2", &self.http2).finish_non_exhaustive()
    }
}

/// A connection, open.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Secure(Box<SslStream<TcpStream>>),
}

pub(super) async fn connect(target: &Target) -> io::Result<Stream> {
    let stream = TcpStream::connect(target.addresses.as_slice()).await?;
    stream.set_nodelay(true)?;
    match &target.tls {
        None => Ok(Stream::Plain(stream)),
        Some(tls) => Ok(Stream::Secure(Box::new(tls.over(stream).await?))),
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Secure(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Secure(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Secure(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Secure(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
