//! The HTTP client that carries spans to the collector: one POST at a time over pingora's connector, on a runtime of
//! its own, so that a slow collector takes nothing from decisions. No retries: what is lost is counted.
//! Called by the SDK's exporter, on its thread.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderName, HeaderValue, Uri};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::upstreams::peer::HttpPeer;
use tokio::runtime::Handle;

use super::StartError;

/// What a collector may answer with; it has little to say.
const MAX_ANSWER: usize = 64 * 1024;
/// Addresses of the collector's name that are tried.
const MAX_ADDRESSES: usize = 4;

/// Where spans go, and as whom.
pub(super) struct Collector {
    runtime: Handle,
    way: Arc<Way>,
}

impl fmt::Debug for Collector {
    /// Without the headers, which hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").field("host", &self.way.host).field("port", &self.way.port).finish_non_exhaustive()
    }
}

struct Way {
    connector: Connector,
    tls: bool,
    host: String,
    port: u16,
    headers: Vec<(HeaderName, HeaderValue)>,
    timeout: Duration,
}

impl Collector {
    pub(super) fn new(
        runtime: Handle,
        endpoint: &Uri,
        headers: Vec<(HeaderName, HeaderValue)>,
        timeout: Duration,
    ) -> Result<Self, StartError> {
        let bad = || StartError::Endpoint(endpoint.to_string());
        let tls = match endpoint.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad()),
        };
        let host = endpoint.host().filter(|host| !host.is_empty()).ok_or_else(bad)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = endpoint.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let way = Way { connector: Connector::new(None), tls, host, port, headers, timeout };
        Ok(Self { runtime, way: Arc::new(way) })
    }
}

/// Where spans go, as it is written: which path traces have is settled by whoever wrote it.
pub(super) fn traces_uri(endpoint: &str) -> Result<Uri, StartError> {
    endpoint.parse().map_err(|_| StartError::Endpoint(endpoint.to_owned()))
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let way = Arc::clone(&self.way);
        // The caller is a plain thread, and I/O needs a runtime's.
        let sending = async move { tokio::time::timeout(way.timeout, way.send(&request)).await };
        self.runtime.spawn(sending).await??
    }
}

impl Way {
    async fn send(&self, request: &Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut last: HttpError = "the collector's name has no address".into();
        let addresses = tokio::net::lookup_host((self.host.as_str(), self.port)).await?;
        for address in addresses.take(MAX_ADDRESSES) {
            match self.send_to(address, request).await {
                Ok(response) => return Ok(response),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn send_to(&self, address: SocketAddr, request: &Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut peer = HttpPeer::new(address, self.tls, self.host.clone());
        peer.options.connection_timeout = Some(self.timeout);
        peer.options.total_connection_timeout = Some(self.timeout);
        let (mut session, _) = self.connector.get_http_session(&peer).await?;
        session.write_request_header(Box::new(self.header(request)?)).await?;
        session.write_request_body(request.body().clone(), true).await?;
        session.finish_request_body().await?;
        session.read_response_header().await?;
        let status = session.response_header().map(|header| header.status).ok_or("no answer")?;
        let mut body = BytesMut::new();
        while let Some(part) = session.read_response_body().await? {
            if body.len() + part.len() > MAX_ANSWER {
                return Err("the collector's answer is too large".into());
            }
            body.extend_from_slice(&part);
        }
        // Dropping the session closes the connection: one a second costs less than finding out that an idle one died.
        Ok(Response::builder().status(status).body(body.freeze())?)
    }

    fn header(&self, request: &Request<Bytes>) -> Result<RequestHeader, HttpError> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let mut header = RequestHeader::build("POST", path.as_bytes(), None)?;
        for (name, value) in request.headers() {
            header.insert_header(name, value)?;
        }
        let authority = request.uri().authority().map_or("", |authority| authority.as_str());
        header.insert_header(HOST, authority)?;
        header.insert_header(CONTENT_LENGTH, request.body().len())?;
        for (name, value) in &self.headers {
            header.insert_header(name, value)?;
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_put_behind_the_path_that_is_written() {
        // `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is used as it is, by its specification.
        for written in ["http://c:4318/v1/traces", "http://c:4318/in", "https://c/otlp?tenant=a"] {
            assert_eq!(traces_uri(written).unwrap().to_string(), written);
        }
        assert!(traces_uri("http://c d").is_err());
    }
}
